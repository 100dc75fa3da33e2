/* Reads the IDX format: a big-endian magic number 0x08 <dimensions>, the dimensions, then bytes. */
#include "demo/photos.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Read all bytes of an IDX file with `item` bytes an item; *count is the number of items. */
static vj_status read_idx(const char *path, int dimensions, int64_t item, uint8_t **bytes, int64_t *count)
{
    *bytes = NULL;
    gzFile f = gzopen(path, "rb");
    if (!f) return vj_raise(VJ_ERR_IO, "open %s", path);
    uint8_t head[16];
    unsigned head_bytes = 4 + 4 * (unsigned)dimensions;
    uint64_t others = 1;
    int right = gzread(f, head, head_bytes) == (int)head_bytes && head[0] == 0 && head[1] == 0 && head[2] == 8 &&
                head[3] == dimensions;
    for (int d = 1; right && d < dimensions; d++)
        others *= (uint64_t)head[4 + 4 * d] << 24 | head[5 + 4 * d] << 16 | head[6 + 4 * d] << 8 | head[7 + 4 * d];
    *count = right ? (int64_t)head[4] << 24 | head[5] << 16 | head[6] << 8 | head[7] : 0;
    right = right && others == (uint64_t)item && *count > 0 && *count <= INT_MAX / item; /* what gzread counts */
    if (right) *bytes = malloc((size_t)(*count * item));
    int whole = *bytes && gzread(f, *bytes, (unsigned)(*count * item)) == (int)(*count * item);
    gzclose_r(f);
    if (right && !*bytes) return vj_raise(VJ_ERR_MEMORY, "no memory for %s", path);
    if (!whole) return vj_raise(VJ_ERR_FORMAT, "%s is not a whole IDX file of %d dimensions", path, dimensions);
    return VJ_OK;
}

/* Sort the indices of photos by class, keeping their order within a class. */
static vj_status sort_by_class(vj_photos *p, const uint8_t *labels, const char *path)
{
    for (int64_t i = 0; i < p->count; i++) {
        if (labels[i] >= VJ_PHOTO_CLASSES) return vj_raise(VJ_ERR_FORMAT, "%s: label %d", path, labels[i]);
        p->class_first[labels[i] + 1]++;
    }
    for (int c = 0; c < VJ_PHOTO_CLASSES; c++) p->class_first[c + 1] += p->class_first[c];
    int64_t next[VJ_PHOTO_CLASSES];
    memcpy(next, p->class_first, sizeof next);
    for (int64_t i = 0; i < p->count; i++) p->of_class[next[labels[i]]++] = (int32_t)i;
    return VJ_OK;
}

vj_status vj_photos_read(vj_photos *p, const char *folder, const char *stem)
{
    char path[4096];
    *p = (vj_photos){0};
    snprintf(path, sizeof path, "%s/%s-images-idx3-ubyte.gz", folder, stem);
    VJ_TRY(read_idx(path, 3, VJ_PHOTO_SIDE * VJ_PHOTO_SIDE, &p->pixels, &p->count));

    uint8_t *labels;
    int64_t label_count;
    snprintf(path, sizeof path, "%s/%s-labels-idx1-ubyte.gz", folder, stem);
    VJ_TRY(read_idx(path, 1, 1, &labels, &label_count));
    p->of_class = malloc((size_t)p->count * sizeof *p->of_class);
    vj_status status = !p->of_class              ? vj_raise(VJ_ERR_MEMORY, "no memory for %s", path)
                       : label_count != p->count ? vj_raise(VJ_ERR_FORMAT, "%s has %lld labels for %lld photographs",
                                                            path, (long long)label_count, (long long)p->count)
                                                 : sort_by_class(p, labels, path);
    free(labels);
    return status;
}

void vj_photos_release(vj_photos *p)
{
    free(p->pixels);
    free(p->of_class);
    *p = (vj_photos){0};
}
