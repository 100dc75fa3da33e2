/*
 * Attention by warp groups, for heads of the usual widths on GPUs of compute capability 9.0. A block takes tiles of 128
 * own rows, one after the other. Its first warp group copies rows to shared memory (cp.async): the own rows of a tile
 * and, tile by tile, the rows of the other side, into a ring. Two more warp groups have 64 own rows each and multiply
 * (wgmma). Scores stay in registers: the result of a product has the layout of the left operand of the next. As in
 * product_wgmma.cu, each place of the ring has two barriers: a phase of `full` ends when its rows are complete, a phase
 * of `empty` when all warps have read them.
 *
 * The two groups take turns: one starts its products when the other has started its own and goes on to exponentials. So
 * the products of one run at the same time as the exponentials of the other. Results do not depend on it.
 *
 * Forward: own rows are queries. While a warp group computes exponentials of a tile's scores, its product of the
 * previous tile's exponentials and values runs. The first tile of keys is the one that may not be full; it has narrower
 * products then. Backward is two kernels as in attention_tiles.cu: own rows are keys, then queries. No sum waits for
 * another block, and each has a fixed order.
 *
 * The place in the ring is the same for a whole warp. same_in_warp() says so to the compiler, which else computes the
 * descriptors of operands in each lane: 30 of 440 instructions of a step forward.
 *
 * Why not TMA: it would load rows of the next segment with a tile, and a NaN in these would get into the sums of this
 * segment. cp.async leaves such rows out.
 */
#include "attention_rows.cuh"
#include "kernels/cuda/hopper.h"

namespace
{

enum { CONSUMERS = 2, GROUP_ROWS = 64, OWN_ROWS = CONSUMERS * GROUP_ROWS };
enum {
    THREADS = WARP_GROUP * (1 + CONSUMERS),
    GROUP_WARPS = WARP_GROUP / 32,
    CONSUMER_WARPS = CONSUMERS * GROUP_WARPS
};
enum { SQUARE_COLUMNS = 64 };

/* How a kernel divides its work, by the width of heads: as shared memory and registers allow. */
struct plan {
    int tile;   /* rows of the other side at a time */
    int stages; /* of the ring */
};
template <int d> constexpr plan forward_plan = d <= 64 ? plan{128, 4} : plan{128, 3};
template <int d> constexpr plan backward_plan = plan{64, 4};
/* Forward: whether exponentials take as long as products, so that every eighth is made by multiply-adds. */
template <int d> constexpr bool mixed = d <= 64;

/* ------------------------------------------------------------------------------------------------ shared memory */

/*
 * The layout of rows, as wgmma reads it with the 128-byte swizzle, whether the depth runs along the rows or across
 * them: 64 columns of all rows, then the next 64. Of a row's eight pieces of 16 bytes, piece i is at place i ^ row % 8.
 */
template <int d> constexpr int squares_of = (d + SQUARE_COLUMNS - 1) / SQUARE_COLUMNS;
template <int d, int n> struct alignas(EIGHT_ROWS_BYTES) rows_of {
    bf16 x[squares_of<d> * n * SQUARE_COLUMNS];
};

template <int STAGES> struct ring_barriers {
    phase_barrier full[STAGES], empty[STAGES], own_empty, turn[CONSUMERS], met[CONSUMERS];
};

template <int STAGES> VJ_DEVICE void begin_ring(ring_barriers<STAGES> &ring)
{
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            phase_init(&ring.full[i], WARP_GROUP);
            phase_init(&ring.empty[i], CONSUMER_WARPS);
        }
        phase_init(&ring.own_empty, CONSUMER_WARPS);
        for (int i = 0; i < CONSUMERS; i++) {
            phase_init(&ring.turn[i], GROUP_WARPS);
            phase_init(&ring.met[i], GROUP_WARPS);
        }
        phase_init_done();
    }
    __syncthreads();
}

/* Start to copy rows row .. row + n - 1; those from `length` on become zeros. All threads of the first warp group call
 * it. */
