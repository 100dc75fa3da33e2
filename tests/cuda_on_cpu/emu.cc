/* The emulated GPU. Read run(), then wait_until(). Never instrumented (see README): what the threads touch is. */
#include "threads.h"

#include <cstdio>
#include <sys/mman.h>
#ifdef EMU_UCONTEXT
#include <ucontext.h>
#endif
/* valgrind is told of the fibres' stacks, and of memory that nobody has written yet. */
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define VALGRIND_STACK_REGISTER(from, to)          ((void)0)
#define VALGRIND_MAKE_MEM_UNDEFINED(memory, bytes) ((void)0)
#endif
#ifdef EMU_TSAN
extern "C" {
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
}
enum { NO_SYNC = 1 };
#endif

emu_index threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emu
{

counts count;
const char *running = "";
long order = getenv("EMU_ORDER") ? atol(getenv("EMU_ORDER")) : 0;

namespace
{

enum {
    MAX_THREADS = 1024,
    STACK = 128 << 10,
    STACK_TURNS = 61, /* stacks begin so many bytes apart, so that the little that is used of them is in other */
    STACK_TURN = 576, /* lines of the cache */
    MAX_SHARED = 227 << 10,
    MAX_SHARED_80 = 163 << 10,
    LANE_BYTES = 40,
    COPIES = 256
};

/* ---------------------------------------------------------------------------------------------- change of fibres */

#ifdef EMU_UCONTEXT
typedef ucontext_t context;
void change(context *from, context *to)
{
    swapcontext(from, to);
}
void prepare(context *c, char *stack, size_t bytes, void (*entry)())
{
    getcontext(c);
    c->uc_stack.ss_sp = stack;
    c->uc_stack.ss_size = bytes;
    c->uc_link = nullptr;
    makecontext(c, entry, 0);
}
#elif defined __x86_64__
struct context {
    void *sp;
};
extern "C" void emu_change(context *from, context *to);
asm(".text\n.globl emu_change\n.type emu_change,@function\nemu_change:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp, (%rdi)\nmovq (%rsi), %rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\n"
    "ret\n.size emu_change,.-emu_change\n");
void change(context *from, context *to)
{
    emu_change(from, to);
}
void prepare(context *c, char *stack, size_t bytes, void (*entry)())
{
    void **top = (void **)(stack + bytes) - 1; /* what would be entry's return address: it never returns */
    *top = nullptr;
    *--top = (void *)entry;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    c->sp = top;
}
#else
#error "a change of fibres for this processor, or -DEMU_UCONTEXT"
#endif

/* ---------------------------------------------------------------------------------------------- threads */

struct copy {
    void *to;
    const void *from;
    int group;
    bool there;
};

struct fibre {
    context self;
    char *stack;
    emu_index index;
    int next, next_lane; /* in the rings of the block and of the warp */
    int previous, previous_lane;
    bool live;
    const char *waits; /* for a report: "barrier kernels.cu", ... */
    int waits_line;
    int groups; /* of asynchronous copies, committed so far */
    int copies;
    copy on_the_way[COPIES];
    void *tsan;
};

struct warp {
    int live, arrived;
    long step;
    unsigned mask;
    const char *what;
    alignas(16) char slot[2][32 * LANE_BYTES]; /* of even and odd steps */
};

fibre fibres[MAX_THREADS];
warp warps[MAX_THREADS / 32];
context host;
#ifdef EMU_TSAN
void *host_tsan;
#endif
int self, threads, live;
int at_barrier;
long barriers;
const char *barrier_file;
int barrier_line;
long idle; /* looks since a thread last went on */
const std::function<void()> *body;
alignas(1024) char shared_bytes[MAX_SHARED];
size_t shared_size;
char block_token, begin_token, end_token; /* what the race detector sees of barriers */
uint64_t random_state;

uint64_t draw()
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

void go_to(int t)
{
    const int from = self;
    count.switches++;
    self = t;
    threadIdx = fibres[t].index;
#ifdef EMU_TSAN
    __tsan_switch_to_fiber(fibres[t].tsan, NO_SYNC);
#endif
    change(&fibres[from].self, &fibres[t].self);
}

} /* namespace */

void give_up(const char *what)
{
    fprintf(stderr, "emu: %s, block %u,%u,%u: %s\n", running, blockIdx.x, blockIdx.y, blockIdx.z, what);
    for (int t = 0; t < threads; t++)
        if (t == 0 || t == threads - 1 || fibres[t].waits != fibres[t - 1].waits ||
            fibres[t].waits_line != fibres[t - 1].waits_line || fibres[t].live != fibres[t - 1].live)
            fprintf(stderr, "  from thread %d on: %s %s:%d\n", t, fibres[t].live ? "waits" : "ended,",
                    fibres[t].waits ? fibres[t].waits : "", fibres[t].waits_line);
    describe_phases();
    abort();
}

namespace
{

/* Let others run until `true_now`; those of the warp, or all. */
template <class F> void wait_until(bool in_warp, const char *what, int line, F true_now)
{
    fibres[self].waits = what;
    fibres[self].waits_line = line;
    while (!true_now()) {
        const int t = in_warp ? fibres[self].next_lane : fibres[self].next;
        if (++idle > 4L * threads + 64) give_up("nobody can go on");
        if (t != self) go_to(t);
    }
    idle = 0;
}

void end_barrier_if_full()
{
    if (live > 0 && at_barrier == live) {
        at_barrier = 0;
        barriers++;
    }
}

void leave_rings(int t)
{
    fibre *f = &fibres[t];
    fibres[f->previous].next = f->next;
    fibres[f->next].previous = f->previous;
    fibres[f->previous_lane].next_lane = f->next_lane;
    fibres[f->next_lane].previous_lane = f->previous_lane;
    f->live = false;
    live--;
    warp *w = &warps[t / 32];
    w->live--;
    if (w->arrived > 0) give_up("a thread ends while its warp takes a step");
    end_barrier_if_full();
}

void entry()
{
    __tsan_acquire(&begin_token);
    (*body)();
    const int t = self;
    if (fibres[t].copies > 0) give_up("a thread ends with copies on their way");
    end_thread();
    const int then = fibres[t].next;
    leave_rings(t);
    idle = 0;
    __tsan_release(&end_token);
    if (live > 0) go_to(then);
#ifdef EMU_TSAN
    __tsan_switch_to_fiber(host_tsan, NO_SYNC);
#endif
    change(&fibres[t].self, &host);
}

void make_rings()
{
    static int place[MAX_THREADS];
    for (int t = 0; t < threads; t++) place[t] = t;
    if (order)
        for (int t = threads - 1; t > 0; t--) {
            const int other = (int)(draw() % (uint64_t)(t + 1)), keep = place[t];
            place[t] = place[other];
            place[other] = keep;
        }
    for (int i = 0; i < threads; i++) {
        fibres[place[i]].next = place[(i + 1) % threads];
        fibres[place[(i + 1) % threads]].previous = place[i];
    }
    static int last[MAX_THREADS / 32], first[MAX_THREADS / 32];
    for (int w = 0; w * 32 < threads; w++) last[w] = -1;
    for (int i = 0; i < threads; i++) {
        const int t = place[i], w = t / 32;
        if (last[w] < 0)
            first[w] = t;
        else {
            fibres[last[w]].next_lane = t;
            fibres[t].previous_lane = last[w];
        }
        last[w] = t;
    }
    for (int w = 0; w * 32 < threads; w++) {
        fibres[last[w]].next_lane = first[w];
        fibres[first[w]].previous_lane = last[w];
    }
    self = place[0];
}

void run_block()
{
    live = threads;
    at_barrier = 0;
    idle = 0;
    memset(shared_bytes, 0xff, shared_size);
    (void)VALGRIND_MAKE_MEM_UNDEFINED(shared_bytes, shared_size);
    for (int w = 0; w * 32 < threads; w++)
        warps[w] = warp{threads - w * 32 < 32 ? threads - w * 32 : 32, 0, 0, 0, nullptr, {}};
    for (int t = 0; t < threads; t++) {
        fibre *f = &fibres[t];
        f->index = emu_index{(unsigned)t % blockDim.x, (unsigned)t / blockDim.x % blockDim.y,
                             (unsigned)t / (blockDim.x * blockDim.y)};
        f->live = true;
        f->waits = nullptr;
        f->groups = f->copies = 0;
        if (!f->stack) {
            f->stack = (char *)mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (f->stack == MAP_FAILED) abort();
            (void)VALGRIND_STACK_REGISTER(f->stack, f->stack + STACK);
        }
        prepare(&f->self, f->stack, STACK - t % STACK_TURNS * STACK_TURN, entry);
#ifdef EMU_TSAN
        if (!f->tsan) f->tsan = __tsan_create_fiber(0);
#endif
    }
    make_rings();
    begin_block();
    count.blocks++;
    count.threads += threads;
    threadIdx = fibres[self].index;
    __tsan_release(&begin_token);
#ifdef EMU_TSAN
    __tsan_switch_to_fiber(fibres[self].tsan, NO_SYNC);
#endif
    change(&host, &fibres[self].self);
    end_block();
    __tsan_acquire(&end_token); /* blocks use the same memory one after another */
}

} /* namespace */

int compute_capability()
{
    static const int capability = getenv("EMU_CAPABILITY") ? atoi(getenv("EMU_CAPABILITY")) : 90;
    return capability;
}

bool valid(dim3 grid, dim3 block, size_t bytes)
{
    const size_t shared = compute_capability() >= 90 ? MAX_SHARED : MAX_SHARED_80;
    const uint64_t block_threads = (uint64_t)block.x * block.y * block.z;
    return grid.x > 0 && grid.x <= INT32_MAX && grid.y > 0 && grid.y <= 65535 && grid.z > 0 && grid.z <= 65535 &&
           block_threads > 0 && block_threads <= MAX_THREADS && block.z <= 64 && bytes <= shared;
}

void run(dim3 grid, dim3 block, size_t bytes, const std::function<void()> &thread)
{
    const long long blocks = (long long)grid.x * grid.y * grid.z;
    threads = (int)(block.x * block.y * block.z);
    count.launches++;
    gridDim = grid;
    blockDim = block;
    shared_size = bytes;
    body = &thread;
    random_state = 88172645463325252ull ^ (uint64_t)order * 0x9e3779b97f4a7c15ull;
#ifdef EMU_TSAN
    host_tsan = __tsan_get_current_fiber();
#endif
    const long long turn = order ? (long long)(draw() % (uint64_t)blocks) : 0;
    for (long long i = 0; i < blocks; i++) {
        const long long b = order % 2 ? (turn + i) % blocks : (turn + blocks - i) % blocks;
        const long long at = order ? b : i;
        blockIdx =
            emu_index{(unsigned)(at % grid.x), (unsigned)(at / grid.x % grid.y), (unsigned)(at / grid.x / grid.y)};
        run_block();
    }
}

void *shared_memory(size_t bytes)
{
    if (bytes > shared_size) give_up("more shared memory is used than the launch asks for");
    return shared_bytes;
}

int lane()
{
    return self % 32;
}

int thread_of_block()
{
    return self;
}

int threads_of_block()
{
    return threads;
}

char *shared_begin()
{
    return shared_bytes;
}

size_t shared_used()
{
    return shared_size;
}

void wait_for(const char *what, int line, const std::function<bool()> &true_now)
{
    wait_until(false, what, line, true_now);
}

void barrier(const char *file, int line)
{
    count.barriers++;
    if (at_barrier == 0) {
        barrier_file = file;
        barrier_line = line;
    } else if (barrier_line != line) {
        fprintf(stderr, "emu: threads meet at different barriers, lines %d and %d of %s\n", barrier_line, line, file);
        give_up("divergent barrier");
    }
    const long mine = barriers;
    __tsan_release(&block_token);
    at_barrier++;
    end_barrier_if_full();
    wait_until(false, "at the barrier in", line, [=] { return barriers != mine; });
    __tsan_acquire(&block_token);
}

/*
 * One step of a warp: all lanes give `bytes` bytes, the last one to come may do something for all of them, and they go
 * on with what lies in the slot. The slot of the step before stays readable until the next one is full.
 */
static const char *step(const void *mine, size_t bytes, unsigned mask, const char *what, void (*last)(char *slot))
{
    const unsigned w_at = (unsigned)self / 32, me = (unsigned)self % 32;
    warp *w = &warps[w_at];
    const long now = w->step;
    if (bytes > LANE_BYTES || mask != 0xffffffffu) give_up("only whole warps, and few bytes");
    if (w->arrived > 0 && w->what != what && strcmp(w->what, what) != 0)
        give_up("lanes of a warp take different steps");
    count.warp_steps++;
    w->what = what;
    char *slot = w->slot[now & 1];
    give(slot + me * bytes, mine, bytes);
    if (++w->arrived == w->live) {
        w->arrived = 0;
        w->step++;
        if (last) last(slot);
    }
    wait_until(true, what, 0, [=] { return w->step != now; });
    return slot;
}

void exchange(void *result, const void *mine, size_t bytes, int from, unsigned mask, const char *what)
{
    const char *slot = step(mine, bytes, mask, what, nullptr);
    give(result, slot + (size_t)from * bytes, bytes);
}

void warp_barrier()
{
    __tsan_release(&warps[self / 32]);
    (void)step("", 0, 0xffffffffu, "syncwarp", nullptr);
    __tsan_acquire(&warps[self / 32]);
}

/* ---------------------------------------------------------------------------------------------- tiles */

const bool truncates = getenv("EMU_TENSOR_CORES") && strcmp(getenv("EMU_TENSOR_CORES"), "truncate") == 0;
/* mma leaves out its first column, for tests of what notices that. */
static const bool broken = getenv("EMU_BROKEN") && strcmp(getenv("EMU_BROKEN"), "mma") == 0;

float truncated_sum(float c, const float *a, int a_step, const float *b, int b_step, int depth)
{
    enum { BITS = 24 /* below the first of the largest */, FRACTION = 23, BIAS = 127 };
    float term[17] = {c}, plain = c;
    uint32_t bits, exponent = 0;
    for (int k = 0; k < depth; k++) plain += term[k + 1] = a[k * a_step] * b[k * b_step];
    for (int k = 0; k <= depth; k++) {
        memcpy(&bits, &term[k], 4);
        bits = bits >> FRACTION & 0xff;
        exponent = bits > exponent ? bits : exponent;
    }
    if (exponent <= BITS || exponent == 0xff) return plain; /* nearly zero, infinite or NaN */
    float up, down;                                         /* 2^BITS relative to the largest, and its inverse */
    bits = (2 * BIAS + BITS - exponent) << FRACTION;
    memcpy(&up, &bits, 4);
    bits = (exponent - BITS) << FRACTION;
    memcpy(&down, &bits, 4);
    int32_t sum = 0; /* of integers below 2^(BITS + 1) */
    for (int k = 0; k <= depth; k++) sum += (int32_t)(term[k] * up);
    uint32_t size = (uint32_t)(sum < 0 ? -sum : sum);
    while (size >> (FRACTION + 1)) size >>= 1, down *= 2; /* cut to what a float has */
    return sum < 0 ? -(float)size * down : (float)size * down;
}

namespace
{

struct operands {
    uint32_t a[4], b[2];
    float c[4];
};

float widened(uint32_t pair, int half)
{
    const uint32_t bits = half ? pair & 0xffff0000u : pair << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

/* All lanes' fragments in, the product [16, 8] out, in their place; the new accumulators, if it truncates. */
typedef float four __attribute__((vector_size(16), may_alias));
void multiply(char *slot)
{
    alignas(16) float A[16][16], B[16][8], C[16][8];
    for (int l = 0; l < 32; l++) {
        operands o;
        memcpy(&o, slot + l * (int)sizeof o, sizeof o);
        const int row = l / 4, pair = l % 4 * 2;
        for (int half = 0; half < 2; half++) {
            A[row][pair + half] = widened(o.a[0], half);
            A[row + 8][pair + half] = widened(o.a[1], half);
            A[row][pair + 8 + half] = widened(o.a[2], half);
            A[row + 8][pair + 8 + half] = widened(o.a[3], half);
            B[pair + half][row] = widened(o.b[0], half);
            B[pair + 8 + half][row] = widened(o.b[1], half);
            C[row][pair + half] = o.c[half];
            C[row + 8][pair + half] = o.c[2 + half];
        }
    }
    for (int i = 0; i < 16 && truncates; i++)
        for (int j = 0; j < 8; j++) C[i][j] = truncated_sum(C[i][j], A[i], 1, &B[0][j], 8, 16);
    for (int i = 0; i < 16 && !truncates; i++) {
        four low = {}, high = {};
        for (int k = 0; k < 16; k++) {
            low += A[i][k] * *(const four *)B[k];
            high += A[i][k] * *(const four *)(B[k] + 4);
        }
        *(four *)C[i] = low;
        *(four *)(C[i] + 4) = high;
    }
    for (int i = 0; i < 16 && broken; i++) C[i][0] = 0;
    memcpy(slot, C, sizeof C);
    count.mmas++;
}

} /* namespace */

void mma_m16n8k16(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    operands mine;
    memcpy(mine.a, a, sizeof mine.a);
    memcpy(mine.b, b, sizeof mine.b);
    memcpy(mine.c, c, sizeof mine.c);
    const float(*C)[8] = (const float(*)[8])step(&mine, sizeof mine, 0xffffffffu, "mma", multiply);
    const int me = lane();
    for (int i = 0; i < 4; i++) {
        const float result = C[me / 4 + i / 2 * 8][me % 4 * 2 + i % 2];
        c[i] = truncates ? result : c[i] + result;
    }
}

namespace
{

/* All lanes' rows in, their fragments of four matrices out. A lane's row is read when the last lane has come. */
template <bool transposed> void load_matrices(char *slot)
{
    const uint16_t *row[32];
    uint16_t matrix[4][8][8];
    memcpy(row, slot, sizeof row);
    for (int l = 0; l < 32; l++) give(matrix[l / 8][l % 8], row[l], 16);
    for (int l = 0; l < 32; l++)
        for (int m = 0; m < 4; m++) {
            const int i = l / 4, j = l % 4 * 2;
            const uint32_t low = transposed ? matrix[m][j][i] : matrix[m][i][j],
                           high = transposed ? matrix[m][j + 1][i] : matrix[m][i][j + 1];
            const uint32_t pair = low | high << 16;
            memcpy(slot + 16 * l + 4 * m, &pair, 4);
        }
}

} /* namespace */

void ldmatrix4(uint32_t r[4], bool transposed, const void *row)
{
    if ((uintptr_t)row % 16) give_up("ldmatrix from a row that is not aligned");
    __tsan_read16(const_cast<void *>(row));
    const char *slot = transposed ? step(&row, sizeof row, 0xffffffffu, "ldmatrix.trans", load_matrices<true>)
                                  : step(&row, sizeof row, 0xffffffffu, "ldmatrix", load_matrices<false>);
    give(r, slot + 16 * lane(), 16);
}

/* The copy is made as late as it may be; until then its target is NaN. */
void copy_async(void *to, const void *from, bool there)
{
    fibre *f = &fibres[self];
    if ((uintptr_t)to % 16 || (there && (uintptr_t)from % 16)) give_up("an asynchronous copy that is not aligned");
    if (f->copies == COPIES) give_up("too many asynchronous copies");
    f->on_the_way[f->copies++] = copy{to, from, f->groups, there};
    static const uint32_t nan[4] = {~0u, ~0u, ~0u, ~0u};
    __tsan_write16(to);
    give(to, nan, 16);
}
void copy_commit()
{
    fibres[self].groups++;
}
void copy_wait(int pending)
{
    fibre *f = &fibres[self];
    int kept = 0;
    for (int i = 0; i < f->copies; i++) {
        const copy c = f->on_the_way[i];
        static const uint32_t zero[4] = {};
        if (c.group >= f->groups - pending) {
            f->on_the_way[kept++] = c;
            continue;
        }
        if (c.there) __tsan_read16(const_cast<void *>(c.from));
        __tsan_write16(c.to);
        give(c.to, c.there ? c.from : zero, 16);
        ordinary_write(c.to);
    }
    f->copies = kept;
}

} /* namespace emu */
