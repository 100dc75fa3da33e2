/*
 * Faults for I/O calls: preloaded into one rank's process, it makes the k-th call of a kind on a path that contains a
 * given text fail, or kills the process there.
 *
 *   VJ_FAULT="RANK CALL TEXT K ACTION"     "0 write .part 3 ENOSPC+"
 *
 * TEXT ending in "$" must end the path. CALL: open read write sync wait rename truncate reserve unlink lock, or any;
 * wait: sync_file_range() that waits. Reads and writes of all forms count together. ACTION: EIO, ENOSPC, EINTR, EROFS,
 * ENOLCK, ESTALE: the call fails with it; stale: that too, with ESTALE, and so does each later one through a descriptor
 * that was open by then (what is opened after it works); lost: it succeeds and has done nothing (write); short: half of
 * what was asked for is done (read, write); slow: it is done 0.2 s later; kill: SIGKILL instead of the call; hang: the
 * call never returns. With "+" also each call after the k-th fails. The first fault is said on standard error. Threads
 * may call; the count is one for all.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <unistd.h>

typedef enum { GO_ON, FAIL, SHORT, LOST } verdict;

static struct {
    char call[16], text[64], action[16];
    int armed, again;
    long k;
    atomic_long count;
    atomic_int said;
    atomic_char stale[1024]; /* whether each descriptor is stale */
} fault;

__attribute__((constructor)) static void arm(void)
{
    const char *spec = getenv("VJ_FAULT"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    int which;
    if (!spec || !rank ||
        sscanf(spec, "%d %15s %63s %ld %15s", &which, fault.call, fault.text, &fault.k, fault.action) != 5)
        return;
    char *plus = strchr(fault.action, '+');
    fault.again = plus != NULL;
    if (plus) *plus = '\0';
    fault.armed = which == atoi(rank);
}

static int error_of(const char *action)
{
    static const struct {
        const char *name;
        int number;
    } known[] = {{"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EINTR", EINTR}, {"EROFS", EROFS},
                 {"ENOLCK", ENOLCK}, {"ESTALE", ESTALE}, {"stale", ESTALE}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, action) == 0) return known[i].number;
    return EIO;
}

/* Return whether the path contains the text, or if the text ends in '$' whether the path ends with it. */
static int matches(const char *path)
{
    const size_t length = strlen(fault.text), all = strlen(path);
    if (length == 0 || fault.text[length - 1] != '$') return strstr(path, fault.text) != NULL;
    return all >= length - 1 && strncmp(path + all - (length - 1), fault.text, length - 1) == 0;
}

static verdict judge(const char *call, const char *path)
{
    if (!fault.armed || !path || (strcmp(fault.call, "any") != 0 && strcmp(fault.call, call) != 0)) return GO_ON;
    if (!matches(path)) return GO_ON;
    const long count = atomic_fetch_add(&fault.count, 1) + 1;
    if (count != fault.k && !(fault.again && count > fault.k)) return GO_ON;
    if (!atomic_exchange(&fault.said, 1)) dprintf(STDERR_FILENO, "fault: %s of %s: %s\n", call, path, fault.action);
    if (strcmp(fault.action, "kill") == 0) raise(SIGKILL);
    while (strcmp(fault.action, "hang") == 0) pause();
    if (strcmp(fault.action, "slow") == 0) {
        usleep(200000);
        return GO_ON;
    }
    if (strcmp(fault.action, "short") == 0) return SHORT;
    if (strcmp(fault.action, "lost") == 0) return LOST;
    errno = error_of(fault.action);
    return FAIL;
}

enum { DESCRIPTORS = sizeof fault.stale / sizeof fault.stale[0] };

/* Mark a descriptor as stale if it is of a file that the fault concerns. */
static void mark_if_stale(int fd)
{
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = '\0';
    if (matches(path)) atomic_store(&fault.stale[fd], 1);
}

