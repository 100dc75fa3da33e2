/*
 * Classifiers on frozen features (docs/method.md, section 12): the attentive probe, one learned query that attends to
 * all tokens of a clip, and the average-pool linear probe. This header declares the classifier with its gradients, and
 * its training on prepared samples. campaign.h trains many probes and makes the result table; samples.h prepares
 * features; embed.h computes them.
 *
 * A probe's memory is allocated by the backend and accessed only by kernels. On a backend whose device memory is host
 * memory (cpu), features may be in any host memory, including a mapped file.
 */
#ifndef VJ_PROBE_H
#define VJ_PROBE_H

#include "base/config.h"
#include "kernels/kernels.h"
#include "probe/predictions.h"
#include "probe/splits.h"

typedef enum { VJ_POOL_ATTENTIVE, VJ_POOL_AVERAGE } vj_pooling;

/** Return "attentive" or "average". */
const char *vj_pooling_name(vj_pooling pooling);
/** Parse a name that vj_pooling_name() returns. VJ_ERR_USAGE, reported, for any other word. */
vj_status vj_pooling_parse(vj_pooling *pooling, const char *name);

/** eps of the probe's layer norms (docs/method.md, section 12.1); the encoder's is 1e-6. */
#define VJ_PROBE_EPS 1e-5f

/* ------------------------------------------------------------------------------------------------ the classifier */

typedef struct {
    vj_pooling pooling;
    int D, heads, classes; /* heads must divide D; average pooling does not use heads */
    int64_t tokens;        /* N, tokens per clip */
    int64_t batch;         /* largest number of clips per pass */
    /*
     * bool, attentive only: use the folded form. With a single query, keys and values need not be computed per token:
     * score[n] = xhat[n] . (gain * Wk_h^T q_h) + constant, and tokens are averaged before Wv is applied. xhat, the
     * tokens normalised without gain and bias, does not depend on the weights, so the input of a folded probe is xhat
     * instead of the tokens, and no gradient with respect to the input is computed. Same function and same gradients of
     * the weights as the plain form, with about 30 times fewer operations.
     */
    int folded;
    int blocks; /* attentive: transformer blocks on the query after the cross-attention block (V-JEPA 1's depth - 1) */
    int norm_last; /* bool, attentive, no blocks: pooled = LN2(MLP(y)) instead of y + MLP(LN2(y)) (section 12.1) */
} vj_probe_shape;

/* The initial values of a tensor: 0, 1, uniform in +-1/sqrt(D), or normal. */
typedef enum { VJ_DRAW_ZERO, VJ_DRAW_ONE, VJ_DRAW_UNIFORM, VJ_DRAW_NORMAL } vj_probe_draw;

/* One parameter tensor, [rows, cols]; cols is 1 for a vector. Its memory is owned by the probe. */
typedef struct {
    const char *name; /* name in the published code: "pooler.query_tokens", "linear.weight" ... */
    int64_t rows, cols;
    int decay; /* bool: weight decay applies */
    vj_probe_draw start;
    double divisor;           /* VJ_DRAW_NORMAL: divides the standard deviation */
    float *weight, *gradient; /* device */
} vj_probe_tensor;

typedef struct vj_probe vj_probe;

/**
 * Create a probe with all weights zero. `be` is borrowed. Free with vj_probe_destroy(). The published tensor xattn.proj
 * is left out, since the published code never applies it (docs/method.md, section 12.1).
 */
vj_status vj_probe_create(vj_probe **probe, vj_backend *be, const vj_probe_shape *shape);
void vj_probe_destroy(vj_probe *probe);

/**
 * Draw the initial weights (docs/method.md, section 12.1): query and matrices of the pooler from N(0, std^2), mlp.fc2
 * divided by sqrt 2, attn.proj and mlp.fc2 of block i = 1, 2, ... by sqrt(2(i+1)), biases 0, norm gains 1, weights and
 * bias of the class layer uniform in +-1/sqrt(D). Depends only on (seed, shape, std).
 */
vj_status vj_probe_init(vj_probe *probe, uint64_t seed, double std);

/** Return the number of tensors, and tensor i, 0 <= i < count. */
int vj_probe_tensor_count(const vj_probe *probe);
vj_probe_tensor *vj_probe_tensor_at(vj_probe *probe, int i);

