/*
 * Every setting of every program, as one struct and one table (settings.c): name, type, default, range, help. A YAML
 * file sets them, then `--set section.key=value`. One file serves the whole pipeline; each program reads its sections.
 */
#ifndef VJ_BASE_CONFIG_H
#define VJ_BASE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

enum { VJ_MAX_MASKS = 8, VJ_MAX_LIST = 16, VJ_PATH = 512, VJ_MAX_SETTINGS = 256, VJ_CONFIG_BYTES = 64000 };

typedef struct {
    int count;
    char item[VJ_MAX_LIST][VJ_PATH];
} vj_strings;

/** Make a list of one path. VJ_ERR_USAGE if it is too long. */
vj_status vj_strings_one(vj_strings *list, const char *path);

/* How a dataset names its files: a list of one of these forms, or a folder that is walked (pack/manifest.h). */
typedef enum {
    VJ_LIST_AUTO,
    VJ_LIST_CSV,
    VJ_LIST_JSON,
    VJ_LIST_PLAIN,
    VJ_LIST_KINETICS,
    VJ_LIST_SSV2,
    VJ_LIST_HOWTO100M,
    VJ_LIST_COCO,
    VJ_LIST_FOLDER,
    VJ_LIST_IMAGENET
} vj_list_format;

/* Media files to pack, of one dataset. Entries with the same name belong to the same dataset. */
typedef struct {
    char name[64];
    int format; /* vj_list_format */
    char list[VJ_PATH], root[VJ_PATH], labels[VJ_PATH], pattern[128];
    int64_t windows; /* clips per video; 0: pack.windows */
} vj_dataset_settings;

typedef enum { VJ_DUPLICATES_KEEP, VJ_DUPLICATES_DROP } vj_duplicates;
typedef enum { VJ_SHUFFLE_GLOBAL, VJ_SHUFFLE_BLOCK } vj_shuffle;
typedef enum { VJ_MASK_MULTIBLOCK, VJ_MASK_CAUSAL, VJ_MASK_TUBE } vj_mask_kind;

/* One mask generator (docs/method.md, section 9). */
typedef struct {
    int kind;   /* vj_mask_kind */
    int blocks; /* multiblock, causal */
    double spatial_scale[2], temporal_scale[2], aspect[2];
    double max_temporal_keep; /* causal: < 1 */
    int64_t max_keep;         /* limit on context tokens; 0: none */
    double ratio;             /* tube: share of cells masked */
} vj_mask_settings;

typedef enum { VJ_CUT_GROUP, VJ_CUT_NONE } vj_mask_cut;
typedef enum { VJ_OBJECTIVE_FEATURE, VJ_OBJECTIVE_PIXEL } vj_objective;
typedef enum { VJ_REDUCTION_FAST, VJ_REDUCTION_REPRODUCIBLE } vj_reduction_kind;
typedef enum { VJ_INIT_PUBLISHED, VJ_INIT_FAN_IN } vj_init;
typedef enum { VJ_PRESET_CODE, VJ_PRESET_PAPER } vj_preset;
typedef enum { VJ_AUGMENT_AUTO, VJ_AUGMENT_NONE, VJ_AUGMENT_RANDAUGMENT, VJ_AUGMENT_AUTOAUGMENT } vj_auto_augment;
typedef enum { VJ_AVERAGE_SOFTMAX, VJ_AVERAGE_LOGITS } vj_average;
typedef enum { VJ_WINDOW_FIRST, VJ_WINDOW_RANDOM, VJ_WINDOW_CENTRE } vj_window_place;
typedef enum { VJ_RANDOM_NEVER, VJ_RANDOM_TRAINING, VJ_RANDOM_ALWAYS } vj_random_windows;
typedef enum { VJ_RECOMPUTE_NONE, VJ_RECOMPUTE_ATTENTION, VJ_RECOMPUTE_BLOCK } vj_recompute;

#define VJ_AUTO (-1.0) /* a number that was given as "auto" */

