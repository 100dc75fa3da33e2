/*
 * The kernels' half of kernels.h: checks the arguments of each kernel, counts its flops, and calls through the table of
 * kernels. kernels.h defines what a kernel computes; cpu/ shows how. Opening, memory and copies are in device.c.
 */
#include "kernels/kernels.h"

#include "kernels/backend.h"

/* Launch row `op` of the table and count it in account `account`. */
#define LAUNCH_AS(be, account, op, ...)                                                                                \
    do {                                                                                                               \
        vj_device_enter(be);                                                                                           \
        const double began_s = vj_now();                                                                               \
        (be)->ops->op((be), __VA_ARGS__);                                                                              \
        vj_account((be), (account), began_s);                                                                          \
        vj_device_leave(be);                                                                                           \
    } while (0)
#define LAUNCH(be, op, ...) LAUNCH_AS(be, VJ_OP_##op, op, __VA_ARGS__)

/* Set the number of floats that the next launch must move at least. */
static void moves(vj_backend *be, double floats)
{
    be->accounts.bytes = floats * (double)sizeof(float);
}

void vj_fill(vj_backend *be, float *x, float value, int64_t n)
{
    VJ_ASSERT(n >= 0 && (n == 0 || x));
    moves(be, (double)n);
    LAUNCH(be, fill, x, value, n);
}

void vj_round_bf16(vj_backend *be, uint16_t *y, const float *x, int64_t n)
{
    VJ_ASSERT(n >= 0 && (n == 0 || (y && x)));
    moves(be, 1.5 * (double)n);
    LAUNCH(be, round_bf16, y, x, n);
}

void vj_add(vj_backend *be, float *y, const float *x, int64_t n)
{
    VJ_ASSERT(n >= 0 && (n == 0 || (y && x)));
    moves(be, 3.0 * (double)n);
    LAUNCH(be, add, y, x, n);
}

void vj_gelu_forward(vj_backend *be, float *y, const float *x, int64_t n)
{
    VJ_ASSERT(n >= 0 && (n == 0 || (y && x)));
    moves(be, 2.0 * (double)n);
    LAUNCH(be, gelu_forward, y, x, n);
}

void vj_gelu_backward(vj_backend *be, float *dx, const float *dy, const float *x, int64_t n)
{
    VJ_ASSERT(n >= 0 && (n == 0 || (dx && dy && x)));
    moves(be, 3.0 * (double)n);
    LAUNCH(be, gelu_backward, dx, dy, x, n);
}

void vj_gather_rows(vj_backend *be, float *y, const float *x, const int32_t *index, int64_t R, int D)
{
    VJ_ASSERT(R >= 0 && D > 0 && (R == 0 || (y && x && index && y != x)));
    moves(be, 2.0 * (double)R * D);
    LAUNCH(be, gather_rows, y, x, index, R, D);
}

void vj_scatter_add_rows(vj_backend *be, float *dx, const float *dy, const int32_t *index, int64_t R, int D)
{
    VJ_ASSERT(R >= 0 && D > 0 && (R == 0 || (dx && dy && index && dx != dy)));
    moves(be, 3.0 * (double)R * D);
    LAUNCH(be, scatter_add_rows, dx, dy, index, R, D);
}

void vj_predictor_input_forward(vj_backend *be, float *s, const float *u, const float *mask_tokens, const float *table,
                                const int32_t *source, const int32_t *position, int64_t R, int D)
{
    VJ_ASSERT(R >= 0 && D > 0 && (R == 0 || (s && u && mask_tokens && table && source && position)));
    moves(be, 3.0 * (double)R * D);
    LAUNCH(be, predictor_input_forward, s, u, mask_tokens, table, source, position, R, D);
}

void vj_predictor_input_backward(vj_backend *be, float *du, float *dmask_tokens, const float *ds, const int32_t *source,
                                 int64_t R, int D, int tokens, int accumulate)
{
    VJ_ASSERT(R >= 0 && D > 0 && tokens > 0 && dmask_tokens && (R == 0 || (du && ds && source)));
    moves(be, 2.0 * (double)R * D);
    LAUNCH(be, predictor_input_backward, du, dmask_tokens, ds, source, R, D, tokens, accumulate);
}

