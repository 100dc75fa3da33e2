/* The split of work over ranks, and agreement. */
#include "parallel/parallel.h"

#include <omp.h>
#include <sched.h>
#include <stdlib.h>

void vj_split(int64_t n, int size, int rank, int64_t *first, int64_t *last)
{
    int64_t each = n / size, more = n % size;
    *first = rank * each + (rank < more ? rank : more);
    *last = *first + each + (rank < more ? 1 : 0);
}

vj_status vj_agree(MPI_Comm comm, vj_status status)
{
    int mine = (int)status, worst = 0;
    MPI_Allreduce(&mine, &worst, 1, MPI_INT, MPI_MAX, comm);
    return (vj_status)worst;
}

/* Ranks of `node` that may run on the same processors as this one, itself included. */
static int ranks_beside(MPI_Comm node, const cpu_set_t *mine)
{
    int size, same = 0;
    MPI_Comm_size(node, &size);
    cpu_set_t *all = malloc((size_t)size * sizeof *all);
    VJ_ASSERT(all);
    MPI_Allgather(mine, (int)sizeof *mine, MPI_BYTE, all, (int)sizeof *mine, MPI_BYTE, node);
    for (int i = 0; i < size; i++) same += CPU_EQUAL(mine, &all[i]) != 0;
    free(all);
    return same;
}

int vj_threads(MPI_Comm comm)
{
    MPI_Comm node;
    cpu_set_t mine;
    CPU_ZERO(&mine);
    if (sched_getaffinity(0, sizeof mine, &mine) != 0) CPU_SET(0, &mine); /* more processors than the set can name */
    MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    const int share = CPU_COUNT(&mine) / ranks_beside(node, &mine);
    MPI_Comm_free(&node);
    if (getenv("OMP_NUM_THREADS")) return omp_get_max_threads();
    return share > 1 ? share : 1;
}

void vj_sum_doubles(MPI_Comm comm, double *values, int count)
{
    enum { PIECE = 512 };
    double theirs[PIECE];
    int rank, size;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    if (size & (size - 1)) {
        MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_DOUBLE, MPI_SUM, comm);
        return;
    }
    for (int at = 0; at < count; at += PIECE)
        for (int apart = 1; apart < size; apart *= 2) {
            const int n = count - at < PIECE ? count - at : PIECE;
            MPI_Sendrecv(values + at, n, MPI_DOUBLE, rank ^ apart, 0, theirs, n, MPI_DOUBLE, rank ^ apart, 0, comm,
                         MPI_STATUS_IGNORE);
            for (int i = 0; i < n; i++) values[at + i] += theirs[i];
        }
}
