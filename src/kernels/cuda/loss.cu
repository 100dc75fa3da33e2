/*
 * The prediction loss and the spread penalty, each with its gradient, as in cpu/loss.c. Sums are in double, in a fixed
 * order.
 */
#include "kernels/cuda/lanes.cuh"

struct loss_shared {
    double part[WARPS];
    int32_t last[THREADS];
};

/* ------------------------------------------------------------------------------------------------ prediction */

enum { ABSOLUTE = 1, SQUARE = 2, POWER = 0 };

/* Return |difference|^e / e; *slope gets the gradient times `weight`. */
template <int kind> VJ_DEVICE double loss_of(float pred, float target, float weight, double exponent, float *slope)
{
    const float difference = pred - target;
    if constexpr (kind == ABSOLUTE) {
        *slope = difference > 0 ? weight : difference < 0 ? -weight : difference * weight; /* NaN stays NaN */
        return (double)fabsf(difference);
    } else if constexpr (kind == SQUARE) {
        *slope = weight * difference;
        return 0.5 * (double)difference * (double)difference;
    } else {
        const double exact = (double)pred - (double)target, size = fabs(exact);
        *slope = size == 0 ? 0.0f : (float)((double)weight * copysign(pow(size, exponent - 1), exact));
        return pow(size, exponent) / exponent;
    }
}

/* One warp per row: its loss and its gradient; each element is read once. */
template <int kind, int W>
__global__ void __launch_bounds__(THREADS)
    row_loss_kernel(double *__restrict__ row_loss, float *__restrict__ dpred, const float *__restrict__ pred,
                    const float *__restrict__ target, const int32_t *__restrict__ target_row,
                    const float *__restrict__ weight, int64_t R, int D, double exponent)
{
    const int64_t r = global_warp();
    if (r >= R) return;
    const float *want = target + (int64_t)target_row[r] * D;
    const float scale = weight[r];
    double sum = 0;
    for (int d = lane_of_warp() * W; d < D; d += WARP * W) {
        float p[W], t[W], slope[W];
        load<W>(p, pred + r * D + d);
        load<W>(t, want + d);
        VJ_UNROLL
        for (int k = 0; k < W; k++) sum += loss_of<kind>(p[k], t[k], scale, exponent, slope + k);
        if (dpred) store<W>(dpred + r * D + d, slope);
    }
    sum = sum_of_warp(sum);
    if (lane_of_warp() == 0) row_loss[r] = (double)scale * sum;
}

/* Return the largest of group[R], in each thread. */
VJ_DEVICE int32_t last_group(const int32_t *group, int64_t R, int32_t *last)
{
    int32_t largest = 0;
    for (int64_t r = threadIdx.x; r < R; r += THREADS) largest = group[r] > largest ? group[r] : largest;
    last[threadIdx.x] = largest;
    __syncthreads();
    for (int i = 0; i < THREADS; i++) largest = last[i] > largest ? last[i] : largest;
    return largest;
}

/* A block adds the rows of every gridDim.x-th group to the group's loss; the number of groups is known only from
 * `group`. */
__global__ void __launch_bounds__(THREADS)
    group_loss_kernel(double *loss, const double *row_loss, const int32_t *group, int64_t R)
{
    loss_shared &s = shared<loss_shared>();
    const int32_t last = last_group(group, R, s.last);
    for (int32_t g = (int32_t)blockIdx.x; g <= last; g += (int32_t)gridDim.x) {
        double sum = 0;
        VJ_UNROLL_4
        for (int64_t r = threadIdx.x; r < R; r += THREADS) sum += group[r] == g ? row_loss[r] : 0.0;
        __syncthreads(); /* `part` is used again */
        sum = sum_of_block(sum, s.part);
        if (threadIdx.x == 0) loss[g] += sum;
    }
}

template <int W>
static void row_losses(vj_backend *be, double *row_loss, float *dpred, const float *pred, const float *target,
                       const int32_t *target_row, const float *weight, int64_t R, int D, double exponent)
{
    launch_warps(be, "prediction_loss",
                 exponent == 1   ? row_loss_kernel<ABSOLUTE, W>
                 : exponent == 2 ? row_loss_kernel<SQUARE, W>
                                 : row_loss_kernel<POWER, W>,
                 R, row_loss, dpred, pred, target, target_row, weight, R, D, exponent);
}

void vj_cuda_prediction_loss(vj_backend *be, double *loss, float *dpred, const float *pred, const float *target,
                             const int32_t *target_row, const float *weight, const int32_t *group, int64_t R, int D,
                             double exponent)
{
    enum { GROUP_BLOCKS = 16 };
    double *row_loss = (double *)vj_cuda_scratch(be, R * (int64_t)sizeof(double));
    if (!row_loss || R == 0) return;
    if (D % 4 == 0 && aligned_to(16, dpred, pred, target))
        row_losses<4>(be, row_loss, dpred, pred, target, target_row, weight, R, D, exponent);
    else
        row_losses<1>(be, row_loss, dpred, pred, target, target_row, weight, R, D, exponent);
    launch_blocks(be, "prediction_loss", group_loss_kernel, dim3(GROUP_BLOCKS), THREADS, sizeof(loss_shared), loss,
                  row_loss, group, R);
}

/* ------------------------------------------------------------------------------------------------ spread */

