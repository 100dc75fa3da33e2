/*
 * Reads tensors for all ranks of a communicator, each byte once. Rank 0 finds the tensors with HDF5 and broadcasts
 * where they are. The first ranks of the nodes take turns at reading pieces and broadcast each piece; every rank keeps
 * the part that it wants.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/progress.h"
#include "ckpt/inner.h"
#include "parallel/parallel.h"

typedef struct {
    const char *path;
    const vj_ckpt_tensor *want; /* [count] with the elements that this rank wants */
    int count;
    MPI_Comm comm;
    vj_ckpt_source *source; /* [count] as found by rank 0, known to all ranks. The checksums are in `sums` */
    uint64_t *sums;         /* [sum_count] of all tensors, one after the other */
    int64_t sum_count;
    int64_t *first, *last;  /* [count] range that contains the elements wanted by any rank */
    bool reads;             /* whether this rank is a reader */
    int fd;                 /* the file if this rank is a reader, else -1 */
    int *reader, readers;   /* [readers] ranks of the readers */
    float *mine, *received; /* [room] portion read by this rank, and portion received from another */
    int64_t room;
    int64_t floats, taken; /* wanted by any rank; of these, so far */
    vj_progress_line line;
} loading;

/* ------------------------------------------------------------------------------------------------ what is there */

static vj_status check_wanted(const vj_ckpt_source *source, const vj_ckpt_tensor *want)
{
    const vj_ckpt_tensor *found = &source->tensor;
    char found_text[128], want_text[128];
    if (found->ndim == want->ndim && memcmp(found->dim, want->dim, (size_t)want->ndim * sizeof want->dim[0]) == 0)
        return VJ_OK;
    vj_ckpt_dims_text(found, found_text, sizeof found_text);
    vj_ckpt_dims_text(want, want_text, sizeof want_text);
    return vj_raise(VJ_ERR_FORMAT, "%s: %s is %s, expected %s", source->path, want->name, found_text, want_text);
}

/* Rank 0: find all tensors in the open file; their checksums go into l->sums. */
static vj_status find_tensors(loading *l, hid_t file)
{
    uint64_t *sums = l->sums;
    for (int i = 0; i < l->count; i++) {
        vj_ckpt_source *source = &l->source[i];
        VJ_TRY(vj_ckpt_source_open(source, file, -1, l->path, l->want[i].name));
        vj_status status = check_wanted(source, &l->want[i]);
        if (status == VJ_OK) memcpy(sums, source->sums, (size_t)source->blocks * sizeof *sums);
        sums += source->blocks;
        vj_ckpt_source_close(source);
        VJ_TRY(status);
    }
    return VJ_OK;
}

static vj_status find(loading *l)
{
    vj_status status;
    H5E_BEGIN_TRY
    {
        hid_t file;
        status = vj_h5_open(&file, l->path, VJ_CKPT_FORMAT, VJ_CKPT_VERSION);
        if (status == VJ_OK) {
            status = find_tensors(l, file);
            H5Fclose(file); /* only read */
        }
    }
    H5E_END_TRY
    return status;
}

/* Broadcast what rank 0 has found. */
static void tell_places(loading *l)
{
    vj_broadcast(l->source, l->count * (int64_t)sizeof *l->source, l->comm);
    vj_broadcast(l->sums, l->sum_count * (int64_t)sizeof *l->sums, l->comm);
    uint64_t *sums = l->sums;
    for (int i = 0; i < l->count; i++) {
        l->source[i].path = l->path;
        l->source[i].fd = l->fd;
        l->source[i].sums = sums;
        sums += l->source[i].blocks;
    }
}

