/* The end of a product, from its sums to the result: bias, residual, GELU or its gradient, rounding. */
#include "finish.h"

#include "vector.h"

enum {
    STREAM = (PAIR_DEPTH > 1 ? 4 : 8) << 20, /* results of this many bytes or more are written past the caches */
    AHEAD = 2                                /* rows to prefetch ahead */
};

/* Store one vector of n lanes, or PAIRED whole vectors. */
VJ_INLINE void store_vectors(void *base, vj_type type, int64_t at, const vf *v, int count, int64_t n, bool of_bf16)
{
    if (count == PAIRED)
        vstore_pair_to(base, type, at, v, of_bf16);
    else
        vstore_to(base, type, at, v[0], n);
}
VJ_INLINE void stream_vectors(void *base, vj_type type, int64_t at, const vf *v, int count)
{
    if (count == PAIRED)
        vstream_pair_to(base, type, at, v);
    else
        vstream_to(base, type, at, v[0]);
}
VJ_INLINE void load_vectors(const void *base, vj_type type, int64_t at, vf *v, int count, int64_t n)
{
    if (count == PAIRED)
        vload_pair_of(base, type, at, v);
    else
        v[0] = vload_of(base, type, at, n);
}
VJ_INLINE void round_vectors(vf *v, int count)
{
    if (count == PAIRED)
        vround_pair(v);
    else
        v[0] = vround_bf16(v[0]);
}

/* `rough` if the argument is bf16 or, when it is not kept, the result. */
VJ_INLINE vf gelu(vf x, bool rough, vf *slope)
{
    return rough ? vgelu_rough(x, slope) : vgelu(x, slope);
}

/*
 * Compute one vector of n lanes, or PAIRED whole vectors, of the result from its sums.
 */
VJ_INLINE void finish_vectors(const vj_product *g, bool stream, const float *sums, int64_t at, const float *bias,
                              const float *residual, int count, int64_t n)
{
    vf v[PAIRED], x[PAIRED], hidden[PAIRED], slope;
    const bool of_bf16 = g->pre.data && g->pre.type == VJ_TYPE_BF16;
    const bool rough = g->pre.data ? of_bf16 : g->c.type == VJ_TYPE_BF16;
#pragma GCC unroll 2
    for (int i = 0; i < count; i++) {
        const int k = i * LANES;
        v[i] = vload(sums + k);
        if (bias) v[i] += vload_part(bias + k, n);
        if (residual) v[i] += vload_part(residual + k, n);
        if (g->accumulate) v[i] += vload_of(g->c.data, g->c.type, at + k, n);
    }
    if (g->finish == VJ_FINISH_GELU) {
        if (g->pre.data && stream && n == LANES)
            stream_vectors(g->pre.data, g->pre.type, at, v, count);
        else if (g->pre.data)
            store_vectors(g->pre.data, g->pre.type, at, v, count, n, false);
        if (of_bf16) round_vectors(v, count);
#pragma GCC unroll 2
        for (int i = 0; i < count; i++) v[i] = gelu(v[i], rough, &slope);
    } else if (g->finish == VJ_FINISH_GELU_GRADIENT) {
        load_vectors(g->pre.data, g->pre.type, at, x, count, n);
#pragma GCC unroll 2
        for (int i = 0; i < count; i++) {
            hidden[i] = gelu(x[i], rough, &slope);
            v[i] *= slope;
        }
        if (g->hidden.data) store_vectors(g->hidden.data, g->hidden.type, at, hidden, count, n, of_bf16);
    }
    if (stream && n == LANES)
        stream_vectors(g->c.data, g->c.type, at, v, count);
    else
        store_vectors(g->c.data, g->c.type, at, v, count, n, g->finish == VJ_FINISH_GELU && of_bf16);
}

/* Compute one row; the last vector may be partial. */
VJ_INLINE void finish_row(const vj_product *g, bool stream, const float *sums, int64_t at, const float *bias,
                          const float *residual, int64_t columns)
{
    int64_t j = 0;
    for (; j + PAIRED * LANES <= columns; j += PAIRED * LANES)
        finish_vectors(g, stream, sums + j, at + j, bias ? bias + j : NULL, residual ? residual + j : NULL, PAIRED,
                       LANES);
    for (; j + LANES <= columns; j += LANES)
        finish_vectors(g, stream, sums + j, at + j, bias ? bias + j : NULL, residual ? residual + j : NULL, 1, LANES);
    if (j < columns)
        finish_vectors(g, stream, sums + j, at + j, bias ? bias + j : NULL, residual ? residual + j : NULL, 1,
                       columns - j);
}

/* The sums of a rectangle of the result, and its position there. */
typedef struct {
    const float *sums;
    int64_t stride, row, rows, column, columns;
} block;

