/*
 * Tests probes: against the fixture probe.h5 (double precision), the folded form against the plain one, the plain one
 * against finite differences, the choice of a share of the labels, and learning.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "features/features.h"
#include "fixture_file.h"
#include "probe/campaign.h"
#include "probe/probe.h"

static vj_backend *be;

static int open_backend(void **state)
{
    (void)state;
    return vj_backend_open(&be, "cpu", VJ_FP32, 0) == VJ_OK ? 0 : -1;
}

static int close_backend(void **state)
{
    (void)state;
    vj_backend_close(be);
    return 0;
}

/* Return the largest |got - want|; NaN counts as infinite. */
static double worst(const float *got, const double *want, int64_t n)
{
    double most = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double error = fabs(got[i] - want[i]);
        if (!(error <= most)) most = isnan(error) ? INFINITY : error;
    }
    return most;
}

static double worst_float(const float *got, const float *want, int64_t n)
{
    double most = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double error = fabs((double)got[i] - want[i]);
        if (!(error <= most)) most = isnan(error) ? INFINITY : error;
    }
    return most;
}

static void fill_normal(float *x, int64_t n, double std, uint64_t index)
{
    vj_rng rng;
    vj_rng_init(&rng, 11, VJ_RNG_TEST, index);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(std * vj_rng_normal(&rng));
}

/* Fill all tensors with random numbers, biases and gains too, because zeros could hide an error. */
static void fill_weights(vj_probe *p)
{
    for (int i = 0; i < vj_probe_tensor_count(p); i++) {
        vj_probe_tensor *t = vj_probe_tensor_at(p, i);
        int gain = strstr(t->name, "norm") && strstr(t->name, "weight");
        fill_normal(t->weight, t->rows * t->cols, t->decay ? 0.2 : 0.1, 100 + (uint64_t)i);
        for (int64_t k = 0; gain && k < t->rows; k++) t->weight[k] += 1.0f;
    }
}

static void copy_weights(vj_probe *to, vj_probe *from)
{
    for (int i = 0; i < vj_probe_tensor_count(to); i++) {
        vj_probe_tensor *a = vj_probe_tensor_at(to, i), *b = vj_probe_tensor_at(from, i);
        assert_string_equal(a->name, b->name);
        memcpy(a->weight, b->weight, sizeof(float) * (size_t)(a->rows * a->cols));
    }
}

/* ------------------------------------------------------------------------------------------------ fixture */

