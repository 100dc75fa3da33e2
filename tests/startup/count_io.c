/*
 * Counts how often files are opened for reading and how many bytes of them are read, for each file whose path begins
 * with $VJEPA_COUNT_FOLDER. Preloaded into the ranks of a job. When it ends, a rank writes lines "PATH,OPENS,BYTES" to
 * $VJEPA_IO_COUNTS.RANK. Of a stream (fopen()) counts what its owner has come to when it is closed; what is mapped into
 * memory counts as opened only. Threads may call; of a process that a rank starts the lines are added to the rank's
 * file.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FILES = 1024, PATH = 1024 };

static struct {
    char path[PATH];
    long long opens, bytes;
} counted[FILES];
static int files;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void add(const char *path, long long opens, long long bytes)
{
    const char *folder = getenv("VJEPA_COUNT_FOLDER");
    if (!folder || strncmp(path, folder, strlen(folder)) != 0) return;
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < files && strcmp(counted[i].path, path) != 0) i++;
    if (i < FILES) {
        if (i == files) snprintf(counted[files++].path, PATH, "%s", path);
        counted[i].opens += opens;
        counted[i].bytes += bytes;
    }
    pthread_mutex_unlock(&lock);
}

/* Count `bytes` that were read from a descriptor (-1: the call failed), and return them. */
static ssize_t count(int fd, long long opens, ssize_t bytes)
{
    char link[32], path[PATH];
    const int error = errno;
    if (fd < 0 || bytes < 0) return bytes;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    errno = error;
    if (length < 0) return bytes;
    path[length] = '\0';
    add(path, opens, bytes);
    return bytes;
}

__attribute__((destructor)) static void report(void)
{
    char path[PATH];
    const char *counts = getenv("VJEPA_IO_COUNTS"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    if (!counts || !rank || !getenv("VJEPA_COUNT_FOLDER")) return;
    snprintf(path, sizeof path, "%s.%s", counts, rank);
    FILE *out = fopen(path, "a");
    for (int i = 0; out && i < files; i++)
        fprintf(out, "%s,%lld,%lld\n", counted[i].path, counted[i].opens, counted[i].bytes);
    if (!out || fclose(out) != 0) perror(path);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define OPEN(name, ...)                                                                                                \
    va_list args;                                                                                                      \
    va_start(args, flags);                                                                                             \
    const int mode = flags & (O_CREAT | O_TMPFILE) ? (int)va_arg(args, int) : 0;                                       \
    va_end(args);                                                                                                      \
    const int fd = NEXT(name)(__VA_ARGS__, flags, mode);                                                               \
    if ((flags & O_ACCMODE) == O_RDONLY && !(flags & O_DIRECTORY)) count(fd, 1, 0);                                    \
    return fd

int open(const char *path, int flags, ...)
{
    OPEN(open, path);
}
int open64(const char *path, int flags, ...)
{
    OPEN(open64, path);
}
int openat(int folder, const char *path, int flags, ...)
{
    OPEN(openat, folder, path);
}
int openat64(int folder, const char *path, int flags, ...)
{
    OPEN(openat64, folder, path);
}

static int only_reads(FILE *file)
{
    return (fcntl(fileno(file), F_GETFL) & O_ACCMODE) == O_RDONLY;
}
FILE *fopen(const char *path, const char *how)
{
    FILE *file = NEXT(fopen)(path, how);
    if (file && only_reads(file)) count(fileno(file), 1, 0);
    return file;
}
FILE *fopen64(const char *path, const char *how)
{
    return fopen(path, how);
}
int fclose(FILE *file)
{
    if (only_reads(file)) count(fileno(file), 0, (ssize_t)ftello(file));
    return NEXT(fclose)(file);
}

ssize_t read(int fd, void *to, size_t bytes)
{
    return count(fd, 0, NEXT(read)(fd, to, bytes));
}
ssize_t pread(int fd, void *to, size_t bytes, off_t at)
{
    return count(fd, 0, NEXT(pread)(fd, to, bytes, at));
}
ssize_t pread64(int fd, void *to, size_t bytes, off64_t at)
{
    return count(fd, 0, NEXT(pread64)(fd, to, bytes, at));
}
ssize_t readv(int fd, const struct iovec *v, int n)
{
    return count(fd, 0, NEXT(readv)(fd, v, n));
}
ssize_t preadv(int fd, const struct iovec *v, int n, off_t at)
{
    return count(fd, 0, NEXT(preadv)(fd, v, n, at));
}
