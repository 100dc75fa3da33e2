/*
 * Functions for heads of both kinds: those that are cut into a token part and a row part (probe/head.h), and those with
 * blocks on the tokens (on_tokens), which every rank trains on the samples that it encodes. Private to this folder.
 */
#ifndef VJ_EVALUATE_HEADS_H
#define VJ_EVALUATE_HEADS_H

#include "evaluate/parts.h"

/** Write the kind of a head, such as "attentive", "average" or "tokens4", to `kind` and return it. */
const char *vj_eval_kind(const vj_eval_head *h, char kind[VJ_HEAD_WORD]);
/** Create this rank's part of all heads, with their initial weights: VJ_ERR_MEMORY. Close with vj_eval_close_heads(),
 * also after a failure. Neither is collective. */
vj_status vj_eval_open_heads(vj_evaluation *e);
void vj_eval_close_heads(vj_evaluation *e);
/** Return the bytes of device and host memory that vj_eval_open_heads() allocates. */
int64_t vj_eval_heads_bytes(const vj_evaluation *e);
/** Return the operations of a head, forward and backward, for one sample. */
double vj_eval_head_flops(const vj_evaluation *e, const vj_eval_head *h);
/** Return whether this rank holds the weights of a head. */
bool vj_eval_has_weights(const vj_evaluation *e, const vj_eval_head *h);
/** Return the weights, first and second moments [3, count] (device) of a head whose weights this rank holds. Call
 * vj_eval_changed() after writing to them. */
float *vj_eval_head_state(const vj_eval_head *h, int64_t *count);
void vj_eval_changed(vj_eval_head *h);
/** Compute the digest of the present weights, as probe files have it. The rank must hold them. Not collective. */
vj_status vj_eval_head_digest(uint64_t *digest, const vj_evaluation *e, const vj_eval_head *h);
/** Return the number of floats that a rank sends to the owner for each sample: a row, or with on_tokens the class
 * scores. vj_eval_max_floats() returns the largest over all heads. */
int64_t vj_eval_row_floats(const vj_eval_head *h);
int64_t vj_eval_max_floats(const vj_evaluation *e);

/** Only on_tokens: add the gradient of the sample at index `slot` of e->encoded.raw to h->sum, for a batch of `batch`
 * samples. *loss is the loss of the sample. */
vj_status vj_eval_token_learn(vj_evaluation *e, vj_eval_head *h, int64_t slot, int32_t label, int64_t batch,
                              double *loss);
/** Only on_tokens: sum the gradients over all ranks, and update the weights on each rank. Collective. */
vj_status vj_eval_token_update(vj_evaluation *e, vj_eval_head *h, int64_t batch, const vj_head_step *step);

#endif