static void *read_all(hid_t file, const char *name, hid_t type, size_t size, int64_t *count)
{
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    assert_true(set >= 0);
    hid_t space = H5Dget_space(set);
    *count = H5Sget_simple_extent_npoints(space);
    void *data = calloc((size_t)*count, size);
    assert_non_null(data);
    assert_true(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Sclose(space);
    H5Dclose(set);
    return data;
}

static int64_t attribute(hid_t file, const char *name)
{
    int64_t value = 0;
    hid_t a = H5Aopen(file, name, H5P_DEFAULT);
    assert_true(a >= 0 && H5Aread(a, H5T_NATIVE_INT64, &value) >= 0);
    H5Aclose(a);
    return value;
}

static void compare(hid_t file, const char *pooling, const char *name, const float *got, double tolerance)
{
    char path[192];
    int64_t n;
    snprintf(path, sizeof path, "f64/%s/%s", pooling, name);
    double *want = read_all(file, path, H5T_NATIVE_DOUBLE, sizeof *want, &n), error = worst(got, want, n);
    if (!(error <= tolerance)) print_error("%s: error %.2e, tolerance %.2e\n", path, error, tolerance);
    assert_true(error <= tolerance);
    free(want);
}

/* Tolerances of fixtures/README.md: 2e-6, gradients 1e-6 (their float32 run is off by 3e-7 and 9e-8). */
static void check_fixture(vj_pooling pooling, int folded)
{
    char path[512];
    int64_t n;
    const hid_t file = open_fixture("probe.h5");
    int64_t B = attribute(file, "batch");
    vj_probe_shape shape = {.pooling = pooling,
                            .D = (int)attribute(file, "dim"),
                            .heads = (int)attribute(file, "heads"),
                            .classes = (int)attribute(file, "classes"),
                            .tokens = attribute(file, "tokens"),
                            .batch = B,
                            .folded = folded};
    const char *kind = vj_pooling_name(pooling);
    vj_probe *p;
    assert_int_equal(vj_probe_create(&p, be, &shape), VJ_OK);
    for (int i = 0; i < vj_probe_tensor_count(p); i++) {
        vj_probe_tensor *t = vj_probe_tensor_at(p, i);
        snprintf(path, sizeof path, "weights/%s/%s", kind, t->name);
        float *w = read_all(file, path, H5T_NATIVE_FLOAT, sizeof *w, &n);
        assert_int_equal(n, t->rows * t->cols);
        memcpy(t->weight, w, sizeof *w * (size_t)n);
        free(w);
    }
    float *features = read_all(file, "inputs/features", H5T_NATIVE_FLOAT, sizeof *features, &n);
    int64_t labelled, values = n;
    int32_t *labels = read_all(file, "inputs/labels", H5T_NATIVE_INT32, sizeof *labels, &labelled);
    float *dfeatures = folded ? NULL : calloc((size_t)values, sizeof *dfeatures);
    if (folded) vj_probe_normalise(be, features, features, B * shape.tokens, shape.D);
    vj_probe_forward(p, features, B);
    float loss = (float)vj_probe_loss(p, labels);
    vj_probe_backward(p, dfeatures);
    assert_int_equal(vj_sync(be), VJ_OK);

    compare(file, kind, "pooled", vj_probe_pooled(p), 2e-6);
    compare(file, kind, "logits", vj_probe_logits(p), 2e-6);
    compare(file, kind, "loss", &loss, 2e-6);
    for (int i = 0; i < vj_probe_tensor_count(p); i++) {
        vj_probe_tensor *t = vj_probe_tensor_at(p, i);
        snprintf(path, sizeof path, "gradients/%s", t->name);
        compare(file, kind, path, t->gradient, 1e-6);
    }
    if (dfeatures) compare(file, kind, "gradient_features", dfeatures, 1e-6);
    free(features);
    free(labels);
    free(dfeatures);
    vj_probe_destroy(p);
    H5Fclose(file);
}

static void fixture_attentive_plain(void **state)
{
    (void)state, check_fixture(VJ_POOL_ATTENTIVE, 0);
}
static void fixture_attentive_folded(void **state)
{
    (void)state, check_fixture(VJ_POOL_ATTENTIVE, 1);
}
static void fixture_average(void **state)
{
    (void)state, check_fixture(VJ_POOL_AVERAGE, 0);
}

/* ------------------------------------------------------------------------------------------------ gradients */

/* Compare the folded with the plain form for odd sizes, fewer clips than the batch has room for, and tokens of very
 * different spread. */
static void folded_equals_plain(void **state)
{
    (void)state;
    static const struct {
        int D, heads, classes;
        int64_t tokens, B;
    } cases[] = {{1, 1, 1, 1, 1}, {15, 3, 5, 7, 2}, {96, 3, 8, 288, 5}, {64, 8, 2, 33, 4}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        int D = cases[c].D;
        int64_t N = cases[c].tokens, B = cases[c].B, values = B * N * D;
        vj_probe_shape shape = {VJ_POOL_ATTENTIVE, D, cases[c].heads, cases[c].classes, N, B + 1, 0, 0, 0};
        vj_probe *plain, *folded;
        assert_int_equal(vj_probe_create(&plain, be, &shape), VJ_OK);
        shape.folded = 1;
        assert_int_equal(vj_probe_create(&folded, be, &shape), VJ_OK);
        fill_weights(plain);
        copy_weights(folded, plain);
        float *x = calloc((size_t)values, sizeof *x), *xhat = calloc((size_t)values, sizeof *xhat);
        int32_t labels[8];
        fill_normal(x, values, 1.0, 1);
        for (int64_t r = 0; r < B * N; r++)
            for (int i = 0; i < D; i++) x[r * D + i] *= 1.0f + (float)(r % 5);
        for (int64_t b = 0; b < B; b++) labels[b] = (int32_t)(b % cases[c].classes);
        vj_probe_normalise(be, xhat, x, B * N, D);
        vj_probe_forward(plain, x, B);
        vj_probe_forward(folded, xhat, B);
        double loss = vj_probe_loss(plain, labels), same = vj_probe_loss(folded, labels);
        vj_probe_backward(plain, NULL);
        vj_probe_backward(folded, NULL);
        assert_int_equal(vj_sync(be), VJ_OK);
        /* The error of sums of up to 288 float32 products of order one is a few 1e-6. */
        assert_true(fabs(loss - same) <= 5e-6);
        assert_true(worst_float(vj_probe_logits(folded), vj_probe_logits(plain), B * cases[c].classes) <= 2e-5);
        for (int i = 0; i < vj_probe_tensor_count(plain); i++) {
            vj_probe_tensor *a = vj_probe_tensor_at(plain, i), *b = vj_probe_tensor_at(folded, i);
            double error = worst_float(b->gradient, a->gradient, a->rows * a->cols);
            /* The gradient of a bias is a sum over the rows of all clips. Another order, or fused multiply-adds, change
             * each by a few 1e-6. */
            if (!(error <= 4e-5)) print_error("%s: error %.2e\n", a->name, error);
            assert_true(error <= 4e-5);
        }
        vj_probe_destroy(plain);
        vj_probe_destroy(folded);
        free(x);
        free(xhat);
    }
}

/* Compare gradients with central differences of the loss over a step of 1e-2 in float32, whose errors are 1e-7 / 1e-2
 * by rounding and 1e-4 by curvature. */
static void finite_differences(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        vj_probe_shape shape = {kind ? VJ_POOL_AVERAGE : VJ_POOL_ATTENTIVE, 12, 2, 3, 6, 4, 0, 0, 0};
        vj_probe *p;
        float x[4 * 6 * 12], dx[4 * 6 * 12];
        const int32_t labels[4] = {0, 2, 1, 2};
        assert_int_equal(vj_probe_create(&p, be, &shape), VJ_OK);
        fill_weights(p);
        fill_normal(x, 4 * 6 * 12, 1.0, 2);
        vj_probe_forward(p, x, 4);
        vj_probe_loss(p, labels);
        vj_probe_backward(p, dx);
        int tensors = vj_probe_tensor_count(p);
        for (int i = 0; i <= tensors; i++) {
            vj_probe_tensor *t = i < tensors ? vj_probe_tensor_at(p, i) : NULL;
            int64_t n = t ? t->rows * t->cols : 4 * 6 * 12;
            float *w = t ? t->weight : x, *g = t ? t->gradient : dx;
            for (int64_t k = 0; k < n; k += 1 + n / 7) {
                float kept = w[k];
                double loss[2];
                for (int side = 0; side < 2; side++) {
                    w[k] = kept + (side ? 1e-2f : -1e-2f);
                    vj_probe_forward(p, x, 4);
                    loss[side] = vj_probe_loss(p, labels);
                }
                w[k] = kept;
                double want = (loss[1] - loss[0]) / 2e-2;
                if (!(fabs(g[k] - want) <= 2e-4))
                    print_error("%s[%d]: %.6f, differences say %.6f\n", t ? t->name : "features", (int)k, g[k], want);
                assert_true(fabs(g[k] - want) <= 2e-4);
            }
        }
        vj_probe_destroy(p);
    }
}

