/* Forecasts the memory and operations of an evaluation before it begins. */
#include <math.h>

#include "evaluate/heads.h"
#include "evaluate/parts.h"
#include "evaluate/store.h"
#include "features/features.h"
#include "model/flops.h"

/* ------------------------------------------------------------------------------------------------ operations */

/* Return the operations of the forward passes of all encoders over `samples` samples in one view, counted as in
 * model/flops.h. */
static double encoders_flops(const vj_evaluation *e, int64_t samples)
{
    return (double)(samples * e->train.set.segments * e->frozen.count) * vj_encoder_flops(&e->frozen.encoder[0]->net);
}

/* Compare the operations of all probes with those of one, and fail if the ratio exceeds evaluate.sweep_flops. Folded
 * heads cost next to nothing, but a sweep of heads with blocks on the tokens can cost many times the encoder.
 * *training: operations of all epochs. */
static vj_status check_operations(const vj_evaluation *e, int64_t needed, double *training)
{
    const double bound = e->config->evaluate.sweep_flops;
    double heads = 0.0, largest = 0.0;
    const double encoders = encoders_flops(e, needed);
    for (int64_t i = 0; i < e->head_count; i++) {
        const double one = (double)e->split[e->head[i].split].learned * vj_eval_head_flops(e, &e->head[i]);
        heads += one;
        largest = fmax(largest, one);
    }
    /* With stored features the comparison is also with one online probe: when tokens come from disk, most of the
     * remaining work is in the probes, but that is little. */
    const double times = (encoders + heads) / (encoders + largest);
    *training = (double)(e->stored.copies > 0 ? e->stored.copies : e->epochs) * encoders + (double)e->epochs * heads;
    if (e->stored.copies > 0)
        vj_log("evaluate: features of %lld cop%s take %.1f MiB on disk, in %s/features%s; to encode a copy takes %.5g "
               "TFLOP, an epoch then %.5g in the probes",
               (long long)e->stored.copies, e->stored.copies == 1 ? "y" : "ies", vj_eval_store_bytes(e) / 1048576.0,
               e->dir, e->request->keep_features ? "" : " until the end", 1e-12 * encoders, 1e-12 * heads);
    else
        vj_log(
            "evaluate: an epoch takes %.5g TFLOP in the encoders and %.5g in the probes: %.2f times that of one probe",
            1e-12 * encoders, 1e-12 * heads, times);
    if (bound == 0.0 || times <= bound) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE,
                    "the %lld probes together cost %.1f times as much as one alone, more than evaluate.sweep_flops %g: "
                    "fewer of them (probe.pooling, evaluate.sweep_lr, evaluate.sweep_wd), or if that is wanted --set "
                    "evaluate.sweep_flops=%.0f",
                    (long long)e->head_count, times, bound, ceil(times));
}

/*
 * Set the operations of a rank for a sample that it encodes, `needed` of which there are in an epoch. Probes take them
 * in training forward and backward, in testing forward only, a third of that.
 */
static void count_sample(vj_evaluation *e, int64_t needed)
{
    const double ranks = e->tensor ? e->layout.tensor_size : 1, encoders = encoders_flops(e, 1) / ranks;
    const int views = vj_eval_test_views(e);
    e->progress.train_flops = e->stored.copies > 0 ? 0.0 : encoders;
    e->progress.test_flops = views * encoders;
    for (int64_t i = 0; i < e->head_count; i++) {
        const double one = vj_eval_head_flops(e, &e->head[i]);
        if (needed > 0) e->progress.train_flops += (double)e->split[e->head[i].split].learned / (double)needed * one;
        e->progress.test_flops += views * one / 3.0;
    }
}

/* Print how long training and measuring take if only matrix products took time. */
static void log_time(const vj_evaluation *e, double training)
{
    const vj_frozen *f = &e->frozen;
    char train[32], measure[32];
    const double measuring = encoders_flops(e, e->validation.set.count * vj_eval_test_views(e));
    const double flops_s = 1e9 * f->products.gflops * f->size;
    if (f->products.gflops <= 0.0) return; /* not timed */
    vj_log("evaluate: in products alone, to train takes about %s, to measure about %s",
           vj_duration(training / flops_s, train), vj_duration(measuring / flops_s, measure));
}

/* ------------------------------------------------------------------------------------------------ memory */

/* Bytes on this rank. */
typedef struct {
    int64_t encoders, heads, tokens, messages, clips, features, predictions, checkpoint, libraries;
} memory;

/* Memory that HDF5, MPI, OpenMP and the libraries for matrix products allocate in the course of a run, after each
 * library has been tried; measured: 9 to 28 MiB. */
