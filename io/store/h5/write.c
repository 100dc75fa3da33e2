/* The phases of writing a file. A file gets its final name only when all of it is on disk (design invariant 4). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/program.h"
#include "base/progress.h"
#include "h5/h5.h"
#include "h5/pages.h"
#include "parallel/parallel.h"

enum { HOST_BYTES = 64, NAMED = 100 /* hosts */ };

/* Split a path into its folder ("." if it names none) and its last component, which is returned. */
static const char *split(const char *path, char folder[VJ_PATH])
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        strcpy(folder, ".");
    else
        snprintf(folder, VJ_PATH, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    return slash ? slash + 1 : path;
}

/* ------------------------------------------------------------------------------------------------ create */

/*
 * On rank 0: return the names of the first hosts in the order of ranks, each once, and how many more there are; the
 * list is limited because HDF5 keeps an attribute of more than 64 KiB apart from its other structures. On other ranks:
 * "". NULL: no memory. Collective.
 */
static char *host_list(MPI_Comm comm, int rank, int size)
{
    char mine[HOST_BYTES] = "";
    int here = rank == 0 ? size : 0;
    char *all = vj_calloc(here, HOST_BYTES), *text = vj_calloc(here < NAMED ? here + 1 : NAMED + 1, HOST_BYTES + 1);
    if (gethostname(mine, sizeof mine - 1) != 0) strcpy(mine, "unknown");
    if (vj_agree(comm, all && text ? VJ_OK : VJ_ERR_MEMORY) != VJ_OK) {
        free(all);
        free(text);
        return NULL;
    }
    if (comm == VJ_ALONE)
        strcpy(all, mine);
    else
        MPI_Gather(mine, HOST_BYTES, MPI_CHAR, all, HOST_BYTES, MPI_CHAR, 0, comm);
    char *end = text;
    int hosts = 0;
    for (int i = 0; i < here; i++) {
        const char *host = all + i * HOST_BYTES;
        int known = 0;
        for (int other = i - 1; other >= 0 && !known; other--) known = strcmp(host, all + other * HOST_BYTES) == 0;
        if (known) continue;
        if (hosts++ < NAMED) end += sprintf(end, "%s%s", end == text ? "" : " ", host);
    }
    if (hosts > NAMED) sprintf(end, " and %d more", hosts - NAMED);
    free(all);
    return text;
}

/* We own the memory that HDF5's core driver writes to and keep it after H5Fclose(), because it holds the structures at
 * the beginning of the file. */
static void *image_resize(void *bytes, size_t count, H5FD_file_image_op_t operation, void *user)
{
    (void)operation; /* part of HDF5's signature */
    vj_h5_writer *writer = user;
    const int64_t room = writer->data_place > 0 ? writer->data_place : writer->front_bytes;
    if ((int64_t)count > room) writer->refused_bytes = (int64_t)count;
    void *more = (int64_t)count <= room ? realloc(bytes, count) : NULL;
    if (!more) return NULL;
    writer->front.bytes = more;
    writer->front.count = (int64_t)count;
    return more;
}

static void *image_allocate(size_t count, H5FD_file_image_op_t operation, void *user)
{
    return image_resize(NULL, count, operation, user);
}

static herr_t image_keep(void *bytes, H5FD_file_image_op_t operation, void *user)
{
    (void)bytes; /* is writer->front.bytes, still needed */
    (void)operation;
    (void)user;
    return 0;
}

static void *same_user(void *user)
{
    return user;
}

static herr_t keep_user(void *user)
{
    (void)user; /* does not belong to HDF5 */
    return 0;
}

/*
 * Create the file with format 1.8, which has checksums in all of HDF5's structures, and no flag that keeps an
 * incompletely closed file from being opened. All structures lie in one block at the front of the file, and datasets
 * get their space after it; the driver allocates memory only up to the last structure.
 */
