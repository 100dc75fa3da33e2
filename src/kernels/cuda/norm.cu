/*
 * Layer normalisation, and sums of columns. Rows stay in registers, so that each is read and written once: 4 D + (2 or
 * 4) D bytes forward, at least 12 D backward. As in cpu/layernorm.c, differences from an element of the row (in
 * backward, from its stored mean) are summed, so that errors are relative to the row's standard deviation however large
 * its mean.
 *
 * Forward: one warp per row. Backward: a block takes some rows, and each thread always the same columns, so that
 * dweight and dbias are summed in registers. Rows that are too wide or not aligned are read again for each pass.
 */
#include "kernels/cuda/lanes.cuh"

/* Return 1 / sqrt(variance + eps) from the sum of squared differences and the rounding error `rest` of the mean. */
VJ_DEVICE float inverse_deviation(float squares, float rest, int D, float eps)
{
    return (float)(1 / sqrt((double)squares / D - (double)rest * rest + (double)eps));
}

/* Write W elements of y from `at` on: v times weight plus bias (from d on), unless they are NULL. */
template <int W>
VJ_DEVICE void write_affine(vj_array y, int64_t at, float v[W], const float *weight, const float *bias, int d)
{
    if (weight) {
        float w[W], b[W];
        load<W>(w, weight + d);
        load<W>(b, bias + d);
        VJ_UNROLL
        for (int k = 0; k < W; k++) v[k] = v[k] * w[k] + b[k];
    }
    store_of<W>(y, at, v);
}

/* ------------------------------------------------------------------------------------------------ forward */

/* For D a multiple of 4, at most 128 N: a lane has N groups of 4 neighbours. */
template <int N>
__global__ void __launch_bounds__(THREADS)
    layernorm_kernel(vj_array y, float *mean, float *rstd, const float *x, const float *weight, const float *bias,
                     int64_t R, int D, float eps)
{
    const int64_t r = global_warp();
    if (r >= R) return;
    const float *row = x + r * D;
    const int mine = lane_of_warp() * 4;
    const float origin = row[0];
    float v[N][4], sum = 0, rest = 0, squares = 0;
    VJ_UNROLL
    for (int j = 0; j < N; j++)
        if (mine + j * 128 < D)
            load<4>(v[j], row + mine + j * 128);
        else
            v[j][0] = v[j][1] = v[j][2] = v[j][3] = origin; /* adds 0 to the sum */
    VJ_UNROLL
    for (int j = 0; j < N; j++) VJ_UNROLL
    for (int k = 0; k < 4; k++) sum += v[j][k] -= origin;
    float centre = sum_of_warp(sum) / (float)D;
    VJ_UNROLL
    for (int j = 0; j < N; j++)
        if (mine + j * 128 < D) VJ_UNROLL
    for (int k = 0; k < 4; k++) {
        const float difference = v[j][k] - centre;
        rest += difference; /* rounding error of the mean: corrected two-pass algorithm */
        squares += difference * difference;
    }
    rest = sum_of_warp(rest) / (float)D;
    squares = sum_of_warp(squares);
    centre += rest;
    const float scale = inverse_deviation(squares, rest, D, eps);
    if (mean && lane_of_warp() == 0) {
        mean[r] = origin + centre;
        rstd[r] = scale;
    }
    __syncwarp(); /* y may be x: all lanes have read row[0] */
    VJ_UNROLL
    for (int j = 0; j < N; j++) {
        const int d = mine + j * 128;
        VJ_UNROLL
        for (int k = 0; k < 4; k++) v[j][k] = (v[j][k] - centre) * scale;
        if (d < D) write_affine<4>(y, r * D + d, v[j], weight, bias, d);
    }
}

