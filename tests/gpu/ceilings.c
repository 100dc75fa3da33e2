/* Measures the highest rates of the device: of a copy, of matrix products by each candidate, and of GELU. */
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "gpu_check.h"

typedef struct {
    vj_backend *be;
    float *x, *y; /* device, [n] */
    int64_t n;
    int side; /* side of the square product */
} work;

static void copy(const work *w)
{
    vj_copy(w->be, w->y, w->x, w->n);
}
static void gelu(const work *w)
{
    vj_gelu_forward(w->be, w->y, w->x, w->n);
}
static void product(const work *w)
{
    const int64_t elements = (int64_t)w->side * w->side;
    const vj_array a = {w->x, VJ_TYPE_BF16}, b = {(uint16_t *)w->x + elements, VJ_TYPE_BF16}, c = {w->y, VJ_TYPE_BF16};
    vj_linear_forward(w->be, c, a, b, NULL, NULL, 0, w->side, w->side, w->side);
}

/* Return the seconds of a call: the mean of many, after some that are not timed. */
static double seconds_of(void (*call)(const work *w), const work *w, int repeats)
{
    for (int i = 0; i < 3; i++) call(w);
    if (vj_sync(w->be) != VJ_OK) return -1;
    const double began_s = vj_now();
    for (int i = 0; i < repeats; i++) call(w);
    return vj_sync(w->be) == VJ_OK ? (vj_now() - began_s) / repeats : -1;
}

/* Fill with normal numbers as floats or bf16, because products of zeros would use less power and run faster. */
static bool fill_random(const work *w, bool bf16)
{
    enum { PERIOD = 1 << 18 };
    float *host = malloc(PERIOD * sizeof *host);
    if (!host) return false;
    vj_rng rng;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, 1);
    for (int i = 0; i < PERIOD; i++) host[i] = (float)vj_rng_normal(&rng);
    for (int64_t at = 0; at < w->n; at += PERIOD) {
        const int64_t n = w->n - at < PERIOD ? w->n - at : PERIOD;
        if (!bf16) {
            vj_upload(w->be, w->x + at, host, n * 4);
            continue;
        }
        vj_upload(w->be, w->y, host, n * 4);
        vj_round_bf16(w->be, (uint16_t *)w->x + at, w->y, n);
    }
    free(host);
    return vj_sync(w->be) == VJ_OK;
}

static bool say(const char *what, double seconds, double amount, const char *unit)
{
    if (seconds < 0) {
        printf("%s: FAILED\n", what);
        return false;
    }
    printf("%-28s %10.3f %s, %.4f ms a call\n", what, amount / seconds, unit, 1e3 * seconds);
    return true;
}

static bool measure(work *w, int repeats)
{
    if (!fill_random(w, false)) return false;
    const double n = (double)w->n, side = w->side;
    bool good = say("copy", seconds_of(copy, w, repeats), 8e-9 * n, "GB/s read and written");
    good &= say("gelu_forward", seconds_of(gelu, w, repeats), 1e-9 * n, "G elements/s");
    if (!fill_random(w, true)) return false;
    const char *const products[] = {"own", "mma", "wgmma", "cublaslt"};
    for (int i = 0; i < 4; i++) {
        char what[64];
        snprintf(what, sizeof what, "product %d^3 bf16, %s", w->side, products[i]);
        if (!vj_products_present(products[i]))
            printf("%s: not on this machine\n", what);
        else if (vj_backend_set_products(w->be, products[i]) != VJ_OK)
            good = say(what, -1, 0, "");
        else
            good &= say(what, seconds_of(product, w, repeats), 2e-12 * side * side * side, "TFLOP/s");
    }
    return good;
}

int gpu_ceilings(bool small)
{
    work w = {.n = small ? 1 << 16 : 1 << 28, .side = small ? 64 : 8192};
    if (vj_backend_open(&w.be, "cuda", VJ_BF16, 0) != VJ_OK) return VJ_EXIT_FAILED;
    printf("%s\n", vj_backend_describe(w.be));
    w.x = vj_device_alloc(w.be, w.n * 4);
    w.y = vj_device_alloc(w.be, w.n * 4);
    const bool good = w.x && w.y && measure(&w, small ? 2 : 20);
    vj_backend_close(w.be);
    return good ? VJ_EXIT_DONE : VJ_EXIT_FAILED;
}
