/*
 * Repeated measurements and their spread: no number leaves the bench without its minimum, median and maximum, since on
 * a shared machine one timing says nothing.
 */
#ifndef VJ_BENCH_SPREAD_H
#define VJ_BENCH_SPREAD_H

#include "base/status.h"
#include "bench/timing.h"

/** Fewest repetitions that make a spread, and most that one measurement takes. */
enum { VJ_FEWEST_REPEATS = 3, VJ_MOST_REPEATS = 1000 };

/* When a measurement has gone on for long enough. */
typedef struct {
    int repeats;    /* exactly so many, or 0: until `seconds` are over */
    double seconds; /* but VJ_FEWEST_REPEATS at least and VJ_MOST_REPEATS at most */
} vj_plan;

/** From the texts of --repeats and --seconds (NULL: not given) and a default. Refuses (VJ_ERR_USAGE) what makes no
 * spread.
 */
vj_status vj_plan_parse(vj_plan *plan, const char *repeats, const char *seconds, double default_seconds);

typedef struct {
    int count;
    double value[VJ_MOST_REPEATS];
} vj_samples;

/** True while the plan wants another sample, of those that were added so far (in seconds). */
bool vj_plan_goes_on(const vj_plan *plan, const vj_samples *samples);

/** At most VJ_MOST_REPEATS. */
void vj_samples_add(vj_samples *samples, double value);

/** The median of an even number is the mean of the middle two. There is at least one sample. */
vj_timing vj_samples_timing(const vj_samples *samples);

#endif
