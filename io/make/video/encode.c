/* Encodes and muxes with FFmpeg's libraries into a file with a temporary name, then renames it. */
#include "video/encode.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libswscale/swscale.h>
#include <stdio.h>

#include "base/file.h"

typedef struct {
    const char *extension, *container, *codec, *encoder;
    enum AVPixelFormat pixels;
    int quantiser;       /* fixed quantiser; 0: set by an option of the encoder */
    const char *options; /* options of the encoder, "key=value:key=value" */
} recipe;

static const recipe recipes[VJ_ENCODINGS] = {
    /* mbtree=0: with its macroblock tree, x264 gives different bytes from run to run for very small pictures. */
    [VJ_ENCODING_H264] = {"mp4", "mp4", "h264", "libx264", AV_PIX_FMT_YUV444P, 0, "preset=veryfast:crf=8:mbtree=0"},
    [VJ_ENCODING_MPEG4] = {"avi", "avi", "mpeg4", "mpeg4", AV_PIX_FMT_YUV420P, 2, ""},
    [VJ_ENCODING_MJPEG] = {"mov", "mov", "mjpeg", "mjpeg", AV_PIX_FMT_YUVJ444P, 2, ""},
    [VJ_ENCODING_VP9] = {"webm", "webm", "vp9", "libvpx-vp9", AV_PIX_FMT_YUV444P, 0,
                         "b=0:crf=8:deadline=realtime:cpu-used=6:lag-in-frames=0"},
    [VJ_ENCODING_FFV1] = {"mkv", "matroska", "ffv1", "ffv1", AV_PIX_FMT_BGR0, 0, "level=3:slicecrc=1"},
};

const char *vj_encoding_extension(vj_encoding encoding)
{
    return recipes[encoding].extension;
}

const char *vj_encoding_codec(vj_encoding encoding)
{
    return recipes[encoding].codec;
}

int vj_encoding_available(vj_encoding encoding)
{
    return avcodec_find_encoder_by_name(recipes[encoding].encoder) != NULL;
}

typedef struct {
    AVFormatContext *format;
    AVStream *stream;
    AVCodecContext *encoder;
    struct SwsContext *sws;
    AVFrame *frame;
    AVPacket *packet;
} writer;

static int open_encoder(writer *w, const recipe *r, const vj_video_form *form)
{
    const AVCodec *codec = avcodec_find_encoder_by_name(r->encoder);
    if (!codec) return AVERROR_ENCODER_NOT_FOUND;
    AVCodecContext *e = w->encoder = avcodec_alloc_context3(codec);
    if (!e) return AVERROR(ENOMEM);
    e->width = form->width;
    e->height = form->height;
    e->pix_fmt = r->pixels;
    e->time_base = (AVRational){1, form->fps};
    e->framerate = (AVRational){form->fps, 1};
    e->sample_aspect_ratio = (AVRational){form->aspect_num, form->aspect_den ? form->aspect_den : 1};
    e->gop_size = 12;
    e->thread_count = 1; /* ranks are the parallelism; also gives the same bytes everywhere */
    e->flags |= AV_CODEC_FLAG_BITEXACT;
    if (w->format->oformat->flags & AVFMT_GLOBALHEADER) e->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    if (r->pixels != AV_PIX_FMT_BGR0) {
        e->color_range = r->pixels == AV_PIX_FMT_YUVJ444P ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG;
        e->colorspace = AVCOL_SPC_SMPTE170M;
    }
    if (r->quantiser) {
        e->flags |= AV_CODEC_FLAG_QSCALE;
        e->global_quality = r->quantiser * FF_QP2LAMBDA;
    }
    AVDictionary *options = NULL;
    int error = av_dict_parse_string(&options, r->options, "=", ":", 0);
    if (error >= 0) error = avcodec_open2(e, codec, &options);
    if (error >= 0 && av_dict_count(options) > 0) error = AVERROR_OPTION_NOT_FOUND;
    av_dict_free(&options);
    return error;
}

static int open_output(writer *w, const char *path)
{
    char url[4096 + 8];
    snprintf(url, sizeof url, "file:%s", path); /* without "file:", a name with a colon would be taken for a protocol */
    return avio_open(&w->format->pb, url, AVIO_FLAG_WRITE);
}

