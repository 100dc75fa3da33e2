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
 * its tile, so the groups read the ring in the order in which it is filled. Columns that do not fill a tile are a
 * narrow tile, of 64 or 128 columns. These come last, so that the last blocks to end have short tiles.
 *
 * Sums are finished in registers if the results are bf16 and nothing is added to them but a bias. All other products
 * finish them through shared memory, by strips.
 *
 * An element's terms are added in ascending depth, 16 at a time, whatever the tile, so its bits depend neither on the
 * number of rows nor on which block computes it. docs/cuda.md has the roofline. products.c decides when it is used.
 */
#include "kernels/cuda/hopper.h"
#include "kernels/cuda/product.cuh"

enum { ROWS = 128, STEP = 64, GROUP = 16 /* rows of tiles */ };
enum { NARROW = 64 }; /* the width of a narrow tile is a multiple of it */
enum { CONSUMERS = 2, GROUP_WARPS = WARP_GROUP / WARP };
enum { BLOCK_THREADS = WARP_GROUP * (1 + CONSUMERS) };

enum work { TOGETHER, IN_TURN };
/* Number of warps that work on a tile, and how many times 64 rows of it each of their groups has. */
template <work W> constexpr int tile_warps = (W == TOGETHER ? CONSUMERS : 1) * GROUP_WARPS;
template <work W> constexpr int heights = ROWS / 64 * GROUP_WARPS / tile_warps<W>;

/* How sums become results: by strips, whatever the product adds; the others in registers (finish_in_registers()). */
enum ends { STRIPS, PLAIN, GELU, GELU_GRADIENT };
/* Places of the ring; strips of a warp for its sums: with IN_TURN enough for all of its sums of a tile. */
template <work W, ends E> constexpr int stages = E != STRIPS ? 5 : W == TOGETHER ? 4 : 3;
/* Registers of a thread that loads, and of one that multiplies. */
template <work W> constexpr int loading = W == TOGETHER ? PRODUCER_REGISTERS : 24;
template <work W> constexpr int multiplying = W == TOGETHER ? CONSUMER_REGISTERS : 240;
static_assert(loading<IN_TURN> + CONSUMERS * multiplying<IN_TURN> <= 3 * REGISTERS_AT_FIRST, "as in hopper.h");
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
/* Shared memory for the ends of tiles. */
template <int WIDE, work W, ends E> struct end_room {
};
template <int WIDE, work W> struct end_room<WIDE, W, STRIPS> {
    float strip[tile_warps<W>][strips<W, WIDE>][STRIP_FLOATS];
    phase_barrier strips_free[CONSUMERS];
};
template <int WIDE, work W, ends E> struct wgmma_shared {
    stage_operands<WIDE> stage[stages<W, E>];
    end_room<WIDE, W, E> end;
    phase_barrier full[stages<W, E>], empty[stages<W, E>], turn[CONSUMERS];
};

/*
 * Numbers of tiles of the result, m x n, and of parts of the depth; the depth of a part, a multiple of STEP; the width
 * of m narrow tiles, or 0: there are none; the number of all tiles of all parts.
 */
struct tiling {
    int m, n, parts, span, narrow, all;
};

/* One tile of one part. */
struct assignment {
    int m0, n0, part;
    int columns;
    int depth, steps; /* where its depth begins, and its number of steps */
};

/* Only TOGETHER divides the depth, and only IN_TURN has narrow tiles. */
template <int WIDE, work W> VJ_DEVICE assignment assignment_of(const vj_product &g, const tiling &t, int number)
{
    assignment x;
    const unsigned tiles = (unsigned)(t.m * t.n), tile = W == TOGETHER ? (unsigned)number % tiles : (unsigned)number;
    if (W == IN_TURN && tile >= tiles) {
        x.m0 = (int)(tile - tiles) * ROWS;
        x.n0 = t.n * WIDE;
        x.columns = t.narrow;
    } else {
        const unsigned first = tile / (unsigned)(GROUP * t.n) * GROUP, within = tile % (unsigned)(GROUP * t.n);
        const unsigned left = (unsigned)t.m - first, rows = left < (unsigned)GROUP ? left : (unsigned)GROUP;
        x.m0 = (int)(first + within % rows) * ROWS;
        x.n0 = (int)(within / rows) * WIDE;
        x.columns = WIDE;
    }
    x.part = W == TOGETHER ? (int)((unsigned)number / tiles) : 0;
    x.depth = x.part * t.span;
    const int rest = (int)g.K - x.depth;
    x.steps = ((rest < t.span ? rest : t.span) + STEP - 1) / STEP;
    return x;
}

