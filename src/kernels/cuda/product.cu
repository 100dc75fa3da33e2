/*
 * The own matrix products for all GPUs: of bf16 by tensor cores, of floats by multiply-adds, and the finish of their
 * sums. An element is summed over the depth in ascending order, whatever its tile: its bits depend neither on the
 * number of rows nor on the type of the result. products.c decides when they are used.
 */
#include "kernels/cuda/product.cuh"

/* ------------------------------------------------------------------------------------------------ finish */

__global__ void __launch_bounds__(THREADS)
    finish_kernel(const vj_product g, bool fours, const float *sums, int parts, int64_t first, int64_t rows)
{
    const int64_t columns = (g.N + 3) / 4; /* groups of four */
    const int64_t i = global_thread();
    if (i >= rows * columns) return;
    int64_t column;
    const int64_t row = quotient(i, columns, &column);
    column *= 4;
    const int n = g.N - column < 4 ? (int)(g.N - column) : 4;
    float v[4], t[4];
    load_some(v, floats(sums), row * g.N + column, n, g.N % 4 == 0);
    for (int part = 1; part < parts; part++) {
        load_some(t, floats(sums), (part * rows + row) * g.N + column, n, g.N % 4 == 0);
        for (int j = 0; j < 4; j++) v[j] += t[j];
    }
    finish_at(g, fours, first + row, column, v);
}

cudaError_t vj_cuda_finish(cudaStream_t stream, const vj_product *g, const float *sums, int parts, int64_t first,
                           int64_t rows)
{
    const int64_t blocks = groups_of(rows * groups_of(g->N, 4), THREADS);
    return launch(finish_kernel, dim3((unsigned)blocks), dim3(THREADS), 0, stream, *g, all_in_fours(g), sums, parts,
                  first, rows);
}

/* ------------------------------------------------------------------------------------------------ operands */

/* Eight values per thread. For floats 6 bytes move per element. */
__global__ void __launch_bounds__(THREADS)
    round_rows_kernel(bf16 *to, vj_array from, int64_t rows, int64_t width, int64_t padded, bool fours)
{
    const int64_t at = global_thread() * 8;
    if (at >= rows * padded) return;
    float v[8];
    if (fours) { /* in this case there is no padding */
        load_of<4>(v, from, at);
        load_of<4>(v + 4, from, at + 4);
    } else {
        int64_t column;
        const int64_t row = quotient(at, padded, &column);
        for (int j = 0; j < 8; j++) {
            v[j] = 0.0f;
            if (column + j < width) load_of<1>(v + j, from, row * width + column + j);
        }
    }
    store<8>(to + at, v);
}

cudaError_t vj_cuda_round_rows(cudaStream_t stream, void *to, vj_array from, int64_t rows, int64_t width,
                               int64_t padded)
{
    const bool fours = width == padded && in_fours(from);
    const int64_t blocks = groups_of(rows * padded / 8, THREADS);
    return launch(round_rows_kernel, dim3((unsigned)blocks), dim3(THREADS), 0, stream, static_cast<bf16 *>(to), from,
                  rows, width, padded, fours);
}

/* ------------------------------------------------------------------------------------------------ tiles of bf16 */

/*
 * A block computes TILE x TILE of the result, each of its warps TILE/2 x 32. The depth is divided into steps; copies of
 * a step's operands start STAGES - 1 steps before they are multiplied. Rows in shared memory are padded by 8 elements,
 * so that the eight rows that ldmatrix reads at a time are in different banks.
 */
enum { STEP = 32, STAGES = 3, PAD = 8, GROUP = 8 /* rows of tiles */ };

/* An operand of bf16: rows as they are stored, `width` elements apart. */
struct operand {
    const bf16 *data;
    int64_t rows, width;
};

/* Its tile of one step: [TILE, STEP], or [STEP, TILE] if the operand is stored with the depth first. */
template <int TILE, bool DEPTH_FIRST> struct operand_tile {
    bf16 at[DEPTH_FIRST ? STEP : TILE][(DEPTH_FIRST ? TILE : STEP) + PAD];
};

