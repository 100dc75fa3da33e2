/*
 * The struct of a probe, private to the files that share its parts:
 *   probe.c       parameters, class layer, loss, update
 *   attentive.c   the cross-attention block up to y = query + attention, plain and folded
 *   query.c       the rest, on the query alone: the MLP, and further blocks
 *   head.c        a probe whose samples come in any order (head.h)
 *
 * Everything after the pooling works on rows, one per sample: functions take the range of rows [first, first + count).
 * Gradients of weights are computed by functions of their own, over all samples of a batch at once.
 */
#ifndef VJ_PROBE_PARTS_H
#define VJ_PROBE_PARTS_H

#include "model/arena.h"
#include "probe/probe.h"

/* Numbers of the tensors. Tensor BLOCK_... of block 1, 2, ... has the number TENSORS + BLOCK_TENSORS * (block - 1) +
 * BLOCK_... */
enum {
    LINEAR_WEIGHT,
    QUERY,
    Q_WEIGHT,
    KV_WEIGHT,
    FC1_WEIGHT,
    FC2_WEIGHT,
    NORM1_WEIGHT,
    NORM1_BIAS,
    Q_BIAS,
    KV_BIAS,
    NORM2_WEIGHT,
    NORM2_BIAS,
    FC1_BIAS,
    FC2_BIAS,
    LINEAR_BIAS,
    TENSORS
};
enum {
    BLOCK_NORM1_WEIGHT,
    BLOCK_NORM1_BIAS,
    BLOCK_QKV_WEIGHT,
    BLOCK_QKV_BIAS,
    BLOCK_PROJ_WEIGHT,
    BLOCK_PROJ_BIAS,
    BLOCK_NORM2_WEIGHT,
    BLOCK_NORM2_BIAS,
    BLOCK_FC1_WEIGHT,
    BLOCK_FC1_BIAS,
    BLOCK_FC2_WEIGHT,
    BLOCK_FC2_BIAS,
    BLOCK_TENSORS
};

/* The numbers of the tensors of a norm and an MLP. */
typedef struct {
    int norm_weight, norm_bias, fc1_weight, fc1_bias, fc2_weight, fc2_bias;
} vj_probe_mlp;

/*
 * One stage on the query, for B rows. A block first computes x = before + proj(V(LN1(before))), since a token that
 * attends only to itself has the weight 1; then after = x + MLP(LN2(x)). Stage 0 is the rest of the cross-attention
 * block: its x is y.
 */
typedef struct {
    float *first_normed, *first_mean, *first_rstd, *value; /* [B, D], [B], [B], [B, D]; blocks only */
    float *dfirst_normed, *dvalue;                         /* [B, D] blocks only */
    float *x, *dx;                                         /* [B, D] */
    float *normed, *dnormed;                               /* [B, D] LN2(x); with norm_last the MLP's output */
    float *mean, *rstd;                                    /* [B] */
    float *pre, *hidden;                                   /* [B, 4D]; backward turns pre into its gradient */
    float *after, *dafter;                                 /* [B, D] */
} vj_probe_stage;

/* Which parts of a probe exist: all; all but the pooling, for rows that are computed elsewhere (head.h; shape.folded is
 * set with attention); all but weights, gradients and moments, which are elsewhere (token_probe.h). */
typedef enum { VJ_PARTS_ALL, VJ_PARTS_ROWS, VJ_PARTS_PASSES } vj_probe_parts;

struct vj_probe {
    vj_backend *be;
    vj_probe_shape shape;
    vj_probe_parts parts;
    int tensors;             /* numbers of tensors in use: TENSORS + BLOCK_TENSORS * blocks */
    vj_probe_tensor *tensor; /* [tensors]; tensors that average pooling does not have get a NULL name */
    char (*block_name)[64];  /* [BLOCK_TENSORS * blocks] */
    int64_t decayed, size;   /* elements of the flat arrays; weight decay applies to the first `decayed` */
    void *memory;            /* the one allocation: everything below points into it */
    float *weights, *gradients, *first_moment, *second_moment;

    /* Values of the last forward and backward pass. B clips, N tokens, D width, NH heads, d = D / NH. */
    int64_t B;
    const float *features;
    float *pooled, *dpooled; /* [B, D] the class layer's input; attentive: the last stage's `after` */
    float *logits, *dlogits; /* [B, classes] */
    double *sum;             /* [1] sum of squares of the gradient, or the loss */
    int32_t *labels;         /* [B] */

