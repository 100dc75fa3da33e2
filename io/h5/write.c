/* The phases of writing a file: nothing has its final name before all of it is on disk (design invariant 4). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/program.h"
#include "h5/h5.h"
#include "parallel/parallel.h"

enum { HOST_BYTES = 64 };

/* Folder of a path, "." if it names none; returns the last component. */
static const char *split(const char *path, char folder[VJ_PATH])
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        strcpy(folder, ".");
    else
        snprintf(folder, VJ_PATH, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    return slash ? slash + 1 : path;
}

/*
 * Take `bytes` of space, making the file if need be: a disk or a quota that is full then stops one rank at one plain
 * call, instead of any rank inside HDF5, which does not recover from a failed H5Fclose(). File systems that cannot
 * reserve are asked what they have.
 */
static vj_status reserve(const char *path, int64_t bytes)
{
    struct statvfs disk;
    int fd = open(path, O_WRONLY | O_CREAT, 0666);
    if (fd < 0) return vj_raise(VJ_ERR_IO, "create %s", path);
    int64_t free_bytes = fstatvfs(fd, &disk) == 0 ? (int64_t)disk.f_bavail * (int64_t)disk.f_frsize : INT64_MAX;
    int failed = fallocate(fd, 0, 0, bytes) != 0;
    if (failed && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)) {
        failed = free_bytes < bytes;
        errno = ENOSPC;
    }
    vj_status status = VJ_OK;
    if (failed)
        status = vj_raise(VJ_ERR_IO, "%s needs %.1f MiB, %.1f MiB are free", path, (double)bytes / (1 << 20),
                          (double)free_bytes / (1 << 20));
    if (close(fd) != 0 && status == VJ_OK) status = vj_raise(VJ_ERR_IO, "close %s", path);
    return status;
}

/* ------------------------------------------------------------------------------------------------ create */

/* On rank 0: names of all hosts in the order of ranks, each once; elsewhere "". NULL: no memory. Collective. */
static char *host_list(MPI_Comm comm, int rank, int size)
{
    char mine[HOST_BYTES] = "";
    int here = rank == 0 ? size : 0;
    char *all = vj_calloc(here, HOST_BYTES), *text = vj_calloc(here, HOST_BYTES + 1);
    if (gethostname(mine, sizeof mine - 1) != 0) strcpy(mine, "unknown");
    if (vj_agree(comm, all && text ? VJ_OK : VJ_ERR_MEMORY) != VJ_OK) {
        free(all);
        free(text);
        return NULL;
    }
    MPI_Gather(mine, HOST_BYTES, MPI_CHAR, all, HOST_BYTES, MPI_CHAR, 0, comm);
    char *end = text;
    for (int i = 0; i < here; i++) {
        const char *host = all + i * HOST_BYTES;
        int known = 0;
        for (int other = i - 1; other >= 0 && !known; other--) known = strcmp(host, all + other * HOST_BYTES) == 0;
        if (!known) end += sprintf(end, "%s%s", end == text ? "" : " ", host);
    }
    free(all);
    return text;
}

/* Remove what killed writers of the same file left. */
static void remove_stale(const vj_h5_writer *writer)
{
    char folder[VJ_PATH], path[2 * VJ_PATH];
    const char *name = split(writer->path, folder);
    DIR *dir = opendir(folder);
    if (!dir) return; /* creating the file will say why */
    for (struct dirent *item = readdir(dir); item; item = readdir(dir)) {
        size_t length = strlen(item->d_name), front = strlen(name);
        if (length < front + 6 || strncmp(item->d_name, name, front) != 0 || item->d_name[front] != '.' ||
            strcmp(item->d_name + length - 5, ".part") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, item->d_name);
        if (unlink(path) != 0) vj_warn("%s of an earlier writer cannot be removed", path);
    }
    closedir(dir); /* only read */
}

/*
 * A name of its own for each write: Open MPI guards an open file by a semaphore in /dev/shm named after the file's last
 * component alone, so a killed job's, another run's or another user's file of the same name would block or fail ours.
 */
static void choose_part(vj_h5_writer *writer)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint32_t number = (uint32_t)now.tv_nsec ^ (uint32_t)now.tv_sec << 16 ^ (uint32_t)getpid() << 8;
    MPI_Bcast(&number, 1, MPI_UINT32_T, 0, writer->comm);
    snprintf(writer->part, sizeof writer->part, "%s.%08x.part", writer->path, number);
}

/* Format 1.8 at most: it has checksums in all of HDF5's structures, and no flag that keeps a torn file from opening. */
static hid_t create_serial(const char *part)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), file = H5I_INVALID_HID;
    if (H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18) >= 0)
        file = H5Fcreate(part, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access); /* a property list that cannot be closed costs a few bytes, no more */
    return file;
}

