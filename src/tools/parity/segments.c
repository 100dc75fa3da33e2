/* Checks multi_segment.h5: the attentive probe on the tokens of several clips of a video, with its softmax averaged
 * over views. */
#include "model/positions.h"
#include "parity/kinds.h"
#include "parity/probe.h"
#include "probe/metrics.h"

typedef struct {
    int views, segments, batch, times, places, D, heads, classes, frames, tubelet;
    const vj_values *features; /* [views, segments, batch, times * places, D] */
    const vj_values *frame;    /* [segments, batch, frames] frame numbers */
    const int32_t *labels;     /* [batch] */
} inputs;

static bool read_sizes(vj_fixture *f, inputs *in)
{
    const struct {
        const char *name;
        int *value;
    } sizes[] = {{"views", &in->views},    {"segments", &in->segments}, {"batch", &in->batch},
                 {"times", &in->times},    {"places", &in->places},     {"dim", &in->D},
                 {"heads", &in->heads},    {"classes", &in->classes},   {"frames", &in->frames},
                 {"tubelet", &in->tubelet}};
    bool good = true;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        good &= vj_fixture_ints(f, "/", sizes[i].name, sizes[i].value, 1);
    return good;
}

/* Copy the tokens of sample b of a view, one segment after another. If `table` is not NULL, add its row for the first
 * frame of each tubelet to all places of that time. */
static void join_segments(float *tokens, const inputs *in, int view, int b, double *table)
{
    const int64_t each = (int64_t)in->times * in->places * in->D;
    for (int s = 0; s < in->segments; s++) {
        const double *from = in->features->value + (((int64_t)view * in->segments + s) * in->batch + b) * each;
        for (int t = 0; t < in->times; t++) {
            const int64_t at = ((int64_t)s * in->batch + b) * in->frames + (int64_t)t * in->tubelet;
            if (table) vj_positions_line(table, in->D, (int)in->frame->value[at]);
            for (int64_t i = 0; i < (int64_t)in->places * in->D; i++) {
                const int64_t k = (int64_t)t * in->places * in->D + i;
                tokens[s * each + k] = (float)(from[k] + (table ? table[i % in->D] : 0.0));
            }
        }
    }
}

/* Compare the average over the views. */
static void check_views(vj_fixture *f, const char *group, const inputs *in, const float *logits)
{
    const int V = in->views, K = in->classes, B = in->batch;
    double *scores = vj_fixture_take(f, (int64_t)V * K * (int64_t)sizeof *scores);
    double *sample = vj_fixture_take(f, 3 * K * (int64_t)sizeof *sample), *mean = sample + K, *memory = sample + 2 * K;
    float *probability = vj_fixture_take(f, (int64_t)B * K * (int64_t)sizeof *probability);
    float *means = vj_fixture_take(f, (int64_t)B * K * (int64_t)sizeof *means);
    float *first = vj_fixture_take(f, B * (int64_t)sizeof *first);
    float *first_by_mean = vj_fixture_take(f, B * (int64_t)sizeof *first_by_mean);
    for (int b = 0; b < B; b++) {
        for (int v = 0; v < V; v++)
            for (int k = 0; k < K; k++) scores[v * K + k] = logits[((int64_t)v * B + b) * K + k];
        vj_metrics_mean_scores(mean, scores, V, K);
        vj_metrics_average_views(sample, memory, scores, V, K);
        for (int k = 0; k < K; k++) {
            probability[b * K + k] = (float)sample[k];
            means[b * K + k] = (float)mean[k];
        }
        first[b] = (float)vj_metrics_first(sample, K);
        first_by_mean[b] = (float)vj_metrics_first(mean, K);
    }
    vj_parity_probe_compare(f, group, "logits", "", logits, (int64_t)V * B * K, VJ_TOL_PROBE);
    vj_parity_probe_compare(f, group, "probability", "", probability, (int64_t)B * K, VJ_TOL_PROBE);
    vj_parity_probe_compare(f, group, "mean_logits", "", means, (int64_t)B * K, VJ_TOL_PROBE);
    vj_parity_probe_compare(f, group, "predicted", "", first, B, VJ_TOL_PROBE);
    vj_parity_probe_compare(f, group, "predicted_by_mean_logits", "", first_by_mean, B, VJ_TOL_PROBE);
}

