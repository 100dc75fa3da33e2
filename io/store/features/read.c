/*
 * Reads rows of a feature store: one read call for rows that are adjacent in the file; each row's checksum is verified.
 */
#include <errno.h>
#include <string.h>

#include "features/inner.h"
#include "h5/half.h"

vj_status vj_features_read_bytes(const vj_features *f, void *to, int64_t bytes, int64_t at)
{
    errno = 0;
    const int64_t got = vj_read_at(f->fd, to, bytes, at);
    if (got == bytes) return VJ_OK;
    return vj_raise(got < 0 ? VJ_ERR_IO : VJ_ERR_FORMAT, "read %lld bytes at %lld of %s: %lld were there",
                    (long long)bytes, (long long)at, f->path, (long long)(got < 0 ? 0 : got));
}

const int32_t *vj_features_labels(const vj_features *f)
{
    return f->label;
}

const int64_t *vj_features_clips(const vj_features *f)
{
    return f->clip;
}

const uint64_t *vj_features_clip_sums(const vj_features *f)
{
    return f->clip_sums;
}

static void check(const vj_features *f, int64_t first, int64_t count, const char *stored, int64_t *damaged)
{
    const vj_features_header *layout = &f->layout;
    for (int64_t i = first; i < first + count; i++) {
        const char *row = stored + (i - first) * vj_features_row_bytes(layout);
        if (vj_features_checksum(layout, row, f->label + i * layout->label_count, f->clip[i]) == f->sums[i]) continue;
        vj_raise(VJ_ERR_FORMAT, "%s is damaged: row %lld of %lld does not fit its checksum", f->path, (long long)i,
                 (long long)layout->clips);
        ++*damaged;
    }
}

/*
 * Convert floats of two bytes at the end of `out` to fp32 at its beginning; none is overwritten before it is read. Goes
 * block by block through local arrays, so that the compiler knows that they do not overlap and vectorizes the loops.
 */
static void widen(float *out, const char *stored, int64_t count, vj_features_type type)
{
    enum { BLOCK = 1024 };
    uint16_t half[BLOCK] = {0};
    float wide[BLOCK];
    for (int64_t at = 0; at < count; at += BLOCK) {
        const size_t n = (size_t)(count - at < BLOCK ? count - at : BLOCK);
        memcpy(half, stored + 2 * at, n * sizeof *half);
        if (type == VJ_FEATURES_F16)
            for (int i = 0; i < BLOCK; i++) wide[i] = vj_half_to_float(half[i]);
        else
            for (int i = 0; i < BLOCK; i++) wide[i] = vj_bf16_to_float(half[i]);
        memcpy(out + at, wide, n * sizeof *wide);
    }
}

vj_status vj_features_check_rows(const vj_features *f, int64_t first, int64_t count, float *out, int64_t *damaged)
{
    const vj_features_header *layout = &f->layout;
    const int64_t row = vj_features_row_bytes(layout), values = count * layout->tokens * layout->width;
    char *stored = (char *)(out + values) - count * row;
    VJ_ASSERT(first >= 0 && count >= 0 && first + count <= layout->clips);
    VJ_TRY(vj_features_read_bytes(f, stored, count * row, f->place.features + first * row));
    check(f, first, count, stored, damaged);
    if (layout->type != VJ_FEATURES_F32) widen(out, stored, values, layout->type);
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
