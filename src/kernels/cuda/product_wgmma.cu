/*
 * The own product of bf16 on GPUs of compute capability 9.0. A block makes tiles of 128 x WIDE of the result, one after
 * the other. Its first warp group loads: one thread asks the tensor memory accelerator for the operands of a step, 64
 * of depth, as soon as their place in the ring of STAGES steps is free. Two more warp groups multiply (wgmma), 64 rows
 * each, and then turn sums into results while the loads of the next tile go on. Two barriers stand at each place of the
 * ring: `full` ends a phase when the operands are there, `empty` when all warps have read them.
 *
 * An element's terms are added in ascending depth, 16 at a time, whatever the tile, so its bits depend neither on the
 * number of rows nor on which block makes it. docs/cuda.md has the roofline. products.c decides when it is used.
 */
#include "kernels/cuda/hopper.h"
#include "kernels/cuda/product.cuh"

enum { ROWS = 128, STEP = 64, STAGES = 4, GROUP = 16 /* rows of tiles */ };
enum { CONSUMERS = 2, CONSUMER_WARPS = CONSUMERS * WARP_GROUP / WARP };
enum { BLOCK_THREADS = WARP_GROUP * (1 + CONSUMERS) };

/*
 * Operands in shared memory lie as TMA with its 128-byte swizzle leaves them, and as wgmma reads them: rows of 64
 * elements. With the depth last, a row has the step's depth. With the depth first, a row has 64 of the width, and after
 * the 64 rows of a step follow those of the next 64 of the width. Eight rows are 1024 bytes.
 */
enum { SQUARE = 64 * STEP, SQUARE_BYTES = SQUARE * 2 };

template <int WIDE> struct stage_operands {
    bf16 a[ROWS * STEP], b[WIDE * STEP];
};
template <int WIDE> struct wgmma_shared {
    stage_operands<WIDE> stage[STAGES];
    float strip[CONSUMER_WARPS][STRIP_ROWS][STRIP_PITCH];
    phase_barrier full[STAGES], empty[STAGES];
};

/* Tiles of the result, the parts that the depth is cut into, and the depth of a part: a multiple of STEP. */
struct tiling {
    int64_t m, n, parts, span;
};

/* One tile of one part. */
struct assignment {
    int64_t m0, n0, part;
    int depth, steps; /* the first of its depth, and in how many steps it goes by */
};

template <int WIDE> VJ_DEVICE assignment assignment_of(const vj_product &g, const tiling &t, int64_t number)
{
    assignment x;
    int64_t tile;
    x.part = quotient(number, t.m * t.n, &tile);
    place_of_tile(tile, t.m, t.n, GROUP, &x.m0, &x.n0);
    x.m0 *= ROWS;
    x.n0 *= WIDE;
    const int64_t depth = x.part * t.span, left = g.K - depth;
    x.depth = (int)depth;
    x.steps = (int)(((left < t.span ? left : t.span) + STEP - 1) / STEP);
    return x;
}

/* ------------------------------------------------------------------------------------------------ loads */

template <int WIDTH, bool DEPTH_FIRST>
VJ_DEVICE void load_operand(bf16 *to, const vj_tensor_map *map, int first, int depth, phase_barrier *full)
{
    if (DEPTH_FIRST) {
        VJ_UNROLL
        for (int i = 0; i < WIDTH / 64; i++) load_tile(to + i * SQUARE, map, first + 64 * i, depth, full);
    } else {
        load_tile(to, map, depth, first, full);
    }
}

