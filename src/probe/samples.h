/*
 * A feature store as probes read it: labels by task, and, made from the features when they are first needed, the
 * statistics of every token (attentive) and the mean of every clip (average).
 */
#ifndef VJ_PROBE_SAMPLES_H
#define VJ_PROBE_SAMPLES_H

#include "features/features.h"
#include "probe/probe.h"

typedef struct {
    vj_features *store;
    int64_t count, tokens;
    int D, label_count;
    int32_t *labels;    /* [label_count, count] */
    float *mean, *rstd; /* [count, tokens], or NULL */
    float *pooled;      /* [count, D], or NULL */
} vj_samples;

/** Open a store and copy its labels. Release with vj_samples_release(), also after a failure. Not collective. */
vj_status vj_samples_open(vj_samples *samples, const char *path);
void vj_samples_release(vj_samples *samples);

/** Number of the label called `name`; -1: none. */
int vj_samples_label(const vj_samples *samples, const char *name);
/** 1 + the largest label of a task. */
int vj_samples_classes(const vj_samples *samples, int label);
/** Clips that have a label of a task. */
int64_t vj_samples_labelled(const vj_samples *samples, int label);

/** Read the features once and keep what probes of this pooling need. Again: nothing. */
vj_status vj_samples_prepare(vj_samples *samples, vj_backend *be, vj_pooling pooling, int folded);
/** Give that back. */
void vj_samples_forget(vj_samples *samples);

/** The data of one task for a probe; prepared before. Borrowed from samples. */
vj_probe_data vj_samples_data(const vj_samples *samples, int label, vj_pooling pooling);

#endif