void vj_crop_clips(vj_backend *be, float *pixels, const uint8_t *frames, const vj_clip_view *views, int64_t B, int T,
                   int size, const double mean[3], const double std[3])
{
    VJ_ASSERT(B >= 0 && T > 0 && size > 0 && (B == 0 || (pixels && frames && views)));
    double pixels_seen = 0.0;
    for (int64_t b = 0; b < B; b++) pixels_seen += (double)views[b].crop.height * views[b].crop.width;
    moves(be, 3.0 * T * ((double)B * size * size + pixels_seen / (double)sizeof(float)));
    LAUNCH(be, crop_clips, pixels, frames, views, B, T, size, mean, std);
}

/* Return the size of n elements of an array, in floats. */
static double floats_of(vj_array array, int64_t n)
{
    return array.data ? (double)n * (double)vj_type_bytes(array.type) / sizeof(float) : 0;
}

void vj_patchify(vj_backend *be, vj_array patches, const float *clips, int64_t B, int C, int T, int H, int W,
                 int tubelet, int patch)
{
    const int64_t values = B * C * T * H * W;
    VJ_ASSERT(B >= 0 && C > 0 && tubelet > 0 && patch > 0 && (B == 0 || (patches.data && clips)));
    VJ_ASSERT(T >= tubelet && H >= patch && W >= patch && T % tubelet == 0 && H % patch == 0 && W % patch == 0);
    moves(be, (double)values + floats_of(patches, values));
    LAUNCH(be, patchify, patches, clips, B, C, T, H, W, tubelet, patch);
}

void vj_normalise_rows(vj_backend *be, float *y, const float *x, int64_t R, int P, float eps)
{
    VJ_ASSERT(R >= 0 && P > 1 && eps >= 0 && (R == 0 || (y && x)));
    moves(be, 2.0 * (double)R * P);
    LAUNCH(be, normalise_rows, y, x, R, P, eps);
}

/* Return the floats that must move at least: operands, result, what is added to it, what the finish reads or writes. */
static double product_floats(const vj_product *p)
{
    const int64_t result = p->M * p->N;
    return floats_of(p->a, p->M * p->K) + floats_of(p->b, p->N * p->K) + floats_of(p->c, result) +
           (p->accumulate ? floats_of(p->c, result) : 0) + (p->residual ? (double)result : 0) +
           floats_of(p->pre, result) + floats_of(p->hidden, result);
}

static vj_op product_account(const vj_product *p)
{
    if (p->a_transposed) return VJ_OP_linear_backward_weight;
    if (p->b_transposed) return p->finish == VJ_FINISH_PLAIN ? VJ_OP_linear_forward : VJ_OP_linear_gelu_forward;
    return p->finish == VJ_FINISH_PLAIN ? VJ_OP_linear_backward_input : VJ_OP_linear_gelu_backward_input;
}

static void launch_product(vj_backend *be, const vj_product *product)
{
    VJ_ASSERT(product->M >= 0 && product->N > 0 && product->K >= 0);
    VJ_ASSERT(!product->residual || product->residual_rows > 0);
    if (product->M == 0) return;
    if (product->K == 0) { /* the gradient of a weight over no rows: an empty sum */
        if (!product->accumulate) LAUNCH(be, fill, product->c.data, 0.0f, product->M * product->N);
        return;
    }
    be->flops += 2.0 * (double)product->M * (double)product->N * (double)product->K;
    moves(be, product_floats(product));
    LAUNCH_AS(be, product_account(product), product, product);
}

void vj_linear_forward(vj_backend *be, vj_array y, vj_array x, vj_array w, const float *bias, const float *residual,
                       int64_t residual_rows, int64_t R, int N, int K)
{
    VJ_ASSERT(K > 0 && w.data && (R == 0 || (y.data && x.data && y.data != x.data)));
    launch_product(be, &(vj_product){.M = R,
                                     .N = N,
                                     .K = K,
                                     .a = x,
                                     .b = w,
                                     .b_transposed = true,
                                     .c = y,
                                     .bias = bias,
                                     .residual = residual,
                                     .residual_rows = residual_rows});
}

