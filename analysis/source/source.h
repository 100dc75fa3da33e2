/*
 * Features for analysis, clip after clip: of the same clips one representation or several - what an encoder's layers
 * say, or several encoders, or the checkpoints of a run. They come from feature stores, or from clips and an encoder
 * that runs while they are asked for. Nothing of the size of the features is kept: they are read in slabs, as often as
 * needed. What is kept for each clip, on every rank: its number, checksum and labels.
 */
#ifndef VJ_SOURCE_H
#define VJ_SOURCE_H

#include <mpi.h>

#include "clips/classes.h"
#include "clips/clips.h"

enum { VJ_REPRESENTATION_NAME = 96, VJ_MAX_REPRESENTATIONS = 64 };

/* Of every clip `tokens` rows of `width` numbers. */
typedef struct {
    char name[VJ_REPRESENTATION_NAME]; /* unlike all others of its source; without "/", so a name of an HDF5 group */
    char origin[VJ_PATH];              /* where it is from, for people: "val.h5", or "run/step_00001200.h5" */
    int width;
    int64_t tokens;   /* 1: the mean over the clip's tokens, or an encoder that has one token */
    uint64_t grid[3]; /* of the tokens: in time, rows, columns; tokens of no cell come before. 0: not known, or means */
    uint64_t digest;  /* of the encoder's weights and of the layer; 0: not known */
} vj_representation;

/* Clips [first, first + count) of the source, this rank's next; all memory is the source's, until the next call. */
typedef struct {
    int64_t first, count;  /* count may be 0 while other ranks still have clips */
    const float *const *x; /* of each representation: f32 [count, tokens, width], host, all finite */
} vj_slab;

typedef struct vj_source vj_source;

/**
 * Open feature stores of the same clips, each as one representation: the same clips in the same order, by number and,
 * where known, by checksum of their content, and with the same labels and classes. The first difference is named. With
 * `average` the rows are the means of the clips' tokens. Names are the files' without folder and ".h5"; where these are
 * alike, the encoders'. VJ_ERR_FORMAT, VJ_ERR_USAGE. Collective, agreed. Close in any case.
 */
vj_status vj_source_open_features(vj_source **source, const char *const *paths, int count, bool average, MPI_Comm comm);

/* Clips and encoders that run over them. */
typedef struct {
    const char *encoders; /* "A.h5,B.h5": checkpoints, or random:published[:SEED], random:fan_in[:SEED] */
    const char *stores;   /* "A.clips,B.clips": clip stores, concatenated */
    const char *layers;   /* of each encoder: "all", "last", or numbers from 1 to model.depth, "1,6,12"; NULL: last */
    bool average;         /* rows are the means of the clips' tokens */
} vj_source_request;

/**
 * Open clip stores and encoders, all of the configuration's shape. Each layer of each encoder is one representation:
 * layer l is the residual stream after block l, the last is the features after the final norm, the bits that
 * vjepa-embed writes. Every pass reads and encodes the clips of vjepa-embed (embed.limit, embed.batch, centre crops)
 * anew. For each layer but the last the device keeps [embed.batch, tokens, width] floats more. `config` is borrowed
 * until the source is closed. VJ_ERR_USAGE, VJ_ERR_FORMAT, ... Collective, agreed. Close in any case.
 */
vj_status vj_source_open_encoder(vj_source **source, const vj_config *config, const vj_source_request *request,
                                 MPI_Comm comm);

/** Free a source and what it holds. NULL is allowed. Not collective. */
void vj_source_close(vj_source *source);

int vj_source_representations(const vj_source *source);
const vj_representation *vj_source_representation(const vj_source *source, int i);
int64_t vj_source_clips(const vj_source *source);
/** Numbers of the clips in their store [clips], and their labels [clips, label count]; -1: none. On every rank. */
const int64_t *vj_source_clip_numbers(const vj_source *source);
const int32_t *vj_source_labels(const vj_source *source);
/** The fingerprint of the clip store, or of the stores together, in which clips have these numbers. */
uint64_t vj_source_fingerprint(const vj_source *source);
/** Checksums of the clips' content [clips], on every rank; NULL: not known of all clips. */
const uint64_t *vj_source_clip_sums(const vj_source *source);
int vj_source_label_count(const vj_source *source);
const char *vj_source_label_name(const vj_source *source, int label);
const vj_clips_classes *vj_source_classes(const vj_source *source, int label);
/** How the clips were prepared for the encoder, one line; "": not known. */
const char *vj_source_preprocessing(const vj_source *source);

/**
 * Prepare to learn from one source and test on another: both must have representations of the same encoders, layers and
 * sizes, in the same order, prepared alike, and the same labels. Validation labels get the numbers that their classes'
 * names have in training; names that are new there get numbers after those. What cannot be checked, because a file is
 * older or classes have no names, is logged. VJ_ERR_USAGE if they do not belong together. Not collective; gives the
 * same on all ranks.
 */
vj_status vj_source_match(const vj_source *training, vj_source *validation);

/** This rank's clips in every pass: [*first, *last), whole clips, a contiguous part in the order of the ranks. */
void vj_source_part(const vj_source *source, int64_t *first, int64_t *last);
/** The most clips that a slab of any rank has: one batch of an encoder; of feature stores so many that the rows of all
 * representations take at most 16 MiB, one clip at least. */
int64_t vj_source_slab_clips(const vj_source *source);

/** Begin a pass over all clips; each pass gives the same rows. Collective. */
vj_status vj_source_begin(vj_source *source);
/**
 * Did the last pass end because clips were found damaged? They are left out from now on, as vjepa-embed and
 * vjepa-evaluate do it, so that the source has fewer clips: what was learned of it must be begun anew. True once for
 * each time. NULL is allowed. The same on all ranks.
 */
bool vj_source_has_shrunk(vj_source *source);
/** How many clips were left out as damaged so far, in passes. */
int64_t vj_source_damaged(const vj_source *source);
/** How many clips that have this label were left out as damaged, in passes or when the features were made. */
int64_t vj_source_failed(const vj_source *source, int label);
/**
 * Get this rank's next slab. *more is false when all ranks have had all their clips; until then all ranks get a slab,
 * which may be empty, so that what is collective can be done once a slab. Rows that are not finite are counted, named
 * and refused (VJ_ERR_FORMAT). VJ_ERR_STATE, not reported: clips are damaged (vj_source_has_shrunk()), and not too many
 * to go on without them. Collective, agreed.
 */
vj_status vj_source_next(vj_source *source, vj_slab *slab, bool *more);

#endif
