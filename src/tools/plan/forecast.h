/*
 * Forecast the time, memory and disk space of a campaign: packing the media into a clip store, then pretraining on it,
 * on the machine that the settings cluster.* describe. Plain arithmetic on the numbers of the other folders: parameters
 * and FLOPs of model/, memory of train/memory.h, shards of pack/. Read vj_forecast_make() first.
 *
 * All quantities are in bytes, seconds and operations; means are over the files of the campaign.
 */
#ifndef VJ_PLAN_FORECAST_H
#define VJ_PLAN_FORECAST_H

#include "base/config.h"
#include "model/network.h"
#include "parallel/traffic.h"
#include "train/memory.h"

/* ------------------------------------------------------------------------------------------------ machine */

/* cluster.* in units of its own; cores and memory that are not given are this machine's. */
typedef struct {
    int nodes, cores, numa;                             /* cores and memory domains of a node */
    double memory_bytes;                                /* of a node, what a job may use of it: nine tenths */
    double flops_core;                                  /* a second, in the precision of the configuration */
    double memory_bytes_s, sum_bytes_s, tensor_bytes_s; /* a node's */
    /* GPUs of a node, 0: its cores train; and of each: its rate, memory (what a job may use), and the rates of its
     * memory, of its link to the node's others and to the host's memory */
    int gpus;
    double gpu_flops, gpu_memory_bytes, gpu_bytes_s, gpu_link_bytes_s, gpu_host_bytes_s;
    bool gpu_to_gpu; /* MPI takes memory of GPUs */
    double network_bytes_s, message_s, filesystem_bytes_s;
    double job_s;                   /* 0: no limit */
    double node_watts, node_mtbf_s; /* 0: not known */
    double checkpoint_s;            /* 0: from its size */
    double restart_s;
} vj_machine;

vj_machine vj_machine_from(const vj_config *config);

/** Replace train.precision "auto" by what it would take on the machine of section cluster (train/precision.h). */
void vj_machine_settle_precision(vj_config *config);

/* ------------------------------------------------------------------------------------------------ packing */

typedef struct {
    int64_t files;
    double clips;                              /* that they make together, if all are good */
    double seconds, fps, height, width, bytes; /* of the mean file */
    char from[128];                            /* where the number of files is from */
} vj_footage;

typedef struct {
    vj_footage footage;
    double clip_frames;                 /* of the video, from the first to the last of a clip */
    double decoded_frames, kept_frames; /* a file */
    double file_s;                      /* of a core, a file */
    double core_s;                      /* all files */
    double read_bytes, store_bytes;     /* all files, all clips */
    double raw_clip_bytes, clip_bytes;  /* of the mean shape, as decoded and as stored */
    int64_t shards;
    int ranks, workers;              /* one rank a node, a worker a core */
    double rank_bytes;               /* memory of a rank and its workers */
    double compute_s, file_system_s; /* walltime of each alone, if the other cost nothing */
    double walltime_s;               /* the longer one */
    double file_system_bytes_s;      /* what the file system must give while all cores decode */
} vj_pack_forecast;

/** From pack.* and plan.*; not collective. */
void vj_pack_forecast_make(vj_pack_forecast *forecast, const vj_config *config, const vj_machine *machine,
                           const vj_footage *footage);

/* ------------------------------------------------------------------------------------------------ training */

/* The work of training that does not depend on the layout of ranks. */
typedef struct {
    int64_t parameters, tokens, steps, checkpoints;
    double context_tokens, target_tokens; /* of a clip, all masks together */
    double clip_flops;                    /* products of the published method, forward and backward */
    double watch_steps;                   /* what the in-run watch (watch.every) computes, in steps of training */
    double clip_work_flops;               /* with what is computed again (train.recompute) */
    double tensor_sum_bytes;              /* a clip's activations that a tensor group sums */
    double raw_clip_bytes, clip_bytes;    /* read from the store for a clip, in memory and on disk */
    double checkpoint_bytes;
    bool feature; /* there is a target encoder */
    /* Of a rank in a tensor group of [size]: its flat vector; 0: does not divide. */
    int64_t weight_floats[VJ_TENSOR_MOST + 1];
    /* What it has of weights, and of the target's, after they came back from the ranks that updated them
     * (parallel.zero): on processors, on GPUs. */
    int64_t gathered_bytes[VJ_TENSOR_MOST + 1][2];
} vj_train_work;

/** Masks of the first steps are drawn and counted. Fails with the masks. Not collective. */
vj_status vj_train_work_count(vj_train_work *work, const vj_config *config, const vj_pack_forecast *pack);

