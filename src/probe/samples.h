/*
 * A feature store, prepared for probes: the labels of each task and, computed from the features on request, mean and
 * 1 / standard deviation of every token (folded attentive probes) or the mean token of every clip (average pooling).
 */
#ifndef VJ_PROBE_SAMPLES_H
#define VJ_PROBE_SAMPLES_H

#include "features/features.h"
#include "probe/probe.h"

typedef struct {
    vj_features *store;
    int64_t count, tokens;
    int D, label_count;
    int32_t *labels;    /* [label_count, count], owned, like all below */
    int64_t *clips;     /* [count] numbers in the clip store */
    uint64_t *contents; /* [count] checksums there, or NULL */
    float *mean, *rstd; /* [count, tokens], or NULL */
    float *pooled;      /* [count, D] mean token of each clip, or NULL */
} vj_samples;

/** Open a store and copy its labels. Release with vj_samples_release(), also after a failure. Collective, agreed;
 * comm may be VJ_ALONE. */
vj_status vj_samples_open(vj_samples *samples, const char *path, MPI_Comm comm);
void vj_samples_release(vj_samples *samples);

/** Return the index of the task (label) called `name`, or -1. */
int vj_samples_label(const vj_samples *samples, const char *name);
/** Return the number of classes of a task: 1 + its largest label. */
int vj_samples_classes(const vj_samples *samples, int label);
/** Return the number of clips that have a label of a task. */
int64_t vj_samples_labelled(const vj_samples *samples, int label);

/** Compute the statistics that probes of this pooling need, reading all features once. Does nothing if they exist
 * already. Free them with vj_samples_forget(). Not collective. */
vj_status vj_samples_prepare(vj_samples *samples, vj_backend *be, vj_pooling pooling, int folded);
/** Free what vj_samples_prepare() computed. */
void vj_samples_forget(vj_samples *samples);

/** Return the data of one task for a probe. Call vj_samples_prepare() before. All pointers are borrowed from `samples`.
 */
vj_probe_data vj_samples_data(const vj_samples *samples, int label, vj_pooling pooling);

/** Return the samples of a task from which splits are drawn (splits.h); `name` is for messages. All is borrowed. */
vj_split_samples vj_samples_for_split(const vj_samples *samples, int label, const char *name);

#endif
