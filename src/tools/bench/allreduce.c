/*
 * Measures summing a gradient over the ranks: by MPI in one call, by MPI in pieces, and by the two ways of the trainer:
 * the group (parallel/group.h) and, if the vector is in shared memory, parallel/gradient_sum.h. All sum the same bytes
 * in each round.
 */
#include <stdlib.h>

#include "bench/inner.h"
#include "parallel/gradient_sum.h"
#include "parallel/group.h"
#include "parallel/parallel.h"

enum { MIN_BYTES = 64 << 10, MAX_BYTES = 64 << 20 }; /* bytes */

typedef struct {
    MPI_Comm comm;
    vj_group *group;
    vj_gradient_sum *reduction; /* with its own vector of `floats` floats */
    float *values;
    int64_t floats, piece; /* piece: of parallel.bucket_mb */
} sum;

static void by_mpi(const sum *s, int64_t piece)
{
    for (int64_t at = 0; at < s->floats; at += piece) {
        const int64_t n = s->floats - at < piece ? s->floats - at : piece;
        MPI_Allreduce(MPI_IN_PLACE, s->values + at, (int)n, MPI_FLOAT, MPI_SUM, s->comm);
    }
}

static vj_status in_one_call(void *user)
{
    const sum *s = user;
    by_mpi(s, s->floats);
    return VJ_OK;
}

static vj_status in_pieces(void *user)
{
    const sum *s = user;
    by_mpi(s, s->piece);
    return VJ_OK;
}

static vj_status by_group(void *user)
{
    const sum *s = user;
    vj_group_allreduce(s->group, s->values, s->floats);
    return VJ_OK;
}

static vj_status by_reduction(void *user)
{
    const sum *s = user;
    vj_gradient_sum_end(s->reduction);
    return VJ_OK;
}

/* Measure one way, and add a row: who sums, how long it takes, bytes of the vector a second. */
static vj_status measure(vj_bench_work *work, sum *s, int64_t bytes, const char *by, vj_status (*body)(void *user))
{
    static vj_measurements samples;
    s->floats = bytes / (int64_t)sizeof *s->values;
    VJ_TRY(vj_bench_time(work, body, s, &samples));
    const vj_timing time = vj_measurements_timing(&samples);
    json_t *row = vj_put_row(work->report, "allreduce");
    vj_put_count(row, "bytes", bytes);
    vj_put_text(row, "by", by);
    vj_put_count(row, "repeats", samples.count);
    vj_put_timing(row, "time_s", time);
    vj_put_number(row, "gb_s", 1e-9 * (double)bytes / time.median);
    return VJ_OK;
}

static vj_status measure_all(vj_bench_work *work, sum *s)
{
    for (int64_t bytes = MIN_BYTES; bytes <= MAX_BYTES; bytes *= 4) {
        VJ_TRY(measure(work, s, bytes, "MPI in one call", in_one_call));
        VJ_TRY(measure(work, s, bytes, "MPI in pieces", in_pieces));
        VJ_TRY(measure(work, s, bytes, "group", by_group));
        const vj_gradient_sum_plan plan = {.alone = s->values,
                                           .n = bytes / (int64_t)sizeof(float),
                                           .bucket = s->piece,
                                           .threads = work->threads,
                                           .node = work->place.node};
        vj_status status = vj_agree(work->comm, vj_gradient_sum_open(&s->reduction, work->comm, &plan));
        if (status == VJ_OK) status = measure(work, s, bytes, "reduction", by_reduction);
        vj_gradient_sum_close(s->reduction);
        VJ_TRY(status);
    }
    return VJ_OK;
}

vj_status vj_bench_allreduce(vj_bench_work *work)
{
    sum s = {.comm = work->comm,
             .piece = work->config->parallel.bucket_mb << 18,
             .values = vj_calloc(MAX_BYTES, 1)}; /* zeros stay finite, however often they are summed */
    vj_status status = s.values ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no %d bytes to sum", MAX_BYTES);
    status = vj_agree(work->comm, status);
    if (status == VJ_OK) status = vj_agree(work->comm, vj_group_open(&s.group, work->comm, work->place.node));
    if (status == VJ_OK) {
        vj_group_set_threads(s.group, work->threads);
        status = measure_all(work, &s);
    }
    vj_group_close(s.group);
    free(s.values);
    return status;
}
