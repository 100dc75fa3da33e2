/*
 * A head: one probe of a campaign (docs/method.md, section 12), divided into two parts, so that many heads train at
 * once on the tokens of one encoder, on any number of ranks, each with the same bits as if trained alone.
 *
 * - The token part runs on the rank that has a sample's tokens. It needs only the head's `key` and computes a `row`, a
 *   few numbers: attentive (the folded form of probe.h): key [heads, D] = gain * Wk^T q, row [heads, D] = the tokens
 *   averaged with the softmax of their products with the key; average: no key, row [D] = the mean token.
 * - The row part runs on one rank, the head's owner, which alone holds weights and moments: values, MLP, further blocks
 *   on the query, class layer, loss, gradients and AdamW.
 *
 * For each batch the owner sends the key to all ranks. Rows arrive as samples are encoded, in any order and any number
 * at a time. The owner answers each with the gradient of its row, from which the token part computes the sample's
 * gradient of the key. After all rows, vj_head_update() computes the gradients of the weights over the whole batch at
 * once, in the batch's own order. So results do not depend on which samples arrived together or on which rank encoded
 * them.
 *
 * All arrays are device memory of the backend and borrowed. Nothing here is collective.
 */
#ifndef VJ_PROBE_HEAD_H
#define VJ_PROBE_HEAD_H

#include "probe/probe.h"

typedef struct {
    vj_pooling pooling;
    int D, heads, classes; /* heads must divide D; average pooling does not use them */
    int depth;             /* attentive: 1 + number of blocks on the query (V-JEPA 1); else 1 */
    int64_t tokens;        /* N, tokens of a sample: of all its segments */
    int64_t batch;         /* samples of an update */
    int norm_last;         /* bool, attentive, depth 1: norm after the MLP, as in the paper's text (probe.h) */
} vj_head_shape;

/* ------------------------------------------------------------------------------------------------ token part */

/** Return the number of floats of a key (0: none), and of a row. */
int64_t vj_head_key_floats(const vj_head_shape *shape);
int64_t vj_head_row_floats(const vj_head_shape *shape);
/**
 * Compute the row of one sample from its tokens [N, D]: for attentive pooling normalised by vj_probe_normalise(), for
 * average pooling as the encoder returns them. Attentive: prob [heads, N] is written, and the caller keeps it for
 * the backward pass; average: prob is not used.
 */
void vj_head_pool(vj_backend *be, const vj_head_shape *shape, float *row, float *prob, const float *key,
                  const float *tokens);
/**
 * The same for `count` heads of one shape over the tokens of one sample, which are read once for all heads: rows and
 * drows [count, row floats], prob [count, heads, N], keys and dkeys [count, key floats]. Same bits as head by head.
 * Average pooling has the same row for all heads: count must be 1. The backward pass computes the sample's gradients of
 * the keys from those of its rows; it must not be called if there are no keys.
 */
void vj_head_pool_many(vj_backend *be, const vj_head_shape *shape, int count, float *rows, float *prob,
                       const float *keys, const float *tokens);
void vj_head_pool_backward_many(vj_backend *be, const vj_head_shape *shape, int count, float *dkeys, const float *drows,
                                const float *rows, const float *prob, const float *tokens);

/* ------------------------------------------------------------------------------------------------ row part */

/* Rows are computed in groups of this many neighbours, always whole, even if some rows have not arrived, so that a
 * row's bits do not depend on the others. Rows that arrive with their neighbours cost less. */
enum { VJ_HEAD_GROUP = 16 };

typedef struct vj_head vj_head;

/** Create a head with all weights zero. `be` is borrowed. Free with vj_head_destroy(). VJ_ERR_USAGE, reported, for an
 * impossible shape. */
vj_status vj_head_create(vj_head **head, vj_backend *be, const vj_head_shape *shape);
void vj_head_destroy(vj_head *head);
/** Return the bytes of memory that vj_head_create() takes. */
int64_t vj_head_bytes(const vj_head_shape *shape);
/** Draw the initial weights as vj_probe_init() does: a head of depth 1 gets the same bits. */
vj_status vj_head_init(vj_head *head, uint64_t seed, double std);

/** Return the number of tensors, and tensor i: names as published, weights, gradients and the two moments. */
int vj_head_tensor_count(const vj_head *head);
vj_probe_tensor *vj_head_tensor_at(vj_head *head, int i);
/** Return weights, first and second moments as flat arrays of *count floats (device), for checkpoints. After a change
 * of weights, here or through a tensor, vj_head_weights_changed() must be called before vj_head_key(). */
float *vj_head_state(vj_head *head, int64_t *count); /* [3, count] */
void vj_head_weights_changed(vj_head *head);

/** Compute the key of the present weights. Valid until the next vj_head_update(). NULL if there is none. */
const float *vj_head_key(vj_head *head);

/**
 * Compute the class scores [count, classes] of rows [count, row floats] for a measurement: nothing is kept, and an
 * incomplete batch is not changed. Row i has the number `first` + i among all rows that are measured. The number
 * determines its place in a group of VJ_HEAD_GROUP rows, so that its bits do not depend on how rows are divided among
 * calls and ranks, with any library for products.
 */
void vj_head_score(vj_head *head, float *logits, const float *rows, int64_t first, int64_t count);

/**
 * Train on rows [count, row floats], which are samples places[0..count) (each in [0, batch_count)) of a batch of
 * batch_count samples, with labels [count] (host). Each place must be passed once before vj_head_update(), always with
 * the same batch_count. A sample that cannot be used has label -1: its loss is 0 and it adds nothing to any gradient,
 * while the mean is still over batch_count samples; its row must be finite. Keeps what vj_head_update() needs, writes
 * drows [count, row floats] (NULL: not wanted), the gradient of the batch's mean cross-entropy, and loss [count]
 * (host), the cross-entropy of each. Waits for the device and returns its status.
 */
vj_status vj_head_rows(vj_head *head, float *drows, double *loss, const float *rows, const int64_t *places,
                       const int32_t *labels, int64_t count, int64_t batch_count);

/* How to update: AdamW with betas 0.9, 0.999. */
typedef struct {
    int64_t update; /* 1, 2, ... */
    double lr, weight_decay;
    double clip;   /* largest norm of the gradient; 0: not clipped */
    int decay_all; /* bool: weight decay applies to biases and norms too (V-JEPA 2's sweep) */
} vj_head_step;

/** Update the weights after all samples of a batch have passed vj_head_rows(); waits for the device. dkeys
 * [batch_count, key floats]: the gradient of the key of each sample in the batch's order; NULL if there is no key. */
vj_status vj_head_update(vj_head *head, const float *dkeys, int64_t batch_count, const vj_head_step *step);

#endif