/* For any D and alignment: one block per row. */
struct norm_shared {
    float part[3][WARPS];
};
__global__ void __launch_bounds__(THREADS)
    layernorm_any_kernel(vj_array y, float *mean, float *rstd, const float *x, const float *weight, const float *bias,
                         int D, float eps)
{
    norm_shared &s = shared<norm_shared>();
    const int64_t r = blockIdx.x;
    const float *row = x + r * D;
    const float origin = row[0];
    float sum = 0, rest = 0, squares = 0;
    for (int d = threadIdx.x; d < D; d += THREADS) sum += row[d] - origin;
    float centre = sum_of_block(sum, s.part[0]) / (float)D;
    for (int d = threadIdx.x; d < D; d += THREADS) {
        const float difference = row[d] - origin - centre;
        rest += difference;
        squares += difference * difference;
    }
    rest = sum_of_block(rest, s.part[1]) / (float)D;
    squares = sum_of_block(squares, s.part[2]); /* y may be x: all have read row[0] by now */
    centre += rest;
    const float scale = inverse_deviation(squares, rest, D, eps);
    if (mean && threadIdx.x == 0) {
        mean[r] = origin + centre;
        rstd[r] = scale;
    }
    for (int d = threadIdx.x; d < D; d += THREADS) {
        float v[1] = {(row[d] - origin - centre) * scale};
        write_affine<1>(y, r * D + d, v, weight, bias, d);
    }
}

void vj_cuda_layernorm_forward(vj_backend *be, vj_array y, float *mean, float *rstd, const float *x,
                               const float *weight, const float *bias, int64_t R, int D, float eps)
{
    const char *name = "layernorm_forward";
    const bool fours = D % 4 == 0 && in_fours(y) && aligned_to(16, x, weight, bias);
    void (*kernel)(vj_array, float *, float *, const float *, const float *, const float *, int64_t, int, float) =
        D <= 128    ? layernorm_kernel<1>
        : D <= 256  ? layernorm_kernel<2>
        : D <= 384  ? layernorm_kernel<3>
        : D <= 512  ? layernorm_kernel<4>
        : D <= 768  ? layernorm_kernel<6>
        : D <= 1024 ? layernorm_kernel<8>
        : D <= 1280 ? layernorm_kernel<10>
        : D <= 1408 ? layernorm_kernel<11>
        : D <= 1664 ? layernorm_kernel<13>
        : D <= 2048 ? layernorm_kernel<16>
                    : NULL;
    if (fours && kernel)
        launch_warps(be, name, kernel, R, y, mean, rstd, x, weight, bias, R, D, eps);
    else
        launch_blocks(be, name, layernorm_any_kernel, dim3((unsigned)R), THREADS, sizeof(norm_shared), y, mean, rstd, x,
                      weight, bias, D, eps);
}

/* ------------------------------------------------------------------------------------------------ backward */

/* Terms of the gradient of a row. */
struct row_terms {
    float shift;     /* rounding error of the mean */
    float along_one; /* mean of g = weight dy */
    float along_x;   /* mean of g times the normalised row */
};

/* Return them from the row's sums of x - mean, g, and g (x - mean). */
VJ_DEVICE row_terms terms_of(float rest, float sum, float product, float rstd, int D)
{
    const float shift = rest / (float)D;
    return row_terms{shift, sum / (float)D, (product - shift * sum) * rstd / (float)D};
}

/* Compute W neighbours of dx, which go to `gradient` too, and of its copy and y unless they are none. hat = (x - mean -
 * shift) rstd. */
template <int W>
VJ_DEVICE void write_gradient(float gradient[W], float *dx, vj_array copy, vj_array y, int64_t at, float hat[W],
                              const float g[W], const float *weight, const float *bias, int d, float rstd, row_terms t,
                              int accumulate)
{
    VJ_UNROLL
    for (int k = 0; k < W; k++) gradient[k] = rstd * (g[k] - t.along_one - hat[k] * t.along_x);
    if (accumulate) {
        float before[W];
        load<W>(before, dx + at);
        VJ_UNROLL
        for (int k = 0; k < W; k++) gradient[k] = before[k] + gradient[k];
    }
    store<W>(dx + at, gradient);
    if (copy.data) store_of<W>(copy, at, gradient);
    if (y.data) write_affine<W>(y, at, hat, weight, bias, d);
}

template <int W> VJ_DEVICE void times_weight(float g[W], const float dy[W], const float *weight, int d)
{
    float w[W];
    if (weight) load<W>(w, weight + d);
    VJ_UNROLL
    for (int k = 0; k < W; k++) g[k] = weight ? dy[k] * w[k] : dy[k];
}

/*
 * For D a multiple of 4, at most 8 times the block's threads: a thread has N groups of 4 neighbours in each of the
 * block's rows. partial [blocks, 2, D], dweight before dbias, or NULL; sums [blocks, D], of dx, or NULL.
 */
