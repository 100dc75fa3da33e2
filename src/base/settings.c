/* The settings: names, types, defaults, what is allowed, help. Read config.h beside it. */
#include "base/settings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define AT(member)         offsetof(vj_config, member), sizeof(((vj_config *)0)->member)
#define IN_MASK(member)    offsetof(vj_mask_settings, member), sizeof(((vj_mask_settings *)0)->member)
#define IN_DATASET(member) offsetof(vj_dataset_settings, member), sizeof(((vj_dataset_settings *)0)->member)
#define BOOLEAN            "false | true"

/* Defaults: ViT-L/16 at 224 px as published (docs/method.md, sections 7, 9.1, 10.2, 10.3, 12.2, 13), ours where nothing
 * is. */
const vj_setting vj_settings[] = {
    {"run.dir", VJ_SET_TEXT, AT(run.dir), "", "run", "run folder: checkpoints, metrics, the configuration", 0},
    {"run.seed", VJ_SET_INTEGER, AT(run.seed), "[0, 9007199254740992]", "234",
     "seed of weights, data order, crops and masks", 0},
    {"run.max_hours", VJ_SET_NUMBER, AT(run.max_hours), "[0, 100000] | auto", "0",
     "hours after its start in which the program writes a checkpoint and stops by itself (exit code 75); 0: no limit; "
     "auto: what the batch job has left, by VJEPA_JOB_END_TIME or SLURM_JOB_END_TIME (seconds since 1970) in the "
     "environment",
     0},
    {"run.watchdog_s", VJ_SET_NUMBER, AT(run.watchdog_s), "[-1, 1000000000]", "-1",
     "a rank without progress for so many seconds ends the job, also in the first step and while it waits for a "
     "checkpoint to be read or written (not for what is written in the background); 0: never; -1: an hour, which file "
     "systems need to come back after a failover, or twice data.io_patience_s, or twenty times the longest step",
     0},

    {"pack.lists", VJ_SET_TEXTS, AT(pack.lists), "", "[]",
     "media lists: lines \"path\" or \"path label\", CSV (commas, tabs, ...) with a header path,LABEL,..., JSON, or "
     "folders; one dataset, lists",
     0},
    {"pack.datasets", VJ_SET_DATASETS, AT(pack.dataset), "", "[]", "instead of pack.lists: datasets, a list of maps",
     0},
    {"pack.held_out_ids", VJ_SET_TEXTS, AT(pack.held_out_ids), "", "[]",
     "lists of ids or file names, or published lists of a validation split: such files are left out", 0},
    {"pack.held_out_videos", VJ_SET_TEXTS, AT(pack.held_out_videos), "", "[]",
     "media lists: videos that look like one of these are left out, however they were encoded", 0},
    {"pack.duplicates", VJ_SET_CHOICE, AT(pack.duplicates), "keep | drop", "keep",
     "drop: files listed before, and videos that look like an earlier one, are left out; looks take time to decode", 0},
    {"pack.store", VJ_SET_TEXT, AT(pack.store), "", "", "clip store to write, NAME.clips", 0},
    {"pack.short_side", VJ_SET_INTEGER, AT(pack.short_side), "[0, 8192]", "256",
     "short side of the frames in pixels, at least 8; 0: frames keep their size, as evaluation wants pictures "
     "(pack.frames 1)",
     0},
    {"pack.frames", VJ_SET_INTEGER, AT(pack.frames), "[1, 1024]", "16", "frames a clip", 0},
    {"pack.step", VJ_SET_INTEGER, AT(pack.step), "[1, 1024]", "4", "sampling step in frames of the video", 0},
    {"pack.windows", VJ_SET_INTEGER, AT(pack.windows), "[1, 4096]", "1", "clips a video, one per equal segment", 0},
    {"pack.random_windows", VJ_SET_CHOICE, AT(pack.random_windows), "false | true | centre", "false",
     "where a window lies inside its segment: at its start, at a random place, or in its middle", 0},
    {"pack.overlap", VJ_SET_CHOICE, AT(pack.overlap), BOOLEAN, "false",
     "windows of segments that are shorter than a window overlap, as in the published evaluation; false: they stay "
     "inside their segments and end in copies of the last frame, as in pretraining",
     0},
    {"pack.codec", VJ_SET_CHOICE, AT(pack.codec), "raw | jpeg", "raw",
     "how frames are stored; jpeg takes about a tenth of the bytes and ten times the time to read", 0},
    {"pack.jpeg_quality", VJ_SET_INTEGER, AT(pack.jpeg_quality), "[1, 100]", "95", "quality of codec jpeg", 0},
    {"pack.jpeg_chroma", VJ_SET_CHOICE, AT(pack.jpeg_chroma), "420 | 444", "420",
     "colour of codec jpeg: at half the resolution, or in full", 0},
    {"pack.shard_mb", VJ_SET_INTEGER, AT(pack.shard_mb), "[1, 1048576]", "1024", "size of a shard in MB, about", 0},
    {"pack.seed", VJ_SET_INTEGER, AT(pack.seed), "[0, 9007199254740992]", "0",
     "seed of random windows and of how files are spread over shards", 0},
    {"pack.decode", VJ_SET_CHOICE, AT(pack.decode_all), "needed | all", "needed",
     "all: decode whole videos, so that damage outside the kept frames is seen too", 0},
    {"pack.max_damage", VJ_SET_NUMBER, AT(pack.max_damage), "[0, 1]", "0.1",
     "share of damaged or missing frames up to which a clip is packed", 0},
    {"pack.max_refused", VJ_SET_NUMBER, AT(pack.max_refused), "[0, 1]", "0.02",
     "share of a dataset's files (or one file) that may be missing, unreadable, or beyond the limits of time or memory",
     0},
    {"pack.max_pixels_m", VJ_SET_INTEGER, AT(pack.max_pixels_m), "[1, 1024]", "64",
     "pictures of more million pixels are refused", 0},
    {"pack.max_file_mb", VJ_SET_INTEGER, AT(pack.max_file_mb), "[1, 1048576]", "1000", "larger files are refused", 0},
    {"pack.workers", VJ_SET_INTEGER, AT(pack.workers), "[0, 1024]", "0",
     "decoding processes of each rank; 0: one for each of its cores", 0},
    {"pack.worker_memory_mb", VJ_SET_INTEGER, AT(pack.worker_memory_mb), "[64, 1048576]", "4096",
     "address space of a decoding process; a file that needs more is tried again alone with twice as much, then "
     "refused",
     0},
    {"pack.worker_seconds", VJ_SET_NUMBER, AT(pack.worker_seconds), "(0, 86400]", "600",
     "a file that takes longer is tried again alone with twice the time, then refused", 0},
    {"pack.buffer_mb", VJ_SET_INTEGER, AT(pack.buffer_mb), "[1, 1048576]", "1024",
     "decoded clips that a rank holds until their turn to be written comes", 0},

    {"data.train", VJ_SET_TEXTS, AT(data.train), "", "[]",
     "clip stores to train on, concatenated; images (one frame a clip) are shown as data.frames equal frames", 0},
    {"data.validation", VJ_SET_TEXTS, AT(data.validation), "", "[]", "clip stores to evaluate on", 0},
    {"data.frames", VJ_SET_INTEGER, AT(data.frames), "[1, 1024]", "16", "frames a clip", 0},
    {"data.crop", VJ_SET_INTEGER, AT(data.crop), "[1, 8192]", "224", "side of the square the model sees, in pixels", 0},
    {"data.crop_scale", VJ_SET_RANGE, AT(data.crop_scale), "(0, 1]", "[0.3, 1]",
     "area of the random crop as a share of the frame", 0},
    {"data.crop_aspect", VJ_SET_RANGE, AT(data.crop_aspect), "(0, 100]", "[0.75, 1.35]",
     "width / height of the random crop", 0},
    {"data.flip", VJ_SET_NUMBER, AT(data.flip), "[0, 1]", "0.5", "probability of mirroring a clip", 0},
    {"data.mean", VJ_SET_VECTOR, AT(data.mean), "[0, 1]", "[0.485, 0.456, 0.406]", "subtracted from red, green, blue",
     0},
    {"data.std", VJ_SET_VECTOR, AT(data.std), "(0, 1]", "[0.229, 0.224, 0.225]", "red, green, blue are divided by it",
     0},
    {"data.threads", VJ_SET_INTEGER, AT(data.threads), "[1, 256]", "2", "loader threads a rank", 0},
    {"data.read_ahead", VJ_SET_INTEGER, AT(data.read_ahead), "[1, 1024]", "4", "batches read ahead", 0},
    {"data.weights", VJ_SET_TEXTS, AT(data.weights), "", "[]",
     "mixture, [DATASET=SHARE, ...] for every dataset of the stores, 0 leaves one out; []: every clip once an epoch",
     0},
    {"data.shuffle", VJ_SET_CHOICE, AT(data.shuffle), "global | block", "global",
     "order of an epoch: any clip after any other, or data.block_shards shards after others (for slow disks)", 0},
    {"data.block_shards", VJ_SET_INTEGER, AT(data.block_shards), "[1, 1048576]", "16",
     "shards whose clips are mixed with one another when data.shuffle is block", 0},
    {"data.verify", VJ_SET_NUMBER, AT(data.verify), "[0, 1]", "1", "share of reads whose checksum is compared", 0},
    {"data.io_patience_s", VJ_SET_NUMBER, AT(data.io_patience_s), "[-1, 1000000000]", "-1",
     "seconds to try again when a shard cannot be read (a file server that restarts), before the run ends; no other "
     "clip is taken for it. -1: 300, or half of run.watchdog_s if that is less; 0: no second try",
     0},
    {"data.cache", VJ_SET_TEXT, AT(data.cache), "", "",
     "folder on a disk of the node that keeps copies of clips once read; \"\": none", 0},
    {"data.cache_gb", VJ_SET_NUMBER, AT(data.cache_gb), "(0, 1000000]", "64",
     "GB that a node may keep in data.cache of the stores of data.train", 0},

    {"model.size", VJ_SET_TEXT, AT(model.size), "tiny | small | base | large | huge | giant | custom", "large",
     "sets width, depth, heads and mlp_ratio; custom: they are given", 0},
    {"model.width", VJ_SET_INTEGER, AT(model.width), "[0, 65536]", "0", "width of a token; 0: from model.size", 0},
    {"model.depth", VJ_SET_INTEGER, AT(model.depth), "[0, 1024]", "0", "blocks; 0: from model.size", 0},
    {"model.heads", VJ_SET_INTEGER, AT(model.heads), "[0, 1024]", "0", "attention heads; 0: from model.size", 0},
    {"model.mlp_ratio", VJ_SET_NUMBER, AT(model.mlp_ratio), "[0, 64]", "0",
     "hidden width of the MLP over the width; 0: from model.size, 4 if custom", 0},
    {"model.patch", VJ_SET_INTEGER, AT(model.patch), "[1, 1024]", "16", "side of a patch in pixels", 0},
    {"model.tubelet", VJ_SET_INTEGER, AT(model.tubelet), "[1, 1024]", "2", "frames of a patch", 0},
    {"model.uniform_power", VJ_SET_CHOICE, AT(model.uniform_power), BOOLEAN, "true",
     "position tables: one third of the width each for time, row, column; false: 1/2, 1/4, 1/4", 0},
    {"model.init", VJ_SET_CHOICE, AT(model.init), "published | fan_in", "published",
     "published: normal(0, 0.02); fan_in: normal(0, 1/fan_in), for small models", 0},

    {"predictor.width", VJ_SET_INTEGER, AT(predictor.width), "[2, 65536]", "384", "width of a token", 0},
    {"predictor.depth", VJ_SET_INTEGER, AT(predictor.depth), "[1, 1024]", "12", "blocks", 0},
    {"predictor.heads", VJ_SET_INTEGER, AT(predictor.heads), "[0, 1024]", "0",
     "attention heads; 0: as many as the encoder", 0},
    {"predictor.zero_init_mask_tokens", VJ_SET_CHOICE, AT(predictor.zero_init_mask_tokens), BOOLEAN, "true",
     "mask tokens start at zero; false: normal(0, 0.02)", 0},

    {"mask.cut", VJ_SET_CHOICE, AT(mask.cut), "group | none", "group",
     "group: index lists are cut to the shortest of mask.group clips; none: every token is kept", 0},
    {"mask.group", VJ_SET_INTEGER, AT(mask.group), "[1, 65536]", "24",
     "consecutive clips of a batch whose lists are cut to one length", 0},
    {"mask.generators", VJ_SET_GENERATORS, AT(mask.generator), "",
     "[{kind: multiblock, blocks: 8, spatial_scale: [0.15, 0.15]},"
     " {kind: multiblock, blocks: 2, spatial_scale: [0.7, 0.7]}]",
     "the masks of a clip, a list of maps", 0},

    {"objective.kind", VJ_SET_CHOICE, AT(objective.kind), "feature | pixel", "feature",
     "feature: predict the target encoder's output; pixel: the masked pixels (baseline)", 0},
    {"objective.loss_exp", VJ_SET_NUMBER, AT(objective.loss_exp), "[1, 8]", "1",
     "exponent e of the feature loss |z - h|^e / e", 0},
    {"objective.reg_coeff", VJ_SET_NUMBER, AT(objective.reg_coeff), "[0, 1000000]", "0",
     "weight of the penalty on small spread of the predictions", 0},
    {"objective.normalise_pixels", VJ_SET_CHOICE, AT(objective.normalise_pixels), BOOLEAN, "true",
     "pixel: each target patch has mean 0 and variance 1", 0},

    {"train.batch", VJ_SET_INTEGER, AT(train.batch), "[1, 16777216]", "3072", "clips a step, over all ranks", 0},
    {"train.microbatch", VJ_SET_INTEGER, AT(train.microbatch), "[1, 65536]", "4",
     "clips a forward and backward pass; the fixed unit of which gradients are summed", 0},
    {"train.steps_per_epoch", VJ_SET_INTEGER, AT(train.steps_per_epoch), "[1, 1000000000]", "300",
     "steps an epoch of the schedules", 0},
    {"train.epochs", VJ_SET_INTEGER, AT(train.epochs), "[1, 1000000]", "300", "epochs", 0},
    {"train.schedule_scale", VJ_SET_NUMBER, AT(train.schedule_scale), "[1, 100]", "1.25",
     "the schedules are made for this many times the steps, and cut", 0},
    {"train.stop_after", VJ_SET_INTEGER, AT(train.stop_after), "[0, 1000000000000]", "0",
     "stop after this many steps, schedules unchanged; 0: epochs * steps_per_epoch", 0},
    {"train.precision", VJ_SET_TEXT, AT(train.precision), "fp32 | bf16 | auto", "fp32",
     "operands of matrix products; auto: bf16 where the processor or GPU multiplies it itself", 0},
    {"train.backend", VJ_SET_TEXT, AT(train.backend), "auto | cpu | cuda | strict", "auto",
     "auto: cuda if this build and this machine have it, else cpu; strict: the cpu kernels on memory the host may not "
     "touch, for tests",
     0},
    {"train.products", VJ_SET_TEXT, AT(train.products),
     "own | onednn | cblas | auto | amx | avx512bf16 | avx512 | avx2 | portable | mma | wgmma | cublaslt", "own",
     "who multiplies matrices. own: own kernels, on GPUs also cuBLASLt where it is faster; own kernels of one "
     "instruction set (mma, wgmma on GPUs) alone; a library (on CPUs in fp32); auto: the fastest at start",
     0},
    {"train.recompute", VJ_SET_CHOICE, AT(train.recompute), "none | attention | block", "none",
     "computed again in the backward pass to save memory. attention: qkv and attention; block: all but its input", 0},
    {"train.max_bad_steps", VJ_SET_INTEGER, AT(train.max_bad_steps), "[1, 1000000]", "10",
     "the run is lost after this many bad steps in a row: non-finite, or beyond a bound of train.rollback_*", 0},
    {"train.rollback_limit", VJ_SET_INTEGER, AT(train.rollback_limit), "[0, 1000000]", "1",
     "a lost run returns to its last checkpoint and skips the samples that followed, so often; then it stops", 0},
    {"train.rollback_loss", VJ_SET_NUMBER, AT(train.rollback_loss), "[0, 1e+30]", "3",
     "a step is bad if its loss is over so many times the mean of the last 100 or so good ones; 0: off", 0},
    {"train.rollback_std", VJ_SET_NUMBER, AT(train.rollback_std), "[0, 1e+30]", "0",
     "a step is bad if the target features' standard deviation is below; 0: off", 0},
    {"train.rollback_rank", VJ_SET_NUMBER, AT(train.rollback_rank), "[0, 65536]", "0",
     "a step is bad if their effective rank is below; counts where it is measured (log.rank_every); 0: off", 0},

    {"optimizer.start_lr", VJ_SET_NUMBER, AT(optimizer.start_lr), "[0, 1000]", "2e-4", "learning rate at step 0", 0},
    {"optimizer.lr", VJ_SET_NUMBER, AT(optimizer.lr), "[0, 1000]", "6.25e-4", "learning rate after the warm-up", 0},
    {"optimizer.final_lr", VJ_SET_NUMBER, AT(optimizer.final_lr), "[0, 1000]", "1e-6",
     "learning rate at the end of the cosine", 0},
    {"optimizer.warmup_epochs", VJ_SET_NUMBER, AT(optimizer.warmup_epochs), "[0, 1000000]", "40",
     "epochs of linear growth of the learning rate", 0},
    {"optimizer.weight_decay", VJ_SET_NUMBER, AT(optimizer.weight_decay), "[0, 1000]", "0.04",
     "weight decay at the start", 0},
    {"optimizer.final_weight_decay", VJ_SET_NUMBER, AT(optimizer.final_weight_decay), "[0, 1000]", "0.4",
     "weight decay at the end of the cosine", 0},
    {"optimizer.beta1", VJ_SET_NUMBER, AT(optimizer.beta1), "[0, 1)", "0.9", "decay of the first moment", 0},
    {"optimizer.beta2", VJ_SET_NUMBER, AT(optimizer.beta2), "[0, 1)", "0.999", "decay of the second moment", 0},
    {"optimizer.eps", VJ_SET_NUMBER, AT(optimizer.eps), "(0, 1]", "1e-8", "added to the root of the second moment", 0},
    {"optimizer.clip_grad", VJ_SET_NUMBER, AT(optimizer.clip_grad), "[0, 1e+30]", "10",
     "largest gradient norm, encoder and predictor apart; 0: no limit", 0},
    {"optimizer.clip_from_epoch", VJ_SET_NUMBER, AT(optimizer.clip_from_epoch), "[-1, 1000000]", "-1",
     "first epoch, from 0, with clipping; negative: as published, epochs above warmup_epochs", 0},
    {"optimizer.ema", VJ_SET_RANGE, AT(optimizer.ema), "[0, 1]", "[0.998, 1]",
     "momentum of the target encoder, start and end", 0},
    {"optimizer.predictor_lr_scale", VJ_SET_NUMBER, AT(optimizer.predictor_lr_scale), "(0, 1000]", "1",
     "the predictor's learning rate over the encoder's", 0},

    {"parallel.tensor", VJ_SET_INTEGER, AT(parallel.tensor), "[1, 64]", "1",
     "ranks of a node that share each block's heads and hidden layer; groups of them share the batch", 0},
    {"parallel.tensor_sequence", VJ_SET_CHOICE, AT(parallel.tensor_sequence), BOOLEAN, "false",
     "they also divide the stream between the products by tokens: less memory, more exchanges", 0},
    {"parallel.zero", VJ_SET_INTEGER, AT(parallel.zero), "[0, 1]", "0",
     "1: optimizer state is split over the ranks (of one tensor rank)", 0},
    {"parallel.reduction", VJ_SET_CHOICE, AT(parallel.reduction), "fast | reproducible", "fast",
     "reproducible: 1, 2, 4, ... ranks train the same bits; costs a gradient's memory per doubling of a rank's "
     "microbatches",
     0},
    {"parallel.check_every", VJ_SET_INTEGER, AT(parallel.check_every), "[0, 1000000000]", "100",
     "steps between checks that ranks which should hold the same do, also made before each checkpoint; 0: none", 0},
    /* Measured: 4 sums 64 MiB fastest, 16 takes a third longer, a step does not notice (tests/bench/RESULTS.md). */
    {"parallel.bucket_mb", VJ_SET_INTEGER, AT(parallel.bucket_mb), "[1, 256]", "4",
     "MiB of the gradient that the ranks sum at a time, while the backward pass makes the rest", 0},

    {"checkpoint.every", VJ_SET_INTEGER, AT(checkpoint.every), "[0, 1000000000]", "1000",
     "steps between checkpoints; 0: only at the end", 0},
    {"checkpoint.every_minutes", VJ_SET_NUMBER, AT(checkpoint.every_minutes), "[0, 1000000]", "0",
     "minutes between checkpoints; 0: off", 0},
    {"checkpoint.keep", VJ_SET_INTEGER, AT(checkpoint.keep), "[1, 1000000]", "2", "newest checkpoints that are kept",
     0},
    {"checkpoint.keep_every", VJ_SET_INTEGER, AT(checkpoint.keep_every), "[0, 1000000000]", "0",
     "checkpoints of steps that are multiples of this are kept for ever; 0: none", 0},
    {"checkpoint.async", VJ_SET_CHOICE, AT(checkpoint.async), BOOLEAN, "false",
     "write in the background, from a copy in memory: training waits for the copy only", 0},
    {"checkpoint.at_end", VJ_SET_CHOICE, AT(checkpoint.at_end), BOOLEAN, "true", "write one after the last step", 0},

    {"log.print_every", VJ_SET_INTEGER, AT(log.print_every), "[0, 1000000000]", "10",
     "steps between lines on the screen; 0: none", 0},
    {"log.rank_every", VJ_SET_INTEGER, AT(log.rank_every), "[0, 1000000000]", "50",
     "steps between effective ranks of the target features; 0: never", 0},
    {"log.rank_alarm", VJ_SET_NUMBER, AT(log.rank_alarm), "[0, 65536]", "8",
     "say so when the effective rank falls below; 0: never", 0},

    {"watch.every", VJ_SET_INTEGER, AT(watch.every), "[0, 1000000000]", "0",
     "measure what the target features are worth after the first step and every so many, by a small probe: columns "
     "watch_knn and watch_probe of the metrics; 0: never",
     0},
    {"watch.train", VJ_SET_TEXTS, AT(watch.train), "", "[]", "labelled clip or image stores that it learns from", 0},
    {"watch.validation", VJ_SET_TEXTS, AT(watch.validation), "", "[]", "labelled clip stores that it is measured on",
     0},
    {"watch.task", VJ_SET_TEXT, AT(watch.task), "", "", "name of the label; \"\": the first", 0},
    {"watch.clips", VJ_SET_INTEGER, AT(watch.clips), "[0, 1000000]", "1000",
     "labelled clips of each side at most, drawn from all classes alike; 0: all", 0},
    {"watch.epochs", VJ_SET_INTEGER, AT(watch.epochs), "[0, 1000]", "10",
     "epochs of the attentive probe, which keeps all tokens of these clips in the memory of rank 0; 0: nearest "
     "neighbours alone",
     0},

    {"embed.store", VJ_SET_TEXT, AT(embed.store), "", "", "feature store to write", 0},
    {"embed.dtype", VJ_SET_TEXT, AT(embed.dtype), "f32 | f16 | bf16", "f32",
     "type of stored features, of vjepa-evaluate too (probe.features); f16 and bf16 take half the room: f16 is finer, "
     "bf16 has no largest value to overflow",
     0},
    {"embed.batch", VJ_SET_INTEGER, AT(embed.batch), "[1, 65536]", "32", "clips a pass", 0},
    {"embed.limit", VJ_SET_INTEGER, AT(embed.limit), "[0, 1000000000000]", "0",
     "only this many clips, spread over the store by a permutation; 0: all", 0},

    {"probe.tasks", VJ_SET_TEXTS, AT(probe.tasks), "", "[]", "label names to learn; none: all of the store", 0},
    {"probe.pooling", VJ_SET_TEXTS, AT(probe.pooling),
     "attentive | average | tokens1 | tokens2 | tokens3 | tokens4 | tokens5 | tokens6 | tokens7 | tokens8",
     "[attentive, average]",
     "kinds of probe; tokens4 (vjepa-evaluate alone): attentive behind 3 blocks on all tokens, as in V-JEPA 2", 0},
    {"probe.labels", VJ_SET_SHARES, AT(probe.labels), "(0, 100]", "[100]", "shares of the labels, in percent", 0},
    {"probe.clips", VJ_SET_INTEGER, AT(probe.clips), "[0, 1000000000000]", "0",
     "labelled clips that are 100 %, drawn from the training stores; 0: all", 0},
    {"probe.split", VJ_SET_CHOICE, AT(probe.split), "class | uniform", "class",
     "how a share of the labels is drawn: the same share of each class, or of all labelled clips together", 0},
    {"probe.split_files", VJ_SET_TEXT, AT(probe.split_files), "", "",
     "folder of split files to train on, such as splits/ of another campaign's results; none: splits are drawn", 0},
    {"probe.paper", VJ_SET_TEXT, AT(probe.paper), "", "",
     "CSV file of published results, whose cells stand beside ours where names of encoder and task are its row and "
     "column",
     0},
    {"probe.paper_table", VJ_SET_TEXT, AT(probe.paper_table), "", "",
     "only cells of this table of probe.paper; none: any", 0},
    {"probe.features", VJ_SET_TEXT, AT(probe.features), "", "online",
     "vjepa-evaluate: online: training views are encoded anew in every epoch; stored:K, with a number K: K of them are "
     "encoded and kept on disk meanwhile, epoch e reads number e mod K; stored: one, the centre",
     0},
    {"probe.seeds", VJ_SET_INTEGER, AT(probe.seeds), "[1, 1000]", "3", "repetitions: splits and first weights", 0},
    {"probe.epochs", VJ_SET_INTEGER, AT(probe.epochs), "[1, 1000000]", "20", "passes over the clips of a share", 0},
    {"probe.batch", VJ_SET_INTEGER, AT(probe.batch), "[1, 16777216]", "256", "clips a step", 0},
    {"probe.start_lr", VJ_SET_NUMBER, AT(probe.start_lr), "[0, 1000]", "0",
     "learning rate from which the warm-up grows, if there is one (probe.warmup_epochs)", 0},
    {"probe.lr", VJ_SET_NUMBER, AT(probe.lr), "[0, 1000]", "1e-3", "learning rate after the warm-up", 0},
    {"probe.final_lr", VJ_SET_NUMBER, AT(probe.final_lr), "[0, 1000]", "0", "learning rate at the end of the cosine",
     0},
    {"probe.weight_decay", VJ_SET_NUMBER, AT(probe.weight_decay), "[0, 1000] | auto", "auto",
     "weight decay at the start; auto: 0.01, of images 0.001 (evaluate.preset paper: 0.01)", 0},
    {"probe.final_weight_decay", VJ_SET_NUMBER, AT(probe.final_weight_decay), "[0, 1000]", "1e-6",
     "weight decay at the end of the cosine", 0},
    {"probe.clip_grad", VJ_SET_NUMBER, AT(probe.clip_grad), "[0, 1e+30]", "1", "largest gradient norm; 0: no limit", 0},
    {"probe.init_std", VJ_SET_NUMBER, AT(probe.init_std), "(0, 100]", "0.02", "standard deviation of the first weights",
     0},
    {"probe.warmup_epochs", VJ_SET_NUMBER, AT(probe.warmup_epochs), "[0, 1000000]", "0",
     "epochs of linear growth of the learning rate", 0},
    {"probe.equal_updates", VJ_SET_CHOICE, AT(probe.equal_updates), BOOLEAN, "false",
     "fewer labels make more epochs, so that every share gets as many updates", 0},
    {"probe.as_published", VJ_SET_CHOICE, AT(probe.as_published), BOOLEAN, "false",
     "beside top-1 also what the released code prints: the mean over batches on 64 GPUs, in which the samples that "
     "fill up the last one count twice",
     0},
    {"probe.folded", VJ_SET_CHOICE, AT(probe.folded), BOOLEAN, "true",
     "the attentive probe in its folded form: the same numbers with about 30 times fewer operations", 0},

    {"evaluate.segments", VJ_SET_INTEGER, AT(evaluate.segments), "[1, 64]", "1",
     "clips of a video that make one sample, spread over its stored windows; an image is always one", 0},
    {"evaluate.across_segments", VJ_SET_CHOICE, AT(evaluate.across_segments), BOOLEAN, "true",
     "probes see the tokens of a sample's clips together; false: each clip apart, one of them in training, and in "
     "testing the mean of the probabilities over all clips and crops counts",
     0},
    {"evaluate.views", VJ_SET_INTEGER, AT(evaluate.views), "[1, 16]", "1",
     "crops of a test sample, along the longer side; 1: the centre", 0},
    {"evaluate.average", VJ_SET_CHOICE, AT(evaluate.average), "softmax | logits", "softmax",
     "what is averaged over the views of a test sample: probabilities, as published, or the scores before them, for "
     "comparison",
     0},
    {"evaluate.short_side", VJ_SET_INTEGER, AT(evaluate.short_side), "[0, 65536]", "0",
     "pixels of the short side out of whose middle the one test crop is cut; 0: data.crop * 256 / 224, as published",
     0},
    {"evaluate.preset", VJ_SET_CHOICE, AT(evaluate.preset), "code | paper", "code",
     "what auto means in this section: training views as in the released code, or as the paper describes them "
     "(docs/method.md, section 12.4)",
     0},
    {"evaluate.augment", VJ_SET_CHOICE, AT(evaluate.augment), "auto | none | randaugment | autoaugment", "auto",
     "operations on training views; auto: of videos randaugment (preset paper: none), of images autoaugment", 0},
    {"evaluate.flip", VJ_SET_NUMBER, AT(evaluate.flip), "[0, 1] | auto", "auto",
     "probability that a training view is mirrored; auto: of videos 0 (preset paper: 0.5), of images 0.5", 0},
    {"evaluate.erasing", VJ_SET_NUMBER, AT(evaluate.erasing), "[0, 1] | auto", "auto",
     "probability that a box of a training view is replaced by noise; auto: 0.25 (preset paper, videos: 0)", 0},
    {"evaluate.random_windows", VJ_SET_CHOICE, AT(evaluate.random_windows), "never | training | always", "never",
     "draw the windows of a sample anew in every epoch, where a video has more than evaluate.segments; never: evenly "
     "spaced windows, the same in all epochs",
     0},
    {"evaluate.image_frames", VJ_SET_INTEGER, AT(evaluate.image_frames), "[1, 4096]", "16",
     "equal frames that an image (a store with one frame a clip) is shown as; 2 cost an eighth of 16", 0},
    {"evaluate.batch", VJ_SET_INTEGER, AT(evaluate.batch), "[1, 65536]", "8",
     "samples that a rank encodes at a time; changes memory and speed, never the results", 0},
    {"evaluate.limit", VJ_SET_INTEGER, AT(evaluate.limit), "[0, 1000000000000]", "0",
     "training samples to draw splits from, spread over the stores by a permutation; 0: all", 0},
    {"evaluate.depth", VJ_SET_INTEGER, AT(evaluate.depth), "[1, 64]", "1",
     "attentive probes: 1, or more: with depth - 1 blocks on the query (V-JEPA 1's deep probes)", 0},
    {"evaluate.measure_every", VJ_SET_INTEGER, AT(evaluate.measure_every), "[0, 1000000]", "0",
     "epochs between measurements, which are only printed; 0: the last alone, which counts", 0},
    {"evaluate.sweep_lr", VJ_SET_SHARES, AT(evaluate.sweep_lr), "(0, 1000]", "[]",
     "learning rates to try; the choice is made on a tenth of the training samples, held out; none: probe.lr", 0},
    {"evaluate.sweep_wd", VJ_SET_SHARES, AT(evaluate.sweep_wd), "[0, 1000]", "[]",
     "weight decays to try, likewise; with a sweep each is kept to the end, all tensors decay, nothing is clipped", 0},
    {"evaluate.sweep_more", VJ_SET_CHOICE, AT(evaluate.sweep_more), BOOLEAN, "false",
     "one combination more: probe.lr without a warm-up, and probe.weight_decay that falls to probe.final_weight_decay, "
     "as the 21st of V-JEPA 2 for ImageNet",
     0},
    {"evaluate.sweep_flops", VJ_SET_NUMBER, AT(evaluate.sweep_flops), "[0, 1000000]", "5",
     "refuse probes that together cost more than so many times one of them alone, the encoder included, in operations: "
     "those with blocks on the tokens cost as much as an encoder each; 0: no limit",
     0},

    {"cluster.name", VJ_SET_TEXT, AT(cluster.name), "", "this machine", "the machine that is planned for", 0},
    {"cluster.nodes", VJ_SET_INTEGER, AT(cluster.nodes), "[1, 1000000]", "1", "nodes of a job", 0},
    {"cluster.cores_per_node", VJ_SET_INTEGER, AT(cluster.cores_per_node), "[0, 65536]", "0",
     "cores of a node; 0: of this machine", 0},
    {"cluster.numa_per_node", VJ_SET_INTEGER, AT(cluster.numa_per_node), "[1, 1024]", "1",
     "memory domains of a node; a rank's threads stay in one", 0},
    {"cluster.memory_gb", VJ_SET_NUMBER, AT(cluster.memory_gb), "[0, 1000000]", "0",
     "memory of a node in GB (1e9 bytes); 0: of this machine", 0},
    {"cluster.gflops_fp32", VJ_SET_NUMBER, AT(cluster.gflops_fp32), "(0, 1000000]", "225",
     "GFLOP/s that a core reaches in fp32 training, without the update (vjepa-bench step: compute gflops over cores; "
     "jobs/calibrate measures all rates)",
     0},
    {"cluster.gflops_bf16", VJ_SET_NUMBER, AT(cluster.gflops_bf16), "(0, 1000000]", "550", "the same in bf16", 0},
    {"cluster.memory_gb_s", VJ_SET_NUMBER, AT(cluster.memory_gb_s), "(0, 1000000]", "50",
     "GB/s of a node's memory, read and written in place (vjepa-bench elementwise: adamw+ema)", 0},
    {"cluster.sum_gb_s", VJ_SET_NUMBER, AT(cluster.sum_gb_s), "(0, 1000000]", "5.6",
     "GB/s at which a node's ranks sum gradients (vjepa-bench allreduce: reduction)", 0},
    {"cluster.tensor_gb_s", VJ_SET_NUMBER, AT(cluster.tensor_gb_s), "(0, 1000000]", "1.5",
     "GB/s at which a tensor group sums activations (vjepa-bench allreduce: group)", 0},
    {"cluster.gpus_per_node", VJ_SET_INTEGER, AT(cluster.gpus_per_node), "[0, 64]", "0",
     "GPUs of a node, a rank each; 0: the processors train", 0},
    {"cluster.gpu_tflops_fp32", VJ_SET_NUMBER, AT(cluster.gpu_tflops_fp32), "(0, 1000000]", "30",
     "TFLOP/s that a GPU reaches in fp32 training, without the update", 0},
    {"cluster.gpu_tflops_bf16", VJ_SET_NUMBER, AT(cluster.gpu_tflops_bf16), "(0, 1000000]", "460", "the same in bf16",
     0},
    {"cluster.gpu_memory_gb", VJ_SET_NUMBER, AT(cluster.gpu_memory_gb), "(0, 1000000]", "80",
     "memory of a GPU in GB (1e9 bytes)", 0},
    {"cluster.gpu_gb_s", VJ_SET_NUMBER, AT(cluster.gpu_gb_s), "(0, 1000000]", "3000", "GB/s of a GPU's memory", 0},
    {"cluster.gpu_link_gb_s", VJ_SET_NUMBER, AT(cluster.gpu_link_gb_s), "(0, 1000000]", "350",
     "GB/s between a GPU and the others of its node, each way", 0},
    {"cluster.gpu_host_gb_s", VJ_SET_NUMBER, AT(cluster.gpu_host_gb_s), "(0, 1000000]", "25",
     "GB/s between a GPU and its host's memory, all GPUs of a node at work", 0},
    {"cluster.gpu_to_gpu", VJ_SET_CHOICE, AT(cluster.gpu_to_gpu), BOOLEAN, "false",
     "MPI takes memory of GPUs, as the log of a run says (\"MPI from GPU to GPU between nodes\"); false: messages "
     "between nodes go through pinned memory of the hosts",
     0},
    {"cluster.network_gb_s", VJ_SET_NUMBER, AT(cluster.network_gb_s), "(0, 1000000]", "10",
     "GB/s into a node, and out of it at the same time", 0},
    {"cluster.message_us", VJ_SET_NUMBER, AT(cluster.message_us), "[0, 1000000]", "1",
     "microseconds that a message between nodes costs a rank", 0},
    {"cluster.filesystem_gb_s", VJ_SET_NUMBER, AT(cluster.filesystem_gb_s), "(0, 1000000]", "1",
     "GB/s of the file system, all nodes together", 0},
    {"cluster.decode_fps_720p", VJ_SET_NUMBER, AT(cluster.decode_fps_720p), "(0, 1000000000]", "500",
     "frames of 1280 x 720 that a core decodes a second", 0},
    {"cluster.decode_fps_240p", VJ_SET_NUMBER, AT(cluster.decode_fps_240p), "(0, 1000000000]", "6900",
     "frames of 320 x 240 that a core decodes a second", 0},
    {"cluster.job_hours", VJ_SET_NUMBER, AT(cluster.job_hours), "[0, 100000]", "24",
     "hours that a job may run; 0: no limit", 0},
    {"cluster.watts_per_node", VJ_SET_NUMBER, AT(cluster.watts_per_node), "[0, 1000000]", "0",
     "power of a node at work, its share of network and cooling included; 0: not known", 0},
    {"cluster.node_mtbf_hours", VJ_SET_NUMBER, AT(cluster.node_mtbf_hours), "[0, 1000000000]", "0",
     "mean time between failures of a node; 0: not known", 0},
    {"cluster.checkpoint_s", VJ_SET_NUMBER, AT(cluster.checkpoint_s), "[0, 1000000]", "0",
     "seconds to write a checkpoint, as the log says; 0: its size over cluster.filesystem_gb_s", 0},
    {"cluster.restart_minutes", VJ_SET_NUMBER, AT(cluster.restart_minutes), "[0, 100000]", "5",
     "from a failure, or the start of a job, to its first step", 0},

    {"plan.files", VJ_SET_INTEGER, AT(plan.files), "[0, 1000000000000]", "0",
     "media files to pack; 0: those that the lists name", 0},
    {"plan.mean_seconds", VJ_SET_NUMBER, AT(plan.mean_seconds), "(0, 1000000000]", "10", "mean length of a file", 0},
    {"plan.mean_fps", VJ_SET_NUMBER, AT(plan.mean_fps), "(0, 100000]", "30", "mean frames a second", 0},
    {"plan.mean_height", VJ_SET_INTEGER, AT(plan.mean_height), "[1, 65536]", "360", "mean height; the width is 16/9",
     0},
    {"plan.mean_mb", VJ_SET_NUMBER, AT(plan.mean_mb), "[0, 1000000000]", "0",
     "mean size of a file in MB; 0: a tenth of a bit for each pixel", 0},
    {"plan.gop", VJ_SET_INTEGER, AT(plan.gop), "[1, 100000]", "250",
     "frames from key frame to key frame; half of them are decoded before a wanted one", 0},
    {"plan.jpeg_share", VJ_SET_NUMBER, AT(plan.jpeg_share), "(0, 1]", "0.1",
     "bytes of clips stored as jpeg, over their raw bytes", 0},
    {"plan.store_clips", VJ_SET_INTEGER, AT(plan.store_clips), "[0, 1000000000000]", "0",
     "clips of the store; 0: pack.windows of each file, or what the lists say", 0},
};
const int vj_settings_count = sizeof vj_settings / sizeof vj_settings[0];
_Static_assert(sizeof vj_settings / sizeof vj_settings[0] <= VJ_MAX_SETTINGS, "origin.line has a place for each row");
_Static_assert(offsetof(vj_config, probe.labels_count) == offsetof(vj_config, probe.labels) + VJ_MAX_MASKS * 8,
               "VJ_SET_SHARES finds the count behind the numbers");
