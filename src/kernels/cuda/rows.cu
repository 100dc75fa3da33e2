/*
 * Rows moved by index lists, clips cut into tubelets, rows normalised. A warp moves a row, 512 bytes at a time. Sums
 * into a row are made in ascending order of the source rows.
 */
#include "kernels/cuda/lanes.cuh"

/* ------------------------------------------------------------------------------------------------ gather */

template <int W>
__global__ void __launch_bounds__(THREADS) gather_rows_kernel(float *__restrict__ y, const float *__restrict__ x,
                                                              const int32_t *__restrict__ index, int64_t R, int D)
{
    const int64_t r = global_warp();
    if (r >= R) return;
    const float *from = x + (int64_t)index[r] * D;
    VJ_UNROLL_4
    for (int d = lane_of_warp() * W; d < D; d += WARP * W) {
        float v[W];
        load<W>(v, from + d);
        store<W>(y + r * D + d, v);
    }
}

void vj_cuda_gather_rows(vj_backend *be, float *y, const float *x, const int32_t *index, int64_t R, int D)
{
    const bool fours = D % 4 == 0 && aligned_to(16, x, y);
    launch_warps(be, "gather_rows", fours ? gather_rows_kernel<4> : gather_rows_kernel<1>, R, y, x, index, R, D);
}

/* ------------------------------------------------------------------------------------------------ scatter */

/* Return whether one of W neighbours is x. */
template <int W> VJ_DEVICE bool one_is(int32_t x, const int32_t *index)
{
    bool found = false;
    if constexpr (W == 1) found = *index == x;
    VJ_UNROLL
    for (int i = 0; i + 4 <= W; i += 4) {
        const uint4 four = *reinterpret_cast<const uint4 *>(index + i);
        const uint32_t of = (uint32_t)x;
        found |= (four.x == of) | (four.y == of) | (four.z == of) | (four.w == of);
    }
    return found;
}

/*
 * next[r] = the row after r with the same index, or -1; first[r] = there is none before r. One thread per row, which
 * compares it with all rows: W at a time, since almost all have other indices.
 */
template <int W>
__global__ void __launch_bounds__(THREADS)
    chain_rows_kernel(int32_t *__restrict__ next, int32_t *__restrict__ first, const int32_t *__restrict__ index, int R)
{
    const int r = (int)global_thread();
    if (r >= R) return;
    const int32_t mine = index[r];
    int before = 0, after = R;
    for (int at = 0; at < R; at += W) {
        if (at + W <= R && !one_is<W>(mine, index + at)) continue;
        for (int other = at; other < at + W && other < R; other++)
            if (index[other] == mine) {
                if (other < r) before = 1;
                if (other > r && other < after) after = other;
            }
    }
    next[r] = after < R ? after : -1;
    first[r] = !before;
}

/* The warp of the first row of an index adds all rows of this index, in ascending order. */
template <int W>
__global__ void __launch_bounds__(THREADS)
    scatter_add_rows_kernel(float *__restrict__ dx, const float *__restrict__ dy, const int32_t *__restrict__ index,
                            const int32_t *__restrict__ next, const int32_t *__restrict__ first, int64_t R, int D)
{
    const int64_t r = global_warp();
    if (r >= R || !first[r]) return;
    float *to = dx + (int64_t)index[r] * D;
    for (int d = lane_of_warp() * W; d < D; d += WARP * W) {
        float sum[W];
        load<W>(sum, to + d);
        for (int64_t from = r; from >= 0; from = next[from]) {
            float v[W];
            load<W>(v, dy + from * D + d);
            VJ_UNROLL
            for (int k = 0; k < W; k++) sum[k] += v[k];
        }
        store<W>(to + d, sum);
    }
}

void vj_cuda_scatter_add_rows(vj_backend *be, float *dx, const float *dy, const int32_t *index, int64_t R, int D)
{
    int32_t *next = (int32_t *)vj_cuda_scratch(be, R * 2 * (int64_t)sizeof(int32_t));
    if (!next) return;
    const bool fours = D % 4 == 0 && aligned_to(16, dx, dy);
    launch_threads(be, "scatter_add_rows", aligned_to(16, index) ? chain_rows_kernel<16> : chain_rows_kernel<1>, R,
                   next, next + R, index, (int)R);
    launch_warps(be, "scatter_add_rows", fours ? scatter_add_rows_kernel<4> : scatter_add_rows_kernel<1>, R, dx, dy,
                 index, next, next + R, R, D);
}

