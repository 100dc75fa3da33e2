/* Reads the passport in index.h5. */
#include "clips/passport.h"

#include <stdlib.h>

#include "clips/store.h"

static vj_status get_group(hid_t group, const char *path, vj_clips_passport *p)
{
    int32_t verdicts;
    VJ_TRY(
        vj_clips_get_names(group, path, "verdict_names", p->verdict[0], VJ_MAX_VERDICTS, VJ_VERDICT_NAME, &verdicts));
    p->verdicts = verdicts;
    const hsize_t dims[2] = {(hsize_t)p->datasets, (hsize_t)p->verdicts};
    VJ_TRY(vj_clips_get(group, path, "files", H5T_NATIVE_INT64, 2, dims, p->files));
    VJ_TRY(vj_clips_get(group, path, "clips", H5T_NATIVE_INT64, 2, dims, p->clips));
    VJ_TRY(vj_h5_get_i64(group, path, "duplicates", &p->duplicates));
    VJ_TRY(vj_h5_get_i64(group, path, "held_out", &p->held_out));
    VJ_TRY(vj_h5_get_u64(group, path, "manifests", &p->manifests));
    VJ_TRY(vj_h5_get_u64(group, path, "exclusions", &p->exclusions));
    return vj_h5_get_text(group, path, "summary", &p->summary);
}

static vj_status get(hid_t file, const char *path, vj_clips_passport *p)
{
    VJ_TRY(vj_h5_get_text(file, path, "code", &p->code));
    VJ_TRY(vj_h5_get_text(file, path, "config", &p->config));
    p->there = H5Lexists(file, "/passport", H5P_DEFAULT) > 0;
    if (!p->there) return VJ_OK;
    hid_t group = H5Gopen2(file, "/passport", H5P_DEFAULT);
    if (group < 0) return vj_raise_h5("%s: cannot open /passport", path);
    vj_status status = get_group(group, path, p);
    H5Gclose(group); /* only read */
    return status;
}

vj_status vj_clips_passport_read(vj_clips_passport **passport, const char *dir)
{
    char path[VJ_CLIPS_FILE_PATH];
    vj_clips_header layout;
    hid_t file;
    vj_clips_passport *p = *passport = vj_calloc(1, sizeof *p);
    if (!p) return vj_raise(VJ_ERR_MEMORY, "no memory for a passport");
    vj_clips_index_path(path, dir);
    VJ_TRY(vj_clips_open_file(&file, path, &layout));
    p->datasets = layout.dataset_count;
    for (int d = 0; d < p->datasets; d++) snprintf(p->dataset[d], sizeof p->dataset[d], "%s", layout.dataset_names[d]);
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = get(file, path, p);
    }
    H5E_END_TRY
    H5Fclose(file); /* only read */
    return status;
}

void vj_clips_passport_free(vj_clips_passport *p)
{
    if (!p) return;
    free(p->summary);
    free(p->code);
    free(p->config);
    free(p);
}
