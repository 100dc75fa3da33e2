/*
 * Sends the rows of heads from the ranks that encode samples to the ranks that own the heads, gradients the other way,
 * and keys to all ranks. Each rank knows all entries, so messages have no headers: a message from one rank to another
 * holds its rows in the order of entries.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate/exchange.h"
#include "evaluate/heads.h"
#include "evaluate/parts.h"
#include "parallel/parallel.h"

/* A buffer that grows as needed. */
typedef struct {
    float *at;
    int64_t floats;
} room;

struct vj_exchange {
    vj_evaluation *e;          /* borrowed */
    const vj_entry *entries;   /* [n] of the last call; borrowed */
    int64_t n, mine, my_count; /* entries[mine .. mine + my_count) are those whose samples this rank encodes */
    int64_t *place;            /* [n] if this rank owns the head: offset of the entry's row in `in` */
    int64_t *keyed;            /* [n] its offset in `back` and `gradient`; -1: the head has no key */
    int64_t place_room;
    room rows, prob, drows, dkeys;              /* device: for this rank's entries with a key, in order */
    room means, clip_means;                     /* device: [slots, D], [segments, D] */
    room scores;                                /* device: for this rank's entries with on_tokens, in order */
    room staged, out, in, back, gradient;       /* host */
    int *out_count, *out_at, *in_count, *in_at; /* [size] counts and offsets in floats, by rank */
    int *packed_at;                             /* [size] offset in floats where the next row is packed, by rank */
};

/* ------------------------------------------------------------------------------------------------ memory */

static vj_status grow_device(vj_exchange *x, room *r, int64_t floats)
{
    vj_backend *be = x->e->frozen.be;
    if (r->floats >= floats) return VJ_OK;
    vj_device_free(be, r->at);
    r->floats = 0;
    r->at = vj_device_alloc(be, floats * (int64_t)sizeof *r->at);
    if (!r->at) return VJ_ERR_MEMORY; /* reported by the device */
    r->floats = floats;
    return VJ_OK;
}

static vj_status grow_host(room *r, int64_t floats)
{
    if (r->floats >= floats) return VJ_OK;
    free(r->at);
    r->floats = 0;
    r->at = vj_calloc(floats, sizeof *r->at);
    if (!r->at)
        return vj_raise(VJ_ERR_MEMORY, "no memory for %lld MiB of messages; a smaller evaluate.batch?",
                        (long long)(floats >> 18));
    r->floats = floats;
    return VJ_OK;
}

vj_status vj_exchange_open(vj_exchange **exchange, vj_evaluation *e)
{
    const double largest = (double)e->config->evaluate.batch * vj_eval_test_views(e) * e->size * (double)e->head_count *
                           (double)vj_eval_max_floats(e);
    vj_exchange *x = vj_calloc(1, sizeof *x);
    *exchange = x;
    if (!x) return vj_raise(VJ_ERR_MEMORY, "no memory for messages");
    x->e = e;
    x->out_count = vj_calloc(5 * (int64_t)e->size, sizeof *x->out_count);
    if (!x->out_count) return vj_raise(VJ_ERR_MEMORY, "no memory for messages");
    x->out_at = x->out_count + e->size;
    x->in_count = x->out_at + e->size;
    x->in_at = x->in_count + e->size;
    x->packed_at = x->in_at + e->size;
    if (largest >= (double)INT_MAX)
        return vj_raise(VJ_ERR_USAGE,
                        "%lld probes and evaluate.batch %lld on %d ranks make messages that MPI cannot count: a "
                        "smaller evaluate.batch",
                        (long long)e->head_count, (long long)e->config->evaluate.batch, e->size);
    return VJ_OK;
}

void vj_exchange_close(vj_exchange *x)
{
    if (!x) return;
    room *const device[] = {&x->rows, &x->prob, &x->drows, &x->dkeys, &x->means, &x->clip_means, &x->scores};
    room *const host[] = {&x->staged, &x->out, &x->in, &x->back, &x->gradient};
    for (size_t i = 0; i < sizeof device / sizeof device[0]; i++) vj_device_free(x->e->frozen.be, device[i]->at);
    for (size_t i = 0; i < sizeof host / sizeof host[0]; i++) free(host[i]->at);
    free(x->place);
    free(x->keyed);
    free(x->out_count);
    free(x);
}

/* ------------------------------------------------------------------------------------------------ messages */

static const vj_eval_head *head_of(const vj_exchange *x, int64_t k)
{
    return &x->e->head[x->entries[k].head];
}

static int64_t floats_of(const vj_exchange *x, int64_t k)
{
    return vj_eval_row_floats(head_of(x, k));
}

static int total(const int *count, const int *at, int size)
{
    return at[size - 1] + count[size - 1];
}

