/* Chooses bf16 if the hardware has instructions for products of bf16. */
#include "train/precision.h"

#include <stdio.h>
#include <string.h>

#include "parallel/parallel.h"
#include "train/alike.h"

static bool is_auto(const vj_config *c)
{
    return strcmp(c->train.precision, "auto") == 0;
}

vj_precision vj_precision_of(const vj_config *c)
{
    VJ_ASSERT(!is_auto(c));
    return strcmp(c->train.precision, "bf16") == 0 ? VJ_BF16 : VJ_FP32;
}

void vj_precision_set(vj_config *c, vj_precision precision)
{
    snprintf(c->train.precision, sizeof c->train.precision, "%s", precision == VJ_BF16 ? "bf16" : "fp32");
}

vj_status vj_precision_choose(vj_config *c, MPI_Comm comm)
{
    if (!is_auto(c)) return VJ_OK;
    if (strcmp(c->train.products, "onednn") == 0 || strcmp(c->train.products, "cblas") == 0) {
        vj_precision_set(c, VJ_FP32);
        vj_log("precision: auto takes fp32, in which train.products %s multiplies", c->train.products);
        return VJ_OK;
    }
    const vj_place place = vj_place_of(comm);
    vj_backend *be;
    VJ_TRY(vj_backend_open_alike(&be, c->train.backend, VJ_FP32, &place, comm));
    const bool itself = vj_backend_multiplies_bf16(be);
    vj_kernels kernels;
    vj_backend_kernels(be, &kernels);
    vj_backend_close(be);
    vj_precision_set(c, itself ? VJ_BF16 : VJ_FP32);
    vj_log("precision: auto takes %s: %s %s", c->train.precision, kernels.isa,
           itself ? "multiplies bf16 itself" : "has no products of bf16");
    return VJ_OK;
}
