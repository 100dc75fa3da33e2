/* Holds back partial pages, and passes them to the rank that writes them. */
#include "h5/pages.h"

#include <stdlib.h>
#include <string.h>

#include "parallel/parallel.h"

static int64_t page_of(int64_t at)
{
    return at / VJ_H5_PAGE;
}

static vj_status no_memory(const vj_h5_writer *writer)
{
    return vj_raise(VJ_ERR_MEMORY, "no memory to write %s", writer->path);
}

/* Return the piece of the same page that ends at `at`; NULL: none. Rows are written in order, so it is one of the last
 * pieces. */
static vj_h5_piece *piece_before(const vj_h5_writer *writer, int64_t at)
{
    enum { LAST = 16 };
    for (int64_t i = writer->pieces - 1; i >= 0 && i >= writer->pieces - LAST; i--) {
        vj_h5_piece *p = &writer->piece[i];
        if (p->at + p->bytes == at && page_of(p->at) == page_of(at)) return p;
    }
    return NULL;
}

/* Append a piece of `bytes` bytes at file offset `at`; NULL: no memory. */
static vj_h5_piece *append(vj_h5_writer *writer, int64_t at, int64_t bytes)
{
    if (writer->pieces == writer->piece_room) {
        const int64_t room = 2 * writer->piece_room + 16;
        void *more = realloc(writer->piece, (size_t)room * sizeof *writer->piece);
        if (!more) return NULL;
        writer->piece = more;
        writer->piece_room = room;
    }
    vj_h5_piece *p = &writer->piece[writer->pieces];
    *p = (vj_h5_piece){.at = at, .bytes = bytes, .data = malloc((size_t)bytes)};
    if (p->data) writer->pieces++;
    return p->data ? p : NULL;
}

vj_status vj_h5_hold(vj_h5_writer *writer, int64_t at, const char *data, int64_t bytes, vj_h5_piece **whole)
{
    vj_h5_piece *p = piece_before(writer, at);
    *whole = NULL;
    if (p) {
        char *more = realloc(p->data, (size_t)(p->bytes + bytes));
        if (!more) return no_memory(writer);
        p->data = more;
        p->bytes += bytes;
    } else {
        p = append(writer, at, bytes);
        if (!p) return no_memory(writer);
    }
    memcpy(p->data + p->bytes - bytes, data, (size_t)bytes);
    if (p->bytes == VJ_H5_PAGE) *whole = p;
    return VJ_OK;
}

void vj_h5_drop(vj_h5_writer *writer, vj_h5_piece *piece)
{
    free(piece->data);
    *piece = writer->piece[--writer->pieces];
}

void vj_h5_drop_all(vj_h5_writer *writer)
{
    for (int64_t i = 0; i < writer->pieces; i++) free(writer->piece[i].data);
    free(writer->piece);
    writer->piece = NULL;
    writer->pieces = writer->piece_room = 0;
}

/* ------------------------------------------------------------------------------------------------ passing */

/* What all ranks know about a piece. */
typedef struct {
    int64_t at, bytes;
    int rank, node;
    int owner; /* the rank that writes it */
} entry;

static int by_page(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (page_of(x->at) != page_of(y->at)) return page_of(x->at) < page_of(y->at) ? -1 : 1;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* If the pieces of a page are on several nodes, the first rank that has one writes them all; if they are on one node,
 * each rank writes its own. */
static void choose_owners(entry *all, int64_t count)
{
    qsort(all, (size_t)count, sizeof *all, by_page);
    for (int64_t first = 0, last; first < count; first = last) {
        bool one_node = true;
        for (last = first; last < count && page_of(all[last].at) == page_of(all[first].at); last++)
            one_node = one_node && all[last].node == all[first].node;
        for (int64_t i = first; i < last; i++) all[i].owner = one_node ? all[i].rank : all[first].rank;
    }
}

/* Gather the entries of all ranks' pieces. Rank 0 adds an empty one for HDF5's structures, which it writes: they end in
 * the page in which the data begin. */
static vj_status gather_entries(const vj_h5_writer *writer, entry **all, int64_t *count)
{
    int size, mine = (int)writer->pieces + (writer->rank == 0);
    MPI_Comm_size(writer->comm, &size);
    int *counts = vj_calloc(2 * (int64_t)size, sizeof *counts), *places = counts ? counts + size : NULL;
    entry *own = vj_calloc(mine, sizeof *own);
    vj_status status = vj_agree(writer->comm, counts && own ? VJ_OK : no_memory(writer));
    *all = NULL;
    *count = 0;
    if (status == VJ_OK) {
        MPI_Allgather(&mine, 1, MPI_INT, counts, 1, MPI_INT, writer->comm);
        for (int r = 0; r < size; r++) {
            places[r] = (int)(*count * (int64_t)sizeof *own);
            *count += counts[r];
            counts[r] *= (int)sizeof *own;
        }
        *all = vj_calloc(*count, sizeof **all);
        status = vj_agree(writer->comm, *all ? VJ_OK : no_memory(writer));
    }
    for (int64_t i = 0; status == VJ_OK && i < mine; i++) {
        own[i] = (entry){.rank = writer->rank, .node = writer->node};
        own[i].at = i < writer->pieces ? writer->piece[i].at : writer->data_place - 1;
        own[i].bytes = i < writer->pieces ? writer->piece[i].bytes : 0;
    }
    if (status == VJ_OK)
        MPI_Allgatherv(own, mine * (int)sizeof *own, MPI_BYTE, *all, counts, places, MPI_BYTE, writer->comm);
    free(counts);
    free(own);
    return status;
}

static vj_h5_piece *find(const vj_h5_writer *writer, int64_t at)
{
    for (int64_t i = 0; i < writer->pieces; i++)
        if (writer->piece[i].at == at) return &writer->piece[i];
    VJ_ASSERT(!"a piece that was announced");
    return NULL;
}

/* Make room for the pieces that this rank will receive. */
static vj_status make_room(vj_h5_writer *writer, const entry *all, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (all[i].owner == writer->rank && all[i].rank != writer->rank && all[i].bytes > 0 &&
            !append(writer, all[i].at, all[i].bytes))
            return no_memory(writer);
    return VJ_OK;
}

/* Send pieces to their owners. All ranks go through the pieces in the same order, so there is no deadlock. */
static void exchange(vj_h5_writer *writer, const entry *all, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const entry *e = &all[i];
        if (e->owner == e->rank || e->bytes == 0) continue;
        if (e->rank == writer->rank) {
            vj_h5_piece *p = find(writer, e->at);
            MPI_Send(p->data, (int)p->bytes, MPI_BYTE, e->owner, 0, writer->comm);
            vj_h5_drop(writer, p);
        } else if (e->owner == writer->rank) {
            vj_h5_piece *p = find(writer, e->at);
            MPI_Recv(p->data, (int)p->bytes, MPI_BYTE, e->rank, 0, writer->comm, MPI_STATUS_IGNORE);
        }
    }
}

vj_status vj_h5_pass(vj_h5_writer *writer)
{
    entry *all;
    int64_t count;
    vj_status status = gather_entries(writer, &all, &count);
    if (status == VJ_OK) {
        choose_owners(all, count);
        status = vj_agree(writer->comm, make_room(writer, all, count));
    }
    if (status == VJ_OK) exchange(writer, all, count);
    free(all);
    return status;
}
