/*
 * The own product of bf16 on GPUs of compute capability 9.0. A block computes tiles of 128 x WIDE of the result, one
 * after the other. Its first warp group loads: one thread starts loads of the operands of a step (64 of the depth) by
 * the tensor memory accelerator, as soon as their place in the ring of steps is free. Two more warp groups multiply
 * (wgmma) and then finish the sums. Each place of the ring has two barriers: a phase of `full` ends when the operands
 * are complete, a phase of `empty` when all warps that multiply have read them.
 *
 * The two warp groups work in one of two ways. TOGETHER: each has 64 rows of a tile. Tiles may be wide, and operands
 * are read from shared memory as seldom as possible, but no group multiplies while sums are finished. This is for
 * gradients of weights, whose depth is long. IN_TURN: each group has every second tile of the block for itself, and
 * multiplies while the other finishes its sums. A phase of `turn` ends when the other group has begun the last step of
 * its tile, so the groups read the ring in the order in which it is filled.
 *
 * An element's terms are added in ascending depth, 16 at a time, whatever the tile, so its bits depend neither on the
 * number of rows nor on which block computes it. docs/cuda.md has the roofline. products.c decides when it is used.
 */
#include "kernels/cuda/hopper.h"
#include "kernels/cuda/product.cuh"

enum { ROWS = 128, STEP = 64, GROUP = 16 /* rows of tiles */ };
enum { CONSUMERS = 2, GROUP_WARPS = WARP_GROUP / WARP };
enum { BLOCK_THREADS = WARP_GROUP * (1 + CONSUMERS) };

enum work { TOGETHER, IN_TURN };
/* Number of warps that work on a tile, and how many times 64 rows of it each of their groups has. */
template <work W> constexpr int tile_warps = (W == TOGETHER ? CONSUMERS : 1) * GROUP_WARPS;
template <work W> constexpr int heights = ROWS / 64 * GROUP_WARPS / tile_warps<W>;
/* Places of the ring; strips of a warp for its sums: with IN_TURN enough for all of its sums of a tile. */
template <work W> constexpr int stages = W == TOGETHER ? 4 : 3;
template <work W, int WIDE> constexpr int strips = W == TOGETHER ? 1 : (WIDE / STRIP_COLUMNS) * heights<W>;

/*
 * The layout of operands in shared memory, as TMA with its 128-byte swizzle writes it and wgmma reads it: rows of 64
 * elements. With the depth last, a row holds the step's depth. With the depth first, a row holds 64 elements of the
 * width, and the 64 rows of a step are followed by those of the next 64 elements of the width. Eight rows are 1024
 * bytes.
 */
enum { SQUARE = 64 * STEP, SQUARE_BYTES = SQUARE * 2 };

template <int WIDE> struct stage_operands {
    bf16 a[ROWS * STEP], b[WIDE * STEP];
};
template <int WIDE, work W> struct wgmma_shared {
    stage_operands<WIDE> stage[stages<W>];
    float strip[tile_warps<W>][strips<W, WIDE>][STRIP_FLOATS];
    phase_barrier full[stages<W>], empty[stages<W>], turn[CONSUMERS], strips_free[CONSUMERS];
};

/* Numbers of tiles of the result (m x n) and of parts of the depth; the depth of a part, a multiple of STEP. */
struct tiling {
    int64_t m, n, parts, span;
};

