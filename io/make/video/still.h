/* Still pictures in memory, u8 RGB [height, width, 3]: to another size, and to a PNG file. */
#ifndef VJ_VIDEO_STILL_H
#define VJ_VIDEO_STILL_H

#include "base/status.h"

/* Keeps the scaler for as long as sizes stay the same. */
typedef struct vj_still_scaler vj_still_scaler;
vj_status vj_still_scaler_create(vj_still_scaler **scaler);
void vj_still_scaler_destroy(vj_still_scaler *scaler);

/** `from` [from_height, from_width, 3] to `to` [to_height, to_width, 3], bilinear and smoothed; equal sizes: a copy. */
vj_status vj_still_scale(vj_still_scaler *scaler, const uint8_t *from, int from_height, int from_width, uint8_t *to,
                         int to_height, int to_width);

/** Most pixels of a picture that vj_still_write() takes, what FFmpeg's encoder can. */
#define VJ_STILL_MAX_PIXELS (INT64_C(240) << 20)

/** Write a PNG file, by way of `path`.part and a rename. */
vj_status vj_still_write(const char *path, const uint8_t *rgb, int height, int width);

#endif
