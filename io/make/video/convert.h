/* One decoded picture to RGB of a wanted size and orientation; used by frames.c only. */
#ifndef VJ_VIDEO_CONVERT_H
#define VJ_VIDEO_CONVERT_H

#include <libavutil/frame.h>
#include <libswscale/swscale.h>

/*
 * From stored to shown: exchange the axes first, then mirror the shown ones. All eight cases of a display matrix. Or
 * turn by an angle between them about the middle, in a picture of the same size, black where nothing is, as ffmpeg
 * does.
 */
typedef struct {
    int transpose, mirror_x, mirror_y;
    double turn; /* radians clockwise; 0 with the others */
} vj_orientation;

/** From FFmpeg's display matrix (NULL: upright); *degrees clockwise from 0 to 359, rounded. */
vj_orientation vj_orientation_from(const int32_t *matrix, int *degrees);

/** Size as shown of a stored picture with pixels of the given aspect (never less than stored along either axis). */
void vj_shown_size(int stored_width, int stored_height, AVRational aspect, vj_orientation orientation, int *width,
                   int *height);

/**
 * Scale a size so that its short side is `short_side` (0: leave it). AVERROR(ERANGE), and the size unchanged, if that
 * is beyond VJ_VIDEO_MAX_SIDE or VJ_VIDEO_MAX_PIXELS; else 0.
 */
int vj_fit_short_side(int short_side, int *width, int *height);

/* Keeps the scaler for as long as pictures look alike. Starts zeroed; release it at the end. */
typedef struct {
    struct SwsContext *sws;
    int key[7];      /* what it was made for: stored size and format, matrix, range, target size */
    uint8_t *scaled; /* stored orientation, aligned rows */
    int stride;
} vj_converter;

/**
 * Write `frame` as u8 RGB [height, width, 3], shown orientation, to out. Bilinear with accurate rounding, the same bits
 * on every CPU. Returns 0 or an AVERROR.
 */
int vj_convert(vj_converter *converter, const AVFrame *frame, vj_orientation orientation, int width, int height,
               uint8_t *out);
/** u8 RGB [height, width, 3] turned by `turn` radians clockwise about its middle. */
void vj_turn_rgb(const uint8_t *from, uint8_t *to, int width, int height, double turn);

void vj_converter_release(vj_converter *converter);

#endif
