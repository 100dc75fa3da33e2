/* Functions shared by the commands of vjepa-bench. Private to this folder. */
#ifndef VJ_BENCH_INNER_H
#define VJ_BENCH_INNER_H

#include "bench/bench.h"
#include "bench/peak.h"
#include "bench/report.h"
#include "kernels/kernels.h"
#include "model/network.h"

/* The processors' peak, all ranks together, measured before, between and after what it is compared with. */
typedef struct {
    bool watched;
    vj_peak best;
    vj_samples fp32; /* all measurements, GFLOP/s */
    double since_s;  /* measured since the last one */
} vj_bench_peaks;

/* A command at work. */
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

/** Add a sample, the largest of all ranks' `seconds`, so that all have the same samples; return it. Collective. */
double vj_bench_sample(const vj_bench_work *work, vj_samples *samples, double seconds);

/**
 * Behind a sample of `seconds`, the same on all ranks: measure the peak if it is time to (vj_bench_watch_peak()). True
 * if that emptied the caches for work so short that it shows: do it once without a sample. Collective.
 */
bool vj_bench_pause(const vj_bench_work *work, double seconds);

/**
 * Time body(user) by the plan, after a first call that is not timed; ranks begin together. Collective; a failure of one
 * rank is everybody's.
 */
vj_status vj_bench_time(const vj_bench_work *work, vj_status (*body)(void *user), void *user, vj_samples *samples);

enum { VJ_BENCH_FOLDER = VJ_PATH + 64 };

/** Make a folder of our own inside --dir; `folder` is its name on all ranks, or "" if that failed. Collective. */
vj_status vj_bench_folder(const vj_bench_work *work, char folder[VJ_BENCH_FOLDER]);

/** Remove a folder with all that is in it, when no rank uses it any more; none ("" or not there) is fine. Collective.
 */
void vj_bench_remove(const vj_bench_work *work, const char *folder);

/**
 * Measure the peak now, and from now on again after each half second of samples: on a machine that others use it is
 * never the same. Collective, as is vj_bench_peak().
 */
void vj_bench_watch_peak(const vj_bench_work *work);
/**
 * Measure it once more. The best of all, put into the report as fp32_peak_gflops and so on, with their spread and a
 * warning where they are far apart.
 */
vj_peak vj_bench_peak(const vj_bench_work *work);
/** Put fraction_of_peak into each row of the report's array `key`, from its gflops (a rank's) and precision. */
void vj_bench_put_fractions(const vj_bench_work *work, const char *key, const vj_peak *peak);

/** Device memory of n floats near +-0.1; NULL when there is none (reported). */
float *vj_bench_floats(vj_backend *be, int64_t n);

#endif
