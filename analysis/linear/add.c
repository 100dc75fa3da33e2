/*
 * Sums of products over all rows, x^T x and x^T y, in one of two ways. If there is memory for it, each rank adds the
 * products of its own rows to a whole matrix of its own; these matrices are added once, at the end. Otherwise a rank
 * computes only its part of C, which has some rows I and columns J. It needs the columns I and J of the rows of all
 * ranks. They are sent to it piece by piece, and a piece is multiplied by the rank's own BLAS in one product, whose
 * depth is the number of rows of the piece. That is faster than pdsyrk, whose products are only as deep as a block.
 */
#include <stdlib.h>
#include <string.h>

#include "linear/inner.h"
#include "parallel/parallel.h"

/* Rows of all ranks together in a piece: deep enough for any BLAS, and small enough to be sent from the cache. */
enum { PIECE_ROWS = 2048 };

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

/* Make buffers for a piece of `rows` rows of each rank: to send, to receive A, to receive B. They are kept for later
 * calls. */
static vj_status make_room(vj_ranks *ranks, const dealt *a, const dealt *b, int rows, double *room[3])
{
    const int64_t all = (int64_t)rows * ranks->size;
    const int64_t sent = (int64_t)rows * (a->width > b->width ? a->width : b->width);
    const int64_t of_a = all * vj_share(a->width, ranks->row, ranks->rows);
    const int64_t of_b = all * vj_share(b->width, ranks->column, ranks->columns);
    if (sent + of_a + of_b > ranks->room_count) {
        free(ranks->room);
        ranks->room_count = sent + of_a + of_b;
        ranks->room = vj_calloc(ranks->room_count, sizeof *ranks->room);
    }
    room[0] = ranks->room;
    room[1] = room[0] + sent;
    room[2] = room[1] + of_a;
    return vj_agree(ranks->comm,
                    ranks->room ? VJ_OK
                                : vj_raise(VJ_ERR_MEMORY, "no memory for %lld numbers", (long long)ranks->room_count));
}

/* to [columns, rows] += x^T y for this rank's rows alone; if y is NULL, the lower triangle of x^T x. */
static void add_own(const vj_matrix *c, double *to, const double *x, const double *y, int64_t count)
{
    enum { PIECE = 1 << 14 }; /* BLAS counts in 32 bits */
    const double whole = 1.0;
    for (int64_t at = 0; at < count; at += PIECE) {
        const int rows = (int)(count - at < PIECE ? count - at : PIECE);
        if (y)
            dgemm_("N", "T", &c->rows, &c->columns, &rows, &whole, x + at * c->rows, &c->rows, y + at * c->columns,
                   &c->columns, &whole, to, &c->rows);
        else
            dsyrk_("L", "N", &c->rows, &rows, &whole, x + at * c->rows, &c->rows, &whole, to, &c->rows);
    }
}

/* C += A^T B for the rows of all ranks; with `lower` only the lower triangle of a symmetric product. */
static vj_status add_all(vj_matrix *c, const double *x, const double *y, int64_t count, bool lower)
{
    vj_ranks *ranks = c->ranks;
    dealt a = {.x = x, .width = c->rows, .by_row = true}, b = {.x = y, .width = c->columns};
    const int piece = ranks->size < PIECE_ROWS / VJ_BLOCK ? PIECE_ROWS / ranks->size : VJ_BLOCK;
    int *rows = ranks->numbers + 4 * ranks->size;
    double *room[3];
    int64_t most = count;
    MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_INT64_T, MPI_MAX, ranks->comm);
    VJ_TRY(make_room(ranks, &a, &b, piece, room));
    for (int64_t first = 0; first < most; first += piece) {
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
    if (!c->own && c->ranks->size > 1) return add_all(c, x, x, count, true);
    add_own(c, c->own ? c->own : c->local, x, NULL, count);
    return VJ_OK;
}

vj_status vj_matrix_add_cross(vj_matrix *c, const double *x, const double *y, int64_t count)
{
    if (!c->own && c->ranks->size > 1) return add_all(c, x, y, count, false);
    add_own(c, c->own ? c->own : c->local, x, y, count);
    return VJ_OK;
}

int64_t vj_matrix_sums_bytes(const vj_matrix *c)
{
    return c->ranks->size == 1 ? 0 : (int64_t)c->rows * c->columns * (int64_t)sizeof *c->own;
}

vj_status vj_matrix_begin_sums(vj_matrix *c)
{
    if (c->ranks->size == 1) return VJ_OK; /* its part is the whole matrix */
    VJ_ASSERT(!c->own);
    c->own = vj_calloc((int64_t)c->rows * c->columns, sizeof *c->own);
    return vj_agree(c->ranks->comm, c->own ? VJ_OK
                                           : vj_raise(VJ_ERR_MEMORY, "no memory for sums, %d x %d numbers on each rank",
                                                      c->rows, c->columns));
}

void vj_matrix_end_sums(vj_matrix *c)
{
    if (!c->own) return;
    vj_ranks_sum(c->ranks, c->own, (int64_t)c->rows * c->columns);
    for (int j = 0; j < c->local_columns; j++)
        for (int i = 0; i < c->local_rows; i++)
            c->local[(int64_t)j * c->local_rows + i] +=
                c->own[(int64_t)vj_matrix_column(c, j) * c->rows + vj_matrix_row(c, i)];
    free(c->own);
    c->own = NULL;
}
