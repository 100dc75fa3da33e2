/* What follows the sums of a product: bias, residual, GELU or its gradient, the result's type. */
#include "finish.h"

#include "vector.h"

enum { STREAM = 8 << 20 }; /* bytes from which on a result is written past the caches */

/* `count` vectors, the last one with n lanes. */
VJ_INLINE void store_vectors(void *base, vj_type type, int64_t at, const vf *v, int count, int64_t n, bool of_bf16)
{
    if (count == PAIRED)
        vstore_pair_to(base, type, at, v, of_bf16);
    else
        vstore_to(base, type, at, v[0], n);
}

/*
 * From finished sums, one vector with n lanes or PAIRED whole ones, to the result: what the product adds, its
 * nonlinearity.
 */
VJ_INLINE void finish_vectors(const vj_product *g, vj_finish finish, bool stream, const float *sums, int64_t at,
                              const float *bias, const float *residual, int count, int64_t n)
{
    vf v[PAIRED], hidden[PAIRED];
    const bool of_bf16 = g->pre.type == VJ_TYPE_BF16;
#pragma GCC unroll 2
    for (int i = 0; i < count; i++) {
        const int k = i * LANES;
        v[i] = vload(sums + k);
        if (bias) v[i] += vload_part(bias + k, n);
        if (residual) v[i] += vload_part(residual + k, n);
        if (g->accumulate) v[i] += vload_of(g->c.data, g->c.type, at + k, n);
    }
    if (finish == VJ_FINISH_GELU) {
        if (g->pre.data) store_vectors(g->pre.data, g->pre.type, at, v, count, n, false);
#pragma GCC unroll 2
        for (int i = 0; i < count; i++) v[i] = vgelu(g->pre.data && of_bf16 ? vround_bf16(v[i]) : v[i]);
    } else if (finish == VJ_FINISH_GELU_GRADIENT) {
#pragma GCC unroll 2
        for (int i = 0; i < count; i++) {
            vf x = vload_of(g->pre.data, g->pre.type, at + i * LANES, n), below, density = vnormal(x, &below);
            v[i] *= below + x * density;
            hidden[i] = x * below;
        }
        if (g->hidden.data) store_vectors(g->hidden.data, g->hidden.type, at, hidden, count, n, of_bf16);
    }
    if (stream && n == LANES)
#pragma GCC unroll 2
        for (int i = 0; i < count; i++) vstream_to(g->c.data, g->c.type, at + i * LANES, v[i]);
    else
        store_vectors(g->c.data, g->c.type, at, v, count, n, finish == VJ_FINISH_GELU && g->pre.data && of_bf16);
}

/* One row of them; the last vector may be short. */
VJ_INLINE void finish_row(const vj_product *g, vj_finish finish, bool stream, const float *sums, int64_t at,
                          const float *bias, const float *residual, int64_t columns)
{
    int64_t j = 0;
    for (; j + PAIRED * LANES <= columns; j += PAIRED * LANES)
        finish_vectors(g, finish, stream, sums + j, at + j, bias ? bias + j : NULL, residual ? residual + j : NULL,
                       PAIRED, LANES);
    for (; j + LANES <= columns; j += LANES)
        finish_vectors(g, finish, stream, sums + j, at + j, bias ? bias + j : NULL, residual ? residual + j : NULL, 1,
                       LANES);
    if (j < columns)
        finish_vectors(g, finish, stream, sums + j, at + j, bias ? bias + j : NULL, residual ? residual + j : NULL, 1,
                       columns - j);
}

void VJ_CPU(finish_sums)(const vj_product *product, const float *sums, int64_t stride, int64_t row, int64_t rows,
                         int64_t column, int64_t columns)
{
    const vj_product copy = *product, *const g =
                                          &copy; /* which nothing that is stored can change: it stays in registers */
    /* A large result that is not read here would only push other things out of the caches; lines must be whole. */
    const int64_t bytes = vj_type_bytes(g->c.type);
    const bool stream = vstreams(g->c.type) && !g->residual && !g->accumulate && g->pre.data != g->c.data &&
                        g->M * g->N * bytes >= STREAM && g->N * bytes % 64 == 0 && column * bytes % 64 == 0 &&
                        (uintptr_t)g->c.data % 64 == 0;
    const float *bias = g->bias ? g->bias + column : NULL;
    int64_t residual_row = g->residual ? row % g->residual_rows : 0;
    for (int64_t i = 0; i < rows; i++, sums += stride) {
        const int64_t at = (row + i) * g->N + column;
        const float *residual = g->residual ? g->residual + residual_row * g->N + column : NULL;
        if (g->finish == VJ_FINISH_GELU)
            finish_row(g, VJ_FINISH_GELU, stream, sums, at, bias, residual, columns);
        else if (g->finish == VJ_FINISH_GELU_GRADIENT)
            finish_row(g, VJ_FINISH_GELU_GRADIENT, stream, sums, at, bias, residual, columns);
        else
            finish_row(g, VJ_FINISH_PLAIN, stream, sums, at, bias, residual, columns);
        if (++residual_row == g->residual_rows) residual_row = 0;
    }
}