static vj_status put_header(hid_t file, const char *format, int64_t version, const char *hosts, int size)
{
    char date[32];
    time_t now = time(NULL);
    struct tm utc;
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    VJ_TRY(vj_h5_put_text(file, "format", format));
    VJ_TRY(vj_h5_put_i64(file, "version", version));
    VJ_TRY(vj_h5_put_text(file, "code", vj_version()));
    VJ_TRY(vj_h5_put_text(file, "date", date));
    VJ_TRY(vj_h5_put_text(file, "hosts", hosts));
    return vj_h5_put_i64(file, "ranks", size);
}

/* On rank 0. */
static vj_status create_part(vj_h5_writer *writer, const char *format, int64_t version, int64_t bytes,
                             const char *hosts, int size)
{
    remove_stale(writer);
    VJ_TRY(reserve(writer->part, bytes)); /* creation empties the file again */
    writer->file = create_serial(writer->part);
    if (writer->file < 0) return vj_raise_h5("create %s", writer->part);
    return put_header(writer->file, format, version, hosts, size);
}

/* Close what this rank has open. Collective in phase 2. */
static vj_status close_file(vj_h5_writer *writer, vj_status status)
{
    if (writer->file >= 0 && H5Fclose(writer->file) < 0 && status == VJ_OK)
        status = vj_raise_h5("close %s", writer->part);
    writer->file = H5I_INVALID_HID;
    return status;
}

/* The end of every phase: agree; if it failed, nothing is left open or on disk. */
static vj_status end_phase(vj_h5_writer *writer, vj_status status)
{
    status = vj_agree(writer->comm, status);
    if (status == VJ_OK) return VJ_OK;
    close_file(writer, status);
    if (writer->rank == 0 && unlink(writer->part) != 0 && errno != ENOENT)
        vj_raise(VJ_ERR_IO, "remove %s", writer->part);
    MPI_Barrier(writer->comm); /* it is gone for all when one returns */
    return status;
}

vj_status vj_h5_create(vj_h5_writer *writer, const char *path, const char *format, int64_t version, int64_t bytes,
                       MPI_Comm comm)
{
    int size;
    *writer = (vj_h5_writer){.file = H5I_INVALID_HID, .comm = comm};
    MPI_Comm_rank(comm, &writer->rank);
    MPI_Comm_size(comm, &size);
    if (snprintf(writer->path, sizeof writer->path, "%s", path) >= (int)sizeof writer->path)
        return vj_raise(VJ_ERR_USAGE, "path too long: %s", path);
    choose_part(writer);
    char *hosts = host_list(comm, writer->rank, size);
    if (!hosts) return vj_raise(VJ_ERR_MEMORY, "no memory for %d host names", size);
    vj_status status = writer->rank == 0 ? create_part(writer, format, version, bytes, hosts, size) : VJ_OK;
    free(hosts);
    return end_phase(writer, status);
}

/* ------------------------------------------------------------------------------------------------ share, gather,
 * commit */

static hid_t open_parallel(const vj_h5_writer *writer)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), file = H5I_INVALID_HID;
    if (H5Pset_fapl_mpio(access, writer->comm, MPI_INFO_NULL) >= 0) file = H5Fopen(writer->part, H5F_ACC_RDWR, access);
    H5Pclose(access); /* a property list that cannot be closed costs a few bytes, no more */
    return file;
}

/*
 * On rank 0. Not a byte more than the file has is reserved: the parallel close would have to cut what is longer than
 * HDF5 thinks.
 */
static vj_status close_and_reserve(vj_h5_writer *writer, vj_status status)
{
    hsize_t bytes = 0;
    if (status == VJ_OK && H5Fget_filesize(writer->file, &bytes) < 0) status = vj_raise_h5("size of %s", writer->part);
    VJ_TRY(close_file(writer, status));
    VJ_TRY(reserve(writer->part, (int64_t)bytes));
    return vj_file_sync(writer->part); /* for other nodes to see */
}

vj_status vj_h5_share(vj_h5_writer *writer, vj_status status)
{
    if (writer->rank == 0) status = close_and_reserve(writer, status);
    VJ_TRY(end_phase(writer, status));
    writer->file = open_parallel(writer);
    return end_phase(writer, writer->file < 0 ? vj_raise_h5("open %s", writer->part) : VJ_OK);
}

vj_status vj_h5_gather(vj_h5_writer *writer, vj_status status)
{
    status = close_file(writer, status);
    if (status == VJ_OK) status = vj_file_sync(writer->part);
    VJ_TRY(end_phase(writer, status));
    if (writer->rank == 0) {
        writer->file = H5Fopen(writer->part, H5F_ACC_RDWR, H5P_DEFAULT);
        if (writer->file < 0) status = vj_raise_h5("open %s", writer->part);
    }
    return end_phase(writer, status);
}

/* On rank 0. */
static vj_status finish(vj_h5_writer *writer)
{
    VJ_TRY(close_file(writer, vj_h5_put_i64(writer->file, "complete", 1)));
    return vj_file_publish(writer->part, writer->path);
}

vj_status vj_h5_commit(vj_h5_writer *writer, vj_status status)
{
    VJ_TRY(end_phase(writer, status));
    return end_phase(writer, writer->rank == 0 ? finish(writer) : VJ_OK);
}
