/*
 * Measures the matrix products of a transformer block, with the model's types, relative to the peak of the same run. It
 * leaves out work that is not a product: the residual, and recomputing the hidden layer for GELU's gradient.
 */
#include <string.h>

#include "bench/inner.h"

/*
 * One linear layer on R rows: y [R, N] = x [R, K] w^T, w [N, K]. With bf16 the model rounds arrays that only products
 * and attention read; the residual stream and the gradient of its norm stay floats (src/model/stack.c).
 */
typedef struct {
    const char *network, *layer;
    int64_t R;
    int N, K;
    bool to_stream, from_norm; /* y goes into the residual stream; x is its norm */
} layer;

/* The same numbers as floats and, if the backend is VJ_BF16, rounded to bf16. */
typedef struct {
    float *exact;
    uint16_t *rounded;
} numbers;

typedef struct {
    vj_backend *be;
    layer l;
    numbers x, dx, y; /* as large as the largest layer needs */
    float *w, *dw, *bias;
} operands;

static vj_array of_precision(const operands *o, numbers n)
{
    return vj_backend_precision(o->be) == VJ_BF16 ? (vj_array){n.rounded, VJ_TYPE_BF16} : vj_f32(n.exact);
}

/* Return the array for y and its gradient. */
static vj_array result(const operands *o)
{
    return o->l.to_stream ? vj_f32(o->y.exact) : of_precision(o, o->y);
}

static vj_array input_gradient(const operands *o)
{
    return o->l.from_norm ? vj_f32(o->dx.exact) : of_precision(o, o->dx);
}

static vj_status forward(void *user)
{
    operands *o = user;
    vj_linear_forward(o->be, result(o), of_precision(o, o->x), vj_f32(o->w), o->bias, NULL, 0, o->l.R, o->l.N, o->l.K);
    return vj_sync(o->be);
}

static vj_status forward_gelu(void *user)
{
    operands *o = user;
    vj_linear_gelu_forward(o->be, result(o), of_precision(o, o->dx), of_precision(o, o->x), vj_f32(o->w), o->bias,
                           o->l.R, o->l.N, o->l.K);
    return vj_sync(o->be);
}

static vj_status backward_input(void *user)
{
    operands *o = user;
    vj_linear_backward_input(o->be, input_gradient(o), result(o), vj_f32(o->w), o->l.R, o->l.N, o->l.K);
    return vj_sync(o->be);
}

static vj_status backward_input_gelu(void *user)
{
    operands *o = user;
    vj_linear_gelu_backward_input(o->be, input_gradient(o), (vj_array){0}, NULL, result(o), vj_f32(o->w),
                                  of_precision(o, o->x), 0, o->l.R, o->l.N, o->l.K);
    return vj_sync(o->be);
}

static vj_status backward_weight(void *user)
{
    operands *o = user;
    vj_linear_backward_weight(o->be, o->dw, NULL, result(o), of_precision(o, o->x), 0, o->l.R, o->l.N, o->l.K);
    return vj_sync(o->be);
}

static const struct {
    const char *name;
    vj_status (*body)(void *user);
    const char *only; /* the layer it belongs to; NULL: all */
} forms[] = {
    {"forward", forward, NULL},
    {"forward+gelu", forward_gelu, "fc1"},
    {"backward_input", backward_input, NULL},
    {"backward_input+gelu", backward_input_gelu, "fc2"},
    {"backward_weight", backward_weight, NULL},
};

static int list_layers(layer *list, const vj_config *config)
{
    const vj_shape s = vj_shape_from(config);
    const int64_t R = vj_grid_tokens(vj_shape_grid(&s));
    const struct {
        const char *name;
        int width, hidden;
    } networks[] = {{"encoder", s.width, s.hidden}, {"predictor", s.predictor_width, s.predictor_hidden}};
    int count = 0;
    for (int n = 0; n < 2; n++) {
        const int D = networks[n].width, H = networks[n].hidden;
        list[count++] = (layer){networks[n].name, "qkv", R, 3 * D, D, false, true};
        list[count++] = (layer){networks[n].name, "proj", R, D, D, true, false};
        list[count++] = (layer){networks[n].name, "fc1", R, H, D, false, true};
        list[count++] = (layer){networks[n].name, "fc2", R, D, H, true, false};
    }
    return count;
}

