/* Ranks of a node exchange handles of memory and events through MPI. */
#include "model/neighbours.h"

#include <stdlib.h>

#include "parallel/parallel.h"

/* The handles that a rank sends to the others. */
typedef struct {
    vj_device_handle vector[VJ_NEIGHBOUR_VECTORS], event[VJ_NEIGHBOUR_EVENTS];
} offer;

static vj_status allocate(vj_neighbours *n, void *const *own, int vectors, int events)
{
    bool all = true;
    for (int v = 0; v < vectors; v++) all &= (n->vector[v] = vj_calloc(n->size, sizeof **n->vector)) != NULL;
    for (int e = 0; e < events; e++) all &= (n->event[e] = vj_calloc(n->size, sizeof **n->event)) != NULL;
    if (!all) return vj_raise(VJ_ERR_MEMORY, "no memory for the addresses of %d ranks' vectors", n->size);
    for (int v = 0; v < vectors; v++) n->vector[v][n->rank] = own[v];
    return VJ_OK;
}

static vj_status make_offer(vj_neighbours *n, offer *mine, int vectors, int events)
{
    for (int v = 0; v < vectors; v++)
        if (n->vector[v][n->rank]) VJ_TRY(vj_device_share(n->be, n->vector[v][n->rank], &mine->vector[v]));
    for (int e = 0; e < events; e++) VJ_TRY(vj_event_share(n->be, &n->event[e][n->rank], &mine->event[e]));
    return VJ_OK;
}

static vj_status take_offers(vj_neighbours *n, const offer *of, int vectors, int events)
{
    for (int r = 0; r < n->size; r++) {
        if (r == n->rank) continue;
        for (int v = 0; v < vectors; v++)
            if (n->vector[v][n->rank]) VJ_TRY(vj_device_open(n->be, &of[r].vector[v], &n->vector[v][r]));
        for (int e = 0; e < events; e++) VJ_TRY(vj_event_open(n->be, &of[r].event[e], &n->event[e][r]));
    }
    return VJ_OK;
}

vj_status vj_neighbours_open(vj_neighbours *n, vj_backend *be, MPI_Comm comm, MPI_Comm node, void *const *own,
                             int vectors, int events)
{
    VJ_ASSERT(vectors <= VJ_NEIGHBOUR_VECTORS && events <= VJ_NEIGHBOUR_EVENTS);
    *n = (vj_neighbours){.be = be, .rank = vj_comm_rank(node), .size = vj_comm_size(node)};
    offer mine = {0}, *of = vj_calloc(n->size, sizeof *of);
    const bool room = allocate(n, own, vectors, events) == VJ_OK && of;
    vj_status status = vj_agree(comm, room ? VJ_OK : VJ_ERR_MEMORY);
    if (status == VJ_OK) status = vj_agree(comm, make_offer(n, &mine, vectors, events));
    if (status == VJ_OK) MPI_Allgather(&mine, sizeof mine, MPI_BYTE, of, sizeof mine, MPI_BYTE, node);
    if (status == VJ_OK) status = vj_agree(comm, take_offers(n, of, vectors, events));
    free(of);
    return status;
}

void vj_neighbours_close(vj_neighbours *n)
{
    if (!n->be) return;
    (void)vj_sync(n->be);
    for (int v = 0; v < VJ_NEIGHBOUR_VECTORS; v++) {
        for (int r = 0; n->vector[v] && r < n->size; r++)
            if (r != n->rank) vj_device_free(n->be, n->vector[v][r]);
        free(n->vector[v]);
    }
    for (int e = 0; e < VJ_NEIGHBOUR_EVENTS; e++) free(n->event[e]);
    *n = (vj_neighbours){0};
}

void vj_neighbours_record(vj_neighbours *n, int event)
{
    vj_event_record_again(n->be, n->event[event][n->rank]);
}

void vj_neighbours_follow(vj_neighbours *n, int event)
{
    for (int r = 0; r < n->size; r++) vj_event_follow(n->be, n->event[event][r]);
}

void vj_neighbours_warn(void)
{
    vj_warn("the GPUs of a node cannot share memory, so they sum through host memory, which is slow. Under Slurm let "
            "every task see all GPUs of the node (--gpus-per-node with --gpu-bind=none); in containers share the IPC "
            "and PID namespaces");
}