/*
 * What a thread copies of an operand in the next step: chunks of 8 elements, PASS rows apart. rows and columns: how
 * many exist from the first chunk on.
 */
template <int TILE, bool DEPTH_FIRST> struct source {
    enum { ROWS = DEPTH_FIRST ? STEP : TILE, CHUNKS = (DEPTH_FIRST ? TILE : STEP) / 8, PASS = 2 * TILE / CHUNKS };
    const bf16 *at;
    int64_t width;
    int rows, columns;
};

VJ_DEVICE int clamped(int64_t n)
{
    return n < 1 << 30 ? (int)n : 1 << 30;
}

/* Return the source that begins at row (column) `first` of the result and at `depth`. */
template <int TILE, bool DEPTH_FIRST>
VJ_DEVICE source<TILE, DEPTH_FIRST> source_at(const operand &o, int64_t first, int64_t depth, int64_t end)
{
    typedef source<TILE, DEPTH_FIRST> from;
    const int64_t row = (DEPTH_FIRST ? depth : first) + (int)threadIdx.x / from::CHUNKS;
    const int64_t column = (DEPTH_FIRST ? first : depth) + (int)threadIdx.x % from::CHUNKS * 8;
    return from{o.data + row * o.width + column, o.width, clamped((DEPTH_FIRST ? end : o.rows) - row),
                clamped(o.width - column)};
}

/* Start the copies of one step, and go on to the next. */
template <int TILE, bool DEPTH_FIRST>
VJ_DEVICE void fetch(operand_tile<TILE, DEPTH_FIRST> &tile, source<TILE, DEPTH_FIRST> &from)
{
    typedef source<TILE, DEPTH_FIRST> of;
    VJ_UNROLL
    for (int pass = 0; pass < of::ROWS / of::PASS; pass++)
        copy_async(&tile.at[(int)threadIdx.x / of::CHUNKS + pass * of::PASS][(int)threadIdx.x % of::CHUNKS * 8],
                   from.at + pass * of::PASS * from.width, from.rows > pass * of::PASS && from.columns > 0);
    from.at += DEPTH_FIRST ? STEP * from.width : (int64_t)STEP;
    if (DEPTH_FIRST)
        from.rows -= STEP;
    else
        from.columns -= STEP;
}

/* Load a fragment of A: 16 rows from m on, 16 steps of depth from k on. */
template <int TILE> VJ_DEVICE void fragment_a(uint32_t r[4], const operand_tile<TILE, false> &tile, int m, int k)
{
    const int lane = lane_of_warp();
    ldmatrix4(r, &tile.at[m + lane % 16][k + lane / 16 * 8]);
}
template <int TILE> VJ_DEVICE void fragment_a(uint32_t r[4], const operand_tile<TILE, true> &tile, int m, int k)
{
    const int lane = lane_of_warp();
    ldmatrix4_transposed(r, &tile.at[k + lane / 16 * 8 + lane % 8][m + lane / 8 % 2 * 8]);
}

/* Load two fragments of B: 16 columns from n on, 16 steps of depth from k on. */
template <int TILE> VJ_DEVICE void fragments_b(uint32_t r[4], const operand_tile<TILE, false> &tile, int n, int k)
{
    const int lane = lane_of_warp();
    ldmatrix4(r, &tile.at[n + lane / 16 * 8 + lane % 8][k + lane / 8 % 2 * 8]);
}
template <int TILE> VJ_DEVICE void fragments_b(uint32_t r[4], const operand_tile<TILE, true> &tile, int n, int k)
{
    const int lane = lane_of_warp();
    ldmatrix4_transposed(r, &tile.at[k + lane / 8 % 2 * 8 + lane % 8][n + lane / 16 * 8]);
}

