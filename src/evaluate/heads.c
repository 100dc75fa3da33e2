/*
 * Heads of both kinds on this rank (parts.h), and training of those with blocks on the tokens (on_tokens). Every rank
 * has the weights of the latter. It computes the gradients of the samples that it encodes, and sums them as integers
 * (probe/token_probe.h). At the end of a batch the sums of all ranks are added. The order of integer sums does not
 * matter, so the result has the same bits on any number of ranks.
 */

#include "evaluate/heads.h"
#include "evaluate/parts.h"
#include "parallel/parallel.h"

const char *vj_eval_kind(const vj_eval_head *h, char kind[VJ_HEAD_WORD])
{
    _Static_assert(VJ_HEAD_WORD == 32, "as vj_token_probe_name() needs");
    if (h->on_tokens) return vj_token_probe_name(kind, h->shape.depth);
    snprintf(kind, VJ_HEAD_WORD, "%s", vj_pooling_name(h->shape.pooling));
    return kind;
}

static vj_token_probe_shape token_shape(const vj_eval_head *h)
{
    const vj_head_shape *s = &h->shape;
    return (vj_token_probe_shape){
        .D = s->D, .heads = s->heads, .classes = s->classes, .depth = s->depth, .tokens = s->tokens};
}

/* Return an earlier head of the same shape, whose buffers head i can share; NULL: there is none. */
static const vj_eval_head *find_alike(const vj_evaluation *e, int64_t i)
{
    const vj_head_shape *a = &e->head[i].shape;
    for (int64_t k = 0; k < i; k++) {
        const vj_head_shape *b = &e->head[k].shape;
        if (e->head[k].on_tokens && a->D == b->D && a->heads == b->heads && a->classes == b->classes &&
            a->depth == b->depth && a->tokens == b->tokens)
            return &e->head[k];
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------------------ memory */

static vj_status open_rows(vj_evaluation *e, vj_eval_head *h)
{
    const int64_t key_bytes = vj_head_key_floats(&h->shape) * (int64_t)sizeof(float);
    VJ_TRY(vj_head_create(&h->head, e->frozen.be, &h->shape));
    VJ_TRY(vj_head_init(h->head, h->seed, e->config->probe.init_std));
    if (key_bytes == 0) return VJ_OK;
    h->dkeys = vj_device_alloc(e->frozen.be, h->shape.batch * key_bytes);
    return h->dkeys ? VJ_OK : VJ_ERR_MEMORY; /* reported by the device */
}

/* Set the sum to zero. Each of its int64_t is two floats for vj_fill(). */
static void forget_sum(vj_evaluation *e, vj_eval_head *h)
{
    vj_fill(e->frozen.be, (float *)h->sum, 0.0f, 2 * vj_token_probe_size(h->token_probe));
}

static vj_status open_on_tokens(vj_evaluation *e, int64_t i)
{
    vj_eval_head *h = &e->head[i];
    const vj_eval_head *alike = find_alike(e, i);
    const vj_token_probe_shape shape = token_shape(h);
    if (alike)
        VJ_TRY(vj_token_probe_create_beside(&h->token_probe, alike->token_probe));
    else
        VJ_TRY(vj_token_probe_create(&h->token_probe, e->frozen.be, &shape));
    VJ_TRY(vj_token_probe_init(h->token_probe, h->seed, e->config->probe.init_std));
    if (h->measured) return VJ_OK;
    h->sum = vj_device_alloc(e->frozen.be, vj_token_probe_size(h->token_probe) * (int64_t)sizeof *h->sum);
    if (!h->sum) return VJ_ERR_MEMORY; /* reported by the device */
    forget_sum(e, h);
    return VJ_OK;
}

vj_status vj_eval_open_heads(vj_evaluation *e)
{
    for (int64_t i = 0; i < e->head_count; i++) {
        if (e->head[i].on_tokens)
            VJ_TRY(open_on_tokens(e, i));
        else if (e->head[i].owner == e->rank)
            VJ_TRY(open_rows(e, &e->head[i]));
    }
    return VJ_OK;
}

void vj_eval_close_heads(vj_evaluation *e)
{
    for (int64_t i = 0; e->frozen.be && i < e->head_count; i++) {
        vj_eval_head *h = &e->head[i];
        vj_head_destroy(h->head);
        vj_device_free(e->frozen.be, h->dkeys);
        vj_token_probe_destroy(h->token_probe);
        vj_device_free(e->frozen.be, h->sum);
    }
}

int64_t vj_eval_heads_bytes(const vj_evaluation *e)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < e->head_count; i++) {
        const vj_eval_head *h = &e->head[i];
        const vj_token_probe_shape shape = token_shape(h);
        if (h->on_tokens) {
            const int64_t one = vj_token_probe_bytes(&shape, 1), more = vj_token_probe_bytes(&shape, 2) - one;
            bytes += find_alike(e, i) ? more : one;
            if (!h->measured) bytes += more / (3 * (int64_t)sizeof(float)) * (int64_t)sizeof *h->sum;
        } else if (h->owner == e->rank)
            bytes += vj_head_bytes(&h->shape) + h->shape.batch * vj_head_key_floats(&h->shape) * (int64_t)sizeof(float);
    }
    return bytes;
}

