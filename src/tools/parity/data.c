/* Checks data.h5: the choice of a clip's frames, and crop, resize, mirror and normalise. */
#include <stdio.h>
#include <string.h>

#include "feed/crop.h"
#include "parity/kinds.h"
#include "video/frames.h"

static void check_clip_frames(vj_fixture *f, const char *name)
{
    char group[VJ_FIXTURE_NAME + 16];
    snprintf(group, sizeof group, "clip_frames/%s", name);
    int available, frames, step, segments, overlap;
    if (!vj_fixture_ints(f, group, "available", &available, 1) || !vj_fixture_ints(f, group, "frames", &frames, 1) ||
        !vj_fixture_ints(f, group, "step", &step, 1) || !vj_fixture_ints(f, group, "segments", &segments, 1) ||
        !vj_fixture_ints(f, group, "overlap", &overlap, 1))
        return;
    const vj_values *starts = vj_fixture_array(f, "%s/starts", group);
    const vj_values *want = vj_fixture_array(f, "%s/indices", group);
    if (!starts || !want) return;
    enum { MOST = 1 << 16 }; /* of a fixture, which is small */
    if (available < 1 || frames < 1 || frames > MOST || step < 1 || segments < 1 || segments > MOST) {
        char reason[VJ_FIXTURE_NAME];
        snprintf(reason, sizeof reason, "found available %d, frames %d, step %d, segments %d, expected 1 to %d",
                 available, frames, step, segments, MOST);
        vj_fixture_fail(f, group, reason);
        return;
    }
    if (!vj_fixture_expect_count(f, starts, segments)) return;
    const int64_t count = (int64_t)segments * frames;
    int64_t *offsets = vj_fixture_take(f, segments * (int64_t)sizeof *offsets);
    int64_t *indices = vj_fixture_take(f, count * (int64_t)sizeof *indices);
    double *got = vj_fixture_take(f, count * (int64_t)sizeof *got);
    for (int i = 0; i < segments; i++) offsets[i] = (int64_t)starts->value[i];
    vj_clip_frames(indices, available, frames, step, segments, overlap, offsets);
    for (int64_t i = 0; i < count; i++) got[i] = (double)indices[i];
    vj_fixture_compare(f, want->name, got, count, want, vj_within(0));
}

static void check_crop(vj_fixture *f, const vj_values *frames, const char *name)
{
    static const double mean[3] = {0.485, 0.456, 0.406}, std[3] = {0.229, 0.224, 0.225};
    const vj_values *want = vj_fixture_array(f, "augment/%s", name);
    int box[4], flip, size;
    if (!want || !vj_fixture_ints(f, want->name, "box_top_left_height_width", box, 4) ||
        !vj_fixture_ints(f, want->name, "flip", &flip, 1) || !vj_fixture_ints(f, want->name, "size", &size, 1))
        return;
    const int T = (int)frames->dim[0], height = (int)frames->dim[1], width = (int)frames->dim[2];
    if (box[0] < 0 || box[1] < 0 || box[0] + box[2] > height || box[1] + box[3] > width) {
        vj_fixture_fail(f, want->name, "found a box that leaves the frame, expected one inside it");
        return;
    }
    const int64_t count = (int64_t)3 * T * size * size;
    const vj_crop crop = {.top = box[0], .left = box[1], .height = box[2], .width = box[3], .flip = flip};
    uint8_t *bytes = vj_fixture_take(f, frames->count);
    float *out = vj_fixture_take(f, count * (int64_t)sizeof *out);
    for (int64_t i = 0; i < frames->count; i++) bytes[i] = (uint8_t)frames->value[i];
    vj_host_crop(out, bytes, &(vj_clip_view){0, height, width, crop}, T, size, mean, std);
    vj_fixture_compare(f, want->name, vj_fixture_widen(f, out, count), count, want, vj_within(1e-5));
}

vj_status vj_parity_data(vj_fixture *f)
{
    const vj_names cases = vj_fixture_children(f, "clip_frames"), crops = vj_fixture_children(f, "augment");
    for (int i = 0; i < cases.count; i++) check_clip_frames(f, cases.name[i]);
    const vj_values *frames = vj_fixture_array(f, "augment/frames");
    if (!frames) return VJ_OK;
    if (frames->ndim != 4 || frames->dim[3] != 3) {
        vj_fixture_fail(f, frames->name, "found another shape, expected [T, H, W, 3]");
        return VJ_OK;
    }
    for (int i = 0; i < crops.count; i++)
        if (strcmp(crops.name[i], "frames") != 0) check_crop(f, frames, crops.name[i]);
    return VJ_OK;
}
