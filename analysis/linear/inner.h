/* The process grid, and declarations of BLAS, BLACS and ScaLAPACK, which have no C headers. Private to this folder. */
#ifndef VJ_LINEAR_INNER_H
#define VJ_LINEAR_INNER_H

#include "linear/matrix.h"

/*
 * Block size of rows and columns in ScaLAPACK's block-cyclic layout. Small blocks divide the triangle of a symmetric
 * product more evenly; large blocks make larger products. At width 1408 on two ranks 40 was 4 % faster than 64 and 3 %
 * faster than 48.
 */
enum { VJ_BLOCK = 40 };

/* Arrays of at least this many numbers, 4 MiB, are on huge pages (vj_calloc()): on small ones, in a virtual machine,
 * loops wait for addresses. */
enum { VJ_HUGE = 1 << 19 };

/* Rank r of `comm` is at row r / columns and column r % columns of the process grid. */
struct vj_ranks {
    MPI_Comm comm; /* owned */
    int rank, size;
    int system, context; /* BLACS handles of the communicator and of the grid */
    int rows, columns;   /* of the grid */
    int row, column;     /* this rank's place in it */
    int *numbers;        /* [5, size] buffer for counts and offsets of messages. Owned */
    double *room;        /* [room_count] buffer that add.c keeps from call to call. Owned */
    int64_t room_count;
};

/** Sum numbers over all ranks, in place. All ranks get the same sums. Collective. */
void vj_ranks_sum(const vj_ranks *ranks, double *x, int64_t count);

/** Return how many of n rows or columns belong to part `part` of `parts` in the block-cyclic layout. */
int vj_share(int n, int part, int parts);

/**
 * Sums of products x^T y of one rank, in an order of their own: `sums` [vj_sums_count()] is aligned to 64 bytes
 * (vj_calloc()) and begins as zeros. Local, as are the next three.
 */
int64_t vj_sums_count(int rows, int columns);
/**
 * sums += x^T y of all `count` rows of x [count, rows] and y [count, columns]. If y is NULL, += x^T x, of which only
 * the lower triangle is right; `columns` is then `rows`. By all threads of this rank, whose number changes no bit.
 *
 * @param room  [vj_sums_room()] overwritten, aligned to 64 bytes
 */
void vj_sums_add(double *sums, double *room, const double *x, int rows, const double *y, int columns, int64_t count);
int64_t vj_sums_room(int rows, int columns);
/** Copy the sums of all columns of x and `columns` columns of y from `first` on to `to` [columns, rows]. */
void vj_sums_columns(double *to, const double *sums, int rows, int first, int columns);

void dgemm_(const char *, const char *, const int *, const int *, const int *, const double *, const double *,
            const int *, const double *, const int *, const double *, double *, const int *);

void sgemm_(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
            const int *, const float *, const int *, const float *, float *, const int *);

int Csys2blacs_handle(MPI_Comm);
void Cfree_blacs_system_handle(int);
void Cblacs_gridinit(int *, const char *, int, int);
void Cblacs_gridexit(int);

void pdgemm_(const char *, const char *, const int *, const int *, const int *, const double *, const double *,
             const int *, const int *, const int *, const double *, const int *, const int *, const int *,
             const double *, double *, const int *, const int *, const int *);
void pdtran_(const int *, const int *, const double *, const double *, const int *, const int *, const int *,
             const double *, double *, const int *, const int *, const int *);
void pdsyevd_(const char *, const char *, const int *, double *, const int *, const int *, const int *, double *,
              double *, const int *, const int *, const int *, double *, const int *, int *, const int *, int *);
void pdsyev_(const char *, const char *, const int *, double *, const int *, const int *, const int *, double *,
             double *, const int *, const int *, const int *, double *, const int *, int *);
void pdgesvd_(const char *, const char *, const int *, const int *, double *, const int *, const int *, const int *,
              double *, double *, const int *, const int *, const int *, double *, const int *, const int *,
              const int *, double *, const int *, int *);

#endif
