/*
 * Encodes and decodes JPEG records with libjpeg-turbo's TurboJPEG interface (no longjmp; one handle a thread). Uses the
 * slow, accurate DCT in both directions and triangle-filter upsampling, so the result does not depend on speed
 * settings.
 */
#include <endian.h>
#include <math.h>
#include <string.h>

#include <turbojpeg.h>

#include "codec/inner.h"

enum { HEAD_WORDS = 2 }; /* version and T, before the lengths */

static uint32_t get_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return le32toh(value);
}

static void put_u32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof value);
}

static int64_t head_bytes(int T)
{
    return (int64_t)sizeof(uint32_t) * (HEAD_WORDS + (int64_t)T);
}

void vj_jpeg_release(vj_coder *coder)
{
    if (coder->compressor) (void)tjDestroy(coder->compressor); /* fails on NULL only */
    if (coder->decompressor) (void)tjDestroy(coder->decompressor);
}

/* ------------------------------------------------------------------------------------------------ one frame */

static vj_status decode_stream(tjhandle decoder, const uint8_t *stream, uint32_t bytes, int t, int H, int W,
                               uint8_t *frame)
{
    int width = 0, height = 0, sampling = -1, colours = -1;
    if (tjDecompressHeader3(decoder, stream, bytes, &width, &height, &sampling, &colours) != 0)
        return vj_raise(VJ_ERR_FORMAT, "frame %d of a JPEG record has a damaged header: %s", t,
                        tjGetErrorStr2(decoder));
    if (width != W || height != H || colours != TJCS_YCbCr || (sampling != TJSAMP_420 && sampling != TJSAMP_444))
        return vj_raise(
            VJ_ERR_FORMAT,
            "frame %d of a JPEG record: %d x %d pixels, colour space %d, sampling %d; expected %d x %d, YCbCr, "
            "420 or 444",
            t, height, width, colours, sampling, H, W);
    /* A warning means that a part of the picture was cut off or guessed. Scans are limited because a progressive stream
     * can have thousands. */
    if (tjDecompress2(decoder, stream, bytes, frame, W, 0, H, TJPF_RGB,
                      TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS) != 0)
        return vj_raise(VJ_ERR_FORMAT, "frame %d of a JPEG record is damaged: %s", t, tjGetErrorStr2(decoder));
    return VJ_OK;
}

static vj_status decode_frame(vj_coder *coder, const uint8_t *stream, uint32_t bytes, int t, int H, int W,
                              uint8_t *frame)
{
    if (!coder->decompressor) coder->decompressor = tjInitDecompress();
    if (!coder->decompressor) return vj_raise(VJ_ERR_MEMORY, "no memory for a JPEG decoder");
    const vj_status status = decode_stream(coder->decompressor, stream, bytes, t, H, W, frame);
    if (status == VJ_OK) return VJ_OK;
    (void)tjDestroy(
        coder->decompressor); /* after a damaged header it would refuse intact streams too (libjpeg-turbo 2.1) */
    coder->decompressor = NULL;
    return status;
}