static void offsets(int *at, const int *count, int size)
{
    at[0] = 0;
    for (int r = 1; r < size; r++) at[r] = at[r - 1] + count[r - 1];
}

/* Count the floats that this rank sends to each owner, and receives as an owner from each rank. `keyed`: count only
 * entries with a key; a key is as long as a row. */
static void count_floats(vj_exchange *x, bool keyed)
{
    const int size = x->e->size, rank = x->e->rank;
    memset(x->out_count, 0, (size_t)size * sizeof(int));
    memset(x->in_count, 0, (size_t)size * sizeof(int));
    for (int64_t k = 0; k < x->n; k++) {
        const vj_eval_head *h = head_of(x, k);
        if (keyed && h->key_at < 0) continue;
        if (x->entries[k].rank == rank) x->out_count[h->owner] += (int)floats_of(x, k);
        if (h->owner == rank) x->in_count[x->entries[k].rank] += (int)floats_of(x, k);
    }
    offsets(x->out_at, x->out_count, size);
    offsets(x->in_at, x->in_count, size);
}

/* Compute the offsets of entries in the messages that an owner receives: both entries and messages are in the order of
 * ranks. */
static vj_status place_entries(vj_exchange *x)
{
    int64_t row = 0, key = 0;
    if (x->place_room < x->n) {
        free(x->place);
        free(x->keyed);
        x->place = vj_calloc(x->n, sizeof *x->place);
        x->keyed = vj_calloc(x->n, sizeof *x->keyed);
        x->place_room = x->place && x->keyed ? x->n : 0;
        if (x->place_room < x->n) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld rows", (long long)x->n);
    }
    x->mine = x->my_count = 0;
    for (int64_t k = 0; k < x->n; k++) {
        const vj_eval_head *h = head_of(x, k);
        x->place[k] = row;
        x->keyed[k] = h->key_at < 0 ? -1 : key;
        if (h->owner == x->e->rank) row += floats_of(x, k);
        if (h->owner == x->e->rank && h->key_at >= 0) key += floats_of(x, k);
        if (x->entries[k].rank == x->e->rank && x->my_count++ == 0) x->mine = k;
    }
    return VJ_OK;
}

/* Return how many entries from k on have the same sample, and heads whose keys are neighbours in e->encoded.keys. */
static int64_t run_length(const vj_exchange *x, int64_t k)
{
    int64_t n = 1;
    while (k + n < x->mine + x->my_count && x->entries[k + n].slot == x->entries[k].slot &&
           head_of(x, k + n)->key_at == head_of(x, k)->key_at + n)
        n++;
    return n;
}

/* ------------------------------------------------------------------------------------------------ rows */

static vj_status make_room(vj_exchange *x)
{
    const vj_evaluation *e = x->e;
    const int64_t D = e->config->model.width, row = e->key_floats;
    int64_t keyed = 0, slots = 0, scores = 0, floats = 0;
    for (int64_t k = x->mine; k < x->mine + x->my_count; k++) {
        keyed += head_of(x, k)->key_at >= 0;
        if (head_of(x, k)->on_tokens) scores += floats_of(x, k);
        if (x->entries[k].slot >= slots) slots = x->entries[k].slot + 1;
        floats += floats_of(x, k);
    }
    count_floats(x, false);
    const int64_t in = total(x->in_count, x->in_at, e->size);
    VJ_TRY(grow_device(x, &x->rows, keyed * row));
    VJ_TRY(grow_device(x, &x->drows, keyed * row));
    VJ_TRY(grow_device(x, &x->dkeys, keyed * row));
    VJ_TRY(grow_device(x, &x->prob, keyed * e->key_heads * e->tokens));
    VJ_TRY(grow_device(x, &x->means, slots * D));
    VJ_TRY(grow_device(x, &x->clip_means, e->train.set.segments * D));
    VJ_TRY(grow_device(x, &x->scores, scores));
    VJ_TRY(grow_host(&x->staged, keyed * row + slots * D + scores));
    VJ_TRY(grow_host(&x->out, floats));
    VJ_TRY(grow_host(&x->back, in));
    VJ_TRY(grow_host(&x->gradient, in));
    return grow_host(&x->in, in);
}

/* Compute the mean token of a sample as the mean over the mean tokens of its clips, because e->encoded.raw may hold
 * only these. */
static void compute_mean(vj_exchange *x, int slot)
{
    const vj_evaluation *e = x->e;
    vj_backend *be = e->frozen.be;
    const int64_t segments = e->train.set.segments;
    const int D = (int)e->config->model.width;
    const float *of_clips = e->encoded.raw_means ? e->encoded.raw + slot * segments * D : x->clip_means.at;
    if (!e->encoded.raw_means)
        vj_mean_tokens(be, x->clip_means.at, e->encoded.raw + slot * e->sample_floats, segments, e->tokens / segments,
                       D);
    vj_mean_tokens(be, x->means.at + slot * D, of_clips, 1, segments, D);
}

