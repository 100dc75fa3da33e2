/* The end of a test program whose cases run on several ranks together. */
#ifndef VJ_TEST_ON_RANKS_H
#define VJ_TEST_ON_RANKS_H

#include <mpi.h>

/* End MPI. Returns the exit code, the same on all ranks: 1 if any rank has failed cases, else 0. */
static inline int end_on_ranks(int failed)
{
    MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Finalize();
    return failed != 0;
}

#endif
