/*
 * The gather works in rounds: in each round every speaker sends one piece to each other node and receives one from
 * each. Read push() first.
 */
#include "parallel/device_gather.h"

#include <stdlib.h>

#include "parallel/parallel.h"
#include "parallel/traffic.h"

enum { MIN_PIECE = 16, TAG = 2 };

typedef struct {
    int vector;
    int64_t at, n; /* elements; n 0: there is none */
} piece;

/* A round under way. */
typedef struct {
    int requests;
    MPI_Request *request; /* [2 nodes] */
    char *mirror,
        *arrivals; /* host memory [piece] and [nodes, piece], if messages go through it; owned by the device */
} slot;

struct vj_device_gather {
    const vj_window *window;
    vj_device_gather_plan plan;
    int64_t bytes;       /* of a piece, at most */
    int *owner, *owners; /* owner [ranks]: ranks whose slices this speaker sends or receives, node by node; owners
                            [nodes + 1]: where the ranks of each node begin in it */
    slot slot[VJ_SUM_SLOTS];
    int64_t runs; /* so far */
    int64_t rounds, begun, sent, taken;
};

static bool is_speaker(const vj_device_gather *g)
{
    return g->window->node_rank < g->window->speakers;
}

/* The size of the messages of a sum of gradients. */
static int64_t piece_bytes(const vj_window *w, int64_t bucket)
{
    const int64_t floats = bucket / w->speakers / w->nodes;
    return (floats > MIN_PIECE ? floats : MIN_PIECE) * (int64_t)sizeof(float);
}

static vj_status allocate_slot(vj_device_gather *g, slot *s)
{
    const vj_sum_device *device = g->plan.device;
    const int64_t nodes = g->window->nodes;
    s->request = vj_calloc(2 * nodes, sizeof *s->request);
    if (!s->request) return vj_raise(VJ_ERR_MEMORY, "no memory for messages between %lld nodes", (long long)nodes);
    if (!device->to_host) return VJ_OK;
    const int64_t floats = g->bytes / (int64_t)sizeof(float);
    s->mirror = (char *)device->alloc(g->plan.user, floats, true);
    s->arrivals = (char *)device->alloc(g->plan.user, nodes * floats, true);
    return s->mirror && s->arrivals ? VJ_OK : VJ_ERR_MEMORY; /* reported by the device */
}

/*
 * The slices of a node's ranks are dealt out to its speakers in turn; a speaker exchanges them with the speakers of the
 * same number.
 */
static void list_owners(vj_device_gather *g)
{
    const vj_window *w = g->window;
    int count = 0;
    for (int node = 0; node < w->nodes; node++) {
        g->owners[node] = count;
        for (int r = 0; r < g->plan.ranks; r++)
            if (w->rank[r].node == node && w->rank[r].local % w->speakers == w->node_rank) g->owner[count++] = r;
    }
    g->owners[w->nodes] = count;
}

vj_status vj_device_gather_open(vj_device_gather **gather, const vj_window *window, const vj_device_gather_plan *plan)
{
    vj_device_gather *g = *gather = vj_calloc(1, sizeof *g);
    if (!g) return vj_raise(VJ_ERR_MEMORY, "no memory to gather slices");
    g->window = window;
    g->plan = *plan;
    g->bytes = piece_bytes(window, plan->bucket);
    g->owner = vj_calloc(plan->ranks, sizeof *g->owner);
    g->owners = vj_calloc(window->nodes + 1, sizeof *g->owners);
    if (!g->owner || !g->owners) return vj_raise(VJ_ERR_MEMORY, "no memory to gather slices of %d ranks", plan->ranks);
    list_owners(g);
    for (int i = 0; i < VJ_SUM_SLOTS && window->nodes > 1 && is_speaker(g); i++) VJ_TRY(allocate_slot(g, &g->slot[i]));
    return VJ_OK;
}

void vj_device_gather_close(vj_device_gather *g)
{
    if (!g) return;
    for (int i = 0; i < VJ_SUM_SLOTS; i++) free(g->slot[i].request);
    free(g->owner);
    free(g->owners);
    free(g);
}

/* ------------------------------------------------------------------------------------------------ pieces */

