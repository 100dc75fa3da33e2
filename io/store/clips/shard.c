/*
 * Writes one shard: each record is written to the file at once, as one chunk of the dataset of its geometry; the tables
 * are kept in memory until the shard is published. The file's contents are described in clips.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"
#include "clips/output.h"
#include "codec/filter.h"

/* Limit of open datasets: an open one takes a few kB in HDF5, and pictures may have any number of geometries. */
enum { MAX_OPEN = 64 };

typedef struct {
    int height, width;
    int64_t clips;
    int64_t used; /* number of clips when it was last used */
    hid_t frames; /* negative: not open */
} geometry;

struct vj_shard {
    vj_output part;
    vj_clips_header layout;
    int64_t number;
    /* owned, growing tables: */
    geometry *geometry;
    vj_clips_entry *entry;
    vj_clips_file *filed; /* their rows are in `ledger` */
    char *ledger;         /* lines */
    int8_t *motion;       /* [motions, VJ_CLIPS_MOTION_BYTES] of the files that have it */
    int64_t motions, motion_room;
    int64_t geometries, clips, files, ledger_bytes;
    int64_t geometry_room, entry_room, file_room, ledger_room;
    int64_t accounted; /* clips that belong to the files added so far */
    int open;          /* geometries */
};

/* ------------------------------------------------------------------------------------------------ folder */

vj_status vj_clips_make_folder(const char *dir)
{
    char index[VJ_CLIPS_FILE_PATH], parent[VJ_CLIPS_FILE_PATH];
    if (strlen(dir) >= VJ_PATH)
        return vj_raise(VJ_ERR_USAGE, "a store's path may have %d characters: %s", VJ_PATH - 1, dir);
    vj_clips_index_path(index, dir);
    snprintf(parent, sizeof parent, "%s/..", dir);
    if (mkdir(dir, 0777) == 0)
        return vj_folder_sync(parent); /* or a crash could lose the folder with all files synced in it */
    if (errno != EEXIST) return vj_raise(VJ_ERR_IO, "make folder %s", dir);
    if (access(index, F_OK) == 0)
        return vj_raise(VJ_ERR_USAGE, "%s holds a clip store already: remove it or choose another name", dir);
    return VJ_OK;
}

int vj_shard_is_complete(const char *dir, int64_t number)
{
    char path[VJ_CLIPS_FILE_PATH];
    vj_clips_shard_path(path, dir, number);
    return access(path, F_OK) == 0;
}

vj_status vj_shard_remove(const char *dir, int64_t number)
{
    char path[VJ_CLIPS_FILE_PATH];
    vj_clips_shard_path(path, dir, number);
    return unlink(path) == 0 ? vj_folder_sync(dir) : vj_raise(VJ_ERR_IO, "remove %s, to make it again", path);
}

/* ------------------------------------------------------------------------------------------------ life */

/* Make room for `more` elements. */
static vj_status grow(void **array, int64_t used, int64_t more, int64_t *room, size_t bytes)
{
    if (used + more <= *room) return VJ_OK;
    const int64_t larger = 2 * (used + more) + 64;
    void *moved = realloc(*array, (size_t)larger * bytes);
    if (!moved) return vj_raise(VJ_ERR_MEMORY, "no memory for the tables of a shard");
    *array = moved;
    *room = larger;
    return VJ_OK;
}

static void release(vj_shard *shard)
{
    free(shard->ledger);
    free(shard->motion);
    free(shard->filed);
    free(shard->entry);
    free(shard->geometry);
    free(shard);
}

/* Register the filter. Writing chunks directly does not call it, but HDF5 requires that it is known. */
static vj_status know_filter(const vj_codec_settings *codec)
{
    if (codec->codec == VJ_CODEC_JPEG && H5Zregister(&vj_jpeg_filter) < 0)
        return vj_raise_h5("register the filter of JPEG records");
    return VJ_OK;
}

static vj_status close_geometry(vj_shard *shard, geometry *g)
{
    const hid_t frames = g->frames;
    if (frames < 0) return VJ_OK;
    g->frames = H5I_INVALID_HID;
    shard->open--;
    return H5Dclose(frames) >= 0
               ? VJ_OK
               : vj_raise_h5("%s: close the frames of %d x %d", shard->part.path, g->height, g->width);
}

