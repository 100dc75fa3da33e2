/* What follows the sums of a product: bias, residual, GELU or its gradient, the result's type. */
#include "finish.h"

#include "vector.h"

enum { STREAM = 8 << 20 }; /* bytes from which on a result is written past the caches */

/* From n <= LANES finished sums to the result: what the product adds, its nonlinearity. */
VJ_INLINE void finish_vector(const vj_product *g, vj_finish finish, bool stream, vf v, int64_t at, const float *bias,
                             const float *residual, int64_t n)
{
    if (bias) v += vload_part(bias, n);
    if (residual) v += vload_part(residual, n);
    if (g->accumulate) v += vload_of(g->c.data, g->c.type, at, n);
    if (finish == VJ_FINISH_GELU) {
        if (g->pre.data) {
            vstore_to(g->pre.data, g->pre.type, at, v, n);
            if (g->pre.type == VJ_TYPE_BF16) v = vround_bf16(v);
        }
        v = vgelu(v);
    } else if (finish == VJ_FINISH_GELU_GRADIENT) {
        vf x = vload_of(g->pre.data, g->pre.type, at, n), below, density = vnormal(x, &below);
        v *= below + x * density;
        if (g->hidden.data) vstore_to(g->hidden.data, g->hidden.type, at, x * below, n);
    }
    if (stream && n == LANES)
        vstream_to(g->c.data, g->c.type, at, v);
    else
        vstore_to(g->c.data, g->c.type, at, v, n);
}

/* One row of them; the last vector may be short. */
VJ_INLINE void finish_row(const vj_product *g, vj_finish finish, bool stream, const float *sums, int64_t at,
                          const float *bias, const float *residual, int64_t columns)
{
    int64_t j = 0;
    for (; j + LANES <= columns; j += LANES)
        finish_vector(g, finish, stream, vload(sums + j), at + j, bias ? bias + j : NULL,
                      residual ? residual + j : NULL, LANES);
    if (j < columns)
        finish_vector(g, finish, stream, vload(sums + j), at + j, bias ? bias + j : NULL,
                      residual ? residual + j : NULL, columns - j);
}

void VJ_CPU(finish_sums)(const vj_product *product, const float *sums, int64_t stride, int64_t row, int64_t rows,
                         int64_t column, int64_t columns)
{
    const vj_product copy = *product, *const g =
                                          &copy; /* which nothing that is stored can change: it stays in registers */
    /* A large result that is not read here would only push other things out of the caches; lines must be whole. */
    const int64_t bytes = vj_type_bytes(g->c.type);
    const bool stream = !g->residual && !g->accumulate && g->pre.data != g->c.data && g->M * g->N * bytes >= STREAM &&
                        g->N * bytes % 64 == 0 && column * bytes % 64 == 0 && (uintptr_t)g->c.data % 64 == 0;
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