/* Compute the token part of this rank's entries: *keyed rows of entries with a key, mean tokens, and *scores floats of
 * class scores of heads with on_tokens. */
static void compute_rows(vj_exchange *x, int encoder, int64_t *keyed, int64_t *scores)
{
    const vj_evaluation *e = x->e;
    vj_backend *be = e->frozen.be;
    const int64_t row = e->key_floats, prob = e->key_heads * e->tokens;
    int averaged = -1; /* the last slot whose mean is computed */
    *keyed = *scores = 0;
    for (int64_t k = x->mine; k < x->mine + x->my_count;) {
        const vj_eval_head *h = head_of(x, k);
        const int slot = x->entries[k].slot;
        if (h->on_tokens) {
            const float *of = vj_token_probe_forward(h->token_probe, e->encoded.raw + slot * e->sample_floats);
            vj_copy(be, x->scores.at + *scores, of, h->shape.classes);
            *scores += h->shape.classes;
            k++;
            continue;
        }
        if (h->key_at < 0) {
            if (averaged != slot) compute_mean(x, slot);
            averaged = slot;
            k++;
            continue;
        }
        const int64_t n = run_length(x, k);
        vj_head_pool_many(be, &h->shape, (int)n, x->rows.at + *keyed * row, x->prob.at + *keyed * prob,
                          e->encoded.keys[encoder] + h->key_at * row, e->encoded.normed + slot * e->sample_floats);
        *keyed += n;
        k += n;
    }
}

/* Copy rows to the messages, ordered by owner. */
static void pack_rows(vj_exchange *x, const float *means, const float *scores)
{
    const vj_evaluation *e = x->e;
    const int64_t D = e->config->model.width, row = e->key_floats;
    int *at = x->packed_at;
    memcpy(at, x->out_at, sizeof *at * (size_t)e->size);
    int64_t keyed = 0;
    for (int64_t k = x->mine; k < x->mine + x->my_count; k++) {
        const vj_eval_head *h = head_of(x, k);
        const float *from = h->on_tokens     ? scores
                            : h->key_at >= 0 ? x->staged.at + keyed++ * row
                                             : means + x->entries[k].slot * D;
        if (h->on_tokens) scores += h->shape.classes;
        memcpy(x->out.at + at[h->owner], from, sizeof(float) * (size_t)floats_of(x, k));
        at[h->owner] += (int)floats_of(x, k); /* vj_exchange_open(): MPI can count them all */
    }
}

static vj_status send_rows(vj_exchange *x, int encoder)
{
    const vj_evaluation *e = x->e;
    const int64_t D = e->config->model.width, row = e->key_floats;
    int64_t keyed, scores, slots = 0;
    for (int64_t k = x->mine; k < x->mine + x->my_count; k++)
        if (head_of(x, k)->key_at < 0 && !head_of(x, k)->on_tokens) slots = x->entries[k].slot + 1;
    compute_rows(x, encoder, &keyed, &scores);
    float *const means = x->staged.at + keyed * row, *const of_tokens = means + slots * D;
    vj_download(e->frozen.be, x->staged.at, x->rows.at, keyed * row * (int64_t)sizeof(float));
    vj_download(e->frozen.be, means, x->means.at, slots * D * (int64_t)sizeof(float));
    vj_download(e->frozen.be, of_tokens, x->scores.at, scores * (int64_t)sizeof(float));
    VJ_TRY(vj_sync(e->frozen.be));
    pack_rows(x, means, of_tokens);
    return VJ_OK;
}

vj_status vj_exchange_rows(vj_evaluation *e, int encoder, const vj_entry *entries, int64_t n)
{
    vj_exchange *x = e->exchange;
    x->entries = entries;
    x->n = n;
    vj_status status = place_entries(x);
    if (status == VJ_OK) status = make_room(x);
    if (status == VJ_OK) status = send_rows(x, encoder);
    VJ_TRY(vj_agree(e->comm, status));
    MPI_Alltoallv(x->out.at, x->out_count, x->out_at, MPI_FLOAT, x->in.at, x->in_count, x->in_at, MPI_FLOAT, e->comm);
    return VJ_OK;
}

const float *vj_exchange_row(const vj_exchange *x, int64_t k)
{
    return x->in.at + x->place[k];
}

float *vj_exchange_drow(vj_exchange *x, int64_t k)
{
    return x->back.at + x->keyed[k];
}

const float *vj_exchange_dkey(const vj_exchange *x, int64_t k)
{
    return x->gradient.at + x->keyed[k];
}

/* ------------------------------------------------------------------------------------------------ gradients */

