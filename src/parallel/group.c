/*
 * Sums and gathers in rounds: of every rank's share a slice goes through the window, which stays in the caches. Read
 * pass() first.
 */
#include "parallel/group.h"

#include <stdlib.h>
#include <string.h>

#include "parallel/parallel.h"
#include "parallel/tree.h"
#include "parallel/window.h"

enum {
    /*
     * Floats through the window in a round: 1 MiB, which the second-level cache holds. From 256 KiB to 4 MiB all sum as
     * fast on a node within the noise of a tenth, less is up to a fifth slower (RESULTS.md); between nodes a larger
     * round makes larger messages.
     */
    ROUND = 1 << 18,
    LINE = 16 /* floats of a cache line, which two ranks should not share */
};
enum { SUM = 1, GATHER = 2 };

struct vj_group {
    vj_window window; /* two rounds of memory: one is read while the next is written */
    int size, threads;
    int64_t round; /* rounds so far */
    int64_t waits; /* times that ranks met so far */
    int64_t *even; /* [node_size + 1] a vector in equal shares */
    const float **in;
    int *sends, *sends_at, *receives, *receives_at; /* between nodes, [nodes] each */
    float *received;                                /* [ROUND + nodes] */
};

vj_status vj_group_open_within(vj_group **group, MPI_Comm comm, int most)
{
    vj_group *g = *group = vj_calloc(1, sizeof *g);
    if (!g) return vj_raise(VJ_ERR_MEMORY, "no memory for a group of ranks");
    g->threads = 1;
    MPI_Comm_size(comm, &g->size);
    vj_window *w = &g->window;
    VJ_TRY(vj_window_open(w, comm, g->size > 1 ? 2 * ROUND : 0, most));
    g->even = vj_calloc(w->node_size + 1, sizeof *g->even);
    g->in = vj_calloc(w->node_size + w->nodes, sizeof *g->in);
    g->sends = vj_calloc(4 * w->nodes, sizeof *g->sends);
    g->received = vj_calloc(w->nodes > 1 ? ROUND + w->nodes : 0, sizeof *g->received);
    if (!g->even || !g->in || !g->sends || !g->received)
        return vj_raise(VJ_ERR_MEMORY, "no memory for a group of %d ranks", g->size);
    g->sends_at = g->sends + w->nodes;
    g->receives = g->sends_at + w->nodes;
    g->receives_at = g->receives + w->nodes;
    return VJ_OK;
}

vj_status vj_group_open(vj_group **group, MPI_Comm comm)
{
    return vj_group_open_within(group, comm, 0);
}

void vj_group_close(vj_group *g)
{
    if (!g) return;
    vj_window_close(&g->window);
    free(g->even);
    free(g->in);
    free(g->sends);
    free(g->received);
    free(g);
}

void vj_group_set_threads(vj_group *g, int threads)
{
    g->threads = threads;
}

/* Wait until all ranks of the node are here. */
static void meet(vj_group *g)
{
    vj_window_tell(&g->window, 0, ++g->waits);
    vj_window_wait(&g->window, 0, g->waits);
}

/*
 * Sum x [n] over the nodes, to all or to the node `owner` alone: each node gets its part of x from all, sums it in the
 * tree's order and hands it on. Written out, since what order an MPI library sums in is its own affair.
 */
static void sum_across(vj_group *g, float *x, int64_t n, int owner)
{
    const vj_window *w = &g->window;
    if (w->nodes == 1) return;
    int64_t first, last;
    vj_split(n, w->nodes, w->node_index, &first, &last);
    const int mine = (int)(last - first);
    float *part = x + first;
    for (int node = 0; node < w->nodes; node++) {
        vj_split(n, w->nodes, node, &first, &last);
        g->sends[node] = (int)(last - first);
        g->sends_at[node] = (int)first;
        g->receives[node] = mine;
        g->receives_at[node] = node * mine;
        g->in[node] = g->received + node * mine;
    }
    MPI_Alltoallv(x, g->sends, g->sends_at, MPI_FLOAT, g->received, g->receives, g->receives_at, MPI_FLOAT, w->across);
    vj_tree_sum(part, g->in, w->nodes, mine, g->threads);
    if (owner < 0)
        MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_FLOAT, x, g->sends, g->sends_at, MPI_FLOAT, w->across);
    else if (owner == w->node_index)
        MPI_Gatherv(MPI_IN_PLACE, 0, MPI_FLOAT, x, g->sends, g->sends_at, MPI_FLOAT, owner, w->across);
    else
        MPI_Gatherv(part, mine, MPI_FLOAT, NULL, NULL, NULL, MPI_FLOAT, owner, w->across);
}

