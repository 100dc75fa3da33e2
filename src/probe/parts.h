/* The struct of a probe, private to probe.c (parameters, class layer, update) and attentive.c (the pooler). */
#ifndef VJ_PROBE_PARTS_H
#define VJ_PROBE_PARTS_H

#include "probe/probe.h"

/* Tensors with weight decay come first, so that AdamW updates the flat arrays as two contiguous segments. */
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

struct vj_probe {
    vj_backend *be;
    vj_probe_shape shape;
    vj_probe_tensor tensor[TENSORS]; /* tensors that average pooling does not have get a NULL name */
    int64_t decayed, size;           /* elements of the flat arrays; weight decay applies to the first `decayed` */
    void *memory;                    /* the one allocation: everything below points into it */
    float *weights, *gradients, *first_moment, *second_moment;

    /* Values of the last forward and backward pass. B clips, N tokens, D width, NH heads, d = D / NH. */
    int64_t B;
    const float *features;
    float *pooled, *dpooled; /* [B, D] the class layer's input */
    float *logits, *dlogits; /* [B, classes] */
    double *sum;             /* [1] sum of squares of the gradient, or the loss */
    int32_t *labels;         /* [B] */

    /* Attentive: y = query + attention, then the MLP. */
    float *y, *dy;           /* [B, D] */
    float *normed, *dnormed; /* [B, D] */
    float *mean2, *rstd2;    /* [B] */
    float *pre, *hidden;     /* [B, 4D] */
    float *q, *dq;           /* [D], scaled by 1/sqrt(d) */
    float *prob;             /* [B, NH, N] attention weights */

    /* Folded form of the attention only (probe.h). */
    float *back, *dback;   /* [NH, D] Wk_h^T q_h */
    float *fold, *dfold;   /* [NH, D] gain * back; its products with the normalised tokens are the scores */
    float *mix, *dmix;     /* [B, NH, D] sum of prob * xhat */
    float *value, *dvalue; /* [NH, B, D] gain * mix + bias */
    float *head, *dhead;   /* [NH, B, d] */

    /* Plain form of the attention only. */
    float *keyed, *dkeyed; /* [B*N, D] LN1(features) */
    float *mean1, *rstd1;  /* [B*N] */
    float *kv, *dkv;       /* [B*N, 2D] */
    float *dq_clip;        /* [B, D] */
    float *dtokens;        /* [B*N, D] used if the caller passes no dfeatures */
};

static inline float *vj_probe_weight(const vj_probe *p, int id)
{
    return p->tensor[id].weight;
}
static inline float *vj_probe_gradient(const vj_probe *p, int id)
{
    return p->tensor[id].gradient;
}

/** Compute p->pooled from p->features (attentive.c). */
void vj_probe_attend_forward(vj_probe *p);
/** Compute all gradients except those of the class layer from p->dpooled; dfeatures as in vj_probe_backward(). */
void vj_probe_attend_backward(vj_probe *p, float *dfeatures);

#endif
