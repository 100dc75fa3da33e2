/* The simulated machine: memory and the time of accessing it, the network, and the shared window of a node
 * (parallel/window_memory.h). */
#include "machine.h"

#include <math.h>
#include <simgrid/actor.h>
#include <simgrid/cond.h>
#include <simgrid/engine.h>
#include <simgrid/mutex.h>
#include <smpi/smpi.h>

#include "base/tree_sum.h"
#include "parallel/window_memory.h"

/* Address space of every rank. Only MPI's own copies inside of collective calls ever access it. */
static const size_t memory_bytes = (size_t)8 << 30;
static const int64_t small_bytes = 1 << 16; /* the code's own tables, which it really reads, are smaller */

static float *memory;
static double rate_bytes_s = 1e9, owed_s;
static double last_news_s; /* time when this rank last set a counter */

void simulated_memory_rate(double bytes_s)
{
    rate_bytes_s = bytes_s;
}

float *simulated_memory(void)
{
    if (!memory) memory = SMPI_SHARED_MALLOC(memory_bytes);
    return memory;
}

void simulated_touch(double bytes)
{
    owed_s += bytes / rate_bytes_s;
}

void simulated_work(double seconds)
{
    const double all = owed_s + seconds;
    owed_s = 0;
    if (all > 0) sg_actor_sleep_for(all);
}

void *simulated_copy(void *to, const void *from, size_t bytes)
{
    (void)from;
    simulated_touch(2.0 * (double)bytes);
    return to;
}

void *simulated_calloc(int64_t count, int64_t bytes)
{
    return count * bytes > small_bytes ? simulated_memory() : vj_calloc(count, bytes);
}

void simulated_free(void *p)
{
    if (p != memory) free(p);
}

void vj_tree_sum(float *out, const float *const *in, int count, int64_t n, int threads)
{
    (void)out, (void)in, (void)threads;
    simulated_touch((count + 1.0) * (double)n * sizeof(float));
}

/* ------------------------------------------------------------------------------------------------ the network */

enum { TAGS = 3, ON_THE_WAY = 16 /* messages from one rank to another with the same tag */ };

/* The messages from one rank to another with one tag, in order. Counts of those that were sent, for which the receiver
 * has posted a receive, whose arrival time is known, and that were received. */
typedef struct {
    int64_t sent, expected, settled, taken;
    double arrival_s[ON_THE_WAY]; /* arrival times of settled messages, in a ring */
} line;

/* A message to be received, or one that was sent and leaves the node at left_s. */
typedef struct {
    line *line; /* NULL: sent */
    int64_t number;
    double left_s;
} simulated_request;

typedef struct {
    double at_s, takes_s; /* when it arrives at a link, and how long it occupies the link */
    int64_t number;       /* of all messages */
    int from, to;         /* nodes */
    line *line;
    simulated_request *sent;
} message;

/* Messages on their way to a link, as a heap whose first item arrives first. */
typedef struct {
    message *item; /* owned */
    int count, room;
} queue;

typedef struct {
    double out_s, in_s; /* the links are busy until then */
    queue coming;
} node_links;

/* The network, one object for all ranks. */
typedef struct {
    int nodes;
    double bytes_s, message_s;
    int64_t messages;
    queue posted;
    node_links *node; /* [nodes]. Owned */
    line *line;       /* [place on the node, to, from, tag]. Owned */
} network;

static network *net;
static int place, node_of_rank;
static int64_t messages_sent, bytes_sent;

void simulated_network_open(int node_ranks, double bytes_s, double message_s)
{
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    const int nodes = size / node_ranks;
    place = rank % node_ranks;
    node_of_rank = rank / node_ranks;
    if (rank == 0) {
        net = vj_calloc(1, sizeof *net);
        VJ_ASSERT(net);
        *net = (network){.nodes = nodes, .bytes_s = bytes_s, .message_s = message_s};
        net->node = vj_calloc(nodes, sizeof *net->node);
        net->line = vj_calloc((int64_t)size * nodes * TAGS, sizeof *net->line);
        VJ_ASSERT(net->node && net->line);
    }
    MPI_Bcast(&net, sizeof net, MPI_BYTE, 0, MPI_COMM_WORLD);
}

