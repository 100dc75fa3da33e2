/*
 * Buckets are processed in order, from the end of the vector. Each bucket is finished by all ranks of the node, then
 * summed over the node, where each rank sums its share; then summed over the nodes by the speakers (window.h), where
 * each node sums its part of a speaker's share; then copied into the vectors of the node's ranks. Read push() first.
 *
 * If every rank gets only its slice of the sum, the sum of a part is sent only to the nodes with ranks whose slices
 * overlap the part, mostly one node, and copied only to these ranks. So there may be thousands of slices: they need
 * neither more buckets nor many more messages.
 *
 * The vectors may be memory of devices (vj_sum_device). Then sums and copies are only queued here. A message that needs
 * their results is sent when the device reports that they are complete. Nothing here waits for a device.
 */
#include "parallel/gradient_sum.h"

#include <stdlib.h>
#include <string.h>

#include "base/tree_sum.h"
#include "parallel/parallel.h"
#include "parallel/traffic.h"
#include "parallel/window.h"

enum {
    LINE = 16,       /* floats of a cache line, which two ranks should not share */
    CHUNK = 1 << 14, /* floats that are summed at a time, and delivered while they are in the caches */
};
enum { TO_PARTS = 0, TO_OWNERS = 1 }; /* tags */

typedef struct {
    int64_t at, n;
} span;

/* Consecutive slices whose ranks are on one node; only this node gets their sum. -1: all nodes get it. */
typedef struct {
    span of;
    int node;
} stretch;

/* A bucket in flight between the nodes. If MPI cannot access the device's memory, messages go through host memory. */
typedef struct {
    int requests;
    MPI_Request *request; /* room for the largest number possible */
    float *received;      /* partial sums of all nodes for this node's part; owned if there is no device */
    float *arrivals; /* host memory that they arrive in before they are copied to `received`; or `received` itself */
    float *mirror;   /* host copy of this node's partial sums, this speaker's share, [own][share]; or NULL */
} slot;

struct vj_gradient_sum {
    vj_window window;
    float *x;                  /* this rank's vector */
    float *const *vectors;     /* [node_size] of the node's ranks */
    vj_gradient_sum_plan plan; /* the members threads, sum and device are used */
    int count;                 /* buckets */
    stretch *stretch;          /* [stretches] in the order of the vector */
    int stretches;
    span *slice;             /* [node_size] the slice that each rank of the node gets the sum of */
    const float **in;        /* [node_size] */
    float **partial;         /* [partial sums] */
    slot slot[VJ_SUM_SLOTS]; /* bucket k has slot k % VJ_SUM_SLOTS */
    int64_t share;           /* size of the largest share of a speaker, in floats */
    int64_t before;          /* buckets of earlier sums */
    int made, summed, delivered;
    int begun, sent, crossed, handed; /* between nodes, in this order */
};

/* Bucket k, counted from the end of the vector; all but the first one have the plan's size. */
static span bucket_at(const vj_gradient_sum *r, int k)
{
    const int64_t at = (r->count - 1 - k) * r->plan.bucket, left = r->plan.n - at;
    return (span){at, left < r->plan.bucket ? left : r->plan.bucket};
}

/* The intersection. */
static span common(span a, span b)
{
    const int64_t first = a.at > b.at ? a.at : b.at, end_a = a.at + a.n, end_b = b.at + b.n;
    const int64_t last = end_a < end_b ? end_a : end_b;
    return (span){first, last > first ? last - first : 0};
}

/* The slice that a rank of the communicator gets. */
static span slice_of(const vj_gradient_sum_plan *plan, int rank)
{
    return plan->first ? (span){plan->first[rank], plan->first[rank + 1] - plan->first[rank]} : (span){0, plan->n};
}

/* Divide the vector into buckets and stretches. */
static vj_status divide(vj_gradient_sum *r, int ranks)
{
    const vj_gradient_sum_plan *plan = &r->plan;
    r->count = (int)((plan->n + plan->bucket - 1) / plan->bucket);
    r->stretch = vj_calloc(plan->first ? ranks : 1, sizeof *r->stretch);
    if (!r->stretch) return vj_raise(VJ_ERR_MEMORY, "no memory for the slices of %d ranks", ranks);
    if (!plan->first) r->stretch[r->stretches++] = (stretch){slice_of(plan, 0), -1};
    for (int rank = 0; rank < ranks && plan->first; rank++) {
        const stretch next = {slice_of(plan, rank), r->window.rank[rank].node};
        stretch *before = r->stretches > 0 ? &r->stretch[r->stretches - 1] : NULL;
        if (before && (before->node == next.node || next.of.n == 0))
            before->of.n += next.of.n;
        else
            r->stretch[r->stretches++] = next;
    }
    return VJ_OK;
}

