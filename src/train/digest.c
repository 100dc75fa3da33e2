/* Digests of replicas, and who differs. Read vj_digest_compare() first. */
#include "train/digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

enum { CHUNK = 1 << 18 }; /* bytes a thread hashes at once: digests do not depend on the number of threads */
enum { PIECE = VJ_MAP_BYTES };
_Static_assert(PIECE % CHUNK == 0, "chunks are not cut");

enum { WEIGHTS, TARGET, FIRST_MOMENT, SECOND_MOMENT, VECTORS };

/*
 * For each vector two digests: of the tensors that all ranks of a tensor group hold whole, and of those that they
 * divide.
 */
enum { WORDS = 2 * VECTORS };

struct vj_digest {
    vj_optimizer *optimizer; /* borrowed */
    const vj_layout *layout; /* borrowed */
    int threads;
    uint64_t *tensor; /* [VECTORS, tensors] */
    uint64_t *chunk;  /* [chunks of the largest tensor] */
    uint64_t *word;   /* [ranks, WORDS] */
};

static const vj_params *params(const vj_digest *d)
{
    return d->optimizer->trained->params;
}

static vj_status allocate(vj_digest *d)
{
    const vj_params *ps = params(d);
    int64_t most = 0;
    for (int i = 0; i < ps->count; i++)
        if (ps->item[i].count > most) most = ps->item[i].count;
    d->tensor = vj_calloc(VECTORS * (int64_t)ps->count, sizeof *d->tensor);
    d->chunk = vj_calloc(most * (int64_t)sizeof(float) / CHUNK + 1, sizeof *d->chunk);
    d->word = vj_calloc((int64_t)d->layout->size * WORDS, sizeof *d->word);
    return d->tensor && d->chunk && d->word ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for digests of replicas");
}

vj_status vj_digest_open(vj_digest **digest, const vj_config *config, vj_optimizer *optimizer, const vj_layout *layout)
{
    *digest = NULL;
    if (config->parallel.check_every == 0 || layout->size == 1) return VJ_OK;
    vj_digest *d = *digest = vj_calloc(1, sizeof *d);
    vj_status status = d ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for digests of replicas");
    if (d) {
        *d = (vj_digest){.optimizer = optimizer, .layout = layout};
        status = allocate(d);
    }
    VJ_TRY(vj_agree(layout->world, status));
    d->threads = layout->place.threads;
    return VJ_OK;
}

void vj_digest_close(vj_digest *d)
{
    if (!d) return;
    free(d->tensor);
    free(d->chunk);
    free(d->word);
    free(d);
}

/* ------------------------------------------------------------------------------------------------ hashing */

/* Digest of memory of the device. */
static uint64_t hash_values(vj_digest *d, void *device, int64_t bytes)
{
    vj_backend *be = d->optimizer->trained->be;
    for (int64_t at = 0; at < bytes; at += PIECE) {
        const int64_t length = bytes - at < PIECE ? bytes - at : PIECE;
        char *view = vj_map(be, (char *)device + at, length, VJ_MAP_READ);
#pragma omp parallel for schedule(static) num_threads(d->threads) if (d->threads > 1 && length > CHUNK)
        for (int64_t i = 0; i < length; i += CHUNK)
            d->chunk[(at + i) / CHUNK] = XXH3_64bits(view + i, (size_t)(length - i < CHUNK ? length - i : CHUNK));
        vj_unmap(be, view);
    }
    return XXH3_64bits(d->chunk, (size_t)((bytes + CHUNK - 1) / CHUNK) * sizeof *d->chunk);
}

/* Compute digests of this rank's part of all tensors into d->tensor, and from them the digests in word [WORDS]. */
static void hash_run(vj_digest *d, uint64_t *word)
{
    const vj_optimizer *o = d->optimizer;
    const vj_params *ps = params(d);
    const struct {
        float *device;
        uint16_t *copies; /* bf16 copies of its matrices, compared in their place; NULL: compare the vector itself */
        int64_t first, last;
    } vector[VECTORS] = {
        [WEIGHTS] = {o->trained->weights, o->gather.rounded ? o->trained->rounded_weights : NULL, 0, ps->total},
        [TARGET] = {o->trained->target, o->gather.rounded ? o->trained->rounded_target : NULL, 0,
                    o->trained->target ? ps->encoder_total : 0},
        [FIRST_MOMENT] = {o->first_moment, NULL, o->first, o->last},
        [SECOND_MOMENT] = {o->second_moment, NULL, o->first, o->last}};
    for (int v = 0; v < VECTORS; v++)
        for (int i = 0; i < ps->count; i++) {
            const vj_param *p = &ps->item[i];
            const int64_t first = p->offset > vector[v].first ? p->offset : vector[v].first;
            const int64_t end = p->offset + p->count, last = end < vector[v].last ? end : vector[v].last;
            uint64_t *digest = &d->tensor[v * ps->count + i], *sum = &word[2 * v + (p->shares > 1)];
            const int64_t n = last - first, at = first - vector[v].first;
            *digest = n <= 0 ? 0
                      : vector[v].copies && vj_param_is_operand(p)
                          ? hash_values(d, vector[v].copies + at, n * (int64_t)sizeof *vector[v].copies)
                          : hash_values(d, vector[v].device + at, n * (int64_t)sizeof *vector[v].device);
            *sum = XXH3_64bits_withSeed(digest, sizeof *digest, *sum);
        }
}

