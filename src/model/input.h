/* Clips on their way to a network: from host memory to pixels on the device. */
#ifndef VJ_MODEL_INPUT_H
#define VJ_MODEL_INPUT_H

#include "model/network.h"

/* Clips in host memory: their pixels, or the frames that the device makes pixels of. All borrowed. */
typedef struct {
    const float *pixels;       /* [clips, channels, frames, height, width_px], normalised; NULL: of what follows */
    const uint8_t *frames;     /* of all clips, where the views say */
    const vj_clip_view *views; /* [clips] */
    const double *mean, *std;  /* [3] of red, green, blue */
} vj_input;

/* Where frames lie on the device. Zeros: nowhere, and inputs must be pixels. */
typedef struct {
    vj_backend *be;      /* borrowed */
    uint8_t *frames;     /* device, [clips, clip_bytes] */
    vj_clip_view *views; /* host, [clips] */
    int64_t clips, clip_bytes;
} vj_frame_room;

/**
 * Room for frames of `clips` clips of at most `clip_bytes` bytes each; none where the device is the host, whose loaders
 * make pixels. Close with vj_frame_room_close(), also after a failure; twice is harmless.
 */
vj_status vj_frame_room_open(vj_frame_room *room, vj_backend *be, int64_t clips, int64_t clip_bytes);
void vj_frame_room_close(vj_frame_room *room);

/** pixels (device, as in vj_input) of the first `count` clips of the input. Waits for nothing. */
void vj_input_upload(const vj_input *input, vj_frame_room *room, vj_backend *be, float *pixels, int64_t count,
                     const vj_shape *shape);

/** The input without its first `clips` clips. */
vj_input vj_input_from(const vj_input *input, int64_t clips, const vj_shape *shape);

#endif