void vj_linear_gelu_forward(vj_backend *be, vj_array y, vj_array pre, vj_array x, vj_array w, const float *bias,
                            int64_t R, int N, int K)
{
    VJ_ASSERT(K > 0 && w.data);
    VJ_ASSERT(R == 0 || (y.data && x.data && y.data != x.data && pre.data != x.data && y.data != pre.data));
    launch_product(be, &(vj_product){.M = R,
                                     .N = N,
                                     .K = K,
                                     .a = x,
                                     .b = w,
                                     .b_transposed = true,
                                     .c = y,
                                     .bias = bias,
                                     .finish = VJ_FINISH_GELU,
                                     .pre = pre});
}

void vj_linear_backward_input(vj_backend *be, vj_array dx, vj_array dy, vj_array w, int64_t R, int N, int K)
{
    VJ_ASSERT(N > 0 && w.data && (R == 0 || (dx.data && dy.data && dx.data != dy.data)));
    launch_product(be, &(vj_product){.M = R, .N = K, .K = N, .a = dy, .b = w, .c = dx});
}

void vj_linear_gelu_backward_input(vj_backend *be, vj_array dpre, vj_array hidden, float *dbias, vj_array dy,
                                   vj_array w, vj_array pre, int accumulate, int64_t R, int N, int K)
{
    VJ_ASSERT(N > 0 && w.data && (R == 0 || (dpre.data && dy.data && pre.data && dpre.data != dy.data)));
    VJ_ASSERT(dpre.data != pre.data || dpre.type == pre.type);
    launch_product(be, &(vj_product){.M = R,
                                     .N = K,
                                     .K = N,
                                     .a = dy,
                                     .b = w,
                                     .c = dpre,
                                     .finish = VJ_FINISH_GELU_GRADIENT,
                                     .pre = pre,
                                     .hidden = hidden,
                                     .sums = dbias,
                                     .add_to_sums = accumulate != 0});
    if (dbias && R == 0) vj_linear_backward_bias(be, dbias, dpre, accumulate, R, K);
}

void vj_linear_backward_weight(vj_backend *be, float *dw, float *dbias, vj_array dy, vj_array x, int accumulate,
                               int64_t R, int N, int K)
{
    VJ_ASSERT(R >= 0 && N > 0 && K > 0 && dw && (R == 0 || (dy.data && x.data)));
    launch_product(be, &(vj_product){.M = N,
                                     .N = K,
                                     .K = R,
                                     .a = dy,
                                     .a_transposed = true,
                                     .b = x,
                                     .c = vj_f32(dw),
                                     .accumulate = accumulate != 0});
    if (dbias) vj_linear_backward_bias(be, dbias, dy, accumulate, R, N);
}

void vj_linear_backward_bias(vj_backend *be, float *dbias, vj_array dy, int accumulate, int64_t R, int N)
{
    VJ_ASSERT(R >= 0 && N > 0 && dbias && (R == 0 || dy.data));
    moves(be, floats_of(dy, R * N));
    LAUNCH(be, column_sums, dbias, dy, accumulate, R, N);
}

void vj_layernorm_forward(vj_backend *be, vj_array y, float *mean, float *rstd, const float *x, const float *weight,
                          const float *bias, int64_t R, int D, float eps)
{
    VJ_ASSERT(R >= 0 && D > 0 && eps >= 0 && !mean == !rstd && !weight == !bias && (R == 0 || (y.data && x)));
    VJ_ASSERT(y.data != x || y.type == VJ_TYPE_F32);
    moves(be, (double)R * D + floats_of(y, R * D));
    LAUNCH(be, layernorm_forward, y, mean, rstd, x, weight, bias, R, D, eps);
}

void vj_layernorm_backward(vj_backend *be, float *dx, vj_array copy, vj_array y, float *dweight, float *dbias,
                           float *sums, vj_array dy, const float *x, const float *mean, const float *rstd,
                           const float *weight, const float *bias, int accumulate_dx, int accumulate_dw, int64_t R,
                           int D)
{
    VJ_ASSERT(R >= 0 && D > 0 && !dweight == !dbias && (!sums || dweight) &&
              (R == 0 || (dx && dy.data && x && mean && rstd && dx != dy.data)));
    VJ_ASSERT((!y.data || !weight == !bias) && (!copy.data || copy.type == VJ_TYPE_BF16));
    const int64_t n = R * D;
    moves(be, (accumulate_dx ? 3.0 : 2.0) * (double)n + floats_of(dy, n) + floats_of(y, n) + floats_of(copy, n));
    LAUNCH(be, layernorm_backward, dx, copy, y, dweight, dbias, sums, dy, x, mean, rstd, weight, bias, accumulate_dx,
           accumulate_dw, R, D);
}

