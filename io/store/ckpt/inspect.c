/* Verifies, prints and compares whole checkpoints, reading all tensors of a file block by block. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/progress.h"
#include "ckpt/inner.h"

static herr_t collect(hid_t group, const char *name, const H5L_info_t *info, void *user)
{
    (void)info; /* part of HDF5's signature */
    vj_ckpt_view *v = user;
    hid_t object = H5Oopen(group, name, H5P_DEFAULT);
    if (object < 0) return -1;
    int is_dataset = H5Iget_type(object) == H5I_DATASET;
    H5Oclose(object); /* only read */
    if (!is_dataset) return 0;
    if (!vj_printable(name)) {
        vj_raise(VJ_ERR_FORMAT, "%s: a tensor's name holds control characters: %s", v->path, name);
        return -1;
    }
    char **more = realloc(v->names, (size_t)(v->count + 1) * sizeof *more);
    if (!more) return -1;
    v->names = more;
    more[v->count] = strdup(name);
    if (!more[v->count]) return -1;
    v->count++;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void vj_ckpt_view_close(vj_ckpt_view *v)
{
    for (int i = 0; i < v->count; i++) free(v->names[i]);
    free(v->names);
    free(v->staging);
    if (v->file >= 0) H5Fclose(v->file); /* only read */
    if (v->fd >= 0) (void)close(v->fd);  /* likewise */
}

vj_status vj_ckpt_view_open(vj_ckpt_view *v, const char *path)
{
    *v = (vj_ckpt_view){.path = path, .file = H5I_INVALID_HID, .fd = -1};
    VJ_TRY(vj_h5_open(&v->file, path, VJ_CKPT_FORMAT, VJ_CKPT_VERSION));
    v->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (v->fd < 0) {
        vj_status status = vj_raise(VJ_ERR_IO, "open %s", path);
        vj_ckpt_view_close(v);
        return status;
    }
    if (H5Lvisit(v->file, H5_INDEX_NAME, H5_ITER_INC, collect, v) < 0) {
        vj_status status = vj_raise_h5("list the tensors of %s", path);
        vj_ckpt_view_close(v);
        return status;
    }
    if (v->count > 0) qsort(v->names, (size_t)v->count, sizeof *v->names, by_name);
    return VJ_OK;
}

vj_status vj_ckpt_view_tensor(vj_ckpt_view *v, const char *name, vj_ckpt_source *source)
{
    VJ_TRY(vj_ckpt_source_open(source, v->file, v->fd, v->path, name));
    int64_t bytes = vj_ckpt_staging_bytes(&source->tensor, 1);
    if (bytes > v->staging_bytes) {
        free(v->staging);
        v->staging = vj_calloc(bytes, 1);
        v->staging_bytes = v->staging ? bytes : 0;
    }
    if (v->staging) return VJ_OK;
    vj_ckpt_source_close(source);
    return vj_raise(VJ_ERR_MEMORY, "no memory to read %s of %s", name, v->path);
}

/* ------------------------------------------------------------------------------------------------ verify */

static vj_status verify_tensor(vj_ckpt_view *v, const char *name, int64_t *blocks, int64_t *damaged)
{
    vj_ckpt_source source;
    VJ_TRY(vj_ckpt_view_tensor(v, name, &source));
    vj_status status = VJ_OK;
    for (int64_t at = 0, next; status == VJ_OK && at < source.tensor.last; at = next) {
        next = vj_ckpt_next(&source.tensor, at, source.tensor.last);
        status = vj_ckpt_source_read(&source, at, next, v->staging, damaged);
    }
    *blocks += source.blocks;
    vj_ckpt_source_close(&source);
    return status;
}

static vj_status verify(const char *path, int64_t *blocks, int64_t *damaged)
{
    vj_ckpt_view v;
    vj_ckpt_state state;
    *blocks = *damaged = 0;
    VJ_TRY(vj_ckpt_view_open(&v, path));
    vj_status status = vj_ckpt_get_state(v.file, path, &state);
    vj_ckpt_state_release(&state);
    vj_progress_line line = vj_progress_line_begin();
    for (int i = 0; i < v.count && status == VJ_OK; i++) {
        status = verify_tensor(&v, v.names[i], blocks, damaged);
        vj_progress_line_log(&line, path, (double)(i + 1) / (double)v.count, vj_now());
    }
    vj_ckpt_view_close(&v);
    return status;
}

vj_status vj_ckpt_verify(const char *path, int64_t *blocks, int64_t *damaged)
{
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = verify(path, blocks, damaged);
    }
    H5E_END_TRY
    return status;
}

