/* Shared memory between the ranks of a node. */
#include "parallel/window.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "parallel/parallel.h"

/* Counters of one rank, each in its own cache line: others read them while they wait. */
struct vj_flags {
    struct {
        _Alignas(64) _Atomic int64_t value;
    } counter[VJ_FLAGS];
};

enum { SPINS = 200 }; /* looks before the processor is given away: some microseconds */

/* Split comm into nodes of neighbours, all of one size; where that cannot be, into single ranks. Collective. */
static void split(vj_window *w, MPI_Comm comm, int most)
{
    int rank, size, first, regular;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &w->node);
    MPI_Comm_size(w->node, &w->node_size);
    MPI_Comm_rank(w->node, &w->node_rank);
    if (most > 0 && most < w->node_size) {
        MPI_Comm whole = w->node;
        MPI_Comm_split(whole, w->node_rank / most, rank, &w->node);
        MPI_Comm_free(&whole);
        MPI_Comm_size(w->node, &w->node_size);
        MPI_Comm_rank(w->node, &w->node_rank);
    }
    first = rank - w->node_rank;
    int least_first = first, shape[2] = {w->node_size, -w->node_size};
    MPI_Allreduce(MPI_IN_PLACE, shape, 2, MPI_INT, MPI_MAX, comm);
    MPI_Bcast(&least_first, 1, MPI_INT, 0, w->node);
    regular = shape[0] == -shape[1] && least_first == first && first % w->node_size == 0;
    MPI_Allreduce(MPI_IN_PLACE, &regular, 1, MPI_INT, MPI_MIN, comm);
    if (!regular) {
        MPI_Comm_free(&w->node);
        MPI_Comm_split(comm, rank, 0, &w->node);
        w->node_size = 1;
        w->node_rank = 0;
    }
    w->node_index = rank / w->node_size;
    w->nodes = size / w->node_size;
    MPI_Comm_split(comm, w->node_rank, rank, &w->across);
}

static void *aligned(void *memory)
{
    return (char *)memory + (64 - (uintptr_t)memory % 64) % 64;
}

/* Memory of all ranks of the node in one window; the flags lie before the floats. */
static vj_status share(vj_window *w, size_t bytes)
{
    MPI_Info info;
    MPI_Errhandler usual;
    void *mine;
    MPI_Info_create(&info);
    MPI_Info_set(info, "alloc_shared_noncontig", "true"); /* each rank's pages near it */
    MPI_Comm_get_errhandler(w->node, &usual);
    MPI_Comm_set_errhandler(w->node, MPI_ERRORS_RETURN); /* without this memory there is another way */
    const int code = MPI_Win_allocate_shared((MPI_Aint)bytes, 1, info, w->node, &mine, &w->shared);
    MPI_Comm_set_errhandler(w->node, usual);
    MPI_Errhandler_free(&usual);
    MPI_Info_free(&info);
    if (code != MPI_SUCCESS) {
        w->shared = MPI_WIN_NULL;
        return VJ_ERR_MEMORY;
    }
    for (int r = 0; r < w->node_size; r++) {
        MPI_Aint size;
        int unit;
        void *memory;
        MPI_Win_shared_query(w->shared, r, &size, &unit, &memory);
        w->flags[r] = aligned(memory);
        w->memory[r] = (float *)(w->flags[r] + 1);
    }
    return VJ_OK;
}

static vj_status allocate(vj_window *w, int64_t floats)
{
    const size_t bytes = sizeof(vj_flags) + (size_t)floats * sizeof(float) + 64;
    w->flags = vj_calloc(w->node_size, sizeof *w->flags);
    w->memory = vj_calloc(w->node_size, sizeof *w->memory);
    if (!w->flags || !w->memory) return vj_raise(VJ_ERR_MEMORY, "no memory for a window of %d ranks", w->node_size);
    if (w->node_size > 1) {
        VJ_TRY(share(w, bytes));
        memset(w->flags[w->node_rank], 0, bytes - 64);
        MPI_Barrier(w->node);
    } else {
        w->flags[0] = vj_calloc(1, sizeof(vj_flags));
        if (!w->flags[0]) return vj_raise(VJ_ERR_MEMORY, "no memory for the counters of a rank");
    }
    return VJ_OK;
}

vj_status vj_window_open(vj_window *w, MPI_Comm comm, int64_t floats, int most)
{
    *w = (vj_window){.shared = MPI_WIN_NULL, .node = MPI_COMM_NULL, .across = MPI_COMM_NULL};
    split(w, comm, most);
    vj_status status = vj_agree(comm, allocate(w, floats));
    if (status != VJ_ERR_MEMORY || w->node_size == 1) return status;
    vj_warn("no %lld bytes of memory to share with %d ranks of this node (is /dev/shm large enough?): what they sum "
            "goes through MPI instead",
            (long long)floats * 4, w->node_size - 1);
    vj_window_close(w);
    split(w, comm, 1);
    return vj_agree(comm, allocate(w, floats));
}

void vj_window_close(vj_window *w)
{
    if (w->shared != MPI_WIN_NULL)
        MPI_Win_free(&w->shared);
    else if (w->flags)
        free(w->flags[0]);
    free(w->flags);
    free(w->memory);
    w->flags = NULL;
    w->memory = NULL;
    if (w->node != MPI_COMM_NULL) MPI_Comm_free(&w->node);
    if (w->across != MPI_COMM_NULL) MPI_Comm_free(&w->across);
}

void vj_window_tell(const vj_window *w, int flag, int64_t value)
{
    atomic_store_explicit(&w->flags[w->node_rank]->counter[flag].value, value, memory_order_release);
}

int64_t vj_window_least(const vj_window *w, int flag)
{
    int64_t least = INT64_MAX;
    for (int r = 0; r < w->node_size; r++) {
        const int64_t value = atomic_load_explicit(&w->flags[r]->counter[flag].value, memory_order_acquire);
        if (value < least) least = value;
    }
    return least;
}

void vj_window_idle(const vj_window *w)
{
    int found;
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, w->across, &found, MPI_STATUS_IGNORE);
    sched_yield();
}

void vj_window_wait(const vj_window *w, int flag, int64_t value)
{
    for (int spins = 0; vj_window_least(w, flag) < value; spins++)
        if (spins >= SPINS) vj_window_idle(w);
}
