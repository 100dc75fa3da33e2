/* Still pictures in memory, u8 RGB [height, width, 3]: scale them, write them to PNG files. */
#ifndef VJ_VIDEO_STILL_H
#define VJ_VIDEO_STILL_H

#include "base/status.h"

/* Keeps its swscale context for as long as the sizes stay the same. */
typedef struct vj_still_scaler vj_still_scaler;
/** Create a scaler: VJ_ERR_MEMORY. Free it with vj_still_scaler_destroy(); NULL is allowed. */
vj_status vj_still_scaler_create(vj_still_scaler **scaler);
void vj_still_scaler_destroy(vj_still_scaler *scaler);

/**
 * Scale `from` [from_height, from_width, 3] to `to` [to_height, to_width, 3], bilinear, with low-pass filtering when
 * shrinking; equal sizes: a copy.
 */
vj_status vj_still_scale(vj_still_scaler *scaler, const uint8_t *from, int from_height, int from_width, uint8_t *to,
                         int to_height, int to_width);

/** Largest picture, in pixels, that vj_still_write() accepts: the limit of FFmpeg's encoder. */
#define VJ_STILL_MAX_PIXELS (INT64_C(240) << 20)

/** Write a PNG file: written as `path`.part, then renamed. */
vj_status vj_still_write(const char *path, const uint8_t *rgb, int height, int width);

#endif