/* ------------------------------------------------------------------------------------------------ print */

static vj_status print_tensors(vj_ckpt_view *v, FILE *out)
{
    int64_t elements = 0, bytes = 0, blocks = 0;
    for (int i = 0; i < v->count; i++) {
        vj_ckpt_source source;
        char dims[128];
        VJ_TRY(vj_ckpt_source_open(&source, v->file, v->fd, v->path, v->names[i]));
        vj_ckpt_dims_text(&source.tensor, dims, sizeof dims);
        fprintf(out, "    %-64s %s%s\n", v->names[i], dims, source.tensor.type == VJ_CKPT_BF16 ? " bf16" : "");
        bytes += source.tensor.last * vj_ckpt_element_bytes(source.tensor.type);
        elements += source.tensor.last;
        blocks += source.blocks;
        vj_ckpt_source_close(&source);
    }
    fprintf(out, "  %d tensors, %lld elements, %.1f MiB, %lld blocks\n", v->count, (long long)elements,
            (double)bytes / (1 << 20), (long long)blocks);
    return VJ_OK;
}

static vj_status print_origin(vj_ckpt_view *v, FILE *out)
{
    char *origin;
    VJ_TRY(vj_h5_get_text(v->file, v->path, "origin", &origin));
    fprintf(out, "  origin     %s\n", origin);
    free(origin);
    return VJ_OK;
}

static vj_status print_view(vj_ckpt_view *v, FILE *out)
{
    vj_ckpt_state state;
    VJ_TRY(vj_ckpt_get_state(v->file, v->path, &state));
    fprintf(out, "%s: checkpoint\n  step       %lld\n  samples    %lld\n  seed       %lld\n  bad steps  %lld\n",
            v->path, (long long)state.step, (long long)state.samples, (long long)state.seed,
            (long long)state.bad_steps);
    if (state.rollbacks > 0)
        fprintf(out, "  rollbacks  %lld, %lld samples skipped\n", (long long)state.rollbacks,
                (long long)state.skipped_samples);
    fprintf(out, "  clips      fingerprint %016llx\n", (unsigned long long)state.store_fingerprint);
    vj_ckpt_print_architecture(&state.architecture, out);
    vj_status status = vj_h5_print_provenance(v->file, v->path, out);
    if (status == VJ_OK && H5Aexists(v->file, "origin") > 0) status = print_origin(v, out);
    if (status == VJ_OK) {
        fprintf(out, "  tensors\n");
        status = print_tensors(v, out);
    }
    if (status == VJ_OK) fprintf(out, "  configuration\n%s", state.config);
    vj_ckpt_state_release(&state);
    return status;
}

static vj_status print(const char *path, FILE *out)
{
    vj_ckpt_view v;
    VJ_TRY(vj_ckpt_view_open(&v, path));
    vj_status status = print_view(&v, out);
    vj_ckpt_view_close(&v);
    return status;
}

vj_status vj_ckpt_print(const char *path, FILE *out)
{
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = print(path, out);
    }
    H5E_END_TRY
    return status;
}

/* ------------------------------------------------------------------------------------------------ compare */

static void compare_numbers(FILE *out, const char *name, int64_t a, int64_t b)
{
    if (a != b) fprintf(out, "state %s: %lld, %lld\n", name, (long long)a, (long long)b);
}

static vj_status compare_states(vj_ckpt_view *a, vj_ckpt_view *b, FILE *out)
{
    vj_ckpt_state x = {0}, y = {0};
    vj_status status = vj_ckpt_get_state(a->file, a->path, &x);
    if (status == VJ_OK) status = vj_ckpt_get_state(b->file, b->path, &y);
    if (status == VJ_OK) {
        compare_numbers(out, "step", x.step, y.step);
        compare_numbers(out, "samples", x.samples, y.samples);
        compare_numbers(out, "seed", x.seed, y.seed);
        compare_numbers(out, "bad_steps", x.bad_steps, y.bad_steps);
        compare_numbers(out, "rollbacks", x.rollbacks, y.rollbacks);
        compare_numbers(out, "skipped_samples", x.skipped_samples, y.skipped_samples);
        if (x.store_fingerprint != y.store_fingerprint)
            fprintf(out, "state store_fingerprint: %016llx, %016llx\n", (unsigned long long)x.store_fingerprint,
                    (unsigned long long)y.store_fingerprint);
        vj_ckpt_compare_architectures(&x.architecture, &y.architecture, out);
        if (strcmp(x.config, y.config) != 0) fprintf(out, "configurations differ\n");
    }
    vj_ckpt_state_release(&x);
    vj_ckpt_state_release(&y);
    return status;
}