/* ------------------------------------------------------------------------------------------------ training */

static void share_of_labels(void **state)
{
    (void)state;
    enum { N = 1000 };
    int32_t labels[N];
    int64_t whole[N], half[N], few[N], again[N], n, m, k;
    for (int i = 0; i < N; i++) labels[i] = i % 10 == 9 ? -1 : i % 3;
    assert_int_equal(vj_probe_subset(whole, &n, labels, N, 3, 0, 100.0, 5), VJ_OK);
    assert_int_equal(n, 900);
    assert_int_equal(vj_probe_subset(half, &m, labels, N, 3, 0, 50.0, 5), VJ_OK);
    assert_int_equal(vj_probe_subset(few, &k, labels, N, 3, 0, 0.01, 5), VJ_OK);
    assert_int_equal(m, 450);
    assert_int_equal(k, 3); /* at least one clip of each class */
    int by_class[3] = {0};
    for (int64_t i = 0; i < m; i++) {
        assert_true(labels[half[i]] >= 0 && (i == 0 || half[i] > half[i - 1]));
        by_class[labels[half[i]]]++;
    }
    for (int c = 0; c < 3; c++) assert_true(abs(by_class[c] - 150) <= 1);
    for (int64_t i = 0; i < k; i++) { /* the smaller share is part of the larger */
        int64_t at = 0;
        while (at < m && half[at] != few[i]) at++;
        assert_true(at < m);
    }
    assert_int_equal(vj_probe_subset(again, &n, labels, N, 3, 450, 100.0, 5), VJ_OK);
    assert_int_equal(n, 450); /* 100 % of 450 clips are the same as 50 % of 900 */
    assert_memory_equal(again, half, sizeof(int64_t) * 450);
    assert_int_equal(vj_probe_subset(again, &n, labels, N, 3, 0, 50.0, 6), VJ_OK);
    assert_memory_not_equal(again, half, sizeof(int64_t) * 450);
}

