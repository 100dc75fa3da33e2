/*
 * Counts what a program gives to MPI to send, by the name of the communicator, as parallel/traffic.h defines it. Loaded
 * before the MPI library (LD_PRELOAD), whose functions it replaces by ones that count and call the profiling interface.
 * Counting begins with call number $VJEPA_COUNT_FROM of MPI_Pcontrol(), the begin of that training step, and ends with
 * call $VJEPA_COUNT_TO. At MPI_Finalize each rank writes lines "NAME,MESSAGES,BYTES" to $VJEPA_COUNTS.RANK; "other":
 * communicators without a name of vjepa's. Those of a single rank are left out.
 *
 * VJEPA_NODE_RANKS=n has every n ranks take themselves for a node: MPI_Comm_split_type() says so.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES = 16 };

static struct {
    char name[MPI_MAX_OBJECT_NAME];
    long long messages, bytes;
} counted[NAMES];

static int step; /* calls of MPI_Pcontrol() */

static int setting(const char *name)
{
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}

static int size_of(MPI_Comm comm)
{
    int size;
    PMPI_Comm_size(comm, &size);
    return size;
}

static int rank_in(MPI_Comm comm)
{
    int rank;
    PMPI_Comm_rank(comm, &rank);
    return rank;
}

static long long bytes_of(long long count, MPI_Datatype type)
{
    int size;
    PMPI_Type_size(type, &size);
    return count * size;
}

static void add(MPI_Comm comm, long long bytes)
{
    char name[MPI_MAX_OBJECT_NAME] = "";
    int length, i = 0;
    if (size_of(comm) == 1 || step < setting("VJEPA_COUNT_FROM") || step >= setting("VJEPA_COUNT_TO")) return;
    PMPI_Comm_get_name(comm, name, &length);
    if (strncmp(name, "vjepa ", 6) != 0) strcpy(name, "other");
    while (i < NAMES - 1 && counted[i].name[0] && strcmp(counted[i].name, name) != 0) i++;
    strcpy(counted[i].name, name);
    counted[i].messages++;
    counted[i].bytes += bytes;
}

int MPI_Send(const void *data, int n, MPI_Datatype type, int to, int tag, MPI_Comm comm)
{
    add(comm, bytes_of(n, type));
    return PMPI_Send(data, n, type, to, tag, comm);
}

int MPI_Isend(const void *data, int n, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request *request)
{
    add(comm, bytes_of(n, type));
    return PMPI_Isend(data, n, type, to, tag, comm, request);
}

int MPI_Sendrecv(const void *data, int n, MPI_Datatype type, int to, int tag, void *received, int most,
                 MPI_Datatype received_type, int from, int received_tag, MPI_Comm comm, MPI_Status *status)
{
    add(comm, bytes_of(n, type));
    return PMPI_Sendrecv(data, n, type, to, tag, received, most, received_type, from, received_tag, comm, status);
}

int MPI_Barrier(MPI_Comm comm)
{
    add(comm, 0);
    return PMPI_Barrier(comm);
}

int MPI_Bcast(void *data, int n, MPI_Datatype type, int root, MPI_Comm comm)
{
    add(comm, rank_in(comm) == root ? bytes_of(n, type) : 0);
    return PMPI_Bcast(data, n, type, root, comm);
}

int MPI_Allreduce(const void *data, void *out, int n, MPI_Datatype type, MPI_Op op, MPI_Comm comm)
{
    add(comm, bytes_of(n, type));
    return PMPI_Allreduce(data, out, n, type, op, comm);
}

int MPI_Exscan(const void *data, void *out, int n, MPI_Datatype type, MPI_Op op, MPI_Comm comm)
{
    add(comm, bytes_of(n, type));
    return PMPI_Exscan(data, out, n, type, op, comm);
}

int MPI_Reduce(const void *data, void *out, int n, MPI_Datatype type, MPI_Op op, int root, MPI_Comm comm)
{
    add(comm, rank_in(comm) == root ? 0 : bytes_of(n, type));
    return PMPI_Reduce(data, out, n, type, op, root, comm);
}

int MPI_Gather(const void *data, int n, MPI_Datatype type, void *out, int m, MPI_Datatype out_type, int root,
               MPI_Comm comm)
{
    add(comm, rank_in(comm) == root ? 0 : bytes_of(n, type));
    return PMPI_Gather(data, n, type, out, m, out_type, root, comm);
}

int MPI_Gatherv(const void *data, int n, MPI_Datatype type, void *out, const int *m, const int *at,
                MPI_Datatype out_type, int root, MPI_Comm comm)
{
    add(comm, rank_in(comm) == root ? 0 : bytes_of(n, type));
    return PMPI_Gatherv(data, n, type, out, m, at, out_type, root, comm);
}

int MPI_Allgather(const void *data, int n, MPI_Datatype type, void *out, int m, MPI_Datatype out_type, MPI_Comm comm)
{
    add(comm, bytes_of(data == MPI_IN_PLACE ? m : n, data == MPI_IN_PLACE ? out_type : type));
    return PMPI_Allgather(data, n, type, out, m, out_type, comm);
}

int MPI_Allgatherv(const void *data, int n, MPI_Datatype type, void *out, const int *m, const int *at,
                   MPI_Datatype out_type, MPI_Comm comm)
{
    add(comm, data == MPI_IN_PLACE ? bytes_of(m[rank_in(comm)], out_type) : bytes_of(n, type));
    return PMPI_Allgatherv(data, n, type, out, m, at, out_type, comm);
}

int MPI_Alltoallv(const void *data, const int *n, const int *at, MPI_Datatype type, void *out, const int *m,
                  const int *out_at, MPI_Datatype out_type, MPI_Comm comm)
{
    long long others = 0;
    for (int r = 0; r < size_of(comm); r++)
        if (r != rank_in(comm)) others += n[r];
    add(comm, bytes_of(others, type));
    return PMPI_Alltoallv(data, n, at, type, out, m, out_at, out_type, comm);
}

int MPI_Comm_split_type(MPI_Comm comm, int type, int key, MPI_Info info, MPI_Comm *part)
{
    const int each = setting("VJEPA_NODE_RANKS");
    if (each == 0 || type != MPI_COMM_TYPE_SHARED) return PMPI_Comm_split_type(comm, type, key, info, part);
    return PMPI_Comm_split(comm, rank_in(MPI_COMM_WORLD) / each, key, part);
}

int MPI_Pcontrol(const int level, ...)
{
    step++;
    return PMPI_Pcontrol(level);
}

int MPI_Finalize(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s.%d", getenv("VJEPA_COUNTS"), rank_in(MPI_COMM_WORLD));
    FILE *out = fopen(path, "w");
    if (!out) {
        perror(path);
        return MPI_ERR_OTHER;
    }
    for (int i = 0; i < NAMES && counted[i].name[0]; i++)
        fprintf(out, "%s,%lld,%lld\n", counted[i].name, counted[i].messages, counted[i].bytes);
    if (fclose(out) != 0) perror(path);
    return PMPI_Finalize();
}
