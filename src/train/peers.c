/* See peers.h. A bucket goes through two steps: all ranks have made it; each has summed its share and delivered it. */
#include "train/peers.h"

#include <stdlib.h>
#include <string.h>

#include "parallel/parallel.h"
#include "parallel/window.h"

enum { GRADIENT, WEIGHTS, TARGET, VECTORS }; /* what is shared */
enum { MADE, DELIVERED };                    /* counters of the window, and events */

struct vj_peers {
    vj_backend *be;
    MPI_Comm comm;
    vj_window window;   /* for its counters */
    vj_peers_plan plan; /* its vectors and `first` are borrowed */
    int rank, size;
    float **vector[VECTORS]; /* [size] of each rank, as memory of this device; own ones are borrowed. Owned */
    vj_event **event[2];     /* [size] MADE, DELIVERED of each rank; of the backend. Owned */
    const float **in;        /* [size] of a sum. Owned */
    int64_t buckets;
    int64_t made, summed; /* of this step's buckets, by this rank */
    int64_t told[2];      /* what the counters stood at when this step began */
};

/* ------------------------------------------------------------------------------------------------ opening */

/* What a rank tells the others. */
typedef struct {
    vj_device_handle vector[VECTORS], event[2];
    int failed;
} offer;

static float *own_vector(const vj_peers *p, int which)
{
    return which == GRADIENT ? p->plan.gradient : which == WEIGHTS ? p->plan.weights : p->plan.target;
}

static vj_status make_offer(vj_peers *p, offer *mine)
{
    for (int v = 0; v < VECTORS; v++)
        if (own_vector(p, v)) VJ_TRY(vj_device_share(p->be, own_vector(p, v), &mine->vector[v]));
    for (int e = 0; e < 2; e++) VJ_TRY(vj_event_share(p->be, &p->event[e][p->rank], &mine->event[e]));
    return VJ_OK;
}

static vj_status take_offers(vj_peers *p, const offer *of)
{
    for (int r = 0; r < p->size; r++) {
        if (r == p->rank) continue;
        for (int v = 0; v < VECTORS; v++)
            if (own_vector(p, v)) VJ_TRY(vj_device_open(p->be, &of[r].vector[v], (void **)&p->vector[v][r]));
        for (int e = 0; e < 2; e++) VJ_TRY(vj_event_open(p->be, &of[r].event[e], &p->event[e][r]));
    }
    return VJ_OK;
}

/* VJ_ERR_LIBRARY: a device or the system refused. */
static vj_status connect(vj_peers *p)
{
    offer mine = {0}, *of = vj_calloc(p->size, sizeof *of);
    vj_status status = vj_agree(p->comm, of ? VJ_OK : VJ_ERR_MEMORY);
    if (status == VJ_OK) status = vj_agree(p->comm, make_offer(p, &mine));
    if (status == VJ_OK) MPI_Allgather(&mine, sizeof mine, MPI_BYTE, of, sizeof mine, MPI_BYTE, p->comm);
    if (status == VJ_OK) status = vj_agree(p->comm, take_offers(p, of));
    free(of);
    return status;
}

static vj_status allocate(vj_peers *p)
{
    bool all = (p->in = vj_calloc(p->size, sizeof *p->in)) != NULL;
    for (int v = 0; v < VECTORS; v++) all &= (p->vector[v] = vj_calloc(p->size, sizeof **p->vector)) != NULL;
    for (int e = 0; e < 2; e++) all &= (p->event[e] = vj_calloc(p->size, sizeof **p->event)) != NULL;
    if (!all) return vj_raise(VJ_ERR_MEMORY, "no memory for the addresses of %d ranks' vectors", p->size);
    for (int v = 0; v < VECTORS; v++) p->vector[v][p->rank] = own_vector(p, v);
    return VJ_OK;
}

vj_status vj_peers_open(vj_peers **peers, vj_backend *be, MPI_Comm comm, const vj_peers_plan *plan)
{
    *peers = NULL;
    vj_peers *p = vj_calloc(1, sizeof *p);
    VJ_TRY(vj_agree(comm, p ? VJ_OK : VJ_ERR_MEMORY));
    *p = (vj_peers){.be = be, .comm = comm, .plan = *plan};
    p->rank = vj_comm_rank(comm);
    p->size = vj_comm_size(comm);
    p->buckets = (plan->n + plan->bucket - 1) / plan->bucket;
    vj_status status = p->size > 1 ? vj_window_open(&p->window, comm, 1, plan->node) : VJ_ERR_STATE;
    const bool near = status == VJ_OK && p->window.nodes == 1 && vj_device_shares(be);
    if (near) status = vj_agree(comm, allocate(p));
    if (near && status == VJ_OK) status = connect(p);
    if (near && status == VJ_OK) {
        *peers = p;
        return VJ_OK;
    }
    if (near && status == VJ_ERR_LIBRARY && p->rank == 0)
        vj_warn(
            "the GPUs of this node cannot share memory, so gradients are summed through host memory, which is slow. "
            "Under Slurm let every task see all GPUs of the node (--gpus-per-node with --gpu-bind=none); in containers "
            "share "
            "the IPC and PID namespaces");
    vj_peers_close(p);
    return status == VJ_ERR_MEMORY ? status : VJ_OK;
}

