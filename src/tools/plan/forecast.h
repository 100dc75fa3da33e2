/*
 * Forecasts the time, memory and disk space of a campaign: packing the media into a clip store, then pretraining on it,
 * on the machine that the settings cluster.* describe. Plain arithmetic on numbers from other folders: parameters and
 * FLOPs from model/, memory from train/memory.h, shards from pack/. Read vj_forecast_make() first.
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

/* The section cluster.* in basic units. Cores and memory that are not given are those of this machine. */
typedef struct {
    int nodes, cores, numa;                             /* cores and memory domains of a node */
    double memory_bytes;                                /* of a node, as far as a job may use it: nine tenths */
    double flops_core;                                  /* a second, in the precision of the configuration */
    double memory_bytes_s, sum_bytes_s, tensor_bytes_s; /* of a node */
    /* GPUs of a node (0: its cores train), and for each GPU: flops, memory as far as a job may use it, and bandwidth of
     * its memory, of its link to the other GPUs of the node, and of its link to host memory. */
    int gpus;
    double gpu_flops, gpu_memory_bytes, gpu_bytes_s, gpu_link_bytes_s, gpu_host_bytes_s;
    bool gpu_to_gpu; /* MPI takes memory of GPUs */
    double network_bytes_s, message_s, filesystem_bytes_s;
    double job_s;                   /* 0: no limit */
    double node_watts, node_mtbf_s; /* 0: not known */
    double checkpoint_s;            /* 0: from its size */
    double restart_s;
} vj_machine;

/** Convert the settings of section cluster to bytes, seconds and FLOP/s. */
vj_machine vj_machine_from(const vj_config *config);

/** Replace train.precision "auto" by what it would be on the machine of section cluster (train/precision.h). */
void vj_machine_choose_precision(vj_config *config);

/* ------------------------------------------------------------------------------------------------ packing */

typedef struct {
    int64_t files;
    double clips;                              /* that they make together, if all are good */
    double seconds, fps, height, width, bytes; /* of the mean file */
    char from[128];                            /* source of the number of files, for the report */
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
    double compute_s, file_system_s; /* walltime of decoding alone, and of reading and writing alone */
    double walltime_s;               /* the longer of the two */
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
    double watch_steps;                   /* work of the in-run watch (watch.every), as a number of training steps */
    double clip_work_flops;               /* the same including recomputation (train.recompute) */
    double tensor_sum_bytes;              /* activations of a clip that a tensor group sums */
    double raw_clip_bytes, clip_bytes;    /* read from the store for a clip, in memory and on disk */
    double checkpoint_bytes;
    bool feature; /* there is a target encoder */
    /* Length of a rank's flat vector in a tensor group of [size] ranks; 0: the model cannot be divided so. */
    int64_t weight_floats[VJ_TENSOR_MAX + 1];
    /* Bytes of weights and target that a rank of such a group gets when slices are gathered (parallel.zero): on
     * processors [0], on GPUs [1]. */
    int64_t gathered_bytes[VJ_TENSOR_MAX + 1][2];
} vj_train_work;

/** Compute the work. Draws the masks of the first steps to count tokens, and fails if that fails. Not collective. */
vj_status vj_train_work_count(vj_train_work *work, const vj_config *config, const vj_pack_forecast *pack);

/* One layout of the training run, and its predicted times and memory. */
typedef struct {
    int nodes, node_ranks, tensor, zero;
    int64_t microbatch;
    /* computed from the members above by vj_train_layout_time() */
    int threads, data_ranks;
    int64_t microbatches;  /* per step, on the rank with the most */
    double weight_bytes;   /* of a rank: a whole model, or its share */
    double compute_s;      /* forward and backward passes */
    double memory_s;       /* the update: gradient norms, AdamW, EMA */
    double tensor_s;       /* sums of activations over tensor groups */
    int64_t bucket_floats; /* size of a bucket of the gradient */
    double sum_s;          /* by how much sums of gradients and the exchange of weights make a step longer (sums.c) */
    double messages;       /* between nodes, a rank and step */
    double network_bytes;  /* out of a node, a step */
    double read_s;         /* a batch from the file system, beside the rest */
    double step_s;         /* read_s or the sum of all other times, whichever is longer */
    /* computed by vj_train_layout_weigh() */
    vj_memory memory;  /* of a rank */
    double node_bytes; /* on the host */
    double gpu_bytes;  /* of a rank on its GPU, not part of node_bytes; 0: no GPUs */
} vj_train_layout;