static int open_stream(writer *w, const vj_video_form *form)
{
    w->stream = avformat_new_stream(w->format, NULL);
    if (!w->stream) return AVERROR(ENOMEM);
    w->stream->time_base = w->encoder->time_base;
    w->stream->avg_frame_rate = w->encoder->framerate;
    w->stream->sample_aspect_ratio = w->encoder->sample_aspect_ratio;
    int error = avcodec_parameters_from_context(w->stream->codecpar, w->encoder);
    if (error < 0) return error;
    if (form->rotation) {
        uint8_t *matrix = av_stream_new_side_data(w->stream, AV_PKT_DATA_DISPLAYMATRIX, 9 * sizeof(int32_t));
        if (!matrix) return AVERROR(ENOMEM);
        av_display_rotation_set((int32_t *)matrix, form->rotation); /* clockwise, unlike its getter */
    }
    return avformat_write_header(w->format, NULL);
}

static int open_frame(writer *w)
{
    const AVCodecContext *e = w->encoder;
    w->packet = av_packet_alloc();
    w->frame = av_frame_alloc();
    if (!w->packet || !w->frame) return AVERROR(ENOMEM);
    w->frame->format = e->pix_fmt;
    w->frame->width = e->width;
    w->frame->height = e->height;
    w->frame->color_range = e->color_range;
    w->frame->colorspace = e->colorspace;
    w->sws = sws_getContext(e->width, e->height, AV_PIX_FMT_RGB24, e->width, e->height, e->pix_fmt,
                            SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INP | SWS_BITEXACT, NULL, NULL, NULL);
    if (!w->sws) return AVERROR(ENOSYS);
    /* Fails for an RGB target, for which nothing needs to be set. */
    (void)sws_setColorspaceDetails(w->sws, sws_getCoefficients(SWS_CS_DEFAULT), 1, sws_getCoefficients(SWS_CS_ITU601),
                                   e->color_range == AVCOL_RANGE_JPEG, 0, 1 << 16, 1 << 16);
    return av_frame_get_buffer(w->frame, 0);
}

/* Encode a picture (NULL: the end) and mux the packets that come out. */
static int encode(writer *w, const uint8_t *rgb, int64_t pts)
{
    int error = 0;
    if (rgb) {
        error = av_frame_make_writable(w->frame);
        if (error < 0) return error;
        const uint8_t *const planes[4] = {rgb};
        const int strides[4] = {3 * w->frame->width};
        error = sws_scale(w->sws, planes, strides, 0, w->frame->height, w->frame->data, w->frame->linesize);
        if (error < 0) return error;
        w->frame->pts = pts;
        w->frame->quality = w->encoder->global_quality;
    }
    error = avcodec_send_frame(w->encoder, rgb ? w->frame : NULL);
    while (error >= 0 && (error = avcodec_receive_packet(w->encoder, w->packet)) >= 0) {
        if (w->packet->duration == 0) w->packet->duration = 1;
        av_packet_rescale_ts(w->packet, w->encoder->time_base, w->stream->time_base);
        w->packet->stream_index = w->stream->index;
        error = av_interleaved_write_frame(w->format, w->packet);
    }
    return error == AVERROR(EAGAIN) || error == AVERROR_EOF ? 0 : error;
}

static int mux(writer *w, const char *path, const vj_video_form *form, const uint8_t *frames, int count)
{
    const recipe *r = &recipes[form->encoding];
    int error = avformat_alloc_output_context2(&w->format, NULL, r->container, NULL);
    if (error < 0) return error;
    w->format->flags |= AVFMT_FLAG_BITEXACT;
    if ((error = open_encoder(w, r, form)) < 0 || (error = open_output(w, path)) < 0 ||
        (error = open_stream(w, form)) < 0 || (error = open_frame(w)) < 0)
        return error;
    size_t picture = 3 * (size_t)form->width * (size_t)form->height;
    for (int k = 0; k < count && error >= 0; k++)
        error = encode(w, frames + picture * (size_t)k, form->ticks ? form->ticks[k] : k);
    if (error >= 0) error = encode(w, NULL, 0);
    return error < 0 ? error : av_write_trailer(w->format);
}

vj_status vj_video_write(const char *path, const vj_video_form *form, const uint8_t *frames, int count)
{
    vj_file file;
    VJ_TRY(vj_file_begin(&file, path));
    av_log_set_level(AV_LOG_ERROR);
    writer w = {0};
    int error = mux(&w, file.part, form, frames, count); /* opens the file again by its name */
    if (w.format) {
        int closed = avio_closep(&w.format->pb);
        if (error >= 0) error = closed;
    }
    sws_freeContext(w.sws);
    av_frame_free(&w.frame);
    av_packet_free(&w.packet);
    avcodec_free_context(&w.encoder);
    avformat_free_context(w.format);
    if (error < 0) {
        char text[AV_ERROR_MAX_STRING_SIZE];
        av_strerror(error, text, sizeof text);
        vj_file_rollback(&file);
        return vj_raise(VJ_ERR_LIBRARY, "encode %s with %s: %s", path, recipes[form->encoding].encoder, text);
    }
    return vj_file_commit(&file);
}
