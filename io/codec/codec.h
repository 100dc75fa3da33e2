/* Records: how the frames of one clip are stored. */
#ifndef VJ_CODEC_H
#define VJ_CODEC_H

#include "base/status.h"

typedef enum { VJ_CODEC_RAW, VJ_CODEC_JPEG } vj_codec;

typedef struct {
    vj_codec codec;
    int quality;
    int chroma; /* 420 | 444 */
} vj_codec_settings;

typedef struct vj_coder vj_coder;
vj_status vj_coder_create(vj_coder **coder);
void vj_coder_destroy(vj_coder *coder);

/** frames u8 [T, H, W, 3] to a record, borrowed until the next call (raw: the frames themselves). *psnr in dB. */
vj_status vj_record_encode(vj_coder *coder, const vj_codec_settings *settings, const uint8_t *frames, int T, int H,
                           int W, const uint8_t **record, int64_t *bytes, double *psnr);

#endif