static void refuses_what_it_cannot_be(void **state)
{
    (void)state;
    vj_probe *p;
    vj_probe_shape shape = {VJ_POOL_ATTENTIVE, 10, 3, 2, 4, 1, 1, 0, 0};
    assert_int_equal(vj_probe_create(&p, be, &shape), VJ_ERR_USAGE); /* 3 heads, width 10 */
    assert_null(p);
}

static void initial_weights(void **state)
{
    (void)state;
    vj_probe_shape shape = {VJ_POOL_ATTENTIVE, 64, 4, 10, 3, 1, 1, 0, 0};
    vj_probe *p;
    assert_int_equal(vj_probe_create(&p, be, &shape), VJ_OK);
    assert_int_equal(vj_probe_init(p, 3, 0.1), VJ_OK);
    for (int i = 0; i < vj_probe_tensor_count(p); i++) {
        vj_probe_tensor *t = vj_probe_tensor_at(p, i);
        int64_t n = t->rows * t->cols;
        double sum = 0.0, squares = 0.0, want = t->decay ? 0.1 : 0.0, limit = 0.0;
        for (int64_t k = 0; k < n; k++) {
            sum += t->weight[k];
            squares += (double)t->weight[k] * t->weight[k];
            limit = fmax(limit, fabs(t->weight[k]));
        }
        if (strstr(t->name, "fc2.weight")) want = 0.1 / sqrt(2.0);
        if (strstr(t->name, "linear")) want = 1.0 / 8.0 / sqrt(3.0); /* uniform between -1/sqrt(64) and 1/sqrt(64) */
        if (strstr(t->name, "norm") && strstr(t->name, "weight")) {
            assert_true(sum == (double)n);
            continue;
        }
        /* The tolerance is four standard errors of a deviation over n draws, 4 / sqrt(2 n), relative. */
        assert_true(fabs(sqrt(squares / (double)n) - want) <= want * 4.0 / sqrt(2.0 * (double)n));
        if (strstr(t->name, "linear")) assert_true(limit <= 0.125);
    }
    vj_probe_destroy(p);
}

/* For vj_probe_choice.progress: count the calls and keep the last share. */
static void keep_share(void *listener, double share)
{
    double *told = listener;
    assert_true(share > 0.0 && share <= 1.0);
    told[0] += 1.0;
    told[1] = share;
}

/*
 * Check learning. One of 20 tokens has the class as a direction, the others are noise. The attentive probe must find
 * it; the average probe can see it in the mean. The same settings must give the same bits again.
 */
