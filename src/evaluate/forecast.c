/* What an evaluation will cost: memory and operations, before it begins. */
#include <math.h>

#include "evaluate/parts.h"

/* ------------------------------------------------------------------------------------------------ operations */

/* Of an encoder's forward pass over one sample, 2 a multiply-add, products only, as model/flops.h counts them. */
static double encoder_flops(const vj_evaluation *e)
{
    const vj_network *net = &e->frozen.encoder[0]->net;
    const double D = net->encoder.width, H = net->encoder.hidden, n = (double)net->tokens;
    const double clip =
        2.0 * n * (double)net->patch_values * D + net->encoder.depth * n * (8.0 * D * D + 4.0 * D * H + 4.0 * n * D);
    return clip * e->train.set.segments;
}

/* Of a head, forward and backward, for one sample: pooling (scores and weighted sum, and twice that backward), values,
 * MLP, blocks on the query, class layer. */
static double head_flops(const vj_evaluation *e, const vj_eval_head *h)
{
    const double D = h->shape.D, N = (double)e->tokens, classes = h->shape.classes;
    if (h->shape.pooling == VJ_POOL_AVERAGE) return N * D + 6.0 * D * classes;
    return 12.0 * N * D * h->shape.heads + 6.0 * ((10.0 + 12.0 * (h->shape.depth - 1)) * D * D + D * classes);
}

static void say_operations(const vj_evaluation *e, int64_t needed)
{
    double heads = 0.0, most = 0.0;
    const double encoders = (double)needed * encoder_flops(e) * e->frozen.count;
    for (int64_t i = 0; i < e->head_count; i++) {
        const double one = (double)e->split[e->head[i].split].learned * head_flops(e, &e->head[i]);
        heads += one;
        most = fmax(most, one);
    }
    vj_log("evaluate: an epoch takes %.3g TFLOP in the encoders and %.3g in the probes: %.2f times that of one probe",
           1e-12 * encoders, 1e-12 * heads, (encoders + heads) / (encoders + most));
}

/* ------------------------------------------------------------------------------------------------ memory */

/* Bytes on this rank. */
typedef struct {
    int64_t encoders, heads, tokens, messages, clips, predictions;
} memory;

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static memory predict(const vj_evaluation *e)
{
    const vj_config *c = e->config;
    const int64_t slots = larger(c->evaluate.batch, vj_eval_test_batch(e) * e->validation.views.views);
    const vj_loader_bytes loader = vj_loader_bytes_of_items(e->train.clips, &e->train.views);
    memory m = {.encoders = vj_device_bytes(e->frozen.be),
                .tokens = 2 * slots * e->sample_floats * (int64_t)sizeof(float)};
    int64_t keyed = 0, mine = 0, labelled = e->validation.set.count;
    for (int i = 0; i < e->frozen.count; i++) keyed = larger(keyed, e->keyed[i]);
    for (int64_t i = 0; i < e->head_count; i++) {
        const vj_eval_head *h = &e->head[i];
        if (h->owner != e->rank) continue;
        mine++;
        m.heads += vj_head_bytes(&h->shape) + h->shape.batch * vj_head_key_floats(&h->shape) * (int64_t)sizeof(float);
    }
    /* Rows, their gradients and those of keys, on the device and in messages; probabilities. */
    m.messages = slots * keyed * (5 * e->key_floats + e->key_heads * e->tokens) * (int64_t)sizeof(float) +
                 3 * slots * e->size * mine / e->frozen.count * e->key_floats * (int64_t)sizeof(float);
    m.predictions = mine * labelled * (int64_t)sizeof(vj_prediction);
    m.clips =
        (c->data.read_ahead + 1) * slots * e->train.set.segments * loader.sample + c->data.threads * loader.thread;
    return m;
}

static void say_memory(const vj_evaluation *e)
{
    const double mib = 1048576.0;
    memory m = predict(e);
    MPI_Allreduce(MPI_IN_PLACE, &m, (int)(sizeof m / sizeof(int64_t)), MPI_INT64_T, MPI_MAX, e->comm);
    vj_log(
        "memory of a rank, at most: encoders %.0f MiB + probes %.0f + tokens %.0f + messages %.0f + clips read ahead "
        "%.0f + predictions %.0f",
        (double)m.encoders / mib, (double)m.heads / mib, (double)m.tokens / mib, (double)m.messages / mib,
        (double)m.clips / mib, (double)m.predictions / mib);
}

/* ------------------------------------------------------------------------------------------------ all */

void vj_eval_forecast(const vj_evaluation *e)
{
    const vj_config *c = e->config;
    int64_t needed = 0;
    for (int64_t i = 0; !e->request->probes && i < e->train.set.count; i++) {
        int s = 0;
        while (s < e->split_count && !e->split[s].member[i]) s++;
        needed += s < e->split_count;
    }
    if (e->request->probes)
        vj_log("evaluate: %lld probes from files are measured on %lld samples of %d views, on %d ranks",
               (long long)e->head_count, (long long)e->validation.set.count, e->validation.views.views, e->size);
    else {
        vj_log("evaluate: %lld probes (%d tasks, %d poolings, %d shares, %d encoders, %lld seeds, %d of a sweep) on %d "
               "ranks, %lld epochs",
               (long long)e->head_count, e->tasks.count, c->probe.pooling.count, c->probe.labels_count,
               e->request->encoder_count, (long long)c->probe.seeds, e->sweep, e->size, (long long)e->epochs);
        vj_log("evaluate: %lld of %lld training samples are encoded in an epoch, and %lld samples of %d views to "
               "measure; a sample is %d segments, %lld tokens",
               (long long)needed, (long long)e->train.set.count, (long long)e->validation.set.count,
               e->validation.views.views, e->train.set.segments, (long long)e->tokens);
        say_operations(e, needed);
    }
    say_memory(e);
}
