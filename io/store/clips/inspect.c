/* Prints the contents of a store. Its integrity is checked in verify.c. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/sort.h"
#include "clips/passport.h"
#include "clips/store.h"
#include "parallel/parallel.h"

/* ------------------------------------------------------------------------------------------------ clips */

/* Return how often the value at index `at` of the sorted values [n] occurs from there on. */
static int64_t run_length(const int64_t *values, int64_t n, int64_t at)
{
    int64_t next = at;
    while (next < n && values[next] == values[at]) next++;
    return next - at;
}

static void print_geometries(const vj_clips *clips, int64_t *values, FILE *out)
{
    for (int64_t i = 0; i < clips->count; i++)
        values[i] = (int64_t)clips->shape[i].height_less_1 << 16 | clips->shape[i].width_less_1;
    vj_sort_integers(values, clips->count);
    for (int64_t i = 0, n; i < clips->count; i += n) {
        n = run_length(values, clips->count, i);
        fprintf(out, "  %" PRId64 " x %" PRId64 " pixels: %" PRId64 " clips\n", (values[i] >> 16) + 1,
                (values[i] & 0xffff) + 1, n);
    }
}

/* Print the class names of a label; if there are many, only the first ones. */
static void print_classes(const vj_clips *clips, int label, FILE *out)
{
    enum { SHOWN = 1000 };
    const vj_clips_classes *classes = &clips->classes[label];
    if (classes->count == 0) return;
    fprintf(out, "label %s, names of its %" PRId64 " classes:", clips->layout.label_names[label], classes->count);
    for (int64_t i = 0, shown = 0; i < classes->count && shown < SHOWN; i++)
        if (*vj_clips_classes_name(classes, i))
            fprintf(out, "%s %" PRId64 " %s", shown++ ? "," : "", i, vj_clips_classes_name(classes, i));
    fprintf(out, "%s\n", classes->count > SHOWN ? ", ... (all: /classes in index.h5)" : "");
    fprintf(out, "label %s, digest of these names and numbers: %016" PRIx64 "\n", clips->layout.label_names[label],
            vj_clips_classes_digest(classes));
}

static void print_labels(const vj_clips *clips, int64_t *values, FILE *out)
{
    const int labels = clips->layout.label_count;
    for (int l = 0; l < labels; l++) {
        for (int64_t i = 0; i < clips->count; i++) values[i] = clips->label[i * labels + l];
        vj_sort_integers(values, clips->count);
        fprintf(out, "label %s (value:clips):", clips->layout.label_names[l]);
        for (int64_t i = 0, n; i < clips->count; i += n) {
            n = run_length(values, clips->count, i);
            fprintf(out, " %" PRId64 ":%" PRId64, values[i], n);
        }
        fprintf(out, "\n");
        print_classes(clips, l, out);
    }
}

static void print_datasets(const vj_clips *clips, FILE *out)
{
    int64_t count[VJ_MAX_DATASETS] = {0};
    for (int64_t i = 0; i < clips->count; i++) count[clips->dataset[i]]++;
    for (int d = 0; d < clips->layout.dataset_count; d++)
        fprintf(out, "data set %s: %" PRId64 " clips\n", clips->layout.dataset_names[d], count[d]);
}

static vj_status print_clips(const vj_clips *clips, const char *path, FILE *out)
{
    int64_t bytes = 0, records = 0;
    int64_t *values = vj_calloc(clips->count, sizeof *values);
    if (!values) return vj_raise(VJ_ERR_MEMORY, "no memory for the labels of %" PRId64 " clips", clips->count);
    for (int64_t s = 0; s < clips->shards; s++) bytes += clips->shard[s].bytes;
    for (int64_t i = 0; i < clips->count; i++) records += clips->bytes[i];
    fprintf(out, "clip store %s\n", path);
    fprintf(out, "clips: %" PRId64 " of %d frames, %" PRId64 " shards, %.1f MB, of which records %.1f MB\n",
            clips->count, clips->layout.frames, clips->shards, (double)bytes * 1e-6, (double)records * 1e-6);
    print_geometries(clips, values, out);
    print_datasets(clips, out);
    print_labels(clips, values, out);
    free(values);
    fprintf(out, "fingerprint: %016" PRIx64 "\n", clips->fingerprint);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ the index */

static vj_status print_codec(hid_t file, const char *path, const vj_clips_header *layout, int64_t count, FILE *out)
{
    const vj_codec_settings *codec = &layout->codec;
    if (codec->codec == VJ_CODEC_RAW) {
        fprintf(out, "codec: raw\n");
        return VJ_OK;
    }
    const hsize_t n = (hsize_t)count;
    float *psnr = vj_calloc(count, sizeof *psnr);
    vj_status status = psnr ? vj_clips_get(file, path, "/clips/psnr", H5T_NATIVE_FLOAT, 1, &n, psnr)
                            : vj_raise(VJ_ERR_MEMORY, "no memory for a column of %" PRId64 " clips", count);
    double worst = INFINITY, sum = 0;
    int64_t lossy = 0;
    for (int64_t i = 0; i < count && status == VJ_OK; i++) {
        if (psnr[i] < worst) worst = psnr[i];
        if (isfinite(psnr[i])) sum += psnr[i], lossy++;
    }
    free(psnr);
    VJ_TRY(status);
    fprintf(out, "codec: jpeg, quality %d, chroma %d", codec->quality, codec->chroma);
    if (lossy > 0) fprintf(out, ": PSNR %.2f dB on average, %.2f at worst", sum / (double)lossy, worst);
    fprintf(out, "\n");
    return VJ_OK;
}

static void print_passport(const vj_clips_passport *p, FILE *out)
{
    if (!p->there) {
        fprintf(out, "passport: none\n");
        return;
    }
    fprintf(out,
            "passport: %" PRId64 " files dropped as duplicates, %" PRId64 " as held out; digests of manifests "
            "%016" PRIx64 ", of exclusions %016" PRIx64 "\n",
            p->duplicates, p->held_out, p->manifests, p->exclusions);
    for (int d = 0; d < p->datasets; d++)
        for (int v = 0; v < p->verdicts; v++) {
            const int at = d * p->verdicts + v;
            if (p->files[at] > 0)
                fprintf(out, "  %-16s %-14s %10" PRId64 " files %10" PRId64 " clips\n", p->dataset[d], p->verdict[v],
                        p->files[at], p->clips[at]);
        }
    fprintf(out, "%s\n", p->summary);
}

static vj_status print_index(const char *dir, int64_t count, FILE *out)
{
    char path[VJ_CLIPS_FILE_PATH];
    vj_clips_header layout;
    vj_clips_passport *passport;
    hid_t file;
    vj_clips_index_path(path, dir);
    VJ_TRY(vj_clips_open_file(&file, path, &layout));
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = print_codec(file, path, &layout, count, out);
    }
    H5E_END_TRY
    H5Fclose(file); /* only read */
    VJ_TRY(status);
    status = vj_clips_passport_read(&passport, dir);
    if (status == VJ_OK) {
        print_passport(passport, out);
        fprintf(out, "packed by: %s\nconfig:\n%s\n", passport->code, passport->config);
    }
    vj_clips_passport_free(passport);
    return status;
}

vj_status vj_clips_print(const char *path, FILE *out)
{
    vj_strings paths;
    vj_clips *clips;
    VJ_TRY(vj_strings_one(&paths, path));
    VJ_TRY(vj_clips_open(&clips, &paths, VJ_ALONE));
    vj_status status = print_clips(clips, path, out);
    if (status == VJ_OK) status = print_index(path, clips->count, out);
    vj_clips_close(clips);
    return status;
}