static hid_t create_in_memory(vj_h5_writer *writer)
{
    enum { STEP = 64 << 10 };
    H5FD_file_image_callbacks_t image = {.image_malloc = image_allocate,
                                         .image_realloc = image_resize,
                                         .image_free = image_keep,
                                         .udata_copy = same_user,
                                         .udata_free = keep_user,
                                         .udata = writer};
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), file = H5I_INVALID_HID;
    if (H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18) >= 0 && H5Pset_fapl_core(access, STEP, 0) >= 0 &&
        H5Pset_file_image_callbacks(access, &image) >= 0 &&
        H5Pset_meta_block_size(access, (hsize_t)writer->front_bytes) >= 0 &&
        H5Pset_small_data_block_size(access, 0) >= 0)
        file = H5Fcreate(writer->path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
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

/* Close the file in HDF5; afterwards `front` holds the structures of the whole file. */
static vj_status close_file(vj_h5_writer *writer)
{
    int failed = writer->file >= 0 && H5Fclose(writer->file) < 0;
    writer->file = H5I_INVALID_HID;
    if (failed && writer->refused_bytes > 0)
        return vj_raise(VJ_ERR_LIBRARY,
                        "HDF5 %s puts structures of %s into its first %lld bytes, of which %lld are for them and the "
                        "rest for data: it lays files out otherwise than 1.10 to 2.0 do; build vjepa with one of those",
                        vj_h5_library().text, writer->path, (long long)writer->refused_bytes,
                        (long long)writer->data_place);
    return failed ? vj_raise_h5("finish %s in memory", writer->path) : VJ_OK;
}

void vj_h5_abandon(vj_h5_writer *writer)
{
    close_file(writer); /* reported */
    free(writer->front.bytes);
    writer->front.bytes = NULL;
    free(writer->edge);
    writer->edge = NULL;
    writer->edges = writer->edge_room = 0;
    vj_h5_drop_all(writer);
    if (writer->fd >= 0 && writer->rank != 0) (void)close(writer->fd); /* the file is discarded */
    writer->fd = -1;
    vj_file_rollback(&writer->on_disk);
}

/* End a phase: agree on the status; after a failure nothing stays open or on disk. */
static vj_status end_phase(vj_h5_writer *writer, vj_status status)
{
    status = vj_agree(writer->comm, status);
    if (status == VJ_OK) return VJ_OK;
    vj_h5_abandon(writer);
    if (writer->comm != VJ_ALONE) MPI_Barrier(writer->comm); /* no rank returns before the file is removed */
    return status;
}

static vj_status create(vj_h5_writer *writer, const char *format, int64_t version, const char *hosts, int size)
{
    hsize_t end;
    writer->file = create_in_memory(writer);
    if (writer->file < 0) return vj_raise_h5("create %s in memory", writer->path);
    VJ_TRY(put_header(writer->file, format, version, hosts, size));
    if (H5Fget_filesize(writer->file, &end) < 0) return vj_raise_h5("size of %s", writer->path);
    writer->data_place = writer->data_end = (int64_t)end; /* after the block reserved for structures */
    return VJ_OK;
}

vj_status vj_h5_create(vj_h5_writer *writer, const char *path, const char *format, int64_t version,
                       int64_t structure_bytes, MPI_Comm comm)
{
    enum { FIXED = 128 << 10, PAGE = 4 << 10 }; /* FIXED: groups, provenance and a reserve */
    const int size = vj_comm_size(comm);
    *writer = (vj_h5_writer){
        .file = H5I_INVALID_HID, .fd = -1, .on_disk = VJ_FILE_NONE, .comm = comm, .rank = vj_comm_rank(comm)};
    const vj_place place = vj_place_of(comm);
    writer->node = place.node;
    writer->nodes = place.nodes;
    if (snprintf(writer->path, sizeof writer->path, "%s", path) >= (int)sizeof writer->path)
        return vj_raise(VJ_ERR_USAGE, "path too long: %s", path);
    char *hosts = host_list(comm, writer->rank, size);
    if (!hosts) return vj_raise(VJ_ERR_MEMORY, "no memory for %d host names", size);
    writer->front_bytes = (structure_bytes + (int64_t)strlen(hosts) + FIXED + PAGE - 1) / PAGE * PAGE;
    vj_status status = writer->rank == 0 ? create(writer, format, version, hosts, size) : VJ_OK;
    free(hosts);
    return end_phase(writer, status);
}

/* ------------------------------------------------------------------------------------------------ share */

/*
 * Allocate all the space that the file needs, so that a full disk or quota is noticed before anything is written. This
 * also gives the file its final size before any rank opens it: a client of a network file system that believes that a
 * page lies beyond the end of the file may write zeros over what another client has written there.
 */
static vj_status reserve(vj_h5_writer *writer, int64_t bytes)
{
    struct statvfs disk;
    const double mib = 1.0 / (1 << 20);
    int failed;
    if (fstatvfs(writer->fd, &disk) == 0) {
        const double free_bytes = (double)disk.f_bavail * (double)disk.f_frsize;
        errno = ENOSPC;
        /* Some FUSE file systems always state 0 free blocks; with these only writing shows whether there is space. */
        if (disk.f_bavail > 0 && free_bytes < (double)bytes)
            return vj_raise(VJ_ERR_IO, "%s needs %.1f MiB, %.1f MiB are free", writer->part, (double)bytes * mib,
                            free_bytes * mib);
        if (disk.f_bavail == 0)
            vj_warn("the file system of %s says that nothing is free; %.1f MiB are written all the same", writer->part,
                    (double)bytes * mib);
    }
    do failed = fallocate(writer->fd, 0, 0, bytes) != 0;
    while (failed && errno == EINTR);
    if (failed && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
        return vj_raise(VJ_ERR_IO, "reserve %.1f MiB for %s", (double)bytes * mib, writer->part);
    if (failed && ftruncate(writer->fd, (off_t)bytes) != 0)
        return vj_raise(VJ_ERR_IO, "give %s its size of %.1f MiB", writer->part, (double)bytes * mib);
    return VJ_OK;
}

/* On rank 0: create the .part file. */
static vj_status create_part(vj_h5_writer *writer)
{
    char folder[VJ_PATH];
    const char *name = split(writer->path, folder);
    /* of killed writers; the lease of the folder ensures that there is no other live writer */
    vj_file_remove_parts(folder, name);
    VJ_TRY(vj_file_begin(&writer->on_disk, writer->path));
    strcpy(writer->part, writer->on_disk.part);
    writer->fd = writer->on_disk.fd;
    VJ_TRY(reserve(writer, writer->data_end));
    if (fsync(writer->fd) != 0) return vj_raise(VJ_ERR_IO, "fsync %s", writer->part); /* so that other nodes see it */
    return VJ_OK;
}

vj_status vj_h5_share(vj_h5_writer *writer, vj_status status)
{
    if (writer->rank == 0 && status == VJ_OK) status = create_part(writer);
    VJ_TRY(end_phase(writer, status));
    vj_broadcast(writer->part, sizeof writer->part, writer->comm);
    if (writer->rank != 0) {
        writer->fd = open(writer->part, O_WRONLY | O_CLOEXEC);
        if (writer->fd < 0) status = vj_raise(VJ_ERR_IO, "open %s", writer->part);
    }
    return end_phase(writer, status);
}

/* ------------------------------------------------------------------------------------------------ rows */

/* Keep a checksum of the bytes at the beginning or the end of a write. */
static vj_status note_edge(vj_h5_writer *writer, int64_t at, const char *data, int64_t bytes)
{
    if (writer->edges == writer->edge_room) {
        const int64_t room = 2 * writer->edge_room + 64;
        void *more = realloc(writer->edge, (size_t)room * sizeof *writer->edge);
        if (!more) return vj_raise(VJ_ERR_MEMORY, "no memory to write %s", writer->path);
        writer->edge = more;
        writer->edge_room = room;
    }
    const int64_t i = writer->edges++;
    writer->edge[i].at = at;
    writer->edge[i].bytes = bytes;
    writer->edge[i].sum = vj_checksum(data, bytes);
    return VJ_OK;
}

enum { EDGE_BYTES = 4096 };

/* Write to the file at once. */
static vj_status write_now(vj_h5_writer *writer, int64_t offset, const char *data, int64_t bytes)
{
    const int64_t edge = bytes < EDGE_BYTES ? bytes : EDGE_BYTES;
    if (bytes == 0) return VJ_OK; /* 0 would mean the rest of the file below */
    if (!vj_write_at(writer->fd, data, bytes, offset))
        return vj_raise(VJ_ERR_IO, "write %lld bytes at %lld of %s", (long long)bytes, (long long)offset, writer->part);
    VJ_TRY(note_edge(writer, offset, data, edge));
    if (edge < bytes) VJ_TRY(note_edge(writer, offset + bytes - edge, data + bytes - edge, edge));
    /* Begin to write to disk now: it leaves less for fsync(), and the system does not throttle us for too many dirty
     * pages. */
    (void)sync_file_range(writer->fd, offset, bytes, SYNC_FILE_RANGE_WRITE); /* advice only */
    return VJ_OK;
}

/* Hold back a part of a page. If that completes the page, write it; otherwise vj_h5_verify() writes it. */
static vj_status hold(vj_h5_writer *writer, int64_t at, const char *data, int64_t bytes)
{
    vj_h5_piece *whole;
    if (bytes == 0) return VJ_OK;
    VJ_TRY(vj_h5_hold(writer, at, data, bytes, &whole));
    if (!whole) return VJ_OK;
    VJ_TRY(write_now(writer, whole->at, whole->data, whole->bytes));
    vj_h5_drop(writer, whole);
    return VJ_OK;
}

vj_status vj_h5_write(vj_h5_writer *writer, int64_t offset, const void *data, int64_t bytes)
{
    const char *from = data;
    const int64_t end = offset + bytes;
    int64_t first = (offset + VJ_H5_PAGE - 1) / VJ_H5_PAGE * VJ_H5_PAGE, last = end / VJ_H5_PAGE * VJ_H5_PAGE;
    if (writer->nodes == 1) return write_now(writer, offset, data, bytes);
    if (first > last) return hold(writer, offset, from, bytes); /* inside one page */
    VJ_TRY(hold(writer, offset, from, first - offset));
    VJ_TRY(write_now(writer, first, from + (first - offset), last - first));
    return hold(writer, last, from + (last - offset), end - last);
}

/* On rank 0: wait until the system has written the file to disk, piece by piece, to say how far it is. An error that is
 * reported here is not reported by fsync() any more. */
static vj_status wait_for_disk(const vj_h5_writer *writer)
{
    enum { PIECE = 64 << 20 };
    char what[sizeof writer->path + 16];
    vj_progress_line line = vj_progress_line_begin();
    snprintf(what, sizeof what, "%s on disk", writer->path);
    for (int64_t at = 0, next; writer->rank == 0 && at < writer->data_end; at = next) {
        next = at + PIECE < writer->data_end ? at + PIECE : writer->data_end;
        const int failed =
            sync_file_range(writer->fd, at, next - at,
                            SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) != 0;
        if (failed && (errno == ENOSYS || errno == EOPNOTSUPP || errno == EINVAL || errno == ESPIPE)) break;
        if (failed) return vj_raise(VJ_ERR_IO, "write %s to disk", writer->part);
        vj_progress_line_log(&line, what, (double)next / (double)writer->data_end, vj_now());
    }
    return VJ_OK;
}

/* Rank 0 keeps the file open until it is published. */
vj_status vj_h5_flush(vj_h5_writer *writer)
{
    vj_status status = wait_for_disk(writer);
    if (fsync(writer->fd) != 0 && status == VJ_OK) status = vj_raise(VJ_ERR_IO, "fsync %s", writer->part);
    if (writer->rank != 0 && close(writer->fd) != 0 && status == VJ_OK)
        status = vj_raise(VJ_ERR_IO, "close %s", writer->part);
    writer->fd = -1;
    return status;
}

static vj_status compare_edges(const vj_h5_writer *writer, int fd)
{
    char found[EDGE_BYTES];
    for (int64_t i = 0; i < writer->edges; i++) {
        const int64_t at = writer->edge[i].at, bytes = writer->edge[i].bytes;
        const int64_t got = vj_read_at(fd, found, bytes, at);
        if (got < 0)
            return vj_raise(VJ_ERR_IO, "read %lld bytes at %lld of %s", (long long)bytes, (long long)at, writer->part);
        if (got == bytes && vj_checksum(found, bytes) == writer->edge[i].sum) continue;
        errno = EIO;
        return vj_raise(VJ_ERR_IO,
                        "%lld bytes at %lld of %s are not what this rank wrote there: the file system lost them, or "
                        "mixed up writes of several nodes to one page. The file is not published",
                        (long long)bytes, (long long)at, writer->part);
    }
    return VJ_OK;
}

static vj_status write_held(vj_h5_writer *writer)
{
    if (writer->pieces == 0) return VJ_OK;
    writer->fd = open(writer->part, O_WRONLY | O_CLOEXEC);
    if (writer->fd < 0) return vj_raise(VJ_ERR_IO, "open %s", writer->part);
    vj_status status = VJ_OK;
    for (int64_t i = 0; i < writer->pieces && status == VJ_OK; i++)
        status = write_now(writer, writer->piece[i].at, writer->piece[i].data, writer->piece[i].bytes);
    if (status == VJ_OK && fsync(writer->fd) != 0) status = vj_raise(VJ_ERR_IO, "fsync %s", writer->part);
    if (close(writer->fd) != 0 && status == VJ_OK) status = vj_raise(VJ_ERR_IO, "close %s", writer->part);
    writer->fd = -1;
    vj_h5_drop_all(writer);
    return status;
}

/* The file is opened again, because an NFS client asks the server for the writes of others when it opens a file. */
vj_status vj_h5_verify(vj_h5_writer *writer)
{
    VJ_TRY(write_held(writer));
    const int fd = open(writer->part, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return vj_raise(VJ_ERR_IO, "open %s to read it again", writer->part);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* read from disk, if the system follows this advice */
    vj_status status = compare_edges(writer, fd);
    (void)close(fd); /* only read */
    return status;
}

vj_status vj_h5_gather(vj_h5_writer *writer, vj_status status)
{
    VJ_TRY(end_phase(writer, status));
    return writer->nodes == 1 ? VJ_OK : end_phase(writer, vj_h5_pass(writer));
}

/* ------------------------------------------------------------------------------------------------ commit */

static vj_status complete(vj_h5_writer *writer)
{
    VJ_TRY(vj_h5_put_i64(writer->file, "complete", 1));
    return close_file(writer);
}

vj_status vj_h5_rehearse(vj_h5_writer *writer)
{
    const vj_status status = complete(writer);
    vj_h5_abandon(writer);
    return status;
}

/* The structures are written last: until then HDF5 cannot open the file. */
vj_status vj_h5_publish(vj_h5_writer *writer)
{
    VJ_TRY(complete(writer));
    if (!vj_write_at(writer->on_disk.fd, writer->front.bytes, writer->front.count, 0))
        return vj_raise(VJ_ERR_IO, "write %lld bytes at 0 of %s", (long long)writer->front.count, writer->part);
    return vj_file_commit(&writer->on_disk);
}

vj_status vj_h5_commit(vj_h5_writer *writer, vj_status status)
{
    VJ_TRY(end_phase(writer, status));
    vj_h5_abandon(writer);
    return VJ_OK;
}
