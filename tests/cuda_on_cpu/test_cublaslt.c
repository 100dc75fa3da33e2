/* Tests the emulated cuBLASLt: products of all forms against sums in double, and calls that the real one also refuses.
 */
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cublaslt/values.h"
#include "emulated.h"

typedef struct {
    uint64_t algo[8];
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
} heuristic;

static struct {
    int (*Create)(void **);
    int (*Destroy)(void *);
    int (*DescCreate)(void **, int, int);
    int (*DescSet)(void *, int, const void *, size_t);
    int (*DescDestroy)(void *);
    int (*LayoutCreate)(void **, int, uint64_t, uint64_t, int64_t);
    int (*LayoutSet)(void *, int, const void *, size_t);
    int (*LayoutDestroy)(void *);
    int (*PreferenceCreate)(void **);
    int (*PreferenceSet)(void *, int, const void *, size_t);
    int (*PreferenceDestroy)(void *);
    int (*Heuristic)(void *, void *, void *, void *, void *, void *, void *, int, heuristic *, int *);
    int (*Matmul)(void *, void *, const float *, const void *, void *, const void *, void *, const float *,
                  const void *, void *, void *, void *, const void *, void *, size_t, cudaStream_t);
} lt;

static void *library, *handle;
static cudaStream_t stream;

static int load(void **state)
{
    (void)state;
    library = dlopen(VJ_CUBLASLT_NAME, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail_msg("%s", dlerror());
    const struct {
        const char *name;
        void *to;
    } functions[] = {{"Create", &lt.Create},
                     {"Destroy", &lt.Destroy},
                     {"MatmulDescCreate", &lt.DescCreate},
                     {"MatmulDescSetAttribute", &lt.DescSet},
                     {"MatmulDescDestroy", &lt.DescDestroy},
                     {"MatrixLayoutCreate", &lt.LayoutCreate},
                     {"MatrixLayoutSetAttribute", &lt.LayoutSet},
                     {"MatrixLayoutDestroy", &lt.LayoutDestroy},
                     {"MatmulPreferenceCreate", &lt.PreferenceCreate},
                     {"MatmulPreferenceSetAttribute", &lt.PreferenceSet},
                     {"MatmulPreferenceDestroy", &lt.PreferenceDestroy},
                     {"MatmulAlgoGetHeuristic", &lt.Heuristic},
                     {"Matmul", &lt.Matmul}};
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        char name[64] = "cublasLt";
        void *found = dlsym(library, strcat(name, functions[i].name));
        assert_non_null(found);
        memcpy(functions[i].to, &found, sizeof found);
    }
    assert_int_equal(lt.Create(&handle), 0);
    return cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
}

static int unload(void **state)
{
    (void)state;
    assert_int_equal(lt.Destroy(handle), 0);
    return cudaStreamDestroy(stream);
}

static float *on_device(const float *host, int n)
{
    void *memory;
    assert_int_equal(cudaMalloc(&memory, (size_t)n * 4), cudaSuccess);
    assert_int_equal(cudaMemcpyAsync(memory, host, (size_t)n * 4, cudaMemcpyHostToDevice, stream), cudaSuccess);
    return memory;
}

enum { M = 37, N = 29, K = 700, LD = 4, BATCH = 2, ALIGN = 4 };

/* The arguments of a batched product D = 2 op(A) op(B) - C + bias of `m` rows, all with gaps between columns. */
typedef struct {
    int transposed_a, transposed_b, m;
    int type_d, gap, bias, offset, workspace;
    uint32_t reduction;
    float got[BATCH * N * (M + LD)];
} trial;

static float x_of(int i)
{
    return (float)(i * 7919 % 1999) / 1000 - 1;
}

