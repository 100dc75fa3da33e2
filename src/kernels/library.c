/* The list of libraries for products in this build. */
#include "kernels/library.h"

#include <string.h>

static const vj_library *const libraries[] = {
#ifdef VJ_ONEDNN
    &vj_onednn,
#endif
#ifdef VJ_CBLAS
    &vj_cblas,
#endif
    NULL,
};

static const struct {
    const char *name, *option;
} known[] = {{"onednn", "VJEPA_ONEDNN"}, {"cblas", "VJEPA_CBLAS"}};
enum { KNOWN = sizeof known / sizeof known[0] };

const vj_library *vj_library_at(int i)
{
    return i < (int)(sizeof libraries / sizeof libraries[0]) ? libraries[i] : NULL;
}

bool vj_library_known(const char *name)
{
    for (int i = 0; i < KNOWN; i++)
        if (strcmp(known[i].name, name) == 0) return true;
    return false;
}

vj_status vj_library_find(const vj_library **library, const char *name)
{
    for (int i = 0; (*library = vj_library_at(i)) != NULL; i++)
        if (strcmp((*library)->name, name) == 0) return VJ_OK;
    for (int i = 0; i < KNOWN; i++)
        if (strcmp(known[i].name, name) == 0)
            return vj_raise(VJ_ERR_USAGE, "products by %s: not in this build; configure it with cmake -D%s=ON", name,
                            known[i].option);
    VJ_ASSERT(!"vj_library_find: a library's name");
    return VJ_ERR_USAGE;
}