_Static_assert(offsetof(vj_config, evaluate.sweep_lr_count) ==
                       offsetof(vj_config, evaluate.sweep_lr) + VJ_MAX_MASKS * 8 &&
                   offsetof(vj_config, evaluate.sweep_wd_count) ==
                       offsetof(vj_config, evaluate.sweep_wd) + VJ_MAX_MASKS * 8,
               "VJ_SET_SHARES finds the count behind the numbers");

enum {
    MULTIBLOCK = 1 << VJ_MASK_MULTIBLOCK,
    CAUSAL = 1 << VJ_MASK_CAUSAL,
    TUBE = 1 << VJ_MASK_TUBE,
    BLOCKS = MULTIBLOCK | CAUSAL
};

static const vj_setting generator_settings[] = {
    {"kind", VJ_SET_CHOICE, IN_MASK(kind), "multiblock | causal | tube", "multiblock",
     "causal: multiblock whose context ends early; tube: the same cells in all frames", BLOCKS | TUBE},
    {"blocks", VJ_SET_INTEGER, IN_MASK(blocks), "[1, 4096]", "8", "blocks masked in a clip", BLOCKS},
    {"spatial_scale", VJ_SET_RANGE, IN_MASK(spatial_scale), "(0, 1]", "[0.15, 0.15]",
     "area of a block as a share of the frame", BLOCKS},
    {"temporal_scale", VJ_SET_RANGE, IN_MASK(temporal_scale), "(0, 1]", "[1, 1]",
     "length of a block as a share of the clip", BLOCKS},
    {"aspect", VJ_SET_RANGE, IN_MASK(aspect), "(0, 100]", "[0.75, 1.5]", "height / width of a block", BLOCKS},
    {"max_temporal_keep", VJ_SET_NUMBER, IN_MASK(max_temporal_keep), "(0, 1]", "1",
     "context only from this first share of the clip; causal: below 1", BLOCKS},
    {"max_keep", VJ_SET_INTEGER, IN_MASK(max_keep), "[0, 1000000000]", "0", "context tokens at most; 0: no limit",
     BLOCKS},
    {"ratio", VJ_SET_NUMBER, IN_MASK(ratio), "(0, 1)", "0.9", "share of the cells that is masked", TUBE},
};

