/* Checks probe.h5: the attentive classifier in its plain and its folded form, and the average-pooling one. */
#include "parity/probe.h"

#include <stdio.h>

#include "parity/kinds.h"

bool vj_parity_probe_weights(vj_fixture *f, vj_probe *probe, const char *group)
{
    bool complete = true;
    for (int i = 0; i < vj_probe_tensor_count(probe); i++) {
        const vj_probe_tensor *tensor = vj_probe_tensor_at(probe, i);
        const vj_values *array = vj_fixture_array(f, "%s/%s", group, tensor->name);
        if (!vj_fixture_expect_count(f, array, tensor->rows * tensor->cols)) {
            complete = false;
            continue;
        }
        for (int64_t k = 0; k < array->count; k++) tensor->weight[k] = (float)array->value[k];
    }
    return complete;
}

void vj_parity_probe_compare(vj_fixture *f, const char *group, const char *dataset, const char *form, const float *got,
                             int64_t count, vj_quantity quantity)
{
    const vj_values *want = vj_fixture_array(f, "%s/%s", group, dataset);
    char name[VJ_FIXTURE_NAME + 16];
    if (!want) return;
    snprintf(name, sizeof name, "%s%s", want->name, form);
    vj_fixture_compare(f, name, vj_fixture_widen(f, got, count), count, want, vj_fixture_tolerance(f, quantity));
}

void vj_parity_probe_gradients(vj_fixture *f, vj_probe *probe, const char *group, const char *form)
{
    for (int i = 0; i < vj_probe_tensor_count(probe); i++) {
        const vj_probe_tensor *tensor = vj_probe_tensor_at(probe, i);
        char name[VJ_FIXTURE_NAME];
        snprintf(name, sizeof name, "gradients/%s", tensor->name);
        vj_parity_probe_compare(f, group, name, form, tensor->gradient, tensor->rows * tensor->cols,
                                VJ_TOL_PROBE_GRADIENT);
    }
}

static vj_status check_probe(vj_fixture *f, vj_backend *be, const vj_probe_shape *shape, const float *features,
                             const int32_t *labels)
{
    const char *form = shape->folded ? " (folded)" : "";
    const int64_t count = shape->batch * shape->tokens * shape->D;
    char weights[VJ_FIXTURE_NAME], group[VJ_FIXTURE_NAME];
    vj_probe *probe;
    snprintf(weights, sizeof weights, "weights/%s", vj_pooling_name(shape->pooling));
    snprintf(group, sizeof group, "f64/%s", vj_pooling_name(shape->pooling));
    VJ_TRY(vj_probe_create(&probe, be, shape));
    if (vj_parity_probe_weights(f, probe, weights)) {
        float *dfeatures = shape->folded ? NULL : vj_fixture_take(f, count * (int64_t)sizeof *dfeatures);
        vj_probe_forward(probe, features, shape->batch);
        const float loss = (float)vj_probe_loss(probe, labels);
        vj_probe_backward(probe, dfeatures);
        vj_parity_probe_compare(f, group, "pooled", form, vj_probe_pooled(probe), shape->batch * shape->D,
                                VJ_TOL_PROBE);
        vj_parity_probe_compare(f, group, "logits", form, vj_probe_logits(probe), shape->batch * shape->classes,
                                VJ_TOL_PROBE);
        vj_parity_probe_compare(f, group, "loss", form, &loss, 1, VJ_TOL_PROBE);
        if (dfeatures)
            vj_parity_probe_compare(f, group, "gradient_features", form, dfeatures, count, VJ_TOL_PROBE_GRADIENT);
        vj_parity_probe_gradients(f, probe, group, form);
    }
    vj_probe_destroy(probe);
    return vj_sync(be);
}

/* Always on the cpu backend, because results are read in place. (Campaigns always train probes in fp32.) */
static vj_status check_all(vj_fixture *f, vj_backend *be)
{
    int batch, tokens, D, heads, classes;
    const vj_values *features = vj_fixture_array(f, "inputs/features"), *labels = vj_fixture_array(f, "inputs/labels");
    if (!features || !labels || !vj_fixture_ints(f, "/", "batch", &batch, 1) ||
        !vj_fixture_ints(f, "/", "tokens", &tokens, 1) || !vj_fixture_ints(f, "/", "dim", &D, 1) ||
        !vj_fixture_ints(f, "/", "heads", &heads, 1) || !vj_fixture_ints(f, "/", "classes", &classes, 1))
        return VJ_OK;
    if (!vj_fixture_expect(f, features, 3, (const int64_t[]){batch, tokens, D}) ||
        !vj_fixture_expect(f, labels, 1, (const int64_t[]){batch}))
        return VJ_OK;
    const float *x = vj_fixture_floats(f, features);
    const int32_t *label = vj_fixture_int32s(f, labels);
    for (int b = 0; b < batch; b++)
        if (label[b] < 0 || label[b] >= classes)
            return vj_raise(VJ_ERR_FORMAT, "%s: inputs/labels: found %d, expected 0 to %d", f->path, label[b],
                            classes - 1);
    float *normalised = vj_fixture_take(f, features->count * (int64_t)sizeof *normalised);
    vj_probe_normalise(be, normalised, x, (int64_t)batch * tokens, D);

    vj_probe_shape shape = {
        .pooling = VJ_POOL_ATTENTIVE, .D = D, .heads = heads, .classes = classes, .tokens = tokens, .batch = batch};
    VJ_TRY(check_probe(f, be, &shape, x, label));
    shape.folded = 1;
    VJ_TRY(check_probe(f, be, &shape, normalised, label));
    shape.folded = 0;
    shape.pooling = VJ_POOL_AVERAGE;
    return check_probe(f, be, &shape, x, label);
}

vj_status vj_parity_probe(vj_fixture *f)
{
    vj_backend *be;
    VJ_TRY(vj_backend_open(&be, "cpu", vj_backend_precision(f->be), 0));
    const vj_status status = check_all(f, be);
    vj_backend_close(be);
    return status;
}
