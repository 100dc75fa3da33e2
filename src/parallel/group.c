/*
 * Sums and gathers in rounds: in each round one slice of every owner's share passes through the shared-memory window,
 * which is small enough to stay in the caches. Between nodes many rounds' slices go at once, as a block: a block of
 * which each node sums its part makes messages of block / nodes floats, which must not become too small. Read pass()
 * first.
 */
#include "parallel/group.h"

#include <stdlib.h>
#include <string.h>

#include "base/tree_sum.h"
#include "parallel/parallel.h"
#include "parallel/traffic.h"
#include "parallel/window.h"

enum {
    /*
     * Floats that pass through the window in a round: 1 MiB, which fits the second-level cache. From 256 KiB to 4 MiB
     * the rate on a node is the same within a tenth; smaller rounds are up to a fifth slower (RESULTS.md).
     */
    ROUND = 1 << 18,
    BLOCK = 1 << 20, /* floats of a speaker's share that are exchanged between nodes at a time: 4 MiB, so messages of 32
                        KiB on 128 nodes */
    LINE = 16        /* floats of a cache line, which two ranks should not share */
};
enum { SUM = 1, ACROSS = 2, GATHER = 4 };

struct vj_group {
    vj_window window; /* two rounds of memory: one is read while the next is written */
    int size, threads;
    int64_t round; /* rounds so far that used this memory */
    int64_t waits; /* number of barriers so far */
    int64_t *cut;  /* [node_size + 1] borders of the shares of a vector, or of a stretch of it */
    const float **in;
    float **sum; /* [own] this node's partial sums of a block: one in the caller's vector, the others in memory */
    float *memory;
    float **partial;                                /* [partial sums] of this node's part of a block, from all nodes */
    int *sends, *sends_at, *receives, *receives_at; /* between nodes, [nodes] each */
    float *received;
};

/* The number of floats of a rank's slice in a round. */
static int64_t slice_floats(int owners)
{
    return ROUND / owners / LINE * LINE;
}

vj_status vj_group_open(vj_group **group, MPI_Comm comm, int node)
{
    vj_group *g = *group = vj_calloc(1, sizeof *g);
    if (!g) return vj_raise(VJ_ERR_MEMORY, "no memory for a group of ranks");
    g->threads = 1;
    MPI_Comm_size(comm, &g->size);
    vj_window *w = &g->window;
    VJ_TRY(vj_window_open(w, comm, g->size > 1 ? 2 * ROUND : 0, node));
    const int64_t part = BLOCK / w->nodes + 1;
    g->cut = vj_calloc(w->node_size + 1, sizeof *g->cut);
    g->in = vj_calloc(w->node_size, sizeof *g->in);
    g->sum = vj_calloc(w->own, sizeof *g->sum);
    g->memory = vj_calloc((w->own - 1) * (int64_t)BLOCK, sizeof *g->memory);
    g->partial = vj_calloc(w->partials.count, sizeof *g->partial);
    g->sends = vj_calloc(4 * w->nodes, sizeof *g->sends);
    g->received = vj_calloc(w->nodes > 1 ? w->partials.count * part : 0, sizeof *g->received);
    if (!g->cut || !g->in || !g->sum || !g->memory || !g->partial || !g->sends || !g->received)
        return vj_raise(VJ_ERR_MEMORY, "no memory for a group of %d ranks", g->size);
    g->sends_at = g->sends + w->nodes;
    g->receives = g->sends_at + w->nodes;
    g->receives_at = g->receives + w->nodes;
    return VJ_OK;
}

void vj_group_close(vj_group *g)
{
    if (!g) return;
    vj_window_close(&g->window);
    free(g->cut);
    free(g->in);
    free(g->sum);
    free(g->memory);
    free(g->partial);
    free(g->sends);
    free(g->received);
    free(g);
}

const char *vj_group_way(const vj_group *g)
{
    return vj_window_way(&g->window);
}

void vj_group_set_threads(vj_group *g, int threads)
{
    g->threads = threads;
}

/* Barrier of the node's ranks. */
static void meet(vj_group *g)
{
    vj_window_set(&g->window, 0, ++g->waits);
    vj_window_wait(&g->window, 0, g->waits);
}

static void add_arrays(void *group, float *out, const float *const *in, int count, int64_t n)
{
    vj_tree_sum(out, in, count, n, ((vj_group *)group)->threads);
}

/*
 * Send each node its part of partial sum number `turn`, x [n], and receive this node's part from all nodes that have a
 * partial sum of that number.
 */