/* ------------------------------------------------------------------------------------------------ loads */

/* Load WIDTH elements of an operand's width, from element `first` on, with the depth of a step. */
template <int WIDTH, bool DEPTH_FIRST>
VJ_DEVICE void load_operand(bf16 *to, const vj_tensor_map *map, int first, int depth, phase_barrier *full)
{
    VJ_UNROLL
    for (int i = 0; i < WIDTH; i += 64)
        load_tile(to + i * STEP, map, DEPTH_FIRST ? first + i : depth, DEPTH_FIRST ? depth : first + i, full);
}

/* Load the operands of all steps of a tile of COLUMNS columns. */
template <int COLUMNS, int WIDE, work W, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST, ends E>
VJ_DEVICE void load_tile_operands(wgmma_shared<WIDE, W, E> &s, const assignment &x, const vj_tensor_map *a,
                                  const vj_tensor_map *b, ring_place *at, uint32_t *late)
{
    for (int depth = x.depth, left = x.steps; left > 0; left--, depth += STEP) {
        stage_operands<WIDE> *to = &s.stage[at->stage];
        phase_barrier *full = &s.full[at->stage];
        phase_wait(&s.empty[at->stage], at->parity, late);
        phase_expect(full, (ROWS + COLUMNS) * STEP * (int)sizeof(bf16));
        load_operand<ROWS, A_DEPTH_FIRST>(to->a, a, x.m0, depth, full);
        load_operand<COLUMNS, B_DEPTH_FIRST>(to->b, b, x.n0, depth, full);
        go_on<stages<W, E>>(at);
    }
}

template <int WIDE, work W, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST, ends E>
VJ_DEVICE void load_all(wgmma_shared<WIDE, W, E> &s, const vj_product &g, const tiling &t, const vj_tensor_map *a,
                        const vj_tensor_map *b, uint32_t *late)
{
    ring_place at = {0, 1}; /* all places are free: there is no phase to wait for in the first round */
    for (int i = (int)blockIdx.x; i < t.all; i += (int)gridDim.x) {
        const assignment x = assignment_of<WIDE, W>(g, t, i);
        if (W == TOGETHER || x.columns == WIDE)
            load_tile_operands<WIDE, WIDE, W, A_DEPTH_FIRST, B_DEPTH_FIRST>(s, x, a, b, &at, late);
        else if (x.columns == 2 * NARROW)
            load_tile_operands<2 * NARROW, WIDE, W, A_DEPTH_FIRST, B_DEPTH_FIRST>(s, x, a, b, &at, late);
        else
            load_tile_operands<NARROW, WIDE, W, A_DEPTH_FIRST, B_DEPTH_FIRST>(s, x, a, b, &at, late);
    }
}

/* ------------------------------------------------------------------------------------------------ products */

/* The descriptor of an operand in shared memory, and the bytes between 16 of its depth and the next 16. */
template <bool DEPTH_FIRST> VJ_DEVICE uint64_t operand_in(const bf16 *at)
{
    return wgmma_operand(at, DEPTH_FIRST ? SQUARE_BYTES : 16 /* not used */, EIGHT_ROWS_BYTES);
}
template <bool DEPTH_FIRST> constexpr int sixteen_deeper = DEPTH_FIRST ? 2 * EIGHT_ROWS_BYTES : 32;

/* Compute the sums of the group's rows of a tile of COLUMNS columns, from row `first` on. When it returns, all operands
 * have been read and their places are free. With IN_TURN the group's last step ends a phase of `next`. */