enum { NORM_MAX = 512 }; /* threads */
struct norm_backward_shared {
    float part[2][3][NORM_MAX / WARP]; /* separate for even and odd rows, so that one barrier per row is enough */
};
template <int N>
__global__ void __launch_bounds__(NORM_MAX)
    layernorm_backward_kernel(float *dx, vj_array copy, vj_array y, float *partial, float *sums, vj_array dy,
                              const float *x, const float *mean, const float *rstd, const float *weight,
                              const float *bias, int accumulate, int64_t R, int D, int rows)
{
    norm_backward_shared &s = shared<norm_backward_shared>();
    const int mine = (int)threadIdx.x * 4, step = (int)blockDim.x * 4, warps = (int)blockDim.x / WARP;
    const int64_t first = (int64_t)blockIdx.x * rows, end = first + rows < R ? first + rows : R;
    float dweight[N][4] = {}, dbias[N][4] = {}, all[N][4] = {};
    for (int64_t r = first; r < end; r++) {
        const float m = mean[r], scale = rstd[r];
        float hat[N][4] = {}, back[N][4] = {}, rest = 0, sum = 0, product = 0;
        VJ_UNROLL
        for (int j = 0; j < N; j++)
            if (mine + j * step < D) {
                load<4>(hat[j], x + r * D + mine + j * step);
                load_of<4>(back[j], dy, r * D + mine + j * step);
            }
        VJ_UNROLL
        for (int j = 0; j < N; j++) {
            if (mine + j * step >= D) continue;
            float g[4];
            times_weight<4>(g, back[j], weight, mine + j * step);
            VJ_UNROLL
            for (int k = 0; k < 4; k++) {
                hat[j][k] -= m;
                rest += hat[j][k];
                sum += g[k];
                product += g[k] * hat[j][k];
            }
        }
        float(*part)[NORM_MAX / WARP] = s.part[r % 2];
        rest = sum_of_warp(rest), sum = sum_of_warp(sum), product = sum_of_warp(product);
        if (lane_of_warp() == 0) {
            part[0][warp_of_block()] = rest;
            part[1][warp_of_block()] = sum;
            part[2][warp_of_block()] = product;
        }
        __syncthreads();
        rest = sum = product = 0;
        for (int w = 0; w < warps; w++) rest += part[0][w], sum += part[1][w], product += part[2][w];
        const row_terms t = terms_of(rest, sum, product, scale, D);
        VJ_UNROLL
        for (int j = 0; j < N; j++) {
            const int d = mine + j * step;
            if (d >= D) continue;
            float g[4], gradient[4];
            VJ_UNROLL
            for (int k = 0; k < 4; k++) {
                hat[j][k] = (hat[j][k] - t.shift) * scale;
                dweight[j][k] += back[j][k] * hat[j][k];
                dbias[j][k] += back[j][k];
            }
            times_weight<4>(g, back[j], weight, d);
            write_gradient<4>(gradient, dx, copy, y, r * D + d, hat[j], g, weight, bias, d, scale, t, accumulate);
            VJ_UNROLL
            for (int k = 0; k < 4; k++) all[j][k] += gradient[k];
        }
    }
    if (!partial) return;
    VJ_UNROLL
    for (int j = 0; j < N; j++)
        if (mine + j * step < D) {
            store<4>(partial + (int64_t)blockIdx.x * 2 * D + mine + j * step, dweight[j]);
            store<4>(partial + ((int64_t)blockIdx.x * 2 + 1) * D + mine + j * step, dbias[j]);
            if (sums) store<4>(sums + (int64_t)blockIdx.x * D + mine + j * step, all[j]);
        }
}

/* For any D and alignment, three kernels. First: one block per row computes its terms. */
__global__ void __launch_bounds__(THREADS)
    norm_terms_kernel(row_terms *terms, vj_array dy, const float *x, const float *mean, const float *rstd,
                      const float *weight, int D)
{
    norm_shared &s = shared<norm_shared>();
    const int64_t r = blockIdx.x;
    const float m = mean[r];
    float rest = 0, sum = 0, product = 0;
    for (int d = threadIdx.x; d < D; d += THREADS) {
        const float difference = x[r * D + d] - m;
        float back[1], g[1];
        load_of<1>(back, dy, r * D + d);
        times_weight<1>(g, back, weight, d);
        rest += difference;
        sum += g[0];
        product += g[0] * difference;
    }
    rest = sum_of_block(rest, s.part[0]);
    sum = sum_of_block(sum, s.part[1]);
    product = sum_of_block(product, s.part[2]);
    if (threadIdx.x == 0) terms[r] = terms_of(rest, sum, product, rstd[r], D);
}