void vj_shard_abandon(vj_shard *shard)
{
    if (!shard) return;
    vj_output_stop(&shard->part);
    for (int64_t i = 0; i < shard->geometries; i++) (void)close_geometry(shard, &shard->geometry[i]); /* discarded */
    vj_output_discard(&shard->part);
    release(shard);
}

vj_status vj_shard_create(vj_shard **shard, const char *dir, int64_t number, const vj_clips_header *layout)
{
    *shard = NULL;
    VJ_ASSERT(layout->frames >= 1 && layout->frames <= VJ_RECORD_MAX_FRAMES && number >= 0);
    VJ_ASSERT(layout->label_count >= 0 && layout->label_count <= VJ_MAX_LABELS);
    VJ_ASSERT(layout->dataset_count >= 1 && layout->dataset_count <= VJ_MAX_DATASETS && strlen(dir) < VJ_PATH);
    VJ_TRY(vj_codec_check(&layout->codec));
    VJ_TRY(know_filter(&layout->codec));
    vj_shard *s = vj_calloc(1, sizeof *s);
    if (!s) return vj_raise(VJ_ERR_MEMORY, "no memory for a shard");
    s->layout = *layout;
    s->layout.config_text = NULL; /* borrowed, and written by now */
    s->number = number;
    char path[VJ_CLIPS_FILE_PATH];
    vj_clips_shard_path(path, dir, number);
    vj_status status = vj_output_create(&s->part, path, layout);
    if (status != VJ_OK) {
        release(s);
        return status;
    }
    status = vj_clips_make_group(s->part.file, s->part.path, "/clips");
    if (status == VJ_OK) status = vj_clips_make_group(s->part.file, s->part.path, "/files");
    if (status == VJ_OK)
        *shard = s;
    else
        vj_shard_abandon(s);
    return status;
}

/* ------------------------------------------------------------------------------------------------ clips */

static vj_status set_chunks(const vj_shard *shard, const geometry *g, hid_t create, const hsize_t dims[5])
{
    const vj_codec_settings *codec = &shard->layout.codec;
    const unsigned values[VJ_FILTER_VALUES] = {
        [VJ_FILTER_T] = (unsigned)shard->layout.frames,
        [VJ_FILTER_H] = (unsigned)g->height,
        [VJ_FILTER_W] = (unsigned)g->width,
        [VJ_FILTER_QUALITY] = (unsigned)codec->quality,
        [VJ_FILTER_CHROMA] = (unsigned)codec->chroma,
    };
    const hsize_t chunk[5] = {1, dims[1], dims[2], dims[3], dims[4]};
    const int good = H5Pset_chunk(create, 5, chunk) >= 0 && H5Pset_fill_time(create, H5D_FILL_TIME_NEVER) >= 0 &&
                     (codec->codec == VJ_CODEC_RAW ||
                      H5Pset_filter(create, VJ_JPEG_FILTER, H5Z_FLAG_MANDATORY, VJ_FILTER_VALUES, values) >= 0);
    return good ? VJ_OK : vj_raise_h5("%s: clips of %d x %d pixels", shard->part.path, g->height, g->width);
}

/* Create the frames dataset of a geometry: it can grow clip by clip, and a chunk is one clip. No fill values and no
 * chunk cache, because every chunk is written whole. */