template <int d, int n> VJ_DEVICE void fetch(rows_of<d, n> &to, const rows_at &from, int row, int length)
{
    constexpr int pieces = d / 8, together = WARP_GROUP / pieces; /* rows at once */
    static_assert(together % 4 == 0, "or places in a row change from one to the next in another way");
    const int mine = (int)threadIdx.x / pieces, piece = (int)threadIdx.x % pieces, place = (piece ^ mine) & 7;
    if (together * pieces < WARP_GROUP && mine >= together) return;
    const bf16 *source = from.at + (int64_t)(row + mine) * from.stride + piece * 8;
    bf16 *const column = to.x + (piece / 8 * n + mine) * SQUARE_COLUMNS;
    VJ_UNROLL
    for (int r = 0; r < n; r += together) {
        if (r + together <= n || r + mine < n)
            copy_async(column + r * SQUARE_COLUMNS + (place ^ r % 8) * 8, source, row + r + mine < length);
        source += together * from.stride;
    }
}

/* The first warp group's place in the ring, and the stage it filled before, if its rows are still being copied; else
 * -1. */
struct filling {
    ring_place at = {0, 1};
    int before = -1;
    uint32_t own_parity = 1;
};

/* Wait until all but the last `pending` groups of copies are complete, then release the previous place for reading. */
template <int pending, int STAGES> VJ_DEVICE void hand_over(filling *f, ring_barriers<STAGES> &ring)
{
    copy_wait<pending>();
    if (f->before < 0) return;
    operands_written();
    phase_arrive(&ring.full[f->before]);
    f->before = -1;
}

/* Wait until all have read the own rows of the previous tile. They need its last place of the ring first, so it is
 * released. */
template <int STAGES> VJ_DEVICE void wait_for_own(filling *f, ring_barriers<STAGES> &ring, uint32_t *late)
{
    hand_over<0>(f, ring);
    phase_wait(&ring.own_empty, f->own_parity, late);
    f->own_parity ^= 1;
}

/* All copies for this place are started: go on to the next place. */
template <int STAGES> VJ_DEVICE void fetched(filling *f, ring_barriers<STAGES> &ring)
{
    copy_commit();
    hand_over<1>(f, ring);
    f->before = f->at.stage;
    go_on<STAGES>(&f->at);
}

/* Tell that this warp has read a place of the ring. */
template <int STAGES> VJ_DEVICE void give_back(ring_barriers<STAGES> &ring, const ring_place &read)
{
    if (threadIdx.x % 32 == 0) phase_arrive(&ring.empty[read.stage]);
}
template <int STAGES> VJ_DEVICE void give_back_own(ring_barriers<STAGES> &ring)
{
    if (threadIdx.x % 32 == 0) phase_arrive(&ring.own_empty);
}

/* A group's turns to start products. */
struct turns {
    int group;
    uint32_t parity; /* at first 1 for group 0, whose turn it is, and 0 for the other */
};
template <int STAGES> VJ_DEVICE void take_turn(ring_barriers<STAGES> &ring, turns *mine, uint32_t *late)
{
    phase_wait(&ring.turn[mine->group], mine->parity, late);
    mine->parity ^= 1;
}
template <int STAGES> VJ_DEVICE void end_turn(ring_barriers<STAGES> &ring, const turns &mine)
{
    __syncwarp(); /* all lanes have seen that it was their turn, so the next phase of its barrier may end */
    if (threadIdx.x % 32 == 0) phase_arrive(&ring.turn[1 - mine.group]);
}

/* Wait until all warps of the group have come here. The parity is 0 at the first call, then 1, and so on. */
template <int STAGES> VJ_DEVICE void meet(ring_barriers<STAGES> &ring, int group, uint32_t parity, uint32_t *late)
{
    __syncwarp();
    if (threadIdx.x % 32 == 0) phase_arrive(&ring.met[group]);
    phase_wait(&ring.met[group], parity, late);
}

