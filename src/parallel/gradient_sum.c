/*
 * Buckets in order, from the vector's end: made on all ranks of the node -> summed over the node, each rank its share
 * -> over the nodes, each node its part of the share -> delivered into the vectors of the node. Read push() first.
 */
#include "parallel/gradient_sum.h"

#include <stdlib.h>
#include <string.h>

#include "parallel/parallel.h"
#include "parallel/tree.h"
#include "parallel/window.h"

enum {
    SLOTS = 4,       /* buckets between nodes at a time */
    LINE = 16,       /* floats of a cache line, which two ranks should not share */
    CHUNK = 1 << 14, /* floats that are summed and, still in the caches, delivered */
};
enum { MADE = 0, DELIVERED = 1 };     /* the window's counters: buckets so far, in all sums */
enum { TO_PARTS = 0, TO_OWNERS = 1 }; /* tags */

typedef struct {
    int64_t first, last;
    int owner; /* the rank that gets its sum, -1: all */
} bucket;

/* A bucket between the nodes. */
typedef struct {
    int requests;
    MPI_Request *request; /* [2 nodes] */
    float *received;      /* every node's values of this node's part */
} slot;

typedef struct {
    int64_t at, n;
} span;

struct vj_gradient_sum {
    vj_window window;
    float *x;                  /* this rank's vector */
    vj_gradient_sum_plan plan; /* its threads and sum */
    int count;
    bucket *bucket; /* [count] */
    const float **in;
    slot slot[SLOTS]; /* bucket k has slot k % SLOTS */
    int64_t before;   /* buckets of earlier sums */
    int made, summed, crossed, delivered;
};

/* Cut [0, n) from its end, at multiples of plan->bucket and where owners change. */
static void cut(vj_gradient_sum *r, const vj_gradient_sum_plan *plan, int ranks)
{
    int owner = plan->first ? ranks - 1 : -1;
    r->count = 0;
    for (int64_t last = plan->n; last > 0; r->count++) {
        int64_t first = (last - 1) / plan->bucket * plan->bucket;
        while (owner >= 0 && plan->first[owner] >= last) owner--;
        if (owner >= 0 && plan->first[owner] > first) first = plan->first[owner];
        if (r->bucket) r->bucket[r->count] = (bucket){first, last, owner};
        last = first;
    }
}

static vj_status allocate(vj_gradient_sum *r, const vj_gradient_sum_plan *plan, int ranks)
{
    const vj_window *w = &r->window;
    cut(r, plan, ranks);
    r->bucket = vj_calloc(r->count, sizeof *r->bucket);
    r->in = vj_calloc(w->node_size + w->nodes, sizeof *r->in);
    bool failed = !r->bucket || !r->in;
    for (int i = 0; i < SLOTS && w->nodes > 1; i++) {
        r->slot[i].request = vj_calloc(2 * w->nodes, sizeof *r->slot[i].request);
        r->slot[i].received = vj_calloc(plan->bucket / w->node_size + LINE + w->nodes, sizeof(float));
        failed = failed || !r->slot[i].request || !r->slot[i].received;
    }
    if (failed) return vj_raise(VJ_ERR_MEMORY, "no memory for sums over %d ranks", ranks);
    cut(r, plan, ranks);
    return VJ_OK;
}

vj_status vj_gradient_sum_open(vj_gradient_sum **reduction, MPI_Comm comm, const vj_gradient_sum_plan *plan)
{
    int ranks;
    vj_gradient_sum *r = *reduction = vj_calloc(1, sizeof *r);
    if (!r) return vj_raise(VJ_ERR_MEMORY, "no memory for a reduction");
    MPI_Comm_size(comm, &ranks);
    r->plan = *plan;
    VJ_TRY(vj_window_open(&r->window, comm, plan->n, plan->most));
    float **memory = &r->window.memory[r->window.node_rank];
    if (r->window.node_size == 1) *memory = plan->alone;
    r->x = *memory;
    return allocate(r, plan, ranks);
}

void vj_gradient_sum_close(vj_gradient_sum *r)
{
    if (!r) return;
    vj_window_close(&r->window);
    for (int i = 0; i < SLOTS; i++) {
        free(r->slot[i].request);
        free(r->slot[i].received);
    }
    free(r->bucket);
    free(r->in);
    free(r);
}

float *vj_gradient_sum_vector(const vj_gradient_sum *r)
{
    return r->x;
}

/* This rank's share of bucket k on its node; on all nodes the same. */
static span share_of(const vj_gradient_sum *r, int k)
{
    const bucket *b = &r->bucket[k];
    const int64_t n = b->last - b->first, each = (n + r->window.node_size - 1) / r->window.node_size;
    const int64_t step = (each + LINE - 1) / LINE * LINE, at = step * r->window.node_rank;
    return at >= n ? (span){b->last, 0} : (span){b->first + at, n - at < step ? n - at : step};
}

/* Of this rank's share what `node` sums over the nodes. */
static span part_of(const vj_gradient_sum *r, int k, int node)
{
    const span share = share_of(r, k);
    int64_t first, last;
    vj_split(share.n, r->window.nodes, node, &first, &last);
    return (span){share.at + first, last - first};
}