template <int TILE, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST> struct tile_operands {
    operand_tile<TILE, A_DEPTH_FIRST> a[STAGES];
    operand_tile<TILE, B_DEPTH_FIRST> b[STAGES];
};
template <int TILE, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST> union tile_shared {
    tile_operands<TILE, A_DEPTH_FIRST, B_DEPTH_FIRST> in;
    float strip[TILE / 16][STRIP_FLOATS]; /* of each warp */
};

template <int TILE, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST>
__global__ void __launch_bounds__(2 * TILE, TILE == 128 ? 2 : 4)
    tile_kernel(const vj_product g, const operand a, const operand b, int64_t span, bool fours)
{
    typedef tile_shared<TILE, A_DEPTH_FIRST, B_DEPTH_FIRST> memory;
    memory &s = shared<memory>();
    int64_t m0, n0;
    place_of_tile(blockIdx.x, (g.M + TILE - 1) / TILE, (g.N + TILE - 1) / TILE, GROUP, &m0, &n0);
    m0 *= TILE;
    n0 *= TILE;
    const int warp = warp_of_block();
    const int wm = warp % 2 * (TILE / 2), wn = warp / 2 * 32;
    const int64_t begin = blockIdx.y * span, end = begin + span < g.K ? begin + span : g.K;
    const int steps = (int)((end - begin + STEP - 1) / STEP);
    float c[TILE / 32][4][4] = {};

    auto from_a = source_at<TILE, A_DEPTH_FIRST>(a, m0, begin, end);
    auto from_b = source_at<TILE, B_DEPTH_FIRST>(b, n0, begin, end);
    for (int step = 0; step < STAGES - 1; step++) {
        if (step < steps) {
            fetch(s.in.a[step], from_a);
            fetch(s.in.b[step], from_b);
        }
        copy_commit();
    }
    for (int step = 0, stage = 0, last = STAGES - 1; step < steps; step++) {
        copy_wait<STAGES - 2>();
        __syncthreads(); /* this step's operands are complete, and no thread still reads the stage of the previous step
                          */
        if (step + STAGES - 1 < steps) {
            fetch(s.in.a[last], from_a);
            fetch(s.in.b[last], from_b);
        }
        copy_commit();
        VJ_UNROLL
        for (int k = 0; k < STEP; k += 16) {
            uint32_t fa[TILE / 32][4], fb[2][4];
            VJ_UNROLL
            for (int i = 0; i < TILE / 32; i++) fragment_a<TILE>(fa[i], s.in.a[stage], wm + 16 * i, k);
            VJ_UNROLL
            for (int j = 0; j < 2; j++) fragments_b<TILE>(fb[j], s.in.b[stage], wn + 16 * j, k);
            VJ_UNROLL
            for (int i = 0; i < TILE / 32; i++) {
                VJ_UNROLL
                for (int j = 0; j < 4; j++) mma(c[i][j], fa[i], fb[j / 2] + j % 2 * 2);
            }
        }
        last = stage;
        stage = stage + 1 < STAGES ? stage + 1 : 0;
    }
    copy_wait<0>();
    __syncthreads(); /* the strips reuse the operands' memory */

    vj_product out = g;
    if (gridDim.y > 1) out.c.data = static_cast<float *>(g.c.data) + blockIdx.y * g.M * g.N;
    float *const strip = s.strip[warp];
    VJ_UNROLL
    for (int i = 0; i < TILE / 32; i++) {
        /* There are not enough registers for more passes. */
        finish_strip<1>(out, fours, strip, m0 + wm + 16 * i, n0 + wn, [&] { keep_strip(strip, c[i][0]); });
    }
}

/* Tiles of 128 share operands better; but if they are few, four times as many tiles of 64 keep the GPU busy. */
enum { FEW_TILES = 96 };

static int tile_of(const vj_product *g)
{
    return groups_of(g->M, 128) * groups_of(g->N, 128) < FEW_TILES ? 64 : 128;
}

/*
 * The gradient of a small weight has few tiles, but sums over all rows. Its depth is divided into parts of at least
 * 1024, so that about 256 blocks are at work.
 */
