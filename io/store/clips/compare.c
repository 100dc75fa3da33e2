/* Compares two stores clip by clip: pixels where the records differ, labels, data sets, and class names. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "clips/store.h"
#include "parallel/parallel.h"

typedef struct {
    const char *path[2];
    vj_clips *clips[2];
    vj_coder *coder;
    uint8_t *frames[2];                      /* the current clip of each store */
    int64_t pixels, sizes, labels, datasets; /* number of clips that differ in these */
    int largest;                             /* largest difference of two pixel values */
} comparison;

/* Set *differ to whether the pixels of clip `i` differ. Different records may hold the same pixels: with another codec
 * or quality. */
static vj_status compare_pixels(comparison *c, int64_t i, bool *differ)
{
    const vj_clips *a = c->clips[0], *b = c->clips[1];
    int height[2], width[2], largest = 0;
    for (int s = 0; s < 2; s++) vj_clips_geometry(c->clips[s], i, &height[s], &width[s]);
    *differ = height[0] != height[1] || width[0] != width[1] || a->layout.frames != b->layout.frames;
    c->sizes += *differ;
    if (*differ || (vj_clips_checksum(a, i) == vj_clips_checksum(b, i) && a->bytes[i] == b->bytes[i])) return VJ_OK;
    for (int s = 0; s < 2; s++) VJ_TRY(vj_clips_read(c->clips[s], i, c->coder, c->frames[s]));
    const int64_t bytes = vj_frames_bytes(a->layout.frames, height[0], width[0]);
    for (int64_t p = 0; p < bytes; p++) {
        const int distance = abs(c->frames[0][p] - c->frames[1][p]);
        if (distance > largest) largest = distance;
    }
    *differ = largest > 0;
    c->pixels += *differ;
    if (largest > c->largest) c->largest = largest;
    return VJ_OK;
}

static bool labels_alike(const vj_clips *a, const vj_clips *b)
{
    if (a->layout.label_count != b->layout.label_count) return false;
    for (int l = 0; l < a->layout.label_count; l++)
        if (strcmp(a->layout.label_names[l], b->layout.label_names[l]) != 0) return false;
    return true;
}

static vj_status compare_clips(comparison *c, FILE *out, int64_t *different)
{
    const vj_clips *a = c->clips[0], *b = c->clips[1];
    const int64_t n = a->count < b->count ? a->count : b->count;
    const bool labelled = labels_alike(a, b);
    int64_t clips = 0;
    vj_progress_line line = vj_progress_line_begin();
    for (int64_t i = 0; i < n; i++) {
        bool pixels;
        VJ_TRY(compare_pixels(c, i, &pixels));
        const bool label = labelled && memcmp(vj_clips_labels(a, i), vj_clips_labels(b, i),
                                              sizeof(int32_t) * (size_t)a->layout.label_count) != 0;
        const bool dataset =
            strcmp(a->layout.dataset_names[a->dataset[i]], b->layout.dataset_names[b->dataset[i]]) != 0;
        c->labels += label;
        c->datasets += dataset;
        clips += pixels || label || dataset;
        vj_progress_line_log(&line, c->path[0], (double)(i + 1) / (double)n, vj_now());
    }
    if (c->sizes > 0) fprintf(out, "sizes: of %" PRId64 " clips\n", c->sizes);
    if (c->pixels > 0) fprintf(out, "pixels: of %" PRId64 " clips, by at most %d of 255\n", c->pixels, c->largest);
    if (c->labels > 0) fprintf(out, "labels: of %" PRId64 " clips\n", c->labels);
    if (c->datasets > 0) fprintf(out, "data sets: of %" PRId64 " clips\n", c->datasets);
    *different += clips;
    fprintf(out, "%" PRId64 " clips equal, %" PRId64 " different\n", n - clips, clips);
    return VJ_OK;
}

/* Compare properties of whole stores; each difference is counted. */
static void compare_headers(const comparison *c, FILE *out, int64_t *different)
{
    const vj_clips *a = c->clips[0], *b = c->clips[1];
    if (a->count != b->count) {
        fprintf(out, "number of clips: %" PRId64 ", %" PRId64 "; the first ones are compared\n", a->count, b->count);
        ++*different;
    }
    if (a->layout.frames != b->layout.frames) {
        fprintf(out, "frames a clip: %d, %d\n", a->layout.frames, b->layout.frames);
        ++*different;
    }
    if (!labels_alike(a, b)) {
        fprintf(out, "names of labels differ: labels are not compared\n");
        ++*different;
        return;
    }
    for (int l = 0; l < a->layout.label_count; l++)
        *different += vj_clips_compare_classes(a->layout.label_names[l], &a->classes[l], &b->classes[l], out);
}

/* Compare provenance; differences are printed and not counted. */
static vj_status compare_origins(const comparison *c, FILE *out)
{
    char *config[2] = {NULL, NULL};
    vj_status status = VJ_OK;
    for (int s = 0; s < 2 && status == VJ_OK; s++) {
        char path[VJ_CLIPS_FILE_PATH];
        vj_clips_header layout;
        hid_t file;
        vj_clips_index_path(path, c->path[s]);
        status = vj_clips_open_file(&file, path, &layout);
        if (status != VJ_OK) break;
        status = vj_h5_get_text(file, path, "config", &config[s]);
        H5Fclose(file); /* only read */
    }
    if (status == VJ_OK && c->clips[0]->fingerprint != c->clips[1]->fingerprint)
        fprintf(out, "fingerprints: %016" PRIx64 ", %016" PRIx64 "\n", c->clips[0]->fingerprint,
                c->clips[1]->fingerprint);
    if (status == VJ_OK && strcmp(config[0], config[1]) != 0) fprintf(out, "configurations differ\n");
    free(config[0]);
    free(config[1]);
    return status;
}

static vj_status compare(comparison *c, FILE *out, int64_t *different)
{
    for (int s = 0; s < 2; s++) {
        vj_strings one;
        VJ_TRY(vj_strings_one(&one, c->path[s]));
        VJ_TRY(vj_clips_open(&c->clips[s], &one, VJ_ALONE));
        c->frames[s] = vj_calloc(vj_clips_largest_bytes(c->clips[s]), 1);
        if (!c->frames[s]) return vj_raise(VJ_ERR_MEMORY, "no memory for a clip of %s", c->path[s]);
    }
    VJ_TRY(vj_coder_create(&c->coder));
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = compare_origins(c, out);
    }
    H5E_END_TRY
    VJ_TRY(status);
    compare_headers(c, out, different);
    return compare_clips(c, out, different);
}

vj_status vj_clips_compare(const char *a, const char *b, FILE *out, int64_t *different)
{
    comparison c = {.path = {a, b}};
    *different = 0;
    const vj_status status = compare(&c, out, different);
    vj_coder_destroy(c.coder);
    for (int s = 0; s < 2; s++) {
        vj_clips_close(c.clips[s]);
        free(c.frames[s]);
    }
    return status;
}