/* From this rank's vector into those of the node that get it. */
static void deliver(const vj_gradient_sum *r, int owner, span s)
{
    const vj_window *w = &r->window;
    for (int to = 0; to < w->node_size; to++)
        if (to != w->node_rank && (owner < 0 || owner == w->node_index * w->node_size + to))
            memcpy(w->memory[to] + s.at, r->x + s.at, (size_t)s.n * sizeof(float));
}

/* r->in, `count` arrays of n. */
static void sum_arrays(const vj_gradient_sum *r, float *out, int count, int64_t n)
{
    if (r->plan.sum)
        r->plan.sum(r->plan.user, out, r->in, count, n);
    else
        vj_tree_sum(out, r->in, count, n, r->plan.threads);
}

/* Sum this rank's share over the node; where that is all there is, deliver it. */
static void sum_node(vj_gradient_sum *r, int k)
{
    const vj_window *w = &r->window;
    const span share = share_of(r, k);
    for (int64_t done = 0; done < share.n; done += CHUNK) {
        const span s = {share.at + done, share.n - done < CHUNK ? share.n - done : CHUNK};
        for (int rank = 0; rank < w->node_size; rank++) r->in[rank] = w->memory[rank] + s.at;
        sum_arrays(r, r->x + s.at, w->node_size, s.n);
        if (w->nodes == 1) deliver(r, r->bucket[k].owner, s);
    }
}

static void send(vj_gradient_sum *r, int k, span s, int node, int tag)
{
    slot *at = &r->slot[k % SLOTS];
    MPI_Isend(r->x + s.at, (int)s.n, MPI_FLOAT, node, tag, r->window.across, &at->request[at->requests++]);
}

static void receive(vj_gradient_sum *r, int k, float *to, int64_t n, int node, int tag)
{
    slot *at = &r->slot[k % SLOTS];
    MPI_Irecv(to, (int)n, MPI_FLOAT, node, tag, r->window.across, &at->request[at->requests++]);
}

/* Begin: each node gets its part of this rank's share from all. */
static void scatter(vj_gradient_sum *r, int k)
{
    const vj_window *w = &r->window;
    const int64_t mine = part_of(r, k, w->node_index).n;
    for (int node = 0; node < w->nodes; node++) {
        if (node == w->node_index) continue;
        receive(r, k, r->slot[k % SLOTS].received + node * mine, mine, node, TO_PARTS);
        send(r, k, part_of(r, k, node), node, TO_PARTS);
    }
}

/* Sum this node's part, and begin to hand it to the nodes that get it. */
static void sum_across(vj_gradient_sum *r, int k)
{
    const vj_window *w = &r->window;
    const span mine = part_of(r, k, w->node_index);
    const int owner = r->bucket[k].owner, to = owner < 0 ? -1 : owner / w->node_size;
    for (int node = 0; node < w->nodes; node++)
        r->in[node] = node == w->node_index ? r->x + mine.at : r->slot[k % SLOTS].received + node * mine.n;
    sum_arrays(r, r->x + mine.at, w->nodes, mine.n);
    for (int node = 0; node < w->nodes; node++) {
        const span other = part_of(r, k, node);
        if (node == w->node_index) continue;
        if (to < 0 || to == w->node_index) receive(r, k, r->x + other.at, other.n, node, TO_OWNERS);
        if (to < 0 || to == node) send(r, k, mine, node, TO_OWNERS);
    }
}

static bool arrived(vj_gradient_sum *r, int k)
{
    slot *at = &r->slot[k % SLOTS];
    int all;
    MPI_Testall(at->requests, at->request, &all, MPI_STATUSES_IGNORE);
    if (all) at->requests = 0;
    return all;
}

/* Do what can be done without waiting. */
static void push(vj_gradient_sum *r)
{
    const vj_window *w = &r->window;
    const int64_t made = vj_window_least(w, MADE) - r->before;
    if (w->nodes == 1) {
        for (; r->summed < made; r->summed++) sum_node(r, r->summed);
        r->delivered = r->summed;
    } else {
        for (; r->summed < made && r->summed < r->delivered + SLOTS; r->summed++) {
            sum_node(r, r->summed);
            scatter(r, r->summed);
        }
        for (; r->crossed < r->summed && arrived(r, r->crossed); r->crossed++) sum_across(r, r->crossed);
        for (; r->delivered < r->crossed && arrived(r, r->delivered); r->delivered++)
            deliver(r, r->bucket[r->delivered].owner, share_of(r, r->delivered));
    }
    vj_window_tell(w, DELIVERED, r->before + r->delivered);
}

void vj_gradient_sum_made(vj_gradient_sum *r, int64_t offset)
{
    while (r->made < r->count && r->bucket[r->made].first >= offset) r->made++;
    vj_window_tell(&r->window, MADE, r->before + r->made);
    push(r);
}

void vj_gradient_sum_end(vj_gradient_sum *r)
{
    vj_gradient_sum_made(r, 0);
    while (r->delivered < r->count) {
        vj_window_idle(&r->window);
        push(r);
    }
    r->before += r->count;
    r->made = r->summed = r->crossed = r->delivered = 0;
    vj_window_wait(&r->window, DELIVERED, r->before); /* neighbours write into this rank's vector */
}
