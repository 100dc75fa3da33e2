/* See peers.h. The functions that parallel/gradient_sum.c calls (vj_sum_device) are in the part "sums". */
#include "train/peers.h"

#include <stdlib.h>
#include <string.h>

#include "model/neighbours.h"
#include "parallel/device_gather.h"
#include "parallel/gradient_sum.h"
#include "parallel/parallel.h"
#include "parallel/window.h"
#include "train/device_messages.h"

enum { GRADIENT, GATHERED, VECTORS = GATHERED + VJ_MAX_GATHERED }; /* numbers of the shared vectors */
enum { MARKS = VJ_SUM_DELIVERED + 1, LARGEST_BUCKET = 64 << 18 };

/* Memory for messages. */
typedef struct message_block {
    struct message_block *next;
    bool host; /* from vj_host_alloc(), else from vj_device_alloc() */
    float *memory;
} message_block;

struct vj_peers {
    vj_backend *be;
    MPI_Comm comm;
    vj_window window;             /* knows the ranks of this node; the gather uses its counters */
    vj_peers_plan plan;           /* its pointers are borrowed */
    vj_sum_device device;         /* the functions of this device for the sum */
    vj_gradient_sum *sum;         /* owned */
    vj_device_gather *gather;     /* owned; NULL: nothing is gathered */
    vj_neighbours of_node;        /* vectors of the node's ranks, and an event of each rank for each vj_sum_mark */
    vj_event *slot[VJ_SUM_SLOTS]; /* of the backend */
    message_block *blocks;        /* owned */
};

/* ------------------------------------------------------------------------------------------------ opening */

/* Open what the ranks of this node share. VJ_ERR_LIBRARY: a device or the system refused. */
static vj_status connect(vj_peers *p)
{
    void *own[VECTORS] = {p->plan.gradient};
    for (int v = 0; v < p->plan.vectors; v++) own[GATHERED + v] = p->plan.memory[v];
    return vj_neighbours_open(&p->of_node, p->be, p->comm, p->window.node, own, VECTORS, MARKS);
}

int64_t vj_peers_bucket(int64_t bucket_mb, int nodes)
{
    const int64_t floats = bucket_mb << 18, most = floats > LARGEST_BUCKET ? floats : LARGEST_BUCKET;
    return floats < most / nodes ? floats * nodes : most;
}

static const vj_sum_device sum_device;
static void sum_arrays(void *peers, float *out, const float *const *in, int count, int64_t n);

/* Return whether every rank sends only its own memory. MPI cannot send memory that another process shares. */
static bool sends_its_own(const vj_window *w)
{
    return w->speakers == w->largest && w->partials.per_node == 1;
}

static vj_status open_sum(vj_peers *p)
{
    const vj_window *w = &p->window;
    p->device = sum_device;
    p->device.vectors = (float *const *)p->of_node.vector[GRADIENT];
    if (w->nodes > 1 && sends_its_own(w) && vj_device_messages(p->be, w->across, p->comm))
        p->device.to_host = p->device.to_device = NULL;
    const vj_gradient_sum_plan plan = {.n = p->plan.n,
                                       .bucket = p->plan.bucket,
                                       .first = p->plan.first,
                                       .sum = sum_arrays,
                                       .device = &p->device,
                                       .user = p,
                                       .node = p->plan.node};
    return vj_gradient_sum_open(&p->sum, p->comm, &plan);
}

static vj_status open_gather(vj_peers *p)
{
    if (p->plan.vectors == 0) return VJ_OK;
    vj_device_gather_plan plan = {.vectors = p->plan.vectors,
                                  .rank = vj_comm_rank(p->comm),
                                  .ranks = vj_comm_size(p->comm),
                                  .bucket = p->plan.bucket,
                                  .device = &p->device,
                                  .user = p};
    for (int v = 0; v < plan.vectors; v++) {
        plan.vector[v] = p->plan.gathered[v];
        plan.vector[v].of = p->of_node.vector[GATHERED + v];
    }
    return vj_device_gather_open(&p->gather, &p->window, &plan);
}

vj_status vj_peers_open(vj_peers **peers, vj_backend *be, MPI_Comm comm, const vj_peers_plan *plan)
{
    *peers = NULL;
    if (vj_comm_size(comm) == 1 || !vj_device_shares(be)) return VJ_OK;
    vj_peers *p = vj_calloc(1, sizeof *p);
    VJ_TRY(vj_agree(comm, p ? VJ_OK : VJ_ERR_MEMORY));
    *p = (vj_peers){.be = be, .comm = comm, .plan = *plan};
    vj_status status = vj_window_open(&p->window, comm, 1, plan->node);
    if (status == VJ_OK) status = connect(p);
    if (status == VJ_ERR_LIBRARY && vj_comm_rank(comm) == 0) vj_neighbours_warn();
    if (status == VJ_OK) status = vj_agree(comm, open_sum(p));
    if (status == VJ_OK) status = vj_agree(comm, open_gather(p));
    if (status == VJ_OK) {
        *peers = p;
        return VJ_OK;
    }
    vj_peers_close(p);
    return status == VJ_ERR_LIBRARY ? VJ_OK : status;
}

void vj_peers_close(vj_peers *p)
{
    if (!p) return;
    vj_neighbours_close(&p->of_node);
    MPI_Barrier(p->comm); /* no rank may free memory that another rank still has open */
    vj_gradient_sum_close(p->sum);
    vj_device_gather_close(p->gather);
    vj_window_close(&p->window);
    while (p->blocks) {
        message_block *block = p->blocks;
        p->blocks = block->next;
        block->host ? vj_host_free(p->be, block->memory) : vj_device_free(p->be, block->memory);
        free(block);
    }
    free(p);
}

