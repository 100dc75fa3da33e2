/*
 * Dense matrices of doubles that are divided over all ranks in blocks (ScaLAPACK's block-cyclic layout), and the linear
 * algebra that analysis needs. Only this folder calls ScaLAPACK. All functions that are not marked "Local" are
 * collective over the ranks of the grid. They give the same result on any number of ranks up to rounding (1e-10
 * relative).
 */
#ifndef VJ_LINEAR_MATRIX_H
#define VJ_LINEAR_MATRIX_H

#include <mpi.h>
#include <stddef.h>

#include "base/status.h"

typedef struct vj_ranks vj_ranks; /* a grid of all ranks, as square as their number allows */
/** Create the grid. Also sets the number of threads of OpenMP and of the BLAS to that of this rank (vj_place).
 * VJ_ERR_USAGE: VJ_ISA names no instruction set of this processor. Collective, agreed. */
vj_status vj_ranks_open(vj_ranks **ranks, MPI_Comm comm);
void vj_ranks_close(vj_ranks *ranks);

typedef struct {
    vj_ranks *ranks; /* borrowed */
    int rows, columns;
    int local_rows, local_columns; /* this rank's part */
    double *local;                 /* [local_columns, local_rows]: column-major, owned */
    double *own;                   /* sums of this rank (vj_matrix_begin_sums()), owned; otherwise NULL */
    int descriptor[9];             /* ScaLAPACK's array descriptor */
} vj_matrix;

/** Create a matrix of zeros. Release it with vj_matrix_release(). */
vj_status vj_matrix_create(vj_matrix *matrix, vj_ranks *ranks, int rows, int columns);
void vj_matrix_release(vj_matrix *matrix);
/** Return the row or column in the whole matrix of a local row or column. Local. */
int vj_matrix_row(const vj_matrix *matrix, int local_row);
int vj_matrix_column(const vj_matrix *matrix, int local_column);

/**
 * Gather `rows` rows from `row` on and `columns` columns from `column` on, on all ranks, to block [rows, columns],
 * row-major. vj_matrix_gather() gathers the whole matrix.
 */
void vj_matrix_gather_block(const vj_matrix *matrix, int row, int rows, int column, int columns, double *block);
void vj_matrix_gather(const vj_matrix *matrix, double *whole);
/** Set the matrix from a whole one, row-major, that every rank has. Local. */
void vj_matrix_scatter(vj_matrix *matrix, const double *whole);

/**
 * C += the sum over all ranks of x^T x, where x [count, D] are the rows of each rank (count may be 0) and C is [D, D].
 * Only the lower triangle of C is computed; elements above the diagonal are undefined. vj_matrix_eigen()
 * reads only the lower triangle. Before anything else reads C, call vj_matrix_mirror() once, after the last rows.
 */
vj_status vj_matrix_add_gram(vj_matrix *c, const double *x, int64_t count);
/** Copy the lower triangle of C [D, D] to the upper. */
vj_status vj_matrix_mirror(vj_matrix *c);
/** C += the sum over all ranks of x^T y, where x is [count, D], y is [count, E] and C is [D, E]. */
vj_status vj_matrix_add_cross(vj_matrix *c, const double *x, const double *y, int64_t count);
/**
 * From vj_matrix_begin_sums() to vj_matrix_end_sums() each rank adds the products of its rows to a whole matrix of its
 * own, a little more than [rows, columns] doubles (vj_matrix_sums_bytes()). No rows are sent then, vj_matrix_add_gram()
 * and vj_matrix_add_cross() are local, and their loops are faster than a BLAS (sums.c). If there are more rows than
 * columns, several times less is sent this way.
 * vj_matrix_end_sums() adds the matrices of all ranks to C and frees them; it does nothing if vj_matrix_begin_sums()
 * was not called. Both are collective; vj_matrix_begin_sums() is agreed.
 */
vj_status vj_matrix_begin_sums(vj_matrix *c);
void vj_matrix_end_sums(vj_matrix *c);
/** Return the bytes that vj_matrix_begin_sums() allocates on each rank. Local. */
int64_t vj_matrix_sums_bytes(const vj_matrix *c);
/** C = alpha op(A) op(B) + beta C. */
void vj_matrix_multiply(double alpha, const vj_matrix *a, bool transpose_a, const vj_matrix *b, bool transpose_b,
                        double beta, vj_matrix *c);

/**
 * Measure and return the best rate of vj_matrix_add_gram() on this rank's rows of this width, in GFLOP/s; 0 if there is
 * no memory. Takes a few hundredths of a second. Local.
 */
double vj_sums_gflops(int width);
/** Describe the BLAS in use for messages: "OpenBLAS 0.3.21 for Zen", or the path of its file. Local. */
void vj_blas_describe(char *text, size_t bytes);
/**
 * Measure and return the best rate of the BLAS, in GFLOP/s, for x^T x with rows of this width and the threads of this
 * rank; 0 if there is no memory. Takes a few hundredths of a second with a fast BLAS. Local.
 */
double vj_blas_gflops(int width);

/* A matrix by which rows are multiplied: a copy in the order in which the loops of rows.c read it. */
typedef struct {
    int width, columns;
    double *packed; /* owned */
    double *room;   /* for the threads of this rank. Owned */
} vj_factor;

/** Copy `matrix` [width, columns], row-major, a little more numbers than these, at least 4 MiB. Release it with
 * vj_factor_release().
 * VJ_ERR_MEMORY. Local, as are the next three. */
vj_status vj_factor_create(vj_factor *factor, const double *matrix, int width, int columns);
void vj_factor_release(vj_factor *factor);
/**
 * out [count, columns] = x [count, width] times the matrix, all row-major. Not for two threads of the program at once
 * with the same matrix. The bits of a row's result depend neither on its place among the rows nor on the number of
 * threads.
 */
void vj_rows_multiply(double *out, const double *x, int64_t count, const vj_factor *factor);
/** out [count, columns] = (x [count, width] - minus [width]) times the matrix. */
void vj_rows_project(double *out, const float *x, const double *minus, int64_t count, const vj_factor *factor);
/** out [count, others] = the dot products x_i . y_j of all rows of x [count, width] and y [others, width], in floats.
 * Local. */
void vj_rows_by_rows(float *out, const float *x, int count, int width, const float *y, int others);

/**
 * Compute the eigenvalues of a symmetric matrix: values [D], ascending, on all ranks. Only the lower triangle of the
 * matrix is read; the matrix is overwritten. If `vectors` (created [D, D]) is not NULL, its columns become the
 * eigenvectors, each with its largest component positive. VJ_ERR_STATE: the matrix has elements that are not finite, or
 * the iteration did not converge.
 */
vj_status vj_matrix_eigen(vj_matrix *a, double *values, vj_matrix *vectors);
/** Compute the singular values: values [min(rows, columns)], descending, on all ranks. The matrix is overwritten.
 * Errors as for vj_matrix_eigen(). */
vj_status vj_matrix_singular_values(vj_matrix *a, double *values);
#endif
