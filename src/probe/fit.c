/*
 * Trains and evaluates a probe: chooses the labelled clips of a share, trains on batches in a keyed order, and
 * evaluates the weights of the last epoch on the validation set. The validation set is not used before that.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "features/features.h"
#include "probe/probe.h"
#include "train/schedules.h"

/* A class's permutation is keyed apart from those of the epochs. */
#define SUBSET_KEY UINT64_C(0x100000000)

static int compare_numbers(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

vj_status vj_probe_subset(int64_t *chosen, int64_t *chosen_count, const int32_t *labels, int64_t count, int classes,
                          int64_t clips, double share, uint64_t seed)
{
    int64_t *members = vj_calloc(count + 1, sizeof *members), used = 0, labelled = 0;
    if (!members) return vj_raise(VJ_ERR_MEMORY, "no memory to choose among %lld clips", (long long)count);
    for (int64_t i = 0; i < count; i++) labelled += labels[i] >= 0;
    double part = share / 100.0 * (clips > 0 && clips < labelled ? (double)clips / (double)labelled : 1.0);
    for (int c = 0; c < classes; c++) {
        int64_t n = 0;
        for (int64_t i = 0; i < count; i++)
            if (labels[i] == c) members[n++] = i;
        int64_t keep = n ? (int64_t)fmax(1.0, rint(part * (double)n)) : 0;
        for (int64_t i = 0; i < keep; i++) chosen[used++] = members[vj_permute(seed, SUBSET_KEY + (uint64_t)c, n, i)];
    }
    qsort(chosen, (size_t)used, sizeof *chosen, compare_numbers);
    *chosen_count = used;
    free(members);
    return VJ_OK;
}

/* What a fit holds: the probe and one batch. */
typedef struct {
    vj_probe *probe;
    int64_t *chosen; /* [train count] the share */
    int64_t chosen_count;
    vj_backend *be;  /* borrowed */
    float *features; /* [batch, N, D], device */
    int32_t *labels; /* [batch] */
    float *logits;   /* [batch, classes] */
} vj_fit;

static vj_status gather(vj_fit *fit, const vj_probe_data *data, int64_t b, int64_t clip)
{
    int64_t N = data->tokens, D = data->D;
    float *x = vj_map(fit->be, fit->features + b * N * D, N * D * (int64_t)sizeof *x, VJ_MAP_WRITE);
    vj_status status = VJ_OK;
    fit->labels[b] = data->labels[clip];
    if (data->features)
        memcpy(x, data->features + clip * N * D, sizeof(float) * (size_t)(N * D));
    else
        status = vj_features_read_rows(data->store, clip, 1, x);
    for (int64_t n = 0; status == VJ_OK && data->mean && n < N; n++) {
        float mean = data->mean[clip * N + n], rstd = data->rstd[clip * N + n];
        for (int64_t i = 0; i < D; i++) x[n * D + i] = (x[n * D + i] - mean) * rstd;
    }
    vj_unmap(fit->be, x);
    return status;
}

int64_t vj_probe_epochs(const vj_config *config, double share)
{
    return config->probe.equal_updates ? llround((double)config->probe.epochs * 100.0 / share) : config->probe.epochs;
}

static vj_status learn(vj_fit *fit, const vj_config *config, const vj_probe_choice *choice, const vj_probe_data *train)
{
    int64_t n = fit->chosen_count, batch = choice->shape.batch, steps = (n + batch - 1) / batch, update = 0;
    const int64_t epochs = vj_probe_epochs(config, choice->share);
    vj_schedule schedule = vj_schedules_probe(config, epochs, steps);
    for (int64_t epoch = 0; epoch < epochs; epoch++)
        for (int64_t first = 0; first < n; first += batch) {
            int64_t B = n - first < batch ? n - first : batch;
            for (int64_t b = 0; b < B; b++)
                VJ_TRY(gather(fit, train, b, fit->chosen[vj_permute(choice->seed, (uint64_t)epoch, n, first + b)]));
            vj_probe_forward(fit->probe, fit->features, B);
            double loss = vj_probe_loss(fit->probe, fit->labels);
            if (!isfinite(loss))
                return vj_raise(VJ_ERR_STATE, "an %s probe's loss is %g after %lld updates: a lower probe.lr?",
                                vj_pooling_name(choice->shape.pooling), loss, (long long)update);
            vj_probe_backward(fit->probe, NULL);
            update++;
            vj_probe_update(fit->probe, update, vj_schedule_lr(&schedule, update),
                            vj_schedule_weight_decay(&schedule, update), config->probe.clip_grad);
        }
    return VJ_OK;
}

/* The class of the highest score; the lowest of equals. */
static int32_t guess(const float *logits, int classes)
{
    int best = 0;
    for (int c = 1; c < classes; c++)
        if (logits[c] > logits[best]) best = c;
    return best;
}

static vj_status measure(double *top1, vj_fit *fit, const vj_probe_choice *choice, const vj_probe_data *data)
{
    int64_t right = 0, seen = 0, B = 0;
    int classes = choice->shape.classes;
    for (int64_t clip = 0; clip < data->count; clip++) {
        if (data->labels[clip] >= 0) VJ_TRY(gather(fit, data, B++, clip));
        if (B == 0 || (B < choice->shape.batch && clip + 1 < data->count)) continue;
        vj_probe_forward(fit->probe, fit->features, B);
        vj_download(fit->be, fit->logits, vj_probe_logits(fit->probe), B * classes * (int64_t)sizeof *fit->logits);
        for (int64_t b = 0; b < B; b++) right += guess(fit->logits + b * classes, classes) == fit->labels[b];
        seen += B;
        B = 0;
    }
    if (seen == 0) return vj_raise(VJ_ERR_STATE, "no clip of the validation set has a label of this task");
    *top1 = 100.0 * (double)right / (double)seen;
    return VJ_OK;
}

static vj_status run(double *top1, vj_fit *fit, vj_backend *be, const vj_config *config, const vj_probe_choice *choice,
                     const vj_probe_data *train, const vj_probe_data *validation)
{
    int64_t values = choice->shape.batch * train->tokens * train->D;
    fit->chosen = vj_calloc(train->count + 1, sizeof *fit->chosen);
    fit->be = be;
    fit->logits = vj_calloc(choice->shape.batch * choice->shape.classes, sizeof *fit->logits);
    fit->labels = vj_calloc(choice->shape.batch, sizeof *fit->labels);
    if (!fit->chosen || !fit->logits || !fit->labels) return vj_raise(VJ_ERR_MEMORY, "no memory for a probe's batch");
    fit->features = vj_device_alloc(be, values * (int64_t)sizeof *fit->features);
    if (!fit->features) return VJ_ERR_MEMORY; /* reported by the device */
    VJ_TRY(vj_probe_create(&fit->probe, be, &choice->shape));
    VJ_TRY(vj_probe_subset(fit->chosen, &fit->chosen_count, train->labels, train->count, choice->shape.classes,
                           config->probe.clips, choice->share, choice->seed));
    if (fit->chosen_count == 0) return vj_raise(VJ_ERR_STATE, "no clip of the training set has a label of this task");
    VJ_TRY(vj_probe_init(fit->probe, choice->seed, config->probe.init_std));
    VJ_TRY(learn(fit, config, choice, train));
    VJ_TRY(measure(top1, fit, choice, validation));
    return vj_sync(be);
}

vj_status vj_probe_fit(double *top1, vj_backend *be, const vj_config *config, const vj_probe_choice *choice,
                       const vj_probe_data *train, const vj_probe_data *validation)
{
    VJ_ASSERT(train->tokens == choice->shape.tokens && validation->tokens == train->tokens);
    VJ_ASSERT(train->D == choice->shape.D && validation->D == train->D);
    vj_fit fit = {0};
    vj_status status = run(top1, &fit, be, config, choice, train, validation);
    vj_probe_destroy(fit.probe);
    free(fit.chosen);
    vj_device_free(be, fit.features);
    free(fit.logits);
    free(fit.labels);
    return status;
}
