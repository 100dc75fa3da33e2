/*
 * Checks deep_probe.h5: attentive classifiers with more than one block. Each variant is a group with the attribute
 * `depth`. query<n> has blocks on the query after the cross-attention block (V-JEPA); it is checked as a plain and as a
 * folded probe. tokens<n> has blocks on all tokens before it (V-JEPA 2); it is checked one sample at a time.
 */
#include <stdio.h>
#include <string.h>

#include "parity/kinds.h"
#include "parity/probe.h"
#include "probe/token_probe.h"

/* The inputs, which all variants share. */
typedef struct {
    int batch, tokens, D, heads, classes;
    const float *features; /* [batch, tokens, D] */
    float *normalised;     /* the same, as a folded probe reads them */
    const int32_t *labels; /* [batch] */
} inputs;

static vj_status read_inputs(vj_fixture *f, vj_backend *be, inputs *in, bool *complete)
{
    const vj_values *features = vj_fixture_array(f, "inputs/features"), *labels = vj_fixture_array(f, "inputs/labels");
    *complete = features && labels && vj_fixture_ints(f, "/", "batch", &in->batch, 1) &&
                vj_fixture_ints(f, "/", "tokens", &in->tokens, 1) && vj_fixture_ints(f, "/", "dim", &in->D, 1) &&
                vj_fixture_ints(f, "/", "heads", &in->heads, 1) && vj_fixture_ints(f, "/", "classes", &in->classes, 1);
    if (!*complete) return VJ_OK; /* counted */
    *complete = vj_fixture_expect(f, features, 3, (const int64_t[]){in->batch, in->tokens, in->D}) &&
                vj_fixture_expect(f, labels, 1, (const int64_t[]){in->batch});
    if (!*complete) return VJ_OK;
    in->features = vj_fixture_floats(f, features);
    in->labels = vj_fixture_int32s(f, labels);
    for (int b = 0; b < in->batch; b++)
        if (in->labels[b] < 0 || in->labels[b] >= in->classes)
            return vj_raise(VJ_ERR_FORMAT, "%s: inputs/labels: found %d, expected 0 to %d", f->path, in->labels[b],
                            in->classes - 1);
    in->normalised = vj_fixture_take(f, features->count * (int64_t)sizeof(float));
    vj_probe_normalise(be, in->normalised, in->features, (int64_t)in->batch * in->tokens, in->D);
    return vj_sync(be);
}

/* The names of a variant's groups. */
typedef struct {
    char weights[VJ_FIXTURE_NAME], results[VJ_FIXTURE_NAME];
} groups;

static vj_status check_query(vj_fixture *f, vj_backend *be, const inputs *in, const groups *g, int depth, int folded)
{
    const int64_t B = in->batch, count = B * in->tokens * in->D;
    const char *form = folded ? " (folded)" : "";
    const vj_probe_shape shape = {.pooling = VJ_POOL_ATTENTIVE,
                                  .D = in->D,
                                  .heads = in->heads,
                                  .classes = in->classes,
                                  .tokens = in->tokens,
                                  .batch = B,
                                  .folded = folded,
                                  .blocks = depth - 1};
    vj_probe *probe;
    VJ_TRY(vj_probe_create(&probe, be, &shape));
    if (vj_parity_probe_weights(f, probe, g->weights)) {
        float *dfeatures = folded ? NULL : vj_fixture_take(f, count * (int64_t)sizeof *dfeatures);
        vj_probe_forward(probe, folded ? in->normalised : in->features, B);
        const float loss = (float)vj_probe_loss(probe, in->labels);
        vj_probe_backward(probe, dfeatures);
        vj_parity_probe_compare(f, g->results, "pooled", form, vj_probe_pooled(probe), B * in->D, VJ_TOL_PROBE);
        vj_parity_probe_compare(f, g->results, "logits", form, vj_probe_logits(probe), B * in->classes, VJ_TOL_PROBE);
        vj_parity_probe_compare(f, g->results, "loss", form, &loss, 1, VJ_TOL_PROBE);
        if (dfeatures)
            vj_parity_probe_compare(f, g->results, "gradient_features", form, dfeatures, count, VJ_TOL_PROBE_GRADIENT);
        vj_parity_probe_gradients(f, probe, g->results, form);
    }
    vj_probe_destroy(probe);
    return vj_sync(be);
}

/* ------------------------------------------------------------------------------------------------ blocks on tokens */

static bool read_weights(vj_fixture *f, const vj_token_probe *probe, const char *group)
{
    bool complete = true;
    for (int i = 0; i < vj_token_probe_tensor_count(probe); i++) {
        const vj_probe_tensor *t = vj_token_probe_tensor_at(probe, i);
        const vj_values *array = vj_fixture_array(f, "%s/%s", group, t->name);
        if (!vj_fixture_expect_count(f, array, t->rows * t->cols)) {
            complete = false;
            continue;
        }
        for (int64_t k = 0; k < array->count; k++) t->weight[k] = (float)array->value[k];
    }
    return complete;
}

