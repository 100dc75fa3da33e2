/* A store for human eyes: what it holds, and whether every clip is still what was packed. */
#include <inttypes.h>
#include <stdlib.h>

#include "clips/format.h"

/* ------------------------------------------------------------------------------------------------ verify */

static vj_status verify_all(const vj_clips *clips, int64_t *damaged)
{
    uint8_t *frames = vj_calloc(1, vj_clips_largest_bytes(clips));
    if (!frames) return vj_raise(VJ_ERR_MEMORY, "no memory for one clip");
    for (int64_t i = 0; i < vj_clips_count(clips); i++) *damaged += vj_clips_read(clips, i, frames) != VJ_OK;
    free(frames);
    return VJ_OK;
}

vj_status vj_clips_verify(const char *path, int64_t *damaged)
{
    vj_strings paths = {.count = 1};
    vj_clips *clips;
    *damaged = 0;
    if (snprintf(paths.item[0], VJ_PATH, "%s", path) >= VJ_PATH)
        return vj_raise(VJ_ERR_USAGE, "a store's path may have %d characters: %s", VJ_PATH - 1, path);
    VJ_TRY(vj_clips_open(&clips, &paths, MPI_COMM_SELF));
    vj_status status = verify_all(clips, damaged);
    vj_clips_close(clips);
    return status;
}

/* ------------------------------------------------------------------------------------------------ print */

static int by_geometry(const void *a, const void *b)
{
    const vj_clips_shard *x = a, *y = b;
    if (x->height != y->height) return x->height < y->height ? -1 : 1;
    return (x->width > y->width) - (x->width < y->width);
}

/* Sorts the shards: the caller is done with their numbers. */
static void print_geometries(vj_clips_index *index, FILE *out)
{
    qsort(index->shard, (size_t)index->shards, sizeof *index->shard, by_geometry);
    for (int64_t s = 0, next; s < index->shards; s = next) {
        int64_t clips = 0;
        for (next = s; next < index->shards && by_geometry(&index->shard[s], &index->shard[next]) == 0; next++)
            clips += index->shard[next].clips;
        fprintf(out, "  %" PRId64 " x %" PRId64 " pixels: %" PRId64 " clips in %" PRId64 " shards\n",
                index->shard[s].height, index->shard[s].width, clips, next - s);
    }
}

static int by_value(const void *a, const void *b)
{
    const int32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static vj_status print_labels(const vj_clips_index *index, FILE *out)
{
    int32_t *values = vj_calloc(index->clips, sizeof *values);
    if (!values) return vj_raise(VJ_ERR_MEMORY, "no memory for the labels of %" PRId64 " clips", index->clips);
    for (int l = 0; l < index->header.label_count; l++) {
        for (int64_t i = 0; i < index->clips; i++) values[i] = index->entry[i].label[l];
        qsort(values, (size_t)index->clips, sizeof *values, by_value);
        fprintf(out, "label %s (value:clips):", index->header.label_names[l]);
        for (int64_t i = 0, next; i < index->clips; i = next) {
            for (next = i; next < index->clips && values[next] == values[i]; next++) continue;
            fprintf(out, " %d:%" PRId64, values[i], next - i);
        }
        fprintf(out, "\n");
    }
    free(values);
    return VJ_OK;
}

static vj_status print_text(hid_t file, const char *path, const char *name, const char *head, FILE *out)
{
    char *text;
    VJ_TRY(vj_clips_get_text(file, path, name, &text));
    fprintf(out, "%s%s\n", head, text);
    free(text);
    return VJ_OK;
}

static vj_status print_provenance(const char *dir, FILE *out)
{
    char path[VJ_CLIPS_FILE_PATH];
    vj_clips_index_path(path, dir);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0) return vj_raise_h5("open %s", path);
    int64_t sources = 0;
    vj_status status = vj_clips_extent(file, path, "/sources/path", &sources);
    fprintf(out, "sources: %" PRId64 " files\n", sources);
    if (status == VJ_OK) status = print_text(file, path, "code", "packed by: ", out);
    if (status == VJ_OK) status = print_text(file, path, "config", "config:\n", out);
    H5Fclose(file);
    return status;
}

vj_status vj_clips_print(const char *path, FILE *out)
{
    vj_clips_index index;
    vj_status status = vj_clips_index_read(&index, path);
    if (status == VJ_OK) {
        int64_t bytes = 0;
        for (int64_t s = 0; s < index.shards; s++) bytes += index.shard[s].bytes;
        fprintf(out, "clip store %s\n", path);
        fprintf(out, "clips: %" PRId64 " of %d frames, %" PRId64 " shards, %.1f MB\n", index.clips, index.header.frames,
                index.shards, (double)bytes * 1e-6);
        print_geometries(&index, out);
        status = print_labels(&index, out);
        fprintf(out, "fingerprint: %016" PRIx64 "\n", index.fingerprint);
    }
    if (status == VJ_OK) status = print_provenance(path, out);
    vj_clips_index_release(&index);
    return status;
}