typedef struct {
    struct {
        char dir[VJ_PATH]; /* run folder: checkpoints, metrics, configuration */
        int64_t seed;
        double max_hours;  /* since the program started; 0: no limit; VJ_AUTO: the batch job's */
        double watchdog_s; /* end the job after this time without progress; 0: never, negative: automatic */
    } run;
    struct {              /* vjepa-pack */
        vj_strings lists; /* media lists; together one dataset, named "lists" */
        int dataset_count;
        vj_dataset_settings dataset[VJ_MAX_LIST];
        vj_strings held_out_ids;    /* lists of ids; files with these ids are left out */
        vj_strings held_out_videos; /* media lists; videos that look like one of theirs are left out */
        int duplicates;             /* vj_duplicates */
        char store[VJ_PATH];        /* NAME.clips */
        int64_t short_side;         /* pixels; 0: frames keep their size */
        int64_t frames, step;       /* F frames, sampling step (docs/method.md, section 10.2) */
        int64_t windows;            /* clips per video, one per equal segment */
        int random_windows;         /* vj_window_place, inside its segment (section 10.2) */
        int overlap;                /* bool: windows of short segments overlap, as in the published evaluation */
        int codec;                  /* vj_codec: raw, jpeg */
        int64_t jpeg_quality;
        int jpeg_chroma; /* 0: 420, 1: 444 */
        int64_t shard_mb, seed;
        int decode_all;     /* bool: decode whole videos, not only what is kept */
        double max_damage;  /* largest share of damaged frames in a packed clip */
        double max_refused; /* largest share of a dataset's files that may fail */
        int64_t max_pixels_m, max_file_mb;
        int64_t workers; /* decoding processes per rank; 0: one per core */
        int64_t worker_memory_mb;
        double worker_seconds;
        int64_t buffer_mb; /* per rank: decoded clips waiting to be written in order */
    } pack;
    struct {
        vj_strings train; /* clip stores, concatenated */
        vj_strings validation;
        int64_t frames, crop; /* frames per clip; side of the square crop in pixels */
        double crop_scale[2], crop_aspect[2], flip;
        double mean[3], std[3];
        int64_t threads, read_ahead; /* loader threads per rank; batches read ahead */
        vj_strings weights;          /* "dataset=share"; empty: every clip once per epoch */
        int shuffle;                 /* vj_shuffle */
        int64_t block_shards;        /* block shuffle: shards that are shuffled together */
        double verify;               /* share of reads whose checksum is compared */
        double io_patience_s;        /* -1: see vj_config_io_patience_s() */
        char cache[VJ_PATH];         /* node-local folder; empty: none */
        double cache_gb;
    } data;
    struct {
        char size[16];               /* tiny small base large huge giant, or custom */
        int64_t width, depth, heads; /* 0: from size */
        double mlp_ratio;            /* 0: from size; 4 if custom */
        int64_t patch, tubelet;
        int uniform_power; /* bool */
        int init;          /* vj_init */
    } model;
    struct {
        int64_t width, depth, heads; /* heads 0: the encoder's */
        int zero_init_mask_tokens;   /* bool */
    } predictor;
    struct {
        int cut;       /* vj_mask_cut */
        int64_t group; /* clips whose token lists are truncated to a common length */
        int count;     /* number of generators */
        vj_mask_settings generator[VJ_MAX_MASKS];
    } mask;
    struct {
        int kind; /* vj_objective */
        double loss_exp, reg_coeff;
        int normalise_pixels; /* bool */
    } objective;
    struct {
        int64_t batch, microbatch; /* clips per step, all ranks; clips per forward-backward pass */
        int64_t steps_per_epoch, epochs;
        double schedule_scale; /* ipe_scale */
        int64_t stop_after;    /* total steps; 0: epochs * steps_per_epoch */
        char precision[8];     /* fp32 bf16 auto; settled by vj_precision_choose() */
        char backend[16];      /* auto cpu cuda strict */
        char products[16];     /* matrix products: own, a library, an instruction set, auto */
        int recompute;         /* vj_recompute */
        int64_t max_bad_steps;
        int64_t rollback_limit; /* how often at most a run may return to its last healthy checkpoint */
        double rollback_loss, rollback_std, rollback_rank; /* bounds of a healthy step; 0: off */
    } train;
    struct {
        double start_lr, lr, final_lr, warmup_epochs;
        double weight_decay, final_weight_decay;
        double beta1, beta2, eps;
        double clip_grad; /* 0: off */
        double
            clip_from_epoch; /* first 0-based epoch with clipping; negative: the first after warm-up + 1 (published) */
        double ema[2];
        double predictor_lr_scale;
    } optimizer;
    struct {
        int64_t tensor;      /* ranks per tensor group, which share one model */
        int tensor_sequence; /* bool: the ranks of a tensor group also divide the residual stream by tokens */
        int zero;            /* 0 | 1: shard optimizer state and EMA over the ranks */
        int reduction;       /* vj_reduction_kind */
        int64_t check_every; /* steps between comparisons of replicas; 0: never */
        int64_t bucket_mb;   /* size of the pieces in which the gradient is summed during the backward pass */
    } parallel;
    struct {
        int64_t every;        /* steps; 0: only at the end */
        double every_minutes; /* 0: off */
        int64_t keep;         /* number of newest checkpoints kept */
        int64_t keep_every;   /* steps; checkpoints at multiples are never removed; 0: none */
        int async;            /* bool: write in the background, from a copy in memory */
        int at_end;           /* bool: write one after the last step */
    } checkpoint;
    struct {
        int64_t print_every, rank_every; /* steps */
        double rank_alarm;               /* log a warning if the effective rank falls below this */
    } log;
    struct {                          /* vjepa-pretrain: a small probe of the target encoder during training */
        int64_t every;                /* steps; 0: never */
        vj_strings train, validation; /* labelled clip stores */
        char task[64];                /* label name; empty: the first label */
        int64_t clips;                /* of each side, at most; 0: all */
        int64_t epochs;               /* of the attentive probe; 0: nearest neighbours alone */
    } watch;
    struct {
        char store[VJ_PATH];  /* feature store written */
        char dtype[8];        /* f32 f16 bf16 */
        int64_t batch, limit; /* clips per pass; number of clips, drawn by a permutation, 0: all */
    } embed;
    struct {
        vj_strings tasks;            /* label names; empty: all */
        vj_strings pooling;          /* attentive average, in vjepa-evaluate tokens<depth> */
        double labels[VJ_MAX_MASKS]; /* shares of the labels, in percent */
        int labels_count;
        int64_t clips;             /* number of labelled clips that counts as 100 %; 0: all */
        int split;                 /* rule that draws a share, vj_split_rule (probe/splits.h) */
        char split_files[VJ_PATH]; /* folder of split files to use instead; "": none */
        char paper[VJ_PATH];       /* CSV file of published results to stand beside ours; "": none */
        char paper_table[32];      /* only cells of this table of it; "": of any */
        char features[24];         /* online, stored, stored:K; vj_config_copies() */
        int64_t seeds, epochs, batch;
        double start_lr, lr, final_lr;
        double weight_decay; /* VJ_AUTO: vj_config_probe_decay() */
        double final_weight_decay, clip_grad, init_std, warmup_epochs;
        int equal_updates; /* bool: train more epochs on smaller shares, so that all get equally many updates */
        int as_published;  /* bool: also top-1 as the released code counts it (vj_metrics_as_published()) */
        int folded;        /* bool: use the folded form of the attentive probe (probe/probe.h) */
    } probe;
    struct {                   /* vjepa-evaluate: what a sample looks like (feed/eval_views.h, feed/eval_set.h) */
        int64_t segments;      /* clips of a video that make a sample */
        int across_segments;   /* bool: a probe sees their tokens together; else each clip apart, one in training */
        int64_t views;         /* crops of a test sample; 1: the centre */
        int average;           /* vj_average: of the views of a test sample */
        int64_t short_side;    /* pixels, of one test crop's clip before the crop; 0: data.crop * 256 / 224 */
        int preset;            /* vj_preset: what `auto` means below */
        int augment;           /* vj_auto_augment of training views */
        double flip, erasing;  /* probabilities in training views; VJ_AUTO: the preset's */
        int random_windows;    /* vj_random_windows */
        int64_t image_frames;  /* an image is shown as this many equal frames */
        int64_t batch;         /* samples that a rank encodes at a time */
        int64_t limit;         /* training samples that splits are drawn from, by a permutation; 0: all */
        int64_t depth;         /* attentive probes: 1 + blocks on the query */
        int64_t measure_every; /* epochs; 0: after the last only */
        double sweep_lr[VJ_MAX_MASKS]; /* learning rates to choose from; none: probe.lr */
        int sweep_lr_count;
        double sweep_wd[VJ_MAX_MASKS]; /* weight decays to choose from; none: probe.weight_decay */
        int sweep_wd_count;
        double sweep_flops; /* upper limit of a campaign's operations, as a multiple of one probe's; 0: no limit */
        int sweep_more;     /* bool: besides, a head trained with probe.lr and probe.weight_decay */
    } evaluate;
    struct { /* vjepa-plan: the machine */
        char name[VJ_PATH];
        int64_t nodes, cores_per_node;   /* cores_per_node 0: as on this machine */
        int64_t numa_per_node;           /* NUMA domains; a rank's threads stay in one */
        double memory_gb;                /* per node; 0: as on this machine */
        double gflops_fp32, gflops_bf16; /* per core, reached in training */
        double memory_gb_s, sum_gb_s,
            tensor_gb_s;       /* inside a node: memory updated in place; sums of gradients; sums of activations */
        int64_t gpus_per_node; /* 0: the processors' cores compute */
        double gpu_tflops_fp32, gpu_tflops_bf16;                      /* per GPU, reached in training */
        double gpu_memory_gb, gpu_gb_s, gpu_link_gb_s, gpu_host_gb_s; /* per GPU: its memory; bandwidth of it; to the
                                                                         others of a node; to the host's memory */
        int gpu_to_gpu;                                               /* bool: MPI takes memory of GPUs */
        double network_gb_s, message_us;         /* between nodes: bandwidth per node, cost of a message */
        double filesystem_gb_s;                  /* all nodes together */
        double decode_fps_720p, decode_fps_240p; /* per core */
        double job_hours;                        /* 0: no limit */
        double watts_per_node;                   /* 0: not known */
        double node_mtbf_hours;                  /* between failures of a node; 0: not known */
        double checkpoint_s, restart_minutes;    /* checkpoint_s 0: from its size and the file system */
    } cluster;
    struct {                                    /* vjepa-plan: the media, if the files themselves are not available */
        int64_t files;                          /* 0: as many as the lists name */
        int64_t store_clips;                    /* 0: as follows from pack.windows */
        double mean_seconds, mean_fps, mean_mb; /* mean_mb 0: estimated from frame size and length */
        int64_t mean_height, gop;
        double jpeg_share; /* bytes of a jpeg clip / bytes of the raw clip */
    } plan;
    struct { /* where each setting was given; used in messages only, not printed or stored */
        char file[VJ_PATH];
        int line[VJ_MAX_SETTINGS]; /* per row of the settings table: line in `file`; 0: default, negative: --set */
        int generator_line[VJ_MAX_MASKS], dataset_line[VJ_MAX_LIST];
    } origin;
} vj_config;

