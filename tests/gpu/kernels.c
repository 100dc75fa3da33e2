/*
 * Checks all kernels with the same inputs on the backends "cpu" and "cuda", and a second time on "cuda". Results of the
 * two backends may differ by rounding, within the tolerance of each result; both results of "cuda" must have the same
 * bits.
 *
 * A check calls kernels on one backend and names their results. Inputs depend only on the order of the calls that make
 * them, so they are the same on each backend.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "gpu_check.h"

enum { MAX_RESULTS = 24, ELEMENT_DOUBLE = 8 };

#define ROUNDED 1e-3 /* tolerance of what is stored as bf16 */

/* A result of kernels, and how much the backends may differ: norm of the difference divided by norm of the result. */
typedef struct {
    const char *name;
    void *device, *host; /* host: owned, allocated by collect() */
    int64_t n;
    int element; /* bytes: 2 bf16, 4 float, 8 double */
    double tolerance;
} result;

typedef struct {
    vj_backend *be;
    uint64_t arrays; /* number of arrays made so far */
    result results[MAX_RESULTS];
    int count;
    vj_type kept;           /* the type in which the model stores what only products and attention read */
    double exact, rounding; /* tolerance of floats, and of what is stored in that type */
} lab;

typedef void check(lab *l, const int shape[3]);

/* ------------------------------------------------------------------------------------------------ arrays */

/* End the program if memory that a check needs could not be allocated. */
static void *needed(void *memory)
{
    if (memory) return memory;
    fprintf(stderr, "gpu-check: out of memory\n");
    exit(VJ_EXIT_FAILED);
}

static void *device_copy(lab *l, const void *host, int64_t bytes)
{
    void *device = vj_device_alloc(l->be, bytes);
    if (!device) (void)vj_sync(l->be); /* reports why, if a kernel failed before */
    needed(device);
    vj_upload(l->be, device, host, bytes);
    return device;
}

static uint16_t rounded(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* Return normal numbers, from a table of some: drawing all of them anew would take half a minute. */
static float normal(uint64_t *state)
{
    enum { TABLE = 1 << 16 };
    static float table[TABLE];
    static bool filled = false;
    if (!filled) {
        vj_rng rng;
        vj_rng_init(&rng, 1, VJ_RNG_TEST, 0);
        for (int i = 0; i < TABLE; i++) table[i] = (float)vj_rng_normal(&rng);
        filled = true;
    }
    *state = *state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX: the upper bits are random */
    return table[*state >> 48];
}

/* Make an array of normal numbers times `scale`. */
static vj_array random_array(lab *l, int64_t n, double scale, vj_type type)
{
    float *floats = needed(malloc((size_t)n * 4));
    uint16_t *halves = needed(malloc((size_t)n * 2));
    uint64_t state = l->arrays++ * 0x9e3779b97f4a7c15u;
    for (int64_t i = 0; i < n; i++) {
        floats[i] = (float)scale * normal(&state);
        halves[i] = rounded(floats[i]);
    }
    const vj_array array = {
        device_copy(l, type == VJ_TYPE_BF16 ? (void *)halves : (void *)floats, n * vj_type_bytes(type)), type};
    free(floats);
    free(halves);
    return array;
}

static float *random_floats(lab *l, int64_t n, double scale)
{
    return random_array(l, n, scale, VJ_TYPE_F32).data;
}

/* Make an array of integers in [0, below). */
static int32_t *random_ints(lab *l, int64_t n, int64_t below)
{
    int32_t *host = needed(malloc((size_t)n * 4));
    vj_rng rng;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, l->arrays++);
    for (int64_t i = 0; i < n; i++) host[i] = (int32_t)vj_rng_below(&rng, below);
    int32_t *device = device_copy(l, host, n * 4);
    free(host);
    return device;
}

/* Register an array as a result, also one that kernels only add to. */
static void *watch(lab *l, const char *name, void *device, int64_t n, int element, double tolerance)
{
    VJ_ASSERT(l->count < MAX_RESULTS);
    l->results[l->count++] =
        (result){.name = name, .device = device, .n = n, .element = element, .tolerance = tolerance};
    return device;
}

/* Make an array for a result, filled with NaN, so that elements that a kernel does not write are noticed. */
static void *empty(lab *l, const char *name, int64_t n, int element, double tolerance)
{
    void *host = needed(malloc((size_t)(n * element)));
    memset(host, 0xff, (size_t)(n * element));
    void *device = device_copy(l, host, n * element);
    free(host);
    return watch(l, name, device, n, element, tolerance);
}

