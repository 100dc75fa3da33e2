/*
 * Buckets are processed in order, from the end of the vector. Each bucket is finished by all ranks of the node, then
 * summed over the node, where each rank sums its share; then summed over the nodes by the speakers (window.h), where
 * each node sums its part of a speaker's share; then copied into the vectors of the node's ranks. Read push() first.
 */
#include "parallel/gradient_sum.h"

#include <stdlib.h>
#include <string.h>

#include "parallel/parallel.h"
#include "parallel/traffic.h"
#include "parallel/tree.h"
#include "parallel/window.h"

enum {
    SLOTS = 4,       /* buckets between nodes at a time */
    LINE = 16,       /* floats of a cache line, which two ranks should not share */
    CHUNK = 1 << 14, /* floats that are summed and, still in the caches, delivered */
};
enum { MADE, SUMMED, DELIVERED };     /* the window's counters: buckets so far, in all sums */
enum { TO_PARTS = 0, TO_OWNERS = 1 }; /* tags */

typedef struct {
    int64_t first, last;
    int owner; /* the rank that gets its sum, -1: all */
} bucket;

/* A bucket between the nodes. */
typedef struct {
    int requests;
    MPI_Request *request; /* as many as there can be */
    float *received;      /* all partial sums of this node's part */
} slot;

typedef struct {
    int64_t at, n;
} span;

