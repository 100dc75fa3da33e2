/* Products by a library (../library.h), in place of product.c's own. */
#ifndef VJ_CPU_LIBRARY_H
#define VJ_CPU_LIBRARY_H

#include "cpu.h"

/** Has the backend a library, and is this a product for it? Libraries take floats, and sizes that fit an int. */
bool VJ_CPU(library_takes)(const vj_backend *be, const vj_product *product);
void VJ_CPU(library_product)(vj_backend *be, const vj_product *product);

#endif
