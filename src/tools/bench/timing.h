/* Summary of repeated measurements (spread.h), in seconds or another unit, as reports show it (report.h). */
#ifndef VJ_BENCH_TIMING_H
#define VJ_BENCH_TIMING_H

typedef struct {
    double min, median, max;
} vj_timing;

#endif