static void learns_a_separable_problem(void **state)
{
    (void)state;
    enum { COUNT = 400, N = 20, D = 24, CLASSES = 4 };
    static float features[2][COUNT * N * D], pooled[2][COUNT * D];
    static int32_t labels[2][COUNT];
    float direction[CLASSES * D];
    fill_normal(direction, CLASSES * D, 3.0, 9);
    for (int set = 0; set < 2; set++) {
        vj_rng rng;
        vj_rng_init(&rng, 12, VJ_RNG_TEST, (uint64_t)set);
        fill_normal(features[set], COUNT * N * D, 0.5, 20 + (uint64_t)set);
        for (int c = 0; c < COUNT; c++) {
            labels[set][c] = (int32_t)vj_rng_below(&rng, CLASSES);
            int64_t at = vj_rng_below(&rng, N);
            for (int i = 0; i < D; i++) features[set][(c * N + at) * D + i] += direction[labels[set][c] * D + i];
            if (c % 50 == 7) labels[set][c] = -1;
        }
        vj_host_mean_tokens(pooled[set], features[set], COUNT, N, D);
    }
    vj_config config;
    vj_config_defaults(&config);
    config.probe.epochs = 20;
    config.probe.lr = 5e-3;
    config.probe.init_std = 0.1;
    for (int kind = 0; kind < 3; kind++) { /* attentive folded, plain; average of pooled features */
        vj_probe_choice choice = {.share = 100.0, .seed = 4};
        choice.shape = (vj_probe_shape){
            kind < 2 ? VJ_POOL_ATTENTIVE : VJ_POOL_AVERAGE, D, 2, CLASSES, kind < 2 ? N : 1, 16, kind == 0, 0, 0};
        vj_probe_data data[2];
        static float scratch[COUNT * N * D], means[2][COUNT * N], rstds[2][COUNT * N];
        for (int set = 0; set < 2; set++) {
            data[set] = (vj_probe_data){.count = COUNT,
                                        .tokens = choice.shape.tokens,
                                        .D = D,
                                        .labels = labels[set],
                                        .features = kind < 2 ? features[set] : pooled[set]};
            if (kind > 0) continue;
            vj_layernorm_forward(be, vj_f32(scratch), means[set], rstds[set], features[set], NULL, NULL, COUNT * N, D,
                                 1e-5f);
            data[set].mean = means[set];
            data[set].rstd = rstds[set];
        }
        int64_t chosen[COUNT];
        vj_probe_result result, again;
        vj_prediction *rows;
        assert_int_equal(vj_probe_subset(chosen, &choice.chosen_count, labels[0], COUNT, CLASSES, 0, 100.0, 4), VJ_OK);
        choice.chosen = chosen;
        double told[2] = {0, 0}; /* number of calls, the last share */
        choice.progress = keep_share;
        choice.listener = told;
        assert_int_equal(vj_probe_fit(&result, &rows, be, &config, &choice, &data[0], &data[1]), VJ_OK);
        assert_int_equal(vj_probe_fit(&again, NULL, be, &config, &choice, &data[0], &data[1]), VJ_OK);
        assert_true(told[1] == 1.0 &&
                    told[0] == 2.0 * (double)(config.probe.epochs * ((choice.chosen_count + 15) / 16)));
        if (!(result.accuracies.top1 > 95.0)) print_error("kind %d: %.1f %%\n", kind, result.accuracies.top1);
        assert_true(result.accuracies.top1 > 95.0 && result.accuracies.top5 >= result.accuracies.top1 &&
                    fabs(result.accuracies.mean_class - result.accuracies.top1) < 5.0);
        assert_memory_equal(&result, &again, sizeof result);
        int64_t right = 0, n = 0;
        for (int c = 0; c < COUNT; c++) {
            if (labels[1][c] < 0) continue;
            assert_true(rows[n].clip == c && rows[n].label == labels[1][c] && rows[n].views == 1);
            assert_int_equal(rows[n].rank == 0, rows[n].top[0] == labels[1][c]);
            right += rows[n++].rank == 0;
        }
        assert_int_equal(n, result.counted);
        assert_true(result.accuracies.top1 == 100.0 * (double)right / (double)n);
        free(rows);
    }
}

