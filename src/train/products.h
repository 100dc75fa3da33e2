/* Chooses what computes matrix products (own kernels or a library), the same on all ranks, before the first step: what
 * train.products names, or the fastest. */
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
 * Time all candidates, on all ranks at the same time because in a step all cores are busy too. Then use `wanted`; or,
 * if it is "auto", the choice of vj_product_rates_pick() from the mean rates of those candidates that all ranks have.
 * The environment variable VJ_PRODUCTS overrides both. VJ_ERR_USAGE if a rank does not have the choice, or would use
 * other kernels than rank 0 (alike.h). Collective.
 */
vj_status vj_products_choose(vj_products *products, vj_backend *be, const char *wanted, MPI_Comm comm);

/** Log a line "products: ...", and print the warnings. */
void vj_products_log(const vj_products *products);

/** Return vj_config_text() with the choice in place of train.products "auto", so that results can be repeated. free()
 * it. */
char *vj_products_config_text(const vj_config *config, const vj_backend *be);

#endif
