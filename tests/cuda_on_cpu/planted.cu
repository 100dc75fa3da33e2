/*
 * Errors made on purpose, each beside the same program without it:
 *     planted NAME right     ends with 0
 *     planted NAME wrong     must fail, by the emulation's report or because results are not what they should be
 * planted.sh checks both. An error that is not found any more is a failure of the emulation.
 */
#include <cstdio>

#include "kernels/cuda/hopper.h"

enum { N = 256 };

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        const cudaError_t error = (call);                                                                              \
        if (error != cudaSuccess) {                                                                                    \
            fprintf(stderr, "planted: %s: %s\n", #call, cudaGetErrorString(error));                                    \
            exit(3);                                                                                                   \
        }                                                                                                              \
    } while (0)

static cudaStream_t first, second;

static float *device_floats(size_t n)
{
    void *memory;
    TRY(cudaMalloc(&memory, n * sizeof(float)));
    return (float *)memory;
}

static float *pinned_floats(size_t n)
{
    void *memory;
    TRY(cudaHostAlloc(&memory, n * sizeof(float), 0));
    return (float *)memory;
}

static void expect(const char *what, const float *got, float (*want)(int i))
{
    for (int i = 0; i < N; i++)
        if (!(got[i] == want(i))) {
            fprintf(stderr, "planted: %s: element %d is %g, not %g%s\n", what, i, (double)got[i], (double)want(i),
                    got[i] != got[i] ? ": it was read before anything wrote it" : "");
            exit(1);
        }
}

static void download(const char *what, const float *device, float (*want)(int i))
{
    float host[N];
    TRY(cudaMemcpyAsync(host, device, sizeof host, cudaMemcpyDeviceToHost, first));
    expect(what, host, want);
}

static float index_of(int i)
{
    return (float)i;
}
static float next_of(int i)
{
    return (float)((i + 1) % N);
}

struct row {
    float x[N];
};

/* ---------------------------------------------------------------------------------------------- in a kernel */

template <bool wrong> static void neighbours(float *out)
{
    row &s = shared<row>();
    s.x[threadIdx.x] = (float)threadIdx.x;
    if (!wrong) __syncthreads();
    out[threadIdx.x] = s.x[(threadIdx.x + 1) % N];
}

template <bool wrong> static void copied(float *out, const float *in)
{
    row &s = shared<row>();
    if (threadIdx.x < N / 4) copy_async(&s.x[threadIdx.x * 4], in + threadIdx.x * 4, true);
    copy_commit();
    if (!wrong) copy_wait<0>();
    __syncthreads();
    out[threadIdx.x] = s.x[threadIdx.x];
    copy_wait<0>();
}

template <unsigned count> static void vectors(float *out)
{
    if (threadIdx.x < count) *(float4 *)(out + 4 * threadIdx.x) = float4{1, 1, 1, 1};
}

template <bool wrong> static void off_by_one(float *out)
{
    if (threadIdx.x < N / 8) *(float4 *)(out + 4 * threadIdx.x + wrong) = float4{1, 1, 1, 1};
}

template <bool wrong> static void far_away(float *out)
{
    if (threadIdx.x < 64) out[threadIdx.x + (wrong ? 16000 : 0)] = 1;
}

template <bool wrong> static void unwritten_shared(float *out)
{
    row &s = shared<row>();
    if (!wrong || threadIdx.x != 7) s.x[threadIdx.x] = (float)threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = s.x[threadIdx.x];
}

template <bool wrong> static void unwritten_output(float *out)
{
    if (!wrong || threadIdx.x != N - 1) out[threadIdx.x] = (float)threadIdx.x;
}

template <bool wrong> static void diverged(float *out)
{
    if (!wrong || threadIdx.x < 32) __syncthreads();
    out[threadIdx.x] = (float)threadIdx.x;
    if (wrong && threadIdx.x >= 32) __syncthreads();
}

static void ramp(float *out)
{
    out[threadIdx.x] = (float)threadIdx.x;
}

static void move(float *out, const float *in)
{
    out[threadIdx.x] = in[threadIdx.x];
}

static void one_kernel(const char *name, void (*kernel)(float *), float (*want)(int i))
{
    float *out = device_floats(want ? N : N - 4);
    TRY(launch(kernel, 1, N, sizeof(row), first, out));
    if (want) download(name, out, want);
    TRY(cudaFree(out));
}