/* Check one variant. All views of all samples are one batch, so its mean loss is the mean over views and clips. */
static vj_status check_variant(vj_fixture *f, vj_backend *be, const inputs *in, const char *group, bool positioned,
                               int folded)
{
    const int64_t N = (int64_t)in->segments * in->times * in->places, rows = (int64_t)in->views * in->batch;
    const vj_probe_shape shape = {.pooling = VJ_POOL_ATTENTIVE,
                                  .D = in->D,
                                  .heads = in->heads,
                                  .classes = in->classes,
                                  .tokens = N,
                                  .batch = rows,
                                  .folded = folded};
    float *tokens = vj_fixture_take(f, rows * N * in->D * (int64_t)sizeof *tokens);
    int32_t *labels = vj_fixture_take(f, rows * (int64_t)sizeof *labels);
    double *table = positioned ? vj_fixture_take(f, in->D * (int64_t)sizeof *table) : NULL;
    for (int64_t r = 0; r < rows; r++) {
        join_segments(tokens + r * N * in->D, in, (int)(r / in->batch), (int)(r % in->batch), table);
        labels[r] = in->labels[r % in->batch];
    }
    if (folded) vj_probe_normalise(be, tokens, tokens, rows * N, in->D);
    vj_probe *probe;
    VJ_TRY(vj_probe_create(&probe, be, &shape));
    if (vj_parity_probe_weights(f, probe, "weights")) {
        vj_probe_forward(probe, tokens, rows);
        const float loss = (float)vj_probe_loss(probe, labels);
        vj_probe_backward(probe, NULL);
        vj_parity_probe_compare(f, group, "loss", folded ? " (folded)" : "", &loss, 1, VJ_TOL_PROBE);
        if (!folded) check_views(f, group, in, vj_probe_logits(probe));
        vj_parity_probe_gradients(f, probe, group, folded ? " (folded)" : "");
    }
    vj_probe_destroy(probe);
    return vj_sync(be);
}

static vj_status check_sizes(vj_fixture *f, const inputs *in, const vj_values *labels, bool *good)
{
    const int64_t tokens = (int64_t)in->times * in->places;
    *good = vj_fixture_expect(f, in->features, 5, (int64_t[]){in->views, in->segments, in->batch, tokens, in->D}) &&
            vj_fixture_expect(f, in->frame, 3, (int64_t[]){in->segments, in->batch, in->frames}) &&
            vj_fixture_expect(f, labels, 1, (int64_t[]){in->batch});
    if (!*good) return VJ_OK;
    if (in->tubelet < 1 || (int64_t)in->times * in->tubelet > in->frames || in->D % 2 != 0)
        return vj_raise(VJ_ERR_FORMAT,
                        "%s: found tubelet %d, times %d, frames %d and dim %d, expected tubelets that fit into the "
                        "frames and an even dim",
                        f->path, in->tubelet, in->times, in->frames, in->D);
    for (int b = 0; b < in->batch; b++)
        if (labels->value[b] < 0 || labels->value[b] >= in->classes)
            return vj_raise(VJ_ERR_FORMAT, "%s: inputs/labels: found %g, expected 0 to %d", f->path, labels->value[b],
                            in->classes - 1);
    return VJ_OK;
}

/* Always on the cpu backend and in fp32, in which probes are trained and measured. */
vj_status vj_parity_segments(vj_fixture *f)
{
    inputs in = {.features = vj_fixture_array(f, "inputs/features"),
                 .frame = vj_fixture_array(f, "inputs/frame_index")};
    const vj_values *labels = vj_fixture_array(f, "inputs/labels");
    vj_backend *be;
    if (!read_sizes(f, &in) || !in.features || !in.frame || !labels) return VJ_OK;
    bool good;
    VJ_TRY(check_sizes(f, &in, labels, &good));
    if (!good) return VJ_OK;
    in.labels = vj_fixture_int32s(f, labels);
    VJ_TRY(vj_backend_open(&be, "cpu", VJ_FP32, 0));
    vj_status status = VJ_OK;
    for (int folded = 0; folded < 2 && status == VJ_OK; folded++) {
        status = check_variant(f, be, &in, "f64/plain", false, folded);
        if (status == VJ_OK) status = check_variant(f, be, &in, "f64/positioned", true, folded);
    }
    vj_backend_close(be);
    return status;
}