/* ------------------------------------------------------------------------------------------------ comparing */

static bool is_divided(int word)
{
    return word % 2 == 1;
}

static bool is_sharded(const vj_digest *d, int word)
{
    return word / 2 >= FIRST_MOMENT && d->optimizer->zero;
}

/* The lowest of the ranks that should have the same word as `rank`. */
static int first_alike(const vj_digest *d, int word, int rank)
{
    const int place = rank % d->layout->tensor_size;
    if (is_sharded(d, word)) return is_divided(word) ? rank : rank - place;
    return is_divided(word) ? place : 0;
}

static bool differs(const vj_digest *d, int word)
{
    for (int rank = 0; rank < d->layout->size; rank++)
        if (d->word[rank * WORDS + word] != d->word[first_alike(d, word, rank) * WORDS + word]) return true;
    return false;
}

/* Does `rank` have the word of the majority of the ranks that should have the same? */
static bool has_majority(const vj_digest *d, int word, int rank)
{
    int alike = 0, all = 0;
    for (int other = 0; other < d->layout->size; other++) {
        if (first_alike(d, word, other) != first_alike(d, word, rank)) continue;
        all++;
        alike += d->word[other * WORDS + word] == d->word[rank * WORDS + word];
    }
    return 2 * alike > all;
}

/* Find the first tensor of a word whose digest differs between ranks. Collective. */
static const vj_param *find_tensor(const vj_digest *d, int word)
{
    const vj_params *ps = params(d);
    const vj_layout *l = d->layout;
    MPI_Comm alike = is_sharded(d, word) ? l->tensor : is_divided(word) ? l->data : l->world;
    int found = ps->count;
    for (int i = ps->count - 1; i >= 0; i--) {
        /* One maximum gives both the largest value and the smallest, which is sent as its complement. */
        uint64_t max[2] = {d->tensor[word / 2 * ps->count + i], ~d->tensor[word / 2 * ps->count + i]};
        if (is_divided(word) != (ps->item[i].shares > 1)) continue;
        MPI_Allreduce(MPI_IN_PLACE, max, 2, MPI_UINT64_T, MPI_MAX, alike);
        if (max[0] != ~max[1]) found = i;
    }
    MPI_Allreduce(MPI_IN_PLACE, &found, 1, MPI_INT, MPI_MIN, l->world);
    return &ps->item[found];
}

/*
 * Describe the ranks that differ from the majority: "rank 3 on node17, rank 5 on node18 and 6 more". The text is
 * written on rank 0. Collective.
 */
static void name_ranks(const vj_digest *d, int word, char *text, size_t bytes)
{
    enum { NAMED = 16, HOST = MPI_MAX_PROCESSOR_NAME };
    char host[HOST] = "";
    int length, count = 0;
    size_t used = 0;
    MPI_Get_processor_name(host, &length);
    for (int rank = 0; rank < d->layout->size; rank++) {
        char theirs[HOST];
        if (has_majority(d, word, rank) || count++ >= NAMED) continue;
        snprintf(theirs, sizeof theirs, "%s", host);
        MPI_Bcast(theirs, HOST, MPI_CHAR, rank, d->layout->world);
        used += (size_t)snprintf(text + used, bytes - used, "%srank %d on %.64s", count > 1 ? ", " : "", rank, theirs);
    }
    if (count > NAMED) snprintf(text + used, bytes - used, " and %d more", count - NAMED);
}

static vj_status report(const vj_digest *d, int word, int64_t step)
{
    static const char *const names[VECTORS] = {"weight", "target weight", "first moment", "second moment"};
    char ranks[2048] = "";
    const vj_param *p = find_tensor(d, word);
    name_ranks(d, word, ranks, sizeof ranks);
    if (d->layout->rank != 0) return VJ_ERR_STATE;
    return vj_raise(
        VJ_ERR_STATE,
        "after step %lld the %s of %s/%s is not the same on all ranks that hold it. Unlike the majority, or "
        "without one: %s. Suspect memory or a processor of that node: start again without it, from the "
        "last checkpoint, before which all were compared",
        (long long)step, names[word / 2], p->part == VJ_ENCODER ? "encoder" : "predictor", p->name, ranks);
}

vj_status vj_digest_compare(vj_digest *d, int64_t step)
{
    uint64_t mine[WORDS] = {0};
    if (!d) return VJ_OK;
    VJ_TRY(vj_sync(d->optimizer->trained->be));
    hash_run(d, mine);
    MPI_Allgather(mine, WORDS, MPI_UINT64_T, d->word, WORDS, MPI_UINT64_T, d->layout->world);
    for (int word = 0; word < WORDS; word++)
        if (differs(d, word)) return report(d, word, step);
    return VJ_OK;
}
