/*
 * Buckets are processed in order, from the end of the vector. Each bucket is finished by all ranks of the node, then
 * summed over the node, where each rank sums its share; then summed over the nodes by the speakers (window.h), where
 * each node sums its part of a speaker's share; then copied into the vectors of the node's ranks. Read push() first.
 *
 * The vectors may be memory of devices (vj_sum_device). Then sums and copies are only asked for here, and a step that
 * needs their results, a message, is taken when the device says that they are there. Nothing here waits for a device.
 */
#include "parallel/gradient_sum.h"

#include <stdlib.h>
#include <string.h>

#include "parallel/parallel.h"
#include "parallel/traffic.h"
#include "parallel/tree.h"
#include "parallel/window.h"

enum {
    LINE = 16,       /* floats of a cache line, which two ranks should not share */
    CHUNK = 1 << 14, /* floats that are summed and, still in the caches, delivered */
};
enum { TO_PARTS = 0, TO_OWNERS = 1 }; /* tags */

typedef struct {
    int64_t first, last;
    int owner; /* the rank that gets its sum, -1: all */
} bucket;

/* A bucket between the nodes. With a device that MPI cannot read or write, messages go through memory of the host. */
typedef struct {
    int requests;
    MPI_Request *request; /* as many as there can be */
    float *received;      /* all partial sums of this node's part; owned if there is no device */
    float *arrivals;      /* of the host, before they are copied to `received`; or `received` itself */
    float *mirror;        /* of the host, [own][share]: this speaker's share of this node's partial sums; or NULL */
} slot;

typedef struct {
    int64_t at, n;
} span;