VJ_INLINE void ask(vj_array x, int64_t at, int64_t columns)
{
    const int64_t bytes = vj_type_bytes(x.type);
    for (int64_t i = 0; i < columns * bytes; i += LINE * (int64_t)sizeof(float))
        __builtin_prefetch((const char *)x.data + at * bytes + i, 0, 3);
}

VJ_INLINE void finish_rows(const vj_product *g, bool stream, block b)
{
    const float *bias = g->bias ? g->bias + b.column : NULL;
    int64_t residual_row = g->residual ? b.row % g->residual_rows : 0;
    for (int64_t i = 0; i < b.rows; i++, b.sums += b.stride) {
        /* The processor does not prefetch the next rows, which are short and far apart. */
        const int64_t ahead = least(i + AHEAD, b.rows - 1) - i, at_ahead = (b.row + i + ahead) * g->N + b.column;
        if (g->finish == VJ_FINISH_GELU_GRADIENT) ask(g->pre, at_ahead, b.columns);
        if (g->accumulate) ask(g->c, at_ahead, b.columns);
        if (g->residual && residual_row + ahead < g->residual_rows)
            ask(vj_f32(g->residual), (residual_row + ahead) * g->N + b.column, b.columns);
        const float *residual = g->residual ? g->residual + residual_row * g->N + b.column : NULL;
        finish_row(g, stream, b.sums, (b.row + i) * g->N + b.column, bias, residual, b.columns);
        if (++residual_row == g->residual_rows) residual_row = 0;
    }
}

/*
 * Branches would dominate the time of a row, so the usual kinds of products are compiled separately, with constants in
 * place of the product's members. A product with GELU has no residual and does not accumulate.
 */
VJ_INLINE void finish_block(vj_product g, bool stream, block b)
{
    if (g.finish == VJ_FINISH_PLAIN) {
        g.finish = VJ_FINISH_PLAIN;
        finish_rows(&g, stream, b);
        return;
    }
    g.residual = NULL;
    g.accumulate = false;
    if (g.finish == VJ_FINISH_GELU_GRADIENT) {
        g.finish = VJ_FINISH_GELU_GRADIENT;
        g.bias = NULL;
        finish_rows(&g, stream, b);
    } else if (g.pre.data) {
        g.finish = VJ_FINISH_GELU;
        finish_rows(&g, stream, b);
    } else {
        g.finish = VJ_FINISH_GELU;
        g.pre.data = NULL;
        finish_rows(&g, stream, b);
    }
}

VJ_INLINE bool is_kept_as(vj_array a, vj_type type)
{
    return !a.data || a.type == type;
}

/* Return whether rows of the array can be written past the caches from this column on: cache lines must be whole. */
static bool in_lines(vj_array a, int64_t columns, int64_t column)
{
    const int64_t bytes = vj_type_bytes(a.type);
    return vstreams(a.type) && columns * bytes % 64 == 0 && column * bytes % 64 == 0 && (uintptr_t)a.data % 64 == 0;
}

/* Return whether to bypass the caches: for a large result that is not read here, which would only evict other data.
 * GELU then writes its argument so too. */
static bool is_streamed(const vj_product *g, int64_t column)
{
    const bool writes_pre = g->finish == VJ_FINISH_GELU && g->pre.data;
    return g->residual != g->c.data && !g->accumulate && g->pre.data != g->c.data &&
           g->M * g->N * vj_type_bytes(g->c.type) >= STREAM && in_lines(g->c, g->N, column) &&
           (!writes_pre || in_lines(g->pre, g->N, column));
}

void VJ_CPU(finish_sums)(const vj_product *product, const float *sums, int64_t stride, int64_t row, int64_t rows,
                         int64_t column, int64_t columns, bool more)
{
    vj_product g = *product; /* a copy that no store can change, so that it stays in registers */
    const block b = {sums, stride, row, rows, column, columns};
    const bool stream = !more && is_streamed(product, column);
    if (is_kept_as(g.c, VJ_TYPE_F32) && is_kept_as(g.pre, VJ_TYPE_F32) && is_kept_as(g.hidden, VJ_TYPE_F32)) {
        g.c.type = g.pre.type = g.hidden.type = VJ_TYPE_F32;
        finish_block(g, stream, b);
    } else if (is_kept_as(g.c, VJ_TYPE_BF16) && is_kept_as(g.pre, VJ_TYPE_BF16) && is_kept_as(g.hidden, VJ_TYPE_BF16)) {
        g.c.type = g.pre.type = g.hidden.type = VJ_TYPE_BF16;
        finish_block(g, stream, b);
    } else
        finish_block(g, stream, b);
}