vj_rows vj_rows_from(const int32_t *host_offset, const int32_t *offset, int segments)
{
    vj_rows rows = {.segments = segments, .offset = offset};
    VJ_ASSERT(segments >= 0 && host_offset[0] == 0);
    for (int i = 0; i < segments; i++) {
        const int64_t length = (int64_t)host_offset[i + 1] - host_offset[i];
        VJ_ASSERT(length >= 0);
        rows.squares += (double)length * (double)length;
        if (length > rows.longest) rows.longest = length;
    }
    rows.rows = host_offset[segments];
    return rows;
}

void vj_attention_forward(vj_backend *be, vj_array out, float *lse, vj_array qkv, const vj_rows *rows, int D, int heads)
{
    const int64_t R = rows->rows;
    VJ_ASSERT(rows->segments >= 0 && heads > 0 && D > 0 && D % heads == 0 && rows->offset);
    VJ_ASSERT(R == 0 || (out.data && qkv.data));
    be->flops += 4.0 * rows->squares * D;
    moves(be, floats_of(qkv, 3 * R * D) + floats_of(out, R * D));
    LAUNCH(be, attention_forward, out, lse, qkv, rows, D, heads);
}

void vj_attention_backward(vj_backend *be, vj_array dqkv, float *dbias, vj_array dout, vj_array qkv, vj_array out,
                           const float *lse, int accumulate, const vj_rows *rows, int D, int heads)
{
    const int64_t R = rows->rows;
    VJ_ASSERT(rows->segments >= 0 && heads > 0 && D > 0 && D % heads == 0 && rows->offset);
    VJ_ASSERT(R == 0 || (dqkv.data && dout.data && qkv.data && out.data && lse && dqkv.data != qkv.data));
    be->flops += 10.0 * rows->squares * D; /* five products, one of which recomputes the scores */
    moves(be, floats_of(qkv, 3 * R * D) + floats_of(out, R * D) + floats_of(dout, R * D) + floats_of(dqkv, 3 * R * D));
    LAUNCH(be, attention_backward, dqkv, dbias, dout, qkv, out, lse, accumulate, rows, D, heads);
    if (dbias && R == 0) vj_linear_backward_bias(be, dbias, dqkv, accumulate, R, 3 * D);
}

void vj_pool_forward(vj_backend *be, float *pooled, float *prob, const float *x, const float *query, int64_t B,
                     int64_t N, int D, int heads)
{
    VJ_ASSERT(B >= 0 && N > 0 && D > 0 && heads > 0 && query && (B == 0 || (pooled && prob && x)));
    be->flops += 4.0 * (double)B * (double)N * D * heads;
    moves(be, (double)B * (double)(N * D + heads * D + N * heads));
    LAUNCH(be, pool_forward, pooled, prob, x, query, B, N, D, heads);
}

void vj_pool_backward(vj_backend *be, float *dquery, const float *dpooled, const float *pooled, const float *prob,
                      const float *x, int64_t B, int64_t N, int D, int heads)
{
    VJ_ASSERT(B >= 0 && N > 0 && D > 0 && heads > 0 && dquery && (B == 0 || (dpooled && pooled && prob && x)));
    be->flops += 4.0 * (double)B * (double)N * D * heads;
    moves(be, (double)B * (double)(N * D + heads * D + N * heads));
    LAUNCH(be, pool_backward, dquery, dpooled, pooled, prob, x, B, N, D, heads);
}

void vj_scale(vj_backend *be, float *x, float factor, int64_t n)
{
    VJ_ASSERT(n >= 0 && (n == 0 || x));
    moves(be, 2.0 * (double)n);
    LAUNCH(be, scale, x, factor, n);
}

void vj_add_units(vj_backend *be, int64_t *sums, const float *x, double units, int64_t n)
{
    VJ_ASSERT(n >= 0 && (n == 0 || (sums && x)));
    moves(be, 5.0 * (double)n);
    LAUNCH(be, add_units, sums, x, units, n);
}

void vj_mean_of_units(vj_backend *be, float *x, const int64_t *sums, double units, int64_t count, int64_t n)
{
    VJ_ASSERT(n >= 0 && count > 0 && (n == 0 || (sums && x)));
    moves(be, 3.0 * (double)n);
    LAUNCH(be, mean_of_units, x, sums, units, count, n);
}

