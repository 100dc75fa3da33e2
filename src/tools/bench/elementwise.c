/* Measures operations limited by memory bandwidth: nanoseconds an element, and bytes a second relative to a copy. */

#include "bench/inner.h"

/* Arrays as large as the largest operation needs, and the shape of the activations of an encoder block. */
typedef struct {
    vj_backend *be;
    int64_t R, wide, weights; /* rows; elements of the hidden layer; elements of the optimizer's vectors */
    int D;
    float *a, *b, *c, *d, *e, *mean, *rstd, *row;
    int32_t *index, *group;
    double *sums;
} arrays;

static vj_status fill(void *user)
{
    arrays *o = user;
    vj_fill(o->be, o->a, 0.1F, o->wide);
    return vj_sync(o->be);
}

static vj_status copy(void *user)
{
    arrays *o = user;
    vj_copy(o->be, o->b, o->a, o->wide);
    return vj_sync(o->be);
}

static vj_status gelu_forward(void *user)
{
    arrays *o = user;
    vj_gelu_forward(o->be, o->b, o->a, o->wide);
    return vj_sync(o->be);
}

static vj_status gelu_backward(void *user)
{
    arrays *o = user;
    vj_gelu_backward(o->be, o->c, o->b, o->a, o->wide);
    return vj_sync(o->be);
}

static vj_status layernorm_forward(void *user)
{
    arrays *o = user;
    vj_layernorm_forward(o->be, vj_f32(o->b), o->mean, o->rstd, o->a, o->row, o->row, o->R, o->D, 1e-6F);
    return vj_sync(o->be);
}

static vj_status layernorm_backward(void *user)
{
    arrays *o = user;
    vj_layernorm_backward(o->be, o->c, (vj_array){0}, (vj_array){0}, o->d, o->e, NULL, vj_f32(o->b), o->a, o->mean,
                          o->rstd, o->row, NULL, 0, 0, o->R, o->D);
    return vj_sync(o->be);
}

static vj_status gather(void *user)
{
    arrays *o = user;
    vj_gather_rows(o->be, o->b, o->a, o->index, o->R, o->D);
    return vj_sync(o->be);
}

static vj_status loss(void *user)
{
    arrays *o = user;
    vj_prediction_loss(o->be, o->sums, o->c, o->b, o->a, o->index, o->mean, o->group, o->R, o->D, 1.0);
    return vj_sync(o->be);
}

static vj_status adamw(void *user)
{
    arrays *o = user;
    const vj_adamw_step step = {.beta1 = 0.9,
                                .beta2 = 0.999,
                                .eps = 1e-8,
                                .correction1 = 0.5,
                                .correction2 = 0.5,
                                .gradient_scale = 1.0,
                                .ema = 0.999};
    const vj_adamw_vectors v = {
        .w = o->a, .first_moment = o->b, .second_moment = o->c, .gradient = o->e, .target = o->d};
    const vj_segment all = {.count = o->weights, .lr = 1e-6, .weight_decay = 0.04};
    vj_adamw(o->be, &v, &all, 1, &step);
    return vj_sync(o->be);
}

typedef enum { ROWS, WIDE, WEIGHTS } extent;

/* The order matters: adamw must run while c has no negative number, and layernorm_backward after the forward pass that
 * computes its statistics. */
static const struct {
    const char *name;
    vj_status (*body)(void *user);
    extent elements;
    double bytes; /* an element's, read and written */
} operations[] = {
    {"adamw+ema", adamw, WEIGHTS, 36},
    {"fill", fill, WIDE, 4},
    {"copy", copy, WIDE, 8},
    {"gelu_forward", gelu_forward, WIDE, 8},
    {"gelu_backward", gelu_backward, WIDE, 12},
    {"layernorm_forward", layernorm_forward, ROWS, 8},
    {"layernorm_backward", layernorm_backward, ROWS, 12},
    {"gather", gather, ROWS, 8},
    {"loss", loss, ROWS, 12},
};