template <int WIDE, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST>
VJ_DEVICE void load_all(wgmma_shared<WIDE> &s, const vj_product &g, const tiling &t, const vj_tensor_map *a,
                        const vj_tensor_map *b, uint32_t *late)
{
    ring_place at = {0, 1}; /* all places are free: there is no phase to wait for in the first round */
    for (int64_t i = blockIdx.x; i < t.m * t.n * t.parts; i += gridDim.x) {
        const assignment x = assignment_of<WIDE>(g, t, i);
        for (int step = 0; step < x.steps; step++) {
            stage_operands<WIDE> *to = &s.stage[at.stage];
            phase_barrier *full = &s.full[at.stage];
            phase_wait(&s.empty[at.stage], at.parity, late);
            phase_expect(full, sizeof *to);
            load_operand<ROWS, A_DEPTH_FIRST>(to->a, a, (int)x.m0, x.depth + step * STEP, full);
            load_operand<WIDE, B_DEPTH_FIRST>(to->b, b, (int)x.n0, x.depth + step * STEP, full);
            go_on<STAGES>(&at);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ products */

/* An operand in shared memory, and how far 16 of its depth are from the next 16. */
template <bool DEPTH_FIRST> VJ_DEVICE uint64_t operand_in(const bf16 *at)
{
    return wgmma_operand(at, DEPTH_FIRST ? SQUARE_BYTES : 16 /* not used */, EIGHT_ROWS_BYTES);
}
template <bool DEPTH_FIRST> constexpr int sixteen_deeper = DEPTH_FIRST ? 2 * EIGHT_ROWS_BYTES : 32;

/* Sums of a tile, 64 rows of it. All operands have been read when it returns, and their places were given back. */
template <int WIDE, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST>
VJ_DEVICE void multiply_tile(float c[WIDE / 2], wgmma_shared<WIDE> &s, int group, int steps, ring_place *at,
                             uint32_t *late)
{
    const bool first_lane = threadIdx.x % WARP == 0;
    int before = 0; /* the place of the step before */
    for (int step = 0; step < steps; step++) {
        const stage_operands<WIDE> &in = s.stage[at->stage];
        phase_wait(&s.full[at->stage], at->parity, late);
        const uint64_t a = operand_in<A_DEPTH_FIRST>(in.a + group * SQUARE), b = operand_in<B_DEPTH_FIRST>(in.b);
        wgmma_fence();
        VJ_UNROLL
        for (int k = 0; k < STEP / 16; k++)
            wgmma<WIDE, A_DEPTH_FIRST, B_DEPTH_FIRST>(c, operand_at(a, k * sixteen_deeper<A_DEPTH_FIRST>),
                                                      operand_at(b, k * sixteen_deeper<B_DEPTH_FIRST>), step + k > 0);
        wgmma_commit();
        wgmma_wait<1>(); /* the products of the step before are made, these go on */
        if (step > 0 && first_lane) phase_arrive(&s.empty[before]);
        before = at->stage;
        go_on<STAGES>(at);
    }
    wgmma_results<WIDE>(c);
    if (first_lane) phase_arrive(&s.empty[before]);
}

template <int WIDE, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST>
VJ_DEVICE void multiply_all(wgmma_shared<WIDE> &s, const vj_product &g, const tiling &t, bool fours, uint32_t *late)
{
    const int warp = warp_of_block() - WARP_GROUP / WARP, group = warp / (WARP_GROUP / WARP);
    float c[WIDE / 2] = {};
    ring_place at = {0, 0};
    for (int64_t i = blockIdx.x; i < t.m * t.n * t.parts; i += gridDim.x) {
        const assignment x = assignment_of<WIDE>(g, t, i);
        multiply_tile<WIDE, A_DEPTH_FIRST, B_DEPTH_FIRST>(c, s, group, x.steps, &at, late);
        vj_product out = g;
        if (t.parts > 1) out.c.data = static_cast<float *>(g.c.data) + x.part * g.M * g.N;
        VJ_ROLLED /* or what follows the sums would be there eight times */
            for (int column = 0; column < WIDE && x.n0 + column < g.N; column += STRIP_COLUMNS)
        {
            const auto keep = [&] {
                VJ_UNROLL
                for (int from = 0; from < WIDE; from += STRIP_COLUMNS)
                    if (from == column) keep_strip(s.strip[warp], c + from / 2);
            };
            finish_strip<4>(out, fours, s.strip[warp], x.m0 + warp * STRIP_ROWS, x.n0 + column, keep);
        }
    }
}

template <int WIDE, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST>
__global__ void __launch_bounds__(BLOCK_THREADS, 1)
    wgmma_kernel(const vj_product g, const VJ_GRID_CONSTANT vj_tensor_map a, const VJ_GRID_CONSTANT vj_tensor_map b,
                 const tiling t, bool fours, uint32_t *late)
{
    if constexpr (VJ_HOPPER) {
        wgmma_shared<WIDE> &s = shared<wgmma_shared<WIDE>, MOST_SHARED_90>();
        if (threadIdx.x == 0) {
            for (int i = 0; i < STAGES; i++) {
                phase_init(&s.full[i], 1);
                phase_init(&s.empty[i], CONSUMER_WARPS);
            }
            phase_init_done();
        }
        __syncthreads();
        if (threadIdx.x < WARP_GROUP) {
            give_registers<PRODUCER_REGISTERS>();
            if (threadIdx.x == 0) load_all<WIDE, A_DEPTH_FIRST, B_DEPTH_FIRST>(s, g, t, &a, &b, late);
        } else {
            take_registers<CONSUMER_REGISTERS>();
            multiply_all<WIDE, A_DEPTH_FIRST, B_DEPTH_FIRST>(s, g, t, fours, late);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ launch */

/* The width of tiles that covers N with fewer columns to spare. */
static int width_of(int64_t N)
{
    return groups_of(N, 192) * 192 < groups_of(N, 256) * 256 ? 192 : 256;
}

/*
 * The gradient of a weight has few tiles, but sums over all rows. Its depth is cut into as many parts as make it
 * fastest on an H100, by an estimate in steps of 64 of depth (about 1000 cycles): blocks run 132 at a time; a tile's
 * end takes as long as eight steps; adding the parts, from memory, one step for 200 thousand of their elements.
 */
int vj_cuda_wgmma_parts(const vj_product *g)
{
    enum { AT_A_TIME = 132, TILE_END = 8, ADDED = 200000, LEAST_DEPTH = 1024, MOST_PARTS = 8 };
    const int64_t tiles = groups_of(g->M, ROWS) * groups_of(g->N, width_of(g->N)), steps = groups_of(g->K, STEP);
    int64_t best = 1, least = 0;
    for (int64_t parts = 1; parts == 1 || (g->a_transposed && parts <= MOST_PARTS && g->K / parts >= LEAST_DEPTH);
         parts++) {
        const int64_t cost = groups_of(tiles * parts, AT_A_TIME) * (groups_of(steps, parts) + TILE_END) +
                             (parts > 1 ? parts * g->M * g->N / ADDED : 0);
        if (parts > 1 && cost >= least) continue;
        best = parts;
        least = cost;
    }
    return (int)best;
}

/* A map of an operand: rows as they are stored, `pitch` elements apart; boxes of 64 x `box_rows`. */
static bool make_map(vj_tensor_map_encode *encode, vj_tensor_map *map, const vj_array &operand, int64_t width,
                     int64_t rows, int64_t pitch, int box_rows)
{
    const uint64_t sizes[] = {(uint64_t)width, (uint64_t)rows}, strides[] = {(uint64_t)pitch * sizeof(bf16)};
    const uint32_t box[] = {64, (uint32_t)box_rows}, steps[] = {1, 1};
    return encode(map, VJ_MAP_BF16, 2, operand.data, sizes, strides, box, steps, VJ_MAP_NOT_INTERLEAVED,
                  VJ_MAP_SWIZZLE_128, VJ_MAP_FROM_MEMORY_128, VJ_MAP_ZEROS_OUTSIDE) == 0;
}

template <int WIDE, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST>
static cudaError_t launch_wgmma(cudaStream_t stream, const vj_product *g, int64_t a_width, int64_t b_width,
                                const tiling &t, const vj_cuda_wgmma *how)
{
    vj_tensor_map a, b;
    if (!(A_DEPTH_FIRST ? make_map(how->encode, &a, g->a, g->M, g->K, a_width, STEP)
                        : make_map(how->encode, &a, g->a, g->K, g->M, a_width, ROWS)) ||
        !(B_DEPTH_FIRST ? make_map(how->encode, &b, g->b, g->N, g->K, b_width, STEP)
                        : make_map(how->encode, &b, g->b, g->K, g->N, b_width, WIDE)))
        return cudaErrorInvalidValue;
    const int64_t all = t.m * t.n * t.parts, blocks = all < how->processors ? all : how->processors;
    return launch(wgmma_kernel<WIDE, A_DEPTH_FIRST, B_DEPTH_FIRST>, dim3((unsigned)blocks), dim3(BLOCK_THREADS),
                  sizeof(wgmma_shared<WIDE>), stream, *g, a, b, t, all_in_fours(g), how->late);
}

template <int WIDE>
static cudaError_t launch_form(cudaStream_t stream, const vj_product *g, int64_t a_width, int64_t b_width, int parts,
                               const vj_cuda_wgmma *how)
{
    const tiling t = {groups_of(g->M, ROWS), groups_of(g->N, WIDE), parts,
                      groups_of(groups_of(g->K, parts), STEP) * STEP};
    if (g->a_transposed)
        return g->b_transposed ? launch_wgmma<WIDE, true, false>(stream, g, a_width, b_width, t, how)
                               : launch_wgmma<WIDE, true, true>(stream, g, a_width, b_width, t, how);
    return g->b_transposed ? launch_wgmma<WIDE, false, false>(stream, g, a_width, b_width, t, how)
                           : launch_wgmma<WIDE, false, true>(stream, g, a_width, b_width, t, how);
}

cudaError_t vj_cuda_wgmma_product(cudaStream_t stream, const vj_product *product, int64_t a_width, int64_t b_width,
                                  float *sums, const vj_cuda_wgmma *how)
{
    const int parts = vj_cuda_wgmma_parts(product);
    vj_product g = *product;
    if (parts > 1) g = vj_cuda_bare_product(product, sums);
    const cudaError_t error = width_of(g.N) == 192 ? launch_form<192>(stream, &g, a_width, b_width, parts, how)
                                                   : launch_form<256>(stream, &g, a_width, b_width, parts, how);
    if (error != cudaSuccess || parts == 1) return error;
    return vj_cuda_finish(stream, product, sums, parts, 0, product->M);
}