static void exchange(vj_group *g, int64_t n, int turn)
{
    const vj_window *w = &g->window;
    int64_t first, last;
    vj_split(n, w->nodes, w->node_index, &first, &last);
    const int mine = (int)(last - first);
    for (int node = 0; node < w->nodes; node++) {
        vj_split(n, w->nodes, node, &first, &last);
        g->sends[node] = turn < w->own ? (int)(last - first) : 0;
        g->sends_at[node] = (int)first;
        g->receives[node] = g->receives_at[node] = 0;
    }
    for (int i = 0; i < w->partials.count; i++) {
        const vj_partial *p = &w->partials.item[i];
        if (p->turn != turn) continue;
        g->receives[p->node] = mine;
        g->receives_at[p->node] = i * mine;
        g->partial[i] = g->received + (int64_t)i * mine;
    }
    MPI_Alltoallv(turn < w->own ? g->sum[turn] : NULL, g->sends, g->sends_at, MPI_FLOAT, g->received, g->receives,
                  g->receives_at, MPI_FLOAT, w->across);
}

/*
 * Sum the partial sums g->sum, [n] each, over the nodes into x, on all nodes or on `owner` alone: each node gets its
 * part of all partial sums, sums it and sends the sum on. MPI_Reduce is not used because the order of its additions is
 * not specified. Called by speakers.
 */
static void sum_across(vj_group *g, float *x, int64_t n, int owner)
{
    const vj_window *w = &g->window;
    int64_t first, last;
    for (int turn = 0; turn < w->partials.per_node; turn++) exchange(g, n, turn);
    vj_split(n, w->nodes, w->node_index, &first, &last);
    const int mine = (int)(last - first);
    float *part = x + first;
    vj_partials_sum(&w->partials, part, g->partial, mine, add_arrays, g);
    for (int node = 0; node < w->nodes; node++) {
        vj_split(n, w->nodes, node, &first, &last);
        g->receives[node] = (int)(last - first);
        g->receives_at[node] = (int)first;
    }
    if (owner < 0)
        MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_FLOAT, x, g->receives, g->receives_at, MPI_FLOAT, w->across);
    else if (owner == w->node_index)
        MPI_Gatherv(MPI_IN_PLACE, 0, MPI_FLOAT, x, g->receives, g->receives_at, MPI_FLOAT, owner, w->across);
    else
        MPI_Gatherv(part, mine, MPI_FLOAT, NULL, NULL, NULL, MPI_FLOAT, owner, w->across);
}

/* A round's or a block's slice of a share. */
typedef struct {
    int64_t at, n;
} slice;

static slice slice_of(const int64_t *first, int r, int64_t done, int64_t step)
{
    const int64_t left = first[r + 1] - first[r] - done;
    return (slice){first[r] + done, left < 0 ? 0 : left < step ? left : step};
}

static int64_t longest_share(const int64_t *first, int owners)
{
    int64_t longest = 0;
    for (int r = 0; r < owners; r++)
        if (first[r + 1] - first[r] > longest) longest = first[r + 1] - first[r];
    return longest;
}

/*
 * The number of floats of a share that pass() handles at a time: one round's slice, or many rounds' slices if other
 * nodes take part.
 */
static int64_t block_floats(const vj_group *g, int owners, int what)
{
    const int64_t step = slice_floats(owners);
    return g->window.nodes > 1 && (what & ACROSS) ? BLOCK / step * step : step;
}

static void copy(float *to, const float *from, int64_t n)
{
    memcpy(to, from, (size_t)n * sizeof *to);
}

/* Return whether this rank has a term of partial sum p, so that its own vector may take the sum. */
static bool has_term(const vj_window *w, const vj_partial *p)
{
    return w->node_rank >= p->local && w->node_rank < p->local + p->count;
}

/* Choose where this node's partial sums of the block that this rank owns at x are written. */
static void place_sums(vj_group *g, float *x)
{
    const vj_window *w = &g->window;
    float *room = g->memory;
    for (int i = 0; i < w->partials.count; i++) {
        const vj_partial *p = &w->partials.item[i];
        if (p->node != w->node_index) continue;
        g->sum[p->turn] = has_term(w, p) ? x : room;
        if (!has_term(w, p)) room += BLOCK;
    }
}

/*
 * The window's memory for a round. It is written again two rounds later; the barrier in between makes sure that all
 * ranks have read it.
 */
static int64_t begin_round(vj_group *g)
{
    return g->round++ % 2 * ROUND;
}