/* For a warp group without rows of its own: pass over `steps` places of the ring, their turns, and the own rows. */
template <int STAGES>
VJ_DEVICE void let_go_by(ring_barriers<STAGES> &ring, ring_place *at, turns *mine, int steps, int turns_of_step,
                         uint32_t *late)
{
    for (int step = 0; step < steps; step++) {
        phase_wait(&ring.full[at->stage], at->parity, late);
        for (int i = 0; i < turns_of_step; i++) {
            take_turn(ring, mine, late);
            end_turn(ring, *mine);
        }
        give_back(ring, *at);
        go_on<STAGES>(at);
    }
    give_back_own(ring);
}

template <int TILE> VJ_DEVICE int tiles_of(int length)
{
    return (length + TILE - 1) / TILE;
}

/* Return how many keys the first tile has: all others are full. */
template <int TILE> VJ_DEVICE int first_keys(int length)
{
    return length - (tiles_of<TILE>(length) - 1) * TILE;
}

/* ------------------------------------------------------------------------------------------------ products */

/* Load the warp's 16 rows of its group's own rows as left operands, in the layout of mma(). */
template <int d> VJ_DEVICE void load_own(uint32_t a[d / 16][4], const rows_of<d, OWN_ROWS> &own, int warp)
{
    const int lane = (int)threadIdx.x % 32, row = warp * 16 + lane % 16;
    VJ_UNROLL
    for (int k = 0; k < d / 16; k++) {
        const int piece = 2 * k + lane / 16;
        ldmatrix4(a[k], own.x + (piece / 8 * OWN_ROWS + row) * SQUARE_COLUMNS + ((piece ^ row) & 7) * 8);
    }
}

/* Return the distance in bytes of step k of the depth from the first, in tiles of n rows. */
template <int n> VJ_DEVICE constexpr int deeper(int k)
{
    return k / SQUARE_COLUMNS * n * SQUARE_COLUMNS * 2 + k % SQUARE_COLUMNS * 2;
}

/* c[64, N] = 64 own rows times the first N rows of a tile of the other side. */
template <int d, int N, int TILE>
VJ_DEVICE void times_rows(float *c, const uint32_t own[d / 16][4], const rows_of<d, TILE> &other)
{
    const uint64_t b = wgmma_operand(other.x, 16 /* not used */, EIGHT_ROWS_BYTES);
    VJ_UNROLL
    for (int k = 0; k < d; k += 16) wgmma<N, false>(c, own[k / 16], operand_at(b, deeper<TILE>(k)), k > 0);
}
/* The same with own rows from shared memory, from the group's first row on. */
template <int d, int N>
VJ_DEVICE void times_rows(float *c, const rows_of<d, OWN_ROWS> &own, int group, const rows_of<d, N> &other)
{
    const uint64_t a = wgmma_operand(own.x + group * GROUP_ROWS * SQUARE_COLUMNS, 16, EIGHT_ROWS_BYTES);
    const uint64_t b = wgmma_operand(other.x, 16, EIGHT_ROWS_BYTES);
    VJ_UNROLL
    for (int k = 0; k < d; k += 16)
        wgmma<N, false, false>(c, operand_at(a, deeper<OWN_ROWS>(k)), operand_at(b, deeper<N>(k)), k > 0);
}

/* c[64, d] (+)= a[64, N] times the first N rows of a tile of the other side: weighted sums of rows. */
template <int d, int N, int TILE>
VJ_DEVICE void times_columns(float *c, const uint32_t (*a)[4], const rows_of<d, TILE> &rows, bool add)
{
    const uint64_t b = wgmma_operand(rows.x, TILE * SQUARE_COLUMNS * 2, EIGHT_ROWS_BYTES);
    VJ_UNROLL
    for (int k = 0; k < N / 16; k++) wgmma<d, true>(c, a[k], operand_at(b, k * 2 * EIGHT_ROWS_BYTES), add || k > 0);
}

template <int N, int pending = 0, int ALL> VJ_DEVICE void results(float (*c)[ALL][4])
{
    wgmma_results<N, pending>(&c[0][0][0]);
}

/* ------------------------------------------------------------------------------------------------ forward */

