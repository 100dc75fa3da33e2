/* Available memory by /proc/meminfo, and the limits of control groups, which batch systems and containers set. */
#include "parallel/room.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "parallel/parallel.h"

static int64_t available_bytes(void)
{
    char line[128];
    long long kib = -1;
    FILE *file = fopen("/proc/meminfo", "r");
    if (!file) return INT64_MAX;
    while (kib < 0 && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %lld kB", &kib) != 1) kib = -1;
    (void)fclose(file); /* only read */
    return kib < 0 ? INT64_MAX : kib * 1024;
}

/* The limit in one file; INT64_MAX if there is none, or the text "max". */
static int64_t limit_in(const char *path)
{
    long long bytes;
    FILE *file = fopen(path, "r");
    if (!file) return INT64_MAX;
    if (fscanf(file, "%lld", &bytes) != 1 || bytes <= 0) bytes = INT64_MAX;
    (void)fclose(file); /* only read */
    return bytes;
}

/* The lowest limit of a group and of those that contain it. */
static int64_t limit_upwards(const char *mount, char *group, const char *name)
{
    int64_t least = INT64_MAX;
    for (;;) {
        char path[2 * PATH_MAX];
        snprintf(path, sizeof path, "%s%s/%s", mount, group, name);
        const int64_t bytes = limit_in(path);
        if (bytes < least) least = bytes;
        char *slash = strrchr(group, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

int64_t vj_group_memory(const char *membership, const char *mount)
{
    char line[PATH_MAX], of_memory[PATH_MAX];
    int64_t least = INT64_MAX;
    FILE *file = fopen(membership, "r");
    if (!file) return INT64_MAX;
    snprintf(of_memory, sizeof of_memory, "%s/memory", mount);
    while (fgets(line, sizeof line, file)) {
        /* "0::/GROUP" is version 2, "4:memory:/GROUP" version 1. */
        line[strcspn(line, "\n")] = '\0';
        char *group = strchr(line, '/');
        if (!group) continue;
        const bool one = strstr(line, ":memory:") != NULL, two = strncmp(line, "0::", 3) == 0;
        int64_t bytes = INT64_MAX;
        if (one) bytes = limit_upwards(of_memory, group, "memory.limit_in_bytes");
        if (two) bytes = limit_upwards(mount, group, "memory.max");
        if (bytes < least) least = bytes;
    }
    (void)fclose(file); /* only read */
    return least;
}

int64_t vj_rank_memory(MPI_Comm comm)
{
    const vj_place place = vj_place_of(comm);
    const int64_t available = available_bytes(), limit = vj_group_memory("/proc/self/cgroup", "/sys/fs/cgroup");
    int64_t bytes = limit < available ? limit : available;
    if (bytes < INT64_MAX) bytes /= place.local_size;
    MPI_Allreduce(MPI_IN_PLACE, &bytes, 1, MPI_INT64_T, MPI_MIN, comm);
    return bytes;
}
