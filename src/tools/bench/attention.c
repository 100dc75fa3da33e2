/* Measures self-attention over the tokens of one clip, for heads of encoder and predictor, forward and backward. */
#include "bench/inner.h"

typedef struct {
    const char *network;
    vj_backend *be;
    int64_t R;
    int D, heads;
    float *qkv, *out, *dout, *dqkv, *lse;
    vj_rows rows;
} operands;

static vj_status forward(void *user)
{
    operands *o = user;
    vj_attention_forward(o->be, vj_f32(o->out), o->lse, vj_f32(o->qkv), &o->rows, o->D, o->heads);
    return vj_sync(o->be);
}

static vj_status backward(void *user)
{
    operands *o = user;
    vj_attention_backward(o->be, vj_f32(o->dqkv), NULL, vj_f32(o->dout), vj_f32(o->qkv), vj_f32(o->out), o->lse, 0,
                          &o->rows, o->D, o->heads);
    return vj_sync(o->be);
}

/* Forward must come first, because backward reads its results. */
static const struct {
    const char *name;
    vj_status (*body)(void *user);
    double flops; /* times R^2 D; scores that backward computes again do not count */
} directions[] = {{"forward", forward, 4.0}, {"backward", backward, 8.0}};

static vj_status measure(vj_bench_work *work, operands *o)
{
    static vj_measurements samples;
    const bool bf16 = vj_backend_precision(o->be) == VJ_BF16;
    for (size_t d = 0; d < sizeof directions / sizeof directions[0]; d++) {
        VJ_TRY(vj_bench_time(work, directions[d].body, o, &samples));
        const vj_timing time = vj_measurements_timing(&samples);
        const double gflops = 1e-9 * directions[d].flops * (double)o->R * (double)o->R * o->D / time.median;
        json_t *row = vj_put_row(work->report, "attention");
        vj_put_text(row, "network", o->network);
        vj_put_text(row, "direction", directions[d].name);
        vj_put_text(row, "precision", bf16 ? "bf16" : "fp32");
        vj_put_count(row, "tokens", o->R);
        vj_put_count(row, "heads", o->heads);
        vj_put_count(row, "head_width", o->D / o->heads);
        vj_put_count(row, "repeats", samples.count);
        vj_put_timing(row, "time_s", time);
        vj_put_number(row, "gflops", gflops);
    }
    return VJ_OK;
}

static vj_status take_operands(operands *o)
{
    const int32_t offset[2] = {0, (int32_t)o->R};
    const int64_t n = o->R * o->D;
    o->qkv = vj_bench_floats(o->be, 3 * n);
    o->dqkv = vj_bench_floats(o->be, 3 * n);
    o->out = vj_bench_floats(o->be, n);
    o->dout = vj_bench_floats(o->be, n);
    o->lse = vj_bench_floats(o->be, o->R * o->heads);
    int32_t *device = vj_device_alloc(o->be, (int64_t)sizeof offset);
    if (!o->qkv || !o->dqkv || !o->out || !o->dout || !o->lse || !device) return VJ_ERR_MEMORY; /* reported */
    vj_upload(o->be, device, offset, (int64_t)sizeof offset);
    o->rows = vj_rows_from(offset, device, 1);
    return VJ_OK;
}

static vj_status measure_all(vj_bench_work *work, vj_backend *be)
{
    const vj_shape s = vj_shape_from(work->config);
    const int64_t R = vj_grid_tokens(vj_shape_grid(&s));
    operands networks[] = {
        {.network = "encoder", .be = be, .R = R, .D = s.width, .heads = s.heads},
        {.network = "predictor", .be = be, .R = R, .D = s.predictor_width, .heads = s.predictor_heads},
    };
    for (int n = 0; n < 2; n++) VJ_TRY(take_operands(&networks[n]));
    vj_bench_watch_peak(work);
    vj_put_text(work->report, "kernels", vj_backend_describe(be));
    for (int precision = VJ_FP32; precision <= VJ_BF16; precision++) {
        vj_backend_set_precision(be, (vj_precision)precision);
        for (int n = 0; n < 2; n++) VJ_TRY(measure(work, &networks[n]));
    }
    const vj_peak peak = vj_bench_peak(work);
    vj_bench_put_fractions(work, "attention", &peak);
    return VJ_OK;
}

vj_status vj_bench_attention(vj_bench_work *work)
{
    vj_backend *be;
    VJ_TRY(vj_backend_open(&be, work->config->train.backend, VJ_FP32, work->threads));
    const vj_status status = measure_all(work, be);
    vj_backend_close(be);
    return status;
}