enum {
    LISTS = 1 << VJ_LIST_AUTO | 1 << VJ_LIST_CSV | 1 << VJ_LIST_JSON | 1 << VJ_LIST_PLAIN | 1 << VJ_LIST_COCO,
    IDS = 1 << VJ_LIST_KINETICS | 1 << VJ_LIST_SSV2 | 1 << VJ_LIST_HOWTO100M,
    WALKED = 1 << VJ_LIST_FOLDER | 1 << VJ_LIST_IMAGENET
};

static const vj_setting dataset_settings[] = {
    {"name", VJ_SET_TEXT, IN_DATASET(name), "", "", "letters, digits, . _ -; entries of one name are one dataset",
     LISTS | IDS | WALKED},
    {"format", VJ_SET_CHOICE, IN_DATASET(format),
     "auto | csv | json | plain | kinetics | ssv2 | howto100m | coco | folder | imagenet", "auto",
     "auto: by the list's first line (Places205: plain, iNat21: coco); folder: all files below root; imagenet: a class "
     "is a folder in root with files",
     LISTS | IDS | WALKED},
    {"list", VJ_SET_TEXT, IN_DATASET(list), "", "", "the list", LISTS | IDS},
    {"root", VJ_SET_TEXT, IN_DATASET(root), "", "", "folder of the files; \"\": the list's", LISTS | IDS | WALKED},
    {"labels", VJ_SET_TEXT, IN_DATASET(labels), "", "",
     "file of class names, which fixes their numbers; no other class is taken. Lines NAME, from 0, NAME NUMBER or "
     "NUMBER NAME; JSON [name, ...], {name: number} or {number: name}. \"\": classes are numbered in the order of "
     "their "
     "names (coco: by the list)",
     LISTS | 1 << VJ_LIST_KINETICS | 1 << VJ_LIST_SSV2 | 1 << VJ_LIST_IMAGENET},
    {"pattern", VJ_SET_TEXT, IN_DATASET(pattern), "", "",
     "a file's place in root, of {id} {label} {start} {end}; kinetics without {start} and {end}: whole videos, of "
     "which the list says the part; \"\": {id}_{start}_{end}.mp4 (kinetics), {id}.webm (ssv2), {id}.mp4",
     1 << VJ_LIST_AUTO | IDS},
    {"windows", VJ_SET_INTEGER, IN_DATASET(windows), "[0, 4096]", "0", "clips a video of this dataset; 0: pack.windows",
     LISTS | IDS | WALKED},
};