static void copy_wait_missing(const char *name, bool wrong)
{
    float *in = device_floats(N), *out = device_floats(N);
    TRY(launch(ramp, 1, N, 0, first, in));
    TRY(launch(wrong ? copied<true> : copied<false>, 1, N, sizeof(row), first, out, in));
    download(name, out, index_of);
}

/* ---------------------------------------------------------------------------------------------- of a warp group */

/*
 * Sums of 64 rows, A[r][k] = r where k is a multiple of 64, by a matrix of ones there: a thread loads 64 of depth at a
 * time into a ring of two places, and a warp group multiplies. Each row's sums are STEPS times its number.
 */
enum mistake {
    NONE,
    WAITS_LATE,
    NO_WGMMA_WAIT,
    GIVES_BACK_EARLY,
    OTHER_BYTES,
    OTHER_STRIDE,
    NO_FENCE,
    NO_INIT_FENCE,
    NO_TURN,
    KEEPS_REGISTERS,
    KEEPS_SOME_REGISTERS, /* they would fit in the multiprocessor, but the block has not so many */
    NO_PROXY_FENCE,
    OVERWRITES_REGISTERS
};
enum { ROWS = 64, STEP = 64, STEPS = 5, WIDE = 192, PLACES = 2, DEPTH = STEP * STEPS };

struct ring {
    bf16 a[PLACES][ROWS * STEP], b[PLACES][WIDE * STEP];
    phase_barrier full[PLACES], empty[PLACES];
};

template <mistake m> static void load_steps(ring &s, const vj_tensor_map *a, const vj_tensor_map *b)
{
    for (int step = 0; step < STEPS; step++) {
        const int at = step % PLACES;
        phase_wait(&s.empty[at], (step / PLACES + 1) % 2, nullptr);
        phase_expect(&s.full[at], sizeof s.a[at] + sizeof s.b[at] + (m == OTHER_BYTES ? 16 : 0));
        load_tile(s.a[at], a, step * STEP, 0, &s.full[at]);
        load_tile(s.b[at], b, step * STEP, 0, &s.full[at]);
    }
}

template <mistake m> static void multiply_steps(float c[WIDE / 2], ring &s)
{
    const bool first_lane = threadIdx.x % 32 == 0;
    for (int step = 0; step < STEPS; step++) {
        const int at = step % PLACES, parity = step / PLACES % 2;
        if (m != WAITS_LATE) phase_wait(&s.full[at], parity, nullptr);
        if (m != NO_FENCE) wgmma_fence();
        for (int k = 0; k < STEP / 16; k++)
            wgmma<WIDE, false, false>(c, operand_at(wgmma_operand(s.a[at], 16, m == OTHER_STRIDE ? 512 : 1024), 32 * k),
                                      operand_at(wgmma_operand(s.b[at], 16, 1024), 32 * k), step + k > 0);
        wgmma_commit();
        if (m == GIVES_BACK_EARLY && first_lane) phase_arrive(&s.empty[at]);
        if (m != NO_WGMMA_WAIT || step + 1 < STEPS) wgmma_wait<0>();
        if (m == WAITS_LATE) phase_wait(&s.full[at], parity, nullptr);
        if (m != GIVES_BACK_EARLY && first_lane) phase_arrive(&s.empty[at]);
    }
}

template <mistake m> static void rows_times_ones(float *out, vj_tensor_map a, vj_tensor_map b)
{
    ring &s = shared<ring>();
    if (threadIdx.x == 0) {
        for (int i = 0; i < PLACES; i++) {
            phase_init(&s.full[i], 1);
            phase_init(&s.empty[i], 4);
        }
        if (m != NO_INIT_FENCE) phase_init_done();
    }
    __syncthreads();
    if (threadIdx.x == 0) load_steps<m>(s, &a, &b);
    if (threadIdx.x < N / 2) return;
    float c[WIDE / 2] = {};
    multiply_steps<m>(c, s);
    out[threadIdx.x - N / 2] = c[0];
    out[threadIdx.x] = c[2];
    wgmma_wait<0>();
}

/*
 * Two warp groups, each with sums of its own, and one ring whose places are filled for one and then for the other. A
 * group may not look at it before the other has seen its last step: it would take a phase for one two phases later.
 */
struct ring_of_two {
    bf16 a[PLACES][ROWS * STEP], b[PLACES][WIDE * STEP];
    phase_barrier full[PLACES], empty[PLACES], turn;
};

