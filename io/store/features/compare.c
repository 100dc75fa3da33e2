/* Compares two feature stores row by row. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "features/inner.h"
#include "parallel/parallel.h"

typedef struct {
    const vj_features *f[2];
    float *x[2];               /* [rows, N, D] features of the rows being compared */
    bool values, labels, sums; /* whether these can be compared */
    int64_t rows;              /* of a slab */
    int64_t differ_values, differ_labels, differ_clips, differ_sums;
    double largest; /* NaN if any difference is NaN */
} comparison;

static vj_status allocate(comparison *c)
{
    for (int i = 0; i < 2; i++) {
        const vj_features_header *h = &c->f[i]->layout;
        c->x[i] = vj_calloc(c->rows * h->tokens * h->width, sizeof *c->x[i]);
        if (!c->x[i]) return vj_raise(VJ_ERR_MEMORY, "no memory to compare rows of %s", c->f[i]->path);
    }
    return VJ_OK;
}

static bool values_differ(comparison *c, int64_t row)
{
    const int64_t n = c->f[0]->layout.tokens * c->f[0]->layout.width;
    const float *x = c->x[0] + row * n, *y = c->x[1] + row * n;
    if (memcmp(x, y, (size_t)n * sizeof *x) == 0) return false;
    for (int64_t i = 0; i < n; i++) {
        if (memcmp(&x[i], &y[i], sizeof *x) == 0) continue;
        const double distance = fabs((double)x[i] - (double)y[i]);
        if (isnan(distance) || distance > c->largest) c->largest = distance; /* nothing is larger than NaN */
    }
    return true;
}

/* Compare row `i` of a slab that begins with row `first`. */
static bool row_differs(comparison *c, int64_t first, int64_t i)
{
    const vj_features *a = c->f[0], *b = c->f[1];
    const int labels = a->layout.label_count;
    const int64_t row = first + i;
    const bool values = c->values && values_differ(c, i), clip = a->clip[row] != b->clip[row];
    const bool sum = c->sums && a->clip_sums[row] != b->clip_sums[row];
    const bool label =
        c->labels && memcmp(a->label + row * labels, b->label + row * labels, sizeof(int32_t) * (size_t)labels) != 0;
    c->differ_values += values;
    c->differ_clips += clip;
    c->differ_sums += sum;
    c->differ_labels += label;
    return values || clip || sum || label;
}

static vj_status compare_rows(comparison *c, int64_t rows, FILE *out, int64_t *different)
{
    int64_t differ = 0;
    vj_progress_line line = vj_progress_line_begin();
    for (int64_t first = 0; first < rows; first += c->rows) {
        vj_progress_line_log(&line, c->f[0]->path, (double)first / (double)rows, vj_now());
        const int64_t n = rows - first < c->rows ? rows - first : c->rows;
        for (int i = 0; i < 2; i++) VJ_TRY(vj_features_read_rows(c->f[i], first, n, c->x[i]));
        for (int64_t i = 0; i < n; i++) differ += row_differs(c, first, i);
    }
    if (c->differ_clips > 0) fprintf(out, "numbers of clips: of %lld rows\n", (long long)c->differ_clips);
    if (c->differ_sums > 0) fprintf(out, "content of clips, by checksum: of %lld rows\n", (long long)c->differ_sums);
    if (c->differ_labels > 0) fprintf(out, "labels: of %lld rows\n", (long long)c->differ_labels);
    if (c->differ_values > 0)
        fprintf(out, "features: of %lld rows, by at most %.3g\n", (long long)c->differ_values, c->largest);
    fprintf(out, "%lld rows equal, %lld different\n", (long long)(rows - differ), (long long)differ);
    *different += differ;
    return VJ_OK;
}

static void compare_texts(FILE *out, const char *what, const char *a, const char *b)
{
    if (strcmp(a, b) != 0) fprintf(out, "%s: %s, %s\n", what, a, b);
}

/* Compare origins; differences are printed and not counted. */
static void compare_origins(const vj_features_header *a, const vj_features_header *b, FILE *out)
{
    compare_texts(out, "encoder", a->encoder, b->encoder);
    if (a->encoder_digest != b->encoder_digest)
        fprintf(out, "digest of the encoder: %016llx, %016llx\n", (unsigned long long)a->encoder_digest,
                (unsigned long long)b->encoder_digest);
    compare_texts(out, "input", a->preprocessing, b->preprocessing);
    if (a->store_fingerprint != b->store_fingerprint)
        fprintf(out, "fingerprint of the clips: %016llx, %016llx\n", (unsigned long long)a->store_fingerprint,
                (unsigned long long)b->store_fingerprint);
    if (a->type != b->type)
        fprintf(out, "stored as: %s, %s\n", vj_features_type_name(a->type), vj_features_type_name(b->type));
    if (strcmp(a->config, b->config) != 0) fprintf(out, "configurations differ\n");
}

static bool labels_alike(const vj_features_header *a, const vj_features_header *b)
{
    if (a->label_count != b->label_count) return false;
    for (int l = 0; l < a->label_count; l++)
        if (strcmp(a->label_names[l], b->label_names[l]) != 0) return false;
    return true;
}

/* Compare properties of whole stores; each difference is counted. Finds out which parts of the rows can be compared. */
static void compare_headers(comparison *c, FILE *out, int64_t *different)
{
    const vj_features_header *a = &c->f[0]->layout, *b = &c->f[1]->layout;
    c->values = a->tokens == b->tokens && a->width == b->width;
    c->labels = labels_alike(a, b);
    c->sums = c->f[0]->clip_sums && c->f[1]->clip_sums;
    if (a->clips != b->clips)
        fprintf(out, "number of clips: %lld, %lld; the first ones are compared\n", (long long)a->clips,
                (long long)b->clips);
    if (!c->values)
        fprintf(out, "a clip: %lld tokens of width %lld, %lld of %lld\n", (long long)a->tokens, (long long)a->width,
                (long long)b->tokens, (long long)b->width);
    if (!c->labels) fprintf(out, "names of labels differ: labels are not compared\n");
    if (!c->sums) fprintf(out, "content of clips is not compared: one file is older than checksums of clips\n");
    *different += (a->clips != b->clips) + !c->values + !c->labels;
    for (int l = 0; c->labels && l < a->label_count; l++)
        *different += vj_clips_compare_classes(a->label_names[l], &a->classes[l], &b->classes[l], out);
}

static vj_status compare(comparison *c, FILE *out, int64_t *different)
{
    const int64_t slabs[2] = {vj_features_slab(c->f[0]), vj_features_slab(c->f[1])};
    const int64_t rows[2] = {c->f[0]->layout.clips, c->f[1]->layout.clips};
    compare_origins(&c->f[0]->layout, &c->f[1]->layout, out);
    compare_headers(c, out, different);
    c->rows = slabs[0] < slabs[1] ? slabs[0] : slabs[1];
    VJ_TRY(allocate(c));
    return compare_rows(c, rows[0] < rows[1] ? rows[0] : rows[1], out, different);
}

vj_status vj_features_compare(const char *a, const char *b, FILE *out, int64_t *different)
{
    vj_features *x = NULL, *y = NULL;
    comparison c = {0};
    *different = 0;
    vj_status status = vj_features_open(&x, a, VJ_ALONE);
    if (status == VJ_OK) status = vj_features_open(&y, b, VJ_ALONE);
    if (status == VJ_OK) {
        c.f[0] = x;
        c.f[1] = y;
        status = compare(&c, out, different);
    }
    for (int i = 0; i < 2; i++) free(c.x[i]);
    vj_features_close(x);
    vj_features_close(y);
    return status;
}
