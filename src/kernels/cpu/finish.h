/*
 * The end of a product: its sums, whoever made them (product.c or a library, library.c), become its result.
 */
#ifndef VJ_CPU_FINISH_H
#define VJ_CPU_FINISH_H

#include "cpu.h"

/**
 * rows x columns of finished sums, `stride` apart, that belong at (row, column) of the result. `sums` is read in whole
 * vectors: up to LANES - 1 floats behind the last column.
 */
void VJ_CPU(finish_sums)(const vj_product *product, const float *sums, int64_t stride, int64_t row, int64_t rows,
                         int64_t column, int64_t columns);

#endif
