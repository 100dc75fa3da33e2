/* Converts one decoded picture to RGB of a wanted size and orientation. Used inside io/make/video only. */
#ifndef VJ_VIDEO_CONVERT_H
#define VJ_VIDEO_CONVERT_H

#include <libavutil/frame.h>
#include <libswscale/swscale.h>

/*
 * How to turn a stored picture into the shown one. transpose, applied first, exchanges the axes; mirror_x and mirror_y
 * then mirror the result. Together they give the eight display matrices whose angle is a multiple of 90 degrees. For
 * any other angle the picture is rotated by `turn` about its centre and keeps its size; what comes from outside of it
 * is black, as in ffmpeg.
 */
typedef struct {
    int transpose, mirror_x, mirror_y;
    double turn; /* radians clockwise; 0 if transpose or a mirror is set */
} vj_orientation;

/**
 * Read the orientation from FFmpeg's display matrix (NULL: upright). *degrees: clockwise rotation, rounded, 0 to 359.
 */
vj_orientation vj_orientation_from(const int32_t *matrix, int *degrees);

/**
 * Compute the shown size of a stored picture whose pixels have the given aspect ratio. Scales up, never down, so
 * neither axis has fewer pixels than stored.
 */
void vj_shown_size(int stored_width, int stored_height, AVRational aspect, vj_orientation orientation, int *width,
                   int *height);

/**
 * Scale a size so that its short side is `short_side` (0: do not scale). Returns 0, or AVERROR(ERANGE) with the size
 * unchanged if the result is beyond VJ_VIDEO_MAX_SIDE or VJ_VIDEO_MAX_PIXELS.
 */
int vj_fit_short_side(int short_side, int *width, int *height);

/* Keeps its swscale context for as long as `key` stays the same. Initialise with zeros; release at the end. */
typedef struct {
    struct SwsContext *sws;
    int key[7];      /* the parameters of `sws`: stored size and format, matrix, range, target size */
    uint8_t *scaled; /* the scaled picture in its stored orientation, rows aligned */
    int stride;
} vj_converter;

/**
 * Write `frame` as u8 RGB [height, width, 3], shown orientation, to out. Bilinear with accurate rounding, the same bits
 * on every CPU. Returns 0 or an AVERROR.
 */
int vj_convert(vj_converter *converter, const AVFrame *frame, vj_orientation orientation, int width, int height,
               uint8_t *out);
/** Copy a picture in stored orientation, u8 RGB with rows of `stride` bytes, to [height, width, 3] as shown. */
void vj_orient_rgb(const uint8_t *from, size_t stride, vj_orientation orientation, int width, int height, uint8_t *out);
/** Rotate u8 RGB [height, width, 3] by `turn` radians clockwise about its centre. */
void vj_turn_rgb(const uint8_t *from, uint8_t *to, int width, int height, double turn);

void vj_converter_release(vj_converter *converter);

#endif
