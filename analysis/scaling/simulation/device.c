/* A simulated GPU (device.h). This file has the time that a call takes; when it may begin follows from its lane, as in
 * train/peers.c. */
#include "device.h"

#include <math.h>
#include <simgrid/engine.h>

#include "machine.h"

enum { MARKS = VJ_SUM_DELIVERED + 1, RECEIVED = 1 << 30 /* floats behind the begin of simulated_memory() */ };

struct simulated_device {
    vj_sum_device ops;
    int ranks;                            /* of the node */
    float **vector;                       /* [ranks] all the same memory. Owned */
    double **mark;                        /* [ranks] each rank's own_mark. Owned, the arrays are not */
    double own_mark[MARKS];               /* time when the work before a mark is done */
    double compute_s, exchange_s, copy_s; /* the lanes are busy until then */
    double taken_s;                       /* time of summing kernels, which makes the next computing longer */
    double slot_s[VJ_SUM_SLOTS];          /* time when the work that a slot waits for is done */
    double link_bytes_s, host_bytes_s;
};

static double now(void)
{
    return simgrid_get_clock();
}

/* Add work of `seconds` to the end of a lane; it begins not before `after`. */
static void add(double *lane, double after, double seconds)
{
    *lane = fmax(fmax(*lane, after), now()) + seconds;
}

void simulated_device_sum(void *device, float *out, const float *const *in, int count, int64_t n)
{
    simulated_device *d = device;
    int of_ranks = 0;
    (void)out;
    for (int i = 0; i < count; i++) of_ranks += in[i] < simulated_memory() + RECEIVED;
    if (of_ranks < 2) return;
    const double seconds = (of_ranks - 1) * (double)n * sizeof(float) / d->link_bytes_s; /* one is its own */
    add(&d->exchange_s, 0, seconds);
    d->taken_s += seconds;
}

static void copy(void *device, void *to, const void *from, int64_t bytes)
{
    simulated_device *d = device;
    (void)to, (void)from;
    add(&d->exchange_s, 0, (double)bytes / d->link_bytes_s);
}

static void mark(void *device, vj_sum_mark what)
{
    simulated_device *d = device;
    d->own_mark[what] = what == VJ_SUM_MADE ? d->compute_s : d->exchange_s;
}

static void follow(void *device, vj_sum_mark what)
{
    simulated_device *d = device;
    double *lane = what == VJ_SUM_DELIVERED ? &d->compute_s : &d->exchange_s;
    for (int r = 0; r < d->ranks; r++) *lane = fmax(*lane, d->mark[r][what]);
    if (what == VJ_SUM_DELIVERED) d->taken_s = 0; /* nothing was computed meanwhile */
}

static void keep(void *device, int slot)
{
    simulated_device *d = device;
    double *lane = d->ops.to_host ? &d->copy_s : &d->exchange_s;
    d->slot_s[slot] = *lane = fmax(*lane, d->exchange_s); /* after all calls so far */
}

static bool done(void *device, int slot)
{
    return now() >= ((const simulated_device *)device)->slot_s[slot];
}

static float *alloc(void *device, int64_t n, bool host)
{
    (void)device, (void)n;
    return simulated_memory() + (host ? 0 : RECEIVED);
}

static void to_host(void *device, void *host, const void *from, int64_t bytes)
{
    simulated_device *d = device;
    (void)host, (void)from;
    add(&d->copy_s, d->exchange_s, (double)bytes / d->host_bytes_s);
}

static void to_device(void *device, void *to, const void *host, int64_t bytes)
{
    simulated_device *d = device;
    (void)to, (void)host;
    add(&d->copy_s, 0, (double)bytes / d->host_bytes_s);
    d->exchange_s = fmax(d->exchange_s, d->copy_s);
}

vj_status simulated_device_open(simulated_device **device, MPI_Comm node, double link_bytes_s, double host_bytes_s)
{
    simulated_device *d = *device = vj_calloc(1, sizeof *d);
    if (!d) return vj_raise(VJ_ERR_MEMORY, "no memory for a simulated GPU");
    MPI_Comm_size(node, &d->ranks);
    d->vector = vj_calloc(d->ranks, sizeof *d->vector);
    d->mark = vj_calloc(d->ranks, sizeof *d->mark);
    if (!d->vector || !d->mark) return vj_raise(VJ_ERR_MEMORY, "no memory for the addresses of %d ranks", d->ranks);
    double *mine = d->own_mark;
    MPI_Allgather(&mine, sizeof mine, MPI_BYTE, d->mark, sizeof mine, MPI_BYTE, node);
    for (int r = 0; r < d->ranks; r++) d->vector[r] = simulated_memory();
    d->link_bytes_s = link_bytes_s;
    d->host_bytes_s = host_bytes_s;
    d->ops = (vj_sum_device){
        .vectors = d->vector, .copy = copy, .mark = mark, .follow = follow, .keep = keep, .done = done, .alloc = alloc};
    if (host_bytes_s > 0) {
        d->ops.to_host = to_host;
        d->ops.to_device = to_device;
    }
    return VJ_OK;
}

void simulated_device_close(simulated_device *d)
{
    if (!d) return;
    free(d->vector);
    free(d->mark);
    free(d);
}

const vj_sum_device *simulated_device_ops(const simulated_device *d)
{
    return &d->ops;
}

void simulated_device_start(simulated_device *d)
{
    d->compute_s = d->exchange_s = d->copy_s = now();
}

void simulated_device_compute(simulated_device *d, double seconds)
{
    d->compute_s += seconds + d->taken_s;
    d->taken_s = 0;
}

double simulated_device_busy(const simulated_device *d)
{
    const double least_s = 1e-9, left_s = d->compute_s - now(); /* the simulator's clock rounds */
    return left_s > least_s ? left_s : 0;
}