/**
 * Compute the times of a layout from its first members. Returns false, with the reason in `reason`, if such a layout
 * cannot train (train/layout.h) or a rank's threads would not be whole cores of one memory domain. Sets
 * train.microbatch, parallel.tensor and parallel.zero of the configuration to those of the layout.
 */
bool vj_train_layout_time(vj_train_layout *layout, vj_config *config, const vj_train_work *work,
                          const vj_machine *machine, char *reason, size_t bytes);

/** Return the seconds that a tensor group of `tensor` ranks takes for each byte of activations that it sums: on GPUs
 * over their links, on processors through shared memory. */
double vj_tensor_byte_s(const vj_machine *machine, int tensor);

/** Compute sum_s, bucket_floats, messages and network_bytes from the layout's other members. */
void vj_train_layout_time_sums(vj_train_layout *layout, const vj_config *config, const vj_train_work *work,
                               const vj_machine *machine);

/** Compute memory, node_bytes and gpu_bytes by vj_memory_predict(). Changes the configuration as
 * vj_train_layout_time() does. */
vj_status vj_train_layout_weigh(vj_train_layout *layout, vj_config *config, const vj_train_work *work,
                                const vj_machine *machine);

/* ------------------------------------------------------------------------------------------------ messages */

enum { VJ_TRAFFIC_ROWS = 8 };

/* Messages of all ranks in every `every`-th step on the communicators of this name (parallel/parallel.h), counted as in
 * parallel/traffic.h and summed over `copies` communicators. */
typedef struct {
    const char *communicator, *what;
    int64_t every, copies;
    vj_traffic traffic;
} vj_traffic_row;

typedef struct {
    int rows;
    vj_traffic_row row[VJ_TRAFFIC_ROWS];
} vj_forecast_traffic;

/** Count the messages of a training step on this layout, without checkpoints. `devices`: its ranks have GPUs. Not
 * collective. */
vj_status vj_train_traffic_count(vj_forecast_traffic *traffic, const vj_config *config, const vj_train_layout *layout,
                                 bool devices);

/* ------------------------------------------------------------------------------------------------ campaign */

/* The training run as jobs, on nodes that fail (docs/planning.md). */
typedef struct {
    double training_s, checkpoints_s; /* all steps and checkpoints without failures; the checkpoints among them */
    double watch_s;                   /* of training_s: the in-run watch, its encoder alone */
    double checkpoint_s;              /* to write one */
    double job_s, jobs;               /* time of a job that is left for training (0: no limit); number of jobs */
    double energy_wh;                 /* energy of all nodes during training_s; 0: their power is not known */
    /* With cluster.node_mtbf_hours, else 0. */
    double mtbf_s;                      /* of all nodes of the job together */
    double young_s, daly_s;             /* interval between checkpoints that loses least time */
    double expected_s, daly_expected_s; /* training_s with failures: with checkpoint.every, and with daly_s */
    double interval_s;                  /* checkpoint.every in seconds; 0: only the last checkpoint */
} vj_campaign_forecast;

/** Forecast a whole training in one layout: steps, checkpoints, jobs and failures. */
vj_campaign_forecast vj_campaign_make(const vj_config *config, const vj_machine *machine, const vj_train_work *work,
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
    char verdict[VJ_FORECAST_LAYOUTS][VJ_FORECAST_REASON]; /* a remark on each */
    bool fits;                                             /* whether the first one fits; else it is the nearest */
    char advice[VJ_FORECAST_REASON];                       /* what would make it fit; "" if it fits */
    int64_t considered;                                    /* layouts that can work */
    vj_forecast_traffic traffic;                           /* of the first layout */
    vj_campaign_forecast campaign;
} vj_forecast;

/**
 * Forecast the campaign of `config` (checked) for `footage`. With node_ranks 0 the best layout is searched for.
 * Otherwise the first layout has `nodes` nodes with node_ranks ranks each, and the configuration's parallel.tensor,
 * parallel.zero and train.microbatch; VJ_ERR_USAGE if it cannot work. Not collective.
 */
vj_status vj_forecast_make(vj_forecast *forecast, const vj_config *config, const vj_footage *footage, int nodes,
                           int node_ranks);

#endif
