/*
 * Any library with the CBLAS interface: MKL, AOCL, LibSci, ArmPL, OpenBLAS. The interface is declared here because it
 * is the same in all of them, while the header is not. Functions that only some of them have are weak symbols.
 */
#include <dlfcn.h>
#include <limits.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/library.h"

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };

extern void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                        const float *b, int ldb, float beta, float *c, int ldc);

extern void openblas_set_num_threads(int threads) __attribute__((weak));
extern const char *openblas_get_config(void) __attribute__((weak));
extern const char *openblas_get_corename(void) __attribute__((weak));
extern int MKL_Set_Num_Threads_Local(int threads) __attribute__((weak));
extern void MKL_Get_Version_String(char *text, int bytes) __attribute__((weak));
extern void bli_thread_set_num_threads(int64_t threads) __attribute__((weak));
extern const char *bli_info_get_version_str(void) __attribute__((weak));

static bool sgemm(bool a_transposed, bool b_transposed, int M, int N, int K, const float *a, int lda, const float *b,
                  int ldb, bool accumulate, float *c, int ldc)
{
    cblas_sgemm(ROW_MAJOR, a_transposed ? TRANSPOSED : PLAIN, b_transposed ? TRANSPOSED : PLAIN, M, N, K, 1.0f, a, lda,
                b, ldb, accumulate ? 1.0f : 0.0f, c, ldc);
    return true;
}

/* Turn off threads that a library has besides OpenMP's. OpenBLAS also sets OpenMP's number of threads, so it is
 * restored. */
static void prepare(void)
{
    const int threads = omp_get_max_threads();
    if (openblas_set_num_threads) openblas_set_num_threads(1);
    if (bli_thread_set_num_threads) bli_thread_set_num_threads(1);
    omp_set_num_threads(threads);
}

static void quieten(void)
{
    if (MKL_Set_Num_Threads_Local) MKL_Set_Num_Threads_Local(1);
}

static bool find_file(const char *symbol, Dl_info *info)
{
    void *at = dlsym(RTLD_DEFAULT, symbol);
    return at && dladdr(at, info) && info->dli_fname;
}

/* Return whether `symbol` is in the same library as cblas_sgemm(). Another BLAS may be loaded too, for example with
 * LAPACK. */
static bool beside_sgemm(const char *symbol)
{
    Dl_info sgemm_info, info;
    return find_file("cblas_sgemm", &sgemm_info) && find_file(symbol, &info) && info.dli_fbase == sgemm_info.dli_fbase;
}

/* Write the library's file and its folder, after following links: "blas/libblas.so.3.11.0" is the reference BLAS. */
static void describe_file(char *text, size_t bytes)
{
    char path[PATH_MAX];
    Dl_info info;
    if (!find_file("cblas_sgemm", &info) || !realpath(info.dli_fname, path)) strcpy(path, "of an unknown file");
    const char *name = path + strlen(path);
    for (int slashes = 0; name > path; name--)
        if (name[-1] == '/' && ++slashes == 2) break;
    snprintf(text, bytes, "%s", name);
}

static void describe(char *text, size_t bytes)
{
    if (beside_sgemm("openblas_get_corename")) {
        const char *config = openblas_get_config(); /* "OpenBLAS 0.3.21 NO_LAPACKE ..." */
        const size_t name = strcspn(config, " "), version = config[name] ? strcspn(config + name + 1, " ") + 1 : 0;
        snprintf(text, bytes, "%.*s %s", (int)(name + version), config, openblas_get_corename());
    } else if (beside_sgemm("MKL_Get_Version_String")) {
        MKL_Get_Version_String(text, (int)bytes);
        text[bytes - 1] = '\0';
    } else if (beside_sgemm("bli_info_get_version_str")) {
        snprintf(text, bytes, "BLIS %s", bli_info_get_version_str());
    } else {
        describe_file(text, bytes);
    }
}

const vj_library vj_cblas = {
    .name = "cblas", .sgemm = sgemm, .prepare = prepare, .quieten = quieten, .describe = describe};
