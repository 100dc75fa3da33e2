/* The split of work over ranks, and agreement. */
#include "parallel/parallel.h"

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

void vj_sum_doubles(MPI_Comm comm, double *values, int count)
{
    MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_DOUBLE, MPI_SUM, comm);
}
