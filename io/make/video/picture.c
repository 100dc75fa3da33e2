/* Functions for the receiver of a picture (size, RGB), and vj_video_frames(), which collects pictures in one array. */
#include <stdlib.h>
#include <string.h>

#include "video/inside.h"

vj_video_verdict vj_picture_size(const vj_picture *picture, int short_side, int *height, int *width)
{
    vj_video *v = picture->video;
    vj_shown_size(v->held->width, v->held->height, v->aspect, v->orientation, width, height);
    v->info.width = *width;
    v->info.height = *height;
    if (vj_fit_short_side(short_side, width, height) < 0)
        return vj_video_refuse(v, VJ_VIDEO_TOO_LARGE, "scaled, a frame has more than %d pixels a side or %lld in all",
                               VJ_VIDEO_MAX_SIDE, (long long)VJ_VIDEO_MAX_PIXELS);
    return VJ_VIDEO_OK;
}

vj_video_verdict vj_picture_rgb(const vj_picture *picture, int height, int width, uint8_t *out)
{
    vj_video *v = picture->video;
    int own_height, own_width;
    vj_shown_size(v->held->width, v->held->height, v->aspect, v->orientation, &own_width, &own_height);
    if (v->info.is_image && height == own_height && width == own_width && vj_photo_rgb(v, out)) return VJ_VIDEO_OK;
    int error = vj_convert(&v->converter, v->held, v->orientation, width, height, out);
    if (error == AVERROR(ENOSYS))
        return vj_video_refuse(v, VJ_VIDEO_NO_DECODER, "this pixel format cannot be converted");
    if (error < 0) return vj_refuse_av(v, VJ_VIDEO_FAILED, error, "scaling");
    if (v->orientation.turn == 0) return VJ_VIDEO_OK;
    const size_t bytes = (size_t)height * (size_t)width * 3;
    uint8_t *upright = malloc(bytes);
    if (!upright) return vj_video_refuse(v, VJ_VIDEO_OUT_OF_MEMORY, "no memory to turn a picture");
    memcpy(upright, out, bytes);
    vj_turn_rgb(upright, out, width, height, v->orientation.turn);
    free(upright);
    return VJ_VIDEO_OK;
}

/* ------------------------------------------------------------------------------------------------ all at once */

typedef struct {
    int count, short_side, height, width;
    int64_t number; /* number of the last picture received */
    int damaged;    /* number of damaged pictures */
    uint8_t *out;
    double *pts_s;
} collector;

static size_t picture_bytes(const collector *c)
{
    return 3 * (size_t)c->width * (size_t)c->height;
}

/* Allocate the array; the first picture sets the size. */
static vj_video_verdict allocate(collector *c, const vj_picture *picture)
{
    vj_video_verdict verdict = vj_picture_size(picture, c->short_side, &c->height, &c->width);
    if (verdict != VJ_VIDEO_OK) return verdict;
    if (picture_bytes(c) * (size_t)c->count > VJ_VIDEO_MAX_RGB_BYTES)
        return vj_video_refuse(picture->video, VJ_VIDEO_TOO_LARGE, "%d frames of %d x %d are more than %lld bytes",
                               c->count, c->width, c->height, (long long)VJ_VIDEO_MAX_RGB_BYTES);
    c->out = malloc(picture_bytes(c) * (size_t)c->count);
    return c->out ? VJ_VIDEO_OK : vj_video_refuse(picture->video, VJ_VIDEO_OUT_OF_MEMORY, "no memory for the frames");
}

static vj_video_verdict collect(void *user, int k, const vj_picture *picture)
{
    collector *c = user;
    vj_video_verdict verdict = c->out ? VJ_VIDEO_OK : allocate(c, picture);
    if (verdict != VJ_VIDEO_OK) return verdict;
    uint8_t *at = c->out + (size_t)k * picture_bytes(c);
    if (k > 0 && picture->number == c->number)
        memcpy(at, at - picture_bytes(c), picture_bytes(c));
    else
        verdict = vj_picture_rgb(picture, c->height, c->width, at);
    c->number = picture->number;
    c->damaged += picture->damaged != 0;
    c->pts_s[k] = picture->pts_s;
    return verdict;
}

vj_video_verdict vj_video_frames(vj_video *video, const double *times_s, int count, int short_side, uint8_t **out,
                                 int *height, int *width, double *pts_s)
{
    collector c = {.count = count, .short_side = short_side, .pts_s = pts_s};
    vj_video_verdict verdict = vj_video_show(video, times_s, count, collect, &c);
    if (verdict == VJ_VIDEO_OK && (double)c.damaged > video->limits.max_damage * (double)count)
        verdict = vj_video_refuse(video, VJ_VIDEO_CORRUPT, "%d of %d frames are damaged or missing", c.damaged, count);
    if (verdict != VJ_VIDEO_OK) {
        free(c.out);
        c.out = NULL;
    }
    *out = c.out;
    *height = c.height;
    *width = c.width;
    return verdict;
}