static float *floats_out(lab *l, const char *name, int64_t n)
{
    return empty(l, name, n, 4, l->exact);
}
static vj_array kept_out(lab *l, const char *name, int64_t n)
{
    return (vj_array){empty(l, name, n, (int)vj_type_bytes(l->kept), l->rounding), l->kept};
}
static double *doubles_in_out(lab *l, const char *name, int64_t n)
{
    double *zeros = needed(vj_calloc(n, sizeof *zeros));
    double *device = watch(l, name, device_copy(l, zeros, n * ELEMENT_DOUBLE), n, ELEMENT_DOUBLE, l->exact);
    free(zeros);
    return device;
}

/* ------------------------------------------------------------------------------------------------ checks */

static void check_linear(lab *l, const int shape[3])
{
    const int R = shape[0], N = shape[1], K = shape[2];
    const double scale = 1 / sqrt(K);
    const vj_array x = random_array(l, (int64_t)R * K, 1, l->kept), dy = random_array(l, (int64_t)R * N, 1, l->kept);
    const vj_array w = random_array(l, (int64_t)N * K, scale, l->kept);
    const vj_array pre = random_array(l, (int64_t)R * K, 1, l->kept);
    const float *bias = random_floats(l, N, 1), *residual = random_floats(l, (int64_t)R * N, 1);
    vj_linear_forward(l->be, vj_f32(floats_out(l, "y", (int64_t)R * N)), x, w, bias, residual, R, R, N, K);
    vj_linear_gelu_forward(l->be, kept_out(l, "gelu y", (int64_t)R * N), kept_out(l, "gelu pre", (int64_t)R * N), x, w,
                           bias, R, N, K);
    vj_linear_backward_input(l->be, kept_out(l, "dx", (int64_t)R * K), dy, w, R, N, K);
    vj_linear_gelu_backward_input(l->be, kept_out(l, "dpre", (int64_t)R * K), kept_out(l, "hidden", (int64_t)R * K),
                                  NULL, dy, w, pre, 0, R, N, K);
    float *dw = watch(l, "dw, added", random_floats(l, (int64_t)N * K, 1), (int64_t)N * K, 4, l->exact);
    vj_linear_backward_weight(l->be, dw, floats_out(l, "dbias", N), dy, x, 0, R, N, K);
    vj_linear_backward_weight(l->be, dw, NULL, dy, x, 1, R, N, K);
}

static void check_gelu(lab *l, const int shape[3])
{
    const int64_t n = shape[0];
    const float *x = random_floats(l, n, 3), *dy = random_floats(l, n, 1);
    vj_gelu_forward(l->be, floats_out(l, "y", n), x, n);
    vj_gelu_backward(l->be, floats_out(l, "dx", n), dy, x, n);
}

static void check_layernorm(lab *l, const int shape[3])
{
    const int R = shape[0], D = shape[1];
    const int64_t n = (int64_t)R * D;
    const float *x = random_floats(l, n, 2), *weight = random_floats(l, D, 1), *bias = random_floats(l, D, 1);
    const vj_array dy = random_array(l, n, 1, l->kept);
    float *mean = floats_out(l, "mean", R), *rstd = floats_out(l, "rstd", R);
    vj_layernorm_forward(l->be, kept_out(l, "y", n), mean, rstd, x, weight, bias, R, D, 1e-6f);
    float *dx = watch(l, "dx, added", random_floats(l, n, 1), n, 4, l->exact);
    const vj_array copy = {empty(l, "dx's copy", n, 2, ROUNDED), VJ_TYPE_BF16};
    vj_layernorm_backward(l->be, dx, copy, kept_out(l, "y again", n), floats_out(l, "dweight", D),
                          floats_out(l, "dbias", D), floats_out(l, "sums of dx", D), dy, x, mean, rstd, weight, bias, 1,
                          0, R, D);
}

/* Check attention of segments of length 1, 17, `longest`, 64 and a few more; shape: the longest, width of a head,
 * number of heads. */