static vj_status take_arrays(arrays *o, const vj_config *config)
{
    enum { WEIGHTS_LEAST = 4 << 20 }; /* 16 MiB each of five vectors: beyond caches, as a network's are */
    const vj_shape s = vj_shape_from(config);
    o->R = vj_grid_tokens(vj_shape_grid(&s));
    o->D = s.width;
    o->wide = o->R * (s.hidden > s.width ? s.hidden : s.width);
    o->weights = o->wide > WEIGHTS_LEAST ? o->wide : WEIGHTS_LEAST;
    float **vectors[] = {&o->a, &o->b, &o->c, &o->d, &o->e};
    for (int i = 0; i < 5; i++)
        if (!(*vectors[i] = vj_bench_floats(o->be, o->weights))) return VJ_ERR_MEMORY;
    o->mean = vj_bench_floats(o->be, o->R);
    o->rstd = vj_bench_floats(o->be, o->R);
    o->row = vj_bench_floats(o->be, o->D);
    o->index = vj_device_alloc(o->be, o->R * (int64_t)sizeof *o->index);
    o->group = vj_device_alloc(o->be, o->R * (int64_t)sizeof *o->group);
    o->sums = vj_device_alloc(o->be, (int64_t)sizeof *o->sums);
    if (!o->mean || !o->rstd || !o->row || !o->index || !o->group || !o->sums) return VJ_ERR_MEMORY; /* reported */
    vj_fill(o->be, o->c, 0.0F, o->weights);
    for (int32_t r = 0, zero = 0; r < o->R; r++) {
        const int32_t from = (int32_t)((int64_t)r * 7 % o->R); /* not in order, as the tokens of a mask */
        vj_upload(o->be, o->index + r, &from, (int64_t)sizeof from);
        vj_upload(o->be, o->group + r, &zero, (int64_t)sizeof zero);
    }
    const double zero = 0;
    vj_upload(o->be, o->sums, &zero, (int64_t)sizeof zero);
    return VJ_OK;
}

static vj_status measure_all(vj_bench_work *work, arrays *o)
{
    static vj_measurements samples;
    double bandwidth;
    VJ_TRY(take_arrays(o, work->config));
    MPI_Barrier(work->comm);
    bandwidth = vj_measure_bandwidth(work->threads);
    MPI_Allreduce(MPI_IN_PLACE, &bandwidth, 1, MPI_DOUBLE, MPI_SUM, work->comm);
    vj_put_text(work->report, "kernels", vj_backend_describe(o->be));
    vj_put_number(work->report, "copy_gb_s", bandwidth);
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        const int64_t n = operations[i].elements == ROWS   ? o->R * o->D
                          : operations[i].elements == WIDE ? o->wide
                                                           : o->weights;
        VJ_TRY(vj_bench_time(work, operations[i].body, o, &samples));
        const vj_timing time = vj_measurements_timing(&samples);
        const double rate = 1e-9 * operations[i].bytes * (double)n * work->size / time.median;
        json_t *row = vj_put_row(work->report, "elementwise");
        vj_put_text(row, "operation", operations[i].name);
        vj_put_count(row, "elements", n);
        vj_put_count(row, "repeats", samples.count);
        vj_put_timing(row, "time_s", time);
        vj_put_number(row, "ns_element", 1e9 * time.median / (double)n);
        vj_put_number(row, "gb_s", rate);
        vj_put_number(row, "fraction_of_copy", rate / bandwidth);
    }
    return VJ_OK;
}

vj_status vj_bench_elementwise(vj_bench_work *work)
{
    arrays o = {0};
    VJ_TRY(vj_backend_open(&o.be, work->config->train.backend, VJ_FP32, work->threads));
    const vj_status status = measure_all(work, &o);
    vj_backend_close(o.be);
    return status;
}