/* Return whether this rank exchanges sums with other nodes. */
static bool is_speaker(const vj_gradient_sum *r)
{
    return r->window.node_rank < r->window.speakers;
}

static vj_status allocate_slot(vj_gradient_sum *r, slot *s, int64_t part)
{
    const vj_window *w = &r->window;
    const vj_sum_device *device = r->plan.device;
    const int64_t requests = w->partials.count + (int64_t)(w->own + 2) * w->nodes + 2 * (int64_t)r->stretches;
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

static vj_status allocate(vj_gradient_sum *r, int ranks)
{
    const vj_window *w = &r->window;
    VJ_TRY(divide(r, ranks));
    r->slice = vj_calloc(w->node_size, sizeof *r->slice);
    r->in = vj_calloc(w->node_size, sizeof *r->in);
    r->partial = vj_calloc(w->partials.count, sizeof *r->partial);
    if (!r->slice || !r->in || !r->partial) return vj_raise(VJ_ERR_MEMORY, "no memory for sums over %d ranks", ranks);
    for (int rank = 0; rank < ranks; rank++)
        if (w->rank[rank].node == w->node_index) r->slice[w->rank[rank].local] = slice_of(&r->plan, rank);
    r->share = r->plan.bucket / w->speakers + LINE;
    for (int i = 0; i < VJ_SUM_SLOTS && is_speaker(r) && w->nodes > 1; i++)
        VJ_TRY(allocate_slot(r, &r->slot[i], r->share / w->nodes + 1));
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
    return allocate(r, ranks);
}

void vj_gradient_sum_close(vj_gradient_sum *r)
{
    if (!r) return;
    vj_window_close(&r->window);
    for (int i = 0; i < VJ_SUM_SLOTS; i++) {
        free(r->slot[i].request);
        if (!r->plan.device) free(r->slot[i].received);
    }
    free(r->stretch);
    free(r->slice);
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
    const span b = bucket_at(r, k);
    const int64_t each = (b.n + sharers - 1) / sharers, step = (each + LINE - 1) / LINE * LINE;
    return common(b, (span){b.at + step * r->window.node_rank, step});
}

/* The part of a bucket that this rank sums over its node. */
static span node_share(const vj_gradient_sum *r, int k)
{
    return share_of(r, k, r->window.node_size);
}

/*
 * The part of a bucket that this speaker exchanges with other nodes. If all ranks are speakers, it is what it summed.
 */
static span speaker_share(const vj_gradient_sum *r, int k)
{
    return share_of(r, k, r->window.speakers);
}

/* The part of a speaker's share that `node` sums over the nodes. */
static span part_of(const vj_gradient_sum *r, int k, int node)
{
    const span share = speaker_share(r, k);
    int64_t first, last;
    vj_split(share.n, r->window.nodes, node, &first, &last);
    return (span){share.at + first, last - first};
}

/*
 * Copy the sum from this rank's vector into those of the node's ranks that get it, each rank beginning with another
 * one.
 */
static void deliver(const vj_gradient_sum *r, span s)
{
    const vj_window *w = &r->window;
    for (int i = 1; i < w->node_size; i++) {
        const int to = (w->node_rank + i) % w->node_size;
        const span its = common(s, r->slice[to]);
        const int64_t bytes = its.n * (int64_t)sizeof(float);
        if (its.n == 0) continue;
        if (r->plan.device)
            r->plan.device->copy(r->plan.user, r->vectors[to] + its.at, r->x + its.at, bytes);
        else
            memcpy(r->vectors[to] + its.at, r->x + its.at, (size_t)bytes);
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
 * Choose the vector that a partial sum is written to: one of a rank whose values are in the sum, so that no value is
 * overwritten that is still needed. If all ranks are speakers, each sends what it summed, and uses its own vector if it
 * can.
 */
static float *home(const vj_gradient_sum *r, const vj_partial *p)
{
    const vj_window *w = &r->window;
    const bool own = w->speakers == w->node_size && w->node_rank >= p->local && w->node_rank < p->local + p->count;
    return r->vectors[own ? w->node_rank : p->local];
}

/* Sum this rank's share over the node; if there is only one node, deliver it. */
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
        if (w->nodes == 1) deliver(r, s);
    }
}

static void send(vj_gradient_sum *r, int k, const float *from, int64_t n, int node, int tag)
{
    slot *at = &r->slot[k % VJ_SUM_SLOTS];
    if (n == 0) return;
    MPI_Isend(from, (int)n, MPI_FLOAT, node, tag, r->window.across, &at->request[at->requests++]);
}

static void receive(vj_gradient_sum *r, int k, float *to, int64_t n, int node, int tag)
{
    slot *at = &r->slot[k % VJ_SUM_SLOTS];
    if (n == 0) return;
    MPI_Irecv(to, (int)n, MPI_FLOAT, node, tag, r->window.across, &at->request[at->requests++]);
}

/* The address of partial sum i of this node's part. */
static float *place_of(const vj_gradient_sum *r, int k, int i)
{
    const vj_partial *p = &r->window.partials.item[i];
    const span mine = part_of(r, k, r->window.node_index);
    return p->node == r->window.node_index ? home(r, p) + mine.at : r->slot[k % VJ_SUM_SLOTS].received + i * mine.n;
}

/*
 * The address that MPI uses for `vector` at `at` (in this speaker's share) and the partial sum of this turn: the vector
 * itself, or its host copy.
 */
static float *message(const vj_gradient_sum *r, int k, float *vector, int64_t at, int turn)
{
    const slot *s = &r->slot[k % VJ_SUM_SLOTS];
    return s->mirror ? s->mirror + turn * r->share + (at - speaker_share(r, k).at) : vector + at;
}

/* Is all device work for bucket k done? */
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

/* Copy this node's partial sums of this speaker's share to where MPI reads them. */
static void begin(vj_gradient_sum *r, int k)
{
    const vj_window *w = &r->window;
    for (int i = 0; i < w->partials.count; i++) {
        const vj_partial *p = &w->partials.item[i];
        if (p->node == w->node_index) to_host(r, k, home(r, p), speaker_share(r, k), p->turn);
    }
    keep_place(r, k);
}

/* Send each node its part of this speaker's share, and receive this node's part from all. */
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

/* Return whether this node gets the sum of a stretch. */
static bool gets(const stretch *s, int node)
{
    return s->node < 0 || s->node == node;
}

/* Return the next stretch after `s` (NULL: from the first on) that overlaps `of`; NULL: none. */
static const stretch *next_stretch(const vj_gradient_sum *r, const stretch *s, span of)
{
    for (s = s ? s + 1 : r->stretch; s < r->stretch + r->stretches; s++)
        if (common(s->of, of).n > 0) return s;
    return NULL;
}

/* Copy the received partial sums of this node's part to the device, in as few copies as possible. */
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

/* Sum this node's part over the nodes. */
static void sum_across(vj_gradient_sum *r, int k)
{
    const vj_window *w = &r->window;
    const span mine = part_of(r, k, w->node_index);
    for (int i = 0; i < w->partials.count; i++) r->partial[i] = place_of(r, k, i);
    take_arrivals(r, k);
    vj_partials_sum(&w->partials, r->x + mine.at, r->partial, mine.n, sum_arrays, r);
    for (const stretch *s = next_stretch(r, NULL, mine); s; s = next_stretch(r, s, mine))
        if (s->node != w->node_index) to_host(r, k, r->x, common(s->of, mine), 0);
    keep_place(r, k);
}

/* Send the sum of this node's part to the nodes that get it, and receive theirs. */
static void hand_out(vj_gradient_sum *r, int k)
{
    const vj_window *w = &r->window;
    const span share = speaker_share(r, k), mine = part_of(r, k, w->node_index);
    for (const stretch *s = next_stretch(r, NULL, share); s; s = next_stretch(r, s, share))
        for (int node = 0; node < w->nodes; node++) {
            const span ours = common(s->of, mine), theirs = common(s->of, part_of(r, k, node));
            if (node == w->node_index) continue;
            if (gets(s, w->node_index)) receive(r, k, message(r, k, r->x, theirs.at, 0), theirs.n, node, TO_OWNERS);
            if (gets(s, node)) send(r, k, message(r, k, r->x, ours.at, 0), ours.n, node, TO_OWNERS);
        }
}

/* Copy what other nodes have sent, and this speaker's part, into the vectors of the node's ranks. */
static void take(vj_gradient_sum *r, int k)
{
    const int me = r->window.node_index;
    const span share = speaker_share(r, k), mine = part_of(r, k, me);
    const int64_t behind = mine.at + mine.n;
    const span others[] = {{share.at, mine.at - share.at}, {behind, share.at + share.n - behind}};
    for (const stretch *s = next_stretch(r, NULL, share); s; s = next_stretch(r, s, share))
        for (int i = 0; i < 2 && gets(s, me); i++) {
            const span came = common(s->of, others[i]);
            to_device(r, r->x + came.at, message(r, k, r->x, came.at, 0), came.n);
        }
    deliver(r, share);
}

static bool arrived(vj_gradient_sum *r, int k)
{
    slot *at = &r->slot[k % VJ_SUM_SLOTS];
    int all;
    MPI_Testall(at->requests, at->request, &all, MPI_STATUSES_IGNORE);
    if (all) at->requests = 0;
    return all;
}

/* The number of buckets whose sums over the node are complete, as far as this speaker sends them. */
static int ready_to_send(const vj_gradient_sum *r)
{
    const vj_window *w = &r->window;
    return w->speakers == w->node_size ? r->summed : (int)(vj_window_min(w, VJ_SUM_NODE) - r->before);
}

static void follow(const vj_gradient_sum *r, vj_sum_mark mark)
{
    if (r->plan.device) r->plan.device->follow(r->plan.user, mark);
}

/* Tell the ranks of the node that this rank has reached `mark` for `buckets` buckets of this sum. */
static void tell(const vj_gradient_sum *r, vj_sum_mark mark, int buckets)
{
    if (r->plan.device) r->plan.device->mark(r->plan.user, mark);
    vj_window_set(&r->window, (int)mark, r->before + buckets);
}

/* Do a speaker's work between nodes, as far as possible without waiting. */
static void push_across(vj_gradient_sum *r)
{
    const int ready = ready_to_send(r), limit = r->delivered + VJ_SUM_SLOTS;
    if (r->begun < ready && r->begun < limit && r->window.speakers != r->window.node_size) follow(r, VJ_SUM_NODE);
    for (; r->begun < ready && r->begun < limit; r->begun++) begin(r, r->begun);
    for (; r->sent < r->begun && is_done(r, r->sent); r->sent++) scatter(r, r->sent);
    for (; r->crossed < r->sent && arrived(r, r->crossed); r->crossed++) sum_across(r, r->crossed);
    for (; r->handed < r->crossed && is_done(r, r->handed); r->handed++) hand_out(r, r->handed);
    for (; r->delivered < r->handed && arrived(r, r->delivered); r->delivered++) take(r, r->delivered);
}

/* Do what can be done without waiting. */
static void push(vj_gradient_sum *r)
{
    const vj_window *w = &r->window;
    const int64_t made = vj_window_min(w, VJ_SUM_MADE) - r->before;
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
    while (r->made < r->count && bucket_at(r, r->made).at >= offset) r->made++;
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
    const span share = speaker_share(r, k), mine = part_of(r, k, w->node_index);
    const int64_t parts = share.n < w->nodes ? share.n : w->nodes, others = parts - (mine.n > 0);
    int64_t floats = w->own * (share.n - mine.n);
    traffic->messages += w->own * others;
    for (const stretch *s = next_stretch(r, NULL, mine); s; s = next_stretch(r, s, mine)) {
        const int receivers = s->node < 0 ? w->nodes - 1 : s->node != w->node_index;
        traffic->messages += receivers;
        floats += receivers * common(s->of, mine).n;
    }
    traffic->bytes += floats * (int64_t)sizeof(float);
}

/* By all speakers of a node. */
static void count_node(vj_gradient_sum *r, int node, vj_traffic *traffic)
{
    vj_window *w = &r->window;
    w->node_index = node;
    w->own = 0;
    for (int i = 0; i < w->partials.count; i++) w->own += w->partials.item[i].node == node;
    for (w->node_rank = 0; w->node_rank < w->speakers; w->node_rank++)
        for (int k = 0; k < r->count; k++) count_bucket(r, k, traffic);
}

vj_status vj_gradient_sum_count(vj_traffic *traffic, const vj_gradient_sum_plan *plan, const int *first_rank, int ranks)
{
    vj_gradient_sum r = {.window = {.node = MPI_COMM_NULL, .across = MPI_COMM_NULL}, .plan = *plan};
    vj_window_number(&r.window, first_rank, ranks);
    const vj_status status = divide(&r, ranks);
    for (int node = 0; node < r.window.nodes && r.window.nodes > 1 && status == VJ_OK; node++)
        count_node(&r, node, traffic);
    free(r.stretch);
    vj_window_close(&r.window);
    return status;
}
