/* Computes size and orientation of shown pictures, and converts to RGB with libswscale. */
#include "video/convert.h"

#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>
#include <math.h>
#include <string.h>

#include "video/video.h"

vj_orientation vj_orientation_from(const int32_t *matrix, int *degrees)
{
    *degrees = 0;
    if (!matrix) return (vj_orientation){0};
    double counterclockwise = av_display_rotation_get(matrix);
    if (isnan(counterclockwise)) return (vj_orientation){0};
    const double quarters = -counterclockwise / 90;
    *degrees = (int)((lround(-counterclockwise) % 360 + 360) % 360);
    if (fabs(quarters - round(quarters)) > 1. / 90) return (vj_orientation){.turn = -counterclockwise * M_PI / 180};
    *degrees = (int)((lround(quarters) % 4 + 4) % 4) * 90;
    /* A stored pixel (p, q) is shown at (p m[0] + q m[3], p m[1] + q m[4]) up to an offset. */
    if (labs(matrix[0]) >= labs(matrix[1]))
        return (vj_orientation){.mirror_x = matrix[0] < 0, .mirror_y = matrix[4] < 0};
    return (vj_orientation){.transpose = 1, .mirror_x = matrix[3] < 0, .mirror_y = matrix[1] < 0};
}

void vj_shown_size(int stored_width, int stored_height, AVRational aspect, vj_orientation orientation, int *width,
                   int *height)
{
    double ratio = aspect.num > 0 && aspect.den > 0 ? av_q2d(aspect) : 1;
    if (ratio > 16 || ratio < 1. / 16) ratio = 1; /* not from any camera: a damaged header */
    int w = ratio > 1 ? (int)lround(stored_width * ratio) : stored_width;
    int h = ratio < 1 ? (int)lround(stored_height / ratio) : stored_height;
    *width = orientation.transpose ? h : w;
    *height = orientation.transpose ? w : h;
}

int vj_fit_short_side(int short_side, int *width, int *height)
{
    int shorter = *width < *height ? *width : *height;
    double scale = short_side > 0 ? (double)short_side / shorter : 1;
    double w = round(*width * scale), h = round(*height * scale); /* may be far too large for an int */
    if (!(w <= VJ_VIDEO_MAX_SIDE && h <= VJ_VIDEO_MAX_SIDE && w * h <= (double)VJ_VIDEO_MAX_PIXELS))
        return AVERROR(ERANGE);
    *width = (int)w;
    *height = (int)h;
    return 0;
}

/* Create a new scaler if the picture differs from the previous one in anything that the scaler depends on. */
static int prepare(vj_converter *c, const AVFrame *frame, int width, int height)
{
    int full_range = frame->color_range == AVCOL_RANGE_JPEG || frame->format == AV_PIX_FMT_YUVJ420P ||
                     frame->format == AV_PIX_FMT_YUVJ422P || frame->format == AV_PIX_FMT_YUVJ444P ||
                     frame->format == AV_PIX_FMT_YUVJ440P || frame->format == AV_PIX_FMT_YUVJ411P;
    const AVPixFmtDescriptor *pixels = av_pix_fmt_desc_get(frame->format);
    const int is_rgb = pixels && (pixels->flags & AV_PIX_FMT_FLAG_RGB) != 0;
    /* Grey pictures, with alpha or without, are treated as full range, as in FFmpeg's own tools. */
    if (pixels && pixels->nb_components <= 2 && !is_rgb) full_range = 1;
    /* libswscale scales RGB as YUV, whose matrix must be the same on both sides. Frames that say "RGB" would get
     * another. */
    const int matrix = is_rgb ? SWS_CS_DEFAULT : (int)frame->colorspace;
    int key[7] = {frame->width, frame->height, frame->format, matrix, full_range, width, height};
    if (c->sws && memcmp(key, c->key, sizeof key) == 0) return 0;
    vj_converter_release(c);
    memcpy(c->key, key, sizeof key);
    c->stride = (width * 3 + 63) / 64 * 64;
    /* Vector code may write a little past the last row. */
    c->scaled = av_malloc((size_t)c->stride * (size_t)height + 256);
    c->sws = sws_getContext(frame->width, frame->height, frame->format, width, height, AV_PIX_FMT_RGB24,
                            SWS_BILINEAR | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_BITEXACT, NULL, NULL, NULL);
    if (!c->scaled) return AVERROR(ENOMEM);
    if (!c->sws) return AVERROR(ENOSYS);
    /* Fails where libswscale needs no matrix. */
    (void)sws_setColorspaceDetails(c->sws, sws_getCoefficients(matrix), full_range, sws_getCoefficients(SWS_CS_DEFAULT),
                                   1, 0, 1 << 16, 1 << 16);
    return 0;
}