/* Mean and 1 / sqrt(variance + 1e-4) of a column of a segment; the latter is 0 if the column gets no gradient. */
struct column_spread {
    double mean, inverse;
};

/* Compute spread [segments, D]. A block has 32 columns of a segment (y); the warps take the rows in turn. */
struct spread_shared {
    double part[2][WARPS][WARP];
};
VJ_DEVICE double sum_of_column(double sum, double (*part)[WARP])
{
    part[warp_of_block()][lane_of_warp()] = sum;
    __syncthreads();
    sum = 0;
    for (int w = 0; w < WARPS; w++) sum += part[w][lane_of_warp()];
    return sum;
}
__global__ void __launch_bounds__(THREADS)
    column_spread_kernel(column_spread *__restrict__ spread, const float *__restrict__ pred,
                         const int32_t *__restrict__ offset, int64_t segments, int D)
{
    spread_shared &s = shared<spread_shared>();
    const int d = (int)blockIdx.x * WARP + lane_of_warp();
    for (int64_t segment = blockIdx.y; segment < segments; segment += gridDim.y) {
        const int64_t first = offset[segment], end = offset[segment + 1], rows = end - first;
        double sum = 0, squares = 0;
        if (d < D)
            for (int64_t r = first + warp_of_block(); r < end; r += WARPS) sum += (double)pred[r * D + d];
        const double mean = sum_of_column(sum, s.part[0]) / (double)(rows > 0 ? rows : 1);
        if (d < D)
            for (int64_t r = first + warp_of_block(); r < end; r += WARPS) {
                const double difference = (double)pred[r * D + d] - mean;
                squares += difference * difference;
            }
        squares = sum_of_column(squares, s.part[1]);
        if (warp_of_block() == 0 && d < D)
            spread[segment * D + d] = column_spread{mean, 1 / sqrt(squares / (double)(rows > 1 ? rows - 1 : 1) + 1e-4)};
    }
}

/* One thread per column of a clip: lack = 1 - its spread averaged over the masks, at least 0. */
__global__ void __launch_bounds__(THREADS) lack_kernel(double *lack, column_spread *spread, int masks, int64_t B, int D)
{
    const int64_t i = global_thread();
    if (i >= B * D) return;
    double average = 0;
    for (int mask = 0; mask < masks; mask++) average += 1 / spread[mask * B * D + i].inverse / masks;
    const double mine = 1 - average;
    lack[i] = mine < 0 ? 0 : mine; /* NaN stays NaN */
    if (mine < 0)
        for (int mask = 0; mask < masks; mask++) spread[mask * B * D + i].inverse = 0;
}

/* One block: add up all lacks. */
__global__ void __launch_bounds__(THREADS) penalty_kernel(double *penalty, const double *lack, int64_t n, double scale)
{
    loss_shared &s = shared<loss_shared>();
    double sum = 0;
    VJ_UNROLL_4
    for (int64_t i = threadIdx.x; i < n; i += THREADS) sum += lack[i];
    sum = sum_of_block(sum, s.part);
    if (threadIdx.x == 0) *penalty += scale * sum;
}

/* One warp per row of a segment (y); the blocks of x share a segment's rows. */
__global__ void __launch_bounds__(THREADS)
    spread_gradient_kernel(float *__restrict__ dpred, const float *__restrict__ pred,
                           const column_spread *__restrict__ spread, const int32_t *__restrict__ offset,
                           int64_t segments, int masks, int D, double scale)
{
    for (int64_t segment = blockIdx.y; segment < segments; segment += gridDim.y) {
        const int64_t first = offset[segment], end = offset[segment + 1];
        const double factor = -scale / masks / (double)(end - first > 1 ? end - first - 1 : 1);
        for (int64_t r = first + global_warp(); r < end; r += (int64_t)gridDim.x * WARPS)
            for (int d = lane_of_warp(); d < D; d += WARP) {
                const column_spread c = spread[segment * D + d];
                dpred[r * D + d] += (float)(factor * ((double)pred[r * D + d] - c.mean) * c.inverse);
            }
    }
}

void vj_cuda_spread_penalty(vj_backend *be, double *penalty, float *dpred, const float *pred, const int32_t *offset,
                            int masks, int64_t B, int D, double scale)
{
    enum { GRADIENT_BLOCKS = 8, MAX_Y = 65535 };
    const char *name = "spread_penalty";
    const int64_t segments = masks * B, columns = B * D;
    double *lack = (double *)vj_cuda_scratch(be, columns * (int64_t)sizeof(double) +
                                                     segments * D * (int64_t)sizeof(column_spread));
    if (!lack) return;
    column_spread *spread = (column_spread *)(lack + columns);
    const unsigned y = segments < MAX_Y ? (unsigned)segments : (unsigned)MAX_Y;
    launch_blocks(be, name, column_spread_kernel, dim3((unsigned)groups_of(D, WARP), y), THREADS, sizeof(spread_shared),
                  spread, pred, offset, segments, D);
    launch_threads(be, name, lack_kernel, columns, lack, spread, masks, B, D);
    launch_blocks(be, name, penalty_kernel, dim3(1), THREADS, sizeof(loss_shared), penalty, lack, columns, scale);
    if (dpred)
        launch_blocks(be, name, spread_gradient_kernel, dim3(GRADIENT_BLOCKS, y), THREADS, 0, dpred, pred, spread,
                      offset, segments, masks, D, scale);
}
