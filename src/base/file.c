/* Writes files under a temporary name and renames them; reads and writes that continue after short transfers. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------ whole transfers */

int64_t vj_read_at(int fd, void *to, int64_t bytes, int64_t at)
{
    int64_t done = 0;
    while (done < bytes) {
        const ssize_t got = pread(fd, (char *)to + done, (size_t)(bytes - done), (off_t)(at + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        done += got;
    }
    return done;
}

bool vj_write_at(int fd, const void *from, int64_t bytes, int64_t at)
{
    for (int64_t done = 0; done < bytes;) {
        errno = 0;
        const ssize_t put = pwrite(fd, (const char *)from + done, (size_t)(bytes - done), (off_t)(at + done));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) {
            if (errno == 0) errno = EIO;
            return false;
        }
        done += put;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------ folders */

/* Some network and FUSE file systems cannot flush a folder. Nothing more can be done there to make names last. */
static bool cannot_sync_folders(int error)
{
    return error == EINVAL || error == ENOTSUP || error == EOPNOTSUPP || error == ENOSYS || error == EROFS ||
           error == EBADF;
}

vj_status vj_folder_sync(const char *path)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return vj_raise(VJ_ERR_IO, "open folder %s", path);
    vj_status status = VJ_OK;
    if (fsync(fd) != 0 && !cannot_sync_folders(errno)) status = vj_raise(VJ_ERR_IO, "fsync folder %s", path);
    (void)close(fd); /* it was opened for reading, so closing it cannot lose data */
    return status;
}

/* Write the folder of a path, with a slash at its end. Returns the name in it. */
static const char *split(const char *path, char folder[VJ_FILE_PATH])
{
    const char *slash = strrchr(path, '/');
    snprintf(folder, VJ_FILE_PATH, "%.*s", slash ? (int)(slash - path) + 1 : 2, slash ? path : "./");
    return slash ? slash + 1 : path;
}

static vj_status sync_folder_of(const char *path)
{
    char folder[VJ_FILE_PATH];
    (void)split(path, folder);
    return vj_folder_sync(folder);
}

/* Return whether `item` is called NAME.part or NAME.<number>.part. */
static bool is_part_of(const char *item, const char *name)
{
    const size_t front = strlen(name), length = strlen(item);
    if (length < front + 5 || strncmp(item, name, front) != 0 || strcmp(item + length - 5, ".part") != 0) return false;
    if (length == front + 5) return true;
    const size_t digits = strspn(item + front + 1, "0123456789abcdef");
    return item[front] == '.' && digits > 0 && front + 1 + digits == length - 5;
}

void vj_file_remove_parts(const char *folder, const char *name)
{
    DIR *dir = opendir(folder);
    if (!dir) return; /* creating a file there will say why */
    for (const struct dirent *item = readdir(dir); item; item = readdir(dir))
        if (is_part_of(item->d_name, name) && unlinkat(dirfd(dir), item->d_name, 0) != 0 && errno != ENOENT)
            vj_warn("%s/%s of an earlier writer cannot be removed: %s", folder, item->d_name, strerror(errno));
    (void)closedir(dir); /* only read */
}

/* ------------------------------------------------------------------------------------------------ one file */

/*
 * Make a number that differs between processes, hosts and calls with high probability. If the name exists nevertheless,
 * O_EXCL makes the creation fail, and the caller tries another number.
 */
static uint32_t draw_number(void)
{
    static atomic_uint calls;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint32_t)now.tv_nsec ^ (uint32_t)now.tv_sec << 16 ^ (uint32_t)getpid() << 8 ^
           (uint32_t)gethostid() * 2654435761u ^ (uint32_t)atomic_fetch_add(&calls, 1u) * 40503u;
}

vj_status vj_file_begin(vj_file *file, const char *path)
{
    enum { NUMBER_BYTES = 16, TRIES = 100 };
    *file = VJ_FILE_NONE;
    if (strlen(path) + NUMBER_BYTES >= sizeof file->path) return vj_raise(VJ_ERR_USAGE, "path too long: %s", path);
    strcpy(file->path, path);
    for (int i = 0; i < TRIES && file->fd < 0; i++) {
        snprintf(file->part, sizeof file->part, "%s.%08x.part", path, draw_number());
        file->fd = open(file->part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file->fd < 0 && errno != EEXIST) break;
    }
    if (file->fd >= 0) return VJ_OK;
    vj_status status = vj_raise(VJ_ERR_IO, "create %s", file->part);
    file->part[0] = '\0';
    return status;
}

vj_status vj_file_begin_text(vj_file *file, const char *path)
{
    VJ_TRY(vj_file_begin(file, path));
    const int fd = dup(file->fd); /* the stream has a descriptor of its own; this one stays open for vj_file_commit() */
    file->stream = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (file->stream) return VJ_OK;
    vj_status status = vj_raise(VJ_ERR_IO, "open %s for writing", file->part);
    if (fd >= 0) (void)close(fd); /* nothing was written */
    vj_file_rollback(file);
    return status;
}

vj_status vj_file_begin_anew(vj_file *file, const char *path)
{
    char folder[VJ_FILE_PATH];
    const char *name = split(path, folder);
    vj_file_remove_parts(folder, name);
    return vj_file_begin_text(file, path);
}

/*
 * Return whether the temporary name still refers to the file that we wrote. If another process took the name, it must
 * be neither renamed nor removed.
 */
static bool is_still_ours(const vj_file *file)
{
    struct stat open_one, named;
    return fstat(file->fd, &open_one) == 0 && stat(file->part, &named) == 0 && open_one.st_ino == named.st_ino &&
           open_one.st_dev == named.st_dev;
}

static vj_status make_durable(vj_file *file)
{
    if (file->stream) {
        FILE *stream = file->stream;
        file->stream = NULL;
        errno = 0;
        const bool good = fflush(stream) == 0 && !ferror(stream);
        if (!good) {
            const int error = errno;
            (void)fclose(stream); /* failing already */
            errno = error;
        }
        if (!good || fclose(stream) != 0) return vj_raise(VJ_ERR_IO, "write %s", file->part);
    }
    if (fsync(file->fd) != 0) return vj_raise(VJ_ERR_IO, "fsync %s", file->part);
    errno = 0;
    if (!is_still_ours(file))
        return vj_raise(VJ_ERR_IO,
                        "%s is not the file that this process wrote: another job works in the same folder, and nothing "
                        "is published",
                        file->part);
    if (rename(file->part, file->path) != 0) return vj_raise(VJ_ERR_IO, "rename %s to %s", file->part, file->path);
    file->part[0] = '\0';
    return VJ_OK;
}

vj_status vj_file_commit(vj_file *file)
{
    vj_status status = make_durable(file);
    if (status != VJ_OK) {
        vj_file_rollback(file);
        return status;
    }
    if (close(file->fd) != 0) status = vj_raise(VJ_ERR_IO, "close %s", file->path);
    file->fd = -1;
    VJ_TRY(status);
    return sync_folder_of(file->path);
}

void vj_file_rollback(vj_file *file)
{
    if (file->stream) (void)fclose(file->stream); /* what it holds is thrown away */
    file->stream = NULL;
    const bool ours = file->part[0] && file->fd >= 0 && is_still_ours(file);
    if (ours && unlink(file->part) != 0 && errno != ENOENT) vj_raise(VJ_ERR_IO, "remove %s", file->part);
    file->part[0] = '\0';
    if (file->fd >= 0) (void)close(file->fd);
    file->fd = -1;
}

vj_status vj_file_put_text(const char *path, const char *text)
{
    vj_file file;
    VJ_TRY(vj_file_begin_text(&file, path));
    fputs(text, file.stream); /* commit looks at the stream */
    return vj_file_commit(&file);
}
