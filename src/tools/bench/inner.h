/* Functions shared by the commands of vjepa-bench. Private to this folder. */
#ifndef VJ_BENCH_INNER_H
#define VJ_BENCH_INNER_H

#include "bench/bench.h"
#include "bench/peak.h"
#include "bench/report.h"
#include "kernels/kernels.h"
#include "model/network.h"

/* The peak of the processors, all ranks together. It is measured before, between and after the samples that are
 * compared with it. */
typedef struct {
    bool watched;
    vj_peak best;
    vj_measurements fp32; /* all measurements, GFLOP/s */
    double since_s;       /* seconds of samples since the peak was last measured */
} vj_bench_peaks;

/* The state of a running command. */
typedef struct {
    const vj_bench *bench;   /* borrowed */
    const vj_config *config; /* borrowed */
    MPI_Comm comm;
    int rank, size;
    int threads; /* of this rank */
    vj_place place;
    vj_plan plan;
    json_t *report;
    vj_bench_peaks *peaks; /* owned by vj_bench_run() */
} vj_bench_work;

vj_status vj_bench_gemm(vj_bench_work *work);
vj_status vj_bench_attention(vj_bench_work *work);
vj_status vj_bench_elementwise(vj_bench_work *work);
vj_status vj_bench_step(vj_bench_work *work);
vj_status vj_bench_load(vj_bench_work *work);
vj_status vj_bench_pack(vj_bench_work *work);
vj_status vj_bench_checkpoint(vj_bench_work *work);
vj_status vj_bench_allreduce(vj_bench_work *work);

/** Add the largest `seconds` of all ranks as a sample, so that all ranks have the same samples, and return it.
 * Collective. */
double vj_bench_sample(const vj_bench_work *work, vj_measurements *samples, double seconds);

/**
 * Call it after a sample of `seconds`, which must be the same on all ranks. Measures the peak again if it is due
 * (vj_bench_watch_peak()). Returns true if that evicted the caches and the work is so short that the next sample would
 * be slower; the caller must then do the work once without taking a sample. Collective.
 */
bool vj_bench_pause(const vj_bench_work *work, double seconds);

/**
 * Time body(user) as often as the plan requires, after a first call that is not timed. All ranks begin each call
 * together. If one rank fails, all fail. Collective.
 */
vj_status vj_bench_time(const vj_bench_work *work, vj_status (*body)(void *user), void *user, vj_measurements *samples);

enum { VJ_BENCH_FOLDER = VJ_PATH + 64 };

/** Create a new folder inside --dir. `folder` is its path on all ranks, or "" if that failed. Collective. */
vj_status vj_bench_folder(const vj_bench_work *work, char folder[VJ_BENCH_FOLDER]);

/** Remove a folder and its contents once all ranks have called this. Does nothing if `folder` is "" or does not exist.
 * Collective. */
void vj_bench_remove(const vj_bench_work *work, const char *folder);

/**
 * Measure the peak now, and again after each half second of samples, because on a shared machine it changes all the
 * time. Collective, as is vj_bench_peak().
 */
void vj_bench_watch_peak(const vj_bench_work *work);
/**
 * Measure the peak once more, and return the best of all measurements. Puts it into the report as fp32_peak_gflops and
 * so on, with the spread, and with a warning if the median is far below the best.
 */
vj_peak vj_bench_peak(const vj_bench_work *work);
/** Add fraction_of_peak to each row of the report's array `key`, computed from its gflops (of one rank) and precision.
 */
void vj_bench_put_fractions(const vj_bench_work *work, const char *key, const vj_peak *peak);

/** Return device memory with n random floats of standard deviation 0.1; NULL if there is no memory (reported). */
float *vj_bench_floats(vj_backend *be, int64_t n);

#endif
