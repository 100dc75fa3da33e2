/* Scales with convert.c; writes PNG with FFmpeg's encoder, which returns the whole file as one packet. */
#include "video/still.h"

#include <libavcodec/avcodec.h>
#include <libavutil/opt.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "video/convert.h"

struct vj_still_scaler {
    AVFrame *frame; /* borrows its pixels */
    vj_converter converter;
};

/* ------------------------------------------------------------------------------------------------ scaling */

static void borrow(AVFrame *frame, const uint8_t *rgb, int height, int width)
{
    frame->format = AV_PIX_FMT_RGB24;
    frame->width = width;
    frame->height = height;
    frame->data[0] = (uint8_t *)rgb; /* read only */
    frame->linesize[0] = 3 * width;
}

vj_status vj_still_scaler_create(vj_still_scaler **scaler)
{
    vj_still_scaler *s = *scaler = vj_calloc(1, sizeof *s);
    if (s) s->frame = av_frame_alloc();
    return s && s->frame ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a scaler");
}

void vj_still_scaler_destroy(vj_still_scaler *s)
{
    if (!s) return;
    vj_converter_release(&s->converter);
    av_frame_free(&s->frame);
    free(s);
}

vj_status vj_still_scale(vj_still_scaler *s, const uint8_t *from, int from_height, int from_width, uint8_t *to,
                         int to_height, int to_width)
{
    if (from_height == to_height && from_width == to_width) {
        memcpy(to, from, (size_t)to_height * (size_t)to_width * 3);
        return VJ_OK;
    }
    borrow(s->frame, from, from_height, from_width);
    const int error = vj_convert(&s->converter, s->frame, (vj_orientation){0}, to_width, to_height, to);
    if (error >= 0) return VJ_OK;
    return vj_raise(VJ_ERR_LIBRARY, "scale a picture of %d x %d pixels to %d x %d: %s", from_width, from_height,
                    to_width, to_height, av_err2str(error));
}

/* ------------------------------------------------------------------------------------------------ PNG */

static int encode(AVPacket *packet, AVFrame *frame)
{
    const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_PNG);
    AVCodecContext *encoder = codec ? avcodec_alloc_context3(codec) : NULL;
    if (!encoder) return codec ? AVERROR(ENOMEM) : AVERROR_ENCODER_NOT_FOUND;
    encoder->width = frame->width;
    encoder->height = frame->height;
    encoder->pix_fmt = AV_PIX_FMT_RGB24;
    encoder->time_base = (AVRational){1, 1}; /* required by every encoder */
    encoder->compression_level = 9;
    int error = av_opt_set(encoder->priv_data, "pred", "mixed", 0); /* makes files of photographs a third smaller */
    if (error >= 0) error = avcodec_open2(encoder, codec, NULL);
    if (error >= 0) error = avcodec_send_frame(encoder, frame);
    if (error >= 0) error = avcodec_receive_packet(encoder, packet);
    avcodec_free_context(&encoder);
    return error;
}

static vj_status write_bytes(const char *path, const uint8_t *bytes, size_t count)
{
    vj_file file;
    VJ_TRY(vj_file_begin(&file, path));
    if (vj_write_at(file.fd, bytes, (int64_t)count, 0)) return vj_file_commit(&file);
    vj_status status = vj_raise(VJ_ERR_IO, "write %s", file.part);
    vj_file_rollback(&file);
    return status;
}

vj_status vj_still_write(const char *path, const uint8_t *rgb, int height, int width)
{
    if ((int64_t)height * width > VJ_STILL_MAX_PIXELS)
        return vj_raise(VJ_ERR_USAGE, "%s: a picture of %d x %d pixels is more than a PNG encoder takes, %lld pixels",
                        path, width, height, (long long)VJ_STILL_MAX_PIXELS);
    AVPacket *packet = av_packet_alloc();
    AVFrame *frame = av_frame_alloc();
    int error = AVERROR(ENOMEM);
    if (packet && frame) {
        borrow(frame, rgb, height, width);
        error = encode(packet, frame);
    }
    vj_status status = error >= 0 ? write_bytes(path, packet->data, (size_t)packet->size)
                                  : vj_raise(VJ_ERR_LIBRARY, "encode %s: %s", path, av_err2str(error));
    av_frame_free(&frame);
    av_packet_free(&packet);
    return status;
}
