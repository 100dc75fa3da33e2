/* Parallel creation of a file beside its final name, attributes and datasets. The commit is in commit.c. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/program.h"
#include "h5/h5.h"
#include "parallel/parallel.h"

enum { HOST_BYTES = 64 };

static vj_status put(hid_t object, const char *name, hid_t type, hid_t space, const void *values)
{
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    int failed = attribute < 0 || H5Awrite(attribute, type, values) < 0;
    if (attribute >= 0 && H5Aclose(attribute) < 0) failed = 1;
    if (H5Sclose(space) < 0) failed = 1;
    return failed ? vj_raise_h5("write attribute %s", name) : VJ_OK;
}

vj_status vj_h5_put_i64(hid_t object, const char *name, int64_t value)
{
    return put(object, name, H5T_NATIVE_INT64, H5Screate(H5S_SCALAR), &value);
}

vj_status vj_h5_put_u64(hid_t object, const char *name, uint64_t value)
{
    return put(object, name, H5T_NATIVE_UINT64, H5Screate(H5S_SCALAR), &value);
}

vj_status vj_h5_put_f64(hid_t object, const char *name, double value)
{
    return put(object, name, H5T_NATIVE_DOUBLE, H5Screate(H5S_SCALAR), &value);
}

vj_status vj_h5_put_u64s(hid_t object, const char *name, const uint64_t *values, int64_t count)
{
    hsize_t dim = (hsize_t)count;
    return put(object, name, H5T_NATIVE_UINT64, H5Screate_simple(1, &dim, NULL), values);
}

/* Fixed length: unlike variable-length text it lies in the object header, which HDF5 checksums. */
vj_status vj_h5_put_text(hid_t object, const char *name, const char *text)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type < 0 || H5Tset_size(type, strlen(text) + 1) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)
        return vj_raise_h5("type of attribute %s", name);
    vj_status status = put(object, name, type, H5Screate(H5S_SCALAR), text);
    if (H5Tclose(type) < 0 && status == VJ_OK) status = vj_raise_h5("type of attribute %s", name);
    return status;
}

vj_status vj_h5_dataset(hid_t *dataset, hid_t file, const char *name, hid_t type, int ndim, const hsize_t *dim)
{
    hid_t create = H5Pcreate(H5P_DATASET_CREATE), link = H5Pcreate(H5P_LINK_CREATE);
    hid_t space = H5Screate_simple(ndim, dim, NULL);
    *dataset = H5I_INVALID_HID;
    if (H5Pset_layout(create, H5D_CONTIGUOUS) >= 0 && H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY) >= 0 &&
        H5Pset_fill_time(create, H5D_FILL_TIME_NEVER) >= 0 && H5Pset_create_intermediate_group(link, 1) >= 0)
        *dataset = H5Dcreate2(file, name, type, space, link, create, H5P_DEFAULT);
    vj_status status = *dataset < 0 ? vj_raise_h5("create dataset %s", name) : VJ_OK;
    if (H5Pclose(create) < 0 || H5Pclose(link) < 0 || H5Sclose(space) < 0)
        if (status == VJ_OK) status = vj_raise_h5("create dataset %s", name);
    return status;
}

/*
 * Take the space of the file: a disk or a quota that is full then stops one rank at one plain call, instead of any rank
 * in the middle of HDF5 (which does not recover from a failed H5Fclose). File systems that cannot reserve are asked what
 * they have. H5Fclose() cuts the file to its true length.
 */
static vj_status reserve(const char *path, int64_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0666);
    if (fd < 0) return vj_raise(VJ_ERR_IO, "create %s", path);
    struct statvfs disk;
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

/* Names of all hosts in the order of ranks, each once. */
static char *host_list(MPI_Comm comm, int size)
{
    char mine[HOST_BYTES] = "";
    char *all = vj_calloc(size, HOST_BYTES), *text = vj_calloc(size, HOST_BYTES + 1);
    if (gethostname(mine, sizeof mine - 1) != 0) strcpy(mine, "unknown");
    vj_status status = vj_agree(comm, all && text ? VJ_OK : VJ_ERR_MEMORY);
    if (status != VJ_OK) {
        free(all);
        free(text);
        return NULL;
    }
    MPI_Allgather(mine, HOST_BYTES, MPI_CHAR, all, HOST_BYTES, MPI_CHAR, comm);
    char *end = text;
    for (int rank = 0; rank < size; rank++) {
        const char *host = all + rank * HOST_BYTES;
        int known = 0;
        for (int other = rank - 1; other >= 0 && !known; other--) known = strcmp(host, all + other * HOST_BYTES) == 0;
        if (!known) end += sprintf(end, "%s%s", end == text ? "" : " ", host);
    }
    free(all);
    return text;
}