/* ------------------------------------------------------------------------------------------------ predictor input */

template <int W>
__global__ void __launch_bounds__(THREADS)
    predictor_input_kernel(float *__restrict__ s, const float *__restrict__ u, const float *__restrict__ mask_tokens,
                           const float *__restrict__ table, const int32_t *__restrict__ source,
                           const int32_t *__restrict__ position, int64_t R, int D)
{
    const int64_t r = global_warp();
    if (r >= R) return;
    const int64_t from = source[r];
    const float *token = from >= 0 ? u + from * D : mask_tokens + (-1 - from) * D;
    const float *place = table + (int64_t)position[r] * D;
    VJ_UNROLL_4
    for (int d = lane_of_warp() * W; d < D; d += WARP * W) {
        float a[W], b[W];
        load<W>(a, place + d);
        load<W>(b, token + d);
        VJ_UNROLL
        for (int k = 0; k < W; k++) a[k] += b[k];
        store<W>(s + r * D + d, a);
    }
}

void vj_cuda_predictor_input_forward(vj_backend *be, float *s, const float *u, const float *mask_tokens,
                                     const float *table, const int32_t *source, const int32_t *position, int64_t R,
                                     int D)
{
    const bool fours = D % 4 == 0 && aligned_to(16, s, u, mask_tokens, table);
    launch_warps(be, "predictor_input_forward", fours ? predictor_input_kernel<4> : predictor_input_kernel<1>, R, s, u,
                 mask_tokens, table, source, position, R, D);
}

/* Copy the gradients of rows that came from the context back to it. */
template <int W>
__global__ void __launch_bounds__(THREADS) return_rows_kernel(float *__restrict__ du, const float *__restrict__ ds,
                                                              const int32_t *__restrict__ source, int64_t R, int D)
{
    const int64_t r = global_warp();
    if (r >= R || source[r] < 0) return;
    float *to = du + (int64_t)source[r] * D;
    VJ_UNROLL_4
    for (int d = lane_of_warp() * W; d < D; d += WARP * W) {
        float v[W];
        load<W>(v, ds + r * D + d);
        store<W>(to + d, v);
    }
}

/*
 * Compute partial [parts, tokens, D]: the sums of one part's rows of each mask token. A block has 32 columns, one part
 * (y) and one token (z), so that each row is read by one block only; its warps take the part's rows in turn.
 */
struct mask_sums_shared {
    float sum[WARPS][WARP];
};
__global__ void __launch_bounds__(THREADS)
    mask_sums_kernel(float *__restrict__ partial, const float *__restrict__ ds, const int32_t *__restrict__ source,
                     int64_t R, int D, int64_t rows)
{
    mask_sums_shared &s = shared<mask_sums_shared>();
    const int d = (int)blockIdx.x * WARP + lane_of_warp(), wanted = -1 - (int)blockIdx.z;
    const int64_t first = (int64_t)blockIdx.y * rows, end = first + rows < R ? first + rows : R;
    float sum = 0;
    if (d < D) VJ_UNROLL_4
    for (int64_t r = first + warp_of_block(); r < end; r += WARPS)
        if (source[r] == wanted) sum += ds[r * D + d];
    s.sum[warp_of_block()][lane_of_warp()] = sum;
    __syncthreads();
    if (warp_of_block() > 0 || d >= D) return;
    for (int w = 1; w < WARPS; w++) sum += s.sum[w][lane_of_warp()];
    partial[((int64_t)blockIdx.y * gridDim.z + blockIdx.z) * D + d] = sum;
}