int vj_cuda_tile_parts(const vj_product *g)
{
    const int64_t tiles = groups_of(g->M, tile_of(g)) * groups_of(g->N, tile_of(g));
    const int64_t wanted = 256 / tiles, possible = g->K / 1024;
    const int64_t parts = wanted < possible ? wanted : possible;
    return !g->a_transposed || parts < 2 ? 1 : (int)parts;
}

template <int TILE, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST>
static cudaError_t launch_tiles(cudaStream_t stream, const vj_product *g, const operand &a, const operand &b, int parts)
{
    const int64_t span = groups_of(groups_of(g->K, parts), STEP) * STEP;
    const int64_t tiles = groups_of(g->M, TILE) * groups_of(g->N, TILE);
    return launch(tile_kernel<TILE, A_DEPTH_FIRST, B_DEPTH_FIRST>, dim3((unsigned)tiles, (unsigned)parts),
                  dim3(2 * TILE), sizeof(tile_shared<TILE, A_DEPTH_FIRST, B_DEPTH_FIRST>), stream, *g, a, b, span,
                  all_in_fours(g));
}

template <int TILE>
static cudaError_t launch_form(cudaStream_t stream, const vj_product *g, const operand &a, const operand &b, int parts)
{
    if (g->a_transposed)
        return g->b_transposed ? launch_tiles<TILE, true, false>(stream, g, a, b, parts)
                               : launch_tiles<TILE, true, true>(stream, g, a, b, parts);
    return g->b_transposed ? launch_tiles<TILE, false, false>(stream, g, a, b, parts)
                           : launch_tiles<TILE, false, true>(stream, g, a, b, parts);
}

cudaError_t vj_cuda_tile_product(cudaStream_t stream, const vj_product *product, int64_t a_width, int64_t b_width,
                                 float *sums)
{
    const operand a = {static_cast<const bf16 *>(product->a.data), product->M, a_width};
    const operand b = {static_cast<const bf16 *>(product->b.data), product->N, b_width};
    const int parts = vj_cuda_tile_parts(product);
    vj_product g = *product;
    if (parts > 1) g = vj_cuda_bare_product(product, sums);
    const cudaError_t error =
        tile_of(&g) == 128 ? launch_form<128>(stream, &g, a, b, parts) : launch_form<64>(stream, &g, a, b, parts);
    if (error != cudaSuccess || parts == 1) return error;
    return vj_cuda_finish(stream, product, sums, parts, 0, product->M);
}

/* ------------------------------------------------------------------------------------------------ floats */

/*
 * A block computes 64 x 64 of the result, a thread 4 x 4, in steps of 16 of the depth; the next step's operands are
 * read into registers while this step's are multiplied. Operands may have any type and alignment.
 */
enum { FLOAT_TILE = 64, FLOAT_STEP = 16, FLOAT_THREADS = 256, FLOAT_LOADS = FLOAT_TILE * FLOAT_STEP / FLOAT_THREADS };

struct float_shared {
    float a[FLOAT_STEP][FLOAT_TILE + 4], b[FLOAT_STEP][FLOAT_TILE + 4];
};

/* Compute the place in the tile of the element that this thread loads as number `load` of a step. Neighbouring threads
 * read neighbouring elements. */
template <bool DEPTH_FIRST> VJ_DEVICE void place_of_element(int load, int *at, int *k)
{
    const int i = (int)threadIdx.x + load * FLOAT_THREADS;
    *at = DEPTH_FIRST ? i % FLOAT_TILE : i / FLOAT_STEP;
    *k = DEPTH_FIRST ? i / FLOAT_TILE : i % FLOAT_STEP;
}

template <bool DEPTH_FIRST>
VJ_DEVICE void load_step(float v[FLOAT_LOADS], vj_array o, int64_t first, int64_t rows, int64_t depth, int64_t K)
{
    VJ_UNROLL
    for (int load = 0; load < FLOAT_LOADS; load++) {
        int r, k;
        place_of_element<DEPTH_FIRST>(load, &r, &k);
        const int64_t row = first + r, d = depth + k;
        v[load] = 0.0f;
        if (row < rows && d < K) load_of<1>(v + load, o, DEPTH_FIRST ? d * rows + row : row * K + d);
    }
}