template <int COLUMNS, int WIDE, work W, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST, ends E>
VJ_DEVICE void multiply_tile(float c[heights<W>][WIDE / 2], wgmma_shared<WIDE, W, E> &s, int first, int steps,
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
                wgmma<COLUMNS, A_DEPTH_FIRST, B_DEPTH_FIRST>(
                    c[h], operand_at(a, h * SQUARE_BYTES + k * sixteen_deeper<A_DEPTH_FIRST>),
                    operand_at(b, k * sixteen_deeper<B_DEPTH_FIRST>), step + k > 0);
        }
        wgmma_commit();
        wgmma_wait<1>(); /* the products of the previous step are done, those of this step run */
        if (step > 0 && first_lane) phase_arrive(&s.empty[before]);
        before = at->stage;
        go_on<stages<W, E>>(at);
    }
    if (W == IN_TURN && first_lane) phase_arrive(next);
    VJ_UNROLL
    for (int h = 0; h < heights<W>; h++) wgmma_results<COLUMNS>(c[h]);
    if (first_lane) phase_arrive(&s.empty[before]);
}

/* ------------------------------------------------------------------------------------------------ ends of tiles */

/*
 * Values of two times eight columns, as mma() spreads them over lanes: a lane has two neighbours of the first eight in
 * x, and of the second eight in y, packed to bf16. Exchange words with the neighbouring lane, so that each lane has
 * four neighbouring columns in x and y. Applied to these, it does the reverse.
 */
VJ_DEVICE void exchange(uint32_t &x, uint32_t &y)
{
    const bool odd = threadIdx.x % 2;
    const uint32_t got = __shfl_xor_sync(0xffffffffu, odd ? x : y, 1);
    if (odd)
        x = got;
    else
        y = got;
}

VJ_DEVICE void widen_pairs(float v[4], uint32_t x, uint32_t y)
{
    v[0] = widen((bf16)x), v[1] = widen((bf16)(x >> 16));
    v[2] = widen((bf16)y), v[3] = widen((bf16)(y >> 16));
}

/* Write four values of each lane, in columns as mma() has them, as bf16; `to` is where the lane's four are after the
 * exchange. */
VJ_DEVICE void write_exchanged(bf16 *to, const float v[4], bool exists)
{
    uint32_t x = pack(v[0], v[1]), y = pack(v[2], v[3]);
    exchange(x, y);
    if (exists) store_four(to, x, y);
}

/*
 * The sum over the rows of one of four columns, as mma() spreads them over lanes: lanes 0 to 7 get the first column of
 * each of them, then the second, and so on; lanes 4 to 7 of each eight the same as lanes 0 to 3.
 */
VJ_DEVICE float sum_over_rows(const float column[4])
{
    const bool second_half = lane_of_warp() & 16, odd = lane_of_warp() & 8;
    float even_sum = second_half ? column[2] : column[0], odd_sum = second_half ? column[3] : column[1];
    even_sum += __shfl_xor_sync(0xffffffffu, second_half ? column[0] : column[2], 16);
    odd_sum += __shfl_xor_sync(0xffffffffu, second_half ? column[1] : column[3], 16);
    float sum = odd ? odd_sum : even_sum;
    sum += __shfl_xor_sync(0xffffffffu, odd ? even_sum : odd_sum, 8);
    return sum + __shfl_xor_sync(0xffffffffu, sum, 4);
}

/* Return n, or `most` if it is larger. */
VJ_DEVICE int at_most(int64_t n, int most)
{
    return n < most ? (int)n : most;
}

/*
 * Finish the warp's 16 rows in each of both heights, in units of eight rows and 16 columns: what finish() does for
 * results of bf16 that add nothing but a bias (not GELU_GRADIENT). All units of NARROW columns follow one another, so
 * that a narrow tile has the first units. The four units of the same columns share a bias and follow one another, but
 * with GELU_GRADIENT those of one height, because pointers to fewer rows take fewer registers. Values that come from
 * memory are loaded some units ahead. With GELU_GRADIENT g.sums, unless it is NULL, gets the sums of columns over these
 * rows: a row for each warp.
 */