static void check_attention(lab *l, const int shape[3])
{
    const int heads = shape[1], D = shape[0] * heads, longest = shape[2];
    const int32_t offset[] = {0, 1, 18, 18 + longest, 82 + longest, 87 + longest};
    enum { SEGMENTS = 5 };
    const vj_rows rows = vj_rows_from(offset, device_copy(l, offset, sizeof offset), SEGMENTS);
    const int64_t R = rows.rows;
    const vj_array qkv = random_array(l, R * 3 * D, 1, l->kept), dout = random_array(l, R * D, 1, l->kept);
    const vj_array out = kept_out(l, "out", R * D);
    float *lse = floats_out(l, "lse", R * heads);
    vj_attention_forward(l->be, out, lse, qkv, &rows, D, heads);
    const vj_array dqkv = kept_out(l, "dqkv", R * 3 * D);
    vj_attention_backward(l->be, dqkv, floats_out(l, "dbias", 3 * D), dout, qkv, out, lse, 0, &rows, D, heads);
    /* If out and dqkv are bf16, probabilities were rounded before they were normalised, which depends on the order of
     * keys. */
    for (int i = 0; i < l->count; i++) l->results[i].tolerance = l->results[i].element == 2 ? 6e-3 : 1e-5;
    l->results[l->count - 1].tolerance = 6e-3; /* dbias: sums of dqkv before or after it is rounded */
}

static void check_losses(lab *l, const int shape[3])
{
    enum { MASKS = 2, CLIPS = 2 };
    const int R = shape[0], D = shape[1];
    const int32_t offset[MASKS * CLIPS + 1] = {0, 1, R / 3, R / 2, R};
    const float *pred = random_floats(l, (int64_t)R * D, 1), *target = random_floats(l, (int64_t)R * D, 1),
                *weight = random_floats(l, R, 1);
    float *dpred = floats_out(l, "dpred", (int64_t)R * D);
    vj_prediction_loss(l->be, doubles_in_out(l, "loss", MASKS), dpred, pred, target, random_ints(l, R, R), weight,
                       random_ints(l, R, MASKS), R, D, 1.0);
    vj_spread_penalty(l->be, doubles_in_out(l, "penalty", 1), dpred, pred, device_copy(l, offset, sizeof offset), MASKS,
                      CLIPS, D, 0.5);
    vj_softmax_loss(l->be, doubles_in_out(l, "softmax loss", 1), floats_out(l, "dlogits", (int64_t)R * D), pred,
                    random_ints(l, R, D), R, D);
}

static void check_adamw(lab *l, const int shape[3])
{
    const int64_t n = shape[0], half = n / 2;
    float *second = random_floats(l, n, 1);
    vj_fill(l->be, second, 1e-4f, n); /* second moments are never negative */
    const vj_adamw_vectors vectors = {.w = watch(l, "w", random_floats(l, n, 1), n, 4, l->exact),
                                      .first_moment = watch(l, "m", random_floats(l, n, 1e-2), n, 4, l->exact),
                                      .second_moment = watch(l, "v", second, n, 4, l->exact),
                                      .gradient = random_floats(l, n, 1e-2),
                                      .target = watch(l, "target", random_floats(l, n, 1), n, 4, l->exact),
                                      .rounded_w = empty(l, "rounded w", n, 2, 1e-3),
                                      .rounded_target = empty(l, "rounded target", n, 2, 1e-3)};
    const vj_segment segments[] = {{0, half, 1e-3, 0.1}, {half, n - half, 2e-3, 0}};
    const vj_adamw_step step = {.beta1 = 0.9,
                                .beta2 = 0.999,
                                .eps = 1e-8,
                                .correction1 = 0.19,
                                .correction2 = 0.002,
                                .gradient_scale = 0.7,
                                .ema = 0.99};
    vj_adamw(l->be, &vectors, segments, 2, &step);
}

static void check_rows(lab *l, const int shape[3])
{
    enum { TOKENS = 2 };
    const int R = shape[0], D = shape[1], sources = R / 2;
    const int64_t n = (int64_t)R * D;
    const float *x = random_floats(l, n, 1), *mask_tokens = random_floats(l, TOKENS * D, 1);
    int32_t *source = needed(malloc((size_t)R * 4));
    for (int r = 0; r < R; r++) source[r] = r < sources ? sources - 1 - r : -1 - r % TOKENS;
    const int32_t *from = device_copy(l, source, (int64_t)R * 4), *position = random_ints(l, R, R);
    free(source);
    vj_gather_rows(l->be, floats_out(l, "gathered", n), x, random_ints(l, R, R), R, D);
    float *sums = watch(l, "scattered, added", random_floats(l, n, 1), n, 4, l->exact);
    vj_scatter_add_rows(l->be, sums, x, random_ints(l, R, R), R, D);
    vj_predictor_input_forward(l->be, floats_out(l, "predictor input", n), x, mask_tokens, x, from, position, R, D);
    vj_predictor_input_backward(l->be, floats_out(l, "du", (int64_t)sources * D),
                                floats_out(l, "dmask_tokens", TOKENS * D), x, from, R, D, TOKENS, 0);
    vj_normalise_rows(l->be, floats_out(l, "normalised", n), x, R, D, 1e-6f);
    vj_round_bf16(l->be, empty(l, "rounded", n, 2, 0), x, n);
    vj_add(l->be, sums, x, n);
    vj_scale(l->be, sums, 0.5f, n);
}

