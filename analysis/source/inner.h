/* A source as its kinds fill it: stores of features (features.c), clips and encoders that run (encoder.c). */
#ifndef VJ_SOURCE_INNER_H
#define VJ_SOURCE_INNER_H

#include "source/source.h"

/* What a kind of source does. `from` is its own struct. */
typedef struct {
    /** Begin a pass over clips [first, last), which this rank reads in ascending order. Not collective. */
    vj_status (*begin)(void *from, int64_t first, int64_t last);
    /**
     * Read the pass's next clips [first, first + count) to x[i], f32 [count, tokens, width]; x NULL: only look for
     * damaged clips. Not collective.
     */
    vj_status (*read)(void *from, int64_t first, int64_t count, float *const *x);
    /** How many damaged clips this rank has found; x is undefined then. NULL: damage is an error. Not collective. */
    int64_t (*damaged)(const void *from);
    /**
     * Leave the damaged clips of all ranks out; *left [*count], borrowed: the numbers of the others. failed [labels]
     * is increased by how many of those left out have a label. Collective, agreed.
     */
    vj_status (*leave_out)(void *from, const int64_t **left, int64_t *count, uint64_t *failed);
    void (*close)(void *from);
    bool cheap; /* reading on after a row that is not finite, to count all of them, costs little */
} vj_source_kind;

struct vj_source {
    MPI_Comm comm; /* borrowed */
    int rank, size;
    const vj_source_kind *kind;
    void *from;

    int count; /* of representations */
    vj_representation representation[VJ_MAX_REPRESENTATIONS];
    int64_t clips;
    int64_t *numbers; /* [clips] */
    uint64_t *sums;   /* [clips], or NULL */
    int32_t *labels;  /* [clips, label_count] */
    int label_count;
    char label_names[VJ_MAX_LABELS][VJ_LABEL_NAME];
    const vj_clips_classes *classes[VJ_MAX_LABELS]; /* the kind's, or &joined[label] */
    vj_clips_classes joined[VJ_MAX_LABELS];         /* of training and this source (vj_source_match()) */
    char preprocessing[256];
    uint64_t fingerprint; /* of the clip stores that the numbers refer to */

    int64_t slab;                   /* clips of a slab */
    int64_t first, last, next;      /* this rank's clips, and the pass's next */
    int64_t slabs;                  /* of a pass, of the rank that has most clips */
    int64_t done;                   /* slabs of this pass so far */
    int64_t damaged;                /* clips left out so far, in passes */
    uint64_t failed[VJ_MAX_LABELS]; /* left out in passes or when the features were made: how many have a label */
    bool shrunk;                    /* until vj_source_has_shrunk() */
    float *x[VJ_MAX_REPRESENTATIONS];
};

/**
 * Create a source that owns `from`; NULL: there was no memory for it. *source is NULL if this rank has none.
 * Collective, agreed.
 */
vj_status vj_source_create(vj_source **source, const vj_source_kind *kind, void *from, MPI_Comm comm);
/** Allocate the columns for so many clips and labels. */
vj_status vj_source_take_columns(vj_source *source, bool sums);
/**
 * Once clips and representations are known: this rank's part, the slabs and their memory. Slabs but the last have
 * `clips` clips; 0: as many as fit into 16 MiB, one at least. Not collective.
 */
vj_status vj_source_take_slabs(vj_source *source, int64_t clips);
/**
 * Make the representations' names differ: names that are alike are replaced by `other` (one for each representation),
 * and those that are still alike get a number. "/" becomes ":".
 */
void vj_source_settle_names(vj_source *source, const char *const *other);

#endif
