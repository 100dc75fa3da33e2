/* Settles how clips are shown to a frozen encoder, and makes the views. */
#include "feed/eval_views.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clips/clips.h"
#include "feed/augment.h"
#include "feed/picture.h"

/* ------------------------------------------------------------------------------------------------ settings */

static double or_auto(double given, double automatic)
{
    return given == VJ_AUTO ? automatic : given;
}

vj_status vj_eval_views_init(vj_eval_views *views, const vj_config *config, const vj_clips *clips, bool training)
{
    const int stored = vj_clips_frames(clips);
    const bool image = stored == 1, plain = !image && config->evaluate.preset == VJ_PRESET_PAPER;
    *views = (vj_eval_views){.training = training,
                             .image = image,
                             .augment = VJ_AUGMENT_NONE,
                             .views = training || image ? 1 : (int)config->evaluate.views,
                             .stored = stored,
                             .frames = image ? (int)config->evaluate.image_frames : stored,
                             .side = (int)config->data.crop,
                             .short_side = config->evaluate.short_side > 0 ? (int)config->evaluate.short_side
                                                                           : (int)(config->data.crop * 256 / 224),
                             .seed = (uint64_t)config->run.seed};
    memcpy(views->mean, config->data.mean, sizeof views->mean);
    memcpy(views->std, config->data.std, sizeof views->std);
    if (training) {
        views->augment = config->evaluate.augment;
        if (views->augment == VJ_AUGMENT_AUTO)
            views->augment = image ? VJ_AUGMENT_AUTOAUGMENT : plain ? VJ_AUGMENT_NONE : VJ_AUGMENT_RANDAUGMENT;
        views->flip = or_auto(config->evaluate.flip, image || plain ? 0.5 : 0.0);
        views->erasing = or_auto(config->evaluate.erasing, plain ? 0.0 : 0.25);
    }
    if (views->frames != config->data.frames)
        return vj_raise(VJ_ERR_USAGE,
                        "%s %d frames, but the encoder is to see data.frames, %lld: set data.frames to %d, or %s",
                        image ? "images are shown as evaluate.image_frames," : "the store's clips have", views->frames,
                        (long long)config->data.frames, views->frames,
                        image ? "evaluate.image_frames likewise" : "pack the videos with other pack.frames");
    return VJ_OK;
}

uint8_t vj_eval_views_byte(const vj_eval_views *v, int c, double value)
{
    return (uint8_t)lrint(fmin(255.0, fmax(0.0, 255.0 * (value * v->std[c] + v->mean[c]))));
}

void vj_eval_views_describe(const vj_eval_views *v, char *text, size_t bytes)
{
    static const char *const names[] = {
        [VJ_AUGMENT_RANDAUGMENT] = ", randaugment", [VJ_AUGMENT_AUTOAUGMENT] = ", autoaugment"};
    int used = snprintf(text, bytes, "%d%s frames of %d x %d", v->frames, v->image ? " equal" : "", v->side, v->side);
    if (used < 0 || (size_t)used >= bytes) return;
    text += used;
    bytes -= (size_t)used;
    if (!v->training && v->views == 1)
        snprintf(text, bytes, ", centre of short side %d", v->short_side);
    else if (!v->training)
        snprintf(text, bytes, ", %d crops", v->views);
    else
        snprintf(text, bytes, "%s, random crop, flip %g, erasing %g",
                 v->augment == VJ_AUGMENT_NONE ? "" : names[v->augment], v->flip, v->erasing);
}

uint64_t vj_eval_key(int64_t epoch, int segment, int64_t clip)
{
    VJ_ASSERT(epoch >= 0 && epoch < INT64_C(1) << 20 && segment >= 0 && segment < 1 << 12 && clip >= 0 &&
              clip < INT64_C(1) << 32);
    return (uint64_t)epoch << 44 | (uint64_t)segment << 32 | (uint64_t)clip;
}

/* ------------------------------------------------------------------------------------------------ test views */