/* Copy from the messages, ordered by owner, to `staged`, in the order of entries, or back (to_message). */
static void reorder(vj_exchange *x, bool to_message)
{
    const vj_evaluation *e = x->e;
    const int64_t row = e->key_floats;
    int64_t keyed = 0;
    int *at = x->in_at; /* free to use here: vj_exchange_back() counts it again */
    memcpy(at, x->out_at, sizeof(int) * (size_t)e->size);
    for (int64_t k = x->mine; k < x->mine + x->my_count; k++) {
        const vj_eval_head *h = head_of(x, k);
        if (h->key_at < 0) continue;
        float *one = x->out.at + at[h->owner], *other = x->staged.at + keyed++ * row;
        memcpy(to_message ? one : other, to_message ? other : one, sizeof(float) * (size_t)row);
        at[h->owner] += (int)row;
    }
}

static vj_status compute_dkeys(vj_exchange *x)
{
    const vj_evaluation *e = x->e;
    vj_backend *be = e->frozen.be;
    const int64_t row = e->key_floats, prob = e->key_heads * e->tokens;
    int64_t keyed = 0, all = 0;
    for (int64_t k = x->mine; k < x->mine + x->my_count; k++) all += head_of(x, k)->key_at >= 0;
    reorder(x, false);
    vj_upload(be, x->drows.at, x->staged.at, all * row * (int64_t)sizeof(float));
    for (int64_t k = x->mine; k < x->mine + x->my_count;) {
        const vj_eval_head *h = head_of(x, k);
        const int64_t n = h->key_at < 0 ? 1 : run_length(x, k);
        if (h->key_at >= 0) {
            vj_head_pool_backward_many(be, &h->shape, (int)n, x->dkeys.at + keyed * row, x->drows.at + keyed * row,
                                       x->rows.at + keyed * row, x->prob.at + keyed * prob,
                                       e->encoded.normed + x->entries[k].slot * e->sample_floats);
            keyed += n;
        }
        k += n;
    }
    vj_download(be, x->staged.at, x->dkeys.at, all * row * (int64_t)sizeof(float));
    VJ_TRY(vj_sync(be));
    reorder(x, true);
    return VJ_OK;
}

vj_status vj_exchange_back(vj_evaluation *e)
{
    vj_exchange *x = e->exchange;
    bool any = false;
    for (int64_t k = 0; k < x->n && !any; k++) any = head_of(x, k)->key_at >= 0;
    if (!any) return VJ_OK;
    count_floats(x, true);
    MPI_Alltoallv(x->back.at, x->in_count, x->in_at, MPI_FLOAT, x->out.at, x->out_count, x->out_at, MPI_FLOAT, e->comm);
    VJ_TRY(vj_agree(e->comm, compute_dkeys(x)));
    count_floats(x, true);
    MPI_Alltoallv(x->out.at, x->out_count, x->out_at, MPI_FLOAT, x->gradient.at, x->in_count, x->in_at, MPI_FLOAT,
                  e->comm);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ keys */

static vj_status collect_keys(vj_evaluation *e, const int64_t *heads, int64_t n, float *to)
{
    const int64_t key = e->key_floats;
    for (int64_t i = 0; i < n; i++) {
        const vj_eval_head *h = &e->head[heads[i]];
        if (h->owner != e->rank) continue;
        vj_download(e->frozen.be, to, vj_head_key(h->head), key * (int64_t)sizeof(float));
        to += key;
    }
    return vj_sync(e->frozen.be);
}

vj_status vj_exchange_keys(vj_evaluation *e, int encoder, const int64_t *heads, int64_t n)
{
    vj_exchange *x = e->exchange;
    const int64_t key = e->key_floats;
    if (n == 0) return VJ_OK;
    memset(x->in_count, 0, (size_t)e->size * sizeof(int));
    for (int64_t i = 0; i < n; i++) x->in_count[e->head[heads[i]].owner] += (int)key;
    offsets(x->in_at, x->in_count, e->size);
    vj_status status = grow_host(&x->in, n * key);
    if (status == VJ_OK) status = grow_host(&x->out, n * key);
    if (status == VJ_OK) status = collect_keys(e, heads, n, x->out.at);
    VJ_TRY(vj_agree(e->comm, status));
    MPI_Allgatherv(x->out.at, x->in_count[e->rank], MPI_FLOAT, x->in.at, x->in_count, x->in_at, MPI_FLOAT, e->comm);
    for (int64_t i = 0; i < n; i++) {
        const vj_eval_head *h = &e->head[heads[i]];
        vj_upload(e->frozen.be, e->encoded.keys[encoder] + h->key_at * key, x->in.at + x->in_at[h->owner],
                  key * (int64_t)sizeof(float));
        x->in_at[h->owner] += (int)key;
    }
    return vj_sync(e->frozen.be);
}
