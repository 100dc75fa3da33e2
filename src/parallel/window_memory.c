/* Shared memory of a node by shm_open(), and counters in it that ranks set and wait for. */
#include "parallel/window_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Counters of one rank, each in its own cache line: others read them while they wait. */
struct vj_flags {
    struct {
        _Alignas(64) _Atomic int64_t value;
    } counter[VJ_FLAGS];
};

enum { SPINS = 200 }; /* polls before the processor is yielded: some microseconds */

/* Why there is no shared memory; "" if there is. */
static void explain(char trouble[VJ_WINDOW_TROUBLE], const char *what, const char *name, int error)
{
    snprintf(trouble, VJ_WINDOW_TROUBLE, "%s %s: %s", what, name, strerror(error));
}

/* Give all ranks of comm the message of the first rank that has one. Collective. */
static bool all_well(MPI_Comm comm, char trouble[VJ_WINDOW_TROUBLE])
{
    int rank, first;
    MPI_Comm_rank(comm, &rank);
    first = trouble[0] ? rank : INT_MAX;
    MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, comm);
    if (first == INT_MAX) return true;
    MPI_Bcast(trouble, VJ_WINDOW_TROUBLE, MPI_CHAR, first, comm);
    return false;
}

/* The name of the segment of rank r of the node, which no other job uses. */
static void name_segment(char name[64], uint64_t token, int r)
{
    snprintf(name, 64, "/vjepa-%016llx-%d", (unsigned long long)token, r);
}

static uint64_t draw_token(const vj_window *w, char trouble[VJ_WINDOW_TROUBLE])
{
    uint64_t token = 0;
    if (w->node_rank == 0 && getrandom(&token, sizeof token, 0) != (ssize_t)sizeof token)
        explain(trouble, "a random name", "of shared memory", errno);
    MPI_Bcast(&token, (int)sizeof token, MPI_BYTE, 0, w->node);
    return token;
}

/*
 * Reserve the pages now, or say why not: if /dev/shm were too small, the first write to a missing page would kill the
 * rank.
 */
static void reserve(int fd, size_t bytes, int ranks, char trouble[VJ_WINDOW_TROUBLE])
{
    int error;
    struct statvfs fs = {0};
    char host[MPI_MAX_PROCESSOR_NAME];
    int length;
    while ((error = posix_fallocate(fd, 0, (off_t)bytes)) == EINTR) continue;
    if (!error) return;
    statvfs("/dev/shm", &fs);
    MPI_Get_processor_name(host, &length);
    snprintf(trouble, VJ_WINDOW_TROUBLE,
             "/dev/shm of %.64s: %zu bytes for each of %d ranks are needed, %llu are free: %s", host, bytes, ranks,
             (unsigned long long)fs.f_bavail * fs.f_frsize, strerror(error));
}

static void map(vj_window *w, const int *fd, size_t bytes, char trouble[VJ_WINDOW_TROUBLE])
{
    for (int r = 0; r < w->node_size && !trouble[0]; r++) {
        void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd[r], 0);
        if (memory == MAP_FAILED) {
            explain(trouble, "mmap", "of shared memory", errno);
            return;
        }
        w->flags[r] = memory;
        w->memory[r] = (float *)(w->flags[r] + 1);
    }
}

/*
 * Each rank of a node creates a segment, and all ranks of the node map it. Each stage ends in an agreement, so either
 * all ranks of comm succeed, or none does and all know why. The names are unlinked before memory is reserved, so that
 * nothing stays in /dev/shm if the job dies. MPI_Win_allocate_shared is not used: if one rank has no memory, the other
 * ranks die or hang in some MPI libraries.
 */
static bool share(vj_window *w, MPI_Comm comm, int *fd, char trouble[VJ_WINDOW_TROUBLE])
{
    char name[64];
    const uint64_t token = draw_token(w, trouble);
    name_segment(name, token, w->node_rank);
    const bool alone = w->node_size == 1; /* takes part in the agreements */
    const int mine = trouble[0] || alone ? -1 : shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    fd[w->node_rank] = mine;
    if (mine < 0 && !alone && !trouble[0]) explain(trouble, "shm_open", name, errno);
    bool well = all_well(comm, trouble);
    for (int r = 0; r < w->node_size && well && !trouble[0]; r++) {
        char other[64];
        if (r == w->node_rank) continue;
        name_segment(other, token, r);
        fd[r] = shm_open(other, O_RDWR, 0);
        if (fd[r] < 0) explain(trouble, "shm_open", other, errno);
    }
    well = well && all_well(comm, trouble);
    if (mine >= 0) shm_unlink(name);
    if (!well) return false;
    if (!alone) reserve(mine, w->bytes, w->node_size, trouble);
    if (!all_well(comm, trouble)) return false;
    if (!alone) map(w, fd, w->bytes, trouble);
    return all_well(comm, trouble);
}

bool vj_window_share(vj_window *w, MPI_Comm comm, int64_t floats, char trouble[VJ_WINDOW_TROUBLE])
{
    w->bytes = sizeof(vj_flags) + (size_t)floats * sizeof(float); /* size of a segment: its counters, then its floats */
    int *fd = malloc((size_t)w->node_size * sizeof *fd);
    VJ_ASSERT(fd);
    for (int r = 0; r < w->node_size; r++) fd[r] = -1;
    const bool shared = share(w, comm, fd, trouble);
    for (int r = 0; r < w->node_size; r++)
        if (fd[r] >= 0) close(fd[r]);
    free(fd);
    return shared;
}

void vj_window_unshare(vj_window *w)
{
    for (int r = 0; r < w->node_size; r++)
        if (w->flags[r]) munmap(w->flags[r], w->bytes);
}

vj_flags *vj_window_counters(void)
{
    return vj_calloc(1, sizeof(vj_flags));
}

void vj_window_set(const vj_window *w, int flag, int64_t value)
{
    atomic_store_explicit(&w->flags[w->node_rank]->counter[flag].value, value, memory_order_release);
}

int64_t vj_window_min(const vj_window *w, int flag)
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
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, w->node, &found, MPI_STATUS_IGNORE);
    sched_yield();
}

void vj_window_wait(const vj_window *w, int flag, int64_t value)
{
    for (int spins = 0; vj_window_min(w, flag) < value; spins++)
        if (spins >= SPINS) vj_window_idle(w);
}