static vj_status create_frames(vj_shard *shard, geometry *g, hid_t group)
{
    const hsize_t dims[5] = {0, (hsize_t)shard->layout.frames, (hsize_t)g->height, (hsize_t)g->width, 3};
    const hsize_t max_dims[5] = {H5S_UNLIMITED, dims[1], dims[2], dims[3], dims[4]};
    hid_t space = H5Screate_simple(5, dims, max_dims), creation = vj_clips_creation();
    vj_status status = set_chunks(shard, g, creation, dims);
    if (status == VJ_OK)
        g->frames = H5Dcreate2(group, VJ_CLIPS_FRAMES, H5T_STD_U8LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    if (status == VJ_OK && g->frames < 0)
        status = vj_raise_h5("%s: cannot create frames of %d x %d pixels", shard->part.path, g->height, g->width);
    if (creation >= 0) H5Pclose(creation);
    H5Sclose(space);
    return status;
}

static vj_status open_frames(vj_shard *shard, geometry *g)
{
    char name[VJ_CLIPS_OBJECT];
    vj_status status = VJ_OK;
    vj_clips_geometry_name(name, g->height, g->width);
    if (g->clips == 0) VJ_TRY(vj_clips_make_group(shard->part.file, shard->part.path, name));
    hid_t group = H5Gopen2(shard->part.file, name, H5P_DEFAULT);
    if (group < 0) return vj_raise_h5("%s: cannot open %s", shard->part.path, name);
    if (g->clips == 0)
        status = create_frames(shard, g, group);
    else if ((g->frames = H5Dopen2(group, VJ_CLIPS_FRAMES, H5P_DEFAULT)) < 0)
        status = vj_raise_h5("%s: cannot open the frames of %s again", shard->part.path, name);
    if (H5Gclose(group) < 0 && status == VJ_OK) status = vj_raise_h5("%s: close %s", shard->part.path, name);
    if (g->frames >= 0) shard->open++;
    return status;
}

static vj_status close_oldest(vj_shard *shard)
{
    geometry *oldest = NULL;
    for (int64_t i = 0; i < shard->geometries; i++) {
        geometry *g = &shard->geometry[i];
        if (g->frames >= 0 && (!oldest || g->used < oldest->used)) oldest = g;
    }
    return close_geometry(shard, oldest);
}

static vj_status geometry_of(vj_shard *shard, int height, int width, geometry **found)
{
    geometry *g = NULL;
    for (int64_t i = 0; i < shard->geometries && !g; i++)
        if (shard->geometry[i].height == height && shard->geometry[i].width == width) g = &shard->geometry[i];
    if (!g) {
        VJ_TRY(grow((void **)&shard->geometry, shard->geometries, 1, &shard->geometry_room, sizeof *g));
        g = &shard->geometry[shard->geometries++];
        *g = (geometry){.height = height, .width = width, .frames = H5I_INVALID_HID};
    }
    if (g->frames < 0 && shard->open >= MAX_OPEN) VJ_TRY(close_oldest(shard));
    if (g->frames < 0) VJ_TRY(open_frames(shard, g));
    g->used = shard->clips;
    *found = g;
    return VJ_OK;
}

/* Check a clip, because its record may come from an untrusted process. */
static vj_status check_clip(const vj_shard *shard, const vj_clip *clip)
{
    const vj_clips_header *layout = &shard->layout;
    VJ_ASSERT(clip->source >= 0 && clip->dataset >= 0 && clip->dataset < layout->dataset_count);
    if (clip->window < 0 || clip->height < 1 || clip->width < 1 || clip->height > VJ_CLIPS_MAX_SIDE ||
        clip->width > VJ_CLIPS_MAX_SIDE)
        return vj_raise(VJ_ERR_FORMAT, "%s: window %d of %d x %d pixels, a store holds at most %d a side",
                        shard->part.path, clip->window, clip->height, clip->width, VJ_CLIPS_MAX_SIDE);
    const int64_t frames = vj_frames_bytes(layout->frames, clip->height, clip->width);
    if (frames > VJ_RECORD_MAX_BYTES || clip->bytes > VJ_RECORD_MAX_BYTES)
        return vj_raise(VJ_ERR_FORMAT,
                        "%s: a clip of %d frames of %d x %d pixels in %lld bytes: at most 4 GiB can be kept",
                        shard->part.path, layout->frames, clip->height, clip->width, (long long)clip->bytes);
    if (clip->bytes < 1 || (layout->codec.codec == VJ_CODEC_RAW && clip->bytes != frames))
        return vj_raise(VJ_ERR_FORMAT, "%s: a record of %lld bytes for %d frames of %d x %d pixels", shard->part.path,
                        (long long)clip->bytes, layout->frames, clip->height, clip->width);
    return VJ_OK;
}

vj_status vj_shard_add_clip(vj_shard *shard, const vj_clip *clip)
{
    geometry *g;
    VJ_TRY(check_clip(shard, clip));
    VJ_TRY(geometry_of(shard, clip->height, clip->width, &g));
    VJ_TRY(grow((void **)&shard->entry, shard->clips, 1, &shard->entry_room, sizeof *shard->entry));
    const hsize_t dims[5] = {(hsize_t)g->clips + 1, (hsize_t)shard->layout.frames, (hsize_t)clip->height,
                             (hsize_t)clip->width, 3};
    const hsize_t at[5] = {(hsize_t)g->clips};
    shard->part.data_bytes = 0;
    if (H5Dset_extent(g->frames, dims) < 0 ||
        H5Dwrite_chunk(g->frames, H5P_DEFAULT, 0, at, (size_t)clip->bytes, clip->record) < 0)
        return vj_raise_h5("%s: cannot write clip %lld", shard->part.path, (long long)shard->clips);
    VJ_TRY(vj_output_check(&shard->part));
    VJ_ASSERT(shard->part.data_bytes == clip->bytes); /* HDF5 writes a chunk at once, and no other data */
    vj_clips_entry *entry = &shard->entry[shard->clips++];
    *entry = (vj_clips_entry){.source = clip->source,
                              .row = g->clips++,
                              .offset = shard->part.data_at,
                              .bytes = clip->bytes,
                              .xxh3 = XXH3_64bits(clip->record, (size_t)clip->bytes),
                              .pts_s = clip->pts_s,
                              .shard = (int32_t)shard->number,
                              .window = clip->window,
                              .dataset = clip->dataset,
                              .height = clip->height,
                              .width = clip->width,
                              .psnr = clip->psnr};
    for (int l = 0; l < shard->layout.label_count; l++) entry->label[l] = clip->labels[l];
    return VJ_OK;
}

vj_status vj_shard_add_file(vj_shard *shard, const vj_clips_file *file)
{
    const int64_t length = (int64_t)strlen(file->row);
    VJ_ASSERT(file->clips >= 0 && shard->accounted + file->clips == shard->clips && !strchr(file->row, '\n'));
    for (int64_t i = shard->accounted; i < shard->clips; i++)
        VJ_ASSERT(shard->entry[i].source == file->source && shard->entry[i].dataset == file->dataset);
    VJ_TRY(grow((void **)&shard->filed, shard->files, 1, &shard->file_room, sizeof *shard->filed));
    VJ_TRY(grow((void **)&shard->ledger, shard->ledger_bytes, length + 1, &shard->ledger_room, 1));
    if (file->motion && file->look_valid) {
        VJ_TRY(grow((void **)&shard->motion, shard->motions, 1, &shard->motion_room, VJ_CLIPS_MOTION_BYTES));
        memcpy(shard->motion + shard->motions++ * VJ_CLIPS_MOTION_BYTES, file->motion, VJ_CLIPS_MOTION_BYTES);
    }
    memcpy(shard->ledger + shard->ledger_bytes, file->row, (size_t)length);
    shard->ledger[shard->ledger_bytes + length] = '\n';
    shard->ledger_bytes += length + 1;
    shard->filed[shard->files] = *file;
    shard->filed[shard->files].motion = NULL; /* borrowed, as is the row */
    shard->filed[shard->files++].row = NULL;
    shard->accounted = shard->clips;
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ publish */

static vj_status close_geometries(vj_shard *shard)
{
    for (int64_t i = 0; i < shard->geometries; i++) VJ_TRY(close_geometry(shard, &shard->geometry[i]));
    return VJ_OK;
}

static vj_status put_tables(vj_shard *shard)
{
    vj_column columns[VJ_MAX_COLUMNS];
    int count = vj_clips_entry_columns(columns, shard->layout.label_count, 0);
    VJ_TRY(vj_columns_put(shard->part.file, shard->part.path, columns, count, shard->entry, sizeof *shard->entry,
                          shard->clips));
    count = vj_clips_file_columns(columns);
    VJ_TRY(vj_columns_put(shard->part.file, shard->part.path, columns, count, shard->filed, sizeof *shard->filed,
                          shard->files));
    if (shard->motions > 0) {
        const hsize_t dims[2] = {(hsize_t)shard->motions, VJ_CLIPS_MOTION_BYTES};
        VJ_TRY(
            vj_clips_put(shard->part.file, shard->part.path, "/files/motion", H5T_NATIVE_INT8, 2, dims, shard->motion));
    }
    VJ_TRY(grow((void **)&shard->ledger, shard->ledger_bytes, 1, &shard->ledger_room, 1));
    shard->ledger[shard->ledger_bytes] = '\0';
    VJ_TRY(vj_clips_put_ledger(shard->part.file, shard->part.path, shard->ledger, shard->ledger_bytes + 1));
    return vj_h5_put_i64(shard->part.file, "shard", shard->number);
}

vj_status vj_shard_publish(vj_shard **shard)
{
    vj_shard *s = *shard;
    *shard = NULL;
    VJ_ASSERT(s->accounted == s->clips); /* every clip belongs to a file */
    vj_status status = close_geometries(s);
    if (status == VJ_OK) status = put_tables(s);
    if (status != VJ_OK) {
        vj_shard_abandon(s);
        return status;
    }
    status = vj_output_publish(&s->part);
    release(s);
    return status;
}
