/*
 * Tests the kernels against single operations computed by an independent implementation in double (ops.h5 of the parity
 * fixtures, folder VJEPA_FIXTURES), with the tolerances stated there. Skipped if there are no fixtures.
 */
#include <hdf5.h>

#include "kernel_test.h"

static hid_t fixture;

/* Read a dataset of any type as doubles; *n gets the number of elements. */
static double *read_doubles(const char *group, const char *name, int64_t *n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", group, name);
    hid_t set = H5Dopen2(fixture, path, H5P_DEFAULT), space = H5Dget_space(set);
    assert_true(set >= 0 && space >= 0);
    *n = H5Sget_simple_extent_npoints(space);
    double *x = doubles(*n);
    assert_true(H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, x) >= 0);
    H5Sclose(space);
    H5Dclose(set);
    return x;
}

static array read_array(vj_backend *be, const char *group, const char *name)
{
    int64_t n;
    double *x = read_doubles(group, name, &n);
    array a = array_of(be, n, 0);
    for (int64_t i = 0; i < n; i++) a.host[i] = (float)x[i];
    push(be, &a);
    free(x);
    return a;
}

static void expect(const char *group, const char *name, const float *got, double absolute, double of_largest)
{
    int64_t n;
    double *want = read_doubles(group, name, &n), largest = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(want[i]));
    assert_close(name, got, want, n, absolute + of_largest * largest, 0);
    free(want);
}

static void check_gelu(vj_backend *be, bool rounded)
{
    (void)rounded;
    array x = read_array(be, "gelu", "x"), dy = read_array(be, "gelu", "output_gradient"), y = array_empty(be, x.n);
    vj_gelu_forward(be, y.device, x.device, x.n);
    pull(be, &y);
    expect("gelu", "output", y.host, 1e-6, 0);
    vj_gelu_backward(be, y.device, dy.device, x.device, x.n);
    pull(be, &y);
    expect("gelu", "gradient_x", y.host, 1e-6, 0);
    drop(be, &x), drop(be, &dy), drop(be, &y);
}

static void check_affine(vj_backend *be, bool rounded)
{
    (void)rounded;
    enum { R = 9, N = 5, K = 24 };
    array x = read_array(be, "affine", "x"), w = read_array(be, "affine", "w"), b = read_array(be, "affine", "b");
    array dy = read_array(be, "affine", "output_gradient"), y = array_empty(be, R * N), dx = array_empty(be, R * K);
    array dw = array_empty(be, N * K), db = array_empty(be, N);
    vj_linear_forward(be, vj_f32(y.device), vj_f32(x.device), vj_f32(w.device), b.device, NULL, 0, R, N, K);
    vj_linear_backward_input(be, vj_f32(dx.device), vj_f32(dy.device), vj_f32(w.device), R, N, K);
    vj_linear_backward_weight(be, dw.device, db.device, vj_f32(dy.device), vj_f32(x.device), 0, R, N, K);
    pull(be, &y), pull(be, &dx), pull(be, &dw), pull(be, &db);
    expect("affine", "output", y.host, 5e-6, 0);
    expect("affine", "gradient_x", dx.host, 5e-6, 0);
    expect("affine", "gradient_w", dw.host, 5e-6, 0);
    expect("affine", "gradient_b", db.host, 5e-6, 0);
    array *all[] = {&x, &w, &b, &dy, &y, &dx, &dw, &db};
    for (int i = 0; i < 8; i++) drop(be, all[i]);
}

static void check_norm(vj_backend *be, const char *group, float eps, bool affine)
{
    enum { R = 9, D = 24 };
    array x = read_array(be, group, "x"), dy = read_array(be, group, "output_gradient"), y = array_empty(be, R * D);
    array w = affine ? read_array(be, group, "w") : (array){0}, b = affine ? read_array(be, group, "b") : (array){0};
    array mean = array_empty(be, R), rstd = array_empty(be, R), dx = array_empty(be, R * D);
    array dw = array_empty(be, D), db = array_empty(be, D);
    vj_layernorm_forward(be, vj_f32(y.device), mean.device, rstd.device, x.device, w.device, b.device, R, D, eps);
    vj_layernorm_backward(be, dx.device, (vj_array){0}, (vj_array){0}, affine ? dw.device : NULL,
                          affine ? db.device : NULL, NULL, vj_f32(dy.device), x.device, mean.device, rstd.device,
                          w.device, NULL, 0, 0, R, D);
    pull(be, &y), pull(be, &dx), pull(be, &dw), pull(be, &db);
    expect(group, "output", y.host, 5e-6, 0); /* a hundredth of the error that plain float sums may have */
    expect(group, "gradient_x", dx.host, 0, 1e-6);
    if (affine) {
        expect(group, "gradient_w", dw.host, 0, 1e-6);
        expect(group, "gradient_b", db.host, 0, 1e-6);
        drop(be, &w), drop(be, &b);
    }
    array *all[] = {&x, &dy, &y, &mean, &rstd, &dx, &dw, &db};
    for (int i = 0; i < 8; i++) drop(be, all[i]);
}

