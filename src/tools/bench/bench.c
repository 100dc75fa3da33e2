/* The table of commands, and the functions that they share. */
#include "bench/bench.h"

#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/program.h"
#include "base/rng.h"
#include "bench/inner.h"
#include "parallel/parallel.h"

/* Seconds of samples between two measurements of the peak; smallest median / best of the peak on a quiet machine. */
#define BETWEEN_PEAKS 0.5
#define STEADY        0.9

static const struct {
    const char *name;
    vj_status (*run)(vj_bench_work *work);
    bool needs_config;
    double seconds; /* of one measurement */
} commands[] = {
    {"gemm", vj_bench_gemm, false, 0.1},
    {"attention", vj_bench_attention, false, 0.25},
    {"elementwise", vj_bench_elementwise, false, 0.1},
    {"step", vj_bench_step, true, 10.0},
    {"load", vj_bench_load, true, 3.0},
    {"pack", vj_bench_pack, true, 10.0},
    {"checkpoint", vj_bench_checkpoint, true, 3.0},
    {"allreduce", vj_bench_allreduce, false, 0.25},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

const char *const vj_bench_commands[] = {"gemm", "attention",  "elementwise", "step", "load",
                                         "pack", "checkpoint", "allreduce",   NULL};

/* Check that the request is possible; rank 0 reports for all. */
static vj_status prepare(vj_bench_work *work, int which)
{
    if (commands[which].needs_config && !work->bench->config_path)
        return vj_raise(VJ_ERR_USAGE, "vjepa-bench %s needs a CONFIG.yaml", commands[which].name);
    return vj_plan_parse(&work->plan, work->bench->repeats, work->bench->seconds, commands[which].seconds);
}

vj_status vj_bench_run(const vj_bench *bench, const char *command, json_t *report)
{
    static vj_bench_peaks peaks;
    peaks = (vj_bench_peaks){0};
    vj_bench_work work = {
        .bench = bench, .config = bench->config, .comm = bench->comm, .report = report, .peaks = &peaks};
    int which = 0;
    MPI_Comm_rank(work.comm, &work.rank);
    MPI_Comm_size(work.comm, &work.size);
    work.place = vj_place_of(work.comm);
    work.threads = work.place.threads;
    while (which < COMMANDS && strcmp(commands[which].name, command) != 0) which++;
    VJ_ASSERT(which < COMMANDS);
    VJ_TRY(vj_agree(work.comm, work.rank == 0 ? prepare(&work, which) : VJ_OK));
    MPI_Bcast(&work.plan, (int)sizeof work.plan, MPI_BYTE, 0, work.comm);

    struct utsname machine;
    vj_put_text(report, "bench", command);
    vj_put_text(report, "version", vj_version());
    vj_put_text(report, "host", uname(&machine) == 0 ? machine.nodename : "unknown");
    vj_put_text(report, "config", bench->config_path ? bench->config_path : "defaults");
    vj_put_count(report, "ranks", work.size);
    vj_put_count(report, "nodes", work.place.nodes);
    vj_put_count(report, "threads", work.threads);
    return commands[which].run(&work);
}

static void measure_peak(const vj_bench_work *work)
{
    vj_bench_peaks *p = work->peaks;
    MPI_Barrier(work->comm);
    vj_peak now = vj_measure_peak(work->threads);
    double sums[3] = {now.fp32_gflops, now.bf16_gflops, now.bf16_vector_gflops};
    vj_sum_doubles(work->comm, sums, 3);
    p->best.fp32_gflops = fmax(p->best.fp32_gflops, sums[0]);
    p->best.bf16_gflops = fmax(p->best.bf16_gflops, sums[1]);
    p->best.bf16_vector_gflops = fmax(p->best.bf16_vector_gflops, sums[2]);
    p->best.bf16_name = now.bf16_name;
    if (p->fp32.count < VJ_MAX_REPEATS) vj_measurements_add(&p->fp32, sums[0]);
    p->since_s = 0;
}

static void put_peak(const vj_bench_work *work)
{
    const vj_peak *best = &work->peaks->best;
    vj_put_number(work->report, "fp32_peak_gflops", best->fp32_gflops);
    vj_put_number(work->report, "bf16_peak_gflops", best->bf16_gflops);
    vj_put_text(work->report, "bf16_instruction", best->bf16_name);
}

void vj_bench_watch_peak(const vj_bench_work *work)
{
    work->peaks->watched = true;
    measure_peak(work);
    put_peak(work);
}

vj_peak vj_bench_peak(const vj_bench_work *work)
{
    char text[160];
    measure_peak(work);
    put_peak(work);
    const vj_timing spread = vj_measurements_timing(&work->peaks->fp32);
    snprintf(text, sizeof text, "%.4g / %.4g / %.4g in %d measurements", spread.min, spread.median, spread.max,
             work->peaks->fp32.count);
    vj_put_text(work->report, "fp32_peak_spread", text);
    if (spread.median < STEADY * spread.max)
        vj_put_text(work->report, "warning",
                    "the peak was mostly far below its best: something else uses the machine, and what was measured "
                    "suffers from it too");
    return work->peaks->best;
}

void vj_bench_put_fractions(const vj_bench_work *work, const char *key, const vj_peak *peak)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(work->report, key), i, row)
    {
        const char *precision = json_string_value(json_object_get(row, "precision"));
        const double top = precision && strcmp(precision, "bf16") == 0 ? peak->bf16_gflops : peak->fp32_gflops;
        vj_put_number(row, "fraction_of_peak", json_number_value(json_object_get(row, "gflops")) * work->size / top);
    }
}

