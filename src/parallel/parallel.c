/* Placement of ranks on nodes, the communicators, the split of work, and agreement on a status. */
#include "parallel/parallel.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fold.h"
#include "parallel/traffic.h"

int vj_comm_rank(MPI_Comm comm)
{
    int rank = 0;
    if (comm != VJ_ALONE) MPI_Comm_rank(comm, &rank);
    return rank;
}

int vj_comm_size(MPI_Comm comm)
{
    int size = 1;
    if (comm != VJ_ALONE) MPI_Comm_size(comm, &size);
    return size;
}

void vj_broadcast(void *data, int64_t bytes, MPI_Comm comm)
{
    const int64_t piece = INT64_C(1) << 30; /* MPI counts in int */
    for (int64_t at = 0; at < bytes && comm != VJ_ALONE; at += piece)
        MPI_Bcast((char *)data + at, (int)(bytes - at < piece ? bytes - at : piece), MPI_BYTE, 0, comm);
}

/* ------------------------------------------------------------------------------------------------ nodes */

/* The number of ranks of `node`, this one included, that may run on the same processors as this one. */
static int ranks_beside(MPI_Comm node, int size, const cpu_set_t *mine)
{
    int same = 0;
    cpu_set_t *all = malloc((size_t)size * sizeof *all);
    VJ_ASSERT(all);
    MPI_Allgather(mine, (int)sizeof *mine, MPI_BYTE, all, (int)sizeof *mine, MPI_BYTE, node);
    for (int i = 0; i < size; i++) same += CPU_EQUAL(mine, &all[i]) != 0;
    free(all);
    return same;
}

static int processors_of(MPI_Comm node, int size)
{
    cpu_set_t mine;
    CPU_ZERO(&mine);
    if (sched_getaffinity(0, sizeof mine, &mine) != 0) CPU_SET(0, &mine); /* more processors than the set can name */
    const int share = CPU_COUNT(&mine) / ranks_beside(node, size, &mine);
    return share > 1 ? share : 1;
}

vj_place vj_place_of(MPI_Comm comm)
{
    vj_place p = {.nodes = 1, .local_size = 1, .threads = omp_get_max_threads(), .processors = omp_get_num_procs()};
    MPI_Comm node;
    int rank, is_first, before = 0;
    if (comm == VJ_ALONE) return p;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &p.local_rank);
    MPI_Comm_size(node, &p.local_size);
    is_first = p.local_rank == 0;
    MPI_Allreduce(&is_first, &p.nodes, 1, MPI_INT, MPI_SUM, comm);
    MPI_Exscan(&is_first, &before, 1, MPI_INT, MPI_SUM, comm);
    p.node = rank == 0 ? 0 : before; /* MPI leaves rank 0's undefined */
    MPI_Bcast(&p.node, 1, MPI_INT, 0, node);
    p.processors = processors_of(node, p.local_size);
    p.threads = getenv("OMP_NUM_THREADS") ? omp_get_max_threads() : p.processors;
    MPI_Comm_free(&node);
    return p;
}

enum { HOST = 64, NAMED = 16 /* hosts of a message */ };

typedef struct {
    int ranks;
    char host[HOST];
} node_entry;

/* Write the ranks of each node, " (3 on a, 1 on b)", or " (a, b), 2 on each" if all nodes have equally many. */
static void name_nodes(const node_entry *node, int nodes, char *text, size_t bytes)
{
    bool equal = true;
    size_t used = (size_t)snprintf(text, bytes, " (");
    for (int i = 1; i < nodes; i++) equal = equal && node[i].ranks == node[0].ranks;
    for (int i = 0; i < nodes && i < NAMED; i++) {
        used += (size_t)snprintf(text + used, bytes - used, "%s", i ? ", " : "");
        if (!equal) used += (size_t)snprintf(text + used, bytes - used, "%d on ", node[i].ranks);
        used += (size_t)snprintf(text + used, bytes - used, "%s", node[i].host);
    }
    if (nodes > NAMED) used += (size_t)snprintf(text + used, bytes - used, " and %d more", nodes - NAMED);
    used += (size_t)snprintf(text + used, bytes - used, ")");
    if (equal && nodes > 1) snprintf(text + used, bytes - used, ", %d on each", node[0].ranks);
}

