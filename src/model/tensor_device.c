/*
 * See tensor_device.h. All work is in the lane that was entered last, so this rank's own earlier work on a room is done
 * before the room is written again. The other ranks have read it by then too: the call in between used the other room,
 * and the events that they recorded in that call come after their reads.
 */
#include "model/tensor_device.h"

#include <stdlib.h>

#include "model/neighbours.h"
#include "parallel/parallel.h"
#include "parallel/window.h"

/* Events, and the window's counters that tell how often each was recorded. */
enum { FILLED, SUMMED, EVENTS };
enum { LINE = 16 }; /* floats: shares are aligned for vector loads */

struct vj_tensor_device {
    vj_backend *be;
    MPI_Comm comm;            /* borrowed */
    vj_window window;         /* used for its counters */
    vj_neighbours neighbours; /* vector 0: the rooms */
    float *rooms;             /* device, [2][VJ_TENSOR_PIECE]; owned */
    int64_t calls, sums;      /* so far */
    int64_t *share;           /* [size + 1] */
    const float **in;         /* [size] */
};

/* ------------------------------------------------------------------------------------------------ opening */

static vj_status allocate(vj_tensor_device *d, int size)
{
    d->rooms = vj_device_alloc(d->be, VJ_TENSOR_ROOM_BYTES);
    d->share = vj_calloc(size + 1, sizeof *d->share);
    d->in = vj_calloc(size, sizeof *d->in);
    if (!d->rooms) return VJ_ERR_MEMORY; /* reported by the device */
    return d->share && d->in ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a tensor group of %d ranks", size);
}

static vj_status connect(vj_tensor_device *d, bool warns)
{
    void *own[] = {d->rooms};
    const vj_status status = vj_neighbours_open(&d->neighbours, d->be, d->comm, d->window.node, own, 1, EVENTS);
    if (status == VJ_ERR_LIBRARY && warns) vj_neighbours_warn();
    return status;
}

vj_status vj_tensor_device_open(vj_tensor_device **device, vj_backend *be, MPI_Comm comm, int node, bool warns)
{
    const int size = vj_comm_size(comm);
    *device = NULL;
    if (size == 1 || !vj_device_shares(be)) return VJ_OK;
    vj_tensor_device *d = vj_calloc(1, sizeof *d);
    VJ_TRY(vj_agree(comm, d ? VJ_OK : VJ_ERR_MEMORY));
    *d = (vj_tensor_device){.be = be, .comm = comm};
    vj_status status = vj_window_open(&d->window, comm, 1, node);
    const bool together = status == VJ_OK && d->window.nodes == 1;
    if (together) status = vj_agree(comm, allocate(d, size));
    if (together && status == VJ_OK) status = connect(d, warns && vj_comm_rank(comm) == 0);
    if (together && status == VJ_OK) {
        *device = d;
        return VJ_OK;
    }
    vj_tensor_device_close(d);
    return status == VJ_ERR_LIBRARY ? VJ_OK : status;
}

void vj_tensor_device_close(vj_tensor_device *d)
{
    if (!d) return;
    vj_neighbours_close(&d->neighbours);
    MPI_Barrier(d->comm); /* no rank may free memory that another rank still has open */
    vj_window_close(&d->window);
    vj_device_free(d->be, d->rooms);
    free(d->share);
    free(d->in);
    free(d);
}

/* ------------------------------------------------------------------------------------------------ exchanges */

static int size_of(const vj_tensor_device *d)
{
    return d->neighbours.size;
}

static void copy(const vj_tensor_device *d, float *to, const float *from, int64_t n)
{
    if (n > 0) vj_copy_bytes(d->be, to, from, n * (int64_t)sizeof *to);
}

/* Wait until all ranks have recorded the event `times` times, and let later work wait for these events. */
static void meet(vj_tensor_device *d, int event, int64_t times)
{
    vj_neighbours_record(&d->neighbours, event);
    vj_window_set(&d->window, event, times);
    vj_window_wait(&d->window, event, times);
    vj_neighbours_follow(&d->neighbours, event);
}

/* The room of rank r that this call uses. */
static float *room_of(const vj_tensor_device *d, int r)
{
    return (float *)d->neighbours.vector[0][r] + d->calls % 2 * VJ_TENSOR_PIECE;
}

/* Copy elements [from, to) of x to this rank's room, and wait until all rooms may be read. */
static void fill_rooms(vj_tensor_device *d, const float *x, int64_t from, int64_t to)
{
    VJ_ASSERT(to <= VJ_TENSOR_PIECE);
    d->calls++;
    copy(d, room_of(d, d->neighbours.rank) + from, x + from, to - from);
    meet(d, FILLED, d->calls);
}

/* Sum elements [from, to) of all rooms. */
static void sum_rooms(vj_tensor_device *d, float *out, int64_t from, int64_t to)
{
    for (int r = 0; r < size_of(d); r++) d->in[r] = room_of(d, r) + from;
    if (to > from) vj_sum_arrays(d->be, out, d->in, size_of(d), to - from);
}

/* Copy each rank's share from its room to x, each rank beginning with another one. */
static void read_rooms(const vj_tensor_device *d, float *x, const int64_t *first, bool own)
{
    for (int i = own ? 0 : 1; i < size_of(d); i++) {
        const int r = (d->neighbours.rank + i) % size_of(d);
        copy(d, x + first[r], room_of(d, r) + first[r], first[r + 1] - first[r]);
    }
}

void vj_tensor_device_allreduce(vj_tensor_device *d, float *x, int64_t n)
{
    const int me = d->neighbours.rank;
    const int64_t each = (n + size_of(d) - 1) / size_of(d), step = (each + LINE - 1) / LINE * LINE;
    for (int r = 0; r <= size_of(d); r++) d->share[r] = r * step < n ? r * step : n;
    fill_rooms(d, x, 0, n);
    sum_rooms(d, room_of(d, me) + d->share[me], d->share[me], d->share[me + 1]);
    meet(d, SUMMED, ++d->sums);
    read_rooms(d, x, d->share, true);
}

void vj_tensor_device_reduce_scatter(vj_tensor_device *d, float *x, const int64_t *first)
{
    const int me = d->neighbours.rank;
    fill_rooms(d, x, first[0], first[size_of(d)]);
    sum_rooms(d, x + first[me], first[me], first[me + 1]);
}

void vj_tensor_device_allgather(vj_tensor_device *d, float *x, const int64_t *first)
{
    const int me = d->neighbours.rank;
    fill_rooms(d, x, first[me], first[me + 1]);
    read_rooms(d, x, first, false);
}