const char *vj_peers_way(const vj_peers *p)
{
    if (p->window.nodes == 1) return "from GPU to GPU";
    return p->device.to_host ? "from GPU to GPU on a node, MPI from pinned host memory between nodes"
                             : "from GPU to GPU on a node, MPI from GPU to GPU between nodes";
}

/* ------------------------------------------------------------------------------------------------ sums */

/* The gradient is computed and read in lane compute, summed and delivered in lane exchange. */
static vj_lane lane_of(vj_sum_mark mark, vj_sum_mark in_compute)
{
    return mark == in_compute ? VJ_LANE_COMPUTE : VJ_LANE_EXCHANGE;
}

static void mark_sum(void *peers, vj_sum_mark mark)
{
    vj_peers *p = peers;
    const vj_lane lane = vj_lane_enter(p->be, lane_of(mark, VJ_SUM_MADE));
    vj_neighbours_record(&p->of_node, (int)mark);
    vj_lane_enter(p->be, lane);
}

static void follow_sum(void *peers, vj_sum_mark mark)
{
    vj_peers *p = peers;
    const vj_lane lane = vj_lane_enter(p->be, lane_of(mark, VJ_SUM_DELIVERED));
    vj_neighbours_follow(&p->of_node, (int)mark);
    vj_lane_enter(p->be, lane);
}

static void sum_arrays(void *peers, float *out, const float *const *in, int count, int64_t n)
{
    vj_sum_arrays(((vj_peers *)peers)->be, out, in, count, n);
}

static void copy(void *peers, void *to, const void *from, int64_t bytes)
{
    vj_copy_bytes(((vj_peers *)peers)->be, to, from, bytes);
}

static float *alloc(void *peers, int64_t n, bool host)
{
    vj_peers *p = peers;
    const int64_t bytes = n * (int64_t)sizeof(float);
    message_block *block = vj_calloc(1, sizeof *block);
    if (!block) return NULL;
    *block = (message_block){p->blocks, host, host ? vj_host_alloc(p->be, bytes) : vj_device_alloc(p->be, bytes)};
    p->blocks = block;
    return block->memory;
}

/* Copies in a lane of their own, beside the sums: they come after what was called before, as what follows them does. */
static void to_host(void *peers, void *host, const void *device, int64_t bytes)
{
    vj_backend *be = ((vj_peers *)peers)->be;
    vj_event *before = vj_event_record(be);
    const vj_lane lane = vj_lane_enter(be, VJ_LANE_COPY);
    vj_event_follow(be, before);
    vj_download_begin(be, host, device, bytes);
    vj_lane_enter(be, lane);
}

static void to_device(void *peers, void *device, const void *host, int64_t bytes)
{
    vj_backend *be = ((vj_peers *)peers)->be;
    const vj_lane lane = vj_lane_enter(be, VJ_LANE_COPY);
    vj_upload(be, device, host, bytes);
    vj_event *after = vj_event_record(be);
    vj_lane_enter(be, lane);
    vj_event_follow(be, after);
}

/*
 * If messages go through host memory, they wait for a copy, and also, even if there is nothing to copy, for all work
 * called before, because arriving data may overwrite what that work reads.
 */
static void keep(void *peers, int slot)
{
    vj_peers *p = peers;
    vj_event *before = vj_event_record(p->be);
    const vj_lane lane = vj_lane_enter(p->be, p->device.to_host ? VJ_LANE_COPY : VJ_LANE_EXCHANGE);
    vj_event_follow(p->be, before);
    p->slot[slot] = vj_event_record(p->be);
    vj_lane_enter(p->be, lane);
}

static bool done(void *peers, int slot)
{
    vj_peers *p = peers;
    return vj_event_done(p->be, p->slot[slot]);
}

static const vj_sum_device sum_device = {.copy = copy,
                                         .mark = mark_sum,
                                         .follow = follow_sum,
                                         .keep = keep,
                                         .done = done,
                                         .alloc = alloc,
                                         .to_host = to_host,
                                         .to_device = to_device};

static void made(void *peers, vj_backend *be, int64_t offset, vj_event *event)
{
    (void)event; /* one that the node's ranks share is recorded at the same place */
    const vj_lane lane = vj_lane_enter(be, VJ_LANE_EXCHANGE);
    vj_gradient_sum_made(((vj_peers *)peers)->sum, offset);
    vj_lane_enter(be, lane);
}

/*
 * Messages wait for the device, which is far behind the host; the time that it still needs to compute the gradient is
 * not counted as communication.
 */
static double end(void *peers)
{
    vj_peers *p = peers;
    double began_s = vj_now();
    made(p, p->be, 0, NULL);
    while (p->window.nodes > 1 && !vj_event_done(p->be, p->of_node.event[VJ_SUM_MADE][p->of_node.rank])) {
        vj_window_idle(&p->window);
        made(p, p->be, 0, NULL);
        began_s = vj_now();
    }
    const vj_lane lane = vj_lane_enter(p->be, VJ_LANE_EXCHANGE);
    vj_gradient_sum_end(p->sum);
    vj_lane_enter(p->be, lane);
    return vj_now() - began_s;
}

static void close_sum(void *peers)
{
    vj_peers_close(peers);
}

const vj_gradient_sum_ops vj_peers_sum = {made, end, close_sum};

/* ------------------------------------------------------------------------------------------------ gathers */

/* The events are those of the sum, which must not be running. */
void vj_peers_gather(vj_peers *p)
{
    const vj_lane lane = vj_lane_enter(p->be, VJ_LANE_EXCHANGE);
    vj_device_gather_run(p->gather);
    vj_lane_enter(p->be, lane);
}