void vj_softmax_loss(vj_backend *be, double *loss, float *dlogits, const float *logits, const int32_t *labels,
                     int64_t B, int classes)
{
    VJ_ASSERT(B > 0 && classes > 0 && loss && dlogits && logits && labels);
    moves(be, 2.0 * (double)B * classes);
    LAUNCH(be, softmax_loss, loss, dlogits, logits, labels, B, classes);
}

void vj_mean_tokens(vj_backend *be, float *mean, const float *x, int64_t B, int64_t N, int D)
{
    VJ_ASSERT(B >= 0 && N > 0 && D > 0 && (B == 0 || (mean && x)));
    moves(be, (double)B * (double)(N + 1) * D);
    LAUNCH(be, mean_tokens, mean, x, B, N, D);
}

void vj_mean_tokens_backward(vj_backend *be, float *dx, const float *dmean, int64_t B, int64_t N, int D)
{
    VJ_ASSERT(B >= 0 && N > 0 && D > 0 && (B == 0 || (dx && dmean)));
    moves(be, (double)B * (double)(N + 1) * D);
    LAUNCH(be, mean_tokens_backward, dx, dmean, B, N, D);
}

void vj_split_heads(vj_backend *be, float *heads_apart, const float *x, int64_t B, int D, int heads)
{
    VJ_ASSERT(B >= 0 && D > 0 && heads > 0 && D % heads == 0);
    moves(be, 2.0 * (double)B * D);
    LAUNCH(be, split_heads, heads_apart, x, B, D, heads);
}

void vj_join_heads(vj_backend *be, float *y, const float *heads_apart, const float *row, int64_t B, int D, int heads)
{
    VJ_ASSERT(B >= 0 && D > 0 && heads > 0 && D % heads == 0);
    moves(be, 2.0 * (double)B * D);
    LAUNCH(be, join_heads, y, heads_apart, row, B, D, heads);
}

void vj_fold_gain(vj_backend *be, float *y, const float *x, const float *gain, int R, int D)
{
    VJ_ASSERT(R >= 0 && D > 0 && y && x && gain);
    moves(be, 2.0 * R * D);
    LAUNCH(be, fold_gain, y, x, gain, R, D);
}

void vj_fold_gain_backward(vj_backend *be, float *dx, float *dgain, const float *dy, const float *x, const float *gain,
                           int R, int D)
{
    VJ_ASSERT(R >= 0 && D > 0 && dx && dgain && dy && x && gain);
    moves(be, 3.0 * R * D);
    LAUNCH(be, fold_gain_backward, dx, dgain, dy, x, gain, R, D);
}

void vj_affine_heads(vj_backend *be, float *y, const float *x, const float *gain, const float *bias, int64_t B, int D,
                     int heads)
{
    VJ_ASSERT(B >= 0 && D > 0 && heads > 0 && y && x && gain && bias);
    moves(be, 2.0 * (double)B * heads * D);
    LAUNCH(be, affine_heads, y, x, gain, bias, B, D, heads);
}

void vj_affine_heads_backward(vj_backend *be, float *dx, float *dgain, float *dbias, const float *dy, const float *x,
                              const float *gain, int64_t B, int D, int heads)
{
    VJ_ASSERT(B >= 0 && D > 0 && heads > 0 && dx && dgain && dbias && dy && x && gain);
    moves(be, 3.0 * (double)B * heads * D);
    LAUNCH(be, affine_heads_backward, dx, dgain, dbias, dy, x, gain, B, D, heads);
}

void vj_query_attention_forward(vj_backend *be, float *y, float *prob, const float *q, const float *kv,
                                const float *row, int64_t B, int64_t N, int D, int heads)
{
    VJ_ASSERT(B >= 0 && N > 0 && D > 0 && heads > 0 && D % heads == 0);
    moves(be, 2.0 * (double)B * (double)N * D);
    LAUNCH(be, query_attention_forward, y, prob, q, kv, row, B, N, D, heads);
}

void vj_query_attention_backward(vj_backend *be, float *dq, float *dkv, const float *dy, const float *prob,
                                 const float *q, const float *kv, int64_t B, int64_t N, int D, int heads)
{
    VJ_ASSERT(B >= 0 && N > 0 && D > 0 && heads > 0 && D % heads == 0);
    moves(be, 4.0 * (double)B * (double)N * D);
    LAUNCH(be, query_attention_backward, dq, dkv, dy, prob, q, kv, B, N, D, heads);
}

