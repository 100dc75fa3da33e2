/* The rectangle of ranks, and what has no header of its own: BLAS, BLACS and ScaLAPACK. Private to this folder. */
#ifndef VJ_LINEAR_INNER_H
#define VJ_LINEAR_INNER_H

#include "linear/matrix.h"

/*
 * Rows and columns are dealt out in blocks of so many. Small blocks share the triangle of a symmetric product out more
 * evenly, large ones make longer products: at width 1408 on two ranks 40 was 4 % faster than 64 and 3 % than 48.
 */
enum { VJ_BLOCK = 40 };

/* Rank r of `comm` is at row r / columns, column r % columns of the rectangle. */
struct vj_ranks {
    MPI_Comm comm; /* owned */
    int rank, size;
    int system, context; /* BLACS's numbers of the communicator and of the rectangle */
    int rows, columns;   /* of the rectangle */
    int row, column;     /* this rank's place in it */
    int *numbers;        /* [5, size], owned: room for counts and places of a message */
    double *room;        /* [room_count], owned: what add.c keeps from call to call */
    int64_t room_count;
};

/** Sum numbers over all ranks, in place, which then all have the same. Collective. */
void vj_ranks_sum(const vj_ranks *ranks, double *x, int64_t count);

/** How many of n rows or columns dealt out over `parts` fall to `part`, and which one its `local`-th is. */
int vj_share(int n, int part, int parts);
int vj_share_item(int local, int part, int parts);

void dgemm_(const char *, const char *, const int *, const int *, const int *, const double *, const double *,
            const int *, const double *, const int *, const double *, double *, const int *);

void sgemm_(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
            const int *, const float *, const int *, const float *, float *, const int *);

void dsyrk_(const char *, const char *, const int *, const int *, const double *, const double *, const int *,
            const double *, double *, const int *);

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
void pdposv_(const char *, const int *, const int *, double *, const int *, const int *, const int *, double *,
             const int *, const int *, const int *, int *);

#endif
