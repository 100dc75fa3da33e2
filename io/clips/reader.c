/*
 * Reading: rank 0 reads the indices and tells the others; the ranks share the work of listing chunk addresses. After
 * open a clip is one pread and one checksum, from any thread, and HDF5 is not touched again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "clips/format.h"
#include "parallel/parallel.h"

typedef struct {
    char path[VJ_CLIPS_FILE_PATH];
    vj_clips_shard info;
    _Atomic int fd; /* opened by the first reader; -1 until then */
} shard;

struct vj_clips {
    vj_clips_header header;
    int64_t count, shards;
    uint64_t fingerprint;
    /* owned tables: */
    shard *shard;        /* [shards] */
    int64_t *offset;     /* [count] byte in the shard's file; while opening, the row in the shard */
    uint64_t *xxh3;      /* [count] */
    int32_t *clip_shard; /* [count] */
    int32_t *label;      /* [count, label_count] */
};

/* ------------------------------------------------------------------------------------------------ tables */

static vj_status resize(void **array, int64_t count, size_t bytes)
{
    void *moved = realloc(*array, (size_t)(count ? count : 1) * bytes);
    if (!moved) return vj_raise(VJ_ERR_MEMORY, "no memory for a table of %lld clips", (long long)count);
    *array = moved;
    return VJ_OK;
}

static vj_status resize_tables(vj_clips *clips, int64_t count, int64_t shards)
{
    size_t labels = sizeof(int32_t) * (size_t)(clips->header.label_count ? clips->header.label_count : 1);
    VJ_TRY(resize((void **)&clips->shard, shards, sizeof *clips->shard));
    for (int64_t s = clips->shards; s < shards; s++) atomic_init(&clips->shard[s].fd, -1); /* close() looks at it */
    VJ_TRY(resize((void **)&clips->offset, count, sizeof *clips->offset));
    VJ_TRY(resize((void **)&clips->xxh3, count, sizeof *clips->xxh3));
    VJ_TRY(resize((void **)&clips->clip_shard, count, sizeof *clips->clip_shard));
    VJ_TRY(resize((void **)&clips->label, count, labels));
    clips->count = count;
    clips->shards = shards;
    return VJ_OK;
}

static vj_status check_alike(const vj_clips_header *first, const vj_clips_header *next, const char *dir)
{
    if (next->frames != first->frames)
        return vj_raise(VJ_ERR_FORMAT, "%s holds %d frames a clip, the stores before it %d", dir, next->frames,
                        first->frames);
    int same = next->label_count == first->label_count;
    for (int l = 0; same && l < next->label_count; l++) same = strcmp(next->label_names[l], first->label_names[l]) == 0;
    return same ? VJ_OK : vj_raise(VJ_ERR_FORMAT, "%s has other label names than the stores before it", dir);
}

/* Put one store's index behind the tables. */
static vj_status append(vj_clips *clips, const vj_clips_index *index, const char *dir)
{
    int64_t clip = clips->count, first = clips->shards;
    if (first == 0 && clip == 0) clips->header = index->header;
    VJ_TRY(check_alike(&clips->header, &index->header, dir));
    int labels = clips->header.label_count;
    VJ_TRY(resize_tables(clips, clip + index->clips, first + index->shards));
    for (int64_t s = 0; s < index->shards; s++) {
        vj_clips_shard_path(clips->shard[first + s].path, dir, s);
        clips->shard[first + s].info = index->shard[s];
    }
    for (int64_t i = 0; i < index->clips; i++, clip++) {
        const vj_clips_entry *entry = &index->entry[i];
        clips->offset[clip] = entry->row;
        clips->xxh3[clip] = entry->xxh3;
        clips->clip_shard[clip] = (int32_t)(first + entry->shard);
        memcpy(clips->label + clip * labels, entry->label, sizeof(int32_t) * (size_t)labels);
    }
    return VJ_OK;
}

static vj_status read_indices(vj_clips *clips, const vj_strings *paths)
{
    if (paths->count < 1) return vj_raise(VJ_ERR_USAGE, "no clip store was named");
    for (int p = 0; p < paths->count; p++) {
        vj_clips_index index;
        vj_status status = vj_clips_index_read(&index, paths->item[p]);
        if (status == VJ_OK) status = append(clips, &index, paths->item[p]);
        /* One store's fingerprint is its own; more are folded in, in order. */
        if (status == VJ_OK)
            clips->fingerprint =
                p == 0 ? index.fingerprint
                       : XXH3_64bits_withSeed(&index.fingerprint, sizeof index.fingerprint, clips->fingerprint);
        vj_clips_index_release(&index);
        VJ_TRY(status);
    }
    if (clips->count > INT32_MAX) return vj_raise(VJ_ERR_FORMAT, "%lld clips are too many", (long long)clips->count);
    return VJ_OK;
}