void vj_cuda_predictor_input_backward(vj_backend *be, float *du, float *dmask_tokens, const float *ds,
                                      const int32_t *source, int64_t R, int D, int tokens, int accumulate)
{
    const char *name = "predictor_input_backward";
    const bool fours = D % 4 == 0 && aligned_to(16, du, ds);
    const int64_t rows = rows_of_part(R), parts = groups_of(R, rows), columns = (int64_t)tokens * D;
    float *partial = (float *)vj_cuda_scratch(be, parts * columns * (int64_t)sizeof(float));
    if (!partial) return;
    launch_warps(be, name, fours ? return_rows_kernel<4> : return_rows_kernel<1>, R, du, ds, source, R, D);
    launch_blocks(be, name, mask_sums_kernel, dim3((unsigned)groups_of(D, WARP), (unsigned)parts, (unsigned)tokens),
                  THREADS, sizeof(mask_sums_shared), partial, ds, source, R, D, rows);
    totals_of_parts(be, name, dmask_tokens, dmask_tokens, columns, partial, parts, columns, accumulate);
}

/* ------------------------------------------------------------------------------------------------ tubelets */

/* The shape of a clip in tubelets. */
struct tubelets {
    int C, T, H, W, tubelet, patch;
};

/*
 * One warp per tubelet, W neighbours of a patch's line at a time. Neighbouring tubelets read the rest of the same cache
 * lines.
 */
template <int W>
__global__ void __launch_bounds__(THREADS)
    patchify_kernel(vj_array patches, const float *__restrict__ clips, int64_t tokens, tubelets shape)
{
    const int64_t token = global_warp();
    if (token >= tokens) return;
    const int gw = shape.W / shape.patch, gh = shape.H / shape.patch, gt = shape.T / shape.tubelet;
    const int64_t above = token / gw, before = above / gh, b = before / gt;
    const int x = (int)(token % gw) * shape.patch, y = (int)(above % gh) * shape.patch,
              t = (int)(before % gt) * shape.tubelet;
    const int values = shape.C * shape.tubelet * shape.patch * shape.patch;
    for (int i = lane_of_warp() * W; i < values; i += WARP * W) {
        const int dx = i % shape.patch, line = i / shape.patch, dy = line % shape.patch, frame = line / shape.patch;
        const int dt = frame % shape.tubelet, c = frame / shape.tubelet;
        float v[W];
        load<W>(v, clips + (((b * shape.C + c) * shape.T + t + dt) * shape.H + y + dy) * shape.W + x + dx);
        store_of<W>(patches, token * values + i, v);
    }
}

void vj_cuda_patchify(vj_backend *be, vj_array patches, const float *clips, int64_t B, int C, int T, int H, int W,
                      int tubelet, int patch)
{
    const int64_t tokens = B * (T / tubelet) * (H / patch) * (W / patch);
    /* If patch is a multiple of 4, so are W and the number of values of a token. */
    const bool fours = patch % 4 == 0 && in_fours(patches) && aligned_to(16, clips);
    launch_warps(be, "patchify", fours ? patchify_kernel<4> : patchify_kernel<1>, tokens, patches, clips, tokens,
                 tubelets{C, T, H, W, tubelet, patch});
}

/* One warp per row, which is read again for each pass, from the first-level cache. */
__global__ void __launch_bounds__(THREADS) normalise_rows_kernel(float *y, const float *x, int64_t R, int P, float eps)
{
    const int64_t r = global_warp();
    if (r >= R) return;
    const float *row = x + r * P;
    double sum = 0, squares = 0;
    VJ_UNROLL_2
    for (int i = lane_of_warp(); i < P; i += WARP) sum += (double)row[i];
    const double mean = sum_of_warp(sum) / P;
    VJ_UNROLL_2
    for (int i = lane_of_warp(); i < P; i += WARP) {
        const double difference = (double)row[i] - mean;
        squares += difference * difference;
    }
    const double scale = 1 / sqrt(sum_of_warp(squares) / (P - 1) + (double)eps);
    VJ_UNROLL_2
    for (int i = lane_of_warp(); i < P; i += WARP) y[r * P + i] = (float)(((double)row[i] - mean) * scale);
}

void vj_cuda_normalise_rows(vj_backend *be, float *y, const float *x, int64_t R, int P, float eps)
{
    launch_warps(be, "normalise_rows", normalise_rows_kernel, R, y, x, R, P, eps);
}