/* The values in a stage belong to the keys of the previous stage, since they are needed one step later. */
template <int d> struct forward_stage {
    rows_of<d, forward_plan<d>.tile> keys, values;
};
template <int d> struct forward_room {
    rows_of<d, OWN_ROWS> queries;
    forward_stage<d> stage[forward_plan<d>.stages];
    ring_barriers<forward_plan<d>.stages> ring;
};

template <int d> VJ_DEVICE void fill_forward(forward_room<d> &room, const attention &a, unsigned all, uint32_t *late)
{
    constexpr int TILE = forward_plan<d>.tile;
    filling f;
    for (unsigned number = blockIdx.x; number < all; number += gridDim.x) {
        const block_place place = place_at(a, number, OWN_ROWS);
        if (place.row >= place.length) continue;
        const rows_at keys = rows_of_qkv(a, place, 1), values = rows_of_qkv(a, place, 2);
        const int tiles = tiles_of<TILE>(place.length), first = first_keys<TILE>(place.length);
        const auto fetch_tile = [&](rows_of<d, TILE> &to, const rows_at &from, int tile) {
            fetch(to, from, tile ? first + (tile - 1) * TILE : 0, tile ? place.length : first);
        };
        wait_for_own(&f, room.ring, late);
        fetch(room.queries, rows_of_qkv(a, place, 0), place.row, place.length);
        for (int step = 0; step <= tiles; step++) {
            phase_wait(&room.ring.empty[f.at.stage], f.at.parity, late);
            forward_stage<d> &to = room.stage[f.at.stage];
            if (step < tiles) fetch_tile(to.keys, keys, step);
            if (step > 0) fetch_tile(to.values, values, step - 1);
            fetched(&f, room.ring);
        }
    }
    hand_over<0>(&f, room.ring);
}

/* What a warp group has while it computes o of a tile of 64 queries, not yet divided by the sums of exponentials. */
template <int d> struct attending {
    float s[1][forward_plan<d>.tile / 8][4];     /* scores, then exponentials */
    uint32_t p[1][forward_plan<d>.tile / 16][4]; /* exponentials of the previous tile */
    uint32_t queries[d / 16][4];
    softmax_state<1> state;
};

/*
 * Process the first tile, which has at most N keys. With `more` tiles, the scores of the next one are computed too, in
 * the same turn as the sum of the first one's values. Returns whether they are there.
 */
template <int d, int N>
VJ_DEVICE bool attend_first(float o[1][d / 8][4], attending<d> &x, forward_room<d> &room, int keys, bool more,
                            float factor, ring_place *at, turns *mine, uint32_t *late)
{
    constexpr int TILE = forward_plan<d>.tile;
    take_turn(room.ring, mine, late);
    wgmma_fence();
    times_rows<d, N>(&x.s[0][0][0], x.queries, room.stage[same_in_warp(at->stage)].keys);
    wgmma_commit();
    end_turn(room.ring, *mine);
    results<N>(x.s);
    give_back(room.ring, *at);
    go_on<forward_plan<d>.stages>(at);
    set_missing<1, N>(x.s, keys, -INFINITY);
    soften<1, N, mixed<d>>(x.s, x.state, factor, [](const row_numbers<1> &) {});
    as_operand<1, N>(x.p, x.s);
    phase_wait(&room.ring.full[at->stage], at->parity, late);
    take_turn(room.ring, mine, late);
    const forward_stage<d> &in = room.stage[same_in_warp(at->stage)];
    if (more) {
        wgmma_fence();
        times_rows<d, TILE>(&x.s[0][0][0], x.queries, in.keys);
        times_columns<d, N>(&o[0][0][0], x.p[0], in.values, false);
        wgmma_commit();
        end_turn(room.ring, *mine);
        results<TILE>(x.s);
        results<d>(o);
        return true;
    }
    wgmma_fence();
    times_columns<d, N>(&o[0][0][0], x.p[0], in.values, false);
    wgmma_commit();
    end_turn(room.ring, *mine);
    results<d>(o);
    return false;
}

