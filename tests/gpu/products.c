/*
 * Measures the rates of the products of a training step of the published networks, including what follows their sums,
 * by each candidate on this GPU: linear layers forward, and the gradients of their inputs and weights.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "gpu_check.h"

static const double PEAK_TFLOPS = 989; /* as in step.c */

typedef enum { QKV, PROJECTION, GELU, GELU_KEPT, GELU_BACKWARD, INPUT, WEIGHT } kind;
static const char *const kinds[] = {"x w^T + b, bf16", "x w^T + b + x, fp32", "gelu",         "gelu, pre kept",
                                    "gelu backward",   "dy w, fp32",          "dy^T x, added"};

/* A layer from width K to width N, of R rows. */
typedef struct {
    const char *name;
    kind what;
    int R, N, K;
} product;

/* The numbers of rows are those of the masks that the papers' settings draw (docs/cuda.md). */
static const product products[] = {
    {"L224 target qkv", QKV, 37632, 3072, 1024},
    {"L224 target proj", PROJECTION, 37632, 1024, 1024},
    {"L224 target fc1", GELU, 37632, 4096, 1024},
    {"L224 target fc2", PROJECTION, 37632, 1024, 4096},
    {"L224 context fc1", GELU_KEPT, 11300, 4096, 1024},
    {"L224 context fc2 dx", GELU_BACKWARD, 11300, 1024, 4096},
    {"L224 context fc1 dx", INPUT, 11300, 4096, 1024},
    {"L224 context fc1 dw", WEIGHT, 11300, 4096, 1024},
    {"L224 context proj dw", WEIGHT, 11300, 1024, 1024},
    {"H384 target qkv", QKV, 46080, 3840, 1280},
    {"H384 target proj", PROJECTION, 46080, 1280, 1280},
    {"H384 target fc1", GELU, 46080, 5120, 1280},
    {"H384 target fc2", PROJECTION, 46080, 1280, 5120},
    {"H384 context fc1", GELU_KEPT, 14800, 5120, 1280},
    {"H384 context fc2 dx", GELU_BACKWARD, 14800, 1280, 5120},
    {"H384 context fc1 dx", INPUT, 14800, 5120, 1280},
    {"H384 context fc1 dw", WEIGHT, 14800, 5120, 1280},
    {"H384 context proj dw", WEIGHT, 14800, 1280, 1280},
    {"predictor fc1", GELU_KEPT, 69400, 1536, 384},
    {"predictor fc2 dx", GELU_BACKWARD, 69400, 384, 1536},
};
enum {
    PRODUCTS = sizeof products / sizeof products[0],
    REPEATS = 10,
    SMALL = 32 /* the emulated GPU gets so many times fewer rows */
};

typedef struct {
    vj_backend *be;
    vj_array x, y, w, pre, hidden; /* device; each large enough for any product */
    float *bias, *dw, *stream;
} arrays;

static void launch(const arrays *a, const product *p)
{
    const int R = p->R, N = p->N, K = p->K;
    const vj_array none = {0}, stream = vj_f32(a->stream);
    switch (p->what) {
    case QKV:
        vj_linear_forward(a->be, a->y, a->x, a->w, a->bias, NULL, 0, R, N, K);
        break;
    case PROJECTION:
        vj_linear_forward(a->be, stream, a->x, a->w, a->bias, a->stream, R, R, N, K);
        break;
    case GELU:
        vj_linear_gelu_forward(a->be, a->y, none, a->x, a->w, a->bias, R, N, K);
        break;
    case GELU_KEPT:
        vj_linear_gelu_forward(a->be, a->y, a->pre, a->x, a->w, a->bias, R, N, K);
        break;
    case GELU_BACKWARD:
        vj_linear_gelu_backward_input(a->be, a->y, a->hidden, NULL, a->x, a->w, a->pre, 0, R, N, K);
        break;
    case INPUT:
        vj_linear_backward_input(a->be, stream, a->x, a->w, R, N, K);
        break;
    case WEIGHT:
        vj_linear_backward_weight(a->be, a->dw, NULL, a->y, a->x, 1, R, N, K);
        break;
    }
}

/* Fill with normal numbers that repeat after `period`, because a GPU multiplies zeros with less power and faster. */
static bool fill(vj_backend *be, vj_array to, const uint16_t *halves, int64_t n, int64_t period)
{
    for (int64_t at = 0; at < n; at += period)
        vj_upload(be, (uint16_t *)to.data + at, halves, (n - at < period ? n - at : period) * 2);
    return vj_sync(be) == VJ_OK;
}