/* A round's slice of a share. */
typedef struct {
    int64_t at, n;
} slice;

static slice slice_of(const int64_t *first, int r, int64_t done, int64_t step)
{
    const int64_t left = first[r + 1] - first[r] - done;
    return (slice){first[r] + done, left < 0 ? 0 : left < step ? left : step};
}

static void copy(float *to, const float *from, int64_t n)
{
    memcpy(to, from, (size_t)n * sizeof *to);
}

/*
 * The ranks of a node own the shares [first[r], first[r + 1]) of x. SUM: into each share the sum over all ranks,
 * GATHER: every share to all ranks of the node. owner: the node that gets sums or has the shares, -1: all.
 *
 * Memory of one round is written again two rounds later, which nobody begins before all have met in between, and so
 * have read it.
 */
static void pass(vj_group *g, float *x, const int64_t *first, int what, int owner)
{
    const vj_window *w = &g->window;
    const int ranks = w->node_size, me = w->node_rank;
    const int64_t step = ROUND / ranks / LINE * LINE;
    int64_t longest = 0;
    for (int r = 0; r < ranks; r++)
        if (first[r + 1] - first[r] > longest) longest = first[r + 1] - first[r];

    for (int64_t done = 0; done < longest; done += step, g->round++) {
        const int64_t here = g->round % 2 * ROUND;
        const slice mine = slice_of(first, me, done, step);
        if (what & SUM) {
            for (int r = 0; r < ranks; r++) {
                const slice s = slice_of(first, r, done, step);
                if (r != me) copy(w->memory[me] + here + r * step, x + s.at, s.n);
                g->in[r] = r == me ? x + mine.at : w->memory[r] + here + me * step;
            }
            meet(g);
            vj_tree_sum(x + mine.at, g->in, ranks, mine.n, g->threads);
            sum_across(g, x + mine.at, mine.n, owner);
        } else if (w->nodes > 1) {
            MPI_Bcast(x + mine.at, (int)mine.n, MPI_FLOAT, owner, w->across);
        }
        if ((what & GATHER) && ranks > 1) {
            copy(w->memory[me] + here + me * step, x + mine.at, mine.n);
            meet(g);
            for (int r = 0; r < ranks; r++) {
                const slice s = slice_of(first, r, done, step);
                if (r != me) copy(x + s.at, w->memory[r] + here + r * step, s.n);
            }
        }
    }
}

void vj_group_allreduce(vj_group *g, float *x, int64_t n)
{
    if (g->size == 1) return;
    const int ranks = g->window.node_size;
    const int64_t each = (n + ranks - 1) / ranks, share = (each + LINE - 1) / LINE * LINE;
    for (int r = 0; r <= ranks; r++) g->even[r] = r * share < n ? r * share : n;
    pass(g, x, g->even, SUM | GATHER, -1);
}

void vj_group_reduce_scatter(vj_group *g, float *x, const int64_t *first)
{
    if (g->size == 1) return;
    for (int node = 0; node < g->window.nodes; node++) pass(g, x, first + node * g->window.node_size, SUM, node);
}

void vj_group_allgather(vj_group *g, float *x, const int64_t *first)
{
    if (g->size == 1) return;
    for (int node = 0; node < g->window.nodes; node++) pass(g, x, first + node * g->window.node_size, GATHER, node);
}