/* Compute o of a tile of 64 queries. */
template <int d>
VJ_DEVICE void attend(float o[1][d / 8][4], attending<d> &x, forward_room<d> &room, int warp, int length, float factor,
                      ring_place *at, turns *mine, uint32_t *late)
{
    constexpr int TILE = forward_plan<d>.tile;
    const int tiles = tiles_of<TILE>(length), keys = first_keys<TILE>(length);
    begin_softmax(x.state);
    phase_wait(&room.ring.full[at->stage], at->parity, late);
    load_own<d>(x.queries, room.queries, warp);
    const bool more = keys <= 32   ? attend_first<d, 32>(o, x, room, keys, tiles > 1, factor, at, mine, late)
                      : keys <= 64 ? attend_first<d, 64>(o, x, room, keys, tiles > 1, factor, at, mine, late)
                                   : attend_first<d, TILE>(o, x, room, keys, tiles > 1, factor, at, mine, late);
    give_back_own(room.ring);
    give_back(room.ring, *at);
    go_on<forward_plan<d>.stages>(at);
    if (!more) return;
    const auto soften_tile = [&](auto scale) { soften<1, TILE, mixed<d>>(x.s, x.state, factor, scale); };
    soften_tile([&](const row_numbers<1> &fade) { scale_rows<1, d>(o, fade); });
    as_operand<1, TILE>(x.p, x.s);
    phase_wait(&room.ring.full[at->stage], at->parity, late);
    for (int step = 2; step < tiles; step++) {
        const forward_stage<d> &in = room.stage[same_in_warp(at->stage)];
        row_numbers<1> fade = all_rows<1>(1);
        bool faded = false;
        take_turn(room.ring, mine, late);
        wgmma_fence();
        times_rows<d, TILE>(&x.s[0][0][0], x.queries, in.keys);
        wgmma_commit();
        times_columns<d, TILE>(&o[0][0][0], x.p[0], in.values, true);
        wgmma_commit();
        end_turn(room.ring, *mine);
        results<TILE, 1>(x.s);
        soften_tile([&](const row_numbers<1> &by) { fade = by, faded = true; });
        here<TILE / 2>(&x.s[0][0][0]); /* while the product with the values runs, which is waited for later */
        const ring_place read = *at;
        go_on<forward_plan<d>.stages>(at);
        phase_wait(&room.ring.full[at->stage], at->parity, late);
        results<d>(o);
        give_back(room.ring, read);
        if (faded) scale_rows<1, d>(o, fade);
        as_operand<1, TILE>(x.p, x.s);
    }
    take_turn(room.ring, mine, late);
    wgmma_fence();
    times_columns<d, TILE>(&o[0][0][0], x.p[0], room.stage[same_in_warp(at->stage)].values, true);
    wgmma_commit();
    end_turn(room.ring, *mine);
    results<d>(o);
    give_back(room.ring, *at);
    go_on<forward_plan<d>.stages>(at);
}

template <int d> VJ_DEVICE void attend_all(forward_room<d> &room, const attention &a, unsigned all, uint32_t *late)
{
    const int warp = same_in_warp((int)threadIdx.x / 32) - GROUP_WARPS, group = warp / GROUP_WARPS;
    ring_place at = {0, 0};
    turns mine = {group, group == 0};
    for (unsigned number = blockIdx.x; number < all; number += gridDim.x) {
        const block_place place = place_at(a, number, OWN_ROWS);
        if (place.row >= place.length) continue;
        if (place.row + group * GROUP_ROWS >= place.length) {
            let_go_by(room.ring, &at, &mine, tiles_of<forward_plan<d>.tile>(place.length) + 1, 1, late);
            continue;
        }
        float o[1][d / 8][4] = {};
        attending<d> x = {};
        attend<d>(o, x, room, warp, place.length, a.factor, &at, &mine, late);
        const block_place end = place_at(a, number, OWN_ROWS);        /* computed again, to free registers */
        const int own = end.row + warp * 16, left = end.length - own; /* of this warp */
        const row_numbers<1> inverse = finish_softmax(x.state, a, (int64_t)end.first + own, left, end.head);
        write_rows<1, d>(a.out, (end.first + own) * a.D + (int64_t)end.head * d, a.D, left, o, inverse);
    }
}

