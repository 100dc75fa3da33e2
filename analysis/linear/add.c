/*
 * Sums of products over all rows, x^T x and x^T y, in one of two ways. If there is memory for it, each rank adds the
 * products of its own rows to a whole matrix of its own (sums.c); these matrices are added once, at the end. Otherwise
 * a rank computes only its part of C, which has some rows I and columns J. It needs the columns I and J of the rows of
 * all ranks. They are sent to it piece by piece, and a piece is multiplied by the rank's own BLAS in one product, whose
 * depth is the number of rows of the piece. That is faster than pdsyrk, whose products are only as deep as a block.
 */
#include <stdlib.h>
#include <string.h>

#include "linear/inner.h"
#include "parallel/parallel.h"

/* Rows of all ranks together in a piece: deep enough for any BLAS, and small enough to be sent from the cache. */
enum { PIECE_ROWS = 2048 };

/* Columns of which the sums of all ranks are added in one message: two MB at width 1408. */
enum { SUMMED_TOGETHER = 192 };

/* A matrix of rows whose columns are divided over the rows or columns of the process grid. */
typedef struct {
    const double *x; /* [rows, width] this rank's rows. Borrowed */
    int width;
    bool by_row;         /* a rank gets the columns for its row of the grid; otherwise for its column */
    const double *given; /* [rows of all, own columns] what this rank received. Borrowed */
    int own;             /* number of columns */
} dealt;

static int parts_of(const vj_ranks *ranks, const dealt *d)
{
    return d->by_row ? ranks->rows : ranks->columns;
}

static int part_of(const vj_ranks *ranks, const dealt *d, int rank)
{
    return d->by_row ? rank / ranks->columns : rank % ranks->columns;
}

/* Copy the columns of one part from rows x [rows, width] to `to` [rows, columns of the part]. Returns the end of `to`.
 */
static double *take_part(const double *x, int64_t rows, int width, int part, int parts, double *to)
{
    for (int64_t i = 0; i < rows; i++, x += width)
        for (int j = part * VJ_BLOCK; j < width; j += parts * VJ_BLOCK) {
            const int columns = width - j < VJ_BLOCK ? width - j : VJ_BLOCK;
            memcpy(to, x + j, (size_t)columns * sizeof *to);
            to += columns;
        }
    return to;
}

/* Send each rank its columns of this rank's rows [first, first + rows[rank]). `send` and `receive` are buffers. */
static void deal(const vj_ranks *ranks, dealt *d, int64_t first, const int *rows, double *send, double *receive)
{
    const int parts = parts_of(ranks, d), mine = rows[ranks->rank];
    const double *x = d->x + first * d->width;
    int *send_count = ranks->numbers, *send_at = send_count + ranks->size, *count = send_at + ranks->size,
        *at = count + ranks->size, place = 0;
    d->own = vj_share(d->width, part_of(ranks, d, ranks->rank), parts);
    d->given = receive;
    if (parts > 1) {
        double *to = send;
        for (int part = 0; part < parts; part++) to = take_part(x, mine, d->width, part, parts, to);
    }
    for (int r = 0; r < ranks->size; r++) {
        const int part = part_of(ranks, d, r);
        send_count[r] = mine * vj_share(d->width, part, parts);
        send_at[r] = 0;
        for (int p = 0; p < part; p++) send_at[r] += mine * vj_share(d->width, p, parts);
        count[r] = rows[r] * d->own;
        at[r] = place;
        place += count[r];
    }
    MPI_Alltoallv(parts > 1 ? send : x, send_count, send_at, MPI_DOUBLE, receive, count, at, MPI_DOUBLE, ranks->comm);
}

/* C[row.., column..] += A^T B of this rank's columns [row, row_end) of A and [column, column_end) of B. */
static void multiply(vj_matrix *c, const dealt *a, const dealt *b, int depth, int row, int row_end, int column,
                     int column_end)
{
    const double whole = 1.0;
    const int rows = row_end - row, columns = column_end - column;
    if (rows <= 0 || columns <= 0 || depth == 0) return;
    dgemm_("N", "T", &rows, &columns, &depth, &whole, a->given + row, &a->own, b->given + column, &b->own, &whole,
           c->local + (int64_t)column * c->local_rows + row, &c->local_rows);
}

/* Return the first local row that is in the same block as a local column, or below. */
static int first_row_below(const vj_matrix *c, int column)
{
    const int block = vj_matrix_column(c, column) / VJ_BLOCK;
    int row = 0;
    while (row < c->local_rows && vj_matrix_row(c, row) / VJ_BLOCK < block) row += VJ_BLOCK;
    return row < c->local_rows ? row : c->local_rows;
}

/*
 * Compute the lower triangle, by whole blocks, of columns [column, column_end) and rows before row_end: the rectangle
 * below the first half of the columns in one product, then recursively the rest of each half.
 */
static void multiply_lower(vj_matrix *c, const dealt *a, const dealt *b, int depth, int column, int column_end,
                           int row_end)
{
    const int blocks = (column_end - column + VJ_BLOCK - 1) / VJ_BLOCK;
    if (blocks <= 1) {
        if (blocks == 1) multiply(c, a, b, depth, first_row_below(c, column), row_end, column, column_end);
        return;
    }
    const int middle = column + blocks / 2 * VJ_BLOCK, row = first_row_below(c, middle);
    multiply(c, a, b, depth, row, row_end, column, middle);
    multiply_lower(c, a, b, depth, column, middle, row);
    multiply_lower(c, a, b, depth, middle, column_end, row_end);
}