void vj_place_log(const vj_place *p, MPI_Comm comm, const char *more)
{
    int rank, size, length;
    char host[MPI_MAX_PROCESSOR_NAME], text[NAMED * (HOST + 32)];
    node_entry mine = {.ranks = p->local_size};
    MPI_Comm first;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    if (rank == 0 && p->threads > 1 && p->threads > p->processors)
        vj_warn("OMP_NUM_THREADS gives a rank %d threads, its share of the node is %d processor%s: threads that wait "
                "for each other's processor make it many times slower; leave OMP_NUM_THREADS unset, or set it to %d",
                p->threads, p->processors, p->processors == 1 ? "" : "s", p->processors);
    if (size == 1) return;
    MPI_Get_processor_name(host, &length);
    snprintf(mine.host, sizeof mine.host, "%.*s", HOST - 1, host);
    MPI_Comm_split(comm, p->local_rank == 0 ? 0 : MPI_UNDEFINED, rank, &first);
    if (first == MPI_COMM_NULL) return;
    node_entry *node = vj_calloc(rank == 0 ? p->nodes : 0, sizeof *node);
    VJ_ASSERT(node);
    MPI_Gather(&mine, (int)sizeof mine, MPI_BYTE, node, (int)sizeof mine, MPI_BYTE, 0, first);
    MPI_Comm_free(&first);
    if (rank == 0) {
        name_nodes(node, p->nodes, text, sizeof text);
        vj_log("%d ranks on %d node%s%s%s", size, p->nodes, p->nodes == 1 ? "" : "s", text, more);
    }
    free(node);
}

/* ------------------------------------------------------------------------------------------------ layout */

