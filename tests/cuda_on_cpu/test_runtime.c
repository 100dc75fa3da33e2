/* Tests the emulated runtime: streams that run as late as permitted, waits, pinned memory, limits and errors. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "emulated.h"

enum { N = 100 };

static cudaStream_t first, second;

static int open_streams(void **state)
{
    (void)state;
    assert_int_equal(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking), cudaSuccess);
    assert_int_equal(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking), cudaSuccess);
    return 0;
}

static int close_streams(void **state)
{
    (void)state;
    assert_int_equal(cudaStreamDestroy(first), cudaSuccess);
    assert_int_equal(cudaStreamDestroy(second), cudaSuccess);
    return 0;
}

static float *on_device(int n)
{
    void *memory;
    assert_int_equal(cudaMalloc(&memory, (size_t)n * 4), cudaSuccess);
    return memory;
}

static float *pinned(int n)
{
    void *memory;
    assert_int_equal(cudaHostAlloc(&memory, (size_t)n * 4, 0), cudaSuccess);
    return memory;
}

static void copy(void *to, const void *from, int n, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    assert_int_equal(cudaMemcpyAsync(to, from, (size_t)n * 4, kind, stream), cudaSuccess);
}

static void test_copies_from_ordinary_memory_read_it_at_once(void **state)
{
    (void)state;
    float host[N], back[N], *device = on_device(N);
    for (int i = 0; i < N; i++) host[i] = (float)i;
    copy(device, host, N, cudaMemcpyHostToDevice, first);
    memset(host, 0, sizeof host);
    copy(back, device, N, cudaMemcpyDeviceToHost, first);
    for (int i = 0; i < N; i++) assert_true(back[i] == (float)i);
    assert_int_equal(cudaFree(device), cudaSuccess);
}

static void test_a_copy_to_pinned_memory_is_there_after_the_wait_only(void **state)
{
    (void)state;
    float *host = pinned(N), *device = on_device(N);
    for (int i = 0; i < N; i++) host[i] = (float)i;
    copy(device, host, N, cudaMemcpyHostToDevice, first);
    copy(host, device, N, cudaMemcpyDeviceToHost,
         first); /* to the memory it came from; the order of the stream is kept */
    assert_int_equal(cudaStreamSynchronize(first), cudaSuccess);
    for (int i = 0; i < N; i++) assert_true(host[i] == (float)i);

    assert_int_equal(cudaMemsetAsync(device, 0, N * 4, first), cudaSuccess);
    copy(host, device, N, cudaMemcpyDeviceToHost, first);
    for (int i = 0; i < N; i++) assert_true(isnan(host[i]));
    assert_int_equal(cudaStreamSynchronize(second), cudaSuccess);
    for (int i = 0; i < N; i++) assert_true(isnan(host[i])); /* this stream was not waited for */
    assert_int_equal(cudaStreamSynchronize(first), cudaSuccess);
    for (int i = 0; i < N; i++) assert_true(host[i] == 0);
    assert_int_equal(cudaFree(device), cudaSuccess);
    assert_int_equal(cudaFreeHost(host), cudaSuccess);
}

static void test_pinned_memory_is_sent_on_in_order(void **state)
{
    (void)state;
    float *host = pinned(N), *from = on_device(N), *to = on_device(N), back[N];
    assert_int_equal(cudaMemsetAsync(from, 0, N * 4, first), cudaSuccess);
    copy(host, from, N, cudaMemcpyDeviceToHost, first);
    copy(to, host, N, cudaMemcpyHostToDevice, first); /* the values that `host` will have at that time */
    copy(back, to, N, cudaMemcpyDeviceToHost, first);
    for (int i = 0; i < N; i++) assert_true(back[i] == 0);
    assert_int_equal(cudaFree(from), cudaSuccess);
    assert_int_equal(cudaFree(to), cudaSuccess);
    assert_int_equal(cudaFreeHost(host), cudaSuccess);
}

