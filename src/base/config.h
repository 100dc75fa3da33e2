/*
 * Every setting of every program, as one struct and one table (config.c): name, type, default, range, help. A YAML file
 * sets them, then `--set section.key=value`. One file serves the whole pipeline; each program reads its sections.
 */
#ifndef VJ_BASE_CONFIG_H
#define VJ_BASE_CONFIG_H

#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

enum { VJ_MAX_MASKS = 8, VJ_MAX_LIST = 16, VJ_PATH = 512, VJ_MAX_SETTINGS = 192, VJ_CONFIG_BYTES = 64000 };

typedef struct {
    int count;
    char item[VJ_MAX_LIST][VJ_PATH];
} vj_strings;

/* How a dataset names its files: a list of one of these forms, or a folder that is walked (pack/manifest.h). */
typedef enum {
    VJ_LIST_AUTO,
    VJ_LIST_CSV,
    VJ_LIST_JSON,
    VJ_LIST_PLAIN,
    VJ_LIST_KINETICS,
    VJ_LIST_SSV2,
    VJ_LIST_HOWTO100M,
    VJ_LIST_FOLDER,
    VJ_LIST_IMAGENET
} vj_list_format;

/* One dataset to pack; several entries of one name are one dataset. */
typedef struct {
    char name[64];
    int format; /* vj_list_format */
    char list[VJ_PATH], root[VJ_PATH], labels[VJ_PATH], pattern[128];
    int64_t windows; /* clips a video; 0: pack.windows */
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
    int64_t max_keep;         /* context tokens at most; 0: no limit */
    double ratio;             /* tube: share of cells masked */
} vj_mask_settings;

typedef enum { VJ_CUT_GROUP, VJ_CUT_NONE } vj_mask_cut;
typedef enum { VJ_OBJECTIVE_FEATURE, VJ_OBJECTIVE_PIXEL } vj_objective;
typedef enum { VJ_REDUCTION_FAST, VJ_REDUCTION_REPRODUCIBLE } vj_reduction_kind;
typedef enum { VJ_INIT_PUBLISHED, VJ_INIT_FAN_IN } vj_init;
typedef enum { VJ_RECOMPUTE_NONE, VJ_RECOMPUTE_ATTENTION, VJ_RECOMPUTE_BLOCK } vj_recompute;

typedef struct {
    struct {
        char dir[VJ_PATH]; /* run folder: checkpoints, metrics, configuration */
        int64_t seed;
        double max_hours;  /* of this start; 0: no limit */
        double watchdog_s; /* without progress; 0: off, negative: by the longest step so far */
    } run;
    struct {              /* vjepa-pack */
        vj_strings lists; /* media lists of one dataset, named "lists" */
        int dataset_count;
        vj_dataset_settings dataset[VJ_MAX_LIST];
        vj_strings held_out_ids;    /* lists of ids: files of these are left out */
        vj_strings held_out_videos; /* media lists: what looks like one of these is left out */
        int duplicates;             /* vj_duplicates */
        char store[VJ_PATH];        /* NAME.clips */
        int64_t short_side;         /* pixels */
        int64_t frames, step;       /* F frames, sampling step (docs/method.md, section 10.2) */
        int64_t windows;            /* clips a video, one per equal segment */
        int random_windows;         /* bool: random start inside a segment, else centred at its start rule */
        int codec;                  /* vj_codec: raw, jpeg */
        int64_t jpeg_quality;
        int jpeg_chroma; /* 0: 420, 1: 444 */
        int64_t shard_mb, seed;
        int decode_all;     /* bool: decode whole videos, not only what is kept */
        double max_damage;  /* share of frames */
        double max_refused; /* share of a dataset's files */
        int64_t max_pixels_m, max_file_mb;
        int64_t workers; /* decoding processes a rank; 0: one a core */
        int64_t worker_memory_mb;
        double worker_seconds;
        int64_t buffer_mb; /* decoded clips that wait for their turn, a rank */
    } pack;
    struct {
        vj_strings train; /* clip stores, concatenated */
        vj_strings validation;
        int64_t frames, crop; /* frames a clip, pixels */
        double crop_scale[2], crop_aspect[2], flip;
        double mean[3], std[3];
        int64_t threads, read_ahead; /* loader threads a rank, batches ahead */
        vj_strings weights;          /* "dataset=share"; empty: every clip once an epoch */
        int shuffle;                 /* vj_shuffle */
        int64_t block_shards;        /* shards a window */
        double verify;               /* share of reads whose checksum is compared */
        double io_patience_s;        /* vj_config_io_patience_s() knows what -1 is */
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
        int64_t group; /* clips whose lists are cut to one length */
        int count;     /* generators */
        vj_mask_settings generator[VJ_MAX_MASKS];
    } mask;
    struct {
        int kind; /* vj_objective */
        double loss_exp, reg_coeff;
        int normalise_pixels; /* bool */
    } objective;
    struct {
        int64_t batch, microbatch; /* clips, global; clips a forward-backward pass */
        int64_t steps_per_epoch, epochs;
        double schedule_scale; /* ipe_scale */
        int64_t stop_after;    /* steps; 0: epochs * steps_per_epoch */
        char precision[8];     /* fp32 bf16 */
        char backend[16];      /* cpu strict */
        char products[16];     /* own, a library, an instruction set, auto */
        int recompute;         /* vj_recompute */
        int64_t max_bad_steps;
        int64_t rollback_limit;                            /* returns to the last healthy checkpoint */
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
        int64_t tensor;      /* ranks that share a model */
        int tensor_sequence; /* bool: they also divide the stream by tokens */
        int zero;            /* 0 | 1: optimizer state and EMA sharded over the ranks */
        int reduction;       /* vj_reduction_kind */
        int64_t check_every; /* steps between comparisons of replicas; 0: never */
        int64_t bucket_mb;   /* of the gradient, summed at a time during the backward pass */
    } parallel;
    struct {
        int64_t every;        /* steps; 0: only at the end */
        double every_minutes; /* 0: off */
        int64_t keep;         /* newest kept */
        int64_t keep_every;   /* steps; multiples are kept for ever; 0: none */
        int async;            /* bool: written in the background, from a copy in memory */
        int at_end;           /* bool */
    } checkpoint;
    struct {
        int64_t print_every, rank_every; /* steps */
        double rank_alarm;               /* effective rank below this: alarm line */
    } log;
    struct {
        char store[VJ_PATH];  /* feature store written */
        char dtype[8];        /* f32 f16 */
        int64_t batch, limit; /* clips a pass; first clips of the permutation, 0: all */
    } embed;
    struct {
        vj_strings tasks;            /* label names; empty: all */
        vj_strings pooling;          /* attentive average */
        double labels[VJ_MAX_MASKS]; /* shares in percent */
        int labels_count;
        int64_t clips; /* labelled clips that are 100 %; 0: all */
        int64_t seeds, epochs, batch;
        double lr, final_lr, weight_decay, final_weight_decay, clip_grad, init_std, warmup_epochs;
        int equal_updates; /* bool: fewer labels make more epochs, so that every share gets as many updates */
        int folded;        /* bool: the attentive probe in its folded form */
    } probe;
    struct { /* vjepa-plan: the machine */
        char name[VJ_PATH];
        int64_t nodes, cores_per_node;   /* cores 0: of this machine */
        int64_t numa_per_node;           /* memory domains, which a rank does not exceed */
        double memory_gb;                /* a node's; 0: this machine's */
        double gflops_fp32, gflops_bf16; /* what a core reaches in training */
        double memory_gb_s, sum_gb_s,
            tensor_gb_s;                 /* inside a node: updates in place, sums of gradients, of activations */
        double network_gb_s, message_us; /* between nodes */
        double filesystem_gb_s;
        double decode_fps_720p, decode_fps_240p; /* a core */
        double job_hours;                        /* 0: no limit */
    } cluster;
    struct {                                    /* vjepa-plan: the media, where nobody can look at them */
        int64_t files;                          /* 0: those of the lists */
        int64_t store_clips;                    /* 0: as pack.windows makes */
        double mean_seconds, mean_fps, mean_mb; /* MB 0: by size and length */
        int64_t mean_height, gop;
        double jpeg_share; /* of raw bytes */
    } plan;
    struct { /* where settings were given, for messages only: not printed, not part of what the configuration is */
        char file[VJ_PATH];
        int line[VJ_MAX_SETTINGS]; /* per row of the table; 0: default, negative: --set */
        int generator_line[VJ_MAX_MASKS], dataset_line[VJ_MAX_LIST];
    } origin;
} vj_config;

