/*
 * Packing: each rank writes shards of its own, one open shard for each of the latest geometries, all under .part names;
 * commit numbers them, gathers the rows and writes the index. A store without index.h5 does not exist, so nothing
 * half-written is read.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"
#include "clips/format.h"
#include "parallel/parallel.h"

/* Shards open at a time: pictures come in any number of geometries, a process has few descriptors. */
enum { MOST_OPEN = 32 };

/* A shard of this rank, open or finished. Its rows stay in memory: they become its columns, and the index. */
typedef struct {
    vj_clips_shard info;
    vj_clips_entry *entry; /* [info.clips] owned */
    int64_t capacity;
    hid_t file, frames; /* negative once finished */
} shard;

struct vj_clips_writer {
    MPI_Comm comm; /* borrowed */
    int rank, size;
    char dir[VJ_PATH];
    char *config_text;
    vj_clips_header header;
    int64_t shard_bytes;
    shard *shard; /* [shards] owned */
    int64_t shards, capacity;
    int committed;
};

/* ------------------------------------------------------------------------------------------------ the folder */

/* Named by rank and age until commit knows how many shards the ranks before it have. */
static void part_path(char path[VJ_CLIPS_FILE_PATH], const vj_clips_writer *writer, int64_t number)
{
    snprintf(path, VJ_CLIPS_FILE_PATH, "%s/shard-%05d-%05lld.h5.part", writer->dir, writer->rank, (long long)number);
}

/* Only names this file gives; a user's own files in the folder, and the ledger, stay. */
static int is_remains(const char *name)
{
    int end = 0;
    if (strcmp(name, "index.h5.part") == 0) return 1;
    (void)sscanf(name, "shard-%*d.h5%n", &end); /* the count is 0 either way: %n tells */
    if (end > 0 && name[end] == '\0') return 1;
    end = 0;
    (void)sscanf(name, "shard-%*d-%*d.h5.part%n", &end);
    return end > 0 && name[end] == '\0';
}

static vj_status remove_remains(const char *dir)
{
    DIR *folder = opendir(dir);
    if (!folder) return vj_raise(VJ_ERR_IO, "open folder %s", dir);
    vj_status status = VJ_OK;
    int64_t removed = 0;
    for (struct dirent *file; status == VJ_OK && (file = readdir(folder)) != NULL;) {
        if (!is_remains(file->d_name)) continue;
        if (unlinkat(dirfd(folder), file->d_name, 0) != 0)
            status = vj_raise(VJ_ERR_IO, "remove %s/%s", dir, file->d_name);
        removed++;
    }
    closedir(folder);
    if (removed > 0) vj_warn("%s: removed %lld files of a pack that did not finish", dir, (long long)removed);
    return status;
}

static vj_status prepare_folder(const char *dir)
{
    char index[VJ_CLIPS_FILE_PATH], parent[VJ_CLIPS_FILE_PATH];
    vj_clips_index_path(index, dir);
    snprintf(parent, sizeof parent, "%s/..", dir);
    if (mkdir(dir, 0777) == 0)
        VJ_TRY(vj_file_sync(parent)); /* or a crash could lose the folder with all that was synced into it */
    else if (errno != EEXIST)
        return vj_raise(VJ_ERR_IO, "make folder %s", dir);
    if (access(index, F_OK) == 0)
        return vj_raise(VJ_ERR_USAGE, "%s holds a clip store already: remove it or choose another name", dir);
    return remove_remains(dir);
}