template <int WIDE, ends E>
VJ_DEVICE void finish_in_registers(const vj_product &g, float c[2][WIDE / 2], const assignment &x)
{
    enum { GROUPS = WIDE / 16 /* of columns */, UNITS = 4 * GROUPS, TOGETHER_UNITS = NARROW / 4 };
    enum { AHEAD = 3 /* units */, BIASES = 2 /* groups of columns */ };
    const int lane = lane_of_warp(), warp = warp_of_block() % GROUP_WARPS;
    const int pair = lane % 4 * 2, four = lane % 2 * 8 + lane % 4 / 2 * 4;
    const int64_t first_row = (int64_t)x.m0 + warp * STRIP_ROWS + lane / 4;
    int64_t at = first_row * g.N + x.n0 + four;
    /* How many rows and columns there are from the lane's first four on, and from its pair on. */
    const int rows = at_most(g.M - first_row, ROWS), columns = at_most(g.N - x.n0 - four, WIDE);
    const int pair_columns = at_most(g.N - x.n0 - pair, WIDE);
    bf16 *const to = (bf16 *)g.c.data, *const pre = (bf16 *)g.pre.data, *const hidden = (bf16 *)g.hidden.data;
    /* The group of columns of a unit, its height, and its first row relative to the lane's first. */
    constexpr bool by_height = E == GELU_GRADIENT;
    const auto group = [](int unit) {
        return by_height ? unit / TOGETHER_UNITS * (NARROW / 16) + unit / 2 % (NARROW / 16) : unit / 4;
    };
    const auto height = [](int unit) { return by_height ? unit / (TOGETHER_UNITS / 2) % 2 : unit / 2 % 2; };
    const auto row = [&](int unit) { return height(unit) * 64 + unit % 2 * 8; };
    const auto exists = [&](int unit) { return row(unit) < rows && group(unit) * 16 < columns; };
    const auto place = [&](int unit) { return at + row(unit) * g.N + group(unit) * 16; };

    float bias[BIASES][4] = {}, column[4] = {}, sum_of_height[NARROW / 16] = {};
    uint2 argument[AHEAD] = {}; /* of GELU */
    const auto load_bias = [&](int of_group) {
        for (int half = 0; half < 2; half++) {
            const int first = of_group * 16 + half * 8;
            float2 two = {-0.0f, -0.0f}; /* adds nothing, not even to -0 */
            if (g.bias && first < pair_columns) two = *reinterpret_cast<const float2 *>(g.bias + x.n0 + pair + first);
            float *const to_bias = bias[of_group % BIASES] + 2 * half;
            to_bias[0] = two.x, to_bias[1] = two.y;
        }
    };
    const auto load_argument = [&](int unit) {
        uint2 four_values = {0, 0};
        if (exists(unit)) four_values = *reinterpret_cast<const uint2 *>(pre + place(unit));
        argument[unit % AHEAD] = four_values;
    };
    VJ_UNROLL
    for (int i = 0; i < BIASES - 1 && E != GELU_GRADIENT; i++) load_bias(i);
    VJ_UNROLL
    for (int unit = 0; unit < AHEAD && E == GELU_GRADIENT; unit++) load_argument(unit);
    VJ_UNROLL
    for (int unit = 0; unit < UNITS; unit++) {
        if (unit % TOGETHER_UNITS == 0 && group(unit) * 16 >= x.columns) break;
        if (by_height && unit % (TOGETHER_UNITS / 2) == 0) computed_here(at);     /* not pointers to all rows at once */
        const float *const of = c[height(unit)] + group(unit) * 8 + unit % 2 * 2; /* +4: the next eight columns */
        float v[4] = {of[0], of[1], of[4], of[5]};
        if constexpr (E == GELU_GRADIENT) {
            float t[4];
            uint2 words = argument[unit % AHEAD];
            if (unit + AHEAD < UNITS) load_argument(unit + AHEAD);
            exchange(words.x, words.y);
            widen_pairs(t, words.x, words.y);
            for (int j = 0; j < 4; j++) {
                v[j] *= gelu_slope(t[j], &t[j]);
                column[j] = unit % 2 ? column[j] + v[j] : v[j];
            }
            if (g.hidden.data) write_exchanged(hidden + place(unit), t, exists(unit));
        } else {
            const int next = group(unit) + BIASES - 1;
            if (unit % 4 == 0 && next < GROUPS) load_bias(next);
            for (int j = 0; j < 4; j++) v[j] += bias[group(unit) % BIASES][j];
        }
        if constexpr (E == GELU) {
            if (g.pre.data) {
                const uint32_t low = pack(v[0], v[1]), high = pack(v[2], v[3]);
                write_exchanged(pre + place(unit), v, exists(unit));
                widen_pairs(v, low, high);
            }
            for (int j = 0; j < 4; j++) v[j] = gelu(v[j]);
        }
        write_exchanged(to + place(unit), v, exists(unit));
        if (E == GELU_GRADIENT && unit % 2 == 1 && g.sums) {
            const float sum = sum_over_rows(column);
            const int first = x.n0 + pair + lane / 16 * 8 + lane / 8 % 2;
            float &of_height = sum_of_height[group(unit) % (NARROW / 16)];
            if (height(unit) == 0)
                of_height = sum;
            else if (lane / 4 % 2 == 0 && group(unit) * 16 < g.N - first)
                g.sums[(x.m0 / ROWS * GROUP_WARPS + warp) * g.N + first + group(unit) * 16] = of_height + sum;
        }
    }
}

