/* Summing a gradient over the ranks: in one call, and in the pieces in which the trainer sends it. */
#include <stdlib.h>

#include "bench/inner.h"
#include "parallel/parallel.h"

enum { LEAST = 64 << 10, MOST = 64 << 20, PIECE = 4 << 20 }; /* bytes; the piece as in train/optimizer.c */

typedef struct {
    MPI_Comm comm;
    float *values;
    int64_t floats, piece;
} sum;

static vj_status reduce(void *user)
{
    const sum *s = user;
    for (int64_t at = 0; at < s->floats; at += s->piece) {
        const int64_t n = s->floats - at < s->piece ? s->floats - at : s->piece;
        MPI_Allreduce(MPI_IN_PLACE, s->values + at, (int)n, MPI_FLOAT, MPI_SUM, s->comm);
    }
    return VJ_OK;
}

static vj_status measure(vj_bench_work *work, sum *s, int64_t bytes, int64_t piece)
{
    static vj_samples samples;
    s->floats = bytes / (int64_t)sizeof *s->values;
    s->piece = piece / (int64_t)sizeof *s->values;
    VJ_TRY(vj_bench_time(work, reduce, s, &samples));
    const vj_timing time = vj_samples_timing(&samples);
    json_t *row = vj_put_row(work->report, "allreduce");
    vj_put_count(row, "bytes", bytes);
    vj_put_count(row, "piece_bytes", piece);
    vj_put_count(row, "repeats", samples.count);
    vj_put_timing(row, "time_s", time);
    vj_put_number(row, "gb_s", 1e-9 * (double)bytes / time.median);
    return VJ_OK;
}

vj_status vj_bench_allreduce(vj_bench_work *work)
{
    sum s = {.comm = work->comm, .values = vj_calloc(MOST, 1)}; /* zeros stay finite, however often they are summed */
    vj_status status = s.values ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no %d bytes to sum", MOST);
    status = vj_agree(work->comm, status);
    for (int64_t bytes = LEAST; status == VJ_OK && bytes <= MOST; bytes *= 4) {
        status = measure(work, &s, bytes, bytes);
        if (status == VJ_OK && bytes > PIECE) status = measure(work, &s, bytes, PIECE);
    }
    free(s.values);
    return status;
}
