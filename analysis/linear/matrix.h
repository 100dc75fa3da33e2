/*
 * Dense matrices of doubles that are divided over all ranks in blocks (ScaLAPACK's block-cyclic layout), and what
 * analysis does with them. The one place that calls ScaLAPACK. All functions are collective over the grid's ranks, but
 * for the local ones, and give the same result on any number of ranks up to rounding (1e-10 relative).
 */
#ifndef VJ_LINEAR_MATRIX_H
#define VJ_LINEAR_MATRIX_H

#include <mpi.h>
#include <stddef.h>

#include "base/status.h"

typedef struct vj_ranks vj_ranks; /* the ranks as a rectangle, as square as their number allows */
/** Also gives the BLAS, and OpenMP, the threads of this rank (vj_place). Collective, agreed. */
vj_status vj_ranks_open(vj_ranks **ranks, MPI_Comm comm);
void vj_ranks_close(vj_ranks *ranks);

typedef struct {
    vj_ranks *ranks; /* borrowed */
    int rows, columns;
    int local_rows, local_columns; /* this rank's part */
    double *local;                 /* [local_columns, local_rows]: column-major, owned */
    double *own;                   /* [columns, rows], owned: see vj_matrix_begin_sums(); otherwise NULL */
    int descriptor[9];             /* ScaLAPACK's */
} vj_matrix;

/** A matrix of zeros. Release with vj_matrix_release(). */
vj_status vj_matrix_create(vj_matrix *matrix, vj_ranks *ranks, int rows, int columns);
void vj_matrix_release(vj_matrix *matrix);
/** The row and column in the whole matrix of a local row or column. Local. */
int vj_matrix_row(const vj_matrix *matrix, int local_row);
int vj_matrix_column(const vj_matrix *matrix, int local_column);

/**
 * Gather `rows` rows from `row` on, of these `columns` columns from `column` on, row-major [rows, columns], on all
 * ranks; or the whole matrix.
 */
void vj_matrix_gather_block(const vj_matrix *matrix, int row, int rows, int column, int columns, double *block);
void vj_matrix_gather(const vj_matrix *matrix, double *whole);
/** Copy the matrix from one, row-major, that every rank has. Local. */
void vj_matrix_scatter(vj_matrix *matrix, const double *whole);

/**
 * C += sum over all ranks of x^T x, of each rank's own rows x [count, D] (count may be 0): C is [D, D]. Only its lower
 * triangle is kept up to date (elements above the diagonal are undefined), as vj_matrix_eigen() and vj_matrix_solve()
 * want it; before anything else reads C, call vj_matrix_mirror() once, after the last rows.
 */
vj_status vj_matrix_add_gram(vj_matrix *c, const double *x, int64_t count);
/** Copy the lower triangle of C [D, D] to the upper. */
vj_status vj_matrix_mirror(vj_matrix *c);
/** C += sum over all ranks of x^T y, x [count, D], y [count, E]: C is [D, E]. */
vj_status vj_matrix_add_cross(vj_matrix *c, const double *x, const double *y, int64_t count);
/**
 * Until vj_matrix_end_sums() each rank adds products of its own rows to a whole matrix of its own, [rows, columns]
 * doubles (vj_matrix_sums_bytes()), so that no rows are sent: the two functions above are then local, and several times
 * less is sent if there are more rows than columns. end_sums adds these matrices of all ranks to C, and frees them; it
 * does nothing if begin_sums was not called. begin_sums is agreed. Both are collective.
 */
vj_status vj_matrix_begin_sums(vj_matrix *c);
void vj_matrix_end_sums(vj_matrix *c);
/** Bytes that vj_matrix_begin_sums() takes on each rank: none if there is only one. Local. */
int64_t vj_matrix_sums_bytes(const vj_matrix *c);
/** C = alpha op(A) op(B) + beta C. */
void vj_matrix_multiply(double alpha, const vj_matrix *a, bool transpose_a, const vj_matrix *b, bool transpose_b,
                        double beta, vj_matrix *c);

/** Describe the BLAS in use, for people: "OpenBLAS 0.3.21 for Zen", or the path of its file. Local. */
void vj_blas_describe(char *text, size_t bytes);
/**
 * Its best rate, GFLOP/s, at a piece of a sum of products x^T x of rows of this width, with the rank's threads; 0
 * without memory. Takes some hundredths of a second with a BLAS that is fast. Local.
 */
double vj_blas_gflops(int width);

/**
 * out [count, columns] = x [count, width] times `matrix` [width, columns], all row-major. With few columns a row's
 * result has the same bits wherever it is among the rows. Local: each rank's own.
 */
void vj_rows_multiply(double *out, const double *x, int64_t count, int width, const double *matrix, int columns);
/** out [count, columns] = (x [count, width] - minus [width]) times `matrix`, as above. VJ_ERR_MEMORY. Local. */
vj_status vj_rows_project(double *out, const float *x, const double *minus, int64_t count, int width,
                          const double *matrix, int columns);
/** out [count, others]: the products x_i . y_j of all rows of x [count, width] and y [others, width], in floats. Local.
 */
void vj_rows_by_rows(float *out, const float *x, int count, int width, const float *y, int others);

/**
 * Eigenvalues, ascending [D] on all ranks, of a symmetric matrix, of which the lower triangle is read, and which is
 * overwritten; with `vectors` (created [D, D]; may be NULL) their eigenvectors as its columns, each with its largest
 * component positive. VJ_ERR_STATE: the matrix has elements that are not finite, or the iteration did not end.
 */
vj_status vj_matrix_eigen(vj_matrix *a, double *values, vj_matrix *vectors);
/** Singular values, descending [min(rows, columns)], on all ranks; the matrix is overwritten. Errors as above. */
vj_status vj_matrix_singular_values(vj_matrix *a, double *values);
/**
 * Solve A X = B for a positive definite A, of which the lower triangle is read; X replaces B, and A is overwritten.
 * VJ_ERR_STATE: A is not positive definite (not reported: the caller knows what A is).
 */
vj_status vj_matrix_solve(vj_matrix *a, vj_matrix *b);

#endif
