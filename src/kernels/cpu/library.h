/* Products by a library (../library.h), in place of product.c's own. */
#ifndef VJ_CPU_LIBRARY_H
#define VJ_CPU_LIBRARY_H

#include "cpu.h"

/** Return whether the backend uses a library and it can compute this product: operands are floats, sizes fit an int. */
bool VJ_CPU(library_takes)(const vj_backend *be, const vj_product *product);
void VJ_CPU(library_product)(vj_backend *be, const vj_product *product);

#endif
