/* Times products of both precisions; rank 0's sums decide for all. */
#include "train/precision.h"

#include <stdio.h>
#include <string.h>

#include "parallel/parallel.h"
#include "train/alike.h"

#define FASTER 1.25 /* bf16 must be, to be worth its rounding */

static bool is_auto(const vj_config *c)
{
    return strcmp(c->train.precision, "auto") == 0;
}

vj_precision vj_precision_of(const vj_config *c)
{
    VJ_ASSERT(!is_auto(c));
    return strcmp(c->train.precision, "bf16") == 0 ? VJ_BF16 : VJ_FP32;
}

vj_precision vj_precision_pick(double fp32_rate, double bf16_rate)
{
    return bf16_rate >= FASTER * fp32_rate ? VJ_BF16 : VJ_FP32;
}

void vj_precision_set(vj_config *c, vj_precision precision)
{
    snprintf(c->train.precision, sizeof c->train.precision, "%s", precision == VJ_BF16 ? "bf16" : "fp32");
}

/* The rate of what train.products would take on this rank. */
static vj_status time_products(double *gflops, vj_backend *be, const vj_config *c)
{
    vj_product_rate rates[VJ_PRODUCT_CANDIDATES];
    int count;
    VJ_TRY(vj_backend_time_products(be, rates, VJ_PRODUCT_CANDIDATES, &count));
    int i = strcmp(c->train.products, "auto") == 0 ? vj_product_rates_pick(rates, count) : 0;
    *gflops = rates[i].gflops;
    return VJ_OK;
}

static vj_status time_both(double gflops[2], vj_backend *be, const vj_config *c)
{
    VJ_TRY(time_products(&gflops[VJ_FP32], be, c));
    vj_backend_set_precision(be, VJ_BF16);
    return time_products(&gflops[VJ_BF16], be, c);
}

/* All ranks time at once, as in a step. */
static vj_status measure(vj_config *c, const vj_place *place, MPI_Comm comm)
{
    double gflops[2] = {0};
    vj_backend *be;
    int size;
    MPI_Comm_size(comm, &size);
    VJ_TRY(vj_backend_open_alike(&be, c->train.backend, VJ_FP32, place, comm));
    const vj_status status = vj_agree(comm, time_both(gflops, be, c));
    vj_backend_close(be);
    VJ_TRY(status);
    vj_sum_doubles(comm, gflops, 2);
    vj_precision_set(c, vj_precision_pick(gflops[VJ_FP32], gflops[VJ_BF16]));
    vj_log("precision: auto takes %s; products of fp32 run at %.0f GFLOP/s%s, of bf16 at %.0f", c->train.precision,
           gflops[VJ_FP32] / size, size > 1 ? " a rank" : "", gflops[VJ_BF16] / size);
    return VJ_OK;
}

vj_status vj_precision_settle(vj_config *c, MPI_Comm comm)
{
    if (!is_auto(c)) return VJ_OK;
    const vj_place place = vj_place_of(comm);
    if (strcmp(c->train.products, "onednn") != 0 && strcmp(c->train.products, "cblas") != 0)
        return measure(c, &place, comm);
    vj_precision_set(c, VJ_FP32);
    vj_log("precision: auto takes fp32, in which train.products %s multiplies", c->train.products);
    return VJ_OK;
}
