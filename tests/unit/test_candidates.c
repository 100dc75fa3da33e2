/* Tests the choice of the code for matrix products: by name, by timing the candidates, and what "auto" chooses. */
#include <omp.h>
#include <time.h>

#include "kernel_test.h"

static bool has(vj_backend *be, const char *name)
{
    const char *before = vj_backend_products(be);
    const bool taken = vj_backend_set_products(be, name) == VJ_OK;
    assert_int_equal(vj_backend_set_products(be, before), VJ_OK);
    return taken;
}

static void names(void **state)
{
    (void)state;
    vj_backend *be;
    setenv("VJ_PRODUCTS", "abacus", 1);
    assert_int_equal(vj_backend_open(&be, "cpu", VJ_FP32, 1), VJ_ERR_USAGE);
    setenv("VJ_PRODUCTS", "portable", 1);
    assert_int_equal(vj_backend_open(&be, "cpu", VJ_FP32, 2), VJ_OK);
    assert_string_equal(vj_backend_describe(be), "cpu (portable, 2 threads, fp32)");
    assert_int_equal(vj_backend_set_products(be, "own"), VJ_OK); /* the environment variable takes precedence */
    assert_string_equal(vj_backend_products(be), "portable");
    vj_backend_close(be);
    unsetenv("VJ_PRODUCTS");

    setenv("VJ_ISA", "portable", 1);
    assert_int_equal(vj_backend_open(&be, "cpu", VJ_FP32, 2), VJ_OK);
    unsetenv("VJ_ISA");
    assert_string_equal(vj_backend_products(be), "own");
    assert_int_equal(vj_backend_set_products(be, "abacus"), VJ_ERR_USAGE);
    assert_int_equal(vj_backend_set_products(be, "auto"), VJ_ERR_USAGE); /* the caller must resolve "auto" */
    assert_int_equal(vj_backend_set_products(be, "avx2"), VJ_ERR_USAGE);
    assert_string_equal(vj_backend_products(be), "own");
    const char *libraries[] = {"onednn", "cblas"};
    for (int i = 0; i < 2; i++) {
        char want[64];
        if (vj_backend_set_products(be, libraries[i]) != VJ_OK) continue;
        assert_string_equal(vj_backend_products(be), libraries[i]);
        snprintf(want, sizeof want, "cpu (portable + %s, 2 threads, fp32)", libraries[i]);
        assert_string_equal(vj_backend_describe(be), want);
        vj_backend_set_precision(be, VJ_BF16);
        assert_string_equal(vj_backend_describe(be), "cpu (portable, 2 threads, bf16)");
        vj_backend_set_precision(be, VJ_FP32);
    }
    vj_backend_close(be);
}

/* Check that each candidate is reported once with a rate and can be chosen, and that timing changed nothing else. */
static void check_rates(vj_backend *be, bool bf16)
{
    vj_product_rate rates[VJ_PRODUCT_CANDIDATES];
    vj_op_profile profile[4];
    double before[VJ_PHASES], after[VJ_PHASES];
    int count;
    char described[96];
    snprintf(described, sizeof described, "%s", vj_backend_describe(be));
    vj_phase_reset(be);
    vj_phase_seconds(be, before);
    assert_int_equal(vj_backend_time_products(be, rates, VJ_PRODUCT_CANDIDATES, &count), VJ_OK);
    vj_phase_seconds(be, after);
    assert_true(vj_backend_flops(be) == 0 && vj_device_bytes(be) == 0);
    assert_int_equal(vj_backend_profile(be, profile, 4), 0);
    assert_true(after[VJ_PHASE_OTHER] - before[VJ_PHASE_OTHER] < 0.01);
    assert_string_equal(vj_backend_describe(be), described);

    assert_true(count >= 1 && count < VJ_PRODUCT_CANDIDATES);
    assert_string_equal(rates[0].name, "own");
    for (int i = 0; i < count; i++) {
        print_message("%s: %s %s %.0f GFLOP/s\n", described, rates[i].name, rates[i].detail, rates[i].gflops);
        assert_true(rates[i].gflops > 0 && isfinite(rates[i].gflops) && rates[i].detail[0]);
        for (int j = 0; j < i; j++) assert_string_not_equal(rates[i].name, rates[j].name);
        assert_true(has(be, rates[i].name));
    }
    const char *libraries[] = {"onednn", "cblas"};
    for (int l = 0; l < 2; l++) {
        int times = 0;
        for (int i = 0; i < count; i++) times += strcmp(rates[i].name, libraries[l]) == 0;
        assert_int_equal(times, !bf16 && has(be, libraries[l]));
    }
    assert_int_equal(vj_backend_time_products(be, rates, 1, &count), VJ_OK);
    assert_int_equal(count, 1);
}

static void rates(void **state)
{
    (void)state;
    for (int precision = VJ_FP32; precision <= VJ_BF16; precision++) {
        on_backend(NULL, "cpu", (vj_precision)precision, 1, check_rates);
        on_backend("portable", "strict", (vj_precision)precision, 2, check_rates);
    }
}

static void auto_needs_a_clear_win(void **state)
{
    (void)state;
    vj_product_rate r[3] = {{"own", "avx2", 100}, {"onednn", "3", 109}, {"cblas", "4", 50}};
    assert_int_equal(vj_product_rates_pick(r, 1), 0);
    assert_int_equal(vj_product_rates_pick(r, 3), 0);
    r[1].gflops = 111;
    assert_int_equal(vj_product_rates_pick(r, 3), 1);
    r[2].gflops = 120;
    assert_int_equal(vj_product_rates_pick(r, 3), 2);
}

static double cpu_s(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Check that with one thread the calling thread does all the work, and no library starts threads of its own, whatever
 * OpenMP would allow. CPU time is compared, because elapsed time depends on the load of the machine. */
static void check_threads(vj_backend *be, bool bf16)
{
    enum { R = 700, D = 600 };
    (void)bf16;
    const char *libraries[] = {"onednn", "cblas"};
    array x = array_random(be, R * D, 1, 1), w = array_random(be, D * D, 1, 2), y = array_empty(be, R * D);
    omp_set_num_threads(4);
    for (int l = 0; l < 2; l++) {
        if (vj_backend_set_products(be, libraries[l]) != VJ_OK) continue;
        for (int warm = 0; warm < 2; warm++) {
            const double all = cpu_s(CLOCK_PROCESS_CPUTIME_ID), mine = cpu_s(CLOCK_THREAD_CPUTIME_ID);
            for (int i = 0; i < 10; i++)
                vj_linear_forward(be, vj_f32(y.device), vj_f32(x.device), vj_f32(w.device), NULL, NULL, 0, R, D, D);
            const double others = cpu_s(CLOCK_PROCESS_CPUTIME_ID) - all - (cpu_s(CLOCK_THREAD_CPUTIME_ID) - mine);
            if (warm) assert_true(others < 0.25 * (cpu_s(CLOCK_THREAD_CPUTIME_ID) - mine));
        }
        assert_int_equal(omp_get_max_threads(), 4);
    }
    drop(be, &x), drop(be, &w), drop(be, &y);
}

static void no_threads_beside_ours(void **state)
{
    (void)state;
    on_backend(NULL, "cpu", VJ_FP32, 1, check_threads);
}

int main(void)
{
    unsetenv("VJ_PRODUCTS"); /* it may be set where tests are started */
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_threads_beside_ours), cmocka_unit_test(names),
                                       cmocka_unit_test(rates), cmocka_unit_test(auto_needs_a_clear_win)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
