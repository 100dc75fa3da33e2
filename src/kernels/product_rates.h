/* Adds candidates to the list of vj_backend_time_products(). Private to src/kernels. */
#ifndef VJ_KERNELS_PRODUCT_RATES_H
#define VJ_KERNELS_PRODUCT_RATES_H

#include "kernels/kernels.h"

/** Append a candidate that is not timed yet; does nothing if the list has `capacity` entries. */
void vj_product_rates_add(vj_product_rate *rates, int capacity, int *count, const char *name, const char *detail);

#endif