/* Second: partial [parts, 2, D] = dweight and dbias of `rows` rows each; one thread per column. */
__global__ void __launch_bounds__(THREADS)
    norm_weights_kernel(float *partial, const row_terms *terms, vj_array dy, const float *x, const float *mean,
                        const float *rstd, int64_t R, int D, int rows)
{
    const int d = (int)global_thread();
    const int64_t first = (int64_t)blockIdx.y * rows, end = first + rows < R ? first + rows : R;
    if (d >= D) return;
    float dweight = 0, dbias = 0;
    for (int64_t r = first; r < end; r++) {
        float back[1];
        load_of<1>(back, dy, r * D + d);
        dweight += back[0] * ((x[r * D + d] - mean[r] - terms[r].shift) * rstd[r]);
        dbias += back[0];
    }
    partial[(int64_t)blockIdx.y * 2 * D + d] = dweight;
    partial[((int64_t)blockIdx.y * 2 + 1) * D + d] = dbias;
}

/* Third: one block per row computes dx and y. */
__global__ void __launch_bounds__(THREADS)
    norm_gradient_kernel(float *dx, vj_array copy, vj_array y, const row_terms *terms, vj_array dy, const float *x,
                         const float *mean, const float *rstd, const float *weight, const float *bias, int accumulate,
                         int D)
{
    const int64_t r = blockIdx.x;
    const row_terms t = terms[r];
    for (int d = threadIdx.x; d < D; d += THREADS) {
        float hat[1] = {(x[r * D + d] - mean[r] - t.shift) * rstd[r]}, back[1], g[1], gradient[1];
        load_of<1>(back, dy, r * D + d);
        times_weight<1>(g, back, weight, d);
        write_gradient<1>(gradient, dx, copy, y, r * D + d, hat, g, weight, bias, d, rstd[r], t, accumulate);
    }
}

void vj_cuda_layernorm_backward(vj_backend *be, float *dx, vj_array copy, vj_array y, float *dweight, float *dbias,
                                float *sums, vj_array dy, const float *x, const float *mean, const float *rstd,
                                const float *weight, const float *bias, int accumulate_dx, int accumulate_dw, int64_t R,
                                int D)
{
    const char *name = "layernorm_backward";
    /* 32 rows in a block: writing their sums is a sixteenth of the reading, and a batch's rows give each processor some
     * blocks.
     */
    const int rows = (int)(R > 32 * 1024 ? groups_of(R, 1024) : 32);
    const int64_t parts = groups_of(R, rows);
    const int64_t weights = dweight ? parts * 2 * D : 0, of_dx = sums ? parts * D : 0;
    float *partial =
        (float *)vj_cuda_scratch(be, (weights + of_dx) * (int64_t)sizeof(float) + R * (int64_t)sizeof(row_terms));
    if (!partial) return;
    float *const sums_of_parts = sums ? partial + weights : NULL;
    row_terms *terms = (row_terms *)(partial + weights + of_dx);
    if (!dweight) partial = NULL;
    const bool fours =
        D % 4 == 0 && in_fours(y) && in_fours(copy) && in_fours(dy) && aligned_to(16, dx, x, weight, bias);
    const bool quick = fours && D <= 8 * NORM_MAX;
    if (quick) {
        const int N = D <= 512 ? 1 : 2;
        const unsigned threads = (unsigned)groups_of(D, 4 * N * WARP) * WARP;
        launch_blocks(be, name, N == 1 ? layernorm_backward_kernel<1> : layernorm_backward_kernel<2>,
                      dim3((unsigned)parts), threads, sizeof(norm_backward_shared), dx, copy, y, partial, sums_of_parts,
                      dy, x, mean, rstd, weight, bias, accumulate_dx, R, D, rows);
        if (sums) totals_of_parts(be, name, sums, sums, D, sums_of_parts, parts, D, accumulate_dw);
    } else {
        const dim3 each_row((unsigned)R);
        launch_blocks(be, name, norm_terms_kernel, each_row, THREADS, sizeof(norm_shared), terms, dy, x, mean, rstd,
                      weight, D);
        if (partial)
            launch_blocks(be, name, norm_weights_kernel, dim3((unsigned)groups_of(D, THREADS), (unsigned)parts),
                          THREADS, 0, partial, terms, dy, x, mean, rstd, R, D, rows);
        launch_blocks(be, name, norm_gradient_kernel, each_row, THREADS, 0, dx, copy, y, terms, dy, x, mean, rstd,
                      weight, bias, accumulate_dx, D);
    }
    if (partial) totals_of_parts(be, name, dweight, dbias, D, partial, parts, (int64_t)2 * D, accumulate_dw);
    if (sums && !quick) vj_cuda_column_sums(be, sums, vj_f32(dx), accumulate_dw, R, D);
}

