/*
 * A group over plain MPI, in pieces: one large reduction was measured 15 times slower than pieces of a few MiB (page
 * faults of MPI's own temporaries).
 */
#include "parallel/group.h"

#include <stdlib.h>

enum { PIECE = 1 << 18 }; /* floats */

struct vj_group {
    MPI_Comm comm; /* owned */
    int rank, size;
};

vj_status vj_group_open(vj_group **group, MPI_Comm comm)
{
    vj_group *g = *group = vj_calloc(1, sizeof *g);
    if (!g) return vj_raise(VJ_ERR_MEMORY, "no memory for a group of ranks");
    MPI_Comm_dup(comm, &g->comm);
    MPI_Comm_rank(g->comm, &g->rank);
    MPI_Comm_size(g->comm, &g->size);
    return VJ_OK;
}

void vj_group_close(vj_group *g)
{
    if (!g) return;
    MPI_Comm_free(&g->comm);
    free(g);
}

void vj_group_sum(vj_group *g, float *x, int64_t n)
{
    for (int64_t at = 0; at < n; at += PIECE)
        MPI_Allreduce(MPI_IN_PLACE, x + at, (int)(n - at < PIECE ? n - at : PIECE), MPI_FLOAT, MPI_SUM, g->comm);
}

void vj_group_sum_part(vj_group *g, float *x, const int64_t *first)
{
    for (int r = 0; r < g->size; r++)
        for (int64_t at = first[r]; at < first[r + 1]; at += PIECE) {
            const int n = (int)(first[r + 1] - at < PIECE ? first[r + 1] - at : PIECE);
            MPI_Reduce(g->rank == r ? MPI_IN_PLACE : x + at, x + at, n, MPI_FLOAT, MPI_SUM, r, g->comm);
        }
}

void vj_group_gather(vj_group *g, float *x, const int64_t *first)
{
    for (int r = 0; r < g->size; r++)
        for (int64_t at = first[r]; at < first[r + 1]; at += PIECE)
            MPI_Bcast(x + at, (int)(first[r + 1] - at < PIECE ? first[r + 1] - at : PIECE), MPI_FLOAT, r, g->comm);
}
