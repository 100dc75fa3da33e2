/* The HDF5 filter for JPEG records. */
#include "codec/filter.h"

#include <stdlib.h>
#include <string.h>

static size_t decode(vj_coder *coder, const unsigned *values, size_t bytes, size_t *room, void **buffer)
{
    const int T = (int)values[VJ_FILTER_T], H = (int)values[VJ_FILTER_H], W = (int)values[VJ_FILTER_W];
    const int64_t want = vj_frames_bytes(T, H, W);
    uint8_t *frames = malloc((size_t)want);
    if (!frames) return 0;
    if (vj_record_decode(coder, VJ_CODEC_JPEG, *buffer, (int64_t)bytes, T, H, W, frames) != VJ_OK) {
        free(frames);
        return 0;
    }
    free(*buffer); /* HDF5 allocates its buffers with malloc() */
    *buffer = frames;
    *room = (size_t)want;
    return (size_t)want;
}

static size_t encode(vj_coder *coder, const unsigned *values, size_t bytes, size_t *room, void **buffer)
{
    const vj_codec_settings settings = {VJ_CODEC_JPEG, (int)values[VJ_FILTER_QUALITY], (int)values[VJ_FILTER_CHROMA]};
    const int T = (int)values[VJ_FILTER_T], H = (int)values[VJ_FILTER_H], W = (int)values[VJ_FILTER_W];
    const uint8_t *record;
    int64_t length;
    double psnr;
    if ((int64_t)bytes != vj_frames_bytes(T, H, W) ||
        vj_record_encode(coder, &settings, *buffer, T, H, W, &record, &length, &psnr) != VJ_OK)
        return 0;
    if ((size_t)length > *room) {
        void *larger = malloc((size_t)length);
        if (!larger) return 0;
        free(*buffer);
        *buffer = larger;
        *room = (size_t)length;
    }
    memcpy(*buffer, record, (size_t)length);
    return (size_t)length;
}

/* The parameters come from a file and are untrusted. Returns 0 on failure, as HDF5 expects. */
static size_t filter(unsigned flags, size_t count, const unsigned *values, size_t bytes, size_t *room, void **buffer)
{
    vj_coder *coder;
    if (count != VJ_FILTER_VALUES) return 0;
    for (int i = VJ_FILTER_T; i <= VJ_FILTER_W; i++)
        if (values[i] < 1 || values[i] > (i == VJ_FILTER_T ? VJ_RECORD_MAX_FRAMES : VJ_JPEG_MAX_SIDE)) return 0;
    if (3.0 * values[VJ_FILTER_T] * values[VJ_FILTER_H] * values[VJ_FILTER_W] > (double)VJ_RECORD_MAX_BYTES) return 0;
    if (vj_coder_create(&coder) != VJ_OK) return 0;
    const size_t result = flags & H5Z_FLAG_REVERSE ? decode(coder, values, bytes, room, buffer)
                                                   : encode(coder, values, bytes, room, buffer);
    vj_coder_destroy(coder);
    return result;
}

const H5Z_class2_t vj_jpeg_filter = {
    .version = H5Z_CLASS_T_VERS,
    .id = VJ_JPEG_FILTER,
    .encoder_present = 1,
    .decoder_present = 1,
    .name = "vjepa jpeg clips",
    .filter = filter,
};