static void broadcast_rows(void *rows, int64_t count, size_t bytes, MPI_Comm comm)
{
    MPI_Datatype row;
    if (bytes == 0) return;
    MPI_Type_contiguous((int)bytes, MPI_BYTE, &row);
    MPI_Type_commit(&row);
    MPI_Bcast(rows, (int)count, row, 0, comm);
    MPI_Type_free(&row);
}

/* Rank 0's tables to all. */
static vj_status broadcast(vj_clips *clips, int rank, MPI_Comm comm)
{
    struct {
        vj_clips_header header;
        int64_t count, shards;
        uint64_t fingerprint;
    } sizes = {clips->header, clips->count, clips->shards, clips->fingerprint};
    MPI_Bcast(&sizes, sizeof sizes, MPI_BYTE, 0, comm);
    clips->header = sizes.header;
    clips->fingerprint = sizes.fingerprint;
    vj_status status = rank == 0 ? VJ_OK : resize_tables(clips, sizes.count, sizes.shards);
    VJ_TRY(vj_agree(comm, status));
    broadcast_rows(clips->shard, clips->shards, sizeof *clips->shard, comm);
    broadcast_rows(clips->offset, clips->count, sizeof *clips->offset, comm);
    broadcast_rows(clips->xxh3, clips->count, sizeof *clips->xxh3, comm);
    broadcast_rows(clips->clip_shard, clips->count, sizeof *clips->clip_shard, comm);
    broadcast_rows(clips->label, clips->count, sizeof(int32_t) * (size_t)clips->header.label_count, comm);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ addresses */

/* The dataset must be what the index says: [clips, T, H, W, 3] bytes in chunks of one clip, unfiltered. */
static vj_status check_frames(hid_t dataset, const shard *s, int frames)
{
    hsize_t want[5] = {(hsize_t)s->info.clips, (hsize_t)frames, (hsize_t)s->info.height, (hsize_t)s->info.width, 3};
    hsize_t dims[H5S_MAX_RANK], chunk[H5S_MAX_RANK];
    hid_t space = H5Dget_space(dataset), create = H5Dget_create_plist(dataset), type = H5Dget_type(dataset);
    int same = H5Sget_simple_extent_dims(space, dims, NULL) == 5 && H5Pget_layout(create) == H5D_CHUNKED &&
               H5Pget_chunk(create, H5S_MAX_RANK, chunk) == 5 && H5Pget_nfilters(create) == 0 &&
               H5Tequal(type, H5T_STD_U8LE) > 0;
    for (int i = 0; same && i < 5; i++) same = dims[i] == want[i] && chunk[i] == (i == 0 ? 1 : want[i]);
    H5Tclose(type);
    H5Pclose(create);
    H5Sclose(space);
    return same ? VJ_OK
                : vj_raise(VJ_ERR_FORMAT, "%s: /clips/frames is not u8 [%lld, %d, %lld, %lld, 3] in chunks of one clip",
                           s->path, (long long)s->info.clips, frames, (long long)s->info.height,
                           (long long)s->info.width);
}

/* address[row] of every chunk. HDF5 1.10 walks its tree for each call: 10 ms for 1,000 clips, 0.7 s for 10,000. */
static vj_status chunk_addresses(hid_t dataset, const shard *s, int64_t bytes, int64_t *address)
{
    hid_t space = H5Dget_space(dataset);
    vj_status status = VJ_OK;
    for (int64_t i = 0; i < s->info.clips && status == VJ_OK; i++) {
        hsize_t at[5], stored;
        unsigned filters;
        haddr_t where;
        if (H5Dget_chunk_info(dataset, space, (hsize_t)i, at, &filters, &where, &stored) < 0)
            status = vj_raise_h5("%s: cannot find clip %lld of %lld", s->path, (long long)i, (long long)s->info.clips);
        else if (where == HADDR_UNDEF || at[0] >= (hsize_t)s->info.clips || stored != (hsize_t)bytes ||
                 (int64_t)where + bytes > s->info.bytes)
            status = vj_raise(VJ_ERR_FORMAT, "%s is damaged: the chunk of row %lld is not a whole clip inside the file",
                              s->path, (long long)at[0]);
        else
            address[at[0]] = (int64_t)where;
    }
    H5Sclose(space);
    return status;
}

static vj_status list_open_shard(hid_t file, const shard *s, const vj_clips_header *header, int64_t *address)
{
    vj_clips_header found;
    VJ_TRY(vj_clips_get_header(file, s->path, &found));
    hid_t dataset = H5Dopen2(file, "/clips/frames", H5P_DEFAULT);
    if (dataset < 0) return vj_raise_h5("%s: cannot open /clips/frames", s->path);
    vj_status status = check_frames(dataset, s, header->frames);
    if (status == VJ_OK)
        status = chunk_addresses(dataset, s, vj_clips_bytes(header->frames, (int)s->info.height, (int)s->info.width),
                                 address);
    H5Dclose(dataset);
    return status;
}

static vj_status list_shard(const shard *s, const vj_clips_header *header, int64_t *address)
{
    hid_t file = H5Fopen(s->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0) {
        vj_raise_h5("open %s", s->path);
        return VJ_ERR_FORMAT;
    }
    vj_status status = list_open_shard(file, s, header, address);
    H5Fclose(file); /* nothing was written */
    return status;
}

/* Fill address[] for the clips of this rank's shards, zero elsewhere. first[s]: place of shard s in `by_row`. */
static vj_status list_mine(const vj_clips *clips, int rank, int size, int64_t *address, int64_t *by_row, int64_t *first)
{
    for (int64_t s = 0, at = 0; s < clips->shards; at += clips->shard[s++].info.clips) {
        first[s] = at;
        if (s % size == rank) VJ_TRY(list_shard(&clips->shard[s], &clips->header, by_row + at));
    }
    for (int64_t i = 0; i < clips->count; i++) address[i] = by_row[first[clips->clip_shard[i]] + clips->offset[i]];
    return VJ_OK;
}

/* Rows become byte offsets. The ranks list every size-th shard each. Collective. */
static vj_status list_addresses(vj_clips *clips, MPI_Comm comm)
{
    int rank, size;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    int64_t rows = 0;
    for (int64_t s = 0; s < clips->shards; s++) rows += clips->shard[s].info.clips;
    int64_t *address = vj_calloc(clips->count, sizeof *address), *by_row = vj_calloc(rows, sizeof *by_row);
    int64_t *first = vj_calloc(clips->shards, sizeof *first);
    vj_status status = address && by_row && first
                           ? list_mine(clips, rank, size, address, by_row, first)
                           : vj_raise(VJ_ERR_MEMORY, "no memory for the addresses of %lld clips", (long long)rows);
    status = vj_agree(comm, status);
    if (status == VJ_OK) MPI_Allreduce(address, clips->offset, (int)clips->count, MPI_INT64_T, MPI_SUM, comm);
    free(first);
    free(by_row);
    free(address);
    return status;
}

/* Shards stay open once read: make room for them beside the program's own files. */
static vj_status allow_open_files(int64_t shards)
{
    struct rlimit limit;
    rlim_t want = (rlim_t)shards + 64;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return vj_raise(VJ_ERR_IO, "ask for the limit of open files");
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= want) return VJ_OK;
    if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < want)
        return vj_raise(VJ_ERR_USAGE,
                        "%lld shards, but this process may open %lld files: raise the hard limit (ulimit "
                        "-Hn) or pack with a larger pack.shard_mb",
                        (long long)shards, (long long)limit.rlim_max);
    limit.rlim_cur = want;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? VJ_OK : vj_raise(VJ_ERR_IO, "raise the limit of open files");
}

