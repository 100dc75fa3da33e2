/* Verifies and prints a whole feature store. */
#include <stdlib.h>

#include "base/progress.h"
#include "features/inner.h"
#include "h5/h5.h"
#include "parallel/parallel.h"

static vj_status verify(const vj_features *f, int64_t *damaged)
{
    const vj_features_header *layout = &f->layout;
    const int64_t slab = vj_features_slab(f);
    float *out = vj_calloc(slab * layout->tokens * layout->width, sizeof *out);
    vj_status status = out ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to read rows of %s", f->path);
    vj_progress_line line = vj_progress_line_begin();
    for (int64_t row = 0; row < layout->clips && status == VJ_OK; row += slab) {
        vj_progress_line_log(&line, f->path, (double)row / (double)layout->clips, vj_now());
        status = vj_features_check_rows(f, row, layout->clips - row < slab ? layout->clips - row : slab, out, damaged);
    }
    free(out);
    return status;
}

vj_status vj_features_verify(const char *path, int64_t *rows, int64_t *damaged)
{
    vj_features *f;
    *rows = *damaged = 0;
    VJ_TRY(vj_features_open(&f, path, VJ_ALONE));
    *rows = f->layout.clips;
    const vj_status status = verify(f, damaged);
    vj_features_close(f);
    return status;
}

static vj_status print_provenance(const char *path, FILE *out)
{
    hid_t file;
    VJ_TRY(vj_h5_open(&file, path, VJ_FEATURES_FORMAT, VJ_FEATURES_VERSION));
    vj_status status = vj_h5_print_provenance(file, path, out);
    H5Fclose(file); /* only read */
    return status;
}

vj_status vj_features_print(const char *path, FILE *out)
{
    vj_features *f;
    VJ_TRY(vj_features_open(&f, path, VJ_ALONE));
    const vj_features_header *layout = &f->layout;
    fprintf(out, "%s: features\n  clips      %lld, of a store with fingerprint %016llx\n", path,
            (long long)layout->clips, (unsigned long long)layout->store_fingerprint);
    fprintf(out, "  a clip     %lld tokens of width %lld, %s\n", (long long)layout->tokens, (long long)layout->width,
            vj_features_type_name(layout->type));
    if (layout->grid[0] > 0)
        fprintf(out, "  grid       %llu in time, %llu rows, %llu columns\n", (unsigned long long)layout->grid[0],
                (unsigned long long)layout->grid[1], (unsigned long long)layout->grid[2]);
    fprintf(out, "  encoder    %s, digest %016llx\n", layout->encoder, (unsigned long long)layout->encoder_digest);
    fprintf(out, "  input      %s\n", layout->preprocessing[0] ? layout->preprocessing : "not known");
    fprintf(out, "  effective rank %.2f\n  labels    ", f->effective_rank);
    for (int i = 0; i < layout->label_count; i++) {
        fprintf(out, " %s", layout->label_names[i]);
        if (layout->classes[i].count > 0)
            fprintf(out, " (%lld named classes, digest %016llx)", (long long)layout->classes[i].count,
                    (unsigned long long)vj_clips_classes_digest(&layout->classes[i]));
        if (layout->failed[i] > 0)
            fprintf(out, " (%llu damaged clips left out)", (unsigned long long)layout->failed[i]);
    }
    fprintf(out, "\n");
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = print_provenance(path, out);
    }
    H5E_END_TRY
    if (status == VJ_OK) fprintf(out, "  configuration\n%s", layout->config);
    vj_features_close(f);
    return status;
}