#define ROWS(table) table, sizeof(table) / sizeof(table)[0]

const vj_maps *vj_maps_of(const vj_setting *row)
{
    static const vj_maps generators = {"generator",
                                       "{kind: multiblock, ...}",
                                       ROWS(generator_settings),
                                       0,
                                       sizeof(vj_mask_settings),
                                       VJ_MAX_MASKS,
                                       offsetof(vj_config, mask.count),
                                       offsetof(vj_config, origin.generator_line)};
    static const vj_maps datasets = {"dataset",
                                     "{name: k400, list: k400.csv, ...}",
                                     ROWS(dataset_settings),
                                     1,
                                     sizeof(vj_dataset_settings),
                                     VJ_MAX_LIST,
                                     offsetof(vj_config, pack.dataset_count),
                                     offsetof(vj_config, origin.dataset_line)};
    return row->type == VJ_SET_GENERATORS ? &generators : row->type == VJ_SET_DATASETS ? &datasets : NULL;
}

const vj_setting *vj_setting_find(const char *key)
{
    for (int i = 0; i < vj_settings_count; i++)
        if (strcmp(vj_settings[i].key, key) == 0) return &vj_settings[i];
    return NULL;
}

int vj_setting_find_bare(const char *key, const vj_setting **row, char *names, size_t bytes)
{
    int count = 0;
    size_t used = 0;
    *row = NULL;
    *names = '\0';
    for (int i = 0; i < vj_settings_count; i++) {
        const char *candidate = vj_settings[i].key;
        if (strcmp(strchr(candidate, '.') + 1, key) != 0) continue;
        if (count++ == 0) *row = &vj_settings[i];
        if (used < bytes) used += (size_t)snprintf(names + used, bytes - used, "%s%s", used ? ", " : "", candidate);
    }
    return count;
}