/* One tile of one part. */
struct assignment {
    int64_t m0, n0, part;
    int depth, steps; /* where its depth begins, and its number of steps */
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

template <int WIDE, work W, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST>
VJ_DEVICE void load_all(wgmma_shared<WIDE, W> &s, const vj_product &g, const tiling &t, const vj_tensor_map *a,
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
            go_on<stages<W>>(&at);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ products */

/* The descriptor of an operand in shared memory, and the bytes between 16 of its depth and the next 16. */
template <bool DEPTH_FIRST> VJ_DEVICE uint64_t operand_in(const bf16 *at)
{
    return wgmma_operand(at, DEPTH_FIRST ? SQUARE_BYTES : 16 /* not used */, EIGHT_ROWS_BYTES);
}
template <bool DEPTH_FIRST> constexpr int sixteen_deeper = DEPTH_FIRST ? 2 * EIGHT_ROWS_BYTES : 32;

/* Compute the sums of the group's rows of a tile, from row `first` on. When it returns, all operands have been read and
 * their places are free. With IN_TURN the group's last step ends a phase of `next`. */
template <int WIDE, work W, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST>
VJ_DEVICE void multiply_tile(float c[heights<W>][WIDE / 2], wgmma_shared<WIDE, W> &s, int first, int steps,
                             ring_place *at, phase_barrier *next, uint32_t *late)
{
    const bool first_lane = threadIdx.x % WARP == 0;
    int before = 0; /* the place of the previous step */
    for (int step = 0; step < steps; step++) {
        const stage_operands<WIDE> &in = s.stage[at->stage];
        phase_wait(&s.full[at->stage], at->parity, late);
        const uint64_t a = operand_in<A_DEPTH_FIRST>(in.a + first * STEP), b = operand_in<B_DEPTH_FIRST>(in.b);
        wgmma_fence();
        VJ_UNROLL
        for (int k = 0; k < STEP / 16; k++) {
            VJ_UNROLL
            for (int h = 0; h < heights<W>; h++)
                wgmma<WIDE, A_DEPTH_FIRST, B_DEPTH_FIRST>(
                    c[h], operand_at(a, h * SQUARE_BYTES + k * sixteen_deeper<A_DEPTH_FIRST>),
                    operand_at(b, k * sixteen_deeper<B_DEPTH_FIRST>), step + k > 0);
        }
        wgmma_commit();
        wgmma_wait<1>(); /* the products of the previous step are done, those of this step run */
        if (step > 0 && first_lane) phase_arrive(&s.empty[before]);
        before = at->stage;
        go_on<stages<W>>(at);
    }
    if (W == IN_TURN && first_lane) phase_arrive(next);
    VJ_UNROLL
    for (int h = 0; h < heights<W>; h++) wgmma_results<WIDE>(c[h]);
    if (first_lane) phase_arrive(&s.empty[before]);
}

/*
 * Finish the sums of a tile: the warp's 16 rows in each of `heights`, 32 columns at a time. Until then sums are kept in
 * registers with TOGETHER, in strips with IN_TURN, where a thread has 192 of them.
 */
template <int WIDE, work W>
VJ_DEVICE void finish_tile(const vj_product &g, bool fours, float (*strip)[STRIP_FLOATS], float c[heights<W>][WIDE / 2],
                           int64_t row, int64_t n0)
{
    enum { ALL = heights<W> * (WIDE / STRIP_COLUMNS) };
    const auto keep = [&](int i, float *to) { keep_strip(to, c[i % heights<W>] + i / heights<W> * STRIP_COLUMNS / 2); };
    VJ_UNROLL
    for (int i = 0; i < ALL && W == IN_TURN; i++) keep(i, strip[i]);
    VJ_ROLLED /* unrolled, the code of the finish would exist eight or twelve times */
        for (int i = 0; i < ALL; i++)
    {
        const int64_t column = n0 + i / heights<W> * STRIP_COLUMNS;
        if (column >= g.N) break;
        const auto keep_this = [&] {
            VJ_UNROLL
            for (int which = 0; which < ALL && W == TOGETHER; which++)
                if (which == i) keep(which, strip[0]);
        };
        finish_strip<4>(g, fours, strip[W == TOGETHER ? 0 : i], row + i % heights<W> * 64, column, keep_this);
    }
}

template <int WIDE, work W, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST>
VJ_DEVICE void multiply_all(wgmma_shared<WIDE, W> &s, const vj_product &g, const tiling &t, bool fours, uint32_t *late)
{
    const int warp = warp_of_block() - GROUP_WARPS, group = warp / GROUP_WARPS;
    const int first = W == TOGETHER ? group * 64 : 0; /* the group's first row in a tile */
    const int warp_row = first + warp % GROUP_WARPS * STRIP_ROWS;
    uint32_t turn_parity = group == 0; /* group 0 begins, so it has no phase to wait for at first */
    int number = 0;
    ring_place at = {0, 0};
    for (int64_t i = blockIdx.x; i < t.m * t.n * t.parts; i += gridDim.x) {
        const assignment x = assignment_of<WIDE>(g, t, i);
        if (W == IN_TURN && number++ % CONSUMERS != group) {
            go_by<stages<W>>(&at, x.steps);
            continue;
        }
        if (W == IN_TURN) phase_wait(&s.turn[group], turn_parity, late);
        float c[heights<W>][WIDE / 2] = {}; /* initialised, so that no value stays in registers until the next tile */
        multiply_tile<WIDE, W, A_DEPTH_FIRST, B_DEPTH_FIRST>(c, s, first, x.steps, &at, &s.turn[1 - group], late);
        vj_product out = g;
        if (t.parts > 1) out.c.data = static_cast<float *>(g.c.data) + x.part * g.M * g.N;
        if (W == IN_TURN) phase_wait(&s.strips_free[group], turn_parity, late);
        finish_tile<WIDE, W>(out, fours, s.strip[warp % tile_warps<W>], c, x.m0 + warp_row, x.n0);
        if (W == IN_TURN && threadIdx.x % WARP == 0) phase_arrive(&s.strips_free[1 - group]);
        turn_parity ^= 1;
    }
}

template <int WIDE, work W, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST>
__global__ void __launch_bounds__(BLOCK_THREADS, 1)
    wgmma_kernel(const vj_product g, const VJ_GRID_CONSTANT vj_tensor_map a, const VJ_GRID_CONSTANT vj_tensor_map b,
                 const tiling t, bool fours, uint32_t *late)
{
    if constexpr (VJ_HOPPER) {
        wgmma_shared<WIDE, W> &s = shared<wgmma_shared<WIDE, W>, MOST_SHARED_90>();
        if (threadIdx.x == 0) {
            for (int i = 0; i < stages<W>; i++) {
                phase_init(&s.full[i], 1);
                phase_init(&s.empty[i], tile_warps<W>);
            }
            for (int i = 0; i < CONSUMERS; i++) {
                phase_init(&s.turn[i], GROUP_WARPS);
                phase_init(&s.strips_free[i], GROUP_WARPS);
            }
            phase_init_done();
        }
        __syncthreads();
        if (threadIdx.x < WARP_GROUP) {
            give_registers<PRODUCER_REGISTERS>();
            if (threadIdx.x == 0) load_all<WIDE, W, A_DEPTH_FIRST, B_DEPTH_FIRST>(s, g, t, &a, &b, late);
        } else {
            take_registers<CONSUMER_REGISTERS>();
            multiply_all<WIDE, W, A_DEPTH_FIRST, B_DEPTH_FIRST>(s, g, t, fours, late);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ launch */

/* Return the width of tiles: TOGETHER: the one that wastes fewer columns of N; IN_TURN: what fits in registers. */
static int width_of(const vj_product *g)
{
    return !g->a_transposed || groups_of(g->N, 192) * 192 < groups_of(g->N, 256) * 256 ? 192 : 256;
}

/*
 * The gradient of a weight has few tiles, but sums over all rows. Its depth is divided into the number of parts that is
 * fastest on an H100 by this estimate, in steps of 64 of the depth (about 1000 cycles): 132 blocks run at a time;
 * finishing a tile takes as long as eight steps; adding the parts takes one step for each 200 thousand of their
 * elements.
 */
int vj_cuda_wgmma_parts(const vj_product *g)
{
    enum { AT_A_TIME = 132, TILE_END = 8, ADDED = 200000, LEAST_DEPTH = 1024, MOST_PARTS = 8 };
    const int64_t tiles = groups_of(g->M, ROWS) * groups_of(g->N, width_of(g)), steps = groups_of(g->K, STEP);
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

/* Make the tensor map of an operand: stored rows are `pitch` elements apart, boxes are 64 x `box_rows`. */
static bool make_map(vj_tensor_map_encode *encode, vj_tensor_map *map, const vj_array &operand, int64_t width,
                     int64_t rows, int64_t pitch, int box_rows)
{
    const uint64_t sizes[] = {(uint64_t)width, (uint64_t)rows}, strides[] = {(uint64_t)pitch * sizeof(bf16)};
    const uint32_t box[] = {64, (uint32_t)box_rows}, steps[] = {1, 1};
    return encode(map, VJ_MAP_BF16, 2, operand.data, sizes, strides, box, steps, VJ_MAP_NOT_INTERLEAVED,
                  VJ_MAP_SWIZZLE_128, VJ_MAP_FROM_MEMORY_128, VJ_MAP_ZEROS_OUTSIDE) == 0;
}

template <int WIDE, work W, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST>
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
    return launch(wgmma_kernel<WIDE, W, A_DEPTH_FIRST, B_DEPTH_FIRST>, dim3((unsigned)blocks), dim3(BLOCK_THREADS),
                  sizeof(wgmma_shared<WIDE, W>), stream, *g, a, b, t, all_in_fours(g), how->late);
}

template <int WIDE, work W, bool A_DEPTH_FIRST>
static cudaError_t launch_form(cudaStream_t stream, const vj_product *g, int64_t a_width, int64_t b_width, int parts,
                               const vj_cuda_wgmma *how)
{
    const tiling t = {groups_of(g->M, ROWS), groups_of(g->N, WIDE), parts,
                      groups_of(groups_of(g->K, parts), STEP) * STEP};
    return g->b_transposed ? launch_wgmma<WIDE, W, A_DEPTH_FIRST, false>(stream, g, a_width, b_width, t, how)
                           : launch_wgmma<WIDE, W, A_DEPTH_FIRST, true>(stream, g, a_width, b_width, t, how);
}

cudaError_t vj_cuda_wgmma_product(cudaStream_t stream, const vj_product *product, int64_t a_width, int64_t b_width,
                                  float *sums, const vj_cuda_wgmma *how)
{
    const int parts = vj_cuda_wgmma_parts(product);
    vj_product g = *product;
    if (parts > 1) g = vj_cuda_bare_product(product, sums);
    const auto launch_it = !g.a_transposed       ? launch_form<192, IN_TURN, false>
                           : width_of(&g) == 192 ? launch_form<192, TOGETHER, true>
                                                 : launch_form<256, TOGETHER, true>;
    const cudaError_t error = launch_it(stream, &g, a_width, b_width, parts, how);
    if (error != cudaSuccess || parts == 1) return error;
    return vj_cuda_finish(stream, product, sums, parts, 0, product->M);
}