static line *line_of(int to, int from, int tag)
{
    return &net->line[(((int64_t)place * net->nodes + to) * net->nodes + from) * TAGS + tag];
}

static bool is_before(const message *a, const message *b)
{
    return a->at_s < b->at_s || (a->at_s == b->at_s && a->number < b->number);
}

static void put_message(queue *q, message m)
{
    if (q->count == q->room) {
        q->room = 2 * q->room + 64;
        q->item = realloc(q->item, (size_t)q->room * sizeof *q->item);
        VJ_ASSERT(q->item);
    }
    int at = q->count++;
    for (; at > 0 && is_before(&m, &q->item[(at - 1) / 2]); at = (at - 1) / 2) q->item[at] = q->item[(at - 1) / 2];
    q->item[at] = m;
}

static message take_message(queue *q)
{
    const message first = q->item[0], last = q->item[--q->count];
    int at = 0;
    for (int next; (next = 2 * at + 1) < q->count; at = next) {
        if (next + 1 < q->count && is_before(&q->item[next + 1], &q->item[next])) next++;
        if (!is_before(&q->item[next], &last)) break;
        q->item[at] = q->item[next];
    }
    q->item[at] = last;
    return first;
}

/* Let all messages that were posted until now leave their nodes, one after the other, and those that have reached this
 * node come in. Messages that are posted later also leave and arrive later. */
static void settle(double now)
{
    node_links *here = &net->node[node_of_rank];
    while (net->posted.count > 0 && net->posted.item[0].at_s <= now) {
        message m = take_message(&net->posted);
        const double leaves_s = fmax(m.at_s, net->node[m.from].out_s);
        m.sent->left_s = net->node[m.from].out_s = leaves_s + m.takes_s;
        m.at_s = leaves_s + net->message_s;
        put_message(&net->node[m.to].coming, m);
    }
    while (here->coming.count > 0 && here->coming.item[0].at_s <= now) {
        const message m = take_message(&here->coming);
        here->in_s = fmax(m.at_s, here->in_s) + m.takes_s;
        m.line->arrival_s[m.line->settled++ % ON_THE_WAY] = here->in_s;
    }
}

static simulated_request *make_request(MPI_Request *request, line *of, int64_t number)
{
    simulated_request *r = malloc(sizeof *r);
    VJ_ASSERT(r);
    *r = (simulated_request){of, number, INFINITY};
    *request = (MPI_Request)(void *)r;
    return r;
}

int simulated_isend(const void *data, int n, MPI_Datatype type, int node, int tag, MPI_Comm comm, MPI_Request *request)
{
    int size;
    line *l = line_of(node, node_of_rank, tag);
    (void)data, (void)comm;
    MPI_Type_size(type, &size);
    owed_s += net->message_s;
    VJ_ASSERT(l->sent - l->taken < ON_THE_WAY);
    l->sent++;
    put_message(&net->posted, (message){.at_s = simgrid_get_clock() + owed_s,
                                        .takes_s = (double)n * size / net->bytes_s,
                                        .number = net->messages++,
                                        .from = node_of_rank,
                                        .to = node,
                                        .line = l,
                                        .sent = make_request(request, NULL, 0)});
    messages_sent++;
    bytes_sent += (int64_t)n * size;
    return MPI_SUCCESS;
}

int simulated_irecv(void *data, int n, MPI_Datatype type, int node, int tag, MPI_Comm comm, MPI_Request *request)
{
    line *l = line_of(node_of_rank, node, tag);
    (void)data, (void)n, (void)type, (void)comm;
    make_request(request, l, l->expected++);
    return MPI_SUCCESS;
}

static bool is_done(const simulated_request *r, double now)
{
    if (!r->line) return r->left_s <= now;
    return r->line->settled > r->number && r->line->arrival_s[r->number % ON_THE_WAY] <= now;
}

