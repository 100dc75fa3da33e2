/* What follows the sums of a product: bias, residual, GELU or its gradient, the result's type. */
#include "finish.h"

#include "vector.h"

enum { STREAM = 8 << 20 }; /* bytes from which on a result is written past the caches */

/* From finished sums to the result, along one row: what the product adds, its nonlinearity. */
VJ_INLINE void finish_row(const vj_product *g, vj_finish finish, bool stream, const float *sums, int64_t at,
                          int64_t column, const float *residual, int64_t columns)
{
    for (int64_t j = 0; j < columns; j += LANES) {
        int64_t n = columns - j;
        vf v = vload(sums + j);
        if (g->bias) v += vload_part(g->bias + column + j, n);
        if (residual) v += vload_part(residual + j, n);
        if (g->accumulate) v += vload_of(g->c.data, g->c.type, at + j, n);
        if (finish == VJ_FINISH_GELU) {
            if (g->pre.data) {
                vstore_to(g->pre.data, g->pre.type, at + j, v, n);
                if (g->pre.type == VJ_TYPE_BF16) v = vround_bf16(v);
            }
            v = vgelu(v);
        } else if (finish == VJ_FINISH_GELU_GRADIENT) {
            vf x = vload_of(g->pre.data, g->pre.type, at + j, n), below, density = vnormal(x, &below);
            v *= below + x * density;
            if (g->hidden.data) vstore_to(g->hidden.data, g->hidden.type, at + j, x * below, n);
        }
        if (stream && n >= LANES)
            vstream_to(g->c.data, g->c.type, at + j, v);
        else
            vstore_to(g->c.data, g->c.type, at + j, v, n);
    }
}

void VJ_CPU(finish_sums)(const vj_product *g, const float *sums, int64_t stride, int64_t row, int64_t rows,
                         int64_t column, int64_t columns)
{
    /* A large result that is not read here would only push other things out of the caches; lines must be whole. */
    const int64_t bytes = vj_type_bytes(g->c.type);
    const bool stream = !g->residual && !g->accumulate && g->pre.data != g->c.data && g->M * g->N * bytes >= STREAM &&
                        g->N * bytes % 64 == 0 && column * bytes % 64 == 0 && (uintptr_t)g->c.data % 64 == 0;
    for (int64_t i = 0; i < rows; i++, sums += stride) {
        const int64_t at = (row + i) * g->N + column;
        const float *residual = g->residual ? g->residual + (row + i) % g->residual_rows * g->N + column : NULL;
        if (g->finish == VJ_FINISH_GELU)
            finish_row(g, VJ_FINISH_GELU, stream, sums, at, column, residual, columns);
        else if (g->finish == VJ_FINISH_GELU_GRADIENT)
            finish_row(g, VJ_FINISH_GELU_GRADIENT, stream, sums, at, column, residual, columns);
        else
            finish_row(g, VJ_FINISH_PLAIN, stream, sums, at, column, residual, columns);
    }
}
