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

vj_status vj_jpeg_encode(vj_coder *coder, const vj_codec_settings *settings, const uint8_t *frames, int T, int H, int W,
                         int64_t *bytes, double *psnr);
vj_status vj_jpeg_decode(vj_coder *coder, const uint8_t *record, int64_t bytes, int T, int H, int W, uint8_t *frames);
void vj_jpeg_release(vj_coder *coder);

#endif
