/* How many samples to take, and their summary. */
#include "bench/spread.h"

#include "base/number.h"
#include "base/sort.h"

vj_status vj_plan_parse(vj_plan *plan, const char *repeats, const char *seconds, double default_seconds)
{
    int64_t number = 0;
    *plan = (vj_plan){.seconds = default_seconds};
    if (repeats && seconds) return vj_raise(VJ_ERR_USAGE, "--repeats and --seconds: give one of them");
    if (seconds) return vj_option_positive("--seconds", seconds, &plan->seconds);
    if (!repeats) return VJ_OK;
    VJ_TRY(vj_option_number("--repeats", repeats, 1, VJ_MAX_REPEATS, &number));
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
    return samples->count < VJ_FEWEST_REPEATS || (samples->count < VJ_MAX_REPEATS && sum < plan->seconds);
}

void vj_measurements_add(vj_measurements *samples, double value)
{
    VJ_ASSERT(samples->count < VJ_MAX_REPEATS);
    samples->value[samples->count++] = value;
}

vj_timing vj_measurements_timing(const vj_measurements *samples)
{
    vj_measurements sorted = *samples;
    const int n = sorted.count;
    VJ_ASSERT(n > 0);
    vj_sort_doubles(sorted.value, n);
    return (vj_timing){.min = sorted.value[0], .median = vj_sorted_median(sorted.value, n), .max = sorted.value[n - 1]};
}