static vj_status put_provenance(hid_t file, MPI_Comm comm)
{
    int size;
    MPI_Comm_size(comm, &size);
    char *hosts = host_list(comm, size);
    if (!hosts) return vj_raise(VJ_ERR_MEMORY, "no memory for %d host names", size);
    char date[32], code[512];
    time_t now = time(NULL);
    struct tm utc;
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    snprintf(code, sizeof code, "%s", vj_version());
    MPI_Bcast(date, sizeof date, MPI_CHAR, 0, comm); /* attributes must not differ between ranks */
    MPI_Bcast(code, sizeof code, MPI_CHAR, 0, comm);
    vj_status status = vj_h5_put_text(file, "hosts", hosts);
    free(hosts);
    VJ_TRY(status);
    VJ_TRY(vj_h5_put_text(file, "date", date));
    VJ_TRY(vj_h5_put_text(file, "code", code));
    return vj_h5_put_i64(file, "ranks", size);
}

/* Format 1.8 at most: it has checksums in all of HDF5's structures, and no flag that keeps a torn file from opening. */
static hid_t create_parallel(const char *part, MPI_Comm comm)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), file = H5I_INVALID_HID;
    if (H5Pset_fapl_mpio(access, comm, MPI_INFO_NULL) >= 0 && H5Pset_coll_metadata_write(access, 1) >= 0 &&
        H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18) >= 0)
        file = H5Fcreate(part, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access); /* a property list that cannot be closed costs a few bytes, no more */
    return file;
}

/* Remove what killed writers of the same file left. */
static void remove_stale(const vj_h5_writer *writer)
{
    char folder[VJ_PATH], path[2 * VJ_PATH];
    const char *name = vj_h5_split(writer->path, folder);
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
static void choose_part(vj_h5_writer *writer, int rank)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint32_t number = (uint32_t)now.tv_nsec ^ (uint32_t)now.tv_sec << 16 ^ (uint32_t)getpid() << 8;
    MPI_Bcast(&number, 1, MPI_UINT32_T, 0, writer->comm);
    snprintf(writer->part, sizeof writer->part, "%s.%08x.part", writer->path, number);
    if (rank == 0) remove_stale(writer);
}

vj_status vj_h5_create(vj_h5_writer *writer, const char *path, const char *format, int64_t version, int64_t bytes,
                       MPI_Comm comm)
{
    writer->comm = comm;
    if (snprintf(writer->path, sizeof writer->path, "%s", path) >= (int)sizeof writer->path)
        return vj_raise(VJ_ERR_USAGE, "path too long: %s", path);
    int rank;
    MPI_Comm_rank(comm, &rank);
    choose_part(writer, rank);
    vj_status status = rank == 0 ? reserve(writer->part, bytes) : VJ_OK;
    status = vj_agree(comm, status);
    if (status == VJ_OK) {
        writer->file = create_parallel(writer->part, comm);
        status = vj_agree(comm, writer->file < 0 ? vj_raise_h5("create %s", writer->part) : VJ_OK);
    }
    if (status != VJ_OK) {
        if (rank == 0) unlink(writer->part); /* it may not even be there */
        return status;
    }
    if (rank == 0) status = reserve(writer->part, bytes); /* creation emptied the file */
    status = vj_agree(comm, status);
    if (status == VJ_OK) status = vj_h5_put_text(writer->file, "format", format);
    if (status == VJ_OK) status = vj_h5_put_i64(writer->file, "version", version);
    if (status == VJ_OK) status = put_provenance(writer->file, comm);
    status = vj_agree(comm, status);
    return status == VJ_OK ? VJ_OK : vj_h5_commit(writer, status);
}