/* The part of a vector that rank r has updated. */
static piece slice_of(const vj_device_gather_plan *plan, int r, int vector)
{
    const vj_gathered *v = &plan->vector[vector];
    const int64_t n = v->n, first = v->first[r], last = v->first[r + 1];
    const int64_t begin = first < n ? first : n, end = last < n ? last : n;
    return (piece){vector, begin, end - begin};
}

/* The number of elements in a piece of a vector, and the number of pieces for n elements. */
static int64_t piece_length(const vj_device_gather_plan *plan, int vector, int64_t bytes)
{
    return bytes / plan->vector[vector].element;
}
static int64_t pieces_of(int64_t n, int64_t length)
{
    return (n + length - 1) / length;
}

/* The piece that the speaker of this number on `node` sends to the other nodes in a round. */
static piece piece_of(const vj_device_gather *g, int node, int64_t round)
{
    for (int v = 0; v < g->plan.vectors; v++)
        for (int i = g->owners[node]; i < g->owners[node + 1]; i++) {
            const piece slice = slice_of(&g->plan, g->owner[i], v);
            const int64_t length = piece_length(&g->plan, v, g->bytes);
            const int64_t pieces = pieces_of(slice.n, length), at = round * length;
            if (round < pieces) return (piece){v, slice.at + at, slice.n - at < length ? slice.n - at : length};
            round -= pieces;
        }
    return (piece){0};
}

/* The number of rounds until all pieces of all nodes are sent. */
static int64_t count_rounds(const vj_device_gather *g)
{
    int64_t largest = 0;
    for (int node = 0; node < g->window->nodes; node++) {
        int64_t rounds = 0;
        for (int v = 0; v < g->plan.vectors; v++)
            for (int i = g->owners[node]; i < g->owners[node + 1]; i++)
                rounds += pieces_of(slice_of(&g->plan, g->owner[i], v).n, piece_length(&g->plan, v, g->bytes));
        if (rounds > largest) largest = rounds;
    }
    return largest;
}

/* The address of a piece in the vector of rank `local` of this node. */
static void *place_of(const vj_device_gather *g, piece p, int local)
{
    const vj_gathered *v = &g->plan.vector[p.vector];
    return (char *)v->of[local] + p.at * v->element;
}

static void *own_place(const vj_device_gather *g, piece p)
{
    return place_of(g, p, g->window->node_rank);
}

static int64_t bytes_of(const vj_device_gather *g, piece p)
{
    return p.n * g->plan.vector[p.vector].element;
}

/* Copy a piece from this rank to the others of the node, each rank beginning with another one. */
static void copy_to_neighbours(const vj_device_gather *g, piece p)
{
    const vj_window *w = g->window;
    for (int i = 1; i < w->node_size && p.n > 0; i++)
        g->plan.device->copy(g->plan.user, place_of(g, p, (w->node_rank + i) % w->node_size), own_place(g, p),
                             bytes_of(g, p));
}

/* ------------------------------------------------------------------------------------------------ between nodes */

static slot *slot_of(vj_device_gather *g, int64_t round)
{
    return &g->slot[round % VJ_SUM_SLOTS];
}

/* Copy this speaker's piece to where MPI reads it. */
static void begin(vj_device_gather *g, int64_t round)
{
    const piece mine = piece_of(g, g->window->node_index, round);
    if (slot_of(g, round)->mirror && mine.n > 0)
        g->plan.device->to_host(g->plan.user, slot_of(g, round)->mirror, own_place(g, mine), bytes_of(g, mine));
    g->plan.device->keep(g->plan.user, (int)(round % VJ_SUM_SLOTS));
}

static bool is_done(const vj_device_gather *g, int64_t round)
{
    return g->plan.device->done(g->plan.user, (int)(round % VJ_SUM_SLOTS));
}

/* The address that MPI writes the piece of a node to. */
static void *arrival(vj_device_gather *g, int64_t round, int node, piece p)
{
    slot *s = slot_of(g, round);
    return s->arrivals ? s->arrivals + node * g->bytes : own_place(g, p);
}