struct vj_gradient_sum {
    vj_window window;
    float *x;                  /* this rank's vector */
    float *const *vectors;     /* [node_size] of the node's ranks */
    vj_gradient_sum_plan plan; /* its threads, sum and device */
    int count;
    bucket *bucket;          /* [count] */
    const float **in;        /* [node_size] */
    float **partial;         /* [partial sums] */
    slot slot[VJ_SUM_SLOTS]; /* bucket k has slot k % VJ_SUM_SLOTS */
    int64_t share;           /* floats of the largest share of a speaker */
    int64_t before;          /* buckets of earlier sums */
    int made, summed, delivered;
    int begun, sent, crossed, handed; /* between nodes, in this order */
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

static vj_status allocate_slot(vj_gradient_sum *r, slot *s, int64_t part)
{
    const vj_window *w = &r->window;
    const vj_sum_device *device = r->plan.device;
    const int64_t requests = w->partials.count + (int64_t)w->own * w->nodes + 2 * (int64_t)w->nodes;
    const int64_t arriving = w->partials.count * part;
    s->request = vj_calloc(requests, sizeof *s->request);
    s->received = s->arrivals =
        device ? device->alloc(r->plan.user, arriving, false) : vj_calloc(arriving, sizeof(float));
    if (device && device->to_host) {
        s->arrivals = device->alloc(r->plan.user, arriving, true);
        s->mirror = device->alloc(r->plan.user, w->own * r->share, true);
        if (!s->mirror) return VJ_ERR_MEMORY; /* reported by the device */
    }
    return s->request && s->received && s->arrivals
               ? VJ_OK
               : vj_raise(VJ_ERR_MEMORY, "no memory for messages between %d nodes", w->nodes);
}

static vj_status allocate(vj_gradient_sum *r, const vj_gradient_sum_plan *plan, int ranks)
{
    const vj_window *w = &r->window;
    cut(r, plan, ranks);
    r->bucket = vj_calloc(r->count, sizeof *r->bucket);
    r->in = vj_calloc(w->node_size, sizeof *r->in);
    r->partial = vj_calloc(w->partials.count, sizeof *r->partial);
    if (!r->bucket || !r->in || !r->partial) return vj_raise(VJ_ERR_MEMORY, "no memory for sums over %d ranks", ranks);
    r->share = plan->bucket / w->speakers + LINE;
    for (int i = 0; i < VJ_SUM_SLOTS && is_speaker(r) && w->nodes > 1; i++)
        VJ_TRY(allocate_slot(r, &r->slot[i], r->share / w->nodes + 1));
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
    VJ_TRY(vj_window_open(&r->window, comm, plan->device ? 1 : plan->n, plan->node));
    if (r->window.node_size == 1) r->window.memory[0] = plan->alone;
    r->vectors = plan->device ? plan->device->vectors : r->window.memory;
    r->x = r->vectors[r->window.node_rank];
    return allocate(r, plan, ranks);
}

void vj_gradient_sum_close(vj_gradient_sum *r)
{
    if (!r) return;
    vj_window_close(&r->window);
    for (int i = 0; i < VJ_SUM_SLOTS; i++) {
        free(r->slot[i].request);
        if (!r->plan.device) free(r->slot[i].received);
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

/* From this rank's vector into those of the node that get it; not from all ranks to the same one at once. */
static void deliver(const vj_gradient_sum *r, int owner, span s)
{
    const vj_window *w = &r->window;
    const int64_t bytes = s.n * (int64_t)sizeof(float);
    for (int i = 1; i < w->node_size; i++) {
        const int to = (w->node_rank + i) % w->node_size;
        if (owner >= 0 && (w->rank[owner].node != w->node_index || w->rank[owner].local != to)) continue;
        if (r->plan.device)
            r->plan.device->copy(r->plan.user, r->vectors[to] + s.at, r->x + s.at, bytes);
        else
            memcpy(r->vectors[to] + s.at, r->x + s.at, (size_t)bytes);
    }
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
    return r->vectors[own ? w->node_rank : p->local];
}

/* Sum this rank's share over the node; where that is all there is, deliver it. */
static void sum_node(vj_gradient_sum *r, int k)
{
    const vj_window *w = &r->window;
    const span share = node_share(r, k);
    const int64_t chunk = r->plan.device ? share.n : CHUNK;
    for (int64_t done = 0; done < share.n; done += chunk) {
        const span s = {share.at + done, share.n - done < chunk ? share.n - done : chunk};
        for (int rank = 0; rank < w->node_size; rank++) r->in[rank] = r->vectors[rank] + s.at;
        for (int i = 0; i < w->partials.count; i++) {
            const vj_partial *p = &w->partials.item[i];
            if (p->node == w->node_index) sum_arrays(r, home(r, p) + s.at, r->in + p->local, p->count, s.n);
        }
        if (w->nodes == 1) deliver(r, r->bucket[k].owner, s);
    }
}

static void send(vj_gradient_sum *r, int k, const float *from, int64_t n, int node, int tag)
{
    slot *at = &r->slot[k % VJ_SUM_SLOTS];
    MPI_Isend(from, (int)n, MPI_FLOAT, node, tag, r->window.across, &at->request[at->requests++]);
}

static void receive(vj_gradient_sum *r, int k, float *to, int64_t n, int node, int tag)
{
    slot *at = &r->slot[k % VJ_SUM_SLOTS];
    MPI_Irecv(to, (int)n, MPI_FLOAT, node, tag, r->window.across, &at->request[at->requests++]);
}

/* Where partial sum i of this node's part is or will be. */
static float *place_of(const vj_gradient_sum *r, int k, int i)
{
    const vj_partial *p = &r->window.partials.item[i];
    const span mine = part_of(r, k, r->window.node_index);
    return p->node == r->window.node_index ? home(r, p) + mine.at : r->slot[k % VJ_SUM_SLOTS].received + i * mine.n;
}

/* What MPI reads or writes in place of `vector` at `at`, in this speaker's share, for the partial sum of this turn. */
static float *message(const vj_gradient_sum *r, int k, float *vector, int64_t at, int turn)
{
    const slot *s = &r->slot[k % VJ_SUM_SLOTS];
    return s->mirror ? s->mirror + turn * r->share + (at - speaker_share(r, k).at) : vector + at;
}

/* Is all that has been asked of the device for bucket k done? */
static bool is_done(const vj_gradient_sum *r, int k)
{
    return !r->plan.device || r->plan.device->done(r->plan.user, k % VJ_SUM_SLOTS);
}

static void keep_place(const vj_gradient_sum *r, int k)
{
    if (r->plan.device) r->plan.device->keep(r->plan.user, k % VJ_SUM_SLOTS);
}

static void to_host(const vj_gradient_sum *r, int k, float *vector, span s, int turn)
{
    if (r->slot[k % VJ_SUM_SLOTS].mirror && s.n > 0)
        r->plan.device->to_host(r->plan.user, message(r, k, vector, s.at, turn), vector + s.at,
                                s.n * (int64_t)sizeof *vector);
}

static void to_device(const vj_gradient_sum *r, float *device, const float *host, int64_t n)
{
    if (device != host && n > 0) r->plan.device->to_device(r->plan.user, device, host, n * (int64_t)sizeof *device);
}

/* This node's partial sums of this speaker's share, on their way to where MPI reads them. */
static void begin(vj_gradient_sum *r, int k)
{
    const vj_window *w = &r->window;
    for (int i = 0; i < w->partials.count; i++) {
        const vj_partial *p = &w->partials.item[i];
        if (p->node == w->node_index) to_host(r, k, home(r, p), speaker_share(r, k), p->turn);
    }
    keep_place(r, k);
}

/* Each node gets its part of this speaker's share from all. */
static void scatter(vj_gradient_sum *r, int k)
{
    const vj_window *w = &r->window;
    const int64_t mine = part_of(r, k, w->node_index).n;
    for (int i = 0; i < w->partials.count; i++) {
        const vj_partial *p = &w->partials.item[i];
        if (p->node != w->node_index)
            receive(r, k, r->slot[k % VJ_SUM_SLOTS].arrivals + i * mine, mine, p->node, TO_PARTS);
        for (int node = 0; node < w->nodes && p->node == w->node_index; node++) {
            const span part = part_of(r, k, node);
            if (node != w->node_index) send(r, k, message(r, k, home(r, p), part.at, p->turn), part.n, node, TO_PARTS);
        }
    }
}

/* The node that gets bucket k, -1: all. */
static int receiver(const vj_gradient_sum *r, int k)
{
    const int owner = r->bucket[k].owner;
    return owner < 0 ? -1 : r->window.rank[owner].node;
}

/* What has come for this node's part, in as few copies as there can be. */
static void take_arrivals(const vj_gradient_sum *r, int k)
{
    const vj_partials *p = &r->window.partials;
    const slot *s = &r->slot[k % VJ_SUM_SLOTS];
    const int me = r->window.node_index;
    const int64_t n = part_of(r, k, me).n;
    for (int i = 0, end; i < p->count; i = end) {
        for (end = i + 1; end < p->count && (p->item[end].node == me) == (p->item[i].node == me);) end++;
        if (p->item[i].node != me) to_device(r, s->received + i * n, s->arrivals + i * n, (end - i) * n);
    }
}

/* Sum this node's part. */
static void sum_across(vj_gradient_sum *r, int k)
{
    const vj_window *w = &r->window;
    const span mine = part_of(r, k, w->node_index);
    for (int i = 0; i < w->partials.count; i++) r->partial[i] = place_of(r, k, i);
    take_arrivals(r, k);
    vj_partials_sum(&w->partials, r->x + mine.at, r->partial, mine.n, sum_arrays, r);
    if (receiver(r, k) != w->node_index) to_host(r, k, r->x, mine, 0);
    keep_place(r, k);
}

/* Hand this node's part to the nodes that get it, and get theirs. */
static void hand_out(vj_gradient_sum *r, int k)
{
    const vj_window *w = &r->window;
    const span mine = part_of(r, k, w->node_index);
    const int to = receiver(r, k);
    for (int node = 0; node < w->nodes; node++) {
        const span other = part_of(r, k, node);
        if (node == w->node_index) continue;
        if (to < 0 || to == w->node_index) receive(r, k, message(r, k, r->x, other.at, 0), other.n, node, TO_OWNERS);
        if (to < 0 || to == node) send(r, k, message(r, k, r->x, mine.at, 0), mine.n, node, TO_OWNERS);
    }
}

/* What other nodes have handed out, and this speaker's part, to the node's ranks. */
static void take(vj_gradient_sum *r, int k)
{
    const int me = r->window.node_index, to = receiver(r, k);
    const span share = speaker_share(r, k), mine = part_of(r, k, me);
    if (to < 0 || to == me) {
        const int64_t behind = mine.at + mine.n;
        to_device(r, r->x + share.at, message(r, k, r->x, share.at, 0), mine.at - share.at);
        to_device(r, r->x + behind, message(r, k, r->x, behind, 0), share.at + share.n - behind);
    }
    deliver(r, r->bucket[k].owner, share);
}

static bool arrived(vj_gradient_sum *r, int k)
{
    slot *at = &r->slot[k % VJ_SUM_SLOTS];
    int all;
    MPI_Testall(at->requests, at->request, &all, MPI_STATUSES_IGNORE);
    if (all) at->requests = 0;
    return all;
}

/* How many buckets have sums of the node that this speaker may send: its own, or its neighbours', too. */
static int ready_to_send(const vj_gradient_sum *r)
{
    const vj_window *w = &r->window;
    return w->speakers == w->node_size ? r->summed : (int)(vj_window_least(w, VJ_SUM_NODE) - r->before);
}

static void follow(const vj_gradient_sum *r, vj_sum_mark mark)
{
    if (r->plan.device) r->plan.device->follow(r->plan.user, mark);
}

/* `buckets` of this sum are behind this rank: tell the others of the node. */
static void tell(const vj_gradient_sum *r, vj_sum_mark mark, int buckets)
{
    if (r->plan.device) r->plan.device->mark(r->plan.user, mark);
    vj_window_tell(&r->window, (int)mark, r->before + buckets);
}

/* Between nodes, as a speaker. */
static void push_across(vj_gradient_sum *r)
{
    const int ready = ready_to_send(r), most = r->delivered + VJ_SUM_SLOTS;
    if (r->begun < ready && r->begun < most && r->window.speakers != r->window.node_size) follow(r, VJ_SUM_NODE);
    for (; r->begun < ready && r->begun < most; r->begun++) begin(r, r->begun);
    for (; r->sent < r->begun && is_done(r, r->sent); r->sent++) scatter(r, r->sent);
    for (; r->crossed < r->sent && arrived(r, r->crossed); r->crossed++) sum_across(r, r->crossed);
    for (; r->handed < r->crossed && is_done(r, r->handed); r->handed++) hand_out(r, r->handed);
    for (; r->delivered < r->handed && arrived(r, r->delivered); r->delivered++) take(r, r->delivered);
}

/* Do what can be done without waiting. */
static void push(vj_gradient_sum *r)
{
    const vj_window *w = &r->window;
    const int64_t made = vj_window_least(w, VJ_SUM_MADE) - r->before;
    const int summed = r->summed, delivered = r->delivered;
    if (r->summed < made) follow(r, VJ_SUM_MADE);
    for (; r->summed < made; r->summed++) sum_node(r, r->summed);
    if (r->summed > summed) tell(r, VJ_SUM_NODE, r->summed);
    if (w->nodes > 1 && is_speaker(r))
        push_across(r);
    else
        r->delivered = r->summed;
    if (r->delivered > delivered) tell(r, VJ_SUM_DELIVERED, r->delivered);
}

void vj_gradient_sum_made(vj_gradient_sum *r, int64_t offset)
{
    const int made = r->made;
    while (r->made < r->count && r->bucket[r->made].first >= offset) r->made++;
    if (r->made > made) tell(r, VJ_SUM_MADE, r->made);
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
    r->made = r->summed = r->delivered = r->begun = r->sent = r->crossed = r->handed = 0;
    vj_window_wait(&r->window, VJ_SUM_DELIVERED, r->before); /* neighbours write into this rank's vector */
    follow(r, VJ_SUM_DELIVERED);
}

/* ------------------------------------------------------------------------------------------------ counting */

/* What this rank sends for bucket k: scatter() and hand_out(). */
static void count_bucket(const vj_gradient_sum *r, int k, vj_traffic *traffic)
{
    const vj_window *w = &r->window;
    const int to = receiver(r, k);
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