/*
 * Finish the sums of a tile by strips: the warp's 16 rows in each of `heights`, 32 columns at a time. Until then sums
 * are kept in registers with TOGETHER, in strips with IN_TURN, where a thread has 192 of them.
 */
template <int WIDE, work W>
VJ_DEVICE void finish_by_strips(const vj_product &g, bool fours, float (*strip)[STRIP_FLOATS],
                                float c[heights<W>][WIDE / 2], int64_t row, const assignment &x)
{
    enum { ALL = heights<W> * (WIDE / STRIP_COLUMNS) };
    const auto first = [](int i) { return i / heights<W> * STRIP_COLUMNS; }; /* column of the tile */
    const auto keep = [&](int i, float *to) { keep_strip(to, c[i % heights<W>] + first(i) / 2); };
    VJ_UNROLL
    for (int i = 0; i < ALL && W == IN_TURN; i++)
        if (first(i) / NARROW * NARROW < x.columns) keep(i, strip[i]);
    VJ_ROLLED /* unrolled, the code of the finish would exist eight or twelve times */
        for (int i = 0; i < ALL; i++)
    {
        const int64_t column = x.n0 + first(i);
        if (column >= g.N) break;
        const auto keep_this = [&] {
            VJ_UNROLL
            for (int which = 0; which < ALL && W == TOGETHER; which++)
                if (which == i) keep(which, strip[0]);
        };
        finish_strip<4>(g, fours, strip[W == TOGETHER ? 0 : i], row + i % heights<W> * 64, column, keep_this);
    }
}