struct vj_gradient_sum {
    vj_window window;
    float *x;                  /* this rank's vector */
    vj_gradient_sum_plan plan; /* its threads and sum */
    int count;
    bucket *bucket;   /* [count] */
    const float **in; /* [node_size] */
    float **partial;  /* [partial sums] */
    slot slot[SLOTS]; /* bucket k has slot k % SLOTS */
    int64_t before;   /* buckets of earlier sums */
    int made, summed, sent, crossed, delivered;
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

/* Does this rank exchange sums with other nodes? */
static bool is_speaker(const vj_gradient_sum *r)
{
    return r->window.node_rank < r->window.speakers;
}

static vj_status allocate(vj_gradient_sum *r, const vj_gradient_sum_plan *plan, int ranks)
{
    const vj_window *w = &r->window;
    cut(r, plan, ranks);
    r->bucket = vj_calloc(r->count, sizeof *r->bucket);
    r->in = vj_calloc(w->node_size, sizeof *r->in);
    r->partial = vj_calloc(w->partials.count, sizeof *r->partial);
    bool failed = !r->bucket || !r->in || !r->partial;
    const int64_t part = (plan->bucket / w->speakers + LINE) / w->nodes + 1;
    const int64_t requests = w->partials.count + (int64_t)w->own * w->nodes + 2 * (int64_t)w->nodes;
    for (int i = 0; i < SLOTS && is_speaker(r) && w->nodes > 1; i++) {
        r->slot[i].request = vj_calloc(requests, sizeof *r->slot[i].request);
        r->slot[i].received = vj_calloc(w->partials.count * part, sizeof(float));
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
    VJ_TRY(vj_window_open(&r->window, comm, plan->n, plan->node));
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
    free(r->partial);
    free(r);
}

float *vj_gradient_sum_vector(const vj_gradient_sum *r)
{
    return r->x;
}

const char *vj_gradient_sum_way(const vj_gradient_sum *r)
{
    return vj_window_way(&r->window);
}

/* This rank's share of bucket k among `sharers`, the first ranks of its node. */
static span share_of(const vj_gradient_sum *r, int k, int sharers)
{
    const bucket *b = &r->bucket[k];
    const int64_t n = b->last - b->first, each = (n + sharers - 1) / sharers;
    const int64_t step = (each + LINE - 1) / LINE * LINE, at = step * r->window.node_rank;
    return at >= n ? (span){b->last, 0} : (span){b->first + at, n - at < step ? n - at : step};
}

/* What it sums over its node. */
static span node_share(const vj_gradient_sum *r, int k)
{
    return share_of(r, k, r->window.node_size);
}

/* What a speaker exchanges with other nodes; where all are speakers, what it summed itself. */
static span speaker_share(const vj_gradient_sum *r, int k)
{
    return share_of(r, k, r->window.speakers);
}

/* Of a speaker's share what `node` sums over the nodes. */
static span part_of(const vj_gradient_sum *r, int k, int node)
{
    const span share = speaker_share(r, k);
    int64_t first, last;
    vj_split(share.n, r->window.nodes, node, &first, &last);
    return (span){share.at + first, last - first};
}

/* From this rank's vector into those of the node that get it. */
static void deliver(const vj_gradient_sum *r, int owner, span s)
{
    const vj_window *w = &r->window;
    for (int to = 0; to < w->node_size; to++)
        if (to != w->node_rank && (owner < 0 || (w->rank[owner].node == w->node_index && w->rank[owner].local == to)))
            memcpy(w->memory[to] + s.at, r->x + s.at, (size_t)s.n * sizeof(float));
}

static void sum_arrays(void *reduction, float *out, const float *const *in, int count, int64_t n)
{
    vj_gradient_sum *r = reduction;
    if (r->plan.sum)
        r->plan.sum(r->plan.user, out, in, count, n);
    else
        vj_tree_sum(out, in, count, n, r->plan.threads);
}

/*
 * The vector of the node that takes a partial sum: of a rank whose values are in it, so that nothing is overwritten
 * that is still a term. Where all are speakers a rank sends what it summed itself, and uses its own vector if it can.
 */
static float *home(const vj_gradient_sum *r, const vj_partial *p)
{
    const vj_window *w = &r->window;
    const bool own = w->speakers == w->node_size && w->node_rank >= p->local && w->node_rank < p->local + p->count;
    return w->memory[own ? w->node_rank : p->local];
}

/* Sum this rank's share over the node; where that is all there is, deliver it. */
static void sum_node(vj_gradient_sum *r, int k)
{
    const vj_window *w = &r->window;
    const span share = node_share(r, k);
    for (int64_t done = 0; done < share.n; done += CHUNK) {
        const span s = {share.at + done, share.n - done < CHUNK ? share.n - done : CHUNK};
        for (int rank = 0; rank < w->node_size; rank++) r->in[rank] = w->memory[rank] + s.at;
        for (int i = 0; i < w->partials.count; i++) {
            const vj_partial *p = &w->partials.item[i];
            if (p->node == w->node_index) sum_arrays(r, home(r, p) + s.at, r->in + p->local, p->count, s.n);
        }
        if (w->nodes == 1) deliver(r, r->bucket[k].owner, s);
    }
}

static void send(vj_gradient_sum *r, int k, const float *from, int64_t n, int node, int tag)
{
    slot *at = &r->slot[k % SLOTS];
    MPI_Isend(from, (int)n, MPI_FLOAT, node, tag, r->window.across, &at->request[at->requests++]);
}

static void receive(vj_gradient_sum *r, int k, float *to, int64_t n, int node, int tag)
{
    slot *at = &r->slot[k % SLOTS];
    MPI_Irecv(to, (int)n, MPI_FLOAT, node, tag, r->window.across, &at->request[at->requests++]);
}

/* Where partial sum i of this node's part is or will be. */
static float *place_of(const vj_gradient_sum *r, int k, int i)
{
    const vj_partial *p = &r->window.partials.item[i];
    const span mine = part_of(r, k, r->window.node_index);
    return p->node == r->window.node_index ? home(r, p) + mine.at : r->slot[k % SLOTS].received + i * mine.n;
}

/* Begin: each node gets its part of this speaker's share from all. */
static void scatter(vj_gradient_sum *r, int k)
{
    const vj_window *w = &r->window;
    const int64_t mine = part_of(r, k, w->node_index).n;
    for (int i = 0; i < w->partials.count; i++) {
        const vj_partial *p = &w->partials.item[i];
        if (p->node != w->node_index) receive(r, k, place_of(r, k, i), mine, p->node, TO_PARTS);
        for (int node = 0; node < w->nodes && p->node == w->node_index; node++) {
            const span part = part_of(r, k, node);
            if (node != w->node_index) send(r, k, home(r, p) + part.at, part.n, node, TO_PARTS);
        }
    }
}

/* Sum this node's part, and begin to hand it to the nodes that get it. */
static void sum_across(vj_gradient_sum *r, int k)
{
    const vj_window *w = &r->window;
    const span mine = part_of(r, k, w->node_index);
    const int owner = r->bucket[k].owner, to = owner < 0 ? -1 : w->rank[owner].node;
    for (int i = 0; i < w->partials.count; i++) r->partial[i] = place_of(r, k, i);
    vj_partials_sum(&w->partials, r->x + mine.at, r->partial, mine.n, sum_arrays, r);
    for (int node = 0; node < w->nodes; node++) {
        const span other = part_of(r, k, node);
        if (node == w->node_index) continue;
        if (to < 0 || to == w->node_index) receive(r, k, r->x + other.at, other.n, node, TO_OWNERS);
        if (to < 0 || to == node) send(r, k, r->x + mine.at, mine.n, node, TO_OWNERS);
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

/* How many buckets have sums of the node that this speaker may send: its own, or its neighbours', too. */
static int ready_to_send(const vj_gradient_sum *r)
{
    const vj_window *w = &r->window;
    return w->speakers == w->node_size ? r->summed : (int)(vj_window_least(w, SUMMED) - r->before);
}

/* Between nodes, as a speaker. */
static void push_across(vj_gradient_sum *r)
{
    const int ready = ready_to_send(r);
    for (; r->sent < ready && r->sent < r->delivered + SLOTS; r->sent++) scatter(r, r->sent);
    for (; r->crossed < r->sent && arrived(r, r->crossed); r->crossed++) sum_across(r, r->crossed);
    for (; r->delivered < r->crossed && arrived(r, r->delivered); r->delivered++)
        deliver(r, r->bucket[r->delivered].owner, speaker_share(r, r->delivered));
}

/* Do what can be done without waiting. */
static void push(vj_gradient_sum *r)
{
    const vj_window *w = &r->window;
    const int64_t made = vj_window_least(w, MADE) - r->before;
    for (; r->summed < made; r->summed++) sum_node(r, r->summed);
    vj_window_tell(w, SUMMED, r->before + r->summed);
    if (w->nodes > 1 && is_speaker(r))
        push_across(r);
    else
        r->delivered = r->summed;
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
    r->made = r->summed = r->sent = r->crossed = r->delivered = 0;
    vj_window_wait(&r->window, DELIVERED, r->before); /* neighbours write into this rank's vector */
}

/* ------------------------------------------------------------------------------------------------ counting */

/* What this rank sends for bucket k: scatter() and sum_across(). */
static void count_bucket(const vj_gradient_sum *r, int k, vj_traffic *traffic)
{
    const vj_window *w = &r->window;
    const int owner = r->bucket[k].owner, to = owner < 0 ? -1 : w->rank[owner].node;
    const int64_t mine = part_of(r, k, w->node_index).n;
    int own = 0;
    for (int i = 0; i < w->partials.count; i++) own += w->partials.item[i].node == w->node_index;
    for (int node = 0; node < w->nodes; node++) {
        if (node == w->node_index) continue;
        const int sums = to < 0 || to == node;
        traffic->messages += own + sums;
        traffic->bytes += (own * part_of(r, k, node).n + sums * mine) * (int64_t)sizeof(float);
    }
}

vj_status vj_gradient_sum_count(vj_traffic *traffic, const vj_gradient_sum_plan *plan, const int *first_rank, int ranks)
{
    vj_gradient_sum r = {.window = {.node = MPI_COMM_NULL, .across = MPI_COMM_NULL}};
    vj_window *w = &r.window;
    vj_window_number(w, first_rank, ranks);
    cut(&r, plan, ranks);
    r.bucket = vj_calloc(r.count, sizeof *r.bucket);
    if (r.bucket) cut(&r, plan, ranks);
    for (w->node_index = 0; w->node_index < w->nodes && w->nodes > 1 && r.bucket; w->node_index++)
        for (w->node_rank = 0; w->node_rank < w->speakers; w->node_rank++)
            for (int k = 0; k < r.count; k++) count_bucket(&r, k, traffic);
    const bool failed = !r.bucket;
    free(r.bucket);
    vj_window_close(w);
    return failed ? vj_raise(VJ_ERR_MEMORY, "no memory to count sums over %d ranks", ranks) : VJ_OK;
}