/* Compute the smallest range of each tensor that contains the elements wanted by any rank, and count its elements. */
static void unite(loading *l)
{
    for (int i = 0; i < l->count; i++) {
        const vj_ckpt_tensor *t = &l->want[i];
        const int64_t elements = vj_ckpt_elements(t), block = vj_ckpt_block_elements(t);
        const bool none = t->first == t->last;
        VJ_ASSERT(t->first >= 0 && t->first <= t->last && t->last <= elements);
        VJ_ASSERT(none || (t->first % block == 0 && (t->last % block == 0 || t->last == elements)));
        l->first[i] = none ? elements : t->first;
        l->last[i] = none ? 0 : t->last;
    }
    if (l->comm != VJ_ALONE) {
        MPI_Allreduce(MPI_IN_PLACE, l->first, l->count, MPI_INT64_T, MPI_MIN, l->comm);
        MPI_Allreduce(MPI_IN_PLACE, l->last, l->count, MPI_INT64_T, MPI_MAX, l->comm);
    }
    for (int i = 0; i < l->count; i++) l->floats += l->last[i] > l->first[i] ? l->last[i] - l->first[i] : 0;
}

/* ------------------------------------------------------------------------------------------------ pieces */

/* Consecutive blocks of a tensor; {.tensor = count}: the end. */
typedef struct {
    int tensor;
    int64_t first, last;
} piece;

/* Return the piece that begins at element `at` of a tensor; if no rank wants elements from there on, the first piece
 * of the next tensor that is wanted. */
static piece piece_from(const loading *l, int tensor, int64_t at)
{
    while (tensor < l->count && at >= l->last[tensor]) {
        tensor++;
        at = tensor < l->count ? l->first[tensor] : 0;
    }
    return (piece){tensor, at, tensor < l->count ? vj_ckpt_next(&l->want[tensor], at, l->last[tensor]) : at};
}

static piece next_piece(const loading *l, const piece *p)
{
    return piece_from(l, p->tensor, p->last);
}

/* Consecutive pieces, also of several small tensors, that fit into a buffer together: one rank reads them, then sends
 * them. */
typedef struct {
    piece first;
    int pieces; /* 0: the end */
    int64_t floats;
} portion;

static portion portion_from(const loading *l, piece p)
{
    portion all = {.first = p};
    for (; p.tensor < l->count && all.floats + p.last - p.first <= l->room; p = next_piece(l, &p)) {
        all.floats += p.last - p.first;
        all.pieces++;
    }
    return all;
}

static piece behind(const loading *l, const portion *all)
{
    piece p = all->first;
    for (int i = 0; i < all->pieces; i++) p = next_piece(l, &p);
    return p;
}

static vj_status read_portion(const loading *l, const portion *all)
{
    float *to = l->mine;
    int64_t damaged = 0;
    piece p = all->first;
    for (int i = 0; i < all->pieces; i++, p = next_piece(l, &p)) {
        VJ_TRY(vj_ckpt_source_read(&l->source[p.tensor], p.first, p.last, to, &damaged));
        to += p.last - p.first;
    }
    return damaged == 0 ? VJ_OK : VJ_ERR_FORMAT;
}

/* Pass to put() the elements of a portion that this rank wants. */
static vj_status take(loading *l, const portion *all, float *values, vj_ckpt_copy put, void *user)
{
    char what[VJ_PATH + 16];
    snprintf(what, sizeof what, "reading %s", l->path);
    piece p = all->first;
    for (int i = 0; i < all->pieces; i++, p = next_piece(l, &p)) {
        const vj_ckpt_tensor *t = &l->want[p.tensor];
        const int64_t first = t->first > p.first ? t->first : p.first, last = t->last < p.last ? t->last : p.last;
        if (first < last) VJ_TRY(vj_ckpt_copy_pieces(put, user, t, first, last, values + (first - p.first)));
        values += p.last - p.first;
        l->taken += p.last - p.first;
        vj_progress_line_log(&l->line, what, (double)l->taken / (double)l->floats, vj_now());
    }
    return VJ_OK;
}

/*
 * In each round every reader reads a portion, all ranks agree that no read has failed, and then the portions are
 * broadcast one after the other. Because of the agreement, a round that begins to broadcast also completes.
 */