static bool open_arrays(arrays *a, int64_t rows, int64_t weights, int width)
{
    enum { PERIOD = 1 << 20 };
    uint16_t *halves = malloc(PERIOD * sizeof *halves);
    vj_array *const all[] = {&a->x, &a->y, &a->w, &a->pre, &a->hidden};
    bool good = halves != NULL;
    vj_rng rng;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, 2);
    for (int i = 0; i < PERIOD && good; i++) {
        union {
            float f;
            uint32_t bits;
        } x = {.f = (float)(0.1 * vj_rng_normal(&rng))};
        halves[i] = (uint16_t)(x.bits >> 16);
    }
    for (int i = 0; i < 5 && good; i++) {
        const int64_t n = i == 2 ? weights : rows;
        *all[i] = (vj_array){vj_device_alloc(a->be, n * 2), VJ_TYPE_BF16};
        good = all[i]->data && fill(a->be, *all[i], halves, n, PERIOD);
    }
    a->bias = vj_device_alloc(a->be, width * 4);
    a->dw = vj_device_alloc(a->be, weights * 4);
    a->stream = vj_device_alloc(a->be, rows * 4);
    good = good && a->bias && a->dw && a->stream;
    if (good) {
        vj_fill(a->be, a->bias, 0.1f, width);
        vj_fill(a->be, a->dw, 0, weights);
        vj_fill(a->be, a->stream, 0.1f, rows);
    }
    free(halves);
    return good && vj_sync(a->be) == VJ_OK;
}

static bool time_product(const arrays *a, const product *p, const char *by, int repeats)
{
    if (vj_backend_set_products(a->be, by) != VJ_OK) {
        printf("%-21s %-9s FAILED\n", p->name, by);
        return false;
    }
    double began_s = 0;
    for (int i = -1; i < repeats; i++) {
        if (i == 0) {
            if (vj_sync(a->be) != VJ_OK) return false;
            began_s = vj_now();
        }
        launch(a, p);
    }
    if (vj_sync(a->be) != VJ_OK) return false;
    const double s = (vj_now() - began_s) / repeats, flops = 2.0 * p->R * p->N * p->K;
    printf("%-21s %-20s %5d x %4d over %5d %-9s %8.4f ms %8.2f TFLOP/s %6.2f %% of %.0f\n", p->name, kinds[p->what],
           p->what == WEIGHT ? p->N : p->R, p->what == WEIGHT || p->what >= GELU_BACKWARD ? p->K : p->N,
           p->what == WEIGHT          ? p->R
           : p->what >= GELU_BACKWARD ? p->N
                                      : p->K,
           by, 1e3 * s, 1e-12 * flops / s, 1e-10 * flops / s / PEAK_TFLOPS, PEAK_TFLOPS);
    return true;
}

int gpu_products(bool small)
{
    static const char *const names[] = {"mma", "wgmma", "cublaslt", "own"};
    const int share = small ? SMALL : 1;
    int64_t rows = 0, weights = 0;
    int width = 0;
    arrays a = {0};
    for (int i = 0; i < PRODUCTS; i++) {
        const product *p = &products[i];
        const int wide = p->N > p->K ? p->N : p->K;
        const int64_t n = (int64_t)(p->R / share / share) * wide / share;
        rows = n > rows ? n : rows;
        weights = (int64_t)p->N * p->K > weights ? (int64_t)p->N * p->K : weights;
        width = wide > width ? wide : width;
    }
    if (vj_backend_open(&a.be, "cuda", VJ_BF16, 0) != VJ_OK) return VJ_EXIT_FAILED;
    printf("%s\n", vj_backend_describe(a.be));
    bool good = open_arrays(&a, rows, weights / share / share, width);
    const bool ready = good;
    for (int i = 0; i < PRODUCTS && ready; i++)
        for (int by = 0; by < 4; by++) {
            product p = products[i];
            p.R = p.R / share / share;
            p.N /= share;
            p.K /= share;
            if (vj_products_present(names[by])) good &= time_product(&a, &p, names[by], small ? 1 : REPEATS);
        }
    if (!good) printf("products: FAILED\n");
    vj_backend_close(a.be);
    return good ? VJ_EXIT_DONE : VJ_EXIT_FAILED;
}
