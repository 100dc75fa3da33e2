/* Checks that two sources belong together as training and validation, and matches their classes. */
#include <string.h>

#include "source/inner.h"

static vj_status match_representation(const vj_representation *a, const vj_representation *b)
{
    if (a->width != b->width || a->tokens != b->tokens)
        return vj_raise(VJ_ERR_USAGE,
                        "%s has %lld rows of width %d a clip, %s %lld of width %d: these are not training and "
                        "validation features of one encoder",
                        a->origin, (long long)a->tokens, a->width, b->origin, (long long)b->tokens, b->width);
    if (a->digest == 0 || b->digest == 0)
        vj_log("note: %s does not say which weights made it (it is older than this release): that %s is of the same "
               "encoder was not checked",
               a->digest ? b->origin : a->origin, a->digest ? a->origin : b->origin);
    else if (a->digest != b->digest)
        return vj_raise(VJ_ERR_USAGE,
                        "%s and %s are features of different encoders (weights %016llx and %016llx); give validation "
                        "features of the same encoders, in the same order",
                        a->origin, b->origin, (unsigned long long)a->digest, (unsigned long long)b->digest);
    return VJ_OK;
}

/* Renumber validation labels by the classes of training, if both have class names. */
static vj_status match_classes(const vj_source *a, vj_source *b, int l)
{
    const vj_clips_classes *names = a->classes[l], *more = b->classes[l];
    const char *label = a->label_names[l];
    if (names->count == 0 && more->count == 0) return VJ_OK;
    if (names->count == 0 || more->count == 0) {
        vj_log("note: label %s: %s has names of its classes, %s has numbers alone: that they mean the same was not "
               "checked",
               label, (names->count ? a : b)->representation[0].origin,
               (names->count ? b : a)->representation[0].origin);
        return VJ_OK;
    }
    VJ_TRY(vj_clips_copy_classes(&b->joined[l], names));
    VJ_TRY(vj_clips_join_classes(&b->joined[l], more, b->representation[0].origin, label, b->labels + l, b->label_count,
                                 b->clips));
    b->classes[l] = &b->joined[l];
    return VJ_OK;
}

vj_status vj_source_match(const vj_source *a, vj_source *b)
{
    if (a->count != b->count)
        return vj_raise(VJ_ERR_USAGE,
                        "%d representations of the training clips, %d of the validation clips; each "
                        "needs both, in the same order",
                        a->count, b->count);
    for (int i = 0; i < a->count; i++) VJ_TRY(match_representation(&a->representation[i], &b->representation[i]));
    if (*a->preprocessing && *b->preprocessing && strcmp(a->preprocessing, b->preprocessing) != 0)
        return vj_raise(VJ_ERR_USAGE, "clips were prepared otherwise for %s (%s) than for %s (%s)",
                        a->representation[0].origin, a->preprocessing, b->representation[0].origin, b->preprocessing);
    if (a->label_count != b->label_count)
        return vj_raise(VJ_ERR_USAGE, "%s has %d labels a clip, %s %d", a->representation[0].origin, a->label_count,
                        b->representation[0].origin, b->label_count);
    for (int l = 0; l < a->label_count; l++)
        if (strcmp(a->label_names[l], b->label_names[l]) != 0)
            return vj_raise(VJ_ERR_USAGE, "label %d is '%s' in %s, '%s' in %s", l, a->label_names[l],
                            a->representation[0].origin, b->label_names[l], b->representation[0].origin);
    for (int l = 0; l < a->label_count; l++) VJ_TRY(match_classes(a, b, l));
    return VJ_OK;
}
