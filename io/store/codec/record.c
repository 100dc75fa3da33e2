/* Encodes and decodes records of either codec. Read codec.h first. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/inner.h"

static const char *const names[VJ_CODECS] = {"raw", "jpeg"};

const char *vj_codec_name(vj_codec codec)
{
    VJ_ASSERT(codec < VJ_CODECS);
    return names[codec];
}

vj_status vj_codec_find(vj_codec *codec, const char *name)
{
    for (int i = 0; i < VJ_CODECS; i++)
        if (strcmp(name, names[i]) == 0) {
            *codec = (vj_codec)i;
            return VJ_OK;
        }
    return vj_raise(VJ_ERR_USAGE, "no codec '%s': raw or jpeg", name);
}

vj_status vj_codec_check(const vj_codec_settings *settings)
{
    if (settings->codec == VJ_CODEC_RAW) return VJ_OK;
    if (settings->codec != VJ_CODEC_JPEG) return vj_raise(VJ_ERR_USAGE, "there is no codec %d", (int)settings->codec);
    if (settings->quality < 1 || settings->quality > 100)
        return vj_raise(VJ_ERR_USAGE, "JPEG quality %d: 1 to 100", settings->quality);
    if (settings->chroma != 420 && settings->chroma != 444)
        return vj_raise(VJ_ERR_USAGE, "JPEG chroma %d: 420 or 444", settings->chroma);
    return VJ_OK;
}

int64_t vj_frames_bytes(int T, int H, int W)
{
    return (int64_t)T * H * W * 3;
}

bool vj_record_can_hold(vj_codec codec, int64_t bytes, int64_t frames_bytes)
{
    enum { MAX_RATIO = 256 };
    return codec == VJ_CODEC_RAW ? bytes == frames_bytes : frames_bytes / MAX_RATIO <= bytes;
}

/* ------------------------------------------------------------------------------------------------ coder */

bool vj_room_for(vj_room *room, size_t bytes)
{
    if (bytes <= room->room) return true;
    free(room->bytes); /* its content is no longer needed */
    room->bytes = malloc(bytes);
    room->room = room->bytes ? bytes : 0;
    return room->bytes != NULL;
}

vj_status vj_coder_create(vj_coder **coder)
{
    *coder = vj_calloc(1, sizeof **coder);
    return *coder ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a coder");
}

void vj_coder_destroy(vj_coder *coder)
{
    if (!coder) return;
    vj_jpeg_release(coder);
    free(coder->record.bytes);
    free(coder->frame.bytes);
    free(coder->scratch.bytes);
    free(coder);
}

uint8_t *vj_coder_scratch(vj_coder *coder, int64_t bytes)
{
    return bytes >= 0 && vj_room_for(&coder->scratch, (size_t)bytes + !bytes) ? coder->scratch.bytes : NULL;
}

/* ------------------------------------------------------------------------------------------------ records */

/* Limit the sizes, so that no product of the three can overflow. */
static vj_status check_shape(int T, int H, int W)
{
    VJ_ASSERT(T >= 1 && H >= 1 && W >= 1);
    const double bytes = 3.0 * T * H * W;
    if (T > VJ_RECORD_MAX_FRAMES || bytes > (double)VJ_RECORD_MAX_BYTES)
        return vj_raise(VJ_ERR_FORMAT,
                        "a clip of %d frames of %d x %d pixels: a record holds at most %d frames and 4 GiB", T, H, W,
                        VJ_RECORD_MAX_FRAMES);
    return VJ_OK;
}

vj_status vj_record_encode(vj_coder *coder, const vj_codec_settings *settings, const uint8_t *frames, int T, int H,
                           int W, const uint8_t **record, int64_t *bytes, double *psnr)
{
    VJ_TRY(check_shape(T, H, W));
    VJ_TRY(vj_codec_check(settings));
    if (settings->codec == VJ_CODEC_RAW) {
        *record = frames;
        *bytes = vj_frames_bytes(T, H, W);
        *psnr = INFINITY;
        return VJ_OK;
    }
    VJ_TRY(vj_jpeg_encode(coder, settings, frames, T, H, W, bytes, psnr));
    *record = coder->record.bytes;
    return VJ_OK;
}

vj_status vj_record_decode(vj_coder *coder, vj_codec codec, const uint8_t *record, int64_t bytes, int T, int H, int W,
                           uint8_t *frames)
{
    VJ_TRY(check_shape(T, H, W));
    if (codec == VJ_CODEC_JPEG) return vj_jpeg_decode(coder, record, bytes, T, H, W, frames);
    VJ_ASSERT(codec == VJ_CODEC_RAW);
    if (bytes != vj_frames_bytes(T, H, W))
        return vj_raise(VJ_ERR_FORMAT, "a raw record of %lld bytes, expected %lld", (long long)bytes,
                        (long long)vj_frames_bytes(T, H, W));
    if (record != frames) memcpy(frames, record, (size_t)bytes);
    return VJ_OK;
}