/* Check that a wait is for the newest record at the time of the call. */
static void test_events(void **state)
{
    (void)state;
    float *host = pinned(N), *a = on_device(N), *b = on_device(N);
    cudaEvent_t event;
    assert_int_equal(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
    assert_int_equal(cudaEventSynchronize(event),
                     cudaSuccess); /* it was never recorded, so there is nothing to wait for */
    assert_int_equal(cudaEventQuery(event), cudaSuccess);
    assert_int_equal(cudaMemsetAsync(a, 0, N * 4, second), cudaSuccess);
    assert_int_equal(cudaEventRecord(event, second), cudaSuccess);
    assert_int_equal(cudaStreamWaitEvent(first, event, 0), cudaSuccess);
    assert_int_equal(cudaMemsetAsync(a, 1, N * 4, second), cudaSuccess);
    assert_int_equal(cudaEventRecord(event, second), cudaSuccess);
    copy(b, a, N, cudaMemcpyDeviceToDevice, first);
    copy(host, b, N, cudaMemcpyDeviceToHost, first);
    assert_int_equal(cudaStreamSynchronize(first), cudaSuccess);
    for (int i = 0; i < N; i++) assert_true(host[i] == 0); /* the second fill was not waited for and is not done yet */
    assert_int_equal(cudaEventQuery(event), cudaErrorNotReady);
    assert_int_equal(cudaEventSynchronize(event), cudaSuccess);
    assert_int_equal(cudaEventQuery(event), cudaSuccess);
    assert_int_equal(cudaEventDestroy(event), cudaSuccess);
    assert_int_equal(cudaFree(a), cudaSuccess);
    assert_int_equal(cudaFree(b), cudaSuccess);
    assert_int_equal(cudaFreeHost(host), cudaSuccess);
    (void)cudaGetLastError();
}

/* Check that after enough queries an event is reached, as on a GPU. */
static void test_asking_again_ends(void **state)
{
    (void)state;
    float *device = on_device(N);
    cudaEvent_t from, to;
    float ms = -1;
    assert_int_equal(cudaEventCreateWithFlags(&from, 0), cudaSuccess);
    assert_int_equal(cudaEventCreateWithFlags(&to, 0), cudaSuccess);
    assert_int_equal(cudaEventRecord(from, first), cudaSuccess);
    for (int i = 0; i < 10; i++) assert_int_equal(cudaMemsetAsync(device, i, N * 4, first), cudaSuccess);
    assert_int_equal(cudaEventRecord(to, first), cudaSuccess);
    assert_int_equal(cudaEventElapsedTime(&ms, from, to), cudaErrorNotReady);
    int asked = 0;
    while (cudaEventQuery(to) == cudaErrorNotReady) assert_true(++asked < 100);
    assert_true(asked > 1);
    assert_int_equal(cudaEventElapsedTime(&ms, from, to), cudaSuccess);
    assert_true(ms >= 0);
    assert_int_equal(cudaStreamQuery(first), cudaSuccess);
    assert_int_equal(cudaEventDestroy(from), cudaSuccess);
    assert_int_equal(cudaEventDestroy(to), cudaSuccess);
    assert_int_equal(cudaFree(device), cudaSuccess);
    (void)cudaGetLastError();
}

static void test_memory_is_counted_and_ends(void **state)
{
    (void)state;
    size_t now, peak, before, unused, total;
    void *memory, *more;
    emu_memory(0, &before, &peak);
    assert_int_equal(cudaMalloc(&memory, 12345), cudaSuccess);
    assert_true((uintptr_t)memory % 256 == 0);
    emu_memory(0, &now, &peak);
    assert_int_equal(now, before + 12345);
    assert_true(peak >= now);
    assert_int_equal(cudaMemGetInfo(&unused, &total), cudaSuccess);
    assert_int_equal(total, 1 << 20); /* EMU_MEMORY, see main() */
    assert_int_equal(unused, total - now);
    assert_int_equal(cudaMalloc(&more, unused + 1), cudaErrorMemoryAllocation);
    assert_null(more);
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    assert_true(emu_on_device((char *)memory + 12344, 1));
    assert_false(emu_on_device((char *)memory + 12344, 2));
    assert_int_equal(cudaFree(memory), cudaSuccess);
    emu_memory(0, &now, &peak);
    assert_int_equal(now, before);
    assert_int_equal(cudaFree(memory), cudaErrorInvalidValue);
    assert_int_equal(cudaFree(NULL), cudaSuccess);
    (void)cudaGetLastError();
}

static void test_wrong_calls_are_refused(void **state)
{
    (void)state;
    float host[N], *device = on_device(N);
    void *opened;
    int count;
    cudaIpcMemHandle_t handle;
    assert_int_equal(cudaMemcpyAsync(device, host, N * 4 + 1, cudaMemcpyHostToDevice, first), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpyAsync(device, host, N * 4, cudaMemcpyDeviceToDevice, first), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpyAsync(host, device, N * 4, cudaMemcpyHostToDevice, first), cudaErrorInvalidValue);
    assert_int_equal(cudaMemsetAsync(device + 1, 0, N * 4, first), cudaErrorInvalidValue);
    assert_int_equal(cudaMemsetAsync(host, 0, N * 4, first), cudaErrorInvalidValue);
    assert_int_equal(cudaGetDeviceCount(&count), cudaSuccess);
    assert_int_equal(count, 2);
    assert_int_equal(cudaSetDevice(2), cudaErrorInvalidDevice);
    /* A handle can only be opened in another process. */
    assert_int_equal(cudaIpcGetMemHandle(&handle, device), cudaSuccess);
    assert_int_equal(cudaIpcOpenMemHandle(&opened, handle, 0), cudaErrorDeviceUninitialized);
    /* A stream of one device is used while the other device is selected. */
    cudaEvent_t event;
    assert_int_equal(cudaSetDevice(1), cudaSuccess);
    assert_int_equal(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
    assert_int_equal(cudaEventRecord(event, first), cudaErrorInvalidResourceHandle);
    assert_int_equal(cudaSetDevice(0), cudaSuccess);
    assert_int_equal(cudaEventDestroy(event), cudaSuccess);
    assert_int_equal(cudaFree(device), cudaSuccess);
    assert_string_equal(cudaGetErrorString(cudaErrorMemoryAllocation), "out of memory");
    (void)cudaGetLastError();
}

int main(void)
{
    setenv("EMU_DEVICES", "2", 1);
    setenv("EMU_MEMORY", "1048576", 1);
    setenv("EMU_STREAMS", "0", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies_from_ordinary_memory_read_it_at_once),
        cmocka_unit_test(test_a_copy_to_pinned_memory_is_there_after_the_wait_only),
        cmocka_unit_test(test_pinned_memory_is_sent_on_in_order),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_asking_again_ends),
        cmocka_unit_test(test_memory_is_counted_and_ends),
        cmocka_unit_test(test_wrong_calls_are_refused),
    };
    return cmocka_run_group_tests(tests, open_streams, close_streams);
}
