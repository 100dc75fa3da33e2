/* The list that timing of products fills (vj_backend_time_products()). Internal to src/kernels. */
#ifndef VJ_KERNELS_PRODUCT_RATES_H
#define VJ_KERNELS_PRODUCT_RATES_H

#include "kernels/kernels.h"

/** One more, not timed yet; nothing if `capacity` are there. */
void vj_product_rates_add(vj_product_rate *rates, int capacity, int *count, const char *name, const char *detail);

#endif
