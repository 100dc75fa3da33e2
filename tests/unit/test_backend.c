/* Tests backends: opening, description, memory and views; and that the host really cannot access strict memory. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel_test.h"

static void names(void **state)
{
    (void)state;
    vj_backend *be = NULL;
    unsetenv("VJ_PRODUCTS"); /* it may be set where tests are started */
    assert_int_equal(vj_backend_open(&be, "abacus", VJ_FP32, 1), VJ_ERR_USAGE);
    assert_null(be);
    setenv("VJ_ISA", "z80", 1);
    assert_int_equal(vj_backend_open(&be, "cpu", VJ_FP32, 1), VJ_ERR_USAGE);
    setenv("VJ_ISA", "portable", 1);
    assert_int_equal(vj_backend_open(&be, "cpu", VJ_BF16, 2), VJ_OK);
    unsetenv("VJ_ISA");
    assert_string_equal(vj_backend_describe(be), "cpu (portable, 2 threads, bf16)");
    vj_backend_set_precision(be, VJ_FP32);
    assert_string_equal(vj_backend_describe(be), "cpu (portable, 2 threads, fp32)");
    assert_int_equal(vj_backend_precision(be), VJ_FP32);
    vj_backend_close(be);
    vj_backend_close(NULL);
}

static void check_memory(vj_backend *be, bool rounded)
{
    (void)rounded;
    assert_int_equal(vj_device_bytes(be), 0);
    float *a = vj_device_alloc(be, 10), *b = vj_device_alloc(be, 5 << 20), *c = vj_device_alloc(be, 0);
    assert_true(a && b && c && a != b && b != c);
    assert_true((uintptr_t)a % 64 == 0 && (uintptr_t)b % 64 == 0);
    assert_true(vj_device_bytes(be) >= 10 + (5 << 20));
    float host[4] = {1, 2, 3, 4}, back[4];
    vj_upload(be, b + 100, host, sizeof host);
    vj_copy(be, a, b + 101, 2);
    vj_download(be, back, a, 2 * sizeof *back);
    assert_true(back[0] == 2 && back[1] == 3);

    float *view = vj_map(be, b + 100, sizeof host, VJ_MAP_READ | VJ_MAP_WRITE);
    assert_memory_equal(view, host, sizeof host);
    view[3] = 9;
    vj_unmap(be, view);
    vj_download(be, back, b + 100, sizeof back);
    assert_true(back[0] == 1 && back[3] == 9);
    view = vj_map(be, b + 100, sizeof host, VJ_MAP_READ);
    assert_true(view[3] == 9);
    vj_unmap(be, view);

    vj_device_free(be, b), vj_device_free(be, a), vj_device_free(be, c);
    vj_device_free(be, NULL);
    assert_int_equal(vj_device_bytes(be), 0);
}

/* Check downloads of any length and alignment; long ones are copied by other code. */
static void check_download(vj_backend *be, bool rounded)
{
    (void)rounded;
    enum { MOST = (1 << 18) + 40000, PLACES = 17 };
    float *device = vj_device_alloc(be, MOST * (int64_t)sizeof *device);
    float *host = vj_calloc(MOST, sizeof *host), *back = vj_calloc(MOST + PLACES + 1, sizeof *back);
    assert_true(device && host && back);
    for (int i = 0; i < MOST; i++) host[i] = (float)(i + 1);
    vj_upload(be, device, host, MOST * (int64_t)sizeof *host);
    for (int place = 0; place <= PLACES; place++) {
        const int from = PLACES - place, n = MOST - from - 1000 * place;
        memset(back, 0, (MOST + PLACES + 1) * sizeof *back);
        vj_download(be, back + place, device + from, n * (int64_t)sizeof *back);
        assert_memory_equal(back + place, host + from, (size_t)n * sizeof *back);
        assert_true((place == 0 || back[place - 1] == 0) && back[place + n] == 0);
    }
    vj_device_free(be, device);
    free(host);
    free(back);
}

static const vj_op_profile *find(const vj_op_profile *profile, int count, const char *name, vj_phase phase)
{
    for (int i = 0; i < count; i++)
        if (strcmp(profile[i].name, name) == 0 && profile[i].phase == phase) return &profile[i];
    return NULL;
}

