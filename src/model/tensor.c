/* Sums and gathers over a tensor group: between devices that share memory, else through host views of device memory. */
#include "model/tensor.h"

#include <stdlib.h>

vj_status vj_tensor_open(vj_tensor **tensor, const vj_layout *layout, bool sequence)
{
    *tensor = NULL;
    if (layout->tensor_size == 1) return VJ_OK;
    VJ_ASSERT(layout->tensor_size <= VJ_TENSOR_MAX);
    vj_tensor *t = *tensor = vj_calloc(1, sizeof *t);
    if (!t) return vj_raise(VJ_ERR_MEMORY, "no memory for a tensor group");
    *t = (vj_tensor){
        .comm = layout->tensor, .rank = layout->tensor_rank, .size = layout->tensor_size, .sequence = sequence};
    VJ_TRY(vj_group_open(&t->group, t->comm, layout->place.node));
    vj_group_set_threads(t->group, layout->place.threads);
    return VJ_OK;
}

vj_status vj_tensor_use_device(vj_tensor *t, vj_backend *be, const vj_layout *layout)
{
    return t ? vj_tensor_device_open(&t->device, be, t->comm, layout->place.node, layout->data_rank == 0) : VJ_OK;
}

void vj_tensor_close(vj_tensor *t)
{
    if (!t) return;
    vj_tensor_device_close(t->device);
    vj_group_close(t->group);
    free(t);
}

typedef enum { SUM, SUM_ROWS, GATHER_ROWS } exchange;

static void exchange_on_host(exchange what, vj_tensor *t, vj_backend *be, float *x, int64_t n, const int64_t *first)
{
    float *view = vj_map(be, x, n * (int64_t)sizeof *x, VJ_MAP_READ | VJ_MAP_WRITE);
    if (what == SUM)
        vj_group_allreduce(t->group, view, n);
    else if (what == SUM_ROWS)
        vj_group_reduce_scatter(t->group, view, first);
    else
        vj_group_allgather(t->group, view, first);
    vj_unmap(be, view);
}

static void exchange_on_devices(exchange what, vj_tensor *t, float *x, int64_t n, const int64_t *first)
{
    if (what == SUM)
        vj_tensor_device_allreduce(t->device, x, n);
    else if (what == SUM_ROWS)
        vj_tensor_device_reduce_scatter(t->device, x, first);
    else
        vj_tensor_device_allgather(t->device, x, first);
}

/* The number of floats that are exchanged at a time. */
static int64_t piece_of(const vj_tensor *t, const vj_backend *be, int64_t all)
{
    if (t->device) return VJ_TENSOR_PIECE;
    return vj_device_is_host(be) ? all : VJ_MAP_BYTES / (int64_t)sizeof(float);
}

/*
 * Exchange x [R, width] in pieces of the largest possible length, each with the rows of all ranks that lie in it. The
 * time counts as communication, whatever the phase.
 */
static void perform(exchange what, vj_tensor *t, vj_backend *be, float *x, int64_t R, int64_t width)
{
    const double began_s = vj_now();
    const vj_phase phase = vj_phase_enter(be, VJ_PHASE_REDUCE);
    const int64_t all = R * width, piece = piece_of(t, be, all);
    for (int64_t at = 0, n; at < all; at += n) {
        n = all - at < piece ? all - at : piece;
        int64_t first[VJ_TENSOR_MAX + 1] = {0}, unused;
        for (int r = 0; r < t->size; r++) {
            vj_split(R, t->size, r, &unused, &first[r + 1]);
            const int64_t end = first[r + 1] * width - at;
            first[r + 1] = end < 0 ? 0 : end > n ? n : end;
        }
        if (t->device)
            exchange_on_devices(what, t, x + at, n, first);
        else
            exchange_on_host(what, t, be, x + at, n, first);
    }
    vj_phase_enter(be, phase);
    t->comm_s += vj_now() - began_s;
}

void vj_tensor_sum(vj_tensor *t, vj_backend *be, float *x, int64_t n)
{
    if (t) perform(SUM, t, be, x, n, 1);
}

void vj_tensor_sum_rows(vj_tensor *t, vj_backend *be, float *x, int64_t R, int D)
{
    if (t) perform(SUM_ROWS, t, be, x, R, D);
}

void vj_tensor_gather_rows(vj_tensor *t, vj_backend *be, vj_array x, int64_t R, int D)
{
    if (!t) return;
    const int64_t bytes = D * vj_type_bytes(x.type);
    VJ_ASSERT(bytes % (int64_t)sizeof(float) == 0);
    perform(GATHER_ROWS, t, be, x.data, R, bytes / (int64_t)sizeof(float)); /* copied, whatever it holds */
}

void vj_tensor_broadcast(vj_tensor *t, vj_backend *be, float *x, int64_t n)
{
    const int64_t piece = VJ_MAP_BYTES / (int64_t)sizeof *x;
    for (int64_t at = 0; t && at < n; at += piece) {
        const int64_t count = n - at < piece ? n - at : piece;
        float *view = vj_map(be, x + at, count * (int64_t)sizeof *x, t->rank == 0 ? VJ_MAP_READ : VJ_MAP_WRITE);
        vj_broadcast(view, count * (int64_t)sizeof *x, t->comm);
        vj_unmap(be, view);
    }
}

void vj_tensor_assemble(vj_tensor *t, vj_backend *be, const vj_param *p, const float *held, int64_t first, int64_t last,
                        int owner, float *whole, float *work)
{
    int count[VJ_TENSOR_MAX], at[VJ_TENSOR_MAX];
    VJ_ASSERT(p->shares == t->size && last - first <= VJ_ASSEMBLE_MAX);
    for (int r = 0; r < t->size; r++) {
        count[r] = (int)(vj_param_before(p, r, last) - vj_param_before(p, r, first));
        at[r] = r ? at[r - 1] + count[r - 1] : 0;
    }
    float *mine = work + VJ_ASSEMBLE_MAX;
    vj_download(be, mine, held + vj_param_before(p, t->rank, first), count[t->rank] * (int64_t)sizeof *mine);
    MPI_Gatherv(mine, count[t->rank], MPI_FLOAT, work, count, at, MPI_FLOAT, owner, t->comm);
    for (int r = 0; r < t->size && t->rank == owner; r++) vj_param_paste(p, r, first, last, whole, work + at[r]);
}
