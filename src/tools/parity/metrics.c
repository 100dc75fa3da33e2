/* Checks metrics.h5: ranks, accuracies and their uncertainty, from scores in double. */
#include "probe/metrics.h"

#include <string.h>

#include "parity/kinds.h"

static const double tolerance = 1e-10; /* for percentages computed by at most a hundred operations in double */

static double *take(vj_fixture *f, int64_t count)
{
    return vj_fixture_take(f, count * (int64_t)sizeof(double));
}

static void compare(vj_fixture *f, const char *dataset, const double *got, int64_t count)
{
    const vj_values *want = vj_fixture_array(f, "f64/%s", dataset);
    vj_fixture_compare(f, want ? want->name : dataset, got, count, want, vj_within(tolerance));
}

static void compare_ints(vj_fixture *f, const char *dataset, const int32_t *got, int64_t count)
{
    double *wide = take(f, count);
    for (int64_t i = 0; i < count; i++) wide[i] = got[i];
    compare(f, dataset, wide, count);
}

/* Check one classifier: ranks [n], predicted classes and results computed from them. */
static void check_one(vj_fixture *f, const int32_t *ranks, const double *scores, const int32_t *labels, int64_t n,
                      int classes)
{
    int32_t *predicted = vj_fixture_take(f, n * (int64_t)sizeof *predicted);
    int64_t *counts = vj_fixture_take(f, (int64_t)classes * classes * (int64_t)sizeof *counts);
    double *confusion = take(f, (int64_t)classes * classes), wilson[2];
    const double top1 = vj_metrics_top(ranks, n, 1), top5 = vj_metrics_top(ranks, n, 5);
    const double mean_class = vj_metrics_mean_class(ranks, labels, n, classes);
    for (int64_t i = 0; i < n; i++) predicted[i] = vj_metrics_first(scores + i * classes, classes);
    vj_metrics_confusion(counts, labels, predicted, n, classes);
    for (int64_t i = 0; i < (int64_t)classes * classes; i++) confusion[i] = (double)counts[i];
    vj_wilson_interval(top1 / 100.0, (double)n, &wilson[0], &wilson[1]);
    for (int i = 0; i < 2; i++) wilson[i] *= 100.0;
    compare_ints(f, "rank", ranks, n);
    compare(f, "top1", &top1, 1);
    compare(f, "top5", &top5, 1);
    compare(f, "mean_class", &mean_class, 1);
    compare(f, "confusion", confusion, (int64_t)classes * classes);
    compare(f, "wilson95", wilson, 2);
}

/* Check two classifiers on the same clips, with the resamples in the file. */
static vj_status check_pair(vj_fixture *f, const int32_t *rank_a, const int32_t *rank_b, int64_t n)
{
    const vj_values *resample = vj_fixture_array(f, "inputs/resample");
    uint8_t *a = vj_fixture_take(f, n), *b = vj_fixture_take(f, n);
    int32_t *surplus = vj_fixture_take(f, n * (int64_t)sizeof *surplus);
    int32_t *drawn = vj_fixture_take(f, n * (int64_t)sizeof *drawn);
    for (int64_t i = 0; i < n; i++) {
        a[i] = rank_a[i] == 0;
        b[i] = rank_b[i] == 0;
        surplus[i] = a[i] - b[i];
    }
    const vj_pair_counts counts = vj_metrics_pair(a, b, n);
    const double only[] = {(double)counts.only_a, (double)counts.only_b}, p = vj_mcnemar(counts.only_a, counts.only_b);
    compare(f, "mcnemar_counts", only, 2);
    compare(f, "mcnemar_p", &p, 1);
    if (!resample) return VJ_OK;
    const int64_t R = resample->count / n;
    const int32_t *pick = vj_fixture_int32s(f, resample);
    double *difference = take(f, R), interval[2];
    if (!vj_fixture_expect(f, resample, 2, (const int64_t[]){R > 0 ? R : 1, n})) return VJ_OK;
    for (int64_t i = 0; i < resample->count; i++)
        if (pick[i] < 0 || pick[i] >= n)
            return vj_raise(VJ_ERR_FORMAT, "%s: inputs/resample: found clip %d, expected 0 to %lld", f->path, pick[i],
                            (long long)n - 1);
    for (int64_t r = 0; r < R; r++) {
        memset(drawn, 0, (size_t)n * sizeof *drawn);
        for (int64_t i = 0; i < n; i++) drawn[pick[r * n + i]]++;
        difference[r] = vj_metrics_resampled(&(vj_resampled){.surplus = surplus, .runs = 1}, drawn, n);
    }
    compare(f, "bootstrap_difference", difference, R);
    vj_metrics_interval(&interval[0], &interval[1], difference, R);
    compare(f, "bootstrap_interval", interval, 2);
    return VJ_OK;
}

vj_status vj_parity_metrics(vj_fixture *f)
{
    const vj_values *a = vj_fixture_array(f, "inputs/logits"), *b = vj_fixture_array(f, "inputs/logits_b");
    const vj_values *labels = vj_fixture_array(f, "inputs/labels"), *runs = vj_fixture_array(f, "inputs/runs");
    if (!a || !b || !labels) return VJ_OK;
    const int64_t shape[] = {labels->count, a->ndim == 2 ? a->dim[1] : 1};
    if (!vj_fixture_expect(f, a, 2, shape) || !vj_fixture_expect(f, b, 2, shape)) return VJ_OK;
    const int64_t n = a->dim[0];
    const int classes = (int)a->dim[1];
    const int32_t *label = vj_fixture_int32s(f, labels);
    int32_t *rank_a = vj_fixture_take(f, n * (int64_t)sizeof *rank_a);
    int32_t *rank_b = vj_fixture_take(f, n * (int64_t)sizeof *rank_b);
    VJ_TRY(vj_metrics_ranks(rank_a, a->value, label, n, classes));
    VJ_TRY(vj_metrics_ranks(rank_b, b->value, label, n, classes));
    check_one(f, rank_a, a->value, label, n, classes);
    VJ_TRY(check_pair(f, rank_a, rank_b, n));
    if (runs && runs->count > 0) {
        const vj_runs_summary summary = vj_metrics_runs(runs->value, runs->count);
        const double got[] = {summary.mean, summary.sd, summary.half};
        compare(f, "runs", got, 3);
    }
    return VJ_OK;
}