/* Check that operations are counted in the current phase, with their products and the bytes that they must move. */
static void check_accounts(vj_backend *be, bool rounded)
{
    enum { R = 6, N = 5, K = 4, MOST = 32 };
    (void)rounded;
    array x = array_random(be, R * K, 1, 1), w = array_random(be, N * K, 1, 2), y = array_random(be, R * N, 1, 3);
    vj_op_profile profile[MOST];
    double seconds[VJ_PHASES];
    vj_phase_reset(be);
    vj_phase_enter(be, VJ_PHASE_TARGET);
    vj_linear_forward(be, vj_f32(y.device), vj_f32(x.device), vj_f32(w.device), NULL, NULL, 0, R, N, K);
    vj_linear_forward(be, vj_f32(y.device), vj_f32(x.device), vj_f32(w.device), NULL, NULL, 0, R, N, K);
    vj_phase_enter(be, VJ_PHASE_BACKWARD);
    vj_linear_backward_weight(be, w.device, NULL, vj_f32(y.device), vj_f32(x.device), 1, R, N, K);
    vj_fill(be, y.device, 0, R * N);
    int count = vj_backend_profile(be, profile, MOST);
    assert_int_equal(count, 3);
    const vj_op_profile *op = find(profile, count, "linear_forward", VJ_PHASE_TARGET);
    assert_non_null(op);
    assert_int_equal(op->calls, 2);
    assert_true(op->flops == 2 * 2 * R * N * K && op->bytes == 2 * 4 * (R * K + N * K + R * N) && op->seconds > 0);
    op = find(profile, count, "linear_backward_weight", VJ_PHASE_BACKWARD);
    assert_non_null(op);
    assert_true(op->flops == 2 * R * N * K && op->bytes == 4 * (R * N + R * K + 2 * N * K));
    op = find(profile, count, "fill", VJ_PHASE_BACKWARD);
    assert_non_null(op);
    assert_true(op->calls == 1 && op->flops == 0 && op->bytes == 4 * R * N);
    assert_int_equal(vj_backend_profile(be, profile, 1),
                     3); /* there is no room for more, but the number of phases is returned */

    vj_phase_seconds(be, seconds);
    assert_true(seconds[VJ_PHASE_TARGET] > 0 && seconds[VJ_PHASE_BACKWARD] > 0 && seconds[VJ_PHASE_REDUCE] == 0);
    vj_phase_reset(be);
    assert_int_equal(vj_backend_profile(be, profile, MOST), 0);
    vj_phase_seconds(be, seconds);
    assert_true(seconds[VJ_PHASE_TARGET] == 0);
    drop(be, &x), drop(be, &w), drop(be, &y);
}

static void accounts(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_accounts);
}

static void memory(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_memory);
}

static void download(void **state)
{
    (void)state;
    on_each_backend(VJ_FP32, check_download);
}

static void fresh_memory(void **state)
{
    (void)state;
    vj_backend *cpu, *strict;
    float x[3];
    assert_int_equal(vj_backend_open(&cpu, "cpu", VJ_FP32, 1), VJ_OK);
    vj_download(cpu, x, vj_device_alloc(cpu, sizeof x), sizeof x);
    assert_true(x[0] == 0 && x[1] == 0 && x[2] == 0);
    assert_int_equal(vj_backend_open(&strict, "strict", VJ_FP32, 1), VJ_OK);
    vj_download(strict, x, vj_device_alloc(strict, sizeof x), sizeof x);
    assert_true(isnan(x[0]) && isnan(x[1]) && isnan(x[2]));
    vj_backend_close(cpu);
    vj_backend_close(strict);
}

static void out_of_memory(void **state)
{
    (void)state;
    vj_backend *be;
    assert_int_equal(vj_backend_open(&be, "cpu", VJ_FP32, 1), VJ_OK);
    assert_null(vj_device_alloc(be, (int64_t)1 << 60));
    assert_int_equal(vj_device_bytes(be), 0);
    vj_backend_close(be);
}

/* Return the signal that ends a child process which accesses `address`; 0 if it is not killed. */
static int signal_of_touch(volatile float *address, bool write)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* sanitizers install a handler */
        if (write)
            *address = 1;
        else
            (void)*address;
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void strict_memory_is_shut(void **state)
{
    (void)state;
    vj_backend *be;
    assert_int_equal(vj_backend_open(&be, "strict", VJ_FP32, 1), VJ_OK);
    float *x = vj_device_alloc(be, 4096), host = 1;
    assert_int_equal(signal_of_touch(x, false), SIGSEGV); /* after allocation */
    vj_fill(be, x, 2, 1024);
    assert_int_equal(signal_of_touch(x + 1023, false), SIGSEGV); /* after a kernel */
    assert_int_equal(signal_of_touch(x, true), SIGSEGV);
    vj_upload(be, x, &host, sizeof host);
    assert_int_equal(signal_of_touch(x, false), SIGSEGV); /* after a transfer */
    float *view = vj_map(be, x, 16, VJ_MAP_READ);
    assert_int_equal(signal_of_touch(view, false), 0); /* the host may access a view */
    assert_int_equal(signal_of_touch(x, false), SIGSEGV);
    vj_unmap(be, view);
    vj_backend_close(be);
}

static void wrong_arguments_abort(void **state)
{
    (void)state;
    vj_backend *be;
    assert_int_equal(vj_backend_open(&be, "cpu", VJ_FP32, 1), VJ_OK);
    const int32_t offset[] = {0, 5, 3};
    int32_t *dev_offset = ints_on_device(be, offset, 3);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        vj_rows_from(offset, dev_offset, 2); /* these offsets descend, which is not allowed */
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    vj_backend_close(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(accounts),
        cmocka_unit_test(memory),
        cmocka_unit_test(download),
        cmocka_unit_test(fresh_memory),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(strict_memory_is_shut),
        cmocka_unit_test(wrong_arguments_abort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
