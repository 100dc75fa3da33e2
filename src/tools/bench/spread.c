/* How many samples to take, and their summary. */
#include "bench/spread.h"

#include <math.h>
#include <stdlib.h>

static vj_status parse_number(const char *name, const char *text, double *value)
{
    char *end;
    *value = strtod(text, &end);
    if (*text && !*end && isfinite(*value) && *value > 0) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE, "%s %s: it takes a number above 0", name, text);
}

vj_status vj_plan_parse(vj_plan *plan, const char *repeats, const char *seconds, double default_seconds)
{
    double number = 0;
    *plan = (vj_plan){.seconds = default_seconds};
    if (repeats && seconds) return vj_raise(VJ_ERR_USAGE, "--repeats and --seconds: give one of them");
    if (seconds) return parse_number("--seconds", seconds, &plan->seconds);
    if (!repeats) return VJ_OK;
    VJ_TRY(parse_number("--repeats", repeats, &number));
    if (number != floor(number) || number > VJ_MOST_REPEATS)
        return vj_raise(VJ_ERR_USAGE, "--repeats %s: it takes a whole number from %d to %d", repeats, VJ_FEWEST_REPEATS,
                        VJ_MOST_REPEATS);
    if (number < VJ_FEWEST_REPEATS)
        return vj_raise(VJ_ERR_USAGE,
                        "--repeats %s: fewer than %d timings have no spread, and a time without its spread cannot be "
                        "told from the machine's noise",
                        repeats, VJ_FEWEST_REPEATS);
    plan->repeats = (int)number;
    return VJ_OK;
}

bool vj_plan_goes_on(const vj_plan *plan, const vj_measurements *samples)
{
    double sum = 0;
    if (plan->repeats > 0) return samples->count < plan->repeats;
    for (int i = 0; i < samples->count; i++) sum += samples->value[i];
    return samples->count < VJ_FEWEST_REPEATS || (samples->count < VJ_MOST_REPEATS && sum < plan->seconds);
}

void vj_measurements_add(vj_measurements *samples, double value)
{
    VJ_ASSERT(samples->count < VJ_MOST_REPEATS);
    samples->value[samples->count++] = value;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

vj_timing vj_measurements_timing(const vj_measurements *samples)
{
    vj_measurements sorted = *samples;
    const int n = sorted.count;
    VJ_ASSERT(n > 0);
    qsort(sorted.value, (size_t)n, sizeof *sorted.value, ascending);
    return (vj_timing){.min = sorted.value[0],
                       .median = 0.5 * (sorted.value[(n - 1) / 2] + sorted.value[n / 2]),
                       .max = sorted.value[n - 1]};
}