static verdict judge_fd(const char *call, int fd)
{
    char link[32], path[4096];
    if (!fault.armed) return GO_ON;
    if (fd >= 0 && fd < DESCRIPTORS && atomic_load(&fault.stale[fd])) {
        errno = ESTALE;
        return FAIL;
    }
    const int error = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    errno = error;
    if (length < 0) return GO_ON;
    path[length] = '\0';
    const verdict v = judge(call, path);
    if (v != FAIL || strcmp(fault.action, "stale") != 0) return v;
    for (int i = 0; i < DESCRIPTORS; i++) mark_if_stale(i);
    errno = ESTALE;
    return FAIL;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* ------------------------------------------------------------------------------------------------ by name */

#define MODE(flags, mode)                                                                                              \
    do {                                                                                                               \
        va_list args;                                                                                                  \
        va_start(args, flags);                                                                                         \
        mode = (flags) & (O_CREAT | O_TMPFILE) ? (int)va_arg(args, int) : 0;                                           \
        va_end(args);                                                                                                  \
    } while (0)

int open(const char *path, int flags, ...)
{
    int mode;
    MODE(flags, mode);
    return judge("open", path) == FAIL ? -1 : NEXT(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...)
{
    int mode;
    MODE(flags, mode);
    return judge("open", path) == FAIL ? -1 : NEXT(open64)(path, flags, mode);
}
FILE *fopen(const char *path, const char *how)
{
    return judge("open", path) == FAIL ? NULL : NEXT(fopen)(path, how);
}
FILE *fopen64(const char *path, const char *how)
{
    return judge("open", path) == FAIL ? NULL : NEXT(fopen64)(path, how);
}
int rename(const char *from, const char *to)
{
    return judge("rename", from) == FAIL ? -1 : NEXT(rename)(from, to);
}
int unlink(const char *path)
{
    return judge("unlink", path) == FAIL ? -1 : NEXT(unlink)(path);
}

/* ------------------------------------------------------------------------------------------------ by descriptor */

#define TRANSFER(kind, fd, bytes, call, half_call)                                                                     \
    switch (judge_fd(kind, fd)) {                                                                                      \
    case FAIL:                                                                                                         \
        return -1;                                                                                                     \
    case LOST:                                                                                                         \
        return (ssize_t)(bytes);                                                                                       \
    case SHORT:                                                                                                        \
        if ((bytes) > 1) return half_call;                                                                             \
        return call;                                                                                                   \
    default:                                                                                                           \
        return call;                                                                                                   \
    }

ssize_t read(int fd, void *to, size_t bytes){
    TRANSFER("read", fd, bytes, NEXT(read)(fd, to, bytes), NEXT(read)(fd, to, bytes / 2))} ssize_t
    pread(int fd, void *to, size_t bytes, off_t at){
        TRANSFER("read", fd, bytes, NEXT(pread)(fd, to, bytes, at), NEXT(pread)(fd, to, bytes / 2, at))} ssize_t
    pread64(int fd, void *to, size_t bytes, off64_t at){
        TRANSFER("read", fd, bytes, NEXT(pread64)(fd, to, bytes, at), NEXT(pread64)(fd, to, bytes / 2, at))} ssize_t
    write(int fd, const void *from, size_t bytes){
        TRANSFER("write", fd, bytes, NEXT(write)(fd, from, bytes), NEXT(write)(fd, from, bytes / 2))} ssize_t
    pwrite(int fd, const void *from, size_t bytes, off_t at){
        TRANSFER("write", fd, bytes, NEXT(pwrite)(fd, from, bytes, at), NEXT(pwrite)(fd, from, bytes / 2, at))} ssize_t
    pwrite64(int fd, const void *from, size_t bytes, off64_t at)
{
    TRANSFER("write", fd, bytes, NEXT(pwrite64)(fd, from, bytes, at), NEXT(pwrite64)(fd, from, bytes / 2, at))
}
/* Return half of a vector: the first half of its pieces, or half of its only piece. */
static ssize_t half_of(const struct iovec *v, int count, struct iovec *one)
{
    *one = (struct iovec){v[0].iov_base, v[0].iov_len / 2};
    return count > 1 ? count / 2 : 0;
}
ssize_t readv(int fd, const struct iovec *v, int count)
{
    struct iovec one;
    const int half = (int)half_of(v, count, &one);
    TRANSFER("read", fd, 2, NEXT(readv)(fd, v, count), half ? NEXT(readv)(fd, v, half) : NEXT(readv)(fd, &one, 1))
}
ssize_t writev(int fd, const struct iovec *v, int count)
{
    struct iovec one;
    const int half = (int)half_of(v, count, &one);
    TRANSFER("write", fd, 2, NEXT(writev)(fd, v, count), half ? NEXT(writev)(fd, v, half) : NEXT(writev)(fd, &one, 1))
}
ssize_t preadv(int fd, const struct iovec *v, int count, off_t at)
{
    struct iovec one;
    const int half = (int)half_of(v, count, &one);
    TRANSFER("read", fd, 2, NEXT(preadv)(fd, v, count, at),
             half ? NEXT(preadv)(fd, v, half, at) : NEXT(preadv)(fd, &one, 1, at))
}
ssize_t pwritev(int fd, const struct iovec *v, int count, off_t at)
{
    struct iovec one;
    const int half = (int)half_of(v, count, &one);
    TRANSFER("write", fd, 2, NEXT(pwritev)(fd, v, count, at),
             half ? NEXT(pwritev)(fd, v, half, at) : NEXT(pwritev)(fd, &one, 1, at))
}
int fflush(FILE *file)
{
    return file && judge_fd("write", fileno(file)) == FAIL ? EOF : NEXT(fflush)(file);
}
int fclose(FILE *file)
{
    const verdict v = judge_fd("write", fileno(file));
    const int error = errno, result = NEXT(fclose)(file);
    if (v != FAIL) return result;
    errno = error;
    return EOF;
}
int close(int fd)
{
    if (fd >= 0 && fd < DESCRIPTORS) atomic_store(&fault.stale[fd], 0);
    return NEXT(close)(fd);
}
int flock(int fd, int how)
{
    return judge_fd("lock", fd) == FAIL ? -1 : NEXT(flock)(fd, how);
}
int fsync(int fd)
{
    return judge_fd("sync", fd) == FAIL ? -1 : NEXT(fsync)(fd);
}
int sync_file_range(int fd, off64_t at, off64_t bytes, unsigned how)
{
    const int waits = (how & SYNC_FILE_RANGE_WAIT_AFTER) != 0;
    return waits && judge_fd("wait", fd) == FAIL ? -1 : NEXT(sync_file_range)(fd, at, bytes, how);
}
int ftruncate(int fd, off_t bytes)
{
    return judge_fd("truncate", fd) == FAIL ? -1 : NEXT(ftruncate)(fd, bytes);
}
int ftruncate64(int fd, off64_t bytes)
{
    return judge_fd("truncate", fd) == FAIL ? -1 : NEXT(ftruncate64)(fd, bytes);
}
int fallocate(int fd, int how, off_t at, off_t bytes)
{
    return judge_fd("reserve", fd) == FAIL ? -1 : NEXT(fallocate)(fd, how, at, bytes);
}
int fallocate64(int fd, int how, off64_t at, off64_t bytes)
{
    return judge_fd("reserve", fd) == FAIL ? -1 : NEXT(fallocate64)(fd, how, at, bytes);
}
