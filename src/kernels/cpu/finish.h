/*
 * The end of a product: applies bias, residual, GELU and rounding to its sums, computed by product.c or by a library
 * (library.c), and writes the result.
 */
#ifndef VJ_CPU_FINISH_H
#define VJ_CPU_FINISH_H

#include "cpu.h"

/**
 * Write the part [rows, columns] of the result that begins at (row, column), from its sums, whose rows are `stride`
 * floats apart. `sums` is read in whole vectors: up to LANES - 1 floats behind the last column. `more`: other sums will
 * be added to the result soon.
 */
void VJ_CPU(finish_sums)(const vj_product *product, const float *sums, int64_t stride, int64_t row, int64_t rows,
                         int64_t column, int64_t columns, bool more);

#endif
