/*
 * Comparing two sets of predictions of the same samples (docs/method.md, section 12.3): is one probe, or encoder,
 * better than the other, or is the difference chance? Not collective.
 */
#ifndef VJ_PROBE_COMPARE_H
#define VJ_PROBE_COMPARE_H

#include "probe/metrics.h"
#include "probe/predictions.h"

/* Some heads of a file of predictions. */
typedef struct {
    vj_predictions file; /* owned */
    int64_t *head;       /* [count] their numbers in it; owned */
    int64_t count;
    char select[VJ_HEAD_NAME]; /* as given: the name of a head, or of an encoder, or "" */
} vj_selection;

/** Split "FILE" or "FILE:SELECT"; `select` becomes "" for the first. A folder stands for its predictions.h5.
 * VJ_ERR_USAGE if it is too long. */
vj_status vj_selection_split(const char *text, char path[VJ_PATH], char select[VJ_HEAD_NAME]);

/**
 * Open "FILE", "FILE:HEAD" (one head) or "FILE:ENCODER" (all heads of an encoder). VJ_ERR_USAGE, with a list of valid
 * names, if nothing has that name, or if only FILE is given and it has several encoders. Release also after a failure.
 */
vj_status vj_selection_open(vj_selection *selection, const char *text);
void vj_selection_release(vj_selection *selection);

/** Return whether two heads are alike: of the same task, kind and share of labels. */
bool vj_heads_alike(const vj_head_facts *a, const vj_head_facts *b);
/** Return the selected head that is alike and has the seed of `head`, or -1. */
int64_t vj_selection_partner(const vj_selection *selection, const vj_head_facts *head);

/* Two heads on the same samples. Percent; intervals of 95 %. */
typedef struct {
    const vj_head_facts *a, *b; /* borrowed from the selections */
    int64_t samples;
    vj_pair_counts counts;
    double top1_a, low_a, high_a, top1_b, low_b, high_b; /* with Wilson's intervals */
    double top5_a, top5_b;
    double difference, low, high; /* a minus b, percentage points; interval by the paired bootstrap */
    double p;                     /* of McNemar's test */
    int32_t *surplus;             /* [samples] 1: only a is right, -1: only b, 0: both or none; in their order; owned */
} vj_comparison;

/* Pairs of heads that differ only in the seed. */
typedef struct {
    int64_t first, count; /* of the comparisons */
    vj_runs_summary over; /* of their differences */
    double low, high; /* interval of the mean over seeds, by the paired bootstrap over clips; NaN: not the same clips */
    double p_least, p_most; /* the smallest and the largest of McNemar's p */
} vj_comparison_group;

typedef struct {
    vj_comparison *pair;        /* [count] owned */
    vj_comparison_group *group; /* [group_count] owned */
    int64_t count, group_count;
    int64_t alone_a, alone_b; /* heads without a partner */
} vj_comparisons;

/**
 * Compare heads: if each selection has one head, these two; else those of equal task, kind, share of labels and seed.
 * VJ_ERR_USAGE, saying what differs, if no heads are alike, or if two have different samples, labels or classes.
 * Samples are the same if their clips have the same numbers in the same store, or in different stores the same content.
 */
vj_status vj_compare(vj_comparisons *comparisons, const vj_selection *a, const vj_selection *b, int64_t resamples,
                     uint64_t seed);
void vj_comparisons_release(vj_comparisons *comparisons);

/** Write the result of a comparison, or of a group of several seeds, as a sentence. */
void vj_comparison_verdict(char *text, size_t bytes, const vj_comparison *comparison);
void vj_comparison_group_verdict(char *text, size_t bytes, const vj_comparison_group *group);

#endif
