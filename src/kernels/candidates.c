/*
 * Times all candidates for matrix products on the same products, in turn, so that a disturbance affects all of them.
 * The rates show at once if a library uses plain C or kernels for another processor.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cpu_device.h"
#include "kernels/product_rates.h"

/* A linear layer of a large model; ROWS rows, more for many threads. */
enum { WIDTH = 1024, ROWS = 768, ROWS_PER_THREAD = 384, MAX_ROWS = 6144, TRIAL_ROWS = 24 };
enum { MAX_ROUNDS = 5, MIN_ROUNDS = 2, GROWTH = 4, HOPELESS = 4 }; /* times the trial of the fastest one */
#define BUDGET_S 0.03  /* seconds for each candidate, after which no new round begins */
#define SHORT_S  0.006 /* a product that takes this long is large enough on slow or emulated processors */
#define SLOW_S   0.02  /* only candidates whose trial takes longer may be left out */

typedef struct {
    vj_backend *be;
    int64_t rows;
    float *x, *y, *w, *dw; /* device */
} bench;

void vj_product_rates_add(vj_product_rate *rates, int capacity, int *count, const char *name, const char *detail)
{
    if (*count == capacity) return;
    vj_product_rate *rate = &rates[(*count)++];
    *rate = (vj_product_rate){0};
    snprintf(rate->name, sizeof rate->name, "%s", name);
    snprintf(rate->detail, sizeof rate->detail, "%s", detail);
}

/*
 * Return whether this variant multiplies by tiles or pairs of bf16, which may be slower than plain vectors. Instruction
 * sets with plain vectors differ only in width, and the widest is the fastest.
 */
static bool by_bf16(const vj_backend *be, const vj_variant *variant)
{
    return be->precision == VJ_BF16 ? variant->pairs : variant->parts;
}

static void list_variants(const vj_backend *be, vj_product_rate *rates, int capacity, int *count)
{
    const vj_variant *variant;
    bool more = by_bf16(be, vj_cpu_of(be)->best) && !vj_cpu_of(be)->isa_forced;
    int i = 0;
    while (vj_variant_at(i) != vj_cpu_of(be)->best) i++;
    for (i++; more && (variant = vj_variant_at(i)) != NULL; i++) {
        if (!variant->present()) continue;
        vj_product_rates_add(rates, capacity, count, variant->name, variant->name);
        more = by_bf16(be, variant); /* after the first with plain vectors of floats no other can be the fastest */
    }
}

static void list_libraries(const vj_backend *be, vj_product_rate *rates, int capacity, int *count)
{
    const vj_library *library;
    char detail[sizeof rates->detail];
    for (int i = 0; be->precision == VJ_FP32 && (library = vj_library_at(i)) != NULL; i++) {
        library->describe(detail, sizeof detail);
        vj_product_rates_add(rates, capacity, count, library->name, detail);
    }
}

/* The candidate in use is always timed. */
static void list_choice(const vj_backend *be, vj_product_rate *rates, int capacity, int *count)
{
    const vj_cpu *cpu = vj_cpu_of(be);
    bool listed = cpu->library != NULL || strcmp(cpu->products, cpu->best->name) == 0;
    for (int i = 0; i < *count; i++) listed |= strcmp(cpu->products, rates[i].name) == 0;
    if (!listed) vj_product_rates_add(rates, capacity, count, cpu->products, cpu->variant->name);
}

static double time_forward(const bench *b, int64_t rows)
{
    const double began_s = vj_now();
    vj_linear_forward(b->be, vj_f32(b->y), vj_f32(b->x), vj_f32(b->w), NULL, NULL, 0, rows, WIDTH, WIDTH);
    return vj_now() - began_s;
}

/* Return the shortest of three times, since other programs are unlikely to disturb all three; a long run is not
 * repeated. */
static double least_forward(const bench *b, int64_t rows)
{
    double least_s = time_forward(b, rows);
    for (int i = 1; i < 3 && least_s < SLOW_S; i++) least_s = fmin(least_s, time_forward(b, rows));
    return least_s;
}

static double time_weight(const bench *b)
{
    const double began_s = vj_now();
    vj_linear_backward_weight(b->be, b->dw, NULL, vj_f32(b->y), vj_f32(b->x), 0, b->rows, WIDTH, WIDTH);
    return vj_now() - began_s;
}

/*
 * Try each candidate briefly, to drop the slow ones and to find how many rows the fastest can multiply in the time. The
 * rows grow step by step, because the rate with few rows says little about many.
 */