/* Check kernels on clips of four frames of `side` pixels, with patches of 16. */
static void check_clips(lab *l, const int shape[3])
{
    enum { CLIPS = 2, FRAMES = 4 };
    const int side = shape[0], height = side + 9, width = side + 22;
    const int64_t bytes = (int64_t)FRAMES * height * width * 3, n = (int64_t)CLIPS * 3 * FRAMES * side * side;
    const double mean[3] = {0.485, 0.456, 0.406}, std[3] = {0.229, 0.224, 0.225};
    const vj_clip_view views[CLIPS] = {{0, height, width, {3, 5, side - 7, side + 11, 0}},
                                       {bytes, height, width, {0, 0, height, width, 1}}};
    const uint8_t *frames = (const uint8_t *)random_ints(l, CLIPS * bytes / 4 + 1, INT32_MAX);
    float *pixels = floats_out(l, "pixels", n);
    vj_crop_clips(l->be, pixels, frames, views, CLIPS, FRAMES, side, mean, std);
    vj_patchify(l->be, vj_f32(floats_out(l, "patches", n)), pixels, CLIPS, 3, FRAMES, side, side, 2, 16);
}

static void check_sums(lab *l, const int shape[3])
{
    const int R = shape[0], D = shape[1];
    const int64_t n = (int64_t)R * D;
    const float *x = random_floats(l, n, 1), *in[] = {x, random_floats(l, n, 1), random_floats(l, n, 1)};
    const vj_span spans[] = {{0, n / 3}, {n / 3, 0}, {n / 3 + 1, n - n / 3 - 1}};
    vj_sum_squares_many(l->be, empty(l, "squares", 3, ELEMENT_DOUBLE, 1e-12), x, spans, 3);
    vj_sum_arrays(l->be, floats_out(l, "arrays", n), in, 3, n);
    vj_column_moments(l->be, doubles_in_out(l, "moments", 2 * D), x, R, D);
}

/* Check kernels of probes; shape: B, N, width of a head; there are four heads. */
static void check_probes(lab *l, const int shape[3])
{
    enum { HEADS = 4 };
    const int B = shape[0], N = shape[1], D = shape[2] * HEADS;
    const int64_t rows = (int64_t)B * N;
    const float *x = random_floats(l, rows * D, 1), *query = random_floats(l, HEADS * D, 0.3);
    float *pooled = floats_out(l, "pooled", (int64_t)B * HEADS * D), *prob = floats_out(l, "prob", rows * HEADS);
    vj_pool_forward(l->be, pooled, prob, x, query, B, N, D, HEADS);
    vj_pool_backward(l->be, floats_out(l, "dquery", HEADS * D), random_floats(l, (int64_t)B * HEADS * D, 1), pooled,
                     prob, x, B, N, D, HEADS);
    float *mean = floats_out(l, "mean", (int64_t)B * D);
    vj_mean_tokens(l->be, mean, x, B, N, D);
    vj_mean_tokens_backward(l->be, floats_out(l, "dx of mean", rows * D), mean, B, N, D);
    const float *q = random_floats(l, D, 1), *kv = random_floats(l, rows * 2 * D, 1), *row = random_floats(l, D, 1);
    float *shares = floats_out(l, "query prob", rows * HEADS);
    vj_query_attention_forward(l->be, floats_out(l, "query y", (int64_t)B * D), shares, q, kv, row, B, N, D, HEADS);
    vj_query_attention_backward(l->be, floats_out(l, "dq", (int64_t)B * D), floats_out(l, "dkv", rows * 2 * D), mean,
                                shares, q, kv, B, N, D, HEADS);
    float *apart = floats_out(l, "split", (int64_t)B * D);
    vj_split_heads(l->be, apart, mean, B, D, HEADS);
    vj_join_heads(l->be, floats_out(l, "joined", (int64_t)B * D), apart, row, B, D, HEADS);
}