/* Compare two ranges: count numbers that differ in any bit, and find the largest distance (NaN if any is NaN). */
static void compare_values(const float *a, const float *b, int64_t count, int64_t *unequal, double *largest)
{
    if (memcmp(a, b, (size_t)count * sizeof *a) == 0) return;
    for (int64_t i = 0; i < count; i++) {
        if (memcmp(&a[i], &b[i], sizeof *a) == 0) continue;
        double distance = fabs((double)a[i] - (double)b[i]);
        ++*unequal;
        if (isnan(distance) || distance > *largest) *largest = distance; /* nothing is larger than NaN */
    }
}

static vj_status compare_sources(vj_ckpt_view *a, vj_ckpt_view *b, const vj_ckpt_source *x, const vj_ckpt_source *y,
                                 FILE *out, int *differ)
{
    const vj_ckpt_tensor *s = &x->tensor, *t = &y->tensor;
    if (s->ndim != t->ndim || memcmp(s->dim, t->dim, (size_t)s->ndim * sizeof s->dim[0]) != 0) {
        char left[128], right[128];
        vj_ckpt_dims_text(s, left, sizeof left);
        vj_ckpt_dims_text(t, right, sizeof right);
        fprintf(out, "%s: dimensions %s, %s\n", s->name, left, right);
        *differ = 1;
        return VJ_OK;
    }
    int64_t unequal = 0, damaged = 0;
    double largest = 0;
    for (int64_t at = 0, next; at < s->last; at = next) {
        next = vj_ckpt_next(s, at, s->last);
        VJ_TRY(vj_ckpt_source_read(x, at, next, a->staging, &damaged));
        VJ_TRY(vj_ckpt_source_read(y, at, next, b->staging, &damaged));
        if (damaged > 0) return VJ_ERR_FORMAT;
        compare_values(a->staging, b->staging, next - at, &unequal, &largest);
    }
    *differ = unequal > 0;
    if (unequal > 0)
        fprintf(out, "%s: %lld of %lld elements differ, by at most %.3g\n", s->name, (long long)unequal,
                (long long)s->last, largest);
    return VJ_OK;
}

static vj_status compare_tensor(vj_ckpt_view *a, vj_ckpt_view *b, const char *name, FILE *out, int *differ)
{
    vj_ckpt_source x, y;
    VJ_TRY(vj_ckpt_view_tensor(a, name, &x));
    vj_status status = vj_ckpt_view_tensor(b, name, &y);
    if (status == VJ_OK) {
        status = compare_sources(a, b, &x, &y, out, differ);
        vj_ckpt_source_close(&y);
    }
    vj_ckpt_source_close(&x);
    return status;
}

/* Both lists of names are sorted, so merging them finds the tensors that one of them lacks. */
static vj_status compare_views(vj_ckpt_view *a, vj_ckpt_view *b, FILE *out, int64_t *different)
{
    int64_t equal = 0;
    vj_progress_line line = vj_progress_line_begin();
    *different = 0;
    VJ_TRY(compare_states(a, b, out));
    for (int i = 0, j = 0; i < a->count || j < b->count;) {
        int order = i == a->count ? 1 : j == b->count ? -1 : strcmp(a->names[i], b->names[j]);
        int differ = 1;
        if (order < 0)
            fprintf(out, "%s: only in %s\n", a->names[i], a->path);
        else if (order > 0)
            fprintf(out, "%s: only in %s\n", b->names[j], b->path);
        else
            VJ_TRY(compare_tensor(a, b, a->names[i], out, &differ));
        i += order <= 0;
        j += order >= 0;
        *different += differ;
        equal += !differ;
        vj_progress_line_log(&line, a->path, (double)(i + j) / (double)(a->count + b->count), vj_now());
    }
    fprintf(out, "%lld tensors equal, %lld different\n", (long long)equal, (long long)*different);
    return VJ_OK;
}

static vj_status compare(const char *path_a, const char *path_b, FILE *out, int64_t *different)
{
    vj_ckpt_view a, b;
    VJ_TRY(vj_ckpt_view_open(&a, path_a));
    vj_status status = vj_ckpt_view_open(&b, path_b);
    if (status == VJ_OK) {
        status = compare_views(&a, &b, out, different);
        vj_ckpt_view_close(&b);
    }
    vj_ckpt_view_close(&a);
    return status;
}

vj_status vj_ckpt_compare(const char *a, const char *b, FILE *out, int64_t *different)
{
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = compare(a, b, out, different);
    }
    H5E_END_TRY
    return status;
}
