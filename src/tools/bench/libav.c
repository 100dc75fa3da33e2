/* The shortest decoding loop with libav, as in a program that trusts its files and stores nothing. */
#include "bench/libav.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    AVFormatContext *format;
    AVCodecContext *decoder;
    struct SwsContext *sws;
    AVPacket *packet;
    AVFrame *frame;
    int stream, height, width;
} loop;

static int open_file(loop *l, const char *path)
{
    char name[4096];
    const AVCodec *codec;
    snprintf(name, sizeof name, "file:%s", path);
    int error = avformat_open_input(&l->format, name, NULL, NULL);
    if (error >= 0) error = avformat_find_stream_info(l->format, NULL);
    if (error >= 0) error = l->stream = av_find_best_stream(l->format, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (error < 0) return error;
    l->decoder = avcodec_alloc_context3(codec);
    l->packet = av_packet_alloc();
    l->frame = av_frame_alloc();
    if (!l->decoder || !l->packet || !l->frame) return AVERROR(ENOMEM);
    error = avcodec_parameters_to_context(l->decoder, l->format->streams[l->stream]->codecpar);
    l->decoder->thread_count = 1;
    return error < 0 ? error : avcodec_open2(l->decoder, codec, NULL);
}

/* Make a scaler for the file's frames, and memory for one frame. */
static int prepare(loop *l, int short_side, vj_libav_scratch *scratch)
{
    const AVFrame *f = l->frame;
    if (l->sws) return 0;
    l->height = f->width < f->height ? (int)((int64_t)short_side * f->height / f->width) : short_side;
    l->width = f->width < f->height ? short_side : (int)((int64_t)short_side * f->width / f->height);
    l->sws = sws_getContext(f->width, f->height, f->format, l->width, l->height, AV_PIX_FMT_RGB24,
                            SWS_BILINEAR | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_BITEXACT, NULL, NULL, NULL);
    if (!l->sws) return AVERROR(ENOSYS);
    const int64_t bytes = (int64_t)l->height * ((l->width * 3 + 63) / 64 * 64) + 256;
    if (bytes > scratch->room) {
        free(scratch->rgb);
        scratch->rgb = vj_calloc(bytes, 1);
        scratch->room = scratch->rgb ? bytes : 0;
    }
    return scratch->rgb ? 0 : AVERROR(ENOMEM);
}

static int receive(loop *l, vj_libav_file *file, int64_t *next, int short_side, vj_libav_scratch *scratch)
{
    int error;
    while ((error = avcodec_receive_frame(l->decoder, l->frame)) >= 0) {
        if (*next < file->wanted_count && file->wanted[*next] == file->frames) {
            error = prepare(l, short_side, scratch);
            if (error < 0) return error;
            uint8_t *const planes[4] = {scratch->rgb};
            const int strides[4] = {(l->width * 3 + 63) / 64 * 64};
            sws_scale(l->sws, (const uint8_t *const *)l->frame->data, l->frame->linesize, 0, l->frame->height, planes,
                      strides);
            /* A short video's last frame is wanted several times. */
            while (*next < file->wanted_count && file->wanted[*next] == file->frames) ++*next;
        }
        file->frames++;
    }
    return error == AVERROR(EAGAIN) || error == AVERROR_EOF ? 0 : error;
}

static int decode(loop *l, vj_libav_file *file, int short_side, vj_libav_scratch *scratch)
{
    int64_t next = 0;
    int error = open_file(l, file->path);
    file->frames = 0;
    while (error >= 0 && av_read_frame(l->format, l->packet) >= 0) {
        if (l->packet->stream_index == l->stream) {
            error = avcodec_send_packet(l->decoder, l->packet);
            if (error >= 0) error = receive(l, file, &next, short_side, scratch);
        }
        av_packet_unref(l->packet);
    }
    if (error >= 0) error = avcodec_send_packet(l->decoder, NULL);
    return error < 0 ? error : receive(l, file, &next, short_side, scratch);
}

vj_status vj_libav_decode(vj_libav_file *file, int short_side, vj_libav_scratch *scratch)
{
    loop l = {0};
    const int error = decode(&l, file, short_side, scratch);
    sws_freeContext(l.sws);
    av_frame_free(&l.frame);
    av_packet_free(&l.packet);
    avcodec_free_context(&l.decoder);
    avformat_close_input(&l.format);
    if (error >= 0) return VJ_OK;
    char text[AV_ERROR_MAX_STRING_SIZE];
    av_strerror(error, text, sizeof text);
    return vj_raise(VJ_ERR_LIBRARY, "the bare loop cannot decode %s: %s. Measure with files that are whole", file->path,
                    text);
}

void vj_libav_release(vj_libav_scratch *scratch)
{
    free(scratch->rgb);
    *scratch = (vj_libav_scratch){0};
}
