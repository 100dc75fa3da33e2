/* Checks image_ops.h5: operations on a picture, and resizing with antialiasing, byte for byte. */
#include <stdio.h>
#include <string.h>

#include "feed/picture.h"
#include "parity/kinds.h"

typedef struct {
    vj_fixture *f;
    int height, width;
    uint8_t *picture, fill[3];
} pictures;

/* Read a dataset u8 [H, W, 3]. NULL if it has another shape, which is counted. */
static const vj_values *read_picture(vj_fixture *f, const char *name)
{
    const vj_values *array = vj_fixture_array(f, "%s", name);
    if (array && array->ndim == 3 && array->dim[2] == 3 && array->count > 0) return array;
    if (array) vj_fixture_fail(f, name, "found another shape, expected [H, W, 3]");
    return NULL;
}

static void compare(vj_fixture *f, const vj_values *want, const uint8_t *got)
{
    double *values = vj_fixture_take(f, want->count * (int64_t)sizeof *values);
    for (int64_t i = 0; i < want->count; i++) values[i] = got[i];
    vj_fixture_compare(f, want->name, values, want->count, want, vj_within(0));
}

/* Return the operation with the longest matching name: "solarize_add_33" is solarize_add, not solarize. */
static int find_op(const char *name)
{
    int best = -1;
    size_t longest = 0;
    for (int op = 0; op < VJ_PICTURE_OPS; op++) {
        const char *known = vj_picture_op_name((vj_picture_op)op);
        const size_t length = strlen(known);
        if (length <= longest || strncmp(name, known, length) != 0 || (name[length] && name[length] != '_')) continue;
        best = op;
        longest = length;
    }
    return best;
}

static void check_op(const pictures *p, const char *name)
{
    char path[VJ_FIXTURE_NAME + 16];
    double argument;
    const int op = find_op(name);
    snprintf(path, sizeof path, "f64/ops/%s", name);
    const vj_values *want = read_picture(p->f, path);
    if (!want || !vj_fixture_numbers(p->f, path, "argument", &argument, 1)) return;
    if (op < 0 || want->dim[0] != p->height || want->dim[1] != p->width) {
        vj_fixture_fail(p->f, path,
                        op < 0 ? "found an operation of this name, expected one of RandAugment's"
                               : "found another size, expected that of inputs/image");
        return;
    }
    uint8_t *got = vj_fixture_take(p->f, want->count);
    vj_picture_apply(got, p->picture, p->height, p->width, (vj_picture_op)op, argument, p->fill,
                     (vj_box){0, 0, p->height, p->width});
    compare(p->f, want, got);
}

static void check_resize(const pictures *p, const char *group, const char *name)
{
    char path[2 * VJ_FIXTURE_NAME];
    int crop[4] = {0, 0, p->width, p->height};
    snprintf(path, sizeof path, "f64/%s/%s", group, name);
    const vj_values *want = read_picture(p->f, path);
    const bool bicubic = strncmp(name, "bicubic", 7) == 0;
    if (!want) return;
    if (!bicubic && strncmp(name, "bilinear", 8) != 0) {
        vj_fixture_fail(p->f, path, "found a filter of this name, expected bicubic or bilinear");
        return;
    }
    if (strcmp(group, "crop_resize") == 0 && !vj_fixture_ints(p->f, path, "crop_x0_y0_x1_y1", crop, 4)) return;
    if (crop[0] < 0 || crop[1] < 0 || crop[2] > p->width || crop[3] > p->height || crop[0] >= crop[2] ||
        crop[1] >= crop[3]) {
        vj_fixture_fail(
            p->f, path,
            "found a crop that is not in the picture, expected 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height");
        return;
    }
    const int height = (int)want->dim[0], width = (int)want->dim[1];
    const vj_resize r = {.filter = bicubic ? VJ_FILTER_BICUBIC : VJ_FILTER_BILINEAR,
                         .from = {crop[1], crop[0], crop[3] - crop[1], crop[2] - crop[0]},
                         .size_height = height,
                         .size_width = width,
                         .window = {0, 0, height, width}};
    uint8_t *got = vj_fixture_take(p->f, want->count);
    vj_picture_resize(got, p->picture, p->width, &r, vj_fixture_take(p->f, vj_picture_resize_scratch(&r)));
    compare(p->f, want, got);
}

vj_status vj_parity_pictures(vj_fixture *f)
{
    const vj_values *picture = read_picture(f, "inputs/image");
    int fill;
    if (!picture || !vj_fixture_ints(f, "/", "fill", &fill, 1)) return VJ_OK;
    pictures p = {.f = f, .height = (int)picture->dim[0], .width = (int)picture->dim[1]};
    p.picture = vj_fixture_take(f, picture->count);
    for (int64_t i = 0; i < picture->count; i++) p.picture[i] = (uint8_t)picture->value[i];
    memset(p.fill, fill, sizeof p.fill);
    const vj_names ops = vj_fixture_children(f, "f64/ops");
    for (int i = 0; i < ops.count; i++) check_op(&p, ops.name[i]);
    static const char *const groups[] = {"resize", "crop_resize"};
    for (int g = 0; g < 2; g++) {
        char path[VJ_FIXTURE_NAME];
        snprintf(path, sizeof path, "f64/%s", groups[g]);
        const vj_names names = vj_fixture_children(f, path);
        for (int i = 0; i < names.count; i++) check_resize(&p, groups[g], names.name[i]);
    }
    return VJ_OK;
}