template <mistake m> static void two_in_turn(float *out, vj_tensor_map a, vj_tensor_map b)
{
    ring_of_two &s = shared<ring_of_two>();
    const int group = (int)threadIdx.x / WARP_GROUP - 1, thread = (int)threadIdx.x % WARP_GROUP;
    if (threadIdx.x == 0) {
        for (int i = 0; i < PLACES; i++) {
            phase_init(&s.full[i], 1);
            phase_init(&s.empty[i], 4);
        }
        phase_init(&s.turn, 4);
        phase_init_done();
    }
    __syncthreads();
    if (group >= 0)
        take_registers<240>();
    else if (m != KEEPS_REGISTERS)
        give_registers<m == KEEPS_SOME_REGISTERS ? 32 : 24>();
    for (int step = 0; step < 2 * STEPS && threadIdx.x == 0; step++) {
        const int at = step % PLACES;
        phase_wait(&s.empty[at], (step / PLACES + 1) % 2, nullptr);
        phase_expect(&s.full[at], sizeof s.a[at] + sizeof s.b[at]);
        load_tile(s.a[at], &a, step % STEPS * STEP, 0, &s.full[at]);
        load_tile(s.b[at], &b, step % STEPS * STEP, 0, &s.full[at]);
    }
    if (group < 0) return;
    float c[WIDE / 2] = {};
    if (group == 1 && m != NO_TURN) phase_wait(&s.turn, 0, nullptr);
    for (int step = group * STEPS; step < (group + 1) * STEPS; step++) {
        const int at = step % PLACES;
        phase_wait(&s.full[at], step / PLACES % 2, nullptr);
        wgmma_fence();
        for (int k = 0; k < STEP / 16; k++)
            wgmma<WIDE, false, false>(c, operand_at(wgmma_operand(s.a[at], 16, 1024), 32 * k),
                                      operand_at(wgmma_operand(s.b[at], 16, 1024), 32 * k), true);
        wgmma_commit();
        wgmma_results<WIDE>(c);
        if (thread % 32 == 0) phase_arrive(&s.empty[at]);
    }
    if (group == 0 && thread % 32 == 0) phase_arrive(&s.turn);
    out[group * WARP_GROUP + thread] = c[0];
}

/* The same sums with the rows' numbers in registers and the ones by cp.async, depth first. */
struct ones_of_depth {
    bf16 x[STEPS * 16 * STEP];
    phase_barrier full;
};

template <mistake m> static void registers_times_ones(float *out, const bf16 *ones)
{
    ones_of_depth &s = shared<ones_of_depth>();
    const int thread = (int)threadIdx.x, row = thread / 32 * 16 + thread % 32 / 4;
    if (thread == 0) {
        phase_init(&s.full, N / 2);
        phase_init_done();
    }
    __syncthreads();
    for (int at = thread * 8; at < STEPS * 16 * STEP; at += N / 2 * 8) copy_async(s.x + at, ones + at, true);
    copy_commit();
    copy_wait<0>();
    if (m != NO_PROXY_FENCE) operands_written();
    phase_arrive(&s.full);
    phase_wait(&s.full, 0, nullptr);
    uint32_t a[4] = {}; /* of 16 of depth, the first */
    if (thread % 4 == 0) {
        a[0] = pack((float)row, 0);
        a[1] = pack((float)(row + 8), 0);
    }
    float c[STEP / 2] = {};
    wgmma_fence();
    for (int k = 0; k < STEPS; k++)
        wgmma<STEP, true>(c, a, operand_at(wgmma_operand(s.x, 16, EIGHT_ROWS_BYTES), k * 2 * EIGHT_ROWS_BYTES), k > 0);
    wgmma_commit();
    if (m == OVERWRITES_REGISTERS) a[0] = a[1] = 0;
    wgmma_results<STEP>(c);
    out[thread] = c[0];
    out[N / 2 + thread] = c[2];
}

static void fill_ones(bf16 *to)
{
    to[blockIdx.x * STEP + threadIdx.x] = (bf16)pack(1, 0);
}

/* Row r of `to` has r, or else 1, where the depth is a multiple of 64. */
static void fill_operand(bf16 *to, bool numbers)
{
    const float value = numbers ? (float)blockIdx.x : 1.0f;
    to[blockIdx.x * DEPTH + threadIdx.x] = threadIdx.x % 64 == 0 ? (bf16)pack(value, 0.0f) : 0;
}