    /* Attentive. */
    vj_probe_stage *stage; /* [1 + blocks] */
    float *y, *dy;         /* [B, D] query + attention: the x of stage 0 */
    float *q, *dq;         /* [D], scaled by 1/sqrt(d) */
    float *prob;           /* [B, NH, N] attention weights */
    float *sink;           /* [B, D] results that are not used */

    /* Folded form of the attention only (probe.h). */
    float *back, *dback;   /* [NH, D] Wk_h^T q_h */
    float *fold, *dfold;   /* [NH, D] gain * back; its products with the normalised tokens are the scores */
    float *mix, *dmix;     /* [B, NH, D] sum of prob * xhat */
    float *value, *dvalue; /* [NH, rows, D] gain * mix + bias, of the present range of rows */
    float *head, *dhead;   /* [NH, rows, d] */

    /* Plain form of the attention only. */
    float *keyed, *dkeyed; /* [B*N, D] LN1(features) */
    float *mean1, *rstd1;  /* [B*N] */
    float *kv, *dkv;       /* [B*N, 2D] */
    float *dq_clip;        /* [B, D] */
    float *dtokens;        /* [B*N, D] used if the caller passes no dfeatures */
};

static inline float *vj_probe_weight(const struct vj_probe *p, int id)
{
    return p->tensor[id].weight;
}
static inline float *vj_probe_gradient(const struct vj_probe *p, int id)
{
    return p->tensor[id].gradient;
}

/* probe.c */

/** The same as vj_probe_create(), with only some parts. */
vj_status vj_probe_create_parts(struct vj_probe **probe, vj_backend *be, const vj_probe_shape *shape,
                                vj_probe_parts parts);
/** Return the bytes of device memory that it takes. */
int64_t vj_probe_parts_bytes(const vj_probe_shape *shape, vj_probe_parts parts);
/** Place the tensors in `weights` and `gradients` [p->size], which are borrowed. */
void vj_probe_place_tensors(struct vj_probe *p, float *weights, float *gradients);
/** Draw the initial values of tensor number `id` into `weight` (host); D: the probe's width. */
void vj_probe_draw_tensor(float *weight, const vj_probe_tensor *t, int id, uint64_t seed, double std, int D);
/** Return a step with the bias corrections, and the scale that clips the norm of gradient [n] to `clip` (0: no
 * clipping); `sum`: device, [1].
 */
vj_adamw_step vj_probe_adamw(vj_backend *be, int64_t update, const float *gradient, int64_t n, double *sum,
                             double clip);
/** The same as vj_probe_update(); decay_all: weight decay applies to all tensors. */
void vj_probe_update_parts(struct vj_probe *p, int64_t update, double lr, double weight_decay, double clip,
                           int decay_all);
/** The class layer: compute logits from pooled, and dpooled from dlogits, for a range of rows; and its gradients over B
 * rows. */
void vj_probe_classify(struct vj_probe *p, int64_t first, int64_t count);
void vj_probe_classify_backward(struct vj_probe *p, int64_t first, int64_t count);
void vj_probe_classify_gradients(struct vj_probe *p, int64_t B);

/* attentive.c: the folded form in parts, and both forms whole */

/** Compute q, back and fold from the weights. */
void vj_probe_fold(struct vj_probe *p);
/** Compute y from mix, and dmix from dy, for a range of rows. */
void vj_probe_project(struct vj_probe *p, int64_t first, int64_t count);
void vj_probe_project_backward(struct vj_probe *p, int64_t first, int64_t count);
/** Compute dmix of B rows and all gradients of the cross-attention's values. Precedes vj_probe_fold_gradients(). */
void vj_probe_project_gradients(struct vj_probe *p, int64_t B);
/** Compute the gradients of keys, norm and query from dfold, and the query's from dy. */
void vj_probe_fold_gradients(struct vj_probe *p, int64_t B);
/** Compute y from p->features. */
void vj_probe_attend(struct vj_probe *p);
/** Compute the gradients of the cross-attention from dy; dfeatures as in vj_probe_backward(). */
void vj_probe_attend_gradients(struct vj_probe *p, float *dfeatures);

/* query.c */

/** Add names and shapes of the blocks' tensors; point the stages into the arena. */
void vj_probe_describe_blocks(struct vj_probe *p);
void vj_probe_place_stages(struct vj_probe *p, vj_arena *arena);
/** Compute pooled from y, and dy from dpooled, for a range of rows; and the gradients over B rows, after all rows. */
void vj_probe_stages(struct vj_probe *p, int64_t first, int64_t count);
void vj_probe_stages_backward(struct vj_probe *p, int64_t first, int64_t count);
void vj_probe_stages_gradients(struct vj_probe *p, int64_t B);

#endif