vj_status vj_clips_open(vj_clips **clips, const vj_strings *paths, MPI_Comm comm)
{
    int rank;
    MPI_Comm_rank(comm, &rank);
    *clips = NULL;
    vj_clips *c = vj_calloc(1, sizeof *c);
    vj_status status = c ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to open a clip store");
    if (rank == 0 && status == VJ_OK) status = read_indices(c, paths);
    status = vj_agree(comm, status);
    if (status == VJ_OK) status = broadcast(c, rank, comm);
    if (status == VJ_OK) status = list_addresses(c, comm);
    if (status == VJ_OK) status = vj_agree(comm, allow_open_files(c->shards));
    if (status == VJ_OK)
        *clips = c;
    else
        vj_clips_close(c);
    return status;
}

void vj_clips_close(vj_clips *clips)
{
    if (!clips) return;
    for (int64_t s = 0; s < clips->shards; s++) {
        int fd = atomic_load(&clips->shard[s].fd);
        if (fd >= 0) (void)close(fd); /* read only: nothing to lose */
    }
    free(clips->label);
    free(clips->clip_shard);
    free(clips->xxh3);
    free(clips->offset);
    free(clips->shard);
    free(clips);
}

/* ------------------------------------------------------------------------------------------------ questions */

int64_t vj_clips_count(const vj_clips *clips)
{
    return clips->count;
}