static void check_norms(vj_backend *be, bool rounded)
{
    (void)rounded;
    check_norm(be, "layer_norm_eps1e-05", 1e-5f, true);
    check_norm(be, "layer_norm_eps1e-06", 1e-6f, true);
    check_norm(be, "plain_norm_eps1e-05", 1e-5f, false);
}

/*
 * The fixture has 9 queries and 12 keys. Three more queries of zeros, whose results have no gradient, make it
 * self-attention and do not change the other results.
 */
enum { BATCH = 2, HEADS = 3, QUERIES = 9, KEYS = 12, WIDTH = 8, DIM = HEADS * WIDTH };

static int64_t head_index(int b, int h, int row, int rows, int x)
{
    return (((int64_t)b * HEADS + h) * rows + row) * WIDTH + x;
}

static void check_attention(vj_backend *be, const char *group, double tolerance, double gradient_tolerance)
{
    int64_t n;
    double *q = read_doubles(group, "q", &n), *k = read_doubles(group, "k", &n), *v = read_doubles(group, "v", &n);
    double *g = read_doubles(group, "output_gradient", &n);
    array qkv = array_of(be, BATCH * KEYS * 3 * DIM, 0), dout = array_of(be, BATCH * KEYS * DIM, 0);
    for (int b = 0; b < BATCH; b++)
        for (int row = 0; row < KEYS; row++)
            for (int i = 0; i < DIM; i++) {
                float *to = qkv.host + ((int64_t)b * KEYS + row) * 3 * DIM;
                if (row < QUERIES) {
                    to[i] = (float)q[head_index(b, i / WIDTH, row, QUERIES, i % WIDTH)];
                    dout.host[(b * KEYS + row) * DIM + i] = (float)g[(b * QUERIES + row) * DIM + i];
                }
                to[DIM + i] = (float)k[head_index(b, i / WIDTH, row, KEYS, i % WIDTH)];
                to[2 * DIM + i] = (float)v[head_index(b, i / WIDTH, row, KEYS, i % WIDTH)];
            }
    push(be, &qkv), push(be, &dout);
    array out = array_empty(be, dout.n), lse = array_empty(be, BATCH * KEYS * HEADS), dqkv = array_empty(be, qkv.n);
    const int32_t offset[] = {0, KEYS, 2 * KEYS};
    int32_t *dev_offset = ints_on_device(be, offset, 3);
    const vj_rows packed = vj_rows_from(offset, dev_offset, BATCH);
    vj_attention_forward(be, vj_f32(out.device), lse.device, vj_f32(qkv.device), &packed, DIM, HEADS);
    vj_attention_backward(be, vj_f32(dqkv.device), NULL, vj_f32(dout.device), vj_f32(qkv.device), vj_f32(out.device),
                          lse.device, 0, &packed, DIM, HEADS);
    pull(be, &out), pull(be, &dqkv);

    float got[BATCH * QUERIES * DIM], part[BATCH * KEYS * DIM];
    for (int b = 0; b < BATCH; b++)
        memcpy(got + b * QUERIES * DIM, out.host + b * KEYS * DIM, QUERIES * DIM * sizeof *got);
    expect(group, "output", got, tolerance, 0);
    const char *names[] = {"gradient_q", "gradient_k", "gradient_v"};
    for (int which = 0; which < 3; which++) {
        int rows = which == 0 ? QUERIES : KEYS;
        for (int b = 0; b < BATCH; b++)
            for (int row = 0; row < rows; row++)
                for (int i = 0; i < DIM; i++)
                    part[head_index(b, i / WIDTH, row, rows, i % WIDTH)] =
                        dqkv.host[((int64_t)b * KEYS + row) * 3 * DIM + which * DIM + i];
        expect(group, names[which], part, gradient_tolerance, 0);
    }
    array *all[] = {&qkv, &dout, &out, &lse, &dqkv};
    for (int i = 0; i < 5; i++) drop(be, all[i]);
    vj_device_free(be, dev_offset);
    free(q), free(k), free(v), free(g);
}