/* One layout of the training run, and its predicted times and memory. */
typedef struct {
    int nodes, node_ranks, tensor, zero;
    int64_t microbatch;
    /* computed from the members above */
    int threads, data_ranks;
    int64_t microbatches;  /* of the rank that has most */
    double weight_bytes;   /* of a rank: a whole model, or its share */
    double compute_s;      /* products and all that goes with them */
    double memory_s;       /* the update: norms, AdamW, the average */
    double tensor_s;       /* sums of activations in tensor groups */
    int64_t bucket_floats; /* of a gradient that are summed together */
    double sum_s;          /* what sums of gradients and the exchange of weights make a step longer (sums.c) */
    double messages;       /* between nodes, a rank and step */
    double network_bytes;  /* out of a node, a step */
    double read_s;         /* a batch from the file system, beside the rest */
    double step_s;         /* the longer of reading and all other */
    /* known where it was asked for: vj_train_layout_weigh() */
    vj_memory memory;  /* of a rank */
    double node_bytes; /* on the host */
    double gpu_bytes;  /* of a rank on its GPU, of which node_bytes then has nothing; 0: there are none */
} vj_train_layout;

/**
 * Fill in what follows from the first members, but for memory. False, and why in `reason`, where such a layout cannot
 * be trained (train/layout.h) or a rank's threads would not be whole cores of one memory domain. The configuration's
 * train.microbatch, parallel.tensor and parallel.zero become the layout's.
 */
bool vj_train_layout_time(vj_train_layout *layout, vj_config *config, const vj_train_work *work,
                          const vj_machine *machine, char *reason, size_t bytes);

/** Seconds that a tensor group of so many ranks takes for each byte of activations that it sums: on GPUs over their
 * links, on processors through shared memory. */
double vj_tensor_byte_s(const vj_machine *machine, int tensor);

/** Fill in sum_s, bucket_floats, messages and network_bytes, from the layout's other members. */
void vj_train_layout_time_sums(vj_train_layout *layout, const vj_config *config, const vj_train_work *work,
                               const vj_machine *machine);

/** Fill in memory, node_bytes and gpu_bytes, by vj_memory_predict(). Changes the configuration likewise. */
vj_status vj_train_layout_weigh(vj_train_layout *layout, vj_config *config, const vj_train_work *work,
                                const vj_machine *machine);

/* ------------------------------------------------------------------------------------------------ messages */

enum { VJ_TRAFFIC_ROWS = 8 };

/* What the ranks together give to MPI to send in every `every`-th step, on the communicators of that name
 * (parallel/parallel.h, as parallel/traffic.h counts); their sum over `copies` communicators. */
typedef struct {
    const char *communicator, *what;
    int64_t every, copies;
    vj_traffic traffic;
} vj_traffic_row;

typedef struct {
    int rows;
    vj_traffic_row row[VJ_TRAFFIC_ROWS];
} vj_forecast_traffic;

/** The messages of a training step on this layout. `devices`: its ranks have GPUs. Checkpoints are not in it. Not
 * collective. */
vj_status vj_train_traffic_count(vj_forecast_traffic *traffic, const vj_config *config, const vj_train_layout *layout,
                                 bool devices);

/* ------------------------------------------------------------------------------------------------ campaign */

/* The training run as jobs, on nodes that fail (docs/planning.md). */
typedef struct {
    double training_s, checkpoints_s; /* all steps and checkpoints, as if nothing failed; of it checkpoints */
    double watch_s;                   /* of training_s: the in-run watch, its encoder alone */
    double checkpoint_s;              /* to write one */
    double job_s, jobs;               /* of a job's hours those that train; 0: no limit */
    double energy_wh;                 /* of the nodes for training_s; 0: their power is not known */
    /* With cluster.node_mtbf_hours, else 0. */
    double mtbf_s;                      /* of all nodes of the job together */
    double young_s, daly_s;             /* interval between checkpoints that loses least time */
    double expected_s, daly_expected_s; /* training_s with failures, by checkpoint.every, and by daly_s */
    double interval_s;                  /* what checkpoint.every is; 0: none but the last */
} vj_campaign;

vj_campaign vj_campaign_make(const vj_config *config, const vj_machine *machine, const vj_train_work *work,
                             const vj_train_layout *layout);

/* ------------------------------------------------------------------------------------------------ the whole */

enum { VJ_FORECAST_LAYOUTS = 16, VJ_FORECAST_REASON = 256 };

typedef struct {
    vj_machine machine;
    vj_pack_forecast pack;
    vj_train_work work;
    /* The best layout that fits first, then its neighbours: one thing changed. */
    int layouts;
    vj_train_layout layout[VJ_FORECAST_LAYOUTS];
    char verdict[VJ_FORECAST_LAYOUTS][VJ_FORECAST_REASON]; /* what speaks for or against each */
    bool fits;                                             /* else the first is the one that comes nearest */
    char advice[VJ_FORECAST_REASON];                       /* if not: what would; else "" */
    int64_t considered;                                    /* layouts that can work */
    vj_forecast_traffic traffic;                           /* of the first layout */
    vj_campaign campaign;
} vj_forecast;

/**
 * The campaign of `config` (checked) for `footage`. node_ranks 0: the best layout is searched for; else the first is
 * that of so many nodes and ranks on each, with the configuration's parallel.tensor, parallel.zero and
 * train.microbatch; VJ_ERR_USAGE if it cannot work. Not collective.
 */
vj_status vj_forecast_make(vj_forecast *forecast, const vj_config *config, const vj_footage *footage, int nodes,
                           int node_ranks);

#endif