static MPI_Datatype type_of(const vj_device_gather *g, piece p)
{
    return g->plan.vector[p.vector].element == sizeof(float) ? MPI_FLOAT : MPI_UINT16_T;
}

static void exchange(vj_device_gather *g, int64_t round)
{
    const vj_window *w = g->window;
    slot *s = slot_of(g, round);
    const piece mine = piece_of(g, w->node_index, round);
    for (int i = 1; i < w->nodes; i++) {
        const int to = (w->node_index + i) % w->nodes, from = (w->node_index + w->nodes - i) % w->nodes;
        const piece p = piece_of(g, from, round);
        if (p.n > 0)
            MPI_Irecv(arrival(g, round, from, p), (int)p.n, type_of(g, p), from, TAG, w->across,
                      &s->request[s->requests++]);
        if (mine.n > 0)
            MPI_Isend(s->mirror ? s->mirror : own_place(g, mine), (int)mine.n, type_of(g, mine), to, TAG, w->across,
                      &s->request[s->requests++]);
    }
}

static bool arrived(vj_device_gather *g, int64_t round)
{
    slot *s = slot_of(g, round);
    int all;
    MPI_Testall(s->requests, s->request, &all, MPI_STATUSES_IGNORE);
    if (all) s->requests = 0;
    return all;
}

/* Copy the pieces that came from other nodes to the ranks of this node. */
static void take(vj_device_gather *g, int64_t round)
{
    for (int node = 0; node < g->window->nodes; node++) {
        const piece p = piece_of(g, node, round);
        if (node == g->window->node_index || p.n == 0) continue;
        if (slot_of(g, round)->arrivals)
            g->plan.device->to_device(g->plan.user, own_place(g, p), arrival(g, round, node, p), bytes_of(g, p));
        copy_to_neighbours(g, p);
    }
}

/* Do what can be done without waiting. */
static void push(vj_device_gather *g)
{
    for (; g->begun < g->rounds && g->begun < g->taken + VJ_SUM_SLOTS; g->begun++) begin(g, g->begun);
    for (; g->sent < g->begun && is_done(g, g->sent); g->sent++) exchange(g, g->sent);
    for (; g->taken < g->sent && arrived(g, g->taken); g->taken++) take(g, g->taken);
}

/* ------------------------------------------------------------------------------------------------ the whole */

/* Wait until all ranks of the node have come here; let later device work wait for the work that they called before. */
static void meet(const vj_device_gather *g, vj_sum_mark mark)
{
    g->plan.device->mark(g->plan.user, mark);
    vj_window_set(g->window, (int)mark, g->runs);
    vj_window_wait(g->window, (int)mark, g->runs);
    g->plan.device->follow(g->plan.user, mark);
}

void vj_device_gather_run(vj_device_gather *g)
{
    const vj_window *w = g->window;
    g->runs++;
    meet(g, VJ_SUM_MADE);
    for (int v = 0; v < g->plan.vectors; v++) copy_to_neighbours(g, slice_of(&g->plan, g->plan.rank, v));
    if (w->node_size > w->speakers) meet(g, VJ_SUM_NODE); /* speakers send slices of other ranks */
    g->rounds = w->nodes > 1 && is_speaker(g) ? count_rounds(g) : 0;
    for (g->begun = g->sent = g->taken = 0; g->taken < g->rounds; vj_window_idle(w)) push(g);
    meet(g, VJ_SUM_DELIVERED);
}

/* ------------------------------------------------------------------------------------------------ counting */

void vj_device_gather_count(vj_traffic *traffic, const vj_device_gather_plan *plan, const int *first_rank)
{
    vj_window w = {.node = MPI_COMM_NULL, .across = MPI_COMM_NULL};
    vj_window_number(&w, first_rank, plan->ranks);
    const int64_t bytes = piece_bytes(&w, plan->bucket), others = w.nodes - 1;
    for (int v = 0; v < plan->vectors; v++)
        for (int r = 0; r < plan->ranks; r++) {
            const int64_t n = slice_of(plan, r, v).n;
            traffic->messages += others * pieces_of(n, piece_length(plan, v, bytes));
            traffic->bytes += others * n * plan->vector[v].element;
        }
    vj_window_close(&w);
}