vj_status vj_clips_writer_open(vj_clips_writer **writer, const vj_clips_layout *layout, MPI_Comm comm)
{
    *writer = NULL;
    if (strlen(layout->path) >= VJ_PATH)
        return vj_raise(VJ_ERR_USAGE, "a store's path may have %d characters: %s", VJ_PATH - 1, layout->path);
    VJ_ASSERT(layout->frames >= 1 && layout->label_count >= 0 && layout->label_count <= VJ_MAX_LABELS);
    vj_clips_writer *w = vj_calloc(1, sizeof *w);
    char *config_text = strdup(layout->config_text ? layout->config_text : "");
    vj_status status = w && config_text ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a store's writer");
    int rank;
    MPI_Comm_rank(comm, &rank);
    if (rank == 0 && status == VJ_OK) status = prepare_folder(layout->path);
    status = vj_agree(comm, status);
    if (status != VJ_OK) {
        free(config_text);
        free(w);
        return status;
    }
    w->comm = comm;
    w->rank = rank;
    MPI_Comm_size(comm, &w->size);
    snprintf(w->dir, sizeof w->dir, "%s", layout->path);
    w->config_text = config_text;
    w->header.frames = layout->frames;
    w->header.label_count = layout->label_count;
    memcpy(w->header.label_names, layout->label_names, sizeof w->header.label_names);
    w->shard_bytes = layout->shard_bytes;
    *writer = w;
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ shards */

/* Room for one more element. */
static vj_status grow(void **array, int64_t used, int64_t *capacity, size_t bytes)
{
    if (used < *capacity) return VJ_OK;
    int64_t larger = *capacity ? 2 * *capacity : 64;
    void *moved = realloc(*array, (size_t)larger * bytes);
    if (!moved) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld clips being packed", (long long)larger);
    *array = moved;
    *capacity = larger;
    return VJ_OK;
}

/* Extendible by clips, chunk = one clip. No fill values: every chunk is written whole. */
static hid_t create_frames(hid_t file, int frames, int height, int width)
{
    hsize_t dims[5] = {0, (hsize_t)frames, (hsize_t)height, (hsize_t)width, 3}, most[5], chunk[5];
    memcpy(most, dims, sizeof dims);
    memcpy(chunk, dims, sizeof dims);
    most[0] = H5S_UNLIMITED;
    chunk[0] = 1;
    hid_t space = H5Screate_simple(5, dims, most), create = H5Pcreate(H5P_DATASET_CREATE);
    hid_t links = H5Pcreate(H5P_LINK_CREATE), dataset = -1;
    if (H5Pset_create_intermediate_group(links, 1) >= 0 && H5Pset_chunk(create, 5, chunk) >= 0 &&
        H5Pset_fill_time(create, H5D_FILL_TIME_NEVER) >= 0)
        dataset = H5Dcreate2(file, "/clips/frames", H5T_STD_U8LE, space, links, create, H5P_DEFAULT);
    H5Pclose(links);
    H5Pclose(create);
    H5Sclose(space);
    return dataset;
}

static vj_status open_shard(vj_clips_writer *writer, int height, int width, shard **opened)
{
    char path[VJ_CLIPS_FILE_PATH];
    VJ_TRY(grow((void **)&writer->shard, writer->shards, &writer->capacity, sizeof *writer->shard));
    part_path(path, writer, writer->shards);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (file < 0) return vj_raise_h5("create %s", path);
    hid_t frames = create_frames(file, writer->header.frames, height, width);
    *opened = &writer->shard[writer->shards++]; /* on the list even if what follows fails: close() tidies it */
    **opened = (shard){.info = {.height = height, .width = width}, .file = file, .frames = frames};
    if (frames < 0) return vj_raise_h5("%s: cannot create /clips/frames", path);
    return vj_clips_put_header(file, path, &writer->header, writer->config_text);
}

/* Write the columns, mark complete, close, fsync. */
static vj_status finish_shard(vj_clips_writer *writer, shard *s)
{
    char path[VJ_CLIPS_FILE_PATH];
    struct stat found;
    part_path(path, writer, s - writer->shard);
    VJ_TRY(vj_clips_put_columns(s->file, path, 0, writer->header.label_count, s->info.clips, s->entry));
    hid_t file = s->file, frames = s->frames;
    s->file = s->frames = -1;
    VJ_TRY(vj_clips_finish_file(file, frames, path));
    if (stat(path, &found) != 0) return vj_raise(VJ_ERR_IO, "stat %s", path);
    s->info.bytes = found.st_size;
    return VJ_OK;
}

/* Make room for one more open shard. */
static vj_status finish_oldest(vj_clips_writer *writer)
{
    int open = 0;
    shard *oldest = NULL;
    for (int64_t i = writer->shards - 1; i >= 0 && open < MOST_OPEN; i--) {
        if (writer->shard[i].file < 0) continue;
        oldest = &writer->shard[i];
        open++;
    }
    return open < MOST_OPEN ? VJ_OK : finish_shard(writer, oldest);
}

/* The open shard of this geometry with room for one more clip; closes a full one. */
static vj_status shard_for(vj_clips_writer *writer, int height, int width, int64_t bytes, shard **found)
{
    for (int64_t i = writer->shards - 1; i >= 0; i--) {
        shard *s = &writer->shard[i];
        if (s->file < 0 || s->info.height != height || s->info.width != width) continue;
        *found = s;
        if ((s->info.clips + 1) * bytes <= writer->shard_bytes) return VJ_OK;
        VJ_TRY(finish_shard(writer, s));
        break;
    }
    VJ_TRY(finish_oldest(writer));
    return open_shard(writer, height, width, found);
}

vj_status vj_clips_writer_add(vj_clips_writer *writer, const vj_clip *clip)
{
    VJ_ASSERT(!writer->committed && clip->source >= 0 && clip->window >= 0 && clip->height >= 1 && clip->width >= 1);
    if (clip->height > VJ_VIDEO_MAX_SIDE || clip->width > VJ_VIDEO_MAX_SIDE)
        return vj_raise(VJ_ERR_FORMAT, "%s: a clip of %d x %d pixels, a store holds at most %d a side", writer->dir,
                        clip->height, clip->width, VJ_VIDEO_MAX_SIDE);
    int64_t bytes = vj_clips_bytes(writer->header.frames, clip->height, clip->width);
    shard *s = NULL;
    VJ_TRY(shard_for(writer, clip->height, clip->width, bytes, &s));
    VJ_TRY(grow((void **)&s->entry, s->info.clips, &s->capacity, sizeof *s->entry));

    hsize_t dims[5] = {(hsize_t)s->info.clips + 1, (hsize_t)writer->header.frames, (hsize_t)clip->height,
                       (hsize_t)clip->width, 3};
    hsize_t at[5] = {(hsize_t)s->info.clips};
    if (H5Dset_extent(s->frames, dims) < 0 ||
        H5Dwrite_chunk(s->frames, H5P_DEFAULT, 0, at, (size_t)bytes, clip->frames) < 0) {
        char path[VJ_CLIPS_FILE_PATH];
        part_path(path, writer, s - writer->shard);
        return vj_raise_h5("%s: cannot write clip %lld", path, (long long)s->info.clips);
    }
    vj_clips_entry *entry = &s->entry[s->info.clips];
    *entry = (vj_clips_entry){.source = clip->source,
                              .row = s->info.clips,
                              .xxh3 = XXH3_64bits(clip->frames, (size_t)bytes),
                              .pts_s = clip->pts_s,
                              .window = clip->window,
                              .height = clip->height,
                              .width = clip->width};
    if (writer->header.label_count > 0)
        memcpy(entry->label, clip->labels, sizeof(int32_t) * (size_t)writer->header.label_count);
    s->info.clips++;
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ commit */

static vj_status finish_shards(vj_clips_writer *writer)
{
    for (int64_t i = 0; i < writer->shards; i++)
        if (writer->shard[i].file >= 0) VJ_TRY(finish_shard(writer, &writer->shard[i]));
    return VJ_OK;
}

/* This rank's shards are numbers base, base + 1, ...: dense, and the same for the same clips on the same ranks. */
static vj_status rename_shards(const vj_clips_writer *writer, int64_t base)
{
    char from[VJ_CLIPS_FILE_PATH], to[VJ_CLIPS_FILE_PATH];
    for (int64_t i = 0; i < writer->shards; i++) {
        part_path(from, writer, i);
        vj_clips_shard_path(to, writer->dir, base + i);
        if (rename(from, to) != 0) return vj_raise(VJ_ERR_IO, "rename %s to %s", from, to);
    }
    return VJ_OK;
}

/* All ranks' rows of `bytes` one after another on rank 0, allocated there; *total rows. Collective. */
static vj_status gather(MPI_Comm comm, const void *mine, int64_t rows, size_t bytes, void **all, int64_t *total)
{
    int rank, size;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    int count = (int)rows, *counts = vj_calloc(2 * size, sizeof *counts);
    vj_status status = VJ_OK;
    *all = NULL;
    *total = rows;
    MPI_Allreduce(MPI_IN_PLACE, total, 1, MPI_INT64_T, MPI_SUM, comm);
    if (*total > INT32_MAX)
        status = vj_raise(VJ_ERR_STATE, "%lld clips: more than a store can hold", (long long)*total);
    if (rank == 0 && status == VJ_OK) *all = vj_calloc(*total, (int64_t)bytes);
    if (!counts || (rank == 0 && status == VJ_OK && !*all))
        status = vj_raise(VJ_ERR_MEMORY, "no memory to gather the rows of %lld clips", (long long)*total);
    status = vj_agree(comm, status);
    if (status == VJ_OK) {
        MPI_Datatype row;
        MPI_Type_contiguous((int)bytes, MPI_BYTE, &row);
        MPI_Type_commit(&row);
        MPI_Gather(&count, 1, MPI_INT, counts, 1, MPI_INT, 0, comm);
        for (int r = 1; r < size; r++) counts[size + r] = counts[size + r - 1] + counts[r - 1];
        MPI_Gatherv(mine, count, row, *all, counts, counts + size, row, 0, comm);
        MPI_Type_free(&row);
    }
    free(counts);
    return status;
}

/* One array of all local rows, shards numbered from `base`. */
static vj_status local_rows(const vj_clips_writer *writer, int64_t base, vj_clips_entry **entries,
                            vj_clips_shard **shards, int64_t *clips)
{
    *clips = 0;
    for (int64_t i = 0; i < writer->shards; i++) *clips += writer->shard[i].info.clips;
    *entries = vj_calloc(*clips, sizeof **entries);
    *shards = vj_calloc(writer->shards, sizeof **shards);
    if (!*entries || !*shards)
        return vj_raise(VJ_ERR_MEMORY, "no memory for the rows of %lld clips", (long long)*clips);
    vj_clips_entry *to = *entries;
    for (int64_t i = 0; i < writer->shards; i++) {
        const shard *s = &writer->shard[i];
        (*shards)[i] = s->info;
        for (int64_t row = 0; row < s->info.clips; row++) {
            *to = s->entry[row];
            to++->shard = (int32_t)(base + i);
        }
    }
    return VJ_OK;
}

/* Rank 0's part: what it gathered becomes the index. */
static vj_status write_index(const vj_clips_writer *writer, vj_clips_index *index, const char *const *source_paths,
                             int64_t sources)
{
    VJ_TRY(vj_clips_index_order(index, writer->dir));
    int64_t last = index->clips > 0 ? index->entry[index->clips - 1].source : -1;
    if (last >= sources)
        return vj_raise(VJ_ERR_STATE, "%s: a clip of source %lld, but %lld sources", writer->dir, (long long)last,
                        (long long)sources);
    return vj_clips_index_write(index, writer->dir, writer->config_text, source_paths, sources);
}

static vj_status gather_index(const vj_clips_writer *writer, int64_t base, vj_clips_index *index)
{
    vj_clips_entry *entries = NULL;
    vj_clips_shard *shards = NULL;
    int64_t clips = 0;
    vj_status status = vj_agree(writer->comm, local_rows(writer, base, &entries, &shards, &clips));
    if (status == VJ_OK)
        status = gather(writer->comm, entries, clips, sizeof *entries, (void **)&index->entry, &index->clips);
    if (status == VJ_OK)
        status = gather(writer->comm, shards, writer->shards, sizeof *shards, (void **)&index->shard, &index->shards);
    free(entries);
    free(shards);
    return status;
}

vj_status vj_clips_writer_commit(vj_clips_writer *writer, const char *const *source_paths, int64_t sources)
{
    VJ_ASSERT(!writer->committed);
    VJ_TRY(vj_agree(writer->comm, finish_shards(writer)));
    int64_t base = 0;
    MPI_Exscan(&writer->shards, &base, 1, MPI_INT64_T, MPI_SUM, writer->comm);
    if (writer->rank == 0) base = 0; /* MPI leaves it undefined there */

    vj_clips_index index = {.header = writer->header};
    vj_status status = gather_index(writer, base, &index);
    if (status == VJ_OK) status = vj_agree(writer->comm, rename_shards(writer, base));
    if (status == VJ_OK) {
        status = writer->rank == 0 ? write_index(writer, &index, source_paths, sources) : VJ_OK;
        status = vj_agree(writer->comm, status);
    }
    vj_clips_index_release(&index);
    writer->committed = status == VJ_OK;
    return status;
}

void vj_clips_writer_close(vj_clips_writer *writer)
{
    if (!writer) return;
    for (int64_t i = 0; i < writer->shards; i++) {
        char path[VJ_CLIPS_FILE_PATH];
        shard *s = &writer->shard[i];
        part_path(path, writer, i);
        if (s->file >= 0)
            vj_clips_discard_file(s->file, s->frames, path);
        else if (!writer->committed)
            (void)unlink(path); /* best effort: the next pack removes what stays */
        free(s->entry);
    }
    free(writer->shard);
    free(writer->config_text);
    free(writer);
}
