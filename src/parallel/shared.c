/* Shared memory by shm_open(). The name is unlinked before memory is reserved, so nothing stays in /dev/shm if the job
 * dies. */
#include "parallel/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "parallel/parallel.h"

static bool all_can(MPI_Comm comm, bool fine)
{
    int all = fine;
    MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MIN, comm);
    return all != 0;
}

/* Open one segment on all ranks of the node: rank 0 makes it under a name that nobody else has. -1 with errno. */
static int open_segment(MPI_Comm node, int rank)
{
    char name[64];
    uint64_t token = 0;
    bool drawn = true;
    int fd = -1;
    if (rank == 0) drawn = getrandom(&token, sizeof token, 0) == (ssize_t)sizeof token;
    MPI_Bcast(&token, (int)sizeof token, MPI_BYTE, 0, node);
    snprintf(name, sizeof name, "/vjepa-shared-%016llx", (unsigned long long)token);
    if (rank == 0 && drawn) fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    int error = errno;
    MPI_Barrier(node);
    if (rank != 0) {
        fd = shm_open(name, O_RDWR, 0);
        error = errno;
    }
    MPI_Barrier(node);
    if (rank == 0 && fd >= 0) (void)shm_unlink(name); /* all have it, or will not */
    errno = error;
    return fd;
}

/*
 * Reserve the pages now: if /dev/shm were too small, the first write to a missing page would kill the rank. Returns 0
 * or an errno.
 */
static int reserve(int fd, size_t bytes)
{
    int error;
    while ((error = posix_fallocate(fd, 0, (off_t)bytes)) == EINTR) continue;
    return error;
}

/*
 * Map the node's segment into s->memory on all its ranks, or on none. *error: why it failed on this rank; 0: on
 * another.
 */
static bool share(vj_shared *s, int rank, size_t bytes, int *error)
{
    void *memory = MAP_FAILED;
    *error = 0;
    const int fd = open_segment(s->node, rank);
    if (fd < 0) *error = errno;
    bool fine = all_can(s->node, fd >= 0);
    if (fine && rank == 0) *error = reserve(fd, bytes);
    fine = fine && all_can(s->node, *error == 0);
    if (fine) memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fine && memory == MAP_FAILED) *error = errno;
    fine = fine && all_can(s->node, memory != MAP_FAILED);
    if (fd >= 0) (void)close(fd);
    if (!fine && memory != MAP_FAILED) munmap(memory, bytes);
    if (!fine) return false;
    s->memory = memory;
    s->bytes = bytes;
    return true;
}

/* Warn once, on the first rank that knows the reason. */
static void say(MPI_Comm comm, int error, int64_t bytes, const char *what)
{
    char host[MPI_MAX_PROCESSOR_NAME];
    int rank, first, length;
    MPI_Comm_rank(comm, &rank);
    first = error != 0 ? rank : INT_MAX;
    MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, comm);
    if (first != rank) return;
    MPI_Get_processor_name(host, &length);
    vj_warn("/dev/shm of %s does not take the %s, %.1f MiB: %s; each rank of such a node keeps its own", host, what,
            (double)bytes / 1048576.0, strerror(error));
}

static vj_status raise_memory(int64_t bytes, const char *what)
{
    return vj_raise(VJ_ERR_MEMORY, "no memory for the %s, %.1f MiB", what, (double)bytes / 1048576.0);
}

vj_status vj_shared_open(vj_shared *s, MPI_Comm comm, int64_t bytes, const char *what)
{
    int rank, node_rank, node_size, error = 0;
    *s = (vj_shared){.node = MPI_COMM_NULL, .writers = MPI_COMM_NULL};
    if (comm == VJ_ALONE) {
        s->memory = vj_calloc(bytes > 0 ? bytes : 1, 1);
        return s->memory ? VJ_OK : raise_memory(bytes, what);
    }
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &s->node);
    MPI_Comm_rank(s->node, &node_rank);
    MPI_Comm_size(s->node, &node_size);
    const bool shared = node_size > 1 && share(s, node_rank, (size_t)(bytes > 0 ? bytes : 1), &error);
    say(comm, error, bytes, what);
    if (!shared) s->memory = vj_calloc(bytes > 0 ? bytes : 1, 1);
    MPI_Comm_split(comm, shared && node_rank > 0 ? MPI_UNDEFINED : 0, rank, &s->writers);
    return vj_agree(comm, s->memory ? VJ_OK : raise_memory(bytes, what));
}

void vj_shared_publish(vj_shared *s)
{
    if (s->node == MPI_COMM_NULL) return; /* VJ_ALONE */
    MPI_Barrier(s->node);
    MPI_Comm_free(&s->node);
    if (s->writers != MPI_COMM_NULL) MPI_Comm_free(&s->writers);
    if (s->bytes > 0) VJ_ASSERT(mprotect(s->memory, s->bytes, PROT_READ) == 0);
}

void vj_shared_close(vj_shared *s)
{
    if (s->bytes > 0)
        munmap(s->memory, s->bytes);
    else
        free(s->memory);
    *s = (vj_shared){.node = s->node, .writers = s->writers};
}