int vj_clips_frames(const vj_clips *clips)
{
    return clips->header.frames;
}

void vj_clips_geometry(const vj_clips *clips, int64_t clip, int *height, int *width)
{
    VJ_ASSERT(clip >= 0 && clip < clips->count);
    const vj_clips_shard *info = &clips->shard[clips->clip_shard[clip]].info;
    *height = (int)info->height;
    *width = (int)info->width;
}

int64_t vj_clips_largest_bytes(const vj_clips *clips)
{
    int64_t largest = 0;
    for (int64_t s = 0; s < clips->shards; s++) {
        const vj_clips_shard *info = &clips->shard[s].info;
        int64_t bytes = vj_clips_bytes(clips->header.frames, (int)info->height, (int)info->width);
        if (bytes > largest) largest = bytes;
    }
    return largest;
}

int vj_clips_label_count(const vj_clips *clips)
{
    return clips->header.label_count;
}

const char *vj_clips_label_name(const vj_clips *clips, int label)
{
    VJ_ASSERT(label >= 0 && label < clips->header.label_count);
    return clips->header.label_names[label];
}

const int32_t *vj_clips_labels(const vj_clips *clips, int64_t clip)
{
    VJ_ASSERT(clip >= 0 && clip < clips->count);
    return clips->label + clip * clips->header.label_count;
}

uint64_t vj_clips_fingerprint(const vj_clips *clips)
{
    return clips->fingerprint;
}

/* ------------------------------------------------------------------------------------------------ one clip */

/* Two threads may open the same shard at once; one descriptor stays. */
static vj_status descriptor(shard *s, int *fd)
{
    *fd = atomic_load(&s->fd);
    if (*fd >= 0) return VJ_OK;
    int opened = open(s->path, O_RDONLY | O_CLOEXEC), none = -1;
    if (opened < 0) return vj_raise(VJ_ERR_IO, "open %s", s->path);
    if (atomic_compare_exchange_strong(&s->fd, &none, opened)) {
        *fd = opened;
    } else {
        (void)close(opened);
        *fd = none;
    }
    return VJ_OK;
}

static int64_t clip_bytes(const vj_clips *clips, const shard *s)
{
    return vj_clips_bytes(clips->header.frames, (int)s->info.height, (int)s->info.width);
}

/*
 * What the system fails to read may be there a moment later (network file systems). Two more tries, for a clip that is
 * given up is replaced by another one, and the run is not the run any more that it would have been.
 */
static ssize_t read_patiently(int fd, uint8_t *to, size_t bytes, off_t at)
{
    static const int64_t pause_ms[] = {10, 100};
    ssize_t got;
    for (size_t i = 0; (got = pread(fd, to, bytes, at)) < 0 && i < sizeof pause_ms / sizeof pause_ms[0];) {
        if (errno == EINTR) continue;
        const struct timespec pause = {.tv_nsec = pause_ms[i++] * 1000000};
        nanosleep(&pause, NULL);
    }
    return got;
}

vj_status vj_clips_fetch(const vj_clips *clips, int64_t clip, uint8_t *frames)
{
    VJ_ASSERT(clip >= 0 && clip < clips->count);
    shard *s = &clips->shard[clips->clip_shard[clip]];
    const int64_t bytes = clip_bytes(clips, s);
    int fd;
    VJ_TRY(descriptor(s, &fd));
    for (int64_t done = 0; done < bytes;) {
        const ssize_t got = read_patiently(fd, frames + done, (size_t)(bytes - done), clips->offset[clip] + done);
        if (got < 0) return vj_raise(VJ_ERR_IO, "read clip %lld from %s", (long long)clip, s->path);
        if (got == 0)
            return vj_raise(VJ_ERR_FORMAT, "%s is truncated: clip %lld ends at byte %lld", s->path, (long long)clip,
                            (long long)(clips->offset[clip] + bytes));
        done += got;
    }
    return VJ_OK;
}

vj_status vj_clips_read(const vj_clips *clips, int64_t clip, uint8_t *frames)
{
    VJ_TRY(vj_clips_fetch(clips, clip, frames));
    const shard *s = &clips->shard[clips->clip_shard[clip]];
    uint64_t found = XXH3_64bits(frames, (size_t)clip_bytes(clips, s));
    if (found != clips->xxh3[clip])
        return vj_raise(VJ_ERR_FORMAT, "%s: clip %lld is damaged: checksum %016llx, expected %016llx", s->path,
                        (long long)clip, (unsigned long long)found, (unsigned long long)clips->xxh3[clip]);
    return VJ_OK;
}
