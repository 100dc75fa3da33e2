/*
 * Finds the checkpoints in a run folder: the newest, and those to remove. Only rank 0 lists the folder, so all ranks
 * get the same answer.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt/inner.h"
#include "parallel/parallel.h"

typedef struct {
    int64_t step;
    char name[64];
} entry;

/* Return the step of a file name, "step_00001200.h5" or, with `part`, "step_00001200.h5.1234abcd.part"; -1: neither. */
static int64_t step_of(const char *name, int part)
{
    char *end;
    if (strncmp(name, "step_", 5) != 0 || name[5] < '0' || name[5] > '9' || strlen(name) >= sizeof(((entry *)0)->name))
        return -1;
    errno = 0;
    int64_t step = strtoll(name + 5, &end, 10);
    int fits =
        part ? strncmp(end, ".h5.", 4) == 0 && strcmp(end + strlen(end) - 5, ".part") == 0 : strcmp(end, ".h5") == 0;
    return errno == 0 && fits ? step : -1;
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = ((const entry *)a)->step, y = ((const entry *)b)->step;
    return (x < y) - (x > y);
}

/* List the checkpoints in the folder, or with `part` the .part files, newest first; none if the folder does not exist.
 * free() *entries. */
static vj_status list(const char *dir, int part, entry **entries, int *count)
{
    *entries = NULL;
    *count = 0;
    DIR *folder = opendir(dir);
    if (!folder) return errno == ENOENT ? VJ_OK : vj_raise(VJ_ERR_IO, "open folder %s", dir);
    vj_status status = VJ_OK;
    struct dirent *item;
    while (status == VJ_OK && (errno = 0, item = readdir(folder)) != NULL) { /* the end does not set errno */
        int64_t step = step_of(item->d_name, part);
        if (step < 0) continue;
        entry *more = realloc(*entries, (size_t)(*count + 1) * sizeof *more);
        if (!more) {
            status = vj_raise(VJ_ERR_MEMORY, "no memory for the names in %s", dir);
            break;
        }
        *entries = more;
        more[*count].step = step;
        strcpy(more[(*count)++].name, item->d_name);
    }
    if (status == VJ_OK && errno != 0) status = vj_raise(VJ_ERR_IO, "read folder %s", dir);
    if (closedir(folder) != 0 && status == VJ_OK) status = vj_raise(VJ_ERR_IO, "close folder %s", dir);
    if (*count > 0) qsort(*entries, (size_t)*count, sizeof **entries, newest_first);
    return status;
}

static vj_status join(char path[VJ_PATH], const char *dir, const char *name)
{
    if (snprintf(path, VJ_PATH, "%s/%s", dir, name) < VJ_PATH) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE, "path too long: %s/%s", dir, name);
}

static vj_status latest(const char *dir, char path[VJ_PATH])
{
    entry *entries;
    int count;
    path[0] = '\0';
    vj_status status = list(dir, 0, &entries, &count);
    if (status == VJ_OK && count > 0) status = join(path, dir, entries[0].name);
    free(entries);
    return status;
}

void vj_ckpt_before(const char *path, char older[VJ_PATH])
{
    char dir[VJ_PATH];
    entry *entries;
    int count;
    const char *slash = strrchr(path, '/');
    const int64_t step = step_of(slash ? slash + 1 : path, 0);
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    older[0] = '\0';
    if (list(dir, 0, &entries, &count) == VJ_OK) {
        int i = 0;
        while (i < count && entries[i].step >= step) i++;
        if (i < count && join(older, dir, entries[i].name) != VJ_OK) older[0] = '\0';
    }
    free(entries);
}

vj_status vj_ckpt_latest(const char *dir, char path[VJ_PATH], MPI_Comm comm)
{
    vj_status status = vj_agree(comm, vj_comm_rank(comm) == 0 ? latest(dir, path) : VJ_OK);
    if (status == VJ_OK) vj_broadcast(path, VJ_PATH, comm);
    return status;
}

static vj_status remove_file(const char *dir, const char *name)
{
    char path[VJ_PATH];
    VJ_TRY(join(path, dir, name));
    return unlink(path) == 0 ? VJ_OK : vj_raise(VJ_ERR_IO, "remove %s", path);
}

static vj_status remove_parts(const char *dir)
{
    entry *entries;
    int count;
    vj_status status = list(dir, 1, &entries, &count);
    for (int i = 0; i < count && status == VJ_OK; i++) status = remove_file(dir, entries[i].name);
    free(entries);
    return status;
}

static vj_status remove_old(const char *dir, int64_t keep, int64_t keep_every)
{
    entry *entries;
    int count;
    int64_t good = 0;
    vj_status status = list(dir, 0, &entries, &count);
    for (int i = 0; i < count && status == VJ_OK; i++) {
        char path[VJ_PATH];
        vj_ckpt_state state;
        status = join(path, dir, entries[i].name);
        if (status != VJ_OK) break;
        if (good >= keep) {
            const bool stays = keep_every > 0 && entries[i].step % keep_every == 0;
            if (!stays) status = remove_file(dir, entries[i].name);
        } else if (vj_ckpt_read_state(path, &state, VJ_ALONE) == VJ_OK) {
            vj_ckpt_state_release(&state);
            good++;
        } else
            vj_warn("%s is left where it is and does not count as a checkpoint", path);
    }
    free(entries);
    return status;
}

vj_status vj_ckpt_remove(const char *dir, int64_t keep, int64_t keep_every)
{
    VJ_TRY(remove_parts(dir));
    return remove_old(dir, keep < 1 ? 1 : keep, keep_every);
}

vj_status vj_ckpt_prune(const char *dir, int64_t keep, int64_t keep_every, MPI_Comm comm)
{
    return vj_agree(comm, vj_comm_rank(comm) == 0 ? vj_ckpt_remove(dir, keep, keep_every) : VJ_OK);
}