template <bool DEPTH_FIRST> VJ_DEVICE void keep_step(float (*to)[FLOAT_TILE + 4], const float v[FLOAT_LOADS])
{
    VJ_UNROLL
    for (int load = 0; load < FLOAT_LOADS; load++) {
        int r, k;
        place_of_element<DEPTH_FIRST>(load, &r, &k);
        to[k][r] = v[load];
    }
}

template <bool A_DEPTH_FIRST, bool B_DEPTH_FIRST>
__global__ void __launch_bounds__(FLOAT_THREADS, 2) float_kernel(const vj_product g, bool fours)
{
    float_shared &s = shared<float_shared>();
    const int64_t tiles_n = (g.N + FLOAT_TILE - 1) / FLOAT_TILE;
    int64_t n0;
    const int64_t m0 = quotient(blockIdx.x, tiles_n, &n0) * FLOAT_TILE;
    n0 *= FLOAT_TILE;
    const int tm = (int)threadIdx.x / 16 * 4, tn = (int)threadIdx.x % 16 * 4;
    float c[4][4] = {}, next_a[FLOAT_LOADS], next_b[FLOAT_LOADS];
    load_step<A_DEPTH_FIRST>(next_a, g.a, m0, g.M, 0, g.K);
    load_step<B_DEPTH_FIRST>(next_b, g.b, n0, g.N, 0, g.K);
    for (int64_t depth = 0; depth < g.K; depth += FLOAT_STEP) {
        __syncthreads();
        keep_step<A_DEPTH_FIRST>(s.a, next_a);
        keep_step<B_DEPTH_FIRST>(s.b, next_b);
        __syncthreads();
        if (depth + FLOAT_STEP < g.K) {
            load_step<A_DEPTH_FIRST>(next_a, g.a, m0, g.M, depth + FLOAT_STEP, g.K);
            load_step<B_DEPTH_FIRST>(next_b, g.b, n0, g.N, depth + FLOAT_STEP, g.K);
        }
        VJ_UNROLL
        for (int k = 0; k < FLOAT_STEP; k++) {
            const float4 a = *reinterpret_cast<const float4 *>(&s.a[k][tm]);
            const float4 b = *reinterpret_cast<const float4 *>(&s.b[k][tn]);
            const float fa[4] = {a.x, a.y, a.z, a.w}, fb[4] = {b.x, b.y, b.z, b.w};
            VJ_UNROLL
            for (int i = 0; i < 4; i++) {
                VJ_UNROLL
                for (int j = 0; j < 4; j++) c[i][j] = fmaf(fa[i], fb[j], c[i][j]);
            }
        }
    }
    VJ_UNROLL
    for (int i = 0; i < 4; i++)
        if (m0 + tm + i < g.M && n0 + tn < g.N) finish_at(g, fours, m0 + tm + i, n0 + tn, c[i]);
}

template <bool A_DEPTH_FIRST, bool B_DEPTH_FIRST>
static cudaError_t launch_floats(cudaStream_t stream, const vj_product *g)
{
    const int64_t tiles = groups_of(g->M, FLOAT_TILE) * groups_of(g->N, FLOAT_TILE);
    return launch(float_kernel<A_DEPTH_FIRST, B_DEPTH_FIRST>, dim3((unsigned)tiles), dim3(FLOAT_THREADS),
                  sizeof(float_shared), stream, *g, all_in_fours(g));
}

cudaError_t vj_cuda_float_product(cudaStream_t stream, const vj_product *g)
{
    if (g->a_transposed)
        return g->b_transposed ? launch_floats<true, false>(stream, g) : launch_floats<true, true>(stream, g);
    return g->b_transposed ? launch_floats<false, false>(stream, g) : launch_floats<false, true>(stream, g);
}