/* ------------------------------------------------------------------------------------------------ columns */

/*
 * Compute partial [parts, D], sums over the rows of a part (y). A lane has W neighbouring columns; the warps take the
 * rows in turn, then the warps' sums are added.
 */
template <int W> struct column_shared {
    float sum[WARPS][W][WARP];
};
template <int W, class T>
__global__ void __launch_bounds__(THREADS)
    column_sums_kernel(float *__restrict__ partial, const T *__restrict__ x, int64_t R, int D, int64_t rows)
{
    column_shared<W> &s = shared<column_shared<W>>();
    const int d = (int)(blockIdx.x * WARP + threadIdx.x % WARP) * W;
    const int64_t first = (int64_t)blockIdx.y * rows, end = first + rows < R ? first + rows : R;
    float sum[W] = {};
    /* Four rows at a time: their loads are in flight together, and sums of pairs keep errors small. */
    if (d < D)
        for (int64_t r = first + warp_of_block(); r < end; r += 4 * WARPS) {
            float v[4][W] = {};
            VJ_UNROLL
            for (int i = 0; i < 4; i++)
                if (r + i * WARPS < end) load<W>(v[i], x + (r + i * WARPS) * D + d);
            VJ_UNROLL
            for (int k = 0; k < W; k++) sum[k] += (v[0][k] + v[1][k]) + (v[2][k] + v[3][k]);
        }
    VJ_UNROLL
    for (int k = 0; k < W; k++) s.sum[warp_of_block()][k][lane_of_warp()] = sum[k];
    __syncthreads();
    if (warp_of_block() > 0 || d >= D) return;
    VJ_UNROLL
    for (int k = 0; k < W; k++) {
        double all = sum[k];
        for (int w = 1; w < WARPS; w++) all += s.sum[w][k][lane_of_warp()];
        partial[(int64_t)blockIdx.y * D + d + k] = (float)all;
    }
}

template <int W, class T>
static void column_sums(vj_backend *be, float *partial, const T *x, int64_t R, int D, int64_t rows)
{
    const dim3 grid((unsigned)groups_of(D, W * WARP), (unsigned)groups_of(R, rows));
    launch_blocks(be, "column_sums", column_sums_kernel<W, T>, grid, THREADS, sizeof(column_shared<W>), partial, x, R,
                  D, rows);
}

void vj_cuda_column_sums(vj_backend *be, float *sums, vj_array x, int accumulate, int64_t R, int D)
{
    const int64_t rows = rows_of_part(R), parts = groups_of(R, rows);
    float *partial = (float *)vj_cuda_scratch(be, parts * D * (int64_t)sizeof(float));
    if (!partial) return;
    const bf16 *half = (const bf16 *)x.data;
    const float *single = (const float *)x.data;
    if (x.type == VJ_TYPE_BF16 && D % 8 == 0 && aligned_to(16, half))
        column_sums<8>(be, partial, half, R, D, rows);
    else if (x.type == VJ_TYPE_BF16)
        column_sums<1>(be, partial, half, R, D, rows);
    else if (D % 4 == 0 && aligned_to(16, single))
        column_sums<4>(be, partial, single, R, D, rows);
    else
        column_sums<1>(be, partial, single, R, D, rows);
    totals_of_parts(be, "column_sums", sums, sums, D, partial, parts, D, accumulate);
}