/* Return the size to which frames are resized, and which window of the result, side x side pixels, is the view. */
static vj_resize place_test_view(const vj_eval_views *v, int view, int height, int width)
{
    const int side = v->side, small = v->views == 1 ? v->short_side : side;
    const int shorter = height < width ? height : width, longer = height < width ? width : height;
    const int large = (int)((int64_t)small * longer / shorter);
    vj_resize r = {.filter = VJ_FILTER_BILINEAR,
                   .from = {0, 0, height, width},
                   .size_height = height <= width ? small : large,
                   .size_width = height <= width ? large : small,
                   .window = {0, 0, side, side}};
    if (v->views == 1) {
        r.window.top = (int)nearbyint((r.size_height - side) / 2.0); /* half to even, as published */
        r.window.left = (int)nearbyint((r.size_width - side) / 2.0);
    } else {
        *(height <= width ? &r.window.left : &r.window.top) = view * ((large - side) / (v->views - 1));
    }
    return r;
}

/* ------------------------------------------------------------------------------------------------ memory */

/* Operations on videos are applied to whole frames; on images to the view. */
static bool needs_clip(const vj_eval_views *v)
{
    return v->training && !v->image && v->augment != VJ_AUGMENT_NONE;
}

static int64_t picture_bytes(const vj_eval_views *v, const vj_clips *clips)
{
    const int64_t frame = vj_clips_largest_bytes(clips) / v->stored, view = INT64_C(3) * v->side * v->side;
    return needs_clip(v) && frame > view ? frame : view;
}

/* A crop needs no more than the whole picture. */
static int64_t scratch_bytes(const vj_eval_views *v, const vj_clips *clips)
{
    int64_t largest = INT64_C(12) * v->side; /* vj_picture_resize_plain() */
    int last_height = 0, last_width = 0;
    for (int64_t i = 0; i < vj_clips_count(clips) && v->image; i++) {
        int height, width;
        vj_clips_geometry(clips, i, &height, &width);
        if (height == last_height && width == last_width) continue;
        vj_resize r = place_test_view(v, 0, height, width);
        if (v->training)
            r = (vj_resize){VJ_FILTER_BICUBIC, {0, 0, height, width}, v->side, v->side, {0, 0, v->side, v->side}};
        const int64_t bytes = vj_picture_resize_scratch(&r);
        if (bytes > largest) largest = bytes;
        last_height = height;
        last_width = width;
    }
    return largest;
}

int64_t vj_eval_room_bytes(const vj_eval_views *v, const vj_clips *clips)
{
    return (needs_clip(v) ? vj_clips_largest_bytes(clips) : 0) + 2 * picture_bytes(v, clips) + scratch_bytes(v, clips);
}

vj_status vj_eval_room_init(vj_eval_room *room, const vj_eval_views *v, const vj_clips *clips)
{
    *room = (vj_eval_room){0};
    if (needs_clip(v)) room->clip = vj_calloc(vj_clips_largest_bytes(clips), 1);
    for (int i = 0; i < 2; i++) room->picture[i] = vj_calloc(picture_bytes(v, clips), 1);
    room->scratch = vj_calloc(scratch_bytes(v, clips), 1);
    if ((room->clip || !needs_clip(v)) && room->picture[0] && room->picture[1] && room->scratch) return VJ_OK;
    return vj_raise(VJ_ERR_MEMORY, "no memory to make views: %.1f MiB", (double)vj_eval_room_bytes(v, clips) / 1048576);
}

void vj_eval_room_release(vj_eval_room *room)
{
    free(room->clip);
    for (int i = 0; i < 2; i++) free(room->picture[i]);
    free(room->scratch);
    *room = (vj_eval_room){0};
}

/* ------------------------------------------------------------------------------------------------ pixels */

/* Write a picture [side, side, 3] as frame t, with the arithmetic of vj_host_crop(). */
static void normalise(const vj_eval_views *v, float *pixels, const uint8_t *picture, int t)
{
    const int64_t plane = (int64_t)v->side * v->side;
    float table[3][256];
    for (int c = 0; c < 3; c++) {
        const float offset = (float)(255.0 * v->mean[c]), gain = (float)(1.0 / (255.0 * v->std[c]));
        for (int i = 0; i < 256; i++) table[c][i] = ((float)i - offset) * gain;
    }
    for (int c = 0; c < 3; c++) {
        float *to = pixels + (c * (int64_t)v->frames + t) * plane;
        for (int64_t i = 0; i < plane; i++) to[i] = table[c][picture[3 * i + c]];
    }
}