/** Set every setting to its default: where published, the value of ViT-L/16 at 224 px (docs/method.md, section 13). */
void vj_config_defaults(vj_config *config);

/**
 * Read a YAML file into `config`; settings that the file does not name keep their values. Unknown keys, wrong types and
 * values out of range are errors (VJ_ERR_USAGE) whose message gives file, line, key and the allowed values. Not
 * collective: either one rank reads and broadcasts, or all ranks read.
 */
vj_status vj_config_read(vj_config *config, const char *path);

/**
 * Replace all settings of one section (such as "cluster") by those of another file; settings that the file does not
 * name get their defaults. Values set by vj_config_set() are kept. Refuses (VJ_ERR_USAGE) a file with settings of other
 * sections. For this section vj_config_origin() then returns line numbers of that file.
 */
vj_status vj_config_read_section(vj_config *config, const char *path, const char *section);

/** Like vj_config_read(), but parse `text` (such as the configuration stored in a checkpoint). Messages call it `name`.
 */
vj_status vj_config_parse(vj_config *config, const char *name, const char *text);

/**
 * Apply one "section.key=value"; the value is in YAML's flow style ("[1, 2]"). The section may be omitted if only one
 * section has this key: "precision=bf16".
 */
vj_status vj_config_set(vj_config *config, const char *assignment);

