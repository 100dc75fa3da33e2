/* As much of MPI as headers name, for one process without MPI (tests/gpu). */
#ifndef VJ_TESTS_GPU_MPI_H
#define VJ_TESTS_GPU_MPI_H

typedef int MPI_Comm;
#define MPI_COMM_NULL 0

#endif