/**
 * Compute the class scores of B <= batch clips. features [B, N, D]: the encoder's tokens after its final norm; for a
 * folded probe additionally normalised by vj_probe_normalise(). Borrowed until vj_probe_backward() has returned. Not
 * collective.
 */
void vj_probe_forward(vj_probe *probe, const float *features, int64_t B);
/** Return results of the last forward pass, on the device: pooled [B, D] (the class layer's input), logits [B,
 * classes]. */
const float *vj_probe_pooled(const vj_probe *probe);
const float *vj_probe_logits(const vj_probe *probe);

/** Return the mean cross-entropy of the last forward pass for labels [B] (host), each in [0, classes). Must be called
 * before vj_probe_backward(). */
double vj_probe_loss(vj_probe *probe, const int32_t *labels);

/**
 * Compute the gradients of the last loss with respect to all tensors (overwritten) and, if dfeatures [B, N, D] is not
 * NULL, with respect to the features. dfeatures must be NULL for a folded probe.
 */
void vj_probe_backward(vj_probe *probe, float *dfeatures);

/**
 * Do AdamW update number `update` = 1, 2, ... (docs/method.md, section 12.2). The total norm of the gradient is clipped
 * to `clip` (0: no clipping).
 */
void vj_probe_update(vj_probe *probe, int64_t update, double lr, double weight_decay, double clip);

/** Normalise each of R rows of width D: xhat = (x - mean) / sqrt(variance + 1e-5), the input of a folded probe. xhat
 * may be x. */
void vj_probe_normalise(vj_backend *be, float *xhat, const float *x, int64_t R, int D);

/* ------------------------------------------------------------------------------------------------ training */

/*
 * Labelled features. All pointers are borrowed. If `mean` and `rstd` are set, each token is normalised with them when
 * it is read, as a folded probe needs. So only the statistics, a fiftieth of the size of the features, are kept in
 * memory, and the features themselves stay in one file for all ranks of a node.
 */
typedef struct {
    int64_t count, tokens; /* clips, N */
    int D;
    const float *features;           /* [count, N, D], or NULL: rows are read from `store` */
    const struct vj_features *store; /* features/features.h */
    const float *mean, *rstd;        /* [count, N], or NULL */
    const int32_t *labels;           /* [count] of one task; -1: no label, left out */
    const int64_t *clips;            /* [count] their numbers in the clip store; NULL: 0, 1, ... */
    const uint64_t *contents;        /* [count] their checksums there; NULL: not known */
} vj_probe_data;

/* One probe of a campaign. The settings of its training are in config.probe (docs/method.md, section 12.2). */
typedef struct {
    vj_probe_shape shape;  /* shape.batch: clips per update */
    double share;          /* share of the labelled clips, in percent of probe.clips */
    uint64_t seed;         /* for the initial weights and the order */
    const int64_t *chosen; /* [chosen_count] training samples, each labelled, ascending (splits.h). Borrowed */
    int64_t chosen_count;
    void (*progress)(void *listener,
                     double share); /* called after each update with the share of updates done; or NULL */
    void *listener;
} vj_probe_choice;

/* The result of a trained probe on the validation samples. */
typedef struct {
    vj_accuracies accuracies;
    int64_t counted; /* samples */
    uint64_t digest; /* of the probe's weights */
} vj_probe_result;

/**
 * Return the epochs of a probe on `share` percent of the labels: probe.epochs, or probe.epochs * 100 / share with
 * probe.equal_updates. (An under-trained probe on few labels measures the optimiser rather than the features.)
 */
int64_t vj_probe_epochs(const vj_config *config, double share);

/**
 * Train a probe on the chosen samples of `train` and, after the last epoch, evaluate it on all labelled clips of
 * `validation`. *rows (NULL: not wanted) gets its prediction for each of them, [counted], to be freed with free().
 * Depends only on (settings, choice, data): threads, ranks and other probes do not change the result. VJ_ERR_STATE if
 * the loss or a score is not finite or a set has no labelled clip; errors of the feature store are passed on. Not
 * collective.
 */
vj_status vj_probe_fit(vj_probe_result *result, vj_prediction **rows, vj_backend *be, const vj_config *config,
                       const vj_probe_choice *choice, const vj_probe_data *train, const vj_probe_data *validation);

#endif