/* ------------------------------------------------------------------------------------------------ comparison */

static const struct {
    const char *name;
    check *run;
    int shape[3];
    bool large;    /* skipped on the emulated GPU and under sanitizers */
    bool products; /* done once with each candidate for products */
} checks[] = {
    {"linear", check_linear, {33, 24, 40}, false, true},
    {"linear", check_linear, {65, 37, 51}, false, true},
    {"linear", check_linear, {137, 200, 144}, false, true},
    {"linear", check_linear, {1573, 1536, 384}, true, true},
    {"linear", check_linear, {1000, 1280, 1280}, true, true},
    {"gelu", check_gelu, {4099, 0, 0}, false, false},
    {"layernorm", check_layernorm, {21, 131, 0}, false, false},
    {"layernorm", check_layernorm, {37, 384, 0}, false, false},
    {"layernorm", check_layernorm, {2047, 1280, 0}, true, false},
    {"attention", check_attention, {24, 2, 70}, false, false},
    {"attention", check_attention, {32, 2, 70}, false, false},
    {"attention", check_attention, {64, 1, 70}, false, true},
    {"attention", check_attention, {80, 1, 70}, false, true},
    {"attention", check_attention, {128, 1, 70}, false, true},
    {"attention", check_attention, {24, 16, 1400}, true, false},
    {"attention", check_attention, {32, 12, 1400}, true, false},
    {"attention", check_attention, {64, 16, 1400}, true, true},
    {"attention", check_attention, {80, 16, 1400}, true, true},
    {"attention", check_attention, {128, 8, 1400}, true, true},
    {"losses", check_losses, {41, 96, 0}, false, false},
    {"losses", check_losses, {3001, 1280, 0}, true, false},
    {"adamw", check_adamw, {4101, 0, 0}, false, false},
    {"adamw", check_adamw, {5000001, 0, 0}, true, false},
    {"rows", check_rows, {43, 52, 0}, false, false},
    {"rows", check_rows, {5003, 384, 0}, true, false},
    {"clips", check_clips, {32, 0, 0}, false, false},
    {"clips", check_clips, {224, 0, 0}, true, false},
    {"sums", check_sums, {67, 33, 0}, false, false},
    {"sums", check_sums, {5003, 1280, 0}, true, false},
    {"probes", check_probes, {3, 37, 8}, false, false},
    {"probes", check_probes, {8, 1568, 64}, true, false},
};

/* Run a check on a backend of its own and bring its results to the host. */
static bool collect(lab *l, int number, const char *backend, vj_precision precision, const char *products)
{
    const bool bf16 = precision == VJ_BF16;
    *l = (lab){.kept = bf16 ? VJ_TYPE_BF16 : VJ_TYPE_F32, .exact = 5e-6, .rounding = bf16 ? ROUNDED : 5e-6};
    /* VJ_PRODUCTS names a candidate of the GPU, which the cpu does not know. */
    char chosen[32];
    const bool hides = getenv("VJ_PRODUCTS") && strcmp(backend, "cpu") == 0;
    if (hides) snprintf(chosen, sizeof chosen, "%s", getenv("VJ_PRODUCTS"));
    if (hides) unsetenv("VJ_PRODUCTS");
    const bool open = vj_backend_open(&l->be, backend, precision, 0) == VJ_OK;
    if (hides) setenv("VJ_PRODUCTS", chosen, 1);
    if (!open) return false;
    bool good = vj_backend_set_products(l->be, products) == VJ_OK;
    if (good) checks[number].run(l, checks[number].shape);
    good = vj_sync(l->be) == VJ_OK && good;
    for (int i = 0; i < l->count && good; i++) {
        result *r = &l->results[i];
        r->host = needed(malloc((size_t)(r->n * r->element)));
        vj_download(l->be, r->host, r->device, r->n * r->element);
    }
    good = vj_sync(l->be) == VJ_OK && good;
    vj_backend_close(l->be);
    return good;
}

