/* Shared by record.c and jpeg.c only. */
#ifndef VJ_CODEC_INNER_H
#define VJ_CODEC_INNER_H

#include <stddef.h>

#include "codec/codec.h"

/* A buffer that grows on demand and never shrinks. */
typedef struct {
    uint8_t *bytes;
    size_t room;
} vj_room;

struct vj_coder {
    void *compressor, *decompressor; /* TurboJPEG's handles, NULL until needed */
    vj_room record;                  /* the last one encoded */
    vj_room frame;                   /* a frame decoded again, to measure the loss */
    vj_room scratch;
};

/* Make room for at least `bytes` bytes; the previous content is lost. Returns false if there is no memory. */
bool vj_room_for(vj_room *room, size_t bytes);

/**
 * Encode frames [T, H, W, 3] as a record (docs/formats.md) in coder->record, *bytes long. *psnr: how far the frames are
 * from what decoding gives, in dB. VJ_ERR_FORMAT for frames that are too large for JPEG; VJ_ERR_MEMORY.
 */
vj_status vj_jpeg_encode(vj_coder *coder, const vj_codec_settings *settings, const uint8_t *frames, int T, int H, int W,
                         int64_t *bytes, double *psnr);
/** Decode a record of `bytes` bytes into frames [T, H, W, 3]. VJ_ERR_FORMAT if it is damaged or of other frames. */
vj_status vj_jpeg_decode(vj_coder *coder, const uint8_t *record, int64_t bytes, int T, int H, int W, uint8_t *frames);
void vj_jpeg_release(vj_coder *coder);

#endif