/* Compute the results of all samples, one after another, and the gradients of the weights from their integer sum. */
static vj_status run_samples(vj_fixture *f, vj_token_probe *probe, const inputs *in, const groups *g)
{
    const int64_t B = in->batch, sample = (int64_t)in->tokens * in->D;
    int64_t *sum = vj_fixture_take(f, vj_token_probe_size(probe) * (int64_t)sizeof *sum);
    float *pooled = vj_fixture_take(f, B * in->D * (int64_t)sizeof *pooled);
    float *logits = vj_fixture_take(f, B * in->classes * (int64_t)sizeof *logits);
    float *dfeatures = vj_fixture_take(f, B * sample * (int64_t)sizeof *dfeatures);
    double mean = 0.0, loss;
    for (int64_t b = 0; b < B; b++) {
        const float *scores = vj_token_probe_forward(probe, in->features + b * sample);
        memcpy(logits + b * in->classes, scores, sizeof *logits * (size_t)in->classes);
        memcpy(pooled + b * in->D, vj_token_probe_pooled(probe), sizeof *pooled * (size_t)in->D);
        VJ_TRY(vj_token_probe_backward(probe, in->labels[b], &loss, sum, B));
        const float *dx = vj_token_probe_token_gradient(probe);
        for (int64_t i = 0; i < sample; i++) dfeatures[b * sample + i] = dx[i] / (float)B;
        mean += loss / (double)B;
    }
    const vj_head_step none = {.update = 1}; /* with lr 0: computes the mean gradient, and changes no weights */
    VJ_TRY(vj_token_probe_update(probe, sum, B, &none));
    const float mean_loss = (float)mean;
    vj_parity_probe_compare(f, g->results, "pooled", "", pooled, B * in->D, VJ_TOL_PROBE);
    vj_parity_probe_compare(f, g->results, "logits", "", logits, B * in->classes, VJ_TOL_PROBE);
    vj_parity_probe_compare(f, g->results, "loss", "", &mean_loss, 1, VJ_TOL_PROBE);
    vj_parity_probe_compare(f, g->results, "gradient_features", "", dfeatures, B * sample, VJ_TOL_PROBE_GRADIENT);
    for (int i = 0; i < vj_token_probe_tensor_count(probe); i++) {
        const vj_probe_tensor *t = vj_token_probe_tensor_at(probe, i);
        char name[VJ_FIXTURE_NAME];
        snprintf(name, sizeof name, "gradients/%s", t->name);
        vj_parity_probe_compare(f, g->results, name, "", t->gradient, t->rows * t->cols, VJ_TOL_PROBE_GRADIENT);
    }
    return VJ_OK;
}

static vj_status check_tokens(vj_fixture *f, vj_backend *be, const inputs *in, const groups *g, int depth)
{
    const vj_token_probe_shape shape = {
        .D = in->D, .heads = in->heads, .classes = in->classes, .depth = depth, .tokens = in->tokens};
    vj_token_probe *probe;
    VJ_TRY(vj_token_probe_create(&probe, be, &shape));
    vj_status status = VJ_OK;
    if (read_weights(f, probe, g->weights)) status = run_samples(f, probe, in, g);
    vj_token_probe_destroy(probe);
    return status;
}

/* ------------------------------------------------------------------------------------------------ the file */

static vj_status check_all(vj_fixture *f, vj_backend *be)
{
    inputs in = {0};
    bool complete;
    VJ_TRY(read_inputs(f, be, &in, &complete));
    if (!complete) return VJ_OK;
    enum { MAX_DEPTH = 1024 };
    const vj_names variants = vj_fixture_children(f, "weights");
    for (int i = 0; i < variants.count; i++) {
        groups g;
        double number;
        snprintf(g.weights, sizeof g.weights, "weights/%.150s", variants.name[i]);
        snprintf(g.results, sizeof g.results, "f64/%.150s", variants.name[i]);
        if (!vj_fixture_number_within(f, g.weights, "depth", &number, 1, MAX_DEPTH)) continue; /* counted */
        const int depth = (int)number;
        if (strncmp(variants.name[i], "query", 5) == 0) {
            VJ_TRY(check_query(f, be, &in, &g, depth, 0));
            VJ_TRY(check_query(f, be, &in, &g, depth, 1));
        } else if (strncmp(variants.name[i], "tokens", 6) == 0) {
            VJ_TRY(check_tokens(f, be, &in, &g, depth));
        } else {
            vj_fixture_fail(f, g.weights, "found this name, expected query<n> or tokens<n>");
        }
    }
    return VJ_OK;
}

/* Always on the cpu backend, because results are read in place. */
vj_status vj_parity_deep_probe(vj_fixture *f)
{
    vj_backend *be;
    VJ_TRY(vj_backend_open(&be, "cpu", vj_backend_precision(f->be), 0));
    const vj_status status = check_all(f, be);
    vj_backend_close(be);
    return status;
}