static vj_status take_numbers(vj_backend *be, numbers *of, int64_t n)
{
    of->exact = vj_bench_floats(be, n);
    of->rounded = vj_device_alloc(be, n * (int64_t)sizeof *of->rounded);
    if (!of->exact || !of->rounded) return VJ_ERR_MEMORY; /* reported by the device */
    vj_round_bf16(be, of->rounded, of->exact, n);
    return vj_sync(be);
}

static vj_status take_operands(operands *o, const layer *list, int count)
{
    int64_t rows = 0, weights = 0;
    for (int i = 0; i < count; i++) {
        const int64_t wide = list[i].N > list[i].K ? list[i].N : list[i].K;
        if (list[i].R * wide > rows) rows = list[i].R * wide;
        if ((int64_t)list[i].N * list[i].K > weights) weights = (int64_t)list[i].N * list[i].K;
    }
    VJ_TRY(take_numbers(o->be, &o->x, rows));
    VJ_TRY(take_numbers(o->be, &o->dx, rows));
    VJ_TRY(take_numbers(o->be, &o->y, rows));
    o->w = vj_bench_floats(o->be, weights);
    o->dw = vj_bench_floats(o->be, weights);
    o->bias = vj_bench_floats(o->be, weights);
    return o->w && o->dw && o->bias ? VJ_OK : VJ_ERR_MEMORY; /* reported by the device */
}

static vj_status measure(vj_bench_work *work, operands *o, int form)
{
    static vj_measurements samples;
    const bool bf16 = vj_backend_precision(o->be) == VJ_BF16;
    VJ_TRY(vj_bench_time(work, forms[form].body, o, &samples));
    const vj_timing time = vj_measurements_timing(&samples);
    const double gflops = 2e-9 * (double)o->l.R * o->l.N * o->l.K / time.median;
    json_t *row = vj_put_row(work->report, "gemm");
    vj_put_text(row, "network", o->l.network);
    vj_put_text(row, "layer", o->l.layer);
    vj_put_text(row, "form", forms[form].name);
    vj_put_text(row, "precision", bf16 ? "bf16" : "fp32");
    vj_put_count(row, "rows", o->l.R);
    vj_put_count(row, "n", o->l.N);
    vj_put_count(row, "k", o->l.K);
    vj_put_count(row, "repeats", samples.count);
    vj_put_timing(row, "time_s", time);
    vj_put_number(row, "gflops", gflops);
    return VJ_OK;
}

static vj_status measure_all(vj_bench_work *work, operands *o)
{
    layer list[8];
    const int count = list_layers(list, work->config);
    VJ_TRY(take_operands(o, list, count));
    vj_bench_watch_peak(work);
    vj_put_text(work->report, "kernels", vj_backend_describe(o->be));
    for (int precision = VJ_FP32; precision <= VJ_BF16; precision++) {
        vj_backend_set_precision(o->be, (vj_precision)precision);
        for (int i = 0; i < count; i++)
            for (size_t form = 0; form < sizeof forms / sizeof forms[0]; form++) {
                if (forms[form].only && strcmp(forms[form].only, list[i].layer) != 0) continue;
                o->l = list[i];
                VJ_TRY(measure(work, o, (int)form));
            }
    }
    const vj_peak peak = vj_bench_peak(work);
    vj_bench_put_fractions(work, "gemm", &peak);
    return VJ_OK;
}

vj_status vj_bench_gemm(vj_bench_work *work)
{
    operands o = {0};
    VJ_TRY(vj_backend_open(&o.be, work->config->train.backend, VJ_FP32, work->threads));
    const vj_status status = measure_all(work, &o);
    vj_backend_close(o.be);
    return status;
}