/* The first rank of a group that is spread over nodes reports it. */
static vj_status check_node(const vj_layout *l)
{
    enum { NAME = MPI_MAX_PROCESSOR_NAME };
    char host[NAME] = "", text[512];
    int length, nodes[2] = {l->place.node, -l->place.node};
    MPI_Allreduce(MPI_IN_PLACE, nodes, 2, MPI_INT, MPI_MAX, l->tensor);
    if (nodes[0] == -nodes[1]) return VJ_OK;

    char *hosts = vj_calloc(l->tensor_size, NAME);
    VJ_ASSERT(hosts);
    MPI_Get_processor_name(host, &length);
    MPI_Gather(host, NAME, MPI_CHAR, hosts, NAME, MPI_CHAR, 0, l->tensor);
    size_t used = 0;
    for (int i = 0; i < l->tensor_size && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%.64s", i ? ", " : "", hosts + (size_t)i * NAME);
    free(hosts);
    if (l->tensor_rank != 0) return VJ_ERR_USAGE;
    return vj_raise(VJ_ERR_USAGE,
                    "parallel.tensor %d: ranks %d to %d are on several nodes (%s), and a tensor group must be on one: "
                    "start a multiple of %d ranks on each node",
                    l->tensor_size, l->rank, l->rank + l->tensor_size - 1, text, l->tensor_size);
}

vj_status vj_layout_open(vj_layout *l, MPI_Comm world, int tensor)
{
    *l = (vj_layout){.world = MPI_COMM_NULL, .data = MPI_COMM_NULL, .tensor = MPI_COMM_NULL, .tensor_size = tensor};
    MPI_Comm_rank(world, &l->rank);
    MPI_Comm_size(world, &l->size);
    if (l->size % tensor != 0)
        return l->rank != 0
                   ? VJ_ERR_USAGE
                   : vj_raise(VJ_ERR_USAGE, "%d ranks are not a multiple of parallel.tensor %d", l->size, tensor);
    l->data_size = l->size / tensor;
    l->data_rank = l->rank / tensor;
    l->tensor_rank = l->rank % tensor;
    MPI_Comm_dup(world, &l->world);
    l->place = vj_place_of(world);
    MPI_Comm_split(world, l->tensor_rank, l->rank, &l->data);
    MPI_Comm_split(world, l->data_rank, l->rank, &l->tensor);
    MPI_Comm_set_name(world, VJ_COMM_WORLD);
    MPI_Comm_set_name(l->world, VJ_COMM_WORLD);
    MPI_Comm_set_name(l->data, VJ_COMM_DATA);
    MPI_Comm_set_name(l->tensor, VJ_COMM_TENSOR);
    return vj_agree(world, check_node(l));
}

void vj_layout_close(vj_layout *l)
{
    MPI_Comm *const all[] = {&l->world, &l->data, &l->tensor};
    for (int i = 0; i < 3 && l->size > 0; i++) /* size 0: never opened */
        if (*all[i] != MPI_COMM_NULL) MPI_Comm_free(all[i]);
    *l = (vj_layout){0};
}

void vj_split(int64_t n, int size, int rank, int64_t *first, int64_t *last)
{
    int64_t each = n / size, more = n % size;
    *first = rank * each + (rank < more ? rank : more);
    *last = *first + each + (rank < more ? 1 : 0);
}

static atomic_bool waiting;

void vj_wait_for_ranks(bool begins)
{
    atomic_store(&waiting, begins);
}

bool vj_waits_for_ranks(void)
{
    return atomic_load(&waiting);
}

vj_status vj_agree(MPI_Comm comm, vj_status status)
{
    enum { KEPT = 1 << 16 };
    int bits = 1 << (int)status | (vj_status_kept() > 0 ? KEPT : 0), worst = VJ_ERR_LIBRARY;
    if (comm == VJ_ALONE) return status;
    vj_wait_for_ranks(true);
    MPI_Allreduce(MPI_IN_PLACE, &bits, 1, MPI_INT, MPI_BOR, comm);
    vj_wait_for_ranks(false);
    if (bits & KEPT) vj_fold(comm);
    while (!(bits & 1 << worst)) worst--;
    return (vj_status)worst;
}

vj_status vj_gather_numbers(int64_t **all, int64_t *total, const int64_t *mine, int64_t n, MPI_Comm comm)
{
    const int size = vj_comm_size(comm), count = (int)n;
    int *counts = vj_calloc(2 * (int64_t)size, sizeof *counts), *at = counts + size;
    *all = NULL;
    *total = 0;
    VJ_TRY(vj_agree(comm, counts ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %d counts", size)));
    counts[0] = count;
    if (comm != VJ_ALONE) MPI_Allgather(&count, 1, MPI_INT, counts, 1, MPI_INT, comm);
    for (int r = 0; r < size; r++) {
        at[r] = (int)*total;
        *total += counts[r];
    }
    if (*total > 0) *all = vj_calloc(*total, sizeof **all);
    vj_status status = *all || *total == 0 ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for numbers of all ranks");
    status = vj_agree(comm, status);
    if (status == VJ_OK && *total > 0 && comm == VJ_ALONE) memcpy(*all, mine, sizeof *mine * (size_t)n);
    if (status == VJ_OK && *total > 0 && comm != VJ_ALONE)
        MPI_Allgatherv(mine, count, MPI_INT64_T, *all, counts, at, MPI_INT64_T, comm);
    free(counts);
    return status;
}

enum { PIECE = 512 }; /* doubles of a message of vj_sum_doubles() */

void vj_sum_doubles(MPI_Comm comm, double *values, int count)
{
    double theirs[PIECE];
    int rank, size;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    if (size & (size - 1)) {
        MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_DOUBLE, MPI_SUM, comm);
        return;
    }
    for (int at = 0; at < count; at += PIECE)
        for (int apart = 1; apart < size; apart *= 2) {
            const int n = count - at < PIECE ? count - at : PIECE;
            MPI_Sendrecv(values + at, n, MPI_DOUBLE, rank ^ apart, 0, theirs, n, MPI_DOUBLE, rank ^ apart, 0, comm,
                         MPI_STATUS_IGNORE);
            for (int i = 0; i < n; i++) values[at + i] += theirs[i];
        }
}

void vj_sum_doubles_count(vj_traffic *traffic, int ranks, int64_t count)
{
    int rounds = 0;
    while (1 << rounds < ranks) rounds++;
    const bool tree = 1 << rounds == ranks;
    if (ranks == 1) return;
    traffic->messages += ranks * (tree ? rounds * ((count + PIECE - 1) / PIECE) : 1);
    traffic->bytes += ranks * (tree ? rounds : 1) * count * (int64_t)sizeof(double);
}
