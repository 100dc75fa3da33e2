/*
 * Reads rows of a feature store: one read call for rows that are adjacent in the file; each row's checksum is verified.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "features/half.h"
#include "features/inner.h"

/* Bytes at a place of the file, all of them. */
static vj_status read_bytes(const vj_features *f, void *to, int64_t bytes, int64_t at)
{
    errno = 0;
    const int64_t got = vj_read_at(f->fd, to, bytes, at);
    if (got == bytes) return VJ_OK;
    return vj_raise(got < 0 ? VJ_ERR_IO : VJ_ERR_FORMAT, "read %lld bytes at %lld of %s: %lld were there",
                    (long long)bytes, (long long)at, f->path, (long long)(got < 0 ? 0 : got));
}

static vj_status read_column(const vj_features *f, int64_t place, int64_t row_bytes, int64_t first, int64_t count,
                             void *to)
{
    VJ_ASSERT(first >= 0 && count >= 0 && first + count <= f->layout.clips);
    if (count * row_bytes == 0) return VJ_OK;
    return read_bytes(f, to, count * row_bytes, place + first * row_bytes);
}

vj_status vj_features_read_labels(const vj_features *f, int64_t first, int64_t count, int32_t *labels)
{
    return read_column(f, f->place.label, f->layout.label_count * (int64_t)sizeof *labels, first, count, labels);
}

vj_status vj_features_read_clips(const vj_features *f, int64_t first, int64_t count, int64_t *clips)
{
    return read_column(f, f->place.clip, sizeof *clips, first, count, clips);
}

bool vj_features_has_clip_sums(const vj_features *f)
{
    return f->place.clip_sums > 0;
}

vj_status vj_features_read_clip_sums(const vj_features *f, int64_t first, int64_t count, uint64_t *sums)
{
    VJ_ASSERT(vj_features_has_clip_sums(f));
    return read_column(f, f->place.clip_sums, sizeof *sums, first, count, sums);
}

/* What a row's checksum covers beside its features, and the checksum. */
typedef struct {
    int64_t *clips;
    uint64_t *sums;
    int32_t *labels;
} columns;

static vj_status check(const vj_features *f, int64_t first, int64_t count, const char *stored, const columns *c,
                       int64_t *damaged)
{
    const vj_features_header *layout = &f->layout;
    VJ_TRY(vj_features_read_clips(f, first, count, c->clips));
    VJ_TRY(read_column(f, f->place.sums, sizeof *c->sums, first, count, c->sums));
    VJ_TRY(vj_features_read_labels(f, first, count, c->labels));
    for (int64_t i = 0; i < count; i++) {
        const char *row = stored + i * vj_features_row_bytes(layout);
        if (vj_features_checksum(layout, row, c->labels + i * layout->label_count, c->clips[i]) == c->sums[i]) continue;
        vj_raise(VJ_ERR_FORMAT, "%s is damaged: row %lld of %lld does not fit its checksum", f->path,
                 (long long)(first + i), (long long)layout->clips);
        ++*damaged;
    }
    return VJ_OK;
}

/* Halves at the end of `out` to floats from its beginning on: none is overwritten before it is read. */
static void widen(float *out, const char *stored, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        uint16_t half; /* HDF5 does not promise that rows are aligned */
        memcpy(&half, stored + 2 * i, sizeof half);
        out[i] = vj_half_to_float(half);
    }
}

vj_status vj_features_check_rows(const vj_features *f, int64_t first, int64_t count, float *out, int64_t *damaged)
{
    const vj_features_header *layout = &f->layout;
    const int64_t row = vj_features_row_bytes(layout), values = count * layout->tokens * layout->width;
    char *stored = (char *)(out + values) - count * row;
    VJ_TRY(read_column(f, f->place.features, row, first, count, stored));
    /* one allocation for the columns: numbers of 8 bytes, then labels */
    int64_t *memory = vj_calloc(count, 2 * (int64_t)sizeof(int64_t) + layout->label_count * (int64_t)sizeof(int32_t));
    if (!memory) return vj_raise(VJ_ERR_MEMORY, "no memory to read %lld rows of %s", (long long)count, f->path);
    const columns c = {memory, (uint64_t *)memory + count, (int32_t *)(memory + 2 * count)};
    const vj_status status = check(f, first, count, stored, &c, damaged);
    free(memory);
    VJ_TRY(status);
    if (layout->type == VJ_FEATURES_F16) widen(out, stored, values);
    return VJ_OK;
}

int64_t vj_features_slab(const vj_features *f)
{
    enum { BYTES = 8 << 20 };
    const int64_t rows = BYTES / (f->layout.tokens * f->layout.width * (int64_t)sizeof(float));
    return rows < 1 ? 1 : rows < f->layout.clips ? rows : f->layout.clips;
}

vj_status vj_features_read_rows(const vj_features *f, int64_t first, int64_t count, float *out)
{
    int64_t damaged = 0;
    VJ_TRY(vj_features_check_rows(f, first, count, out, &damaged));
    return damaged == 0 ? VJ_OK : VJ_ERR_FORMAT;
}