static double value(const result *r, int64_t i)
{
    if (r->element == ELEMENT_DOUBLE) return ((const double *)r->host)[i];
    if (r->element == 4) return ((const float *)r->host)[i];
    const uint32_t bits = (uint32_t)((const uint16_t *)r->host)[i] << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* Print the element that differs most, how many differ by more than is allowed, and the first and last of these. */
static void print_worst(const result *got, const result *want, double allowed)
{
    int64_t worst = 0, count = 0, first = 0, last = 0;
    double most = -1;
    for (int64_t i = 0; i < want->n; i++) {
        const double difference = fabs(value(got, i) - value(want, i));
        if (difference <= allowed) continue;
        if (count++ == 0) first = i;
        last = i;
        if (!(difference <= most) && !isnan(most)) most = difference, worst = i;
    }
    if (count == 0) return;
    printf("     %s: element %lld is %.9g, expected %.9g; %lld of %lld elements differ by more than %.1e, from element "
           "%lld "
           "to %lld\n",
           got->name, (long long)worst, value(got, worst), value(want, worst), (long long)count, (long long)want->n,
           allowed, (long long)first, (long long)last);
}

/* Compare results. Besides the norms, no element may differ by more than ten times the tolerance of the largest. */
static bool compare(const char *title, const result *got, const result *want, const result *again)
{
    double error = 0, norm = 0, worst = 0, largest = 0;
    for (int64_t i = 0; i < want->n; i++) {
        const double x = value(want, i), difference = fabs(value(got, i) - x);
        error += difference * difference;
        norm += x * x;
        if (!(difference <= worst) && !isnan(worst)) worst = difference;
        largest = fmax(largest, fabs(x));
    }
    const double unit = largest > 0 ? largest : 1;
    error = norm > 0 ? sqrt(error / norm) : sqrt(error);
    worst /= unit;
    const bool close = error <= want->tolerance && worst <= 10 * want->tolerance;
    const bool same = memcmp(got->host, again->host, (size_t)(got->n * got->element)) == 0;
    printf("%-4s %-44s %-17s error %.1e of the norm, %.1e of the largest at most (allowed %.0e), second run %s\n",
           close && same ? "ok" : "FAIL", title, got->name, error, worst, want->tolerance,
           same ? "has the same bits" : "HAS OTHER BITS");
    if (!close) print_worst(got, want, worst <= 10 * want->tolerance ? 0 : 10 * want->tolerance * unit);
    if (!same) print_worst(again, got, 0);
    return close && same;
}

static void release(lab *l)
{
    for (int i = 0; i < l->count; i++) free(l->results[i].host);
}

/*
 * Run a check by each candidate for products, with VJ_PRODUCTS only by that one, or once. Returns how many of these
 * failed, and adds them to *ran.
 */
static int run_check(int number, vj_precision precision, int *ran)
{
    static const char *const products[] = {"own", "mma", "wgmma", "cublaslt"};
    enum { PRODUCTS = sizeof products / sizeof products[0] };
    const int *shape = checks[number].shape;
    const char *only = checks[number].products ? getenv("VJ_PRODUCTS") : NULL;
    lab want, got, again;
    int failed = 0;
    const bool known = collect(&want, number, "cpu", precision, "own");
    for (int p = 0; p < (checks[number].products ? PRODUCTS : 1); p++) {
        char title[96];
        if (!vj_products_present(products[p]) || (only && strcmp(only, products[p]) != 0)) continue;
        snprintf(title, sizeof title, "%s %d %d %d, %s, %s", checks[number].name, shape[0], shape[1], shape[2],
                 precision == VJ_BF16 ? "bf16" : "fp32", products[p]);
        printf("     %s ...\n", title); /* should the program end here */
        bool good = collect(&got, number, "cuda", precision, products[p]) && known;
        good = collect(&again, number, "cuda", precision, products[p]) && good;
        if (!good) printf("FAIL %s: could not be run\n", title);
        for (int i = 0, both = good; i < want.count && both; i++)
            good = compare(title, &got.results[i], &want.results[i], &again.results[i]) && good;
        release(&got);
        release(&again);
        failed += !good;
        ++*ran;
    }
    release(&want);
    return failed;
}

int gpu_kernels(const char *name, bool small)
{
    int failed = 0, ran = 0;
    for (int i = 0; i < (int)(sizeof checks / sizeof checks[0]); i++) {
        if ((name && strcmp(name, checks[i].name) != 0) || (small && checks[i].large)) continue;
        for (int precision = VJ_FP32; precision <= VJ_BF16; precision++)
            failed += run_check(i, (vj_precision)precision, &ran);
    }
    if (ran == 0) {
        fprintf(stderr, "gpu-check: there is no check of kernels called %s\n", name);
        return VJ_EXIT_USAGE;
    }
    printf("kernels: %d of %d checks failed\n", failed, ran);
    return failed == 0 ? VJ_EXIT_DONE : VJ_EXIT_FAILED;
}
