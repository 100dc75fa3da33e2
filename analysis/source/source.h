/*
 * A source of features for analysis, read clip by clip. It has one or several representations of the same clips: the
 * layers of an encoder, several encoders, or several checkpoints of a run. They come from feature stores, or from clips
 * and encoders that run during each pass. The features are never in memory as a whole: they are read in slabs, as often
 * as needed. Every rank keeps only the number, checksum and labels of each clip.
 */
#ifndef VJ_SOURCE_H
#define VJ_SOURCE_H

#include <mpi.h>

#include "clips/classes.h"
#include "clips/clips.h"

enum { VJ_REPRESENTATION_NAME = 96, VJ_MAX_REPRESENTATIONS = 64 };

/* A representation has `tokens` rows of `width` numbers for every clip. */
typedef struct {
    char name[VJ_REPRESENTATION_NAME]; /* unique in its source; without "/", so usable as name of an HDF5 group */
    char origin[VJ_PATH];              /* where it comes from, for messages: "val.h5", "run/step_00001200.h5" */
    int width;
    int64_t tokens;   /* 1: the mean over the clip's tokens, or an encoder with one token */
    uint64_t grid[3]; /* token grid: time, rows, columns; tokens of no cell come first. 0: not known, or means */
    uint64_t digest;  /* of the encoder's weights and of the layer; 0: not known */
} vj_representation;

/* The next clips of this rank, [first, first + count) of the source. The memory belongs to the source and is valid
 * until the next call. */
typedef struct {
    int64_t first, count;  /* count may be 0 while other ranks still have clips */
    const float *const *x; /* for each representation: f32 [count, tokens, width], host, all finite */
} vj_slab;

typedef struct vj_source vj_source;

/**
 * Open feature stores, each as one representation. They must have the same clips in the same order, compared by number
 * and, where known, by checksum of their content, and the same labels and classes; the error message names the first
 * difference. With `average` the row of a clip is the mean of its tokens. A representation is named like its file
 * without folder and ".h5", or like its encoder if files have equal names. VJ_ERR_FORMAT, VJ_ERR_USAGE. Close it also
 * after a failure. Collective, agreed.
 */
vj_status vj_source_open_features(vj_source **source, const char *const *paths, int count, bool average, MPI_Comm comm);

/* Clips and encoders that run over them. */
typedef struct {
    const char
        *encoders;      /* "A.h5,RUN": checkpoints, folders of runs, or random:published[:SEED], random:fan_in[:SEED] */
    const char *stores; /* "A.clips,B.clips": clip stores, concatenated */
    const char *layers; /* of each encoder: "all", "last", or numbers from 1 to model.depth, "1,6,12"; NULL: last */
    bool average;       /* the row of a clip is the mean of its tokens */
} vj_source_request;

/**
 * Open clip stores and encoders; all encoders must have the configuration's shape. Each layer of each encoder is one
 * representation. Layer l is the residual stream after block l; the last layer is the features after the final norm,
 * with the bits that vjepa-embed writes. Every pass reads and encodes the clips again, chosen and cropped as by
 * vjepa-embed (embed.limit, embed.batch, centre crops). For each layer except the last the device needs another
 * [embed.batch, tokens, width] floats. `config` is borrowed until the source is closed. VJ_ERR_USAGE, VJ_ERR_FORMAT,
 * ... Close the source also after a failure. Collective, agreed.
 */
vj_status vj_source_open_encoder(vj_source **source, const vj_config *config, const vj_source_request *request,
                                 MPI_Comm comm);

/** Free a source and what it holds. NULL is allowed. Not collective. */
void vj_source_close(vj_source *source);

int vj_source_representations(const vj_source *source);
const vj_representation *vj_source_representation(const vj_source *source, int i);
int64_t vj_source_clips(const vj_source *source);
/** Return the numbers of the clips in their store [clips], and their labels [clips, label count]; -1: none. On every
 * rank. */
const int64_t *vj_source_clip_numbers(const vj_source *source);
const int32_t *vj_source_labels(const vj_source *source);
/** Return the fingerprint of the clip stores to which these numbers refer. */
uint64_t vj_source_fingerprint(const vj_source *source);
/** Return the checksums of the clips' content [clips], on every rank; NULL if they are not known for all clips. */
const uint64_t *vj_source_clip_sums(const vj_source *source);
int vj_source_label_count(const vj_source *source);
/** VJ_ERR_FORMAT if a clip's label is too large to be the number of a class: then it is something else. Not collective.
 */
vj_status vj_source_check_classes(const vj_source *source, int label);
const char *vj_source_label_name(const vj_source *source, int label);
const vj_clips_classes *vj_source_classes(const vj_source *source, int label);

/**
 * Match a training and a validation source. Both must have representations of the same encoders, layers and sizes in
 * the same order, with the same preprocessing, and the same labels. Validation labels are renumbered so that a class
 * has the number of its name in training; names that training does not have get the next numbers. If something cannot
 * be checked, because a file is older or classes have no names, this is logged. VJ_ERR_USAGE if they do not match. Not
 * collective; gives the same result on all ranks.
 */
vj_status vj_source_match(const vj_source *training, vj_source *validation);

/** Compute which clips this rank reads in every pass: [*first, *last). The ranges of the ranks follow one another. */
void vj_source_part(const vj_source *source, int64_t *first, int64_t *last);
/** Return the most clips in a slab of any rank. With encoders that is one batch. With feature stores it is as many as
 * fit into 8 MiB for each representation and 256 MiB for all together, at least one. */
int64_t vj_source_slab_clips(const vj_source *source);

/**
 * From now on, while encoders make a slab, `tell` gets the number of its clips that are done, a fraction of one
 * included, and the time (vj_now()): a batch may take minutes. Feature stores tell nothing. NULL: no longer. Not
 * collective.
 */
void vj_source_set_listener(vj_source *source, void (*tell)(void *listener, double clips, double now_s),
                            void *listener);

/** Begin a pass over all clips. Each pass gives the same rows. Collective. */
vj_status vj_source_begin(vj_source *source);
/**
 * Return whether the last pass ended because damaged clips were found. They are left out from now on, as in vjepa-embed
 * and vjepa-evaluate, so the source has fewer clips, and the caller must start its computation again. Returns true once
 * for each time that this happens. NULL is allowed. The result is the same on all ranks.
 */
bool vj_source_has_shrunk(vj_source *source);
/** Return the number of clips that were left out as damaged in passes so far. */
int64_t vj_source_damaged(const vj_source *source);
/** Return the number of clips with this label that were left out as damaged, in passes or when the features were made.
 */
int64_t vj_source_failed(const vj_source *source, int label);
/**
 * Get this rank's next slab. *more is false when all ranks have got all their clips. Until then every rank gets a slab,
 * which may be empty, so that the caller can make collective calls once a slab. VJ_ERR_FORMAT if rows are not finite;
 * the message counts and names them. VJ_ERR_STATE, not reported, if damaged clips were found and are few enough to go
 * on without them (vj_source_has_shrunk()). Collective, agreed.
 */
vj_status vj_source_next(vj_source *source, vj_slab *slab, bool *more);

#endif