/** Return where "section.key" was given: 0 if nowhere (it has its default), n > 0 for line n of the file, negative for
 * vj_config_set(). */
int vj_config_origin(const vj_config *config, const char *key);

/**
 * Fill in derived settings (width, depth, heads from model.size; predictor.heads) and refuse contradictory settings
 * with a message that names both keys (VJ_ERR_USAGE). Idempotent.
 */
vj_status vj_config_check(vj_config *config);

/**
 * Parse probe.features. Returns how many copies of each training sample's features are stored: 0 for "online", 1 for
 * "stored", K for "stored:K" (K from 1 to 1000000), -1 for any other text. *centre: true if the stored features are
 * those of the centre crop ("stored"), false if they are those of training views.
 */
int64_t vj_config_copies(const vj_config *config, bool *centre);

/** Return probe.weight_decay. If it is auto: 0.001 for probes on images with evaluate.preset code, else 0.01, as the
 * released code and the paper have it. */
double vj_config_probe_decay(const vj_config *config, bool images);

/** Return data.io_patience_s; if it is negative, 300 s or half of run.watchdog_s, whichever is less. */
double vj_config_io_patience_s(const vj_config *config);

/** Print as YAML. Reading it back with vj_config_read() gives the same struct. */
void vj_config_print(const vj_config *config, FILE *out);

/** Return the text of vj_config_print() as a string, to be freed with free(). */
char *vj_config_text(const vj_config *config);

/** Call `visit` for every setting of a section, in table order, with "section.key", the value as YAML, the help text.
 */
typedef void vj_config_visit(void *user, const char *key, const char *value, const char *help);
void vj_config_each(const vj_config *config, const char *section, vj_config_visit *visit, void *user);

/** Print the settings table as help: key, type, default, range, help. `sections` (NULL-terminated) selects; NULL: all.
 */
void vj_config_help(FILE *out, const char *const *sections);

#endif
