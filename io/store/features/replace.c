/* Decides whether a feature store may replace an existing file. */
#include <string.h>
#include <sys/stat.h>

#include "base/output.h"
#include "features/features.h"
#include "h5/h5.h"
#include "parallel/parallel.h"

/* Check that the features in the file are from an earlier run of the same command. */
static vj_status check_earlier(const char *path, const vj_features_header *layout)
{
    vj_features *f;
    VJ_TRY(vj_features_open(&f, path, VJ_ALONE));
    const vj_features_header *old = vj_features_describe(f);
    vj_status status = VJ_OK;
    if (old->store_fingerprint != layout->store_fingerprint)
        status =
            vj_raise(VJ_ERR_USAGE,
                     "%s holds features of another clip store (%016llx; now %016llx): remove it, or choose another "
                     "name",
                     path, (unsigned long long)old->store_fingerprint, (unsigned long long)layout->store_fingerprint);
    else if (old->encoder_digest == layout->encoder_digest && strcmp(old->preprocessing, layout->preprocessing) != 0)
        status = vj_raise(VJ_ERR_USAGE,
                          "%s holds features of this encoder that were made in another way (%s; now %s): remove it, or "
                          "choose another name",
                          path, old->preprocessing, layout->preprocessing);
    else if (old->encoder_digest != layout->encoder_digest)
        status = vj_raise(VJ_ERR_USAGE,
                          "%s holds features of another encoder (%s, digest %016llx, %s; now %s, digest %016llx, %s): "
                          "remove it, or choose another name",
                          path, old->encoder, (unsigned long long)old->encoder_digest, old->preprocessing,
                          layout->encoder, (unsigned long long)layout->encoder_digest, layout->preprocessing);
    vj_features_close(f);
    return status;
}

vj_status vj_features_may_replace(const char *path, const vj_features_header *layout)
{
    struct stat info;
    char format[64];
    VJ_TRY(vj_output_check_file("--out", path));
    VJ_TRY(vj_clips_check_output("--out", path));
    if (stat(path, &info) != 0) return VJ_OK;
    vj_h5_format(path, format, sizeof format);
    if (strcmp(format, VJ_FEATURES_FORMAT) == 0) return check_earlier(path, layout);
    return vj_raise(VJ_ERR_USAGE, "--out %s: this is %s%s, it is not replaced by features", path,
                    *format ? "a " : "no file of features", format);
}