static int run(trial *t)
{
    static float host[BATCH * K * (M + N + LD)];
    for (int i = 0; i < (int)(sizeof host / sizeof *host); i++) host[i] = x_of(i);
    const int rows_a = t->transposed_a ? K : t->m, cols_a = t->transposed_a ? t->m : K;
    const int rows_b = t->transposed_b ? N : K, cols_b = t->transposed_b ? K : N;
    const int64_t lds[4] = {rows_a + LD, rows_b + LD, t->m + t->gap, t->m + LD};
    const int rows[4] = {rows_a, rows_b, t->m, t->m}, cols[4] = {cols_a, cols_b, N, N};
    void *desc, *layout[4], *preference, *workspace;
    float *memory[4];
    assert_int_equal(lt.DescCreate(&desc, COMPUTE_32F, TYPE_F32), 0);
    assert_int_equal(lt.DescSet(desc, DESC_TRANSA, &t->transposed_a, 4), 0);
    assert_int_equal(lt.DescSet(desc, DESC_TRANSB, &t->transposed_b, 4), 0);
    float *bias = on_device(host, M);
    const uint32_t epilogue = t->bias ? EPILOGUE_BIAS : EPILOGUE_DEFAULT;
    assert_int_equal(lt.DescSet(desc, DESC_EPILOGUE, &epilogue, 4), 0);
    assert_int_equal(lt.DescSet(desc, DESC_BIAS_POINTER, &bias, sizeof bias), 0);
    const int32_t batch = BATCH;
    for (int i = 0; i < 4; i++) {
        const int64_t stride = lds[i] * cols[i];
        memory[i] = on_device(host, (int)(BATCH * stride) + 1);
        assert_int_equal(
            lt.LayoutCreate(&layout[i], i < 3 ? TYPE_F32 : t->type_d, (uint64_t)rows[i], (uint64_t)cols[i], lds[i]), 0);
        assert_int_equal(lt.LayoutSet(layout[i], LAYOUT_BATCH_COUNT, &batch, 4), 0);
        assert_int_equal(lt.LayoutSet(layout[i], LAYOUT_STRIDED_BATCH_OFFSET, &stride, 8), 0);
    }
    const uint32_t align = ALIGN;
    const uint64_t room = 4096;
    assert_int_equal(cudaMalloc(&workspace, room), cudaSuccess);
    assert_int_equal(lt.PreferenceCreate(&preference), 0);
    assert_int_equal(lt.PreferenceSet(preference, PREF_MAX_WORKSPACE_BYTES, &room, 8), 0);
    assert_int_equal(lt.PreferenceSet(preference, PREF_REDUCTION_SCHEME_MASK, &t->reduction, 4), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(lt.PreferenceSet(preference, PREF_MIN_ALIGNMENT_A_BYTES + i, &align, 4), 0);
    heuristic found[3];
    int count;
    int status = lt.Heuristic(handle, desc, layout[0], layout[1], layout[2], layout[3], preference, 3, found, &count);
    if (status == 0) {
        assert_int_equal(count, 3);
        assert_true(found[0].workspace > 0 && found[0].workspace <= room);
        const float alpha = 2, beta = -1;
        status =
            lt.Matmul(handle, desc, &alpha, memory[0], layout[0], memory[1], layout[1], &beta, memory[2], layout[2],
                      memory[3] + t->offset, layout[3], found[0].algo, workspace, t->workspace ? room : 0, stream);
    }
    if (status == 0)
        assert_int_equal(
            cudaMemcpyAsync(t->got, memory[3], (size_t)(BATCH * N * lds[3]) * 4, cudaMemcpyDeviceToHost, stream),
            cudaSuccess);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(cudaFree(memory[i]), cudaSuccess);
        assert_int_equal(lt.LayoutDestroy(layout[i]), 0);
    }
    assert_int_equal(cudaFree(bias), cudaSuccess);
    assert_int_equal(cudaFree(workspace), cudaSuccess);
    assert_int_equal(lt.PreferenceDestroy(preference), 0);
    assert_int_equal(lt.DescDestroy(desc), 0);
    return status;
}

static const trial usual = {.m = M, .type_d = TYPE_F32, .gap = LD, .bias = 1, .workspace = 1};

static void test_products(void **state)
{
    (void)state;
    for (int form = 0; form < 8; form++) {
        trial t = usual;
        t.transposed_a = form & 1;
        t.transposed_b = form >> 1 & 1;
        t.bias = form >> 2 & 1;
        assert_int_equal(run(&t), 0);
        for (int b = 0; b < BATCH; b++)
            for (int j = 0; j < N; j++)
                for (int i = 0; i < M + LD; i++) {
                    const int lda = (t.transposed_a ? K : M) + LD, ldb = (t.transposed_b ? N : K) + LD;
                    const int at = (b * N + j) * (M + LD) + i;
                    double want = x_of(at); /* values between columns must not change */
                    if (i < M) {
                        want = -want + (t.bias ? x_of(i) : 0);
                        for (int k = 0; k < K; k++)
                            want +=
                                2.0 *
                                x_of(b * lda * (t.transposed_a ? M : K) +
                                     (t.transposed_a ? i * lda + k : k * lda + i)) *
                                x_of(b * ldb * (t.transposed_b ? K : N) + (t.transposed_b ? k * ldb + j : j * ldb + k));
                    }
                    if (!(fabs(t.got[at] - want) < 1e-3))
                        fail_msg("form %d, matrix %d, element %d, %d: %g, want %g", form, b, i, j, (double)t.got[at],
                                 want);
                }
    }
}

/* Check that bits differ from call to call if a split is allowed, and otherwise do not. */
static void test_split_sums(void **state)
{
    (void)state;
    trial first = usual, second = usual;
    assert_int_equal(run(&first), 0);
    assert_int_equal(run(&second), 0);
    assert_memory_equal(first.got, second.got, sizeof first.got);
    first.reduction = second.reduction = REDUCTION_ANY;
    assert_int_equal(run(&first), 0);
    assert_int_equal(run(&second), 0);
    assert_memory_not_equal(first.got, second.got, sizeof first.got);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    const int invalid = 7, unsupported = 15;
    trial t = usual;
    t.type_d = TYPE_BF16; /* a bf16 result of float operands */
    assert_int_equal(run(&t), unsupported);
    t = usual;
    t.gap = -1;
    assert_int_equal(run(&t), invalid); /* the leading dimension is too small */
    t = usual;
    t.offset = 1;
    assert_int_equal(run(&t), invalid); /* D has less than the alignment of 256 that is assumed if nothing is stated */
    t = usual;
    t.workspace = 0;
    assert_int_equal(run(&t), invalid);
    t = usual;
    t.offset = 64;
    assert_int_equal(run(&t), invalid); /* D ends outside its block */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_split_sums),
        cmocka_unit_test(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
