/* The raw codec. */
#include "codec/codec.h"

#include <math.h>
#include <stdlib.h>

struct vj_coder {
    int unused;
};

vj_status vj_coder_create(vj_coder **coder)
{
    *coder = calloc(1, sizeof **coder);
    return *coder ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a coder");
}

void vj_coder_destroy(vj_coder *coder)
{
    free(coder);
}

vj_status vj_record_encode(vj_coder *coder, const vj_codec_settings *settings, const uint8_t *frames, int T, int H,
                           int W, const uint8_t **record, int64_t *bytes, double *psnr)
{
    (void)coder, (void)settings;
    *record = frames;
    *bytes = (int64_t)T * H * W * 3;
    *psnr = INFINITY;
    return VJ_OK;
}
