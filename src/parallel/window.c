/* Who is on which node, and a window's opening and closing; its memory is in window_memory.c. */
#include "parallel/window.h"

#include <stdlib.h>

#include "parallel/parallel.h"
#include "parallel/window_memory.h"

void vj_window_number(vj_window *w, const int *first, int size)
{
    int *ranks = vj_calloc(size, sizeof *ranks), *node = vj_calloc(size, sizeof *node);
    w->rank = vj_calloc(size, sizeof *w->rank);
    VJ_ASSERT(ranks && node && w->rank);
    w->nodes = 0;
    for (int r = 0; r < size; r++) {
        node[r] = first[r] == r ? w->nodes++ : node[first[r]];
        w->rank[r] = (vj_window_rank){node[r], ranks[node[r]]++};
    }
    w->speakers = w->largest = ranks[0];
    for (int i = 1; i < w->nodes; i++) {
        if (ranks[i] < w->speakers) w->speakers = ranks[i];
        if (ranks[i] > w->largest) w->largest = ranks[i];
    }
    vj_partials_init(&w->partials, node, size, w->nodes);
    free(ranks);
    free(node);
}

/* Who is on which node. Collective. */
static void split(vj_window *w, MPI_Comm comm, int node)
{
    int rank, size, here;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    MPI_Comm_split(comm, node, rank, &w->node);
    MPI_Comm_size(w->node, &w->node_size);
    MPI_Comm_rank(w->node, &w->node_rank);
    int *first = vj_calloc(size, sizeof *first);
    VJ_ASSERT(first);
    here = rank;
    MPI_Bcast(&here, 1, MPI_INT, 0, w->node);
    MPI_Allgather(&here, 1, MPI_INT, first, 1, MPI_INT, comm);
    vj_window_number(w, first, size);
    free(first);
    w->node_index = w->rank[rank].node;
    w->own = 0;
    for (int i = 0; i < w->partials.count; i++) w->own += w->partials.item[i].node == w->node_index;
    MPI_Comm_split(comm, w->node_rank < w->speakers ? w->node_rank : MPI_UNDEFINED, w->node_index, &w->across);
    MPI_Comm_set_name(w->node, VJ_COMM_NODE);
    if (w->across != MPI_COMM_NULL) MPI_Comm_set_name(w->across, VJ_COMM_ACROSS);
}

static vj_status allocate(vj_window *w)
{
    w->flags = vj_calloc(w->node_size, sizeof *w->flags);
    w->memory = vj_calloc(w->node_size, sizeof *w->memory);
    if (!w->flags || !w->memory) return vj_raise(VJ_ERR_MEMORY, "no memory for a window of %d ranks", w->node_size);
    if (w->node_size > 1) return VJ_OK;
    w->flags[0] = vj_window_counters();
    return w->flags[0] ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the counters of a rank");
}

vj_status vj_window_open(vj_window *w, MPI_Comm comm, int64_t floats, int node)
{
    char trouble[VJ_WINDOW_TROUBLE] = "";
    int rank;
    MPI_Comm_rank(comm, &rank);
    *w = (vj_window){.node = MPI_COMM_NULL, .across = MPI_COMM_NULL};
    split(w, comm, node);
    VJ_TRY(vj_agree(comm, allocate(w)));
    if (w->largest == 1) return VJ_OK;
    if (vj_window_share(w, comm, floats, trouble)) return VJ_OK;
    if (rank == 0)
        vj_warn("no shared memory (%s): what %d ranks of a node sum goes through MPI, which is slower", trouble,
                w->largest);
    vj_window_close(w);
    split(w, comm, rank);
    return vj_agree(comm, allocate(w));
}

void vj_window_close(vj_window *w)
{
    if (w->flags && w->node_size == 1)
        free(w->flags[0]);
    else if (w->flags)
        vj_window_unshare(w);
    free(w->flags);
    free(w->memory);
    free(w->rank);
    vj_partials_release(&w->partials);
    w->flags = NULL;
    w->memory = NULL;
    w->rank = NULL;
    if (w->node != MPI_COMM_NULL) MPI_Comm_free(&w->node);
    if (w->across != MPI_COMM_NULL) MPI_Comm_free(&w->across);
}

const char *vj_window_way(const vj_window *w)
{
    if (w->largest == 1) return "MPI";
    return w->nodes == 1 ? "shared memory" : "shared memory on a node, MPI between nodes";
}