/* Sum the slices at `done` of the owners' shares: each owner writes the node's partial sums to g->sum + `at`. */
static void sum_round(vj_group *g, float *x, const int64_t *first, int owners, int64_t done, int64_t at)
{
    const vj_window *w = &g->window;
    const int me = w->node_rank;
    const int64_t step = slice_floats(owners), here = begin_round(g);
    for (int r = 0; r < owners; r++) {
        const slice s = slice_of(first, r, done, step);
        if (r != me) copy(w->memory[me] + here + r * step, x + s.at, s.n);
    }
    meet(g);
    if (me >= owners) return;
    const slice mine = slice_of(first, me, done, step);
    for (int r = 0; r < w->node_size; r++) g->in[r] = r == me ? x + mine.at : w->memory[r] + here + me * step;
    for (int i = 0; i < w->partials.count; i++) {
        const vj_partial *p = &w->partials.item[i];
        if (p->node == w->node_index) vj_tree_sum(g->sum[p->turn] + at, g->in + p->local, p->count, mine.n, g->threads);
    }
}

/* Copy the slices at `done` of the owners' shares to all ranks of the node. */
static void gather_round(vj_group *g, float *x, const int64_t *first, int owners, int64_t done)
{
    const vj_window *w = &g->window;
    const int me = w->node_rank;
    const int64_t here = begin_round(g);
    if (me < owners) {
        const slice mine = slice_of(first, me, done, slice_floats(owners));
        copy(w->memory[me] + here, x + mine.at, mine.n);
    }
    meet(g);
    for (int r = 0; r < owners; r++) {
        const slice s = slice_of(first, r, done, slice_floats(owners));
        if (r != me) copy(x + s.at, w->memory[r] + here, s.n);
    }
}

/*
 * The first `owners` ranks of a node own the shares [first[r], first[r + 1]) of x. SUM: into each share the node's
 * sums, with ACROSS those of all nodes. ACROSS alone: each share from the node that has it. GATHER: every share to all
 * ranks of the node. owner: the node that gets sums or has the shares, -1: all.
 */
static void pass(vj_group *g, float *x, const int64_t *first, int owners, int what, int owner)
{
    const vj_window *w = &g->window;
    const int me = w->node_rank;
    const int64_t step = slice_floats(owners), block = block_floats(g, owners, what);
    const int64_t longest = longest_share(first, owners);
    for (int64_t done = 0; done < longest; done += block) {
        const int64_t end = longest - done < block ? longest : done + block;
        const slice mine = me < owners ? slice_of(first, me, done, block) : (slice){0, 0};
        const bool across = (what & ACROSS) && w->nodes > 1 && me < owners;
        if (what & SUM) {
            place_sums(g, x + mine.at);
            for (int64_t at = done; at < end; at += step) sum_round(g, x, first, owners, at, at - done);
        }
        if (across && (what & SUM))
            sum_across(g, x + mine.at, mine.n, owner);
        else if (across)
            MPI_Bcast(x + mine.at, (int)mine.n, MPI_FLOAT, owner, w->across);
        for (int64_t at = done; at < end && (what & GATHER) && w->node_size > 1; at += step)
            gather_round(g, x, first, owners, at);
    }
}

/* Divide [first, last) into a share for each of `owners` ranks, with borders on cache lines. */
static void cut_evenly(vj_group *g, int64_t first, int64_t last, int owners)
{
    const int64_t each = (last - first + owners - 1) / owners, share = (each + LINE - 1) / LINE * LINE;
    for (int r = 0; r <= owners; r++) g->cut[r] = first + r * share < last ? first + r * share : last;
}

/*
 * Return whether all nodes have equally many ranks, and this node has one partial sum, over all its ranks. Then each
 * rank is a speaker.
 */
static bool is_whole_node(const vj_group *g, const vj_partial *p)
{
    return g->window.speakers == g->window.largest && p->count == g->window.speakers;
}

void vj_group_allreduce(vj_group *g, float *x, int64_t n)
{
    if (g->size == 1) return;
    cut_evenly(g, 0, n, g->window.speakers);
    pass(g, x, g->cut, g->window.speakers, SUM | ACROSS | GATHER, -1);
}

/* Goes through x in stretches that belong to neighbouring ranks of one node. */
void vj_group_reduce_scatter(vj_group *g, float *x, const int64_t *first)
{
    const vj_window *w = &g->window;
    for (int i = 0; i < w->partials.count && g->size > 1; i++) {
        const vj_partial *p = &w->partials.item[i];
        const int gather = p->node == w->node_index ? GATHER : 0;
        if (is_whole_node(g, p)) {
            pass(g, x, first + p->first, w->speakers, SUM | ACROSS, p->node);
            continue;
        }
        cut_evenly(g, first[p->first], first[p->first + p->count], w->speakers);
        pass(g, x, g->cut, w->speakers, SUM | ACROSS | gather, p->node);
    }
}

