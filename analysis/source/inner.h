/* The inside of a source, and the interface of its two kinds: feature stores (features.c), and clips with encoders that
 * run (encoder.c). */
#ifndef VJ_SOURCE_INNER_H
#define VJ_SOURCE_INNER_H

#include "source/source.h"

/* The functions of a kind of source. `from` is the kind's own struct. */
typedef struct {
    /** Begin a pass over clips [first, last), which this rank reads in ascending order. Not collective. */
    vj_status (*begin)(void *from, int64_t first, int64_t last);
    /**
     * Read the next clips of the pass, [first, first + count), to x[i], f32 [count, tokens, width], for each
     * representation i. With x NULL only look for damaged clips. Not collective.
     */
    vj_status (*read)(void *from, int64_t first, int64_t count, float *const *x);
    /** Return the number of damaged clips that this rank has found; if there are any, the x of read() is undefined. A
     * kind without this function treats damage as an error. Not collective. */
    int64_t (*damaged)(const void *from);
    /**
     * Remove the damaged clips of all ranks from the source. *left [*count], borrowed: the numbers of the remaining
     * clips. For each label adds to failed [labels] the number of removed clips that have it. Collective, agreed.
     */
    vj_status (*leave_out)(void *from, const int64_t **left, int64_t *count, uint64_t *failed);
    void (*close)(void *from);
    bool cheap; /* reading is cheap: after a row that is not finite, read the rest to count all such rows */
} vj_source_kind;

struct vj_source {
    MPI_Comm comm; /* borrowed */
    int rank, size;
    const vj_source_kind *kind;
    void *from;

    int count; /* representations */
    vj_representation representation[VJ_MAX_REPRESENTATIONS];
    int64_t clips;
    int64_t *numbers; /* [clips] */
    uint64_t *sums;   /* [clips], or NULL */
    int32_t *labels;  /* [clips, label_count] */
    int label_count;
    char label_names[VJ_MAX_LABELS][VJ_LABEL_NAME];
    const vj_clips_classes *classes[VJ_MAX_LABELS]; /* owned by the kind, or &joined[label] */
    vj_clips_classes joined[VJ_MAX_LABELS];         /* classes of training and of this source (vj_source_match()) */
    char preprocessing[256];
    uint64_t fingerprint; /* of the clip stores that the numbers refer to */

    void (*tell)(void *listener, double clips, double now_s); /* vj_source_set_listener() */
    void *listener;                                           /* borrowed */
    int64_t slab;                                             /* clips in a slab */
    int64_t first, last, next;      /* clips [first, last) are this rank's; `next` is read next in this pass */
    int64_t slabs;                  /* slabs in a pass, on the rank with the most clips */
    int64_t done;                   /* slabs read in this pass */
    int64_t damaged;                /* clips that were left out in passes so far */
    uint64_t failed[VJ_MAX_LABELS]; /* by label: clips with it that were left out, in passes or in the feature store */
    bool shrunk;                    /* clips were left out; vj_source_has_shrunk() resets it */
    float *x[VJ_MAX_REPRESENTATIONS]; /* the slab, [slab, tokens, width] for each representation. Owned */
};

/**
 * Create a source that owns `from`. `from` is NULL if there was no memory for it. *source is NULL if this rank failed.
 * Collective, agreed.
 */
vj_status vj_source_create(vj_source **source, const vj_source_kind *kind, void *from, MPI_Comm comm);
/** Allocate `numbers` and `labels`, and `sums` if wanted, for source->clips clips. */
vj_status vj_source_take_columns(vj_source *source, bool sums);
/**
 * Divide the clips over ranks and slabs, and allocate memory for a slab. Clips and representations must be known. All
 * slabs except the last have `clips` clips; 0: as many as fit into 8 MiB for each representation and 256 MiB for all
 * together, at least one. Not collective.
 */
vj_status vj_source_take_slabs(vj_source *source, int64_t clips);
/**
 * Make the names of representations unique. Equal names are replaced by those in `other` (one for each representation),
 * and names that are still equal get a number. "/" becomes ":".
 */
void vj_source_make_names_unique(vj_source *source, const char *const *other);

#endif
