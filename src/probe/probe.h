/*
 * Classifiers on frozen features (docs/method.md, section 12): the attentive probe, one learned query that attends to
 * all tokens of a clip, and the average-pool linear probe. Here: the classifier with its gradients and its training on
 * prepared samples. campaign.h runs many of them and makes the table; samples.h prepares features; embed.h makes them.
 *
 * A probe's memory is the backend's, touched by kernels alone; where the host may touch it (cpu), features may be any
 * host memory, a mapped file included.
 */
#ifndef VJ_PROBE_H
#define VJ_PROBE_H

#include "base/config.h"
#include "kernels/kernels.h"

typedef enum { VJ_POOL_ATTENTIVE, VJ_POOL_AVERAGE } vj_pooling;

/** "attentive" or "average". */
const char *vj_pooling_name(vj_pooling pooling);
/** The inverse; VJ_ERR_USAGE, reported, for another word. */
vj_status vj_pooling_parse(vj_pooling *pooling, const char *name);

/** Of the probe's norms (docs/method.md, section 12.1): not the encoder's 1e-6. */
#define VJ_PROBE_EPS 1e-5f

/* ------------------------------------------------------------------------------------------------ the classifier */

typedef struct {
    vj_pooling pooling;
    int D, heads, classes; /* heads divides D; not used by average */
    int64_t tokens;        /* N tokens a clip */
    int64_t batch;         /* clips a pass at most */
    /*
     * Attentive only. One query lets keys and values fold away: score[n] = xhat[n] . (gain * Wk_h^T q_h) + constant,
     * and pooling comes before Wv. xhat, the tokens normalised without gain and bias, does not depend on the weights,
     * so a folded probe is given xhat instead of the tokens and has no gradient for them. The same function and the
     * same gradients as the plain form, for about 30 times fewer operations.
     */
    int folded;
} vj_probe_shape;

/* One parameter tensor, [rows, cols]; cols is 1 for a vector. Memory belongs to the probe. */
typedef struct {
    const char *name; /* as published: "pooler.query_tokens", "linear.weight" ... */
    int64_t rows, cols;
    int decay;                /* bool: weight decay applies */
    float *weight, *gradient; /* device */
} vj_probe_tensor;

typedef struct vj_probe vj_probe;

/**
 * Make a probe with all weights zero. `be` is borrowed. Free with vj_probe_destroy().
 * The published xattn.proj is not among its tensors: it is never applied (docs/method.md, section 12.1).
 */
vj_status vj_probe_create(vj_probe **probe, vj_backend *be, const vj_probe_shape *shape);
void vj_probe_destroy(vj_probe *probe);

/**
 * Draw the starting weights (docs/method.md, section 12.1): query and matrices of the pooler N(0, std^2), mlp.fc2
 * divided by sqrt 2, biases 0, norm gains 1, the class layer uniform in +-1/sqrt(D). A function of (seed, shape).
 */
vj_status vj_probe_init(vj_probe *probe, uint64_t seed, double std);

int vj_probe_tensor_count(const vj_probe *probe);
vj_probe_tensor *vj_probe_tensor_at(vj_probe *probe, int i);

/**
 * Class scores of B <= batch clips. features [B, N, D]: the encoder's tokens after its final norm; a folded probe takes
 * them normalised by vj_probe_normalise(). Kept by reference until vj_probe_backward(). Not collective.
 */
void vj_probe_forward(vj_probe *probe, const float *features, int64_t B);
/** Results of the last forward, on the device: pooled [B, D] (the class layer's input) and logits [B, classes]. */
const float *vj_probe_pooled(const vj_probe *probe);
const float *vj_probe_logits(const vj_probe *probe);

/** Mean cross-entropy of the last forward for labels [B] (host), each in [0, classes). Starts the backward pass. */
double vj_probe_loss(vj_probe *probe, const int32_t *labels);

/**
 * Gradients of the last loss: of all tensors (overwritten), and of the features, dfeatures [B, N, D], if not NULL (it
 * must be NULL for a folded probe).
 */
void vj_probe_backward(vj_probe *probe, float *dfeatures);

/**
 * One AdamW update (docs/method.md, section 12.2), number `update` = 1, 2, ...; the gradient's total norm is clipped at
 * `clip` (0: not).
 */
void vj_probe_update(vj_probe *probe, int64_t update, double lr, double weight_decay, double clip);

/** xhat = (x - mean) / sqrt(variance + 1e-5) over each of R rows of width D: what a folded probe reads. xhat may be x.
 */
void vj_probe_normalise(vj_backend *be, float *xhat, const float *x, int64_t R, int D);

/* ------------------------------------------------------------------------------------------------ training */

/*
 * Labelled features. All pointers borrowed. With `mean` and `rstd` each token is normalised by them as it is read,
 * which is what a folded probe wants: the statistics are a fiftieth of the features, which so stay in one mapped file
 * for all ranks of a node.
 */
typedef struct {
    int64_t count, tokens; /* clips, N */
    int D;
    const float *features;           /* [count, N, D], or NULL: rows are read from `store` */
    const struct vj_features *store; /* features/features.h */
    const float *mean, *rstd;        /* [count, N], or NULL */
    const int32_t *labels;           /* [count] of one task; -1: no label, left out */
} vj_probe_data;

/* Which probe; how it is trained is config.probe (docs/method.md, section 12.2). */
typedef struct {
    vj_probe_shape shape; /* shape.batch: clips an update */
    double share;         /* percent of probe.clips */
    uint64_t seed;        /* of the share, the starting weights and the order */
} vj_probe_choice;

/**
 * The clips that a share of the labels leaves: `share` percent of `clips` (0, or more than there are: of all labelled
 * clips), from each class in proportion, at least one: the first of a keyed permutation of the class, so that a smaller
 * share is part of a larger one. chosen [count] gets *chosen_count clip numbers, ascending. A function of its
 * arguments.
 */
vj_status vj_probe_subset(int64_t *chosen, int64_t *chosen_count, const int32_t *labels, int64_t count, int classes,
                          int64_t clips, double share, uint64_t seed);

/**
 * Epochs of a probe on `share` percent of the labels: probe.epochs, or with probe.equal_updates as many more as the
 * share is smaller. (An under-trained probe on few labels says more of the optimiser than of the features.)
 */
int64_t vj_probe_epochs(const vj_config *config, double share);

/**
 * Train a probe on its share of `train` and measure it on all labelled clips of `validation` after the last epoch:
 * *top1 in percent. A function of (settings, choice, data) alone: bits do not depend on threads, ranks or other probes.
 * Not collective. VJ_ERR_STATE when the loss is not finite, or a set has no labelled clip; failures of the store.
 */
vj_status vj_probe_fit(double *top1, vj_backend *be, const vj_config *config, const vj_probe_choice *choice,
                       const vj_probe_data *train, const vj_probe_data *validation);

#endif