bool vj_setting_allows(const vj_setting *row, double value)
{
    const char *text = row->allowed;
    if (!*text) return isfinite(value);
    char *end;
    double low = strtod(text + 1, &end), high = strtod(end + 1, &end);
    return (*text == '(' ? value > low : value >= low) && (*end == ')' ? value < high : value <= high);
}

bool vj_setting_has_auto(const vj_setting *row)
{
    const char *bar = strchr(row->allowed, '|');
    return row->type == VJ_SET_NUMBER && bar && strcmp(bar, "| auto") == 0;
}

const char *vj_choice_word(const char *choices, int position, int *length)
{
    for (int i = 0; i < position; i++) choices = strstr(choices, " | ") + 3;
    *length = (int)strcspn(choices, " ");
    return choices;
}

int vj_choice_find(const char *choices, const char *word)
{
    size_t length = strlen(word);
    for (int position = 0; *choices; position++) {
        size_t here = strcspn(choices, " ");
        if (here == length && memcmp(choices, word, length) == 0) return position;
        choices += here;
        if (*choices) choices += 3; /* " | " */
    }
    return -1;
}

/* Levenshtein's distance. */
static int edits(const char *a, const char *b)
{
    enum { LONGEST = 64 };
    size_t length = strlen(b);
    int row[LONGEST];
    if (length >= LONGEST) return LONGEST;
    for (size_t j = 0; j <= length; j++) row[j] = (int)j;
    for (size_t i = 0; a[i]; i++) {
        int diagonal = row[0];
        row[0]++;
        for (size_t j = 0; j < length; j++) {
            int change = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            int shorter = row[j] < row[j + 1] ? row[j] : row[j + 1];
            row[j + 1] = change < shorter + 1 ? change : shorter + 1;
        }
    }
    return row[length];
}

void vj_guess_init(vj_guess *guess, const char *word)
{
    /*
     * Accept up to two differing letters in a short word and three in a long one; `distance` starts with the first
     * number that is too large.
     */
    *guess = (vj_guess){.word = word, .distance = strlen(word) < 8 ? 3 : 4};
}

void vj_guess_consider(vj_guess *guess, const char *candidate)
{
    int distance = edits(guess->word, candidate);
    if (distance < guess->distance) {
        guess->distance = distance;
        guess->best = candidate;
    }
}
