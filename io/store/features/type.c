/* The types that features are stored as. */
#include <string.h>

#include "features/inner.h"
#include "h5/h5.h"

static const char *const names[] = {[VJ_FEATURES_F32] = "f32", [VJ_FEATURES_F16] = "f16", [VJ_FEATURES_BF16] = "bf16"};

const char *vj_features_type_name(vj_features_type type)
{
    return names[type];
}

vj_features_type vj_features_type_of(const char *name)
{
    for (vj_features_type type = VJ_FEATURES_F16; type <= VJ_FEATURES_BF16; type++)
        if (strcmp(name, names[type]) == 0) return type;
    return VJ_FEATURES_F32;
}

int64_t vj_features_type_bytes(vj_features_type type)
{
    return type == VJ_FEATURES_F32 ? 4 : 2;
}

hid_t vj_features_file_type(vj_features_type type)
{
    switch (type) {
    case VJ_FEATURES_F16:
        return vj_h5_short_float(5);
    case VJ_FEATURES_BF16:
        return vj_h5_short_float(8);
    default:
        return H5Tcopy(H5T_IEEE_F32LE);
    }
}