/* Test whether all requests are done. The messages of a line are tested in order, so the first that has not arrived
 * ends the search. */
int simulated_test_all(int count, MPI_Request *request, int *all)
{
    const double rounded_s = 1e-12;
    simulated_work(0);
    const double now = simgrid_get_clock() + rounded_s;
    settle(now);
    *all = 1;
    for (int i = 0; i < count && *all; i++) {
        simulated_request *r = (void *)request[i];
        if (!r) continue;
        *all = is_done(r, now);
        if (!*all) break;
        if (r->line) r->line->taken++;
        free(r);
        request[i] = NULL;
    }
    return MPI_SUCCESS;
}

void simulated_sent(int64_t sent[2])
{
    sent[0] = messages_sent;
    sent[1] = bytes_sent;
    messages_sent = bytes_sent = 0;
}

/* ------------------------------------------------------------------------------------------------ the window */

/* The window of a node, created by its first rank. */
typedef struct {
    sg_mutex_t mutex;
    sg_cond_t changed;
} node_bell;

struct vj_flags {
    node_bell *bell;
    int64_t counter[VJ_FLAGS];
};

vj_flags *vj_window_counters(void)
{
    return vj_calloc(1, sizeof(vj_flags));
}

/* Create the window. All ranks are in one address space, so they exchange the addresses of their counters. */
bool vj_window_share(vj_window *w, MPI_Comm comm, int64_t floats, char trouble[VJ_WINDOW_TROUBLE])
{
    (void)comm, (void)floats, (void)trouble;
    node_bell *bell = NULL;
    if (w->node_size == 1) return true;
    if (w->node_rank == 0) {
        bell = vj_calloc(1, sizeof *bell);
        VJ_ASSERT(bell);
        bell->mutex = sg_mutex_init();
        bell->changed = sg_cond_init();
    }
    MPI_Bcast(&bell, sizeof bell, MPI_BYTE, 0, w->node);
    vj_flags *mine = vj_window_counters();
    VJ_ASSERT(mine);
    mine->bell = bell;
    MPI_Allgather(&mine, sizeof mine, MPI_BYTE, w->flags, sizeof mine, MPI_BYTE, w->node);
    for (int r = 0; r < w->node_size; r++) w->memory[r] = simulated_memory();
    return true;
}

void vj_window_unshare(vj_window *w)
{
    MPI_Barrier(w->node);
    free(w->flags[w->node_rank]);
}

void vj_window_set(const vj_window *w, int flag, int64_t value)
{
    vj_flags *mine = w->flags[w->node_rank];
    simulated_work(0);
    if (mine->counter[flag] == value) return;
    mine->counter[flag] = value;
    last_news_s = simgrid_get_clock();
    if (!mine->bell) return;
    sg_mutex_lock(mine->bell->mutex);
    sg_cond_notify_all(mine->bell->changed);
    sg_mutex_unlock(mine->bell->mutex);
}

int64_t vj_window_min(const vj_window *w, int flag)
{
    int64_t least = INT64_MAX;
    for (int r = 0; r < w->node_size; r++)
        if (w->flags[r]->counter[flag] < least) least = w->flags[r]->counter[flag];
    return least;
}

/* Wait before looking again: a thirtieth of the time since the last change, so that waiting costs few simulator events
 * and is exact to a thirtieth. */
void vj_window_idle(const vj_window *w)
{
    const double since_s = simgrid_get_clock() - last_news_s;
    (void)w;
    simulated_work(since_s > 3e-5 ? since_s / 30 : 1e-6);
}

void vj_window_wait(const vj_window *w, int flag, int64_t value)
{
    node_bell *bell = w->flags[w->node_rank]->bell;
    simulated_work(0);
    if (!bell) return;
    sg_mutex_lock(bell->mutex);
    while (vj_window_min(w, flag) < value) sg_cond_wait(bell->changed, bell->mutex);
    sg_mutex_unlock(bell->mutex);
}
