/*
 * Trains a probe on batches of the chosen clips in a keyed order, and evaluates the weights of the last epoch on the
 * validation set, which is not used before.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "features/features.h"
#include "probe/probe.h"
#include "train/schedules.h"

/* What a fit holds: the probe and one batch. */
typedef struct {
    vj_probe *probe;
    vj_backend *be;  /* borrowed */
    float *features; /* [batch, N, D], device */
    int32_t *labels; /* [batch] */
    int64_t *clip;   /* [batch] their rows in the data */
    float *logits;   /* [batch, classes] */
    double *memory;  /* [3, classes] */
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

/* Report a loss that is not finite: either the features are not, or the weights have grown without bound. */
static vj_status refuse_loss(vj_fit *fit, const vj_probe_choice *choice, const vj_probe_data *data, const int64_t *clip,
                             int64_t B, double loss, int64_t update)
{
    const int64_t values = data->tokens * data->D;
    for (int64_t b = 0; b < B; b++) {
        float *x = vj_map(fit->be, fit->features + b * values, values * (int64_t)sizeof *x, VJ_MAP_READ);
        int64_t i = 0;
        while (i < values && isfinite(x[i])) i++;
        vj_unmap(fit->be, x);
        if (i < values)
            return vj_raise(VJ_ERR_FORMAT, "row %lld of the training features, of clip %lld, is not all numbers",
                            (long long)clip[b], (long long)(data->clips ? data->clips[clip[b]] : clip[b]));
    }
    return vj_raise(VJ_ERR_STATE, "an %s probe's loss is %g after %lld updates: a lower probe.lr?",
                    vj_pooling_name(choice->shape.pooling), loss, (long long)update);
}

static vj_status learn(vj_fit *fit, const vj_config *config, const vj_probe_choice *choice, const vj_probe_data *train)
{
    int64_t n = choice->chosen_count, batch = choice->shape.batch, steps = (n + batch - 1) / batch, update = 0;
    const int64_t epochs = vj_probe_epochs(config, choice->share);
    vj_schedule schedule = vj_schedules_probe(config, epochs, steps);
    for (int64_t epoch = 0; epoch < epochs; epoch++)
        for (int64_t first = 0; first < n; first += batch) {
            int64_t B = n - first < batch ? n - first : batch;
            for (int64_t b = 0; b < B; b++) {
                fit->clip[b] = choice->chosen[vj_permute(choice->seed, (uint64_t)epoch, n, first + b)];
                VJ_TRY(gather(fit, train, b, fit->clip[b]));
            }
            vj_probe_forward(fit->probe, fit->features, B);
            double loss = vj_probe_loss(fit->probe, fit->labels);
            if (!isfinite(loss)) return refuse_loss(fit, choice, train, fit->clip, B, loss, update);
            vj_probe_backward(fit->probe, NULL);
            update++;
            vj_probe_update(fit->probe, update, vj_schedule_lr(&schedule, update),
                            vj_schedule_weight_decay(&schedule, update), config->probe.clip_grad);
            if (choice->progress) choice->progress(choice->listener, (double)update / (double)(epochs * steps));
        }
    return VJ_OK;
}

/* Make predictions for the last batch, the clips `clip` [B] of `data`. */
static vj_status predict(vj_prediction *rows, vj_fit *fit, const int64_t *clip, int64_t B, const vj_probe_data *data,
                         int classes)
{
    double *scores = fit->memory + 2 * classes;
    vj_download(fit->be, fit->logits, vj_probe_logits(fit->probe), B * classes * (int64_t)sizeof *fit->logits);
    for (int64_t b = 0; b < B; b++) {
        rows[b] = (vj_prediction){.clip = data->clips ? data->clips[clip[b]] : clip[b],
                                  .content = data->contents ? data->contents[clip[b]] : 0,
                                  .label = fit->labels[b]};
        for (int c = 0; c < classes; c++) scores[c] = fit->logits[b * classes + c];
        VJ_TRY(vj_predict(&rows[b], fit->memory, scores, 1, classes));
    }
    return VJ_OK;
}

/* Write a prediction of each labelled clip to rows [validation count]; *seen gets their number. */
static vj_status measure(vj_prediction *rows, int64_t *clip, int64_t *seen, vj_fit *fit, const vj_probe_choice *choice,
                         const vj_probe_data *data)
{
    int64_t B = 0;
    for (int64_t i = 0; i < data->count; i++) {
        if (data->labels[i] >= 0) {
            clip[B] = i;
            VJ_TRY(gather(fit, data, B++, i));
        }
        if (B == 0 || (B < choice->shape.batch && i + 1 < data->count)) continue;
        vj_probe_forward(fit->probe, fit->features, B);
        VJ_TRY(predict(rows + *seen, fit, clip, B, data, choice->shape.classes));
        *seen += B;
        B = 0;
    }
    if (*seen == 0) return vj_raise(VJ_ERR_STATE, "no clip of the validation set has a label of this task");
    return VJ_OK;
}

static vj_status digest_probe(uint64_t *digest, vj_fit *fit)
{
    *digest = 0;
    for (int i = 0; i < vj_probe_tensor_count(fit->probe); i++) {
        const vj_probe_tensor *t = vj_probe_tensor_at(fit->probe, i);
        const int64_t count = t->rows * t->cols;
        float *weight = vj_calloc(count, sizeof *weight);
        if (!weight) return vj_raise(VJ_ERR_MEMORY, "no memory for the digest of %s", t->name);
        vj_download(fit->be, weight, t->weight, count * (int64_t)sizeof *weight);
        *digest = vj_probe_digest_add(*digest, t->name, weight, count);
        free(weight);
    }
    return VJ_OK;
}

static vj_status evaluate(vj_probe_result *result, vj_prediction **rows, vj_fit *fit, const vj_config *config,
                          const vj_probe_choice *choice, const vj_probe_data *data)
{
    vj_prediction *all = vj_calloc(data->count + 1, sizeof *all);
    int64_t *clip = vj_calloc(choice->shape.batch, sizeof *clip), seen = 0;
    vj_status status = all && clip ? measure(all, clip, &seen, fit, choice, data)
                                   : vj_raise(VJ_ERR_MEMORY, "no memory for %lld predictions", (long long)data->count);
    if (status == VJ_OK)
        status = vj_predictions_accuracies(&result->accuracies, config, all, seen, choice->shape.classes);
    if (status == VJ_OK) status = digest_probe(&result->digest, fit);
    result->counted = seen;
    free(clip);
    if (status == VJ_OK && rows)
        *rows = all;
    else
        free(all);
    return status;
}

static vj_status run(vj_probe_result *result, vj_prediction **rows, vj_fit *fit, vj_backend *be,
                     const vj_config *config, const vj_probe_choice *choice, const vj_probe_data *train,
                     const vj_probe_data *validation)
{
    int64_t values = choice->shape.batch * train->tokens * train->D;
    fit->be = be;
    fit->logits = vj_calloc(choice->shape.batch * choice->shape.classes, sizeof *fit->logits);
    fit->labels = vj_calloc(choice->shape.batch, sizeof *fit->labels);
    fit->memory = vj_calloc(3 * choice->shape.classes, sizeof *fit->memory);
    fit->clip = vj_calloc(choice->shape.batch, sizeof *fit->clip);
    if (!fit->logits || !fit->labels || !fit->memory || !fit->clip)
        return vj_raise(VJ_ERR_MEMORY, "no memory for a probe's batch");
    fit->features = vj_device_alloc(be, values * (int64_t)sizeof *fit->features);
    if (!fit->features) return VJ_ERR_MEMORY; /* reported by the device */
    VJ_TRY(vj_probe_create(&fit->probe, be, &choice->shape));
    if (choice->chosen_count == 0)
        return vj_raise(VJ_ERR_STATE, "no clip of the training set has a label of this task");
    VJ_TRY(vj_probe_init(fit->probe, choice->seed, config->probe.init_std));
    VJ_TRY(learn(fit, config, choice, train));
    VJ_TRY(evaluate(result, rows, fit, config, choice, validation));
    return vj_sync(be);
}

vj_status vj_probe_fit(vj_probe_result *result, vj_prediction **rows, vj_backend *be, const vj_config *config,
                       const vj_probe_choice *choice, const vj_probe_data *train, const vj_probe_data *validation)
{
    VJ_ASSERT(train->tokens == choice->shape.tokens && validation->tokens == train->tokens);
    VJ_ASSERT(train->D == choice->shape.D && validation->D == train->D);
    vj_fit fit = {0};
    if (rows) *rows = NULL;
    vj_status status = run(result, rows, &fit, be, config, choice, train, validation);
    vj_probe_destroy(fit.probe);
    vj_device_free(be, fit.features);
    free(fit.logits);
    free(fit.labels);
    free(fit.clip);
    free(fit.memory);
    return status;
}