void vj_prediction_loss(vj_backend *be, double *loss, float *dpred, const float *pred, const float *target,
                        const int32_t *target_row, const float *weight, const int32_t *group, int64_t R, int D,
                        double exponent)
{
    VJ_ASSERT(R >= 0 && D > 0 && exponent >= 1 && loss);
    VJ_ASSERT(R == 0 || (pred && target && target_row && weight && group && dpred != pred));
    moves(be, (dpred ? 3.0 : 2.0) * (double)R * D);
    LAUNCH(be, prediction_loss, loss, dpred, pred, target, target_row, weight, group, R, D, exponent);
}

void vj_spread_penalty(vj_backend *be, double *penalty, float *dpred, const float *pred, const int32_t *offset,
                       int masks, int64_t B, int D, double scale)
{
    VJ_ASSERT(masks > 0 && B >= 0 && D > 0 && penalty && offset && (B == 0 || (pred && dpred != pred)));
    LAUNCH(be, spread_penalty, penalty, dpred, pred, offset, masks, B, D, scale);
}

void vj_sum_squares_many(vj_backend *be, double *sums, const float *x, const vj_span *spans, int64_t count)
{
    double n = 0;
    VJ_ASSERT(sums && count >= 0);
    for (int64_t i = 0; i < count; i++) {
        VJ_ASSERT(spans[i].offset >= 0 && spans[i].count >= 0 && (spans[i].count == 0 || x));
        n += (double)spans[i].count;
    }
    moves(be, n);
    LAUNCH(be, sum_squares_many, sums, x, spans, count);
}

void vj_sum_squares(vj_backend *be, double *sum, const float *x, int64_t n)
{
    vj_sum_squares_many(be, sum, x, &(vj_span){0, n}, 1);
}

static void copy_spans(vj_backend *be, float *to, const float *from, const vj_span *spans, int64_t count, int unpack)
{
    double n = 0;
    VJ_ASSERT(count >= 0);
    for (int64_t i = 0; i < count; i++) {
        VJ_ASSERT(spans[i].offset >= 0 && spans[i].count >= 0 && (spans[i].count == 0 || (to && from)));
        n += (double)spans[i].count;
    }
    moves(be, 2 * n);
    LAUNCH(be, copy_spans, to, from, spans, count, unpack);
}

void vj_pack_spans(vj_backend *be, float *packed, const float *x, const vj_span *spans, int64_t count)
{
    copy_spans(be, packed, x, spans, count, 0);
}

void vj_unpack_spans(vj_backend *be, float *x, const float *packed, const vj_span *spans, int64_t count)
{
    copy_spans(be, x, packed, spans, count, 1);
}

void vj_sum_arrays(vj_backend *be, float *out, const float *const *in, int count, int64_t n)
{
    VJ_ASSERT(count > 0 && n >= 0 && (n == 0 || out));
    moves(be, (count + 1.0) * (double)n);
    LAUNCH(be, sum_arrays, out, in, count, n);
}

void vj_column_moments(vj_backend *be, double *sums, const float *x, int64_t R, int D)
{
    VJ_ASSERT(sums && R >= 0 && D > 0 && (R == 0 || x));
    moves(be, (double)R * D);
    LAUNCH(be, column_moments, sums, x, R, D);
}

void vj_adamw(vj_backend *be, const vj_adamw_vectors *v, const vj_segment *segments, int count,
              const vj_adamw_step *step)
{
    double n = 0;
    VJ_ASSERT(count >= 0 && step && step->correction1 > 0 && step->correction2 > 0);
    VJ_ASSERT(!v->rounded_target || v->target);
    for (int i = 0; i < count; i++) {
        VJ_ASSERT(segments[i].offset >= 0 && segments[i].count >= 0);
        n += (double)segments[i].count;
    }
    VJ_ASSERT(n == 0 || (v->w && v->first_moment && v->second_moment && v->gradient));
    moves(be, ((v->target ? 9.0 : 7.0) + (v->rounded_w ? 0.5 : 0.0) + (v->rounded_target ? 0.5 : 0.0)) * n);
    LAUNCH(be, adamw, v, segments, count, step);
}