/* ------------------------------------------------------------------------------------------------ campaigns */

/* Write a feature store of `clips` clips, numbered from `first`, of width 3. */
static void write_store(const char *path, int64_t clips, int64_t first, uint64_t fingerprint)
{
    float features[3 * 8] = {0};
    int32_t labels[8] = {0, 1, 0, 1, 0, 1, 0, 1};
    int64_t numbers[8];
    for (int64_t i = 0; i < 8; i++) numbers[i] = first + i;
    vj_features_header layout = {.clips = clips,
                                 .tokens = 1,
                                 .width = 3,
                                 .label_count = 1,
                                 .label_names = {"shape"},
                                 .store_fingerprint = fingerprint,
                                 .encoder = "test",
                                 .preprocessing = "none",
                                 .config = ""};
    vj_features_writer *writer;
    assert_int_equal(vj_features_create(&writer, path, &layout, MPI_COMM_SELF), VJ_OK);
    vj_status status = vj_features_write(writer, 0, clips, features, labels, numbers, (const uint64_t *)numbers);
    assert_int_equal(vj_features_commit(writer, status, 1.0), VJ_OK);
}

/* Check that the features of a second encoder must come from the same clips as those of the first. */
static void encoders_see_the_same_clips(void **state)
{
    (void)state;
    char folder[] = "/tmp/vjepa_test_XXXXXX";
    static const struct {
        int64_t clips, first;
        uint64_t fingerprint;
        vj_status want;
    } cases[] = {{6, 100, 7, VJ_OK}, {5, 100, 7, VJ_ERR_USAGE}, {6, 101, 7, VJ_ERR_USAGE}, {6, 100, 8, VJ_ERR_USAGE}};
    static vj_probe_encoder encoders[2];
    vj_config config;
    assert_non_null(mkdtemp(folder));
    for (int e = 0; e < 2; e++) {
        snprintf(encoders[e].name, sizeof encoders[e].name, "encoder%d", e);
        snprintf(encoders[e].train, VJ_PATH, "%s/train%d.h5", folder, e);
        snprintf(encoders[e].validation, VJ_PATH, "%s/validation%d.h5", folder, e);
        write_store(encoders[e].train, 6, 100, 7);
        write_store(encoders[e].validation, 4, 0, 9); /* validation clips are not training clips, as it should be */
    }
    vj_config_defaults(&config);
    config.probe.tasks.count = 0;
    config.probe.pooling.count = 1;
    strcpy(config.probe.pooling.item[0], "average");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_store(encoders[1].train, cases[i].clips, cases[i].first, cases[i].fingerprint);
        assert_int_equal(vj_campaign_plan(&config, encoders, 2, MPI_COMM_SELF), cases[i].want);
    }
    write_store(encoders[1].train, 6, 100, 7);
    write_store(encoders[1].validation, 4, 0, 10);
    assert_int_equal(vj_campaign_plan(&config, encoders, 2, MPI_COMM_SELF), VJ_ERR_USAGE);
    for (int e = 0; e < 2; e++) unlink(encoders[e].train), unlink(encoders[e].validation);
    rmdir(folder); /* if a file is left this fails, and the folder stays for inspection */
}

/* Do one update of a probe on a backend. Returns loss, pooled features, logits, weights and gradient one after the
 * other.
 */
