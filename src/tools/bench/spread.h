/*
 * Repeated measurements and their spread. Every result of vjepa-bench has its minimum, median and maximum, because on a
 * shared machine a single timing says nothing.
 */
#ifndef VJ_BENCH_SPREAD_H
#define VJ_BENCH_SPREAD_H

#include "base/status.h"
#include "bench/timing.h"

/* Smallest and largest number of repetitions of a measurement. */
enum { VJ_FEWEST_REPEATS = 3, VJ_MAX_REPEATS = 1000 };

/* How often to repeat a measurement. */
typedef struct {
    int repeats;    /* exactly so many times; 0: until `seconds` are over */
    double seconds; /* then at least VJ_FEWEST_REPEATS and at most VJ_MAX_REPEATS times */
} vj_plan;

/** Make a plan from the texts of --repeats and --seconds (NULL: not given) and a default. VJ_ERR_USAGE if there would
 * be fewer than VJ_FEWEST_REPEATS repetitions.
 */
vj_status vj_plan_parse(vj_plan *plan, const char *repeats, const char *seconds, double default_seconds);

typedef struct {
    int count;
    double value[VJ_MAX_REPEATS];
} vj_measurements;

/** Return whether the plan needs another sample in addition to `samples`, which are in seconds. */
bool vj_plan_goes_on(const vj_plan *plan, const vj_measurements *samples);

/** Add a sample; at most VJ_MAX_REPEATS. */
void vj_measurements_add(vj_measurements *samples, double value);

/** Return minimum, median and maximum of at least one sample. The median of an even number of samples is the mean of
 * the middle two. */
vj_timing vj_measurements_timing(const vj_measurements *samples);

#endif