/* The ranks of partial sum `p` copy their shares to all ranks of this node. */
static void gather_here(vj_group *g, float *x, const int64_t *first, const vj_partial *p)
{
    const int ranks = g->window.node_size;
    for (int r = 0; r <= ranks; r++) {
        const int of = r < p->local ? 0 : r > p->local + p->count ? p->count : r - p->local;
        g->cut[r] = first[p->first + of];
    }
    pass(g, x, g->cut, ranks, GATHER, p->node);
}

void vj_group_allgather(vj_group *g, float *x, const int64_t *first)
{
    const vj_window *w = &g->window;
    for (int i = 0; i < w->partials.count && g->size > 1; i++) {
        const vj_partial *p = &w->partials.item[i];
        const bool here = p->node == w->node_index;
        if (is_whole_node(g, p)) {
            pass(g, x, first + p->first, w->speakers, ACROSS | GATHER, p->node);
            continue;
        }
        if (here) gather_here(g, x, first, p);
        cut_evenly(g, first[p->first], first[p->first + p->count], w->speakers);
        pass(g, x, g->cut, w->speakers, here ? ACROSS : ACROSS | GATHER, p->node);
    }
}

/* ------------------------------------------------------------------------------------------------ counting */

/* sum_across() by all speakers `me`, each of whose slices has n floats. */
static void count_sum_across(const vj_group *g, int64_t n, int owner, vj_traffic *traffic)
{
    const vj_window *w = &g->window;
    const int64_t word = (int64_t)sizeof(float);
    traffic->messages += (int64_t)w->nodes * (w->partials.per_node + 1);
    for (int node = 0; node < w->nodes; node++) {
        int64_t first, last, own = 0;
        vj_split(n, w->nodes, node, &first, &last);
        for (int i = 0; i < w->partials.count; i++) own += w->partials.item[i].node == node;
        traffic->bytes += own * (n - (last - first)) * word;
        if (owner != node) traffic->bytes += (last - first) * word;
    }
}

/* Count what pass() sends between nodes. */
static void count_pass(const vj_group *g, const int64_t *first, int owners, int what, int owner, vj_traffic *traffic)
{
    const vj_window *w = &g->window;
    const int64_t block = block_floats(g, owners, what), longest = longest_share(first, owners);
    for (int64_t done = 0; done < longest; done += block)
        for (int me = 0; me < owners; me++) {
            const int64_t n = slice_of(first, me, done, block).n;
            if (what & SUM) {
                count_sum_across(g, n, owner, traffic);
                continue;
            }
            traffic->messages += w->nodes;
            traffic->bytes += n * (int64_t)sizeof(float);
        }
}

vj_status vj_group_count(vj_traffic *traffic, vj_group_call call, const int64_t *first, const int *first_rank,
                         int ranks)
{
    vj_group g = {.window = {.node = MPI_COMM_NULL, .across = MPI_COMM_NULL}};
    const int what = call == VJ_COUNT_ALLGATHER ? ACROSS : SUM | ACROSS;
    vj_window *w = &g.window;
    vj_window_number(w, first_rank, ranks);
    g.cut = vj_calloc(w->largest + 1, sizeof *g.cut);
    if (call == VJ_COUNT_ALLREDUCE && w->nodes > 1 && g.cut) {
        cut_evenly(&g, first[0], first[ranks], w->speakers);
        count_pass(&g, g.cut, w->speakers, what, -1, traffic);
    }
    for (int i = 0; i < w->partials.count && call != VJ_COUNT_ALLREDUCE && w->nodes > 1 && g.cut; i++) {
        const vj_partial *p = &w->partials.item[i];
        if (is_whole_node(&g, p)) {
            count_pass(&g, first + p->first, w->speakers, what, p->node, traffic);
            continue;
        }
        cut_evenly(&g, first[p->first], first[p->first + p->count], w->speakers);
        count_pass(&g, g.cut, w->speakers, what, p->node, traffic);
    }
    const bool failed = !g.cut;
    free(g.cut);
    vj_window_close(w);
    return failed ? vj_raise(VJ_ERR_MEMORY, "no memory to count sums over %d ranks", ranks) : VJ_OK;
}
