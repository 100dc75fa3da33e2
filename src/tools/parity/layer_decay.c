/*
 * Checks layer_decay.h5: AdamW with a separate learning rate and weight decay for each tensor, as in fine-tuning with
 * layer decay. Rates, factors and which tensors decay come from the file; only the updates are checked.
 */
#include "parity/kinds.h"

/* For three updates in fp32 of weights that are far larger than the updates. No product, so the same in bf16. */
static const vj_tolerance tolerance = {.absolute = 2e-7, .of_largest = 5e-7};

typedef struct {
    int64_t tensors, each; /* values of a tensor */
    const vj_values *weights, *gradients, *lr, *lr_scale, *no_decay;
    double weight_decay;
    int first_step;
} inputs;

static bool read_inputs(vj_fixture *f, inputs *in)
{
    in->weights = vj_fixture_array(f, "inputs/weights");
    in->gradients = vj_fixture_array(f, "inputs/gradients");
    in->lr = vj_fixture_array(f, "f64/lr");
    in->lr_scale = vj_fixture_array(f, "f64/lr_scale");
    in->no_decay = vj_fixture_array(f, "f64/no_decay");
    return vj_fixture_numbers(f, "/", "weight_decay", &in->weight_decay, 1) &&
           vj_fixture_ints(f, "/", "first_step", &in->first_step, 1) && in->weights && in->gradients && in->lr &&
           in->lr_scale && in->no_decay;
}

/* Make the updates t = 1, 2, ...; the moments start at zero, and their correction depends on t. */
static void update(vj_fixture *f, const inputs *in, float *weights, int64_t steps)
{
    const int64_t count = in->tensors * in->each;
    float *first = vj_fixture_device(f, count), *second = vj_fixture_device(f, count);
    float *gradients = vj_fixture_upload(f, in->gradients);
    vj_segment *segments = vj_fixture_take(f, in->tensors * (int64_t)sizeof *segments);
    vj_fill(f->be, first, 0.0f, count);
    vj_fill(f->be, second, 0.0f, count);
    vj_adamw_step step = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .gradient_scale = 1.0};
    double power1 = 1.0, power2 = 1.0;
    for (int64_t t = 0; t < steps; t++) {
        for (int64_t i = 0; i < in->tensors; i++)
            segments[i] = (vj_segment){.offset = i * in->each,
                                       .count = in->each,
                                       .lr = in->lr->value[in->first_step + t] * in->lr_scale->value[i],
                                       .weight_decay = in->no_decay->value[i] != 0.0 ? 0.0 : in->weight_decay};
        step.correction1 = 1.0 - (power1 *= step.beta1);
        step.correction2 = 1.0 - (power2 *= step.beta2);
        const vj_adamw_vectors vectors = {
            .w = weights, .first_moment = first, .second_moment = second, .gradient = gradients + t * count};
        vj_adamw(f->be, &vectors, segments, (int)in->tensors, &step);
    }
}

vj_status vj_parity_layer_decay(vj_fixture *f)
{
    inputs in = {0};
    const vj_values *want = vj_fixture_array(f, "f64/weights_after_3");
    if (!read_inputs(f, &in) || !want) return VJ_OK;
    in.tensors = in.lr_scale->count;
    in.each = in.tensors > 0 ? in.weights->count / in.tensors : 0;
    const int64_t count = in.tensors * in.each, steps = count > 0 ? in.gradients->count / count : 0;
    if (!vj_fixture_expect(f, in.weights, 2, (const int64_t[]){in.tensors, in.each}) ||
        !vj_fixture_expect_count(f, in.no_decay, in.tensors) ||
        !vj_fixture_expect(f, in.gradients, 3, (const int64_t[]){steps, in.tensors, in.each}))
        return VJ_OK;
    if (in.first_step < 0 || in.first_step + steps > in.lr->count)
        return vj_raise(VJ_ERR_FORMAT,
                        "%s: f64/lr: found %lld rates, expected those of update %d and the %lld after it", f->path,
                        (long long)in.lr->count, in.first_step, (long long)steps - 1);
    float *weights = vj_fixture_upload(f, in.weights);
    update(f, &in, weights, steps);
    vj_fixture_compare(f, want->name, vj_fixture_download(f, weights, count), count, want, tolerance);
    return vj_sync(f->be);
}