void vj_peers_close(vj_peers *p)
{
    if (!p) return;
    (void)vj_sync(p->be);
    for (int v = 0; v < VECTORS; v++)
        for (int r = 0; r < p->size; r++)
            if (p->vector[v] && r != p->rank) vj_device_free(p->be, p->vector[v][r]);
    MPI_Barrier(p->comm); /* nobody frees what another still has open */
    if (p->size > 1) vj_window_close(&p->window);
    for (int v = 0; v < VECTORS; v++) free(p->vector[v]);
    for (int e = 0; e < 2; e++) free(p->event[e]);
    free(p->in);
    free(p);
}

/* ------------------------------------------------------------------------------------------------ sums */

/* Counter `which` of this rank stands at `value` of this step, and the event of that name is here. */
static void tell(vj_peers *p, int which, int64_t value)
{
    vj_event_record_again(p->be, p->event[which][p->rank]);
    vj_window_tell(&p->window, which, p->told[which] + value);
}

/* What is called from now on in this lane comes after all ranks' events of that name. */
static void follow_all(vj_peers *p, int which)
{
    for (int r = 0; r < p->size; r++)
        if (r != p->rank) vj_event_follow(p->be, p->event[which][r]);
}

/* This rank's share [*first, *last) of bucket k; buckets begin at the vector's end, which backward makes first. */
static void share_of(const vj_peers *p, int64_t k, int64_t *first, int64_t *last)
{
    const int64_t end = p->plan.n - k * p->plan.bucket, begin = end > p->plan.bucket ? end - p->plan.bucket : 0;
    if (p->plan.first) {
        *first = p->plan.first[p->rank] > begin ? p->plan.first[p->rank] : begin;
        *last = p->plan.first[p->rank + 1] < end ? p->plan.first[p->rank + 1] : end;
        return;
    }
    vj_split(end - begin, p->size, p->rank, first, last);
    *first += begin;
    *last += begin;
}

/* Every element is read and written by its owner alone, in all ranks' vectors. */
static void sum_bucket(vj_peers *p, int64_t k)
{
    int64_t first, last;
    share_of(p, k, &first, &last);
    if (first >= last) return;
    float **gradient = p->vector[GRADIENT];
    for (int r = 0; r < p->size; r++) p->in[r] = gradient[r] + first;
    vj_sum_arrays(p->be, gradient[p->rank] + first, p->in, p->size, last - first);
    for (int i = 1; !p->plan.first && i < p->size; i++) { /* not all to the same rank at once */
        const int r = (p->rank + i) % p->size;
        vj_copy(p->be, gradient[r] + first, gradient[p->rank] + first, last - first);
    }
}

/* Sum the buckets that all ranks have made. */
static void push(vj_peers *p)
{
    const int64_t ready = vj_window_least(&p->window, MADE) - p->told[MADE];
    if (p->summed >= ready) return;
    const vj_lane lane = vj_lane_enter(p->be, VJ_LANE_EXCHANGE);
    follow_all(p, MADE);
    vj_event_follow(p->be, p->event[MADE][p->rank]);
    for (; p->summed < ready; p->summed++) sum_bucket(p, p->summed);
    vj_lane_enter(p->be, lane);
}

static void made(void *peers, vj_backend *be, int64_t offset, vj_event *event)
{
    (void)be, (void)event; /* the shared event is recorded at the same place */
    vj_peers *p = peers;
    const int64_t whole = offset == 0 ? p->buckets : (p->plan.n - offset) / p->plan.bucket;
    if (whole > p->made) tell(p, MADE, p->made = whole);
    push(p);
}

/* All ranks have delivered: what this rank calls now finds it all. */
static void meet(vj_peers *p)
{
    const vj_lane lane = vj_lane_enter(p->be, VJ_LANE_EXCHANGE);
    tell(p, DELIVERED, 1);
    vj_lane_enter(p->be, lane);
    vj_window_wait(&p->window, DELIVERED, ++p->told[DELIVERED]);
    follow_all(p, DELIVERED);
    vj_event_follow(p->be, p->event[DELIVERED][p->rank]);
}

static void end(void *peers)
{
    vj_peers *p = peers;
    made(p, p->be, 0, NULL);
    for (; p->summed < p->buckets; push(p)) vj_window_idle(&p->window);
    meet(p);
    p->told[MADE] += p->buckets;
    p->made = p->summed = 0;
}

void vj_peers_gather(vj_peers *p)
{
    tell(p, MADE, 1);
    vj_window_wait(&p->window, MADE, ++p->told[MADE]);
    const vj_lane lane = vj_lane_enter(p->be, VJ_LANE_EXCHANGE);
    follow_all(p, MADE);
    vj_event_follow(p->be, p->event[MADE][p->rank]);
    const int64_t length[VECTORS] = {0, p->plan.n, p->plan.encoder_n}, *slice = p->plan.first;
    for (int v = WEIGHTS; v < VECTORS; v++) {
        const int64_t first = slice[p->rank], last = slice[p->rank + 1] < length[v] ? slice[p->rank + 1] : length[v];
        for (int i = 1; own_vector(p, v) && first < last && i < p->size; i++) {
            const int r = (p->rank + i) % p->size;
            vj_copy(p->be, p->vector[v][r] + first, p->vector[v][p->rank] + first, last - first);
        }
    }
    vj_lane_enter(p->be, lane);
    meet(p);
}

static void close_sum(void *peers)
{
    vj_peers_close(peers);
}

const vj_gradient_sum_ops vj_peers_sum = {made, end, close_sum};