template <int d> __global__ void __launch_bounds__(THREADS, 1) wgmma_forward(attention a, unsigned all, uint32_t *late)
{
    if constexpr (VJ_HOPPER) {
        forward_room<d> &room = shared<forward_room<d>, MAX_SHARED_90>();
        begin_ring(room.ring);
        if (threadIdx.x < WARP_GROUP) {
            give_registers<PRODUCER_REGISTERS>();
            fill_forward<d>(room, a, all, late);
        } else {
            take_registers<CONSUMER_REGISTERS>();
            attend_all<d>(room, a, all, late);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ backward */

/* Scores are products of rows 0 of both sides, gradients of probabilities are products of rows 1. */
template <int d, bool of_keys> struct backward_stage {
    rows_of<d, backward_plan<d>.tile> other0, other1;
    row_term terms[of_keys ? backward_plan<d>.tile : 1]; /* of the queries */
};
template <int d, bool of_keys> struct backward_room {
    rows_of<d, OWN_ROWS> own0, own1;
    backward_stage<d, of_keys> stage[backward_plan<d>.stages];
    float sums[CONSUMERS][of_keys ? 2 : 1][GROUP_WARPS][d]; /* of columns, by warp */
    ring_barriers<backward_plan<d>.stages> ring;
};

template <int d, bool of_keys>
VJ_DEVICE void fill_backward(backward_room<d, of_keys> &room, const attention &a, unsigned all, uint32_t *late)
{
    constexpr int TILE = backward_plan<d>.tile;
    const int mine = (int)threadIdx.x; /* the query of a tile whose term this thread loads */
    filling f;
    for (unsigned number = blockIdx.x; number < all; number += gridDim.x) {
        const block_place place = place_at(a, number, OWN_ROWS);
        if (place.row >= place.length) continue;
        const rows_at other0 = rows_of_qkv(a, place, of_keys ? 0 : 1);
        const rows_at other1 = of_keys ? rows_of_dout(a, place) : rows_of_qkv(a, place, 2);
        wait_for_own(&f, room.ring, late);
        fetch(room.own0, rows_of_qkv(a, place, of_keys ? 1 : 0), place.row, place.length);
        fetch(room.own1, of_keys ? rows_of_qkv(a, place, 2) : rows_of_dout(a, place), place.row, place.length);
        for (int row = 0; row < place.length; row += TILE) {
            row_term term = {0, 0};
            if (of_keys && mine < TILE && row + mine < place.length) term = terms_of(a, place)[row + mine];
            phase_wait(&room.ring.empty[f.at.stage], f.at.parity, late);
            backward_stage<d, of_keys> &to = room.stage[f.at.stage];
            fetch(to.other0, other0, row, place.length);
            fetch(to.other1, other1, row, place.length);
            if (of_keys && mine < TILE) to.terms[mine] = term;
            fetched(&f, room.ring);
        }
    }
    hand_over<0>(&f, room.ring);
}

/* Whether the own rows fit in registers, so that they need not be read from shared memory for each product. */
template <int d, bool of_keys> constexpr bool own_in_registers = !of_keys || d <= 80;

/*
 * Process a tile of 64 own rows over the rows of the other side. `at` is the first place of the ring; at the end it is
 * the place after the last.
 */
template <int d, bool of_keys>
VJ_DEVICE void add_gradients(float sum0[1][d / 8][4], float sum1[1][of_keys ? d / 8 : 1][4],
                             backward_room<d, of_keys> &room, int warp, int length, const row_term own_terms[1][2],
                             float factor, ring_place *at, turns *mine, uint32_t *late)
{
    constexpr int TILE = backward_plan<d>.tile;
    constexpr bool held = own_in_registers<d, of_keys>;
    uint32_t own0[d / 16][4], own1[d / 16][4];
    phase_wait(&room.ring.full[at->stage], at->parity, late);
    if (held) {
        load_own<d>(own0, room.own0, warp);
        load_own<d>(own1, room.own1, warp);
    }
    for (int row = 0; row < length; row += TILE) {
        const ring_place read = *at;
        const backward_stage<d, of_keys> &in = room.stage[same_in_warp(read.stage)];
        const auto term = [&](int m, int n, int i) {
            return of_keys ? in.terms[column_of(n, i)] : own_terms[m][i / 2];
        };
        float p[1][TILE / 8][4] = {}, ds[1][TILE / 8][4] = {};
        uint32_t p_operand[1][TILE / 16][4], ds_operand[1][TILE / 16][4];
        take_turn(room.ring, mine, late);
        wgmma_fence();
        if (held)
            times_rows<d, TILE>(&p[0][0][0], own0, in.other0);
        else
            times_rows<d>(&p[0][0][0], room.own0, warp / GROUP_WARPS, in.other0);
        wgmma_commit();
        if (held)
            times_rows<d, TILE>(&ds[0][0][0], own1, in.other1);
        else
            times_rows<d>(&ds[0][0][0], room.own1, warp / GROUP_WARPS, in.other1);
        wgmma_commit();
        end_turn(room.ring, *mine);
        results<TILE, 1>(p);
        /* With of_keys the columns are queries; those that do not exist have zeros in q and dout and add nothing. */
        probabilities<1, TILE, false>(p, factor, of_keys ? TILE : length - row, term);
        here<TILE / 2>(&p[0][0][0]); /* while the second product runs, which is waited for later */
        go_on<backward_plan<d>.stages>(at);
        if (row + TILE < length) phase_wait(&room.ring.full[at->stage], at->parity, late);
        results<TILE>(ds);
        if (held ? row == 0 : row + TILE >= length) give_back_own(room.ring);
        score_gradients<1, TILE>(ds, p, term);
        as_operand<1, TILE>(ds_operand, ds);
        if (of_keys) as_operand<1, TILE>(p_operand, p);
        take_turn(room.ring, mine, late);
        wgmma_fence();
        times_columns<d, TILE>(&sum0[0][0][0], ds_operand[0], in.other0, row > 0);
        if constexpr (of_keys) times_columns<d, TILE>(&sum1[0][0][0], p_operand[0], in.other1, row > 0);
        wgmma_commit();
        end_turn(room.ring, *mine);
        results<d>(sum0);
        if constexpr (of_keys) results<d>(sum1);
        give_back(room.ring, read);
    }
}

/* Write the sums of columns over the group's rows, of which `left` belong to the warp. */
template <int d, bool of_keys>
VJ_DEVICE void sum_group(const float sum0[1][d / 8][4], const float sum1[1][of_keys ? d / 8 : 1][4],
                         backward_room<d, of_keys> &room, const attention &a, const block_place &place, int group,
                         int left, uint32_t *late)
{
    const int thread = (int)threadIdx.x % WARP_GROUP, warp = thread / 32, row = place.row + group * GROUP_ROWS;
    auto &sums = room.sums[group];
    sum_columns<1, d>(sums[0][warp], sum0, left, a.scale);
    if constexpr (of_keys) sum_columns<1, d>(sums[1][warp], sum1, left, 1);
    meet(room.ring, group, 0, late);
    write_sums<d>(a, place, row, of_keys ? 1 : 0, sums[0], GROUP_WARPS, thread);
    if constexpr (of_keys) write_sums<d>(a, place, row, 2, sums[1], GROUP_WARPS, thread);
    meet(room.ring, group, 1, late);
}

template <int d, bool of_keys>
VJ_DEVICE void add_all_gradients(backward_room<d, of_keys> &room, const attention &a, unsigned all, uint32_t *late)
{
    const int warp = same_in_warp((int)threadIdx.x / 32) - GROUP_WARPS, group = warp / GROUP_WARPS;
    ring_place at = {0, 0};
    turns mine = {group, group == 0};
    for (unsigned number = blockIdx.x; number < all; number += gridDim.x) {
        const block_place place = place_at(a, number, OWN_ROWS);
        if (place.row + group * GROUP_ROWS >= place.length) {
            write_no_sums<d, of_keys>(a, place, place.row + group * GROUP_ROWS, (int)threadIdx.x % WARP_GROUP);
            if (place.row < place.length)
                let_go_by(room.ring, &at, &mine, tiles_of<backward_plan<d>.tile>(place.length), 2, late);
            continue;
        }
        row_term own_terms[1][2] = {};
        if (!of_keys) {
            const int own = place.row + warp * 16;
            load_terms<1>(own_terms, terms_of(a, place) + own, place.length - own);
        }
        float sum0[1][d / 8][4] = {}, sum1[1][of_keys ? d / 8 : 1][4] = {};
        add_gradients<d, of_keys>(sum0, sum1, room, warp, place.length, own_terms, a.factor, &at, &mine, late);
        const block_place end = place_at(a, number, OWN_ROWS); /* as in forward */
        const int own = end.row + warp * 16, left = end.length - own;
        const int64_t to = (end.first + own) * 3 * a.D + (int64_t)end.head * d;
        write_rows<1, d>(a.dqkv, to + (of_keys ? a.D : 0), 3 * (int64_t)a.D, left, sum0, all_rows<1>(a.scale));
        if constexpr (of_keys) write_rows<1, d>(a.dqkv, to + 2 * a.D, 3 * (int64_t)a.D, left, sum1, all_rows<1>(1));
        if (a.sums) sum_group<d, of_keys>(sum0, sum1, room, a, end, group, left, late);
    }
}

template <int d, bool of_keys>
__global__ void __launch_bounds__(THREADS, 1) wgmma_backward(attention a, unsigned all, uint32_t *late)
{
    if constexpr (VJ_HOPPER) {
        typedef backward_room<d, of_keys> room_type;
        room_type &room = shared<room_type, MAX_SHARED_90>();
        begin_ring(room.ring);
        if (threadIdx.x < WARP_GROUP) {
            give_registers<PRODUCER_REGISTERS>();
            fill_backward<d, of_keys>(room, a, all, late);
        } else {
            take_registers<CONSUMER_REGISTERS>();
            add_all_gradients<d, of_keys>(room, a, all, late);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ launches */

/* Launch one block for each multiprocessor, however many tiles each gets. */
cudaError_t launch_tiles(void (*kernel)(attention, unsigned, uint32_t *), size_t shared_bytes, attention a,
                         cudaStream_t stream, const vj_cuda_wgmma *how)
{
    const unsigned all = attention_tiles(&a, OWN_ROWS), processors = (unsigned)how->processors;
    return launch(kernel, all < processors ? all : processors, THREADS, shared_bytes, stream, a, all, how->late);
}

template <int d> cudaError_t backward_of(attention a, cudaStream_t stream, const vj_cuda_wgmma *how)
{
    const cudaError_t error = launch_tiles(wgmma_backward<d, true>, sizeof(backward_room<d, true>), a, stream, how);
    if (error != cudaSuccess) return error;
    return launch_tiles(wgmma_backward<d, false>, sizeof(backward_room<d, false>), a, stream, how);
}

} /* namespace */

bool attention_wgmma_present(int d)
{
    return d == 64 || d == 80 || d == 128;
}

cudaError_t attention_wgmma_forward(attention a, cudaStream_t stream, const vj_cuda_wgmma *how)
{
    switch (a.d) {
    case 64:
        return launch_tiles(wgmma_forward<64>, sizeof(forward_room<64>), a, stream, how);
    case 80:
        return launch_tiles(wgmma_forward<80>, sizeof(forward_room<80>), a, stream, how);
    case 128:
        return launch_tiles(wgmma_forward<128>, sizeof(forward_room<128>), a, stream, how);
    default:
        return cudaErrorInvalidValue;
    }
}

cudaError_t attention_wgmma_backward(attention a, cudaStream_t stream, const vj_cuda_wgmma *how)
{
    switch (a.d) {
    case 64:
        return backward_of<64>(a, stream, how);
    case 80:
        return backward_of<80>(a, stream, how);
    case 128:
        return backward_of<128>(a, stream, how);
    default:
        return cudaErrorInvalidValue;
    }
}
