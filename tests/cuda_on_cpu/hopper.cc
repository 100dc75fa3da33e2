/*
 * What emu_hopper.h declares. Everything asynchronous happens as late as it may: loads when somebody waits for the
 * phase in which they are counted, products when their group is waited for. Until then what they write is NaN, so that
 * a missing wait shows, and what they read may still be overwritten, so that a place that is given away too early
 * shows.
 */
#include "emu_hopper.h"

#include <cstdio>
#include <vector>

#include "runtime.h"
#include "threads.h"

namespace emu
{

namespace
{

enum {
    SYSTEM_BYTES = 1024,
    MAP_MAGIC = 0x7e45041a,
    GROUP = 128,
    ROWS = 64,
    DEPTH = 16,
    MOST_COLUMNS = 256,
    MOST_SHARED = 227 << 10,
    MOST_BYTES = (1 << 20) - 1, /* of a phase */
    ALL_REGISTERS = 64 << 10,   /* of a multiprocessor */
    MOST_REGISTERS = 255        /* of a thread at first */
};

/* ---------------------------------------------------------------------------------------------- registers */

std::vector<int> owned; /* registers of each thread, since the first of them changed their number */

/* Registers with which each thread of the block starts. A block never has more than these together. */
int registers_at_first()
{
    const int share = ALL_REGISTERS / threads_of_block() / 8 * 8;
    return share < MOST_REGISTERS ? share : MOST_REGISTERS;
}

/* Registers of the block, if all threads of warp group `group` have `number`. */
int registers_if(size_t group, int number)
{
    int all = 0;
    for (size_t first = 0; first < owned.size(); first += GROUP) {
        int most = 0;
        for (size_t t = first; t < first + GROUP && t < owned.size(); t++) most = owned[t] > most ? owned[t] : most;
        all += GROUP * (first / GROUP == group ? number : most);
    }
    return all;
}

void check_registers()
{
    for (size_t t = 0; t < owned.size(); t++)
        if (owned[t] != owned[t / GROUP * GROUP]) give_up("setmaxnreg by a part of a warp group");
}

/* ---------------------------------------------------------------------------------------------- phases and loads */

struct load {
    char *to;
    tensor_map map;
    int x, y;
};

struct phase_barrier {
    void *at;
    uint32_t arrivals, lacking; /* of each phase; of this one */
    int64_t bytes;              /* announced in this phase, and not loaded */
    uint32_t phase;
    bool known; /* to loads: by fence.mbarrier_init */
    std::vector<load> loads;
};

std::vector<phase_barrier> barriers; /* of the block */

phase_barrier *find_barrier(const void *at)
{
    for (auto &b : barriers)
        if (b.at == at) return &b;
    give_up("a barrier in shared memory that was not initialised");
}

/* The place of 16 bytes in shared memory: their number in a row of 128 bytes is changed by the row's place in eight. */
char *swizzled(char *at)
{
    const uint32_t address = shared_address(at);
    return at - address + (address ^ (address >> 3 & 0x70));
}

template <class F> void for_each_piece(const load &l, F f)
{
    const uint32_t pieces = l.map.box[0] / 8;
    for (uint32_t row = 0; row < l.map.box[1]; row++)
        for (uint32_t piece = 0; piece < pieces; piece++) {
            char *to = l.to + (row * pieces + piece) * 16;
            f(l.map.swizzled ? swizzled(to) : to, row, piece);
        }
}

void make_nan(const load &l)
{
    static const uint32_t nan[4] = {~0u, ~0u, ~0u, ~0u};
    for_each_piece(l, [](char *to, uint32_t, uint32_t) {
        __tsan_write16(to);
        give(to, nan, 16);
    });
}

/* Elements outside the array are zeros. */
void make_load(const load &l)
{
    for_each_piece(l, [&l](char *to, uint32_t row, uint32_t piece) {
        alignas(4) uint16_t values[8] = {};
        const int64_t y = (int64_t)l.y + row, x = (int64_t)l.x + piece * 8;
        const volatile uint16_t *from = (const volatile uint16_t *)(l.map.data + y * (int64_t)l.map.stride) + x;
        for (int i = 0; i < 8; i++)
            if (y >= 0 && y < (int64_t)l.map.size[1] && x + i >= 0 && x + i < (int64_t)l.map.size[0])
                values[i] = from[i];
        __tsan_write16(to);
        give(to, values, 16);
    });
}

uint32_t bytes_of(const load &l)
{
    return l.map.box[0] * l.map.box[1] * 2;
}

/* Once all arrivals have come, the loads can be made; the phase ends if they bring the bytes that were announced. */
void end_phase_if_done(phase_barrier *b)
{
    if (b->lacking > 0) return;
    for (const load &l : b->loads) {
        make_load(l);
        b->bytes -= bytes_of(l);
    }
    b->loads.clear();
    if (b->bytes != 0) return;
    b->phase++;
    b->lacking = b->arrivals;
}

void arrive(phase_barrier *b)
{
    if (b->lacking == 0) end_phase_if_done(b);
    if (b->lacking == 0) give_up("more arrivals at a barrier in shared memory than it counts");
    __tsan_release(b->at);
    b->lacking--;
    if (b->loads.empty()) end_phase_if_done(b);
}

} /* namespace */

uint32_t shared_address(const void *in_shared)
{
    const int64_t at = (const char *)in_shared - shared_begin();
    if (at < 0 || at >= (int64_t)shared_used()) give_up("an instruction on shared memory gets another address");
    return SYSTEM_BYTES + (uint32_t)at;
}

void set_registers(int number, bool more)
{
    const int t = thread_of_block(), all = threads_of_block() * registers_at_first();
    if (owned.empty()) owned.assign((size_t)threads_of_block(), registers_at_first());
    int *const mine = &owned[(size_t)t];
    if (number % 8 || number < 24 || number > 256 || (more ? number < *mine : number > *mine))
        give_up("setmaxnreg with a number of registers that it does not allow");
    if (more)
        wait_for("for registers that other warp groups give up, line", 0,
                 [=] { return registers_if((size_t)t / GROUP, number) <= all; });
    *mine = number;
}

void phase_init(void *barrier, uint32_t arrivals)
{
    if (shared_address(barrier) % 8) give_up("a barrier in shared memory that is not aligned");
    barriers.push_back(phase_barrier{barrier, arrivals, arrivals, 0, 0, false, {}});
}

void phase_init_done()
{
    for (auto &b : barriers) b.known = true;
}

void phase_arrive(void *barrier)
{
    arrive(find_barrier(barrier));
}

void phase_expect(void *barrier, uint32_t bytes)
{
    phase_barrier *b = find_barrier(barrier);
    if (b->lacking == 0) end_phase_if_done(b);
    b->bytes += bytes;
    if (b->bytes > MOST_BYTES) give_up("more bytes in a phase than a barrier in shared memory can count");
    arrive(b);
}

void phase_wait(void *barrier, uint32_t parity, int line)
{
    find_barrier(barrier);
    wait_for("for a phase of a barrier in shared memory, line", line, [=] {
        phase_barrier *b = find_barrier(barrier);
        if ((b->phase & 1) != parity) return true;
        if (b->lacking == 0) {
            __tsan_acquire(barrier);
            end_phase_if_done(b);
            __tsan_release(barrier);
        }
        return (b->phase & 1) != parity;
    });
    __tsan_acquire(barrier);
}

void load_tile(void *to, const void *map, int x, int y, void *barrier)
{
    load l = {(char *)to, {}, x, y};
    memcpy(&l.map, map, sizeof l.map);
    if (l.map.magic != MAP_MAGIC) give_up("a load by something that is no tensor map");
    const uint32_t address = shared_address(to);
    if (address % 128 || (l.map.swizzled && address % 1024)) give_up("a load of a tile to memory that is not aligned");
    (void)shared_address((char *)to + bytes_of(l) - 1);
    make_nan(l);
    if (!find_barrier(barrier)->known) give_up("a load of a tile to a barrier without fence.mbarrier_init");
    find_barrier(barrier)->loads.push_back(l);
}

void describe_phases()
{
    for (const auto &b : barriers)
        if (b.lacking < b.arrivals || b.bytes != 0)
            fprintf(stderr,
                    "  barrier at byte %td of shared memory: phase %u lacks %u of %u arrivals; of the bytes announced, "
                    "%lld were not loaded\n",
                    (char *)b.at - shared_begin(), b.phase, b.lacking, b.arrivals, (long long)b.bytes);
}

/* ---------------------------------------------------------------------------------------------- products */

namespace
{

struct product {
    float *d;
    int columns;
    const uint32_t *registers; /* the thread's part of A, or NULL: A is in shared memory */
    uint64_t a, b;
    bool a_transposed, b_transposed, add;
    int group;
};

/* Elements of a thread on which products work: their values, while the thread's own memory is NaN. */
struct accumulator {
    float *d;
    int n;
    float value[MOST_COLUMNS / 2];
};

struct worker {
    std::vector<product> queue;
    std::vector<accumulator> busy;
    int groups; /* committed */
    bool fenced;
};

struct warp_group {
    int arrived;
    long waits;
};

std::vector<worker> workers; /* the block's threads and warp groups, since the first of them asked for wgmma */
std::vector<warp_group> groups;

worker *this_worker()
{
    if (workers.empty()) {
        workers.assign((size_t)threads_of_block(), worker{{}, {}, 0, false});
        groups.assign((size_t)(threads_of_block() / GROUP + 1), warp_group{0, 0});
    }
    return &workers[(size_t)thread_of_block()];
}

bool is_nan(const float *d, int n)
{
    bool all = true;
    for (int i = 0; i < n; i++) all = all && ((const word *)d)[i] == ~0u;
    return all;
}

/*
 * Pieces of 16 bytes of shared memory that were written the ordinary way, and are not there for wgmma before the thread
 * that wrote them says so: its number and 1, or 0.
 */
int written_by[MOST_SHARED / 16];
std::vector<std::vector<uint32_t>> written; /* by thread */

/* Eight elements that lie together. */
void read_piece(float v[8], uint32_t address)
{
    address ^= address >> 3 & 0x70;
    if (address < SYSTEM_BYTES || address + 16 > SYSTEM_BYTES + shared_used())
        give_up("wgmma reads beyond the block's shared memory");
    if (written_by[(address - SYSTEM_BYTES) / 16])
        give_up("wgmma reads what cp.async wrote, without fence.proxy.async after it");
    uint16_t bits[8];
    char *from = shared_begin() + address - SYSTEM_BYTES;
    __tsan_read16(from);
    give(bits, from, 16);
    for (int i = 0; i < 8; i++) {
        const uint32_t wide = (uint32_t)bits[i] << 16;
        memcpy(&v[i], &wide, 4);
    }
}

uint32_t field(uint64_t descriptor, int bit)
{
    return (uint32_t)(descriptor >> bit & 0x3fff) << 4;
}

/*
 * An operand of `width` rows (columns) and 16 of depth, to[depth][width], from where its descriptor says. As stored:
 * rows of depth, eight of them in an atom of 1024 bytes, the next eight at the stride offset; or transposed, rows of 64
 * along the width, eight of depth in an atom, the next eight at the stride offset, the next 64 at the leading offset.
 */
void read_operand(float *to, int width, uint64_t descriptor, bool transposed)
{
    const uint32_t start = field(descriptor, 0), leading = field(descriptor, 16), stride = field(descriptor, 32);
    if (descriptor >> 62 != 1) give_up("a descriptor of wgmma without the 128-byte swizzle, the only one emulated");
    if (descriptor & ~(0x3fffull | 0x3fffull << 16 | 0x3fffull << 32 | 3ull << 62))
        give_up("a descriptor of wgmma with a base offset, or with bits that must be zero");
    float v[8];
    if (transposed) {
        for (int k = 0; k < DEPTH; k++)
            for (int at = 0; at < width; at += 8)
                read_piece(to + k * width + at, start + (uint32_t)(k / 8) * stride + (uint32_t)(k % 8) * 128 +
                                                    (uint32_t)(at / 64) * leading + (uint32_t)(at % 64) * 2);
        return;
    }
    for (int at = 0; at < width; at++)
        for (int k = 0; k < DEPTH; k += 8) {
            read_piece(v, start + (uint32_t)(at / 8) * stride + (uint32_t)(at % 8) * 128 + (uint32_t)k * 2);
            for (int i = 0; i < 8; i++) to[(k + i) * width + at] = v[i];
        }
}

/*
 * EMU_BROKEN=wgmma: products leave out the last of their depth, for tests of what notices that; wgmma_registers: those
 * with an operand in registers; wgmma_shared: the others.
 */
int depth_used(bool registers)
{
    const char *broken = getenv("EMU_BROKEN");
    const bool here =
        broken && (strcmp(broken, "wgmma") == 0 || strcmp(broken, registers ? "wgmma_registers" : "wgmma_shared") == 0);
    return here ? DEPTH - 1 : DEPTH;
}

/* Of a row of d; the sum over the depth is made first, as mma's. A row of zeros adds nothing. */
typedef float four __attribute__((vector_size(16), may_alias));
void multiply_row(float *d, const float *a, const float *b, int columns, int depth, bool add)
{
    bool zeros = add;
    for (int k = 0; k < depth; k++) zeros = zeros && a[k * ROWS] == 0.0f;
    if (zeros) return;
    if (truncates) {
        for (int n = 0; n < columns; n++) d[n] = truncated_sum(add ? d[n] : 0, a, ROWS, b + n, columns, depth);
        return;
    }
    for (int n = 0; n < columns; n += 8) {
        four low = {}, high = {};
        for (int k = 0; k < depth; k++) {
            low += a[k * ROWS] * *(const four *)(b + k * columns + n);
            high += a[k * ROWS] * *(const four *)(b + k * columns + n + 4);
        }
        four *to = (four *)(d + n);
        to[0] = add ? to[0] + low : low;
        to[1] = add ? to[1] + high : high;
    }
}

/* Of the group's 64 rows, those elements that thread t of it has: f(its element, row, column). */
template <class F> void for_each_element(int t, int columns, F f)
{
    for (int i = 0; i < columns / 2; i++) f(i, t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8, i / 4 * 8 + t % 4 * 2 + i % 2);
}

alignas(16) float all[ROWS * MOST_COLUMNS], operand_a[DEPTH * ROWS], operand_b[DEPTH * MOST_COLUMNS];

/* A of a product whose threads have it in registers, to[depth][row]: as mma() has it, 16 rows a warp. */
void read_registers(float *to, const worker *of_thread, size_t product_number)
{
    for (int t = 0; t < GROUP; t++)
        for (int i = 0; i < 4; i++) {
            uint32_t pair;
            give(&pair, of_thread[t].queue[product_number].registers + i, 4);
            const int row = t / 32 * 16 + t % 32 / 4 + i % 2 * 8, k = t % 4 * 2 + i / 2 * 8;
            const uint32_t low = pair << 16, high = pair & 0xffff0000u;
            memcpy(to + k * ROWS + row, &low, 4);
            memcpy(to + (k + 1) * ROWS + row, &high, 4);
        }
}

/* Make the products of a warp group on its accumulator number `which` that belong to groups below `end`. */
void make_products(worker *of_thread, size_t which, int end)
{
    const float *d = of_thread[0].busy[which].d;
    const int columns = of_thread[0].busy[which].n * 2;
    for (int t = 0; t < GROUP; t++)
        for_each_element(t, columns, [&](int i, int row, int column) {
            all[row * columns + column] = of_thread[t].busy[which].value[i];
        });
    for (size_t i = 0; i < of_thread[0].queue.size(); i++) {
        const product &p = of_thread[0].queue[i];
        if (p.d != d || p.group >= end) continue;
        if (p.registers)
            read_registers(operand_a, of_thread, i);
        else
            read_operand(operand_a, ROWS, p.a, p.a_transposed);
        read_operand(operand_b, columns, p.b, p.b_transposed);
        for (int row = 0; row < ROWS; row++)
            multiply_row(all + row * columns, operand_a + row, operand_b, columns, depth_used(p.registers), p.add);
        count.mmas++;
    }
    for (int t = 0; t < GROUP; t++)
        for_each_element(t, columns, [&](int i, int row, int column) {
            of_thread[t].busy[which].value[i] = all[row * columns + column];
        });
}

/* All four warps have to give the same products. */
void compare_queues(const worker *of_thread)
{
    for (int t = 1; t < GROUP; t++) {
        bool same = of_thread[t].queue.size() == of_thread[0].queue.size() &&
                    of_thread[t].busy.size() == of_thread[0].busy.size() && of_thread[t].groups == of_thread[0].groups;
        for (size_t i = 0; same && i < of_thread[0].queue.size(); i++) {
            const product &x = of_thread[t].queue[i], &y = of_thread[0].queue[i];
            same = x.a == y.a && x.b == y.b && x.columns == y.columns && x.a_transposed == y.a_transposed &&
                   x.b_transposed == y.b_transposed && x.add == y.add && x.group == y.group &&
                   !x.registers == !y.registers;
        }
        if (!same) give_up("threads of a warp group give different products (wgmma)");
    }
}

/* The thread's products of groups below `end` are made: elements on which none works any more are its own again. */
void hand_over(worker *w, int end)
{
    size_t kept = 0;
    for (const product &p : w->queue)
        if (p.group >= end) w->queue[kept++] = p;
    w->queue.resize(kept);
    kept = 0;
    for (const accumulator &a : w->busy) {
        bool still = false;
        for (const product &p : w->queue) still = still || p.d == a.d;
        if (still)
            w->busy[kept++] = a;
        else
            give(a.d, a.value, (size_t)a.n * 4);
    }
    w->busy.resize(kept);
}

} /* namespace */

namespace
{

void forget_written(int thread)
{
    for (const uint32_t piece : written[(size_t)thread])
        if (written_by[piece] == thread + 1) written_by[piece] = 0;
    written[(size_t)thread].clear();
}

} /* namespace */

void ordinary_write(const void *to)
{
    if (barriers.empty()) return; /* a kernel that knows no wgmma */
    const uint32_t piece = (shared_address(to) - SYSTEM_BYTES) / 16;
    if (written.size() < (size_t)threads_of_block()) written.resize((size_t)threads_of_block());
    written_by[piece] = thread_of_block() + 1;
    written[(size_t)thread_of_block()].push_back(piece);
}

void operands_written()
{
    if (written.size() > (size_t)thread_of_block()) forget_written(thread_of_block());
}

void wgmma_fence()
{
    this_worker()->fenced = true;
}

namespace
{

void add_product(product p)
{
    worker *w = this_worker();
    if (!w->fenced) give_up("wgmma without wgmma.fence since the accumulators were the thread's own");
    accumulator *busy = nullptr;
    for (accumulator &x : w->busy)
        if (x.d == p.d) busy = &x;
    if (!busy) {
        w->busy.push_back(accumulator{p.d, p.columns / 2, {}});
        busy = &w->busy.back();
        give(busy->value, p.d, (size_t)p.columns * 2);
        for (int i = 0; i < p.columns / 2; i++) ((word *)p.d)[i] = ~0u;
    }
    if (busy->n != p.columns / 2) give_up("wgmma of another shape on the same accumulators");
    if (!is_nan(p.d, busy->n)) give_up("accumulators are written while wgmma works on them");
    p.group = w->groups;
    w->queue.push_back(p);
}

} /* namespace */

void wgmma(float *d, int columns, uint64_t a, uint64_t b, bool a_transposed, bool b_transposed, bool add)
{
    add_product(product{d, columns, nullptr, a, b, a_transposed, b_transposed, add, 0});
}

void wgmma(float *d, int columns, const uint32_t *a, uint64_t b, bool b_transposed, bool add)
{
    add_product(product{d, columns, a, 0, b, false, b_transposed, add, 0});
}

void wgmma_commit()
{
    this_worker()->groups++;
}

void wgmma_wait(int pending)
{
    const int self = thread_of_block(), first = self / GROUP * GROUP;
    if (first + GROUP > threads_of_block()) give_up("wgmma by less than a warp group");
    worker *me = this_worker(), *of_thread = &workers[(size_t)first];
    warp_group *g = &groups[(size_t)(self / GROUP)];
    const int end = me->groups - pending;
    const long now = g->waits;
    me->fenced = false;
    if (++g->arrived == GROUP) {
        int looks = 0; /* late: not before all other threads had their turn */
        wait_for("for the turn of the warp group's products, line", 0, [&] { return looks++ > 0; });
        compare_queues(of_thread);
        for (size_t which = 0; which < of_thread[0].busy.size(); which++) make_products(of_thread, which, end);
        for (int t = 0; t < GROUP; t++) hand_over(&of_thread[t], end);
        g->arrived = 0;
        g->waits++;
    }
    wait_for("for the warp group's products, line", 0, [=] { return g->waits != now; });
}

/* ---------------------------------------------------------------------------------------------- blocks */

void begin_block()
{
    barriers.clear();
    workers.clear();
    owned.clear();
    for (size_t t = 0; t < written.size(); t++) forget_written((int)t);
}

void end_thread()
{
    if (!workers.empty() && !this_worker()->queue.empty()) give_up("a thread ends with products (wgmma) on their way");
}

void end_block()
{
    for (const auto &b : barriers)
        if (!b.loads.empty()) give_up("a block ends with loads of tiles on their way");
    check_registers();
}

} /* namespace emu */