static float sum_of_row(int i)
{
    const int thread = i % (N / 2);
    return (float)(STEPS * (thread / 32 * 16 + thread % 32 / 4 + i / (N / 2) * 8));
}

static float sum_of_turn(int i)
{
    return sum_of_row(i % WARP_GROUP);
}

static vj_tensor_map map_of(void *data, int rows)
{
    vj_tensor_map map;
    void *encode;
    cudaDriverEntryPointQueryResult found;
    TRY(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000, cudaEnableDefault, &found));
    const uint64_t sizes[] = {DEPTH, (uint64_t)rows}, strides[] = {DEPTH * sizeof(bf16)};
    const uint32_t box[] = {STEP, (uint32_t)rows}, steps[] = {1, 1};
    if (((vj_tensor_map_encode *)encode)(&map, VJ_MAP_BF16, 2, data, sizes, strides, box, steps, VJ_MAP_NOT_INTERLEAVED,
                                         VJ_MAP_SWIZZLE_128, VJ_MAP_FROM_MEMORY_128, VJ_MAP_ZEROS_OUTSIDE) != 0)
        exit(3);
    return map;
}

static void warp_group(const char *name, void (*kernel)(float *, vj_tensor_map, vj_tensor_map))
{
    float *out = device_floats(N);
    bf16 *a = (bf16 *)device_floats(ROWS * DEPTH / 2), *b = (bf16 *)device_floats(WIDE * DEPTH / 2);
    TRY(launch(fill_operand, ROWS, DEPTH, 0, first, a, true));
    TRY(launch(fill_operand, WIDE, DEPTH, 0, first, b, false));
    TRY(launch(kernel, 1, N, sizeof(ring), first, out, map_of(a, ROWS), map_of(b, WIDE)));
    download(name, out, sum_of_row);
}

template <mistake m> static void two_groups(const char *name, bool wrong)
{
    float *out = device_floats(N);
    bf16 *a = (bf16 *)device_floats(ROWS * DEPTH / 2), *b = (bf16 *)device_floats(WIDE * DEPTH / 2);
    TRY(launch(fill_operand, ROWS, DEPTH, 0, first, a, true));
    TRY(launch(fill_operand, WIDE, DEPTH, 0, first, b, false));
    TRY(launch(wrong ? two_in_turn<m> : two_in_turn<NONE>, 1, 3 * WARP_GROUP, sizeof(ring_of_two), first, out,
               map_of(a, ROWS), map_of(b, WIDE)));
    download(name, out, sum_of_turn);
}

static void registers(const char *name, void (*kernel)(float *, const bf16 *))
{
    float *out = device_floats(N);
    bf16 *ones = (bf16 *)device_floats(STEPS * 16 * STEP / 2);
    TRY(launch(fill_ones, STEPS * 16, STEP, 0, first, ones));
    TRY(launch(kernel, 1, N / 2, sizeof(ones_of_depth), first, out, (const bf16 *)ones));
    download(name, out, sum_of_row);
}

/* ---------------------------------------------------------------------------------------------- between host and
 * device */

static void staging_overwritten(const char *name, bool wrong)
{
    float *staging = pinned_floats(N), *in = device_floats(N);
    for (int i = 0; i < N; i++) staging[i] = (float)i;
    TRY(cudaMemcpyAsync(in, staging, N * sizeof(float), cudaMemcpyHostToDevice, first));
    if (!wrong) TRY(cudaStreamSynchronize(first));
    staging[5] = -1;
    download(name, in, index_of);
}

static void read_too_early(const char *name, bool wrong)
{
    float *result = pinned_floats(N), *out = device_floats(N);
    TRY(launch(ramp, 1, N, 0, first, out));
    TRY(cudaMemcpyAsync(result, out, N * sizeof(float), cudaMemcpyDeviceToHost, first));
    if (!wrong) TRY(cudaStreamSynchronize(first));
    expect(name, result, index_of);
}

static void stream_wait_missing(const char *name, bool wrong)
{
    float *in = device_floats(N), *out = device_floats(N);
    cudaEvent_t made;
    TRY(cudaEventCreateWithFlags(&made, cudaEventDisableTiming));
    TRY(launch(ramp, 1, N, 0, second, in));
    TRY(cudaEventRecord(made, second));
    if (!wrong) TRY(cudaStreamWaitEvent(first, made, 0));
    TRY(launch(move, 1, N, 0, first, out, (const float *)in));
    download(name, out, index_of);
}

