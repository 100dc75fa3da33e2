/* The process grid, matrices on it, and their simple operations: gathering, scattering, products. */
#include "linear/matrix.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "linear/inner.h"
#include "parallel/parallel.h"

/* ------------------------------------------------------------------------------------------------ ranks */

/* Exists only if the BLAS is OpenBLAS. In training our threads call the BLAS; here one thread calls it, and it uses its
 * own threads. */
extern void openblas_set_num_threads(int threads) __attribute__((weak));

vj_status vj_ranks_open(vj_ranks **ranks, MPI_Comm comm)
{
    const char *isa;
    *ranks = NULL;
    VJ_TRY(vj_agree(comm, vj_backend_isa(&isa))); /* vj_tiles_here() has no way to refuse what VJ_ISA names */
    vj_ranks *all = *ranks = vj_calloc(1, sizeof *all);
    if (all) {
        all->rank = vj_comm_rank(comm);
        all->size = vj_comm_size(comm);
        all->numbers = vj_calloc(5 * all->size, sizeof *all->numbers);
    }
    if (vj_agree(comm, all && all->numbers ? VJ_OK : VJ_ERR_MEMORY) != VJ_OK) {
        if (all) free(all->numbers);
        free(all);
        *ranks = NULL;
        return vj_raise(VJ_ERR_MEMORY, "no memory for the rectangle of ranks");
    }
    MPI_Comm_dup(comm, &all->comm);
    for (all->rows = 1; (all->rows + 1) * (all->rows + 1) <= all->size; all->rows++) continue;
    while (all->size % all->rows != 0) all->rows--;
    all->columns = all->size / all->rows;
    all->row = all->rank / all->columns;
    all->column = all->rank % all->columns;
    all->system = all->context = Csys2blacs_handle(all->comm);
    Cblacs_gridinit(&all->context, "Row", all->rows, all->columns);
    const int threads = vj_place_of(comm).threads;
    omp_set_num_threads(threads); /* MKL and OpenBLAS with OpenMP use this number */
    if (openblas_set_num_threads) openblas_set_num_threads(threads);
    return VJ_OK;
}

void vj_ranks_close(vj_ranks *ranks)
{
    if (!ranks) return;
    Cblacs_gridexit(ranks->context);
    Cfree_blacs_system_handle(ranks->system);
    MPI_Comm_free(&ranks->comm);
    free(ranks->room);
    free(ranks->numbers);
    free(ranks);
}

int vj_share(int n, int part, int parts)
{
    const int blocks = n / VJ_BLOCK, whole = blocks / parts + (part < blocks % parts);
    return whole * VJ_BLOCK + (part == blocks % parts ? n % VJ_BLOCK : 0);
}

/* Return the global index of local row or column `local` of part `part`. */
static int global_index(int local, int part, int parts)
{
    return (local / VJ_BLOCK * parts + part) * VJ_BLOCK + local % VJ_BLOCK;
}

/* ------------------------------------------------------------------------------------------------ matrices */

vj_status vj_matrix_create(vj_matrix *matrix, vj_ranks *ranks, int rows, int columns)
{
    VJ_ASSERT(rows > 0 && columns > 0);
    *matrix = (vj_matrix){.ranks = ranks,
                          .rows = rows,
                          .columns = columns,
                          .local_rows = vj_share(rows, ranks->row, ranks->rows),
                          .local_columns = vj_share(columns, ranks->column, ranks->columns)};
    const int leading = matrix->local_rows > 0 ? matrix->local_rows : 1;
    const int descriptor[9] = {1, ranks->context, rows, columns, VJ_BLOCK, VJ_BLOCK, 0, 0, leading};
    memcpy(matrix->descriptor, descriptor, sizeof descriptor);
    matrix->local = vj_calloc((int64_t)leading * matrix->local_columns + 1, sizeof *matrix->local);
    if (matrix->local) return vj_agree(ranks->comm, VJ_OK);
    return vj_agree(ranks->comm, vj_raise(VJ_ERR_MEMORY, "no memory for a part, %d x %d numbers, of a %d x %d matrix",
                                          matrix->local_rows, matrix->local_columns, rows, columns));
}