double vj_bench_sample(const vj_bench_work *work, vj_measurements *samples, double seconds)
{
    MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, work->comm);
    vj_measurements_add(samples, seconds);
    return seconds;
}

bool vj_bench_pause(const vj_bench_work *work, double seconds)
{
    vj_bench_peaks *p = work->peaks;
    p->since_s += seconds;
    if (!p->watched || p->since_s <= BETWEEN_PEAKS) return false;
    measure_peak(work);
    return seconds < BETWEEN_PEAKS;
}

vj_status vj_bench_time(const vj_bench_work *work, vj_status (*body)(void *user), void *user, vj_measurements *samples)
{
    *samples = (vj_measurements){0};
    VJ_TRY(vj_agree(work->comm, body(user)));
    while (vj_plan_goes_on(&work->plan, samples)) {
        MPI_Barrier(work->comm);
        const double begin = vj_now();
        const vj_status status = body(user);
        const double seconds = vj_now() - begin;
        VJ_TRY(vj_agree(work->comm, status));
        if (vj_bench_pause(work, vj_bench_sample(work, samples, seconds))) VJ_TRY(vj_agree(work->comm, body(user)));
    }
    return VJ_OK;
}

vj_status vj_bench_folder(const vj_bench_work *work, char folder[VJ_BENCH_FOLDER])
{
    vj_status status = VJ_OK;
    const int length = snprintf(folder, VJ_BENCH_FOLDER, "%s/vjepa-bench-XXXXXX", work->bench->dir);
    if (length >= VJ_BENCH_FOLDER)
        status = vj_raise(VJ_ERR_USAGE, "path too long: %s", work->bench->dir);
    else if (work->rank == 0 && !mkdtemp(folder))
        status = vj_raise(VJ_ERR_IO, "make a folder in %s (--dir)", work->bench->dir);
    status = vj_agree(work->comm, status);
    if (status != VJ_OK) folder[0] = '\0';
    MPI_Bcast(folder, VJ_BENCH_FOLDER, MPI_CHAR, 0, work->comm);
    return status;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *place)
{
    (void)st, (void)type, (void)place;
    return remove(path);
}

void vj_bench_remove(const vj_bench_work *work, const char *folder)
{
    enum { DESCRIPTORS = 16 };
    if (!*folder) return;
    MPI_Barrier(work->comm);
    if (work->rank != 0 || access(folder, F_OK) != 0) return;
    if (nftw(folder, remove_entry, DESCRIPTORS, FTW_DEPTH | FTW_PHYS) != 0)
        vj_warn("cannot remove %s: %s", folder, strerror(errno));
}

float *vj_bench_floats(vj_backend *be, int64_t n)
{
    enum { PERIOD = 1 << 16 }; /* drawing each number anew would take longer than the measurements */
    float *device = vj_device_alloc(be, n * (int64_t)sizeof *device), *host = vj_calloc(PERIOD, sizeof *host);
    if (device && host) {
        vj_rng rng;
        vj_rng_init(&rng, 1, VJ_RNG_TEST, 0);
        for (int64_t i = 0; i < PERIOD; i++) host[i] = (float)(0.1 * vj_rng_normal(&rng));
        for (int64_t at = 0; at < n; at += PERIOD)
            vj_upload(be, device + at, host, (n - at < PERIOD ? n - at : PERIOD) * (int64_t)sizeof *host);
    } else if (device) {
        vj_device_free(be, device);
        device = NULL;
        vj_raise(VJ_ERR_MEMORY, "no memory for random numbers");
    }
    free(host);
    return device;
}