template <int WIDE, work W, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST, ends E>
VJ_DEVICE void multiply_all(wgmma_shared<WIDE, W, E> &s, const vj_product &g, const tiling &t, bool fours,
                            uint32_t *late)
{
    const int warp = warp_of_block() - GROUP_WARPS, group = warp / GROUP_WARPS;
    const int first = W == TOGETHER ? group * 64 : 0; /* the group's first row in a tile */
    const int warp_row = first + warp % GROUP_WARPS * STRIP_ROWS;
    ring_place at = {0, 0};
    for (int number = 0;; number++) {
        const int i = (int)(blockIdx.x + number * gridDim.x);
        if (i >= t.all) break;
        const assignment x = assignment_of<WIDE, W>(g, t, i);
        /* Group 0 begins, so it has no phase to wait for at first. */
        const uint32_t turn_parity = (number / CONSUMERS + (group == 0)) & 1;
        if (W == IN_TURN && number % CONSUMERS != group) {
            go_by<stages<W, E>>(&at, x.steps);
            continue;
        }
        if (W == IN_TURN) phase_wait(&s.turn[group], turn_parity, late);
        float c[heights<W>][WIDE / 2] = {}; /* initialised, so that no value stays in registers until the next tile */
        phase_barrier *const next = &s.turn[1 - group];
        if (W == TOGETHER || x.columns == WIDE)
            multiply_tile<WIDE, WIDE, W, A_DEPTH_FIRST, B_DEPTH_FIRST>(c, s, first, x.steps, &at, next, late);
        else if (x.columns == 2 * NARROW)
            multiply_tile<2 * NARROW, WIDE, W, A_DEPTH_FIRST, B_DEPTH_FIRST>(c, s, first, x.steps, &at, next, late);
        else
            multiply_tile<NARROW, WIDE, W, A_DEPTH_FIRST, B_DEPTH_FIRST>(c, s, first, x.steps, &at, next, late);
        if constexpr (E == STRIPS) {
            vj_product out = g;
            if (t.parts > 1) out.c.data = static_cast<float *>(g.c.data) + x.part * g.M * g.N;
            if (W == IN_TURN) phase_wait(&s.end.strips_free[group], turn_parity, late);
            finish_by_strips<WIDE, W>(out, fours, s.end.strip[warp % tile_warps<W>], c, (int64_t)x.m0 + warp_row, x);
            if (W == IN_TURN && threadIdx.x % WARP == 0) phase_arrive(&s.end.strips_free[1 - group]);
        } else {
            finish_in_registers<WIDE, E>(g, c, x);
        }
    }
}

