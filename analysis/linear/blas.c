/* Which BLAS multiplies, and how fast. Only a library's own functions know its version. */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "linear/inner.h"

extern const char *openblas_get_config(void) __attribute__((weak));
extern const char *openblas_get_corename(void) __attribute__((weak));

/* The file that a function is in. */
static bool find_file(uintptr_t function, Dl_info *info)
{
    return function && dladdr((void *)function, info) && info->dli_fname; /* POSIX: a function fits a pointer */
}

/* OpenBLAS may be in the program for something else, and another library multiply. */
static bool is_openblas(const Dl_info *of_product)
{
    Dl_info info;
    return openblas_get_config && openblas_get_corename && find_file((uintptr_t)openblas_get_config, &info) &&
           info.dli_fbase == of_product->dli_fbase;
}

void vj_blas_describe(char *text, size_t bytes)
{
    Dl_info info;
    char path[PATH_MAX];
    const bool found = find_file((uintptr_t)dgemm_, &info);
    if (found && is_openblas(&info)) {
        const char *config = openblas_get_config(); /* "OpenBLAS 0.3.21 NO_LAPACKE ..." */
        const size_t name = strcspn(config, " "), version = config[name] ? 1 + strcspn(config + name + 1, " ") : 0;
        snprintf(text, bytes, "%.*s for %s", (int)(name + version), config, openblas_get_corename());
    } else if (found && realpath(info.dli_fname, path)) {
        snprintf(text, bytes, "%s", path); /* links followed: "blas/libblas.so.3.11.0" is the reference BLAS */
    } else {
        snprintf(text, bytes, "of an unknown file");
    }
}

double vj_blas_gflops(void)
{
    enum { N = 192, TIMES = 7 };
    const int n = N;
    const double whole = 1.0, nothing = 0.0;
    double *a = vj_calloc(N * N, sizeof *a), *b = vj_calloc(N * N, sizeof *b), best = 0.0;
    for (int i = 0; i < TIMES && a && b; i++) {
        const double begin = vj_now();
        dgemm_("N", "N", &n, &n, &n, &whole, a, &n, a, &n, &nothing, b, &n);
        const double rate = 2.0 * N * N * N / (vj_now() - begin) / 1e9;
        if (rate > best) best = rate;
    }
    free(a);
    free(b);
    return best;
}