/* ---------------------------------------------------------------------------------------------- tensor maps */

namespace
{

/* As cuTensorMapEncodeTiled(): 1 is CUDA_ERROR_INVALID_VALUE. Only what the backend uses is known. */
int encode_tiled(void *map, int type, uint32_t rank, void *data, const uint64_t *size, const uint64_t *strides,
                 const uint32_t *box, const uint32_t *steps, int interleave, int swizzle, int promotion, int fill)
{
    const bool known = type == 9 && rank == 2 && interleave == 0 && (swizzle == 0 || swizzle == 3) && promotion >= 0 &&
                       promotion <= 3 && fill == 0 && steps[0] == 1 && steps[1] == 1;
    const bool valid = (uintptr_t)map % 64 == 0 && (uintptr_t)data % 16 == 0 && size[0] > 0 && size[1] > 0 &&
                       size[0] <= (uint64_t)1 << 32 && size[1] <= (uint64_t)1 << 32 && strides[0] % 16 == 0 &&
                       strides[0] < (uint64_t)1 << 40 && strides[0] >= size[0] * 2 && box[0] > 0 && box[0] <= 256 &&
                       box[1] > 0 && box[1] <= 256 && box[0] * 2 % 16 == 0 && (swizzle == 0 || box[0] * 2 <= 128);
    if (!known || !valid) {
        fprintf(stderr, "emu: cuTensorMapEncodeTiled: %s\n",
                known ? "sizes, strides or alignment that it does not allow" : "a kind of map that is not emulated");
        return 1;
    }
    const emu::tensor_map made = {(const char *)data, {size[0], size[1]}, strides[0],
                                  {box[0], box[1]},   swizzle == 3,       emu::MAP_MAGIC};
    static_assert(sizeof made <= 128, "a tensor map");
    memcpy(map, &made, sizeof made);
    return 0;
}

} /* namespace */

cudaError_t cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned version,
                                             unsigned long long flags, enum cudaDriverEntryPointQueryResult *result)
{
    (void)flags;
    const bool found = strcmp(symbol, "cuTensorMapEncodeTiled") == 0 && version >= 12000;
    *function = found ? (void *)encode_tiled : nullptr;
    *result = found ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return emu::keep(cudaSuccess);
}