static void host_touches(const char *name, bool wrong)
{
    float *out = device_floats(N), host[N];
    TRY(launch(ramp, 1, N, 0, first, out));
    TRY(cudaMemcpyAsync(host, out, sizeof host, cudaMemcpyDeviceToHost, first));
    expect(name, wrong ? out : host, index_of);
}

static void used_after_free(const char *name, bool wrong)
{
    float *in = device_floats(N), *out = device_floats(N);
    TRY(launch(ramp, 1, N, 0, first, in));
    if (wrong) TRY(cudaFree(in));
    TRY(launch(move, 1, N, 0, first, out, (const float *)in));
    download(name, out, index_of);
}

static float one(int)
{
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    const char *name = argv[1];
    const bool wrong = strcmp(argv[2], "wrong") == 0;
    TRY(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
    TRY(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    const struct {
        const char *name;
        void (*right)(float *);
        void (*wrong)(float *);
        float (*want)(int);
    } kernels[] = {{"missing_barrier", neighbours<false>, neighbours<true>, next_of},
                   {"overrun", vectors<N / 4>, vectors<N / 4 + 1>, one},
                   {"overrun_a_little", vectors<N / 4 - 1>, vectors<N / 4>, nullptr},
                   {"overrun_far", far_away<false>, far_away<true>, nullptr},
                   {"misaligned", off_by_one<false>, off_by_one<true>, nullptr},
                   {"unwritten_shared", unwritten_shared<false>, unwritten_shared<true>, index_of},
                   {"unwritten_output", unwritten_output<false>, unwritten_output<true>, index_of},
                   {"divergent_barrier", diverged<false>, diverged<true>, index_of}};
    for (const auto &k : kernels)
        if (strcmp(name, k.name) == 0) {
            one_kernel(name, wrong ? k.wrong : k.right, k.want);
            return 0;
        }
    const struct {
        const char *name;
        void (*wrong)(float *, vj_tensor_map, vj_tensor_map);
    } groups[] = {{"tile_waited_for_late", rows_times_ones<WAITS_LATE>},
                  {"missing_wgmma_wait", rows_times_ones<NO_WGMMA_WAIT>},
                  {"place_given_back_early", rows_times_ones<GIVES_BACK_EARLY>},
                  {"other_bytes_announced", rows_times_ones<OTHER_BYTES>},
                  {"other_stride", rows_times_ones<OTHER_STRIDE>},
                  {"missing_wgmma_fence", rows_times_ones<NO_FENCE>},
                  {"missing_init_fence", rows_times_ones<NO_INIT_FENCE>}};
    for (const auto &g : groups)
        if (strcmp(name, g.name) == 0) {
            warp_group(name, wrong ? g.wrong : rows_times_ones<NONE>);
            return 0;
        }
    const struct {
        const char *name;
        void (*wrong)(float *, const bf16 *);
    } by_registers[] = {{"missing_proxy_fence", registers_times_ones<NO_PROXY_FENCE>},
                        {"registers_overwritten", registers_times_ones<OVERWRITES_REGISTERS>}};
    for (const auto &r : by_registers)
        if (strcmp(name, r.name) == 0) {
            registers(name, wrong ? r.wrong : registers_times_ones<NONE>);
            return 0;
        }
    const struct {
        const char *name;
        void (*program)(const char *name, bool wrong);
    } programs[] = {{"missing_copy_wait", copy_wait_missing},
                    {"staging_overwritten", staging_overwritten},
                    {"missing_turn", two_groups<NO_TURN>},
                    {"registers_kept", two_groups<KEEPS_REGISTERS>},
                    {"some_registers_kept", two_groups<KEEPS_SOME_REGISTERS>},
                    {"read_too_early", read_too_early},
                    {"missing_stream_wait", stream_wait_missing},
                    {"host_touches_device_memory", host_touches},
                    {"used_after_free", used_after_free}};
    for (const auto &p : programs)
        if (strcmp(name, p.name) == 0) {
            p.program(name, wrong);
            TRY(cudaDeviceSynchronize());
            return 0;
        }
    fprintf(stderr, "planted: no error is called %s\n", name);
    return 2;
}