/* *bytes: size of the buffer on entry, length of the stream on return. */
static vj_status encode_frame(vj_coder *coder, const vj_codec_settings *settings, const uint8_t *frame, int H, int W,
                              uint8_t *stream, unsigned long *bytes)
{
    const int sampling = settings->chroma == 444 ? TJSAMP_444 : TJSAMP_420;
    if (!coder->compressor) coder->compressor = tjInitCompress();
    if (!coder->compressor) return vj_raise(VJ_ERR_MEMORY, "no memory for a JPEG encoder");
    if (tjCompress2(coder->compressor, frame, W, 0, H, TJPF_RGB, &stream, bytes, sampling, settings->quality,
                    TJFLAG_ACCURATEDCT | TJFLAG_NOREALLOC) != 0)
        return vj_raise(VJ_ERR_LIBRARY, "a frame of %d x %d pixels cannot be compressed: %s", H, W,
                        tjGetErrorStr2(coder->compressor));
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ records */

static int64_t squared_error(const uint8_t *a, const uint8_t *b, int64_t count)
{
    int64_t sum = 0;
    for (int64_t at = 0; at < count;) {
        const int64_t stop = count - at < 65536 ? count : at + 65536; /* 2^16 squares of 8 bits fit 32 bits */
        uint32_t part = 0;
        for (; at < stop; at++) {
            const int32_t difference = (int32_t)a[at] - b[at];
            part += (uint32_t)(difference * difference);
        }
        sum += part;
    }
    return sum;
}

vj_status vj_jpeg_encode(vj_coder *coder, const vj_codec_settings *settings, const uint8_t *frames, int T, int H, int W,
                         int64_t *bytes, double *psnr)
{
    if (H > VJ_JPEG_MAX_SIDE || W > VJ_JPEG_MAX_SIDE)
        return vj_raise(VJ_ERR_FORMAT, "a frame of %d x %d pixels: JPEG has at most %d a side", H, W, VJ_JPEG_MAX_SIDE);
    const int64_t frame_bytes = vj_frames_bytes(1, H, W);
    const unsigned long limit = tjBufSize(W, H, settings->chroma == 444 ? TJSAMP_444 : TJSAMP_420);
    if (!vj_room_for(&coder->record, (size_t)head_bytes(T) + (size_t)T * limit) ||
        !vj_room_for(&coder->frame, (size_t)frame_bytes))
        return vj_raise(VJ_ERR_MEMORY, "no memory for a JPEG record of %d frames of %d x %d pixels", T, H, W);
    uint8_t *record = coder->record.bytes, *stream = record + head_bytes(T);
    int64_t error = 0;
    put_u32(record, VJ_RECORD_VERSION);
    put_u32(record + sizeof(uint32_t), (uint32_t)T);
    for (int t = 0; t < T; t++) {
        const uint8_t *frame = frames + t * frame_bytes;
        unsigned long length = limit;
        VJ_TRY(encode_frame(coder, settings, frame, H, W, stream, &length));
        VJ_TRY(decode_frame(coder, stream, (uint32_t)length, t, H, W, coder->frame.bytes));
        error += squared_error(frame, coder->frame.bytes, frame_bytes);
        put_u32(record + sizeof(uint32_t) * (size_t)(HEAD_WORDS + t), (uint32_t)length);
        stream += length;
    }
    *bytes = stream - record;
    *psnr = error > 0 ? 10 * log10(255. * 255. * (double)frame_bytes * T / (double)error) : INFINITY;
    return *bytes <= VJ_RECORD_MAX_BYTES
               ? VJ_OK
               : vj_raise(VJ_ERR_FORMAT, "a JPEG record of %lld bytes, at most 4 GiB can be kept", (long long)*bytes);
}

vj_status vj_jpeg_decode(vj_coder *coder, const uint8_t *record, int64_t bytes, int T, int H, int W, uint8_t *frames)
{
    const int64_t head = head_bytes(T);
    if (bytes < head || get_u32(record) != VJ_RECORD_VERSION || get_u32(record + sizeof(uint32_t)) != (uint32_t)T)
        return vj_raise(VJ_ERR_FORMAT, "%lld bytes are not a JPEG record, version %d, of %d frames", (long long)bytes,
                        VJ_RECORD_VERSION, T);
    int64_t total = head;
    for (int t = 0; t < T; t++) total += get_u32(record + sizeof(uint32_t) * (size_t)(HEAD_WORDS + t));
    if (total != bytes)
        return vj_raise(VJ_ERR_FORMAT, "a JPEG record of %lld bytes, its parts have %lld", (long long)bytes,
                        (long long)total);
    const uint8_t *stream = record + head;
    for (int t = 0; t < T; t++) {
        const uint32_t length = get_u32(record + sizeof(uint32_t) * (size_t)(HEAD_WORDS + t));
        VJ_TRY(decode_frame(coder, stream, length, t, H, W, frames + t * vj_frames_bytes(1, H, W)));
        stream += length;
    }
    return VJ_OK;
}
