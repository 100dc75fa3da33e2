/* Choose the matrix product library, on all ranks together before the first step: as set by train.products, or the
 * fastest. */
#ifndef VJ_TRAIN_PRODUCTS_H
#define VJ_TRAIN_PRODUCTS_H

#include <mpi.h>

#include "base/config.h"
#include "kernels/kernels.h"

/* What was measured, for the log. */
typedef struct {
    double gflops;       /* of the choice, mean over the ranks */
    char rates[320];     /* "own avx512 388 GFLOP/s (onednn 2.6.3 401, cblas OpenBLAS 0.3.21 Cooperlake 206)" */
    char warning[320];   /* the choice is far slower than another; or "" */
    char straggler[200]; /* a rank is far slower than the others; or "" */
} vj_products;

/**
 * Time all candidates on all ranks at once (all cores at work, as in a step), set `wanted` or, for "auto", what
 * vj_product_rates_pick() takes of the ranks' means of what all ranks have, the same on all. VJ_PRODUCTS in the
 * environment wins over both. VJ_ERR_USAGE: a rank cannot do it, or would do it with other kernels than rank 0
 * (alike.h). Collective.
 */
vj_status vj_products_settle(vj_products *products, vj_backend *be, const char *wanted, MPI_Comm comm);

/** A line "products: ..." to the log, and warnings. */
void vj_products_say(const vj_products *products);

/** vj_config_text() with train.products as settled: who reads "auto" in a file could not repeat it. free() it. */
char *vj_products_config_text(const vj_config *config, const vj_backend *be);

#endif