enum { LIBRARIES = 32 << 20 };

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static memory predict(const vj_evaluation *e)
{
    const vj_config *c = e->config;
    const int64_t slots = larger(c->evaluate.batch, vj_eval_test_batch(e) * vj_eval_test_views(e));
    const vj_loader_bytes loader = vj_loader_bytes_of_items(e->train.clips, &e->train.views);
    memory m = {.encoders = vj_device_bytes(e->frozen.be),
                .tokens = 2 * slots * e->sample_floats * (int64_t)sizeof(float),
                .libraries = LIBRARIES};
    int64_t keyed = 0, mine = 0, labelled = e->validation.set.count;
    for (int i = 0; i < e->frozen.count; i++) keyed = larger(keyed, e->encoded.keyed[i]);
    for (int64_t i = 0; i < e->head_count; i++) {
        const vj_eval_head *h = &e->head[i];
        if (h->owner != e->rank) continue;
        mine++;
        /* A checkpoint copies one head at a time: weights and two moments. vj_head_bytes() is at least four such
         * arrays. */
        m.checkpoint = larger(m.checkpoint, vj_head_bytes(&h->shape) / 4 * 3);
    }
    m.heads = vj_eval_heads_bytes(e);
    /* Rows, their gradients and those of keys, on the device and in messages; probabilities. */
    m.messages = slots * keyed * (5 * e->key_floats + e->key_heads * e->tokens) * (int64_t)sizeof(float) +
                 3 * slots * e->size * mine / e->frozen.count * vj_eval_max_floats(e) * (int64_t)sizeof(float);
    m.predictions = mine * labelled * (int64_t)sizeof(vj_prediction);
    m.clips =
        (c->data.read_ahead + 1) * slots * e->train.set.segments * loader.sample + c->data.threads * loader.thread;
    /* While features are stored: normalised tokens, tokens on the host, and sums of products. Later: two buffers that
     * are read ahead. */
    const int64_t D = c->model.width, batch = c->evaluate.batch * e->sample_floats * (int64_t)sizeof(float);
    const int64_t stored = batch / (e->tokens / e->train.set.segments) * vj_eval_store_tokens(e);
    if (e->stored.copies > 0)
        m.features = larger(batch + stored, 2 * stored) +
                     e->frozen.count * D * D * (8 * vj_eval_store_sums(e) + 4 + 8) +
                     (vj_features_type_of(c->embed.dtype) == VJ_FEATURES_F32 ? 0 : stored / 2);
    return m;
}

static int64_t log_memory(const vj_evaluation *e)
{
    const double mib = 1048576.0;
    memory m = predict(e);
    MPI_Allreduce(MPI_IN_PLACE, &m, (int)(sizeof m / sizeof(int64_t)), MPI_INT64_T, MPI_MAX, e->comm);
    const int64_t all = m.encoders + m.heads + m.tokens + m.messages + m.clips + m.features + m.predictions +
                        m.checkpoint + m.libraries;
    vj_log(
        "memory of a rank, at most: %.0f MiB: encoders %.0f + probes %.0f + tokens %.0f + messages %.0f + clips read "
        "ahead %.0f + stored features %.0f + predictions %.0f + checkpoint %.0f + libraries %.0f; beside that "
        "MPI and the program as they started",
        (double)all / mib, (double)m.encoders / mib, (double)m.heads / mib, (double)m.tokens / mib,
        (double)m.messages / mib, (double)m.clips / mib, (double)m.features / mib, (double)m.predictions / mib,
        (double)m.checkpoint / mib, (double)m.libraries / mib);
    return all;
}

/* ------------------------------------------------------------------------------------------------ all */

vj_status vj_eval_forecast(vj_evaluation *e)
{
    const vj_config *c = e->config;
    int64_t needed = 0;
    double training = 0.0;
    vj_status status = VJ_OK;
    const char *more = e->size == 1 ? "" : "s";
    char ranks[64];
    snprintf(ranks, sizeof ranks, e->tensor ? "%d group%s of %d ranks" : "%d rank%s", e->size, more,
             e->layout.tensor_size);
    for (int64_t i = 0; !e->request->probes && i < e->train.set.count; i++) {
        int s = 0;
        while (s < e->split_count && !e->split[s].member[i]) s++;
        needed += s < e->split_count;
    }
    if (e->request->probes)
        vj_log("evaluate: %lld probes from files are measured on %lld samples of %d views, on %s",
               (long long)e->head_count, (long long)e->validation.set.count, vj_eval_test_views(e), ranks);
    else {
        vj_log("evaluate: %lld probes (tasks %d x poolings %d x shares %d x encoders %d x seeds %lld x heads of a "
               "sweep %d) on %s, %lld epoch%s",
               (long long)e->head_count, e->tasks.count, c->probe.pooling.count, c->probe.labels_count,
               e->encoders.count, (long long)c->probe.seeds, e->sweep, ranks, (long long)e->epochs,
               e->epochs == 1 ? "" : "s");
        vj_log("evaluate: %lld of %lld training samples are encoded in an epoch, and %lld samples of %d view%s to "
               "measure; a sample is %d segment%s, %lld tokens",
               (long long)needed, (long long)e->train.set.count, (long long)e->validation.set.count,
               vj_eval_test_views(e), vj_eval_test_views(e) == 1 ? "" : "s", e->train.set.segments,
               e->train.set.segments == 1 ? "" : "s", (long long)e->tokens);
        status = check_operations(e, needed, &training);
    }
    count_sample(e, needed);
    if (status == VJ_OK) log_time(e, training);
    e->memory.forecast_bytes = log_memory(e);
    return status;
}
