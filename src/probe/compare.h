/*
 * Comparing two sets of predictions of the same samples (docs/method.md, section 12.3): does one probe, or encoder, do
 * better than the other, or is it chance? Not collective.
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

/** Split "FILE" or "FILE:SELECT", where `select` becomes "" without. VJ_ERR_USAGE: too long. */
vj_status vj_selection_split(const char *text, char path[VJ_PATH], char select[VJ_HEAD_NAME]);

/**
 * Open "FILE", "FILE:HEAD" (one head) or "FILE:ENCODER" (all heads of an encoder). VJ_ERR_USAGE, listing what there is,
 * if nothing is called so, or if FILE alone has several encoders. Release also after a failure.
 */
vj_status vj_selection_open(vj_selection *selection, const char *text);
void vj_selection_release(vj_selection *selection);

/** Are two heads of the same task, kind and share of labels? */
bool vj_heads_alike(const vj_head_facts *a, const vj_head_facts *b);
/** Return which of the selected heads is alike and has the seed of `head`, or -1. */
int64_t vj_selection_partner(const vj_selection *selection, const vj_head_facts *head);

/* Two heads on the same samples. Percent; intervals of 95 %. */
typedef struct {
    const vj_head_facts *a, *b; /* borrowed from the selections */
    int64_t samples;
    vj_pair_counts counts;
    double top1_a, low_a, high_a, top1_b, low_b, high_b; /* with Wilson's intervals */
    double top5_a, top5_b;
    double difference, low, high; /* a minus b, points; of the paired bootstrap */
    double p;                     /* McNemar */
    int32_t *surplus;             /* [samples] 1: a alone is right, -1: b alone; in the order of the samples; owned */
} vj_comparison;

/* Pairs of heads that are alike but for the seed. */
typedef struct {
    int64_t first, count;   /* of the comparisons */
    vj_runs_summary over;   /* of their differences */
    double low, high;       /* of the paired bootstrap of the clips, for the mean over seeds; NaN: not the same clips */
    double p_least, p_most; /* the smallest and the largest of McNemar's p */
} vj_comparison_group;

typedef struct {
    vj_comparison *pair;        /* [count] owned */
    vj_comparison_group *group; /* [group_count] owned */
    int64_t count, group_count;
    int64_t alone_a, alone_b; /* heads without a partner */
} vj_comparisons;

/**
 * Compare heads: the one of each selection if each has one; else those of equal task, kind, share of labels and seed.
 * VJ_ERR_USAGE, saying what differs, if no heads are alike, or if two are of other samples, labels or classes. Samples
 * are the same if their clips have the same numbers in the same store, or in different stores the same content.
 */
vj_status vj_compare(vj_comparisons *comparisons, const vj_selection *a, const vj_selection *b, int64_t resamples,
                     uint64_t seed);
void vj_comparisons_release(vj_comparisons *comparisons);

/** Write in a sentence what a comparison, or a group of several seeds, says. */
void vj_comparison_verdict(char *text, size_t bytes, const vj_comparison *comparison);
void vj_comparison_group_verdict(char *text, size_t bytes, const vj_comparison_group *group);

#endif