static vj_status read_rounds(loading *l, vj_ckpt_copy put, void *user)
{
    const int rank = vj_comm_rank(l->comm);
    vj_status status = VJ_OK;
    piece next = piece_from(l, 0, l->count > 0 ? l->first[0] : 0);
    while (next.tensor < l->count) {
        piece p = next;
        for (int r = 0; r < l->readers; r++) {
            const portion all = portion_from(l, p);
            if (l->reader[r] == rank && status == VJ_OK) status = read_portion(l, &all);
            p = behind(l, &all);
        }
        VJ_TRY(vj_agree(l->comm, status));
        for (int r = 0; r < l->readers; r++) {
            const portion all = portion_from(l, next);
            float *values = l->reader[r] == rank ? l->mine : l->received;
            if (l->comm != VJ_ALONE) MPI_Bcast(values, (int)all.floats, MPI_FLOAT, l->reader[r], l->comm);
            if (status == VJ_OK) status = take(l, &all, values, put, user);
            next = behind(l, &all);
        }
    }
    return vj_agree(l->comm, status);
}

/* ------------------------------------------------------------------------------------------------ loading */

/* Choose the first rank of each node as a reader. */
static vj_status choose_readers(loading *l)
{
    const int size = vj_comm_size(l->comm);
    const int reads = l->reads = vj_place_of(l->comm).local_rank == 0;
    l->reader = vj_calloc(size, sizeof *l->reader);
    VJ_TRY(vj_agree(l->comm, l->reader ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to read %s", l->path)));
    l->reader[0] = reads;
    if (l->comm != VJ_ALONE) MPI_Allgather(&reads, 1, MPI_INT, l->reader, 1, MPI_INT, l->comm);
    for (int r = 0; r < size; r++)
        if (l->reader[r]) l->reader[l->readers++] = r;
    return VJ_OK;
}

static vj_status open_file(loading *l)
{
    if (!l->reads) return VJ_OK;
    l->fd = open(l->path, O_RDONLY | O_CLOEXEC);
    return l->fd >= 0 ? VJ_OK : vj_raise(VJ_ERR_IO, "open %s", l->path);
}

static vj_status allocate(loading *l)
{
    const int64_t bytes = vj_ckpt_staging_bytes(l->want, l->count);
    l->room = bytes / (int64_t)sizeof(float);
    VJ_ASSERT(l->room <= INT32_MAX);
    for (int i = 0; i < l->count; i++) l->sum_count += vj_ckpt_block_count(&l->want[i]);
    l->source = vj_calloc(l->count, sizeof *l->source);
    l->sums = vj_calloc(l->sum_count, sizeof *l->sums);
    l->first = vj_calloc(l->count, sizeof *l->first);
    l->last = vj_calloc(l->count, sizeof *l->last);
    l->mine = l->reads ? vj_calloc(bytes, 1) : NULL;
    l->received = l->comm == VJ_ALONE ? NULL : vj_calloc(bytes, 1);
    if (l->source && l->sums && l->first && l->last && (l->mine || !l->reads) && (l->received || l->comm == VJ_ALONE))
        return VJ_OK;
    return vj_raise(VJ_ERR_MEMORY, "no memory to read %s", l->path);
}

static vj_status load(loading *l, vj_ckpt_copy put, void *user)
{
    VJ_TRY(choose_readers(l));
    VJ_TRY(vj_agree(l->comm, allocate(l)));
    VJ_TRY(vj_agree(l->comm, vj_comm_rank(l->comm) == 0 ? find(l) : VJ_OK));
    VJ_TRY(vj_agree(l->comm, open_file(l)));
    tell_places(l);
    unite(l);
    return read_rounds(l, put, user);
}

vj_status vj_ckpt_read(const char *path, const vj_ckpt_tensor *tensors, int count, vj_ckpt_copy put, void *user,
                       MPI_Comm comm)
{
    loading l = {
        .path = path, .want = tensors, .count = count, .comm = comm, .fd = -1, .line = vj_progress_line_begin()};
    vj_status status = load(&l, put, user);
    if (l.fd >= 0) (void)close(l.fd); /* only read */
    free(l.reader);
    free(l.source);
    free(l.sums);
    free(l.first);
    free(l.last);
    free(l.mine);
    free(l.received);
    return status;
}
