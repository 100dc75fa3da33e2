/* Finds out which BLAS is in use, and how fast it and the sums of products are. Only a library's own functions tell its
 * version. */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "linear/inner.h"

extern const char *openblas_get_config(void) __attribute__((weak));
extern const char *openblas_get_corename(void) __attribute__((weak));

/* Find the file that a function is in. */
static bool find_file(uintptr_t function, Dl_info *info)
{
    return function && dladdr((void *)function, info) && info->dli_fname; /* POSIX: a function fits a pointer */
}

/* Return whether products are OpenBLAS's. It may be loaded for something else while another library multiplies. */
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

enum { ROWS = 512, MAX_WIDTH = 2048, TIMES = 5 };
static const double enough_s = 0.5;

double vj_sums_gflops(int width)
{
    const int n = width < MAX_WIDTH ? width : MAX_WIDTH;
    double *x = vj_calloc((int64_t)ROWS * n, sizeof *x), *sums = vj_calloc(vj_sums_count(n, n), sizeof *sums),
           *room = vj_calloc(vj_sums_room(n, n), sizeof *room), best = 0.0;
    const double start = vj_now();
    for (int i = 0; i < TIMES && x && sums && room && (i < 2 || vj_now() - start < enough_s); i++) {
        const double begin = vj_now();
        vj_sums_add(sums, room, x, n, NULL, n, ROWS);
        const double rate = (double)n * (n + 1) * ROWS / (vj_now() - begin) / 1e9;
        if (rate > best) best = rate; /* the first touches pages */
    }
    free(x);
    free(sums);
    free(room);
    return best;
}

double vj_blas_gflops(int width)
{
    const double whole = 1.0;
    const int n = width < MAX_WIDTH ? width : MAX_WIDTH, rows = ROWS;
    double *x = vj_calloc((int64_t)ROWS * n, sizeof *x), *c = vj_calloc((int64_t)n * n, sizeof *c), best = 0.0;
    const double start = vj_now();
    for (int i = 0; i < TIMES && x && c && (i < 2 || vj_now() - start < enough_s); i++) { /* the first touches pages */
        const double begin = vj_now();
        dgemm_("N", "T", &n, &n, &rows, &whole, x, &n, x, &n, &whole, c, &n);
        const double rate = 2.0 * n * n * ROWS / (vj_now() - begin) / 1e9;
        if (rate > best) best = rate;
    }
    free(x);
    free(c);
    return best;
}