void vj_matrix_release(vj_matrix *matrix)
{
    free(matrix->local);
    free(matrix->own);
    *matrix = (vj_matrix){0};
}

int vj_matrix_row(const vj_matrix *matrix, int local_row)
{
    return global_index(local_row, matrix->ranks->row, matrix->ranks->rows);
}

int vj_matrix_column(const vj_matrix *matrix, int local_column)
{
    return global_index(local_column, matrix->ranks->column, matrix->ranks->columns);
}

/* ------------------------------------------------------------------------------------------------ whole matrices */

/* In pieces: a sum of many MB at once is slow in some MPI libraries. */
void vj_ranks_sum(const vj_ranks *ranks, double *x, int64_t count)
{
    enum { PIECE = 1 << 18 };
    for (int64_t at = 0; at < count; at += PIECE)
        MPI_Allreduce(MPI_IN_PLACE, x + at, (int)(count - at < PIECE ? count - at : PIECE), MPI_DOUBLE, MPI_SUM,
                      ranks->comm);
}

/* Every rank writes its elements into zeros; the sum over all ranks is the block. */
void vj_matrix_gather_block(const vj_matrix *matrix, int row, int rows, int column, int columns, double *block)
{
    const int64_t all = (int64_t)rows * columns;
    memset(block, 0, (size_t)all * sizeof *block);
    for (int j = 0; j < matrix->local_columns; j++) {
        const int to_column = vj_matrix_column(matrix, j) - column;
        if (to_column < 0 || to_column >= columns) continue;
        for (int i = 0; i < matrix->local_rows; i++) {
            const int to_row = vj_matrix_row(matrix, i) - row;
            if (to_row >= 0 && to_row < rows)
                block[(int64_t)to_row * columns + to_column] = matrix->local[(int64_t)j * matrix->local_rows + i];
        }
    }
    vj_ranks_sum(matrix->ranks, block, all);
}

void vj_matrix_gather(const vj_matrix *matrix, double *whole)
{
    vj_matrix_gather_block(matrix, 0, matrix->rows, 0, matrix->columns, whole);
}

void vj_matrix_scatter(vj_matrix *matrix, const double *whole)
{
    for (int j = 0; j < matrix->local_columns; j++)
        for (int i = 0; i < matrix->local_rows; i++)
            matrix->local[(int64_t)j * matrix->local_rows + i] =
                whole[(int64_t)vj_matrix_row(matrix, i) * matrix->columns + vj_matrix_column(matrix, j)];
}

/* ------------------------------------------------------------------------------------------------ products */

static const int one = 1;

void vj_matrix_multiply(double alpha, const vj_matrix *a, bool transpose_a, const vj_matrix *b, bool transpose_b,
                        double beta, vj_matrix *c)
{
    const int inner = transpose_a ? a->rows : a->columns;
    VJ_ASSERT((transpose_a ? a->columns : a->rows) == c->rows);
    VJ_ASSERT((transpose_b ? b->rows : b->columns) == c->columns);
    VJ_ASSERT((transpose_b ? b->columns : b->rows) == inner);
    pdgemm_(transpose_a ? "T" : "N", transpose_b ? "T" : "N", &c->rows, &c->columns, &inner, &alpha, a->local, &one,
            &one, a->descriptor, b->local, &one, &one, b->descriptor, &beta, c->local, &one, &one, c->descriptor);
}

vj_status vj_matrix_mirror(vj_matrix *c)
{
    const double whole = 1.0, nothing = 0.0;
    vj_matrix turned;
    VJ_ASSERT(c->rows == c->columns);
    vj_status status = vj_matrix_create(&turned, c->ranks, c->rows, c->rows);
    if (status == VJ_OK) {
        pdtran_(&c->rows, &c->rows, &whole, c->local, &one, &one, c->descriptor, &nothing, turned.local, &one, &one,
                turned.descriptor);
        for (int j = 0; j < c->local_columns; j++)
            for (int i = 0; i < c->local_rows && vj_matrix_row(c, i) < vj_matrix_column(c, j); i++)
                c->local[(int64_t)j * c->local_rows + i] = turned.local[(int64_t)j * c->local_rows + i];
    }
    vj_matrix_release(&turned);
    return status;
}
