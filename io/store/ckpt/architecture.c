/*
 * The architecture of a checkpoint's encoder: attributes of the group /architecture, described by the rows of one
 * table.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/inner.h"

typedef enum { TEXT, NUMBER, REAL } value_type;

#define FIELD(type, member, words, of_clip)                                                                            \
    {                                                                                                                  \
#member, words, offsetof(vj_ckpt_architecture, member), type, of_clip                                          \
    }

static const struct {
    const char *name, *words; /* name of the attribute; name in messages: the setting, if there is one */
    size_t at;
    value_type type;
    bool of_clip; /* a property of the clips in training, not of the encoder itself */
} fields[] = {
    FIELD(TEXT, kind, "architecture", false),
    FIELD(NUMBER, width, "model.width", false),
    FIELD(NUMBER, depth, "model.depth", false),
    FIELD(NUMBER, heads, "model.heads", false),
    FIELD(NUMBER, hidden, "hidden width (model.mlp_ratio times model.width)", false),
    FIELD(NUMBER, patch, "model.patch", false),
    FIELD(NUMBER, tubelet, "model.tubelet", false),
    FIELD(NUMBER, channels, "channels", false),
    FIELD(NUMBER, prefix_tokens, "prefix tokens", false),
    FIELD(TEXT, positions, "positions", false),
    FIELD(NUMBER, uniform_power, "model.uniform_power", false),
    FIELD(REAL, eps, "eps", false),
    FIELD(NUMBER, frames, "data.frames", true),
    FIELD(NUMBER, height, "data.crop (height)", true),
    FIELD(NUMBER, width_px, "data.crop (width)", true),
};
enum { FIELDS = sizeof fields / sizeof fields[0] };

static const void *value_of(const vj_ckpt_architecture *a, int field)
{
    return (const char *)a + fields[field].at;
}

/* Format a field's value. Returns `text`. */
static const char *show(const vj_ckpt_architecture *a, int field, char text[32])
{
    const void *value = value_of(a, field);
    if (fields[field].type == TEXT)
        snprintf(text, 32, "%s", (const char *)value);
    else if (fields[field].type == NUMBER)
        snprintf(text, 32, "%lld", (long long)*(const int64_t *)value);
    else
        snprintf(text, 32, "%g", *(const double *)value);
    return text;
}

static bool same(const vj_ckpt_architecture *a, const vj_ckpt_architecture *b, int field)
{
    const void *x = value_of(a, field), *y = value_of(b, field);
    if (fields[field].type == TEXT) return strcmp(x, y) == 0;
    return memcmp(x, y, sizeof(int64_t)) == 0; /* a double has the same size */
}

vj_status vj_ckpt_check_architecture(const char *path, const vj_ckpt_architecture *has,
                                     const vj_ckpt_architecture *want)
{
    char found[32], expected[32];
    for (int i = 0; i < FIELDS; i++)
        if (!same(has, want, i) && (!fields[i].of_clip || strcmp(has->positions, "learned") == 0))
            return vj_raise(VJ_ERR_FORMAT, "%s holds an encoder with %s %s, the configuration says %s", path,
                            fields[i].words, show(has, i, found), show(want, i, expected));
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ in the file */

static vj_status put(hid_t group, const vj_ckpt_architecture *a)
{
    vj_status status = VJ_OK;
    for (int i = 0; i < FIELDS && status == VJ_OK; i++) {
        const void *value = value_of(a, i);
        if (fields[i].type == TEXT)
            status = vj_h5_put_text(group, fields[i].name, value);
        else if (fields[i].type == NUMBER)
            status = vj_h5_put_i64(group, fields[i].name, *(const int64_t *)value);
        else
            status = vj_h5_put_f64(group, fields[i].name, *(const double *)value);
    }
    return status;
}

vj_status vj_ckpt_put_architecture(hid_t file, const char *path, const vj_ckpt_architecture *a)
{
    if (!*a->kind) return VJ_OK;
    hid_t group = H5Gcreate2(file, "architecture", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (group < 0) return vj_raise_h5("create group architecture in %s", path);
    vj_status status = put(group, a);
    if (H5Gclose(group) < 0 && status == VJ_OK) status = vj_raise_h5("close group architecture in %s", path);
    return status;
}

static vj_status get_text(hid_t group, const char *path, const char *name, char value[VJ_CKPT_WORD])
{
    char *text;
    VJ_TRY(vj_h5_get_text(group, path, name, &text));
    const bool fits = *text && strlen(text) < VJ_CKPT_WORD;
    if (fits) strcpy(value, text);
    vj_status status =
        fits ? VJ_OK
             : vj_raise(VJ_ERR_FORMAT, "%s: architecture: %s is '%.100s', a word of 1 to %d letters expected", path,
                        name, text, VJ_CKPT_WORD - 1);
    free(text);
    return status;
}

static vj_status get(hid_t group, const char *path, vj_ckpt_architecture *a)
{
    vj_status status = VJ_OK;
    for (int i = 0; i < FIELDS && status == VJ_OK; i++) {
        void *value = (char *)a + fields[i].at;
        if (fields[i].type == TEXT)
            status = get_text(group, path, fields[i].name, value);
        else if (fields[i].type == NUMBER)
            status = vj_h5_get_i64(group, path, fields[i].name, value);
        else
            status = vj_h5_get_f64(group, path, fields[i].name, value);
    }
    return status;
}

vj_status vj_ckpt_get_architecture(hid_t file, const char *path, vj_ckpt_architecture *a)
{
    *a = (vj_ckpt_architecture){0};
    if (H5Lexists(file, "architecture", H5P_DEFAULT) <= 0) return VJ_OK;
    hid_t group = H5Gopen2(file, "architecture", H5P_DEFAULT);
    if (group < 0) return vj_raise(VJ_ERR_FORMAT, "%s: architecture is no group", path);
    vj_status status = get(group, path, a);
    H5Gclose(group); /* only read */
    return status;
}

/* ------------------------------------------------------------------------------------------------ for people */

void vj_ckpt_print_architecture(const vj_ckpt_architecture *a, FILE *out)
{
    char text[32];
    if (!*a->kind) {
        fprintf(out, "  encoder    not described, the file is older than that: its configuration tells\n");
        return;
    }
    fprintf(out, "  encoder    %s", a->kind);
    for (int i = 1; i < FIELDS; i++) fprintf(out, ", %s %s", fields[i].name, show(a, i, text));
    fprintf(out, "\n");
}

void vj_ckpt_compare_architectures(const vj_ckpt_architecture *a, const vj_ckpt_architecture *b, FILE *out)
{
    char x[32], y[32];
    for (int i = 0; i < FIELDS; i++)
        if (!same(a, b, i)) fprintf(out, "architecture %s: %s, %s\n", fields[i].name, show(a, i, x), show(b, i, y));
}
