/* Reference-counted descriptors. Files are opened and closed outside the lock, because that can be slow. */
#include "clips/open_files.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

typedef struct {
    int64_t number;   /* of the file; -1: none */
    int fd;           /* -1: none */
    int users;        /* threads that hold it, or that are opening it */
    bool failed;      /* must not be given to any thread again */
    uint64_t used_at; /* value of the take counter when it was last taken */
} slot;

struct vj_open_files {
    pthread_mutex_t lock;
    slot *slot; /* [slots] */
    int slots;
    uint64_t takes;
};

int vj_open_files_limit(void)
{
    enum { OTHERS = 64 }; /* descriptors for the rest of the program */
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= VJ_OPEN_FILES + OTHERS) return VJ_OPEN_FILES;
    return limit.rlim_cur > 2 * OTHERS ? (int)limit.rlim_cur - OTHERS : 1 + (int)limit.rlim_cur / 2;
}

vj_status vj_open_files_create(vj_open_files **files, int limit)
{
    VJ_ASSERT(limit >= 1);
    vj_open_files *f = *files = vj_calloc(1, sizeof *f);
    if (f) f->slot = vj_calloc(limit, sizeof *f->slot);
    if (!f || !f->slot) {
        free(f);
        *files = NULL;
        return vj_raise(VJ_ERR_MEMORY, "no memory to keep %d shards open", limit);
    }
    f->slots = limit;
    for (int i = 0; i < limit; i++) f->slot[i] = (slot){.number = -1, .fd = -1};
    pthread_mutex_init(&f->lock, NULL);
    return VJ_OK;
}

void vj_open_files_destroy(vj_open_files *files)
{
    if (!files) return;
    for (int i = 0; i < files->slots; i++) {
        VJ_ASSERT(files->slot[i].users == 0);
        if (files->slot[i].fd >= 0) (void)close(files->slot[i].fd); /* only read */
    }
    pthread_mutex_destroy(&files->lock);
    free(files->slot);
    free(files);
}

/* Return the slot that has the file open; -1: none. */
static int find(const vj_open_files *files, int64_t number)
{
    for (int i = 0; i < files->slots; i++)
        if (files->slot[i].number == number && files->slot[i].fd >= 0 && !files->slot[i].failed) return i;
    return -1;
}

/* Return the least recently used slot without users; -1: all have users. */
static int find_idle(const vj_open_files *files)
{
    int oldest = -1;
    for (int i = 0; i < files->slots; i++)
        if (files->slot[i].users == 0 && (oldest < 0 || files->slot[i].used_at < files->slot[oldest].used_at))
            oldest = i;
    return oldest;
}

/* If two threads open the same file at the same time, each fills a slot, which does no harm. */
bool vj_open_files_take(vj_open_files *files, int64_t number, const char *path, vj_open_file *file)
{
    int old = -1;
    pthread_mutex_lock(&files->lock);
    int i = find(files, number);
    const bool is_open = i >= 0;
    if (!is_open) i = find_idle(files);
    slot *s = i >= 0 ? &files->slot[i] : NULL;
    if (s) {
        s->users++;
        s->used_at = ++files->takes;
    }
    if (s && !is_open) {
        old = s->fd;
        *s = (slot){.number = number, .fd = -1, .users = 1, .used_at = s->used_at};
    }
    *file = (vj_open_file){.fd = is_open ? s->fd : -1, .slot = i};
    pthread_mutex_unlock(&files->lock);
    if (is_open) return true;

    if (old >= 0) (void)close(old); /* only read */
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (!s) return file->fd >= 0;
    pthread_mutex_lock(&files->lock);
    s->fd = file->fd;
    if (s->fd < 0) *s = (slot){.number = -1, .fd = -1};
    pthread_mutex_unlock(&files->lock);
    return file->fd >= 0;
}

void vj_open_files_give(vj_open_files *files, const vj_open_file *file, bool failed)
{
    const int error = errno;
    int old = file->slot < 0 ? file->fd : -1;
    if (file->slot >= 0) {
        pthread_mutex_lock(&files->lock);
        slot *s = &files->slot[file->slot];
        s->users--;
        s->failed = s->failed || failed;
        if (s->failed && s->users == 0) {
            old = s->fd;
            *s = (slot){.number = -1, .fd = -1};
        }
        pthread_mutex_unlock(&files->lock);
    }
    if (old >= 0) (void)close(old); /* only read */
    errno = error;
}