void vj_orient_rgb(const uint8_t *from, size_t stride, vj_orientation o, int width, int height, uint8_t *out)
{
    const int columns = o.transpose ? height : width, rows = o.transpose ? width : height; /* stored orientation */
    const int upright = !o.transpose && !o.mirror_x && !o.mirror_y;
    for (int q = 0; q < rows; q++) {
        const uint8_t *row = from + (size_t)q * stride;
        if (upright) {
            memcpy(out + (size_t)q * (size_t)width * 3, row, (size_t)width * 3);
            continue;
        }
        for (int p = 0; p < columns; p++) {
            int x = o.transpose ? q : p, y = o.transpose ? p : q;
            if (o.mirror_x) x = width - 1 - x;
            if (o.mirror_y) y = height - 1 - y;
            memcpy(out + ((size_t)y * (size_t)width + (size_t)x) * 3, row + 3 * p, 3);
        }
    }
}

int vj_convert(vj_converter *c, const AVFrame *frame, vj_orientation o, int width, int height, uint8_t *out)
{
    int columns = o.transpose ? height : width, rows = o.transpose ? width : height; /* stored orientation */
    int error = prepare(c, frame, columns, rows);
    if (error < 0) return error;
    uint8_t *const planes[4] = {c->scaled};
    const int strides[4] = {c->stride};
    error = sws_scale(c->sws, (const uint8_t *const *)frame->data, frame->linesize, 0, frame->height, planes, strides);
    if (error < 0) return error;
    vj_orient_rgb(c->scaled, (size_t)c->stride, o, width, height, out);
    return 0;
}

/* Bilinear; what comes from outside of the picture is black. */
void vj_turn_rgb(const uint8_t *from, uint8_t *to, int width, int height, double turn)
{
    const double c = cos(turn), s = sin(turn), cx = 0.5 * (width - 1), cy = 0.5 * (height - 1);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++, to += 3) {
            const double u = cx + c * (x - cx) + s * (y - cy), v = cy - s * (x - cx) + c * (y - cy);
            const int left = (int)floor(u), top = (int)floor(v);
            to[0] = to[1] = to[2] = 0;
            if (u < 0 || v < 0 || u > width - 1 || v > height - 1) continue;
            const double a = u - left, b = v - top;
            const int right = left + (left + 1 < width), below = top + (top + 1 < height);
            const uint8_t *p = from + 3 * ((size_t)top * (size_t)width + (size_t)left),
                          *q = from + 3 * ((size_t)top * (size_t)width + (size_t)right),
                          *r = from + 3 * ((size_t)below * (size_t)width + (size_t)left),
                          *t = from + 3 * ((size_t)below * (size_t)width + (size_t)right);
            for (int i = 0; i < 3; i++)
                to[i] = (uint8_t)lround((1 - b) * ((1 - a) * p[i] + a * q[i]) + b * ((1 - a) * r[i] + a * t[i]));
        }
}

void vj_converter_release(vj_converter *c)
{
    sws_freeContext(c->sws);
    av_free(c->scaled);
    *c = (vj_converter){0};
}