/* Make ranks->room large enough for `count` numbers. It is kept for later calls, what is in it is not. Collective. */
static vj_status make_room(vj_ranks *ranks, int64_t count)
{
    if (count < VJ_HUGE) count = VJ_HUGE;
    if (count > ranks->room_count) {
        free(ranks->room);
        ranks->room_count = count;
        ranks->room = vj_calloc(count, sizeof *ranks->room);
    }
    return vj_agree(ranks->comm,
                    ranks->room ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %lld numbers", (long long)count));
}

/* Make buffers for a piece of `rows` rows of each rank: to send, to receive A, to receive B. */
static vj_status make_buffers(vj_ranks *ranks, const dealt *a, const dealt *b, int rows, double *room[3])
{
    const int64_t all = (int64_t)rows * ranks->size;
    const int64_t sent = (int64_t)rows * (a->width > b->width ? a->width : b->width);
    const int64_t of_a = all * vj_share(a->width, ranks->row, ranks->rows);
    const int64_t of_b = all * vj_share(b->width, ranks->column, ranks->columns);
    VJ_TRY(make_room(ranks, sent + of_a + of_b));
    room[0] = ranks->room;
    room[1] = room[0] + sent;
    room[2] = room[1] + of_a;
    return VJ_OK;
}

/* C += A^T B for the rows of all ranks; with `lower` only the lower triangle of a symmetric product. */
static vj_status add_all(vj_matrix *c, const double *x, const double *y, int64_t count, bool lower)
{
    vj_ranks *ranks = c->ranks;
    dealt a = {.x = x, .width = c->rows, .by_row = true}, b = {.x = y, .width = c->columns};
    const int piece = ranks->size < PIECE_ROWS / VJ_BLOCK ? PIECE_ROWS / ranks->size : VJ_BLOCK;
    int *rows = ranks->numbers + 4 * ranks->size;
    double *room[3];
    int64_t largest = count;
    MPI_Allreduce(MPI_IN_PLACE, &largest, 1, MPI_INT64_T, MPI_MAX, ranks->comm);
    VJ_TRY(make_buffers(ranks, &a, &b, piece, room));
    for (int64_t first = 0; first < largest; first += piece) {
        const int64_t left = count - first;
        const int mine = left < 0 ? 0 : left < piece ? (int)left : piece;
        int depth = 0;
        MPI_Allgather(&mine, 1, MPI_INT, rows, 1, MPI_INT, ranks->comm);
        for (int r = 0; r < ranks->size; r++) depth += rows[r];
        deal(ranks, &a, first, rows, room[0], room[1]);
        if (lower && ranks->rows == 1) { /* this rank has the whole rows of all ranks */
            take_part(a.given, depth, a.width, ranks->column, ranks->columns, room[2]);
            b.own = c->local_columns;
            b.given = room[2];
        } else {
            deal(ranks, &b, first, rows, room[0], room[2]);
        }
        if (lower)
            multiply_lower(c, &a, &b, depth, 0, c->local_columns, c->local_rows);
        else
            multiply(c, &a, &b, depth, 0, c->local_rows, 0, c->local_columns);
    }
    return VJ_OK;
}

vj_status vj_matrix_add_gram(vj_matrix *c, const double *x, int64_t count)
{
    VJ_ASSERT(c->rows == c->columns);
    if (!c->own) return add_all(c, x, x, count, true);
    vj_sums_add(c->own, c->ranks->room, x, c->rows, NULL, c->columns, count);
    return VJ_OK;
}

vj_status vj_matrix_add_cross(vj_matrix *c, const double *x, const double *y, int64_t count)
{
    if (!c->own) return add_all(c, x, y, count, false);
    vj_sums_add(c->own, c->ranks->room, x, c->rows, y, c->columns, count);
    return VJ_OK;
}

int64_t vj_matrix_sums_bytes(const vj_matrix *c)
{
    return vj_sums_count(c->rows, c->columns) * (int64_t)sizeof *c->own;
}

vj_status vj_matrix_begin_sums(vj_matrix *c)
{
    const int64_t for_panels = vj_sums_room(c->rows, c->columns), for_columns = (int64_t)c->rows * SUMMED_TOGETHER;
    VJ_ASSERT(!c->own);
    VJ_TRY(make_room(c->ranks, for_panels > for_columns ? for_panels : for_columns));
    c->own = vj_calloc(vj_sums_count(c->rows, c->columns), sizeof *c->own);
    return vj_agree(c->ranks->comm, c->own ? VJ_OK
                                           : vj_raise(VJ_ERR_MEMORY, "no memory for sums, %d x %d numbers on each rank",
                                                      c->rows, c->columns));
}

void vj_matrix_end_sums(vj_matrix *c)
{
    if (!c->own) return;
    double *some = c->ranks->room; /* [SUMMED_TOGETHER, rows] columns, as ranks with other tiles have them too */
    for (int first = 0, j = 0; first < c->columns; first += SUMMED_TOGETHER) {
        const int end = first + SUMMED_TOGETHER < c->columns ? first + SUMMED_TOGETHER : c->columns;
        vj_sums_columns(some, c->own, c->rows, first, end - first);
        vj_ranks_sum(c->ranks, some, (int64_t)(end - first) * c->rows);
        for (; j < c->local_columns && vj_matrix_column(c, j) < end; j++)
            for (int i = 0; i < c->local_rows; i++)
                c->local[(int64_t)j * c->local_rows + i] +=
                    some[(int64_t)(vj_matrix_column(c, j) - first) * c->rows + vj_matrix_row(c, i)];
    }
    free(c->own);
    c->own = NULL;
}