template <int WIDE, work W, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST, ends E>
__global__ void __launch_bounds__(BLOCK_THREADS, 1)
    wgmma_kernel(const vj_product g, const VJ_GRID_CONSTANT vj_tensor_map a, const VJ_GRID_CONSTANT vj_tensor_map b,
                 const tiling t, bool fours, uint32_t *late)
{
    if constexpr (VJ_HOPPER) {
        wgmma_shared<WIDE, W, E> &s = shared<wgmma_shared<WIDE, W, E>, MAX_SHARED_90>();
        if (threadIdx.x == 0) {
            for (int i = 0; i < stages<W, E>; i++) {
                phase_init(&s.full[i], 1);
                phase_init(&s.empty[i], tile_warps<W>);
            }
            for (int i = 0; i < CONSUMERS; i++) {
                phase_init(&s.turn[i], GROUP_WARPS);
                if constexpr (E == STRIPS) phase_init(&s.end.strips_free[i], GROUP_WARPS);
            }
            phase_init_done();
        }
        __syncthreads();
        if (threadIdx.x < WARP_GROUP) {
            give_registers<loading<W>>();
            if (threadIdx.x == 0) load_all<WIDE, W, A_DEPTH_FIRST, B_DEPTH_FIRST>(s, g, t, &a, &b, late);
        } else {
            take_registers<multiplying<W>>();
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

/* Return how the sums of a product are finished whose A is not transposed. There are kernels for forward (B is
 * transposed) with GELU and for the gradient of inputs with GELU's. */
static ends ends_of(const vj_product *g)
{
    const bool gradient = g->finish == VJ_FINISH_GELU_GRADIENT;
    if (g->c.type != VJ_TYPE_BF16 || g->residual || g->accumulate || !all_in_fours(g)) return STRIPS;
    if ((g->pre.data && g->pre.type != VJ_TYPE_BF16) || (g->hidden.data && g->hidden.type != VJ_TYPE_BF16))
        return STRIPS;
    if (g->finish == VJ_FINISH_PLAIN) return PLAIN;
    if (gradient) return g->b_transposed || g->bias ? STRIPS : GELU_GRADIENT;
    return g->b_transposed ? GELU : STRIPS;
}

bool vj_cuda_wgmma_sums(const vj_product *g)
{
    return g->sums && !g->a_transposed && ends_of(g) == GELU_GRADIENT;
}

/* Choices that depend on the number of blocks that run at a time are made for an H100: so they depend on shapes alone.
 */
enum { AT_A_TIME = 132 };

/* Number of tiles, none of them narrow. */
static int64_t tiles_of(const vj_product *g)
{
    return groups_of(g->M, ROWS) * groups_of(g->N, width_of(g));
}

/*
 * The gradient of a weight has few tiles, but sums over all rows. Its depth is divided into the number of parts that is
 * fastest on an H100 by this estimate, in steps of 64 of the depth (about 1000 cycles): 132 blocks run at a time;
 * finishing a tile takes as long as eight steps; adding the parts takes one step for each 200 thousand of their
 * elements.
 */
int vj_cuda_wgmma_parts(const vj_product *g)
{
    enum { TILE_END = 8, ADDED = 200000, MIN_DEPTH = 1024, MAX_PARTS = 24 };
    const int64_t tiles = tiles_of(g), steps = groups_of(g->K, STEP);
    int64_t best = 1, least = 0;
    for (int64_t parts = 1; parts == 1 || (g->a_transposed && parts <= MAX_PARTS && g->K / parts >= MIN_DEPTH);
         parts++) {
        const int64_t cost = groups_of(tiles * parts, AT_A_TIME) * (groups_of(steps, parts) + TILE_END) +
                             (parts > 1 ? parts * g->M * g->N / ADDED : 0);
        if (parts > 1 && cost >= least) continue;
        best = parts;
        least = cost;
    }
    return (int)best;
}

bool vj_cuda_wgmma_fills(const vj_product *g)
{
    enum { PERCENT = 95, MIN_DEPTH = 4096 /* the end of a tile takes a fiftieth of its time */ };
    const int64_t tiles = tiles_of(g), places = groups_of(tiles, AT_A_TIME) * AT_A_TIME;
    return g->a_transposed && width_of(g) == 256 && g->K >= MIN_DEPTH && 100 * tiles >= PERCENT * places;
}

int64_t vj_cuda_wgmma_scratch_rows(const vj_product *g)
{
    const int parts = vj_cuda_wgmma_parts(g);
    return parts > 1 ? parts * g->M : vj_cuda_wgmma_sums(g) ? groups_of(g->M, ROWS) * GROUP_WARPS : 0;
}

/* Make the tensor map of an operand: stored rows are `pitch` elements apart. */
static bool make_map(vj_tensor_map_encode *encode, vj_tensor_map *map, const vj_array &operand, int64_t width,
                     int64_t rows, int64_t pitch)
{
    const uint64_t sizes[] = {(uint64_t)width, (uint64_t)rows}, strides[] = {(uint64_t)pitch * sizeof(bf16)};
    const uint32_t box[] = {64, 64}, steps[] = {1, 1};
    return encode(map, VJ_MAP_BF16, 2, operand.data, sizes, strides, box, steps, VJ_MAP_NOT_INTERLEAVED,
                  VJ_MAP_SWIZZLE_128, VJ_MAP_FROM_MEMORY_128, VJ_MAP_ZEROS_OUTSIDE) == 0;
}

template <int WIDE, work W, bool A_DEPTH_FIRST, bool B_DEPTH_FIRST, ends E>
static cudaError_t launch_wgmma(cudaStream_t stream, const vj_product *g, int64_t a_width, int64_t b_width,
                                const tiling &t, const vj_cuda_wgmma *how)
{
    vj_tensor_map a, b;
    if (!(A_DEPTH_FIRST ? make_map(how->encode, &a, g->a, g->M, g->K, a_width)
                        : make_map(how->encode, &a, g->a, g->K, g->M, a_width)) ||
        !(B_DEPTH_FIRST ? make_map(how->encode, &b, g->b, g->N, g->K, b_width)
                        : make_map(how->encode, &b, g->b, g->K, g->N, b_width)))
        return cudaErrorInvalidValue;
    const int blocks = t.all < how->processors ? t.all : how->processors;
    return launch(wgmma_kernel<WIDE, W, A_DEPTH_FIRST, B_DEPTH_FIRST, E>, dim3((unsigned)blocks), dim3(BLOCK_THREADS),
                  sizeof(wgmma_shared<WIDE, W, E>), stream, *g, a, b, t, all_in_fours(g), how->late);
}

template <bool B_DEPTH_FIRST>
static cudaError_t launch_in_turn(cudaStream_t stream, const vj_product *g, int64_t a_width, int64_t b_width,
                                  const tiling &t, const vj_cuda_wgmma *how)
{
    constexpr ends with_gelu = B_DEPTH_FIRST ? GELU_GRADIENT : GELU;
    const ends end = ends_of(g);
    const auto launch_it = end == STRIPS  ? launch_wgmma<192, IN_TURN, false, B_DEPTH_FIRST, STRIPS>
                           : end == PLAIN ? launch_wgmma<192, IN_TURN, false, B_DEPTH_FIRST, PLAIN>
                                          : launch_wgmma<192, IN_TURN, false, B_DEPTH_FIRST, with_gelu>;
    return launch_it(stream, g, a_width, b_width, t, how);
}

template <int WIDE>
static cudaError_t launch_together(cudaStream_t stream, const vj_product *g, int64_t a_width, int64_t b_width,
                                   const tiling &t, const vj_cuda_wgmma *how)
{
    const auto launch_it = g->b_transposed ? launch_wgmma<WIDE, TOGETHER, true, false, STRIPS>
                                           : launch_wgmma<WIDE, TOGETHER, true, true, STRIPS>;
    return launch_it(stream, g, a_width, b_width, t, how);
}

/* Divide a result into m x n tiles, the last column of them narrow if it has few columns. */
static tiling tiling_of(const vj_product *g, int m, int n, int parts, int wide)
{
    const int64_t last = groups_of(g->N - (int64_t)(n - 1) * wide, NARROW) * NARROW;
    const bool narrow = !g->a_transposed && last < wide;
    const int full = narrow ? n - 1 : n, span = (int)(groups_of(groups_of(g->K, parts), STEP) * STEP);
    return tiling{m, full, parts, span, narrow ? (int)last : 0, m * n * parts};
}

cudaError_t vj_cuda_wgmma_product(cudaStream_t stream, const vj_product *product, int64_t a_width, int64_t b_width,
                                  float *scratch, const vj_cuda_wgmma *how)
{
    const int parts = vj_cuda_wgmma_parts(product), wide = width_of(product);
    const int64_t m = groups_of(product->M, ROWS), n = groups_of(product->N, wide);
    const bool sums = vj_cuda_wgmma_sums(product);
    vj_product g = *product;
    if (parts > 1) g = vj_cuda_bare_product(product, scratch);
    g.sums = sums ? scratch : NULL;
    if ((m + GROUP) * n * parts > INT32_MAX || g.M > INT32_MAX || g.N > INT32_MAX || g.K > INT32_MAX)
        return cudaErrorInvalidValue;
    const tiling t = tiling_of(product, (int)m, (int)n, parts, wide);
    const auto launch_it = g.a_transposed   ? wide == 192 ? launch_together<192> : launch_together<256>
                             : g.b_transposed ? launch_in_turn<false>
                                            : launch_in_turn<true>;
    const cudaError_t error = launch_it(stream, &g, a_width, b_width, t, how);
    if (error == cudaSuccess && parts > 1) return vj_cuda_finish(stream, product, scratch, parts, 0, product->M);
    if (error == cudaSuccess && sums)
        return launch(totals_kernel<float, float>, dim3((unsigned)groups_of(g.N, WARP)), dim3(TOTAL_THREADS),
                      sizeof(totals_shared), stream, product->sums, product->sums, g.N, scratch,
                      groups_of(g.M, ROWS) * GROUP_WARPS, g.N, (int)product->add_to_sums);
    return error;
}