/* All frames are the first. */
static void repeat(const vj_eval_views *v, float *pixels)
{
    const int64_t plane = (int64_t)v->side * v->side;
    for (int c = 0; c < 3; c++)
        for (int t = 1; t < v->frames; t++)
            memcpy(pixels + (c * (int64_t)v->frames + t) * plane, pixels + c * (int64_t)v->frames * plane,
                   (size_t)plane * sizeof *pixels);
}

/*
 * Apply the drawn operations to one picture, of which in the end only the box `seen` counts. Returns where the result
 * is: `from`, `last` or a picture of the room.
 */
static const uint8_t *operate(const vj_eval_views *v, vj_eval_room *room, const vj_augmentation *a, const uint8_t *from,
                              int height, int width, vj_box seen, uint8_t *last)
{
    uint8_t fill[3];
    vj_box box[VJ_MAX_AUGMENTATIONS]; /* the box of each operation's result that later operations need */
    vj_augment_fill(v, fill);
    for (int i = a->ops - 1; i >= 0; i--)
        box[i] = i == a->ops - 1 ? seen : vj_picture_needs(a->op[i + 1].op, box[i + 1], height, width);
    for (int i = 0; i < a->ops; i++) {
        uint8_t *to = from == room->picture[0] ? room->picture[1] : room->picture[0];
        if (i == a->ops - 1 && last) to = last;
        vj_picture_apply(to, from, height, width, a->op[i].op, a->op[i].argument, fill, box[i]);
        from = to;
    }
    return from;
}

/* Video: operations on whole frames, then the crop. */
static void show_training_clip(const vj_eval_views *v, vj_eval_room *room, const vj_augmentation *a,
                               const uint8_t *frames, int height, int width, float *pixels)
{
    const int64_t frame = INT64_C(3) * height * width;
    const vj_clip_view view = {0, height, width, a->crop};
    const vj_box seen = {a->crop.top, a->crop.left, a->crop.height, a->crop.width};
    for (int t = 0; t < v->stored && a->ops > 0; t++)
        operate(v, room, a, frames + t * frame, height, width, seen, room->clip + t * frame);
    vj_host_crop(pixels, a->ops > 0 ? room->clip : frames, &view, v->frames, v->side, v->mean, v->std);
    vj_augment_erase(a, v, pixels, v->frames);
}

/* Image: the crop, mirrored, then operations; the erased box is the same in all frames too. */
static void show_training_image(const vj_eval_views *v, vj_eval_room *room, const vj_augmentation *a,
                                const uint8_t *frame, int width, float *pixels)
{
    const int side = v->side;
    const vj_resize r = {
        VJ_FILTER_BICUBIC, {a->crop.top, a->crop.left, a->crop.height, a->crop.width}, side, side, {0, 0, side, side}};
    vj_picture_resize(room->picture[0], frame, width, &r, room->scratch);
    if (a->crop.flip) vj_picture_mirror(room->picture[0], side, side);
    normalise(v, pixels, operate(v, room, a, room->picture[0], side, side, r.window, NULL), 0);
    vj_augment_erase(a, v, pixels, 1);
    repeat(v, pixels);
}

static void show_test(const vj_eval_views *v, vj_eval_room *room, int view, const uint8_t *frames, int height,
                      int width, float *pixels)
{
    const int64_t frame = INT64_C(3) * height * width;
    const vj_resize r = place_test_view(v, view, height, width);
    for (int t = 0; t < v->stored; t++) {
        if (v->image)
            vj_picture_resize(room->picture[0], frames, width, &r, room->scratch);
        else
            vj_picture_resize_plain(room->picture[0], frames + t * frame, height, width, r.size_height, r.size_width,
                                    r.window, room->scratch);
        normalise(v, pixels, room->picture[0], t);
    }
    if (v->image) repeat(v, pixels);
}

void vj_eval_show(const vj_eval_views *v, vj_eval_room *room, const vj_eval_item *item, const uint8_t *frames,
                  int height, int width, float *pixels)
{
    vj_augmentation a;
    if (!v->training) {
        VJ_ASSERT(item->view >= 0 && item->view < v->views);
        show_test(v, room, item->view, frames, height, width, pixels);
        return;
    }
    vj_augment_draw(&a, v, item->key, height, width);
    if (v->image)
        show_training_image(v, room, &a, frames, width, pixels);
    else
        show_training_clip(v, room, &a, frames, height, width, pixels);
}