/** All defaults: the published numbers of ViT-L/16 at 224 px (docs/method.md, section 13) where they exist. */
void vj_config_defaults(vj_config *config);

/**
 * Read a YAML file over `config`. Unknown keys, wrong types and values out of range are errors that name file, line,
 * key and what is allowed (VJ_ERR_USAGE). Not collective: let one rank read and broadcast, or all.
 */
vj_status vj_config_read(vj_config *config, const char *path);

/**
 * Take one section, "cluster", from another file, all of it: what that file does not say gets its default. What was set
 * by vj_config_set() stays. A file that has other sections too is refused. Lines of vj_config_origin() are then that
 * file's.
 */
vj_status vj_config_read_section(vj_config *config, const char *path, const char *section);

/** vj_config_read() from a text that is already in memory (a checkpoint's); `name` stands in messages. */
vj_status vj_config_parse(vj_config *config, const char *name, const char *text);

/**
 * Apply one "section.key=value"; value in YAML's flow form ("[1, 2]"). The section may be left out where only one has
 * such a key: "precision=bf16".
 */
vj_status vj_config_set(vj_config *config, const char *assignment);

/** Where "section.key" was given: 0 nowhere (it has its default), n in line n of the file, negative by vj_config_set().
 */
int vj_config_origin(const vj_config *config, const char *key);

/**
 * Derive what follows (model.size into width, depth, heads; predictor.heads), and refuse impossible combinations,
 * naming both keys. Idempotent.
 */
vj_status vj_config_check(vj_config *config);

/** data.io_patience_s, or what stands for it if that is negative: 300, or half of run.watchdog_s if that is less. */
double vj_config_io_patience_s(const vj_config *config);

/** Print as YAML that vj_config_read() takes back to the same struct. */
void vj_config_print(const vj_config *config, FILE *out);

/** The same as a string; free() it. */
char *vj_config_text(const vj_config *config);

/** Of one section every setting, in order: "section.key", its value as YAML, the help. */
typedef void vj_config_visit(void *user, const char *key, const char *value, const char *help);
void vj_config_each(const vj_config *config, const char *section, vj_config_visit *visit, void *user);

/** The table as help text: key, type, default, range, help; only the sections named (NULL-terminated), or all. */
void vj_config_help(FILE *out, const char *const *sections);

#endif