/* ------------------------------------------------------------------------------------------------ either kind */

/* Without on_tokens: pooling (scores and weighted sum, and twice that backward), values, MLP, blocks on the query and
 * class layer. */
double vj_eval_head_flops(const vj_evaluation *e, const vj_eval_head *h)
{
    const double D = h->shape.D, N = (double)e->tokens, classes = h->shape.classes;
    const vj_token_probe_shape shape = token_shape(h);
    if (h->on_tokens) return 3.0 * vj_token_probe_flops(&shape);
    if (h->shape.pooling == VJ_POOL_AVERAGE) return N * D + 6.0 * D * classes;
    return 12.0 * N * D * h->shape.heads + 6.0 * ((10.0 + 12.0 * (h->shape.depth - 1)) * D * D + D * classes);
}

bool vj_eval_has_weights(const vj_evaluation *e, const vj_eval_head *h)
{
    return h->on_tokens || h->owner == e->rank;
}

float *vj_eval_head_state(const vj_eval_head *h, int64_t *count)
{
    if (!h->on_tokens) return vj_head_state(h->head, count);
    *count = vj_token_probe_size(h->token_probe);
    return vj_token_probe_state(h->token_probe);
}

void vj_eval_changed(vj_eval_head *h)
{
    if (!h->on_tokens) vj_head_weights_changed(h->head);
}

vj_status vj_eval_head_digest(uint64_t *digest, const vj_evaluation *e, const vj_eval_head *h)
{
    return h->on_tokens ? vj_token_probe_digest(digest, e->frozen.be, h->token_probe)
                        : vj_head_digest(digest, e->frozen.be, h->head);
}

int64_t vj_eval_row_floats(const vj_eval_head *h)
{
    return h->on_tokens ? h->shape.classes : vj_head_row_floats(&h->shape);
}

int64_t vj_eval_max_floats(const vj_evaluation *e)
{
    int64_t largest = 0;
    for (int64_t i = 0; i < e->head_count; i++) {
        const int64_t floats = vj_eval_row_floats(&e->head[i]);
        if (floats > largest) largest = floats;
    }
    return largest;
}

/* ------------------------------------------------------------------------------------------------ learning */

vj_status vj_eval_token_learn(vj_evaluation *e, vj_eval_head *h, int64_t slot, int32_t label, int64_t batch,
                              double *loss)
{
    vj_token_probe_forward(h->token_probe, e->encoded.raw + slot * e->sample_floats);
    return vj_token_probe_backward(h->token_probe, label, loss, h->sum, batch);
}

vj_status vj_eval_token_update(vj_evaluation *e, vj_eval_head *h, int64_t batch, const vj_head_step *step)
{
    vj_backend *be = e->frozen.be;
    const int64_t size = vj_token_probe_size(h->token_probe), word = (int64_t)sizeof *h->sum;
    /* in pieces, because MPI counts in int */
    const int64_t piece = vj_device_is_host(be) ? INT64_C(1) << 27 : VJ_MAP_BYTES / word;
    for (int64_t first = 0; first < size && vj_comm_size(e->comm) > 1; first += piece) {
        const int n = (int)(size - first < piece ? size - first : piece);
        int64_t *view = vj_map(be, h->sum + first, n * word, VJ_MAP_READ | VJ_MAP_WRITE);
        MPI_Allreduce(MPI_IN_PLACE, view, n, MPI_INT64_T, MPI_SUM, e->comm);
        vj_unmap(be, view);
    }
    const vj_status status = vj_token_probe_update(h->token_probe, h->sum, batch, step);
    forget_sum(e, h);
    return status;
}