static void check_attentions(vj_backend *be, bool rounded)
{
    (void)rounded;
    check_attention(be, "attention_mild", 2e-6, 2e-6);
    check_attention(be, "attention_sharp", 1e-5, 1e-4);
}

static void check_loss(vj_backend *be, const char *group, double exponent)
{
    enum { R = 18, D = 24 };
    array z = read_array(be, group, "z"), h = read_array(be, group, "h"), dz = array_empty(be, R * D);
    array weight = array_of(be, R, 1.0f / (R * D));
    int32_t rows[R], groups[R] = {0};
    for (int r = 0; r < R; r++) rows[r] = r;
    int32_t *dev_rows = ints_on_device(be, rows, R), *dev_groups = ints_on_device(be, groups, R);
    double loss = 0, *device = vj_device_alloc(be, sizeof loss);
    int64_t one;
    double *upper = read_doubles(group, "output_gradient", &one), *want = read_doubles(group, "output", &one);
    vj_upload(be, device, &loss, sizeof loss);
    vj_prediction_loss(be, device, dz.device, z.device, h.device, dev_rows, weight.device, dev_groups, R, D, exponent);
    vj_download(be, &loss, device, sizeof loss);
    pull(be, &dz);
    assert_true(fabs(loss - *want) <= 1e-6);
    for (int i = 0; i < R * D; i++) dz.host[i] *= (float)*upper;
    expect(group, "gradient_z", dz.host, 1e-8, 1e-6);
    drop(be, &z), drop(be, &h), drop(be, &dz), drop(be, &weight);
    vj_device_free(be, dev_rows), vj_device_free(be, dev_groups), vj_device_free(be, device);
    free(upper), free(want);
}

static void check_losses(vj_backend *be, bool rounded)
{
    (void)rounded;
    check_loss(be, "loss_exp1", 1);
    check_loss(be, "loss_exp2", 2);

    enum { B = 2, N = 9, D = 24 };
    const int32_t offset[] = {0, N, 2 * N};
    int32_t *dev_offset = ints_on_device(be, offset, 3);
    array z = read_array(be, "spread_penalty", "z"), dz = array_of(be, B * N * D, 0);
    /* The fixture was computed for z/2, so that some spreads are less than 1. */
    for (int i = 0; i < B * N * D; i++) z.host[i] *= 0.5f;
    push(be, &z);
    int64_t one;
    double *upper = read_doubles("spread_penalty", "output_gradient", &one);
    double *want = read_doubles("spread_penalty", "output", &one), got = 0, *device = vj_device_alloc(be, sizeof got);
    vj_upload(be, device, &got, sizeof got);
    vj_spread_penalty(be, device, dz.device, z.device, dev_offset, 1, B, D, 1.0 / (B * D));
    vj_download(be, &got, device, sizeof got);
    pull(be, &dz);
    assert_true(fabs(got - *want) <= 1e-6);
    for (int i = 0; i < B * N * D; i++) dz.host[i] *= 0.5f * (float)*upper;
    expect("spread_penalty", "gradient_z", dz.host, 1e-8, 1e-6);
    drop(be, &z), drop(be, &dz);
    vj_device_free(be, dev_offset), vj_device_free(be, device);
    free(upper), free(want);
}

static void gelu(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_gelu);
}

static void affine(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_affine);
}

static void norms(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_norms);
}

static void attention(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_attentions);
}

static void losses(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_losses);
}

int main(void)
{
    const char *folder = getenv("VJEPA_FIXTURES");
    char path[512];
    snprintf(path, sizeof path, "%s/ops.h5", folder ? folder : ".");
    FILE *there = fopen(path, "rb");
    if (!there) {
        printf("skipped: no fixture %s\n", path);
        return 77;
    }
    fclose(there);
    fixture = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    const struct CMUnitTest tests[] = {cmocka_unit_test(gelu), cmocka_unit_test(affine), cmocka_unit_test(norms),
                                       cmocka_unit_test(attention), cmocka_unit_test(losses)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    H5Fclose(fixture);
    return failed;
}