static vj_status try_all(bench *b, vj_product_rate *rates, int count, bool slow[VJ_PRODUCT_CANDIDATES])
{
    double trial_s[VJ_PRODUCT_CANDIDATES];
    int fastest = 0;
    for (int i = 0; i < count; i++) { /* the first call is not timed: a library initialises itself in it */
        VJ_TRY(vj_cpu_use_products(b->be, rates[i].name));
        time_forward(b, TRIAL_ROWS);
        trial_s[i] = least_forward(b, TRIAL_ROWS);
        rates[i].gflops = 2e-9 * WIDTH * WIDTH * TRIAL_ROWS / trial_s[i];
        if (trial_s[i] < trial_s[fastest]) fastest = i;
    }
    for (int i = 0; i < count; i++) slow[i] = trial_s[i] > HOPELESS * trial_s[fastest] && trial_s[i] > SLOW_S;
    VJ_TRY(vj_cpu_use_products(b->be, rates[fastest].name));
    int64_t rows = TRIAL_ROWS;
    while (rows < b->rows && least_forward(b, rows) < SHORT_S) rows *= GROWTH;
    if (rows < b->rows) b->rows = rows;
    return VJ_OK;
}

static vj_status time_all(bench *b, vj_product_rate *rates, int count)
{
    double forward_s[VJ_PRODUCT_CANDIDATES], weight_s[VJ_PRODUCT_CANDIDATES], spent_s = 0;
    bool slow[VJ_PRODUCT_CANDIDATES];
    const double flops = 2.0 * WIDTH * WIDTH;
    VJ_TRY(try_all(b, rates, count, slow));
    for (int i = 0; i < count; i++) forward_s[i] = weight_s[i] = 1e30;
    for (int round = 0; round < MIN_ROUNDS || (round < MAX_ROUNDS && spent_s < BUDGET_S * count); round++)
        for (int i = 0; i < count; i++) {
            if (slow[i]) continue;
            VJ_TRY(vj_cpu_use_products(b->be, rates[i].name));
            const double forward = time_forward(b, b->rows), weight = time_weight(b);
            if (forward < forward_s[i]) forward_s[i] = forward;
            if (weight < weight_s[i]) weight_s[i] = weight;
            spent_s += forward + weight;
            rates[i].gflops = 1e-9 * 2.0 * flops * (double)b->rows / (forward_s[i] + weight_s[i]);
        }
    return vj_sync(b->be);
}

/* The time does not depend on the values, as long as they are not denormals. */
static vj_status set_up(bench *b)
{
    vj_backend *be = b->be;
    const int64_t wanted = (int64_t)be->threads * ROWS_PER_THREAD;
    b->rows = wanted < ROWS ? ROWS : wanted > MAX_ROWS ? MAX_ROWS : wanted;
    const int64_t layer = (int64_t)WIDTH * WIDTH, rows = b->rows * WIDTH, bytes = (int64_t)sizeof(float);
    b->x = vj_device_alloc(be, rows * bytes);
    b->y = vj_device_alloc(be, rows * bytes);
    b->w = vj_device_alloc(be, layer * bytes);
    b->dw = vj_device_alloc(be, layer * bytes);
    if (!b->x || !b->y || !b->w || !b->dw) return VJ_ERR_MEMORY; /* reported by the device */
    vj_fill(be, b->x, 0.7f, rows);
    vj_fill(be, b->y, 0.7f, rows);
    vj_fill(be, b->w, 0.01f, layer);
    vj_fill(be, b->dw, 0.01f, layer);
    return vj_sync(be);
}

vj_status vj_cpu_time_products(vj_backend *be, vj_product_rate *rates, int capacity, int *count)
{
    const char *products = vj_cpu_of(be)->products;
    bench b = {.be = be};
    *count = 0;
    capacity = capacity < VJ_PRODUCT_CANDIDATES ? capacity : VJ_PRODUCT_CANDIDATES;
    vj_product_rates_add(rates, capacity, count, "own", vj_cpu_of(be)->best->name);
    list_variants(be, rates, capacity, count);
    list_libraries(be, rates, capacity, count);
    list_choice(be, rates, capacity, count);

    vj_status status = set_up(&b);
    if (status == VJ_OK) status = time_all(&b, rates, *count);
    vj_device_free(be, b.x);
    vj_device_free(be, b.y);
    vj_device_free(be, b.w);
    vj_device_free(be, b.dw);
    const vj_status back = vj_cpu_use_products(be, products);
    VJ_ASSERT(back == VJ_OK); /* it was in use before */
    return status;
}

int vj_product_rates_pick(const vj_product_rate *rates, int count)
{
    int best = 0;
    for (int i = 1; i < count; i++)
        if (rates[i].gflops > rates[best].gflops) best = i;
    return rates[best].gflops >= 1.1 * rates[0].gflops ? best : 0;
}
