/* Tests rows by index lists, the predictor's input, patches and pixel targets: exactly, or against sums in double. */
#include "kernel_test.h"

static void check_gather(vj_backend *be, bool rounded)
{
    (void)rounded;
    enum { SOURCE = 9, R = 14, D = 33 };
    const int32_t index[R] = {0, 8, 3, 3, 1, 7, 0, 5, 5, 5, 2, 8, 6, 3};
    array x = array_random(be, SOURCE * D, 1, 1), dy = array_random(be, R * D, 1, 2), y = array_empty(be, R * D);
    array dx = array_random(be, SOURCE * D, 1, 3);
    int32_t *dev_index = ints_on_device(be, index, R);
    double *want = widened(dx.host, SOURCE * D);

    vj_gather_rows(be, y.device, x.device, dev_index, R, D);
    pull(be, &y);
    for (int i = 0; i < R * D; i++) assert_true(y.host[i] == x.host[index[i / D] * D + i % D]);

    for (int i = 0; i < R * D; i++) want[index[i / D] * D + i % D] += dy.host[i];
    vj_scatter_add_rows(be, dx.device, dy.device, dev_index, R, D);
    pull(be, &dx);
    assert_close("scatter", dx.host, want, SOURCE * D, 2e-6, 0);

    vj_fill(be, y.device, 1.5f, R * D);
    pull(be, &y);
    for (int i = 0; i < R * D; i++) assert_true(y.host[i] == 1.5f);
    vj_copy(be, y.device, dy.device, R * D);
    pull(be, &y);
    assert_memory_equal(y.host, dy.host, R * D * 4);

    drop(be, &x), drop(be, &dy), drop(be, &y), drop(be, &dx);
    vj_device_free(be, dev_index);
    free(want);
}

static void check_predictor_input(vj_backend *be, bool rounded)
{
    (void)rounded;
    enum { CONTEXT = 4, N = 6, R = 9, TOKENS = 2 };
    const int32_t source[R] = {2, 0, -1, -1, 3, -2, 1, -2, -1}, position[R] = {5, 0, 1, 2, 3, 4, 5, 0, 1};
    const int widths[] = {1, 24, 37};
    for (int w = 0; w < 3; w++) {
        int D = widths[w];
        array u = array_random(be, CONTEXT * D, 1, 1), mask = array_random(be, TOKENS * D, 1, 2);
        array table = array_random(be, N * D, 1, 3), s = array_empty(be, R * D), ds = array_random(be, R * D, 1, 4);
        array du = array_empty(be, CONTEXT * D), dmask = array_empty(be, TOKENS * D);
        int32_t *dev_source = ints_on_device(be, source, R), *dev_position = ints_on_device(be, position, R);

        vj_predictor_input_forward(be, s.device, u.device, mask.device, table.device, dev_source, dev_position, R, D);
        pull(be, &s);
        for (int i = 0; i < R * D; i++) {
            int r = i / D, d = i % D;
            float token = source[r] >= 0 ? u.host[source[r] * D + d] : mask.host[(-1 - source[r]) * D + d];
            assert_true(s.host[i] == token + table.host[position[r] * D + d]);
        }

        double *want = doubles(TOKENS * D);
        for (int accumulate = 0; accumulate <= 1; accumulate++) {
            vj_predictor_input_backward(be, du.device, dmask.device, ds.device, dev_source, R, D, TOKENS, accumulate);
            for (int i = 0; i < R * D; i++)
                if (source[i / D] < 0) want[(-1 - source[i / D]) * D + i % D] += ds.host[i];
            pull(be, &du);
            pull(be, &dmask);
            assert_close("dmask", dmask.host, want, TOKENS * D, 2e-6, 0);
            for (int i = 0; i < R * D; i++)
                if (source[i / D] >= 0) assert_true(du.host[source[i / D] * D + i % D] == ds.host[i]);
        }
        array *all[] = {&u, &mask, &table, &s, &ds, &du, &dmask};
        for (int i = 0; i < 7; i++) drop(be, all[i]);
        vj_device_free(be, dev_source), vj_device_free(be, dev_position);
        free(want);
    }
}

static void check_patches(vj_backend *be, bool rounded)
{
    (void)rounded;
    enum { B = 2, C = 3, T = 4, H = 6, W = 9, TUBELET = 2, PATCH = 3, GT = 2, GH = 2, GW = 3 };
    enum { P = C * TUBELET * PATCH * PATCH, N = GT * GH * GW };
    array clips = array_random(be, B * C * T * H * W, 1, 1), patches = array_empty(be, B * N * P);
    stored copy = stored_empty(be, VJ_TYPE_BF16, B * N * P);
    vj_patchify(be, vj_f32(patches.device), clips.device, B, C, T, H, W, TUBELET, PATCH);
    vj_patchify(be, copy.device, clips.device, B, C, T, H, W, TUBELET, PATCH);
    pull(be, &patches);
    pull_stored(be, &copy);
    for (int p = 0; p < B * N * P; p++) assert_true(copy.host[p] == (float)bf16(patches.host[p]));
    drop_stored(be, &copy);
    int64_t i = 0;
    for (int b = 0; b < B; b++)
        for (int n = 0; n < N; n++)
            for (int c = 0; c < C; c++)
                for (int dt = 0; dt < TUBELET; dt++)
                    for (int dy = 0; dy < PATCH; dy++)
                        for (int dx = 0; dx < PATCH; dx++, i++) {
                            int t = n / (GH * GW) * TUBELET + dt, y = n / GW % GH * PATCH + dy, x = n % GW * PATCH + dx;
                            assert_true(patches.host[i] == clips.host[(((b * C + c) * T + t) * H + y) * W + x]);
                        }

    array out = array_empty(be, B * N * P);
    double *want = doubles(B * N * P);
    for (int r = 0; r < B * N; r++) {
        double mean = 0, squares = 0;
        for (int p = 0; p < P; p++) mean += patches.host[r * P + p] / (double)P;
        for (int p = 0; p < P; p++) squares += pow(patches.host[r * P + p] - mean, 2);
        for (int p = 0; p < P; p++)
            want[r * P + p] = (patches.host[r * P + p] - mean) / sqrt(squares / (P - 1) + (double)1e-6f);
    }
    vj_normalise_rows(be, out.device, patches.device, B * N, P, 1e-6f);
    pull(be, &out);
    assert_close("normalised", out.host, want, B * N * P, 1e-6, 1e-6);
    drop(be, &clips), drop(be, &patches), drop(be, &out);
    free(want);
}

static void gather_and_scatter(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_gather);
}

static void predictor_input(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_predictor_input);
}

static void patches(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_patches);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gather_and_scatter), cmocka_unit_test(predictor_input),
                                       cmocka_unit_test(patches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