static float *one_update(const char *backend, vj_probe_shape shape, double lr, int64_t *n)
{
    vj_backend *own;
    vj_probe *p;
    assert_int_equal(vj_backend_open(&own, backend, VJ_FP32, 1), VJ_OK);
    assert_int_equal(vj_probe_create(&p, own, &shape), VJ_OK);
    assert_int_equal(vj_probe_init(p, 5, 0.1), VJ_OK);
    const int64_t B = shape.batch - 1, values = B * shape.tokens * shape.D;
    float *x = calloc((size_t)values, sizeof *x), *device = vj_device_alloc(own, values * (int64_t)sizeof *x);
    fill_normal(x, values, 1.0, 1);
    vj_upload(own, device, x, values * (int64_t)sizeof *x);
    if (shape.folded) vj_probe_normalise(own, device, device, B * shape.tokens, shape.D);
    const int32_t labels[] = {1, 0, 2};
    const bool inwards = shape.pooling == VJ_POOL_AVERAGE || !shape.folded;
    float *dfeatures = inwards ? vj_device_alloc(own, values * (int64_t)sizeof *x) : NULL, *all;
    vj_probe_forward(p, device, B);
    const double loss = vj_probe_loss(p, labels);
    assert_true(isfinite(loss));
    vj_probe_backward(p, dfeatures);
    vj_probe_update(p, 1, lr, 0.1, 0.5);
    *n = 1 + B * (shape.D + shape.classes) + (inwards ? values : 0);
    for (int i = 0; i < vj_probe_tensor_count(p); i++)
        *n += 2 * vj_probe_tensor_at(p, i)->rows * vj_probe_tensor_at(p, i)->cols;
    float *at = all = calloc((size_t)*n, sizeof *all);
    assert_non_null(all);
#define TAKE(from, count) (vj_download(own, at, from, (count) * (int64_t)sizeof *at), at += (count))
    *at++ = (float)loss;
    TAKE(vj_probe_pooled(p), B * shape.D);
    TAKE(vj_probe_logits(p), B * shape.classes);
    if (inwards) TAKE(dfeatures, values);
    for (int i = 0; i < vj_probe_tensor_count(p); i++) {
        const vj_probe_tensor *t = vj_probe_tensor_at(p, i);
        TAKE(t->weight, t->rows * t->cols);
        TAKE(t->gradient, t->rows * t->cols);
    }
#undef TAKE
    assert_int_equal(at - all, *n);
    assert_int_equal(vj_sync(own), VJ_OK);
    vj_probe_destroy(p);
    vj_backend_close(own);
    free(x);
    return all;
}

/*
 * Check that only kernels access a probe's memory: on the backend "strict", whose memory is inaccessible between
 * kernels, it has the same bits. The backend of VJ_TEST_BACKEND sums in another order, so its results are only close.
 */
static void other_memory_gives_the_same(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++) {
        const vj_probe_shape shape = {.pooling = form == 0 ? VJ_POOL_AVERAGE : VJ_POOL_ATTENTIVE,
                                      .D = 24,
                                      .heads = 3,
                                      .classes = 4,
                                      .tokens = 17,
                                      .batch = 4,
                                      .folded = form == 2};
        int64_t n, m;
        float *open = one_update("cpu", shape, 0.01, &n), *shut = one_update("strict", shape, 0.01, &m);
        assert_int_equal(n, m);
        assert_memory_equal(open, shut, (size_t)n * sizeof *open);
        free(shut);
        free(open);
        if (!getenv("VJ_TEST_BACKEND")) continue;
        /* Adam's first step is lr whatever the size of the gradient, so where the gradient is nearly zero its rounding
         * errors decide the sign. */
        const double lr = 1e-6;
        float *want = one_update("cpu", shape, lr, &n), *other = one_update(getenv("VJ_TEST_BACKEND"), shape, lr, &m);
        assert_int_equal(n, m);
        assert_true(worst_float(other, want, n) <= 4e-6);
        free(want);
        free(other);
    }
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixture_attentive_plain),
        cmocka_unit_test(fixture_attentive_folded),
        cmocka_unit_test(fixture_average),
        cmocka_unit_test(folded_equals_plain),
        cmocka_unit_test(finite_differences),
        cmocka_unit_test(other_memory_gives_the_same),
        cmocka_unit_test(share_of_labels),
        cmocka_unit_test(initial_weights),
        cmocka_unit_test(refuses_what_it_cannot_be),
        cmocka_unit_test(learns_a_separable_problem),
        cmocka_unit_test(encoders_see_the_same_clips),
    };
    int failed = cmocka_run_group_tests(tests, open_backend, close_backend);
    MPI_Finalize();
    return failed;
}
