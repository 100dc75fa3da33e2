/* Clips on their way to a network: from host memory to pixels on the device. */
#ifndef VJ_MODEL_INPUT_H
#define VJ_MODEL_INPUT_H

#include "model/network.h"

/* Clips in host memory, either as pixels or as u8 frames that the device converts to pixels. All borrowed. */
typedef struct {
    const float *pixels;       /* [clips, channels, frames, height, width_px], normalised; NULL: use the frames below */
    const uint8_t *frames;     /* of all clips, at the places that `views` give */
    const vj_clip_view *views; /* [clips] */
    const double *mean, *std;  /* [3] of red, green, blue */
} vj_input;

/*
 * Device buffers for u8 frames, used in turn: frames are copied into one while kernels still read another. All zeros:
 * there are none, and inputs must be pixels.
 */
enum { VJ_FRAME_BUFFERS = 2 }; /* at most; more would not be used */
typedef struct {
    vj_backend *be;      /* borrowed */
    uint8_t *frames;     /* device, [buffers, clips, clip_bytes] */
    vj_clip_view *views; /* host, [clips] */
    int64_t clips, clip_bytes;
    int buffers, buffer;              /* how many there are; used last */
    vj_event *read[VJ_FRAME_BUFFERS]; /* the buffer's frames have become pixels; of the backend */
} vj_frame_room;

/**
 * Allocate device memory for the frames of `clips` clips of at most `clip_bytes` bytes each, `buffers` times (at most
 * VJ_FRAME_BUFFERS); nothing where the device is the host, because the loader then makes the pixels. Close with
 * vj_frame_room_close(), also after a failure; closing twice is harmless.
 */
vj_status vj_frame_room_open(vj_frame_room *room, vj_backend *be, int64_t clips, int64_t clip_bytes, int buffers);
void vj_frame_room_close(vj_frame_room *room);

/**
 * Write the pixels (device, shaped as in vj_input) of the first `count` clips of the input. Does not synchronise:
 * frames in memory of vj_host_alloc() are copied from there beside the kernels, so they must stay until the next
 * vj_sync().
 */
void vj_input_upload(const vj_input *input, vj_frame_room *room, vj_backend *be, float *pixels, int64_t count,
                     const vj_shape *shape);

/** Return the input with its first `clips` clips skipped. */
vj_input vj_input_from(const vj_input *input, int64_t clips, const vj_shape *shape);

#endif
