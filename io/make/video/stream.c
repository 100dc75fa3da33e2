/* Opens and closes a video, chooses its stream, opens the decoder, and fills in vj_video_info. */
#include <libavutil/avutil.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "video/inside.h"

const vj_video_limits vj_video_usual_limits = {.max_bytes = 1000000000,
                                               .max_kept = 64000000,
                                               .max_pixels = VJ_VIDEO_MAX_PIXELS,
                                               .max_damage = 0.1,
                                               .decode_all = 0};

static const char *const verdict_names[VJ_VIDEO_VERDICTS] = {
    "ok",      "missing",   "not_regular", "empty",     "unrecognised", "no_stream", "no_decoder",    "too_large",
    "corrupt", "too_short", "failed",      "forbidden", "crashed",      "timed_out", "out_of_memory", "unreadable"};

const char *vj_video_verdict_name(vj_video_verdict verdict)
{
    return verdict_names[verdict];
}

const vj_video_info *vj_video_describe(const vj_video *video)
{
    return &video->info;
}

const double *vj_video_times(const vj_video *video)
{
    return video->times;
}

const char *vj_video_reason(const vj_video *video)
{
    return video->reason;
}

/* ------------------------------------------------------------------------------------------------ the stream */

static int is_candidate(const AVStream *stream)
{
    return stream->codecpar->codec_type == AVMEDIA_TYPE_VIDEO && !(stream->disposition & AV_DISPOSITION_ATTACHED_PIC);
}

/* Return FFmpeg's best video stream, unless that is a cover picture; -1: none. The other streams are not read. */
static int choose_stream(AVFormatContext *format)
{
    int best = av_find_best_stream(format, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    if (best >= 0 && !is_candidate(format->streams[best])) best = -1;
    for (unsigned i = 0; best < 0 && i < format->nb_streams; i++)
        if (is_candidate(format->streams[i])) best = (int)i;
    for (unsigned i = 0; i < format->nb_streams; i++)
        if ((int)i != best) format->streams[i]->discard = AVDISCARD_ALL;
    return best;
}

static vj_video_verdict open_decoder(vj_video *v, const AVStream *stream)
{
    const AVCodecParameters *given = stream->codecpar;
    const char *name = avcodec_get_name(given->codec_id);
    if ((int64_t)given->width * given->height > v->limits.max_pixels)
        return vj_video_refuse(v, VJ_VIDEO_TOO_LARGE, "%d x %d pixels, at most %lld are decoded", given->width,
                               given->height, (long long)v->limits.max_pixels);
    const AVCodec *codec = avcodec_find_decoder(given->codec_id);
    if (!codec) return vj_video_refuse(v, VJ_VIDEO_NO_DECODER, "no decoder for codec %s", name);
    if (!vj_decoder_allowed(codec->name))
        return vj_video_refuse(v, VJ_VIDEO_FORBIDDEN, "the codec %s is not decoded", name);
    v->decoder = avcodec_alloc_context3(codec);
    int error = v->decoder ? avcodec_parameters_to_context(v->decoder, given) : AVERROR(ENOMEM);
    if (error < 0) return vj_refuse_av(v, VJ_VIDEO_FAILED, error, "decoder");
    v->decoder->pkt_timebase = stream->time_base;
    v->decoder->thread_count = 1; /* processes are the parallelism; frame threads lose on small pictures */
    v->decoder->max_pixels = v->limits.max_pixels;
    v->decoder->err_recognition = AV_EF_CRCCHECK;
    v->decoder->opaque = v; /* for the messages of the decoder, see file.c */
    error = avcodec_open2(v->decoder, codec, NULL);
    if (error < 0) return vj_refuse_av(v, VJ_VIDEO_NO_DECODER, error, name);
    return VJ_VIDEO_OK;
}

/*
 * Return how many packets the file's header promises; 0: it does not say. In MP4 an edit list may leave out frames, and
 * in AVI the header counts places, of which those without a packet show the frame before once more: FFmpeg's index has
 * the packets. An AVI that was cut off has lost its index, which follows the frames; what FFmpeg indexed while it
 * looked at the beginning does not come near the end.
 */
static int64_t promised_packets(const AVFormatContext *format, AVStream *stream)
{
    enum { NEAR = 8 };
    const char *container = format->iformat->name;
    const int indexed = avformat_index_get_entries_count(stream);
    const AVIndexEntry *last = avformat_index_get_entry(stream, indexed - 1);
    const int whole =
        strstr(container, "mp4") || (strcmp(container, "avi") == 0 && last &&
                                     last->timestamp >= stream->nb_frames - stream->nb_frames / NEAR - NEAR);
    return whole && stream->nb_frames > indexed ? indexed : stream->nb_frames;
}

static void describe(vj_video *v, AVFormatContext *format, AVStream *stream)
{
    vj_video_info *info = &v->info;
    snprintf(info->codec, sizeof info->codec, "%s", avcodec_get_name(stream->codecpar->codec_id));
    const uint8_t *matrix = av_stream_get_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, NULL);
    v->orientation = vj_orientation_from((const int32_t *)matrix, &info->rotation);
    v->aspect = av_guess_sample_aspect_ratio(format, stream, NULL);
    vj_shown_size(stream->codecpar->width, stream->codecpar->height, v->aspect, v->orientation, &info->width,
                  &info->height);
    AVRational rate = av_guess_frame_rate(format, stream, NULL);
    v->nominal_fps = rate.num > 0 && rate.den > 0 ? av_q2d(rate) : 25;
    v->tick_s = av_q2d(stream->time_base);
    v->promised = promised_packets(format, stream);
}

/* Choose the stream and open its decoder. */
static vj_video_verdict open_stream(vj_video *v)
{
    AVFormatContext *format = v->file.format;
    snprintf(v->info.container, sizeof v->info.container, "%.*s", (int)strcspn(format->iformat->name, ","),
             format->iformat->name);
    v->stream = choose_stream(format);
    if (v->stream < 0)
        return vj_video_refuse(v, VJ_VIDEO_NO_STREAM, "no video among %u streams (%s)", format->nb_streams,
                               format->iformat->name);
    describe(v, format, format->streams[v->stream]);
    return open_decoder(v, format->streams[v->stream]);
}

/* ------------------------------------------------------------------------------------------------ open and close */

vj_status vj_video_create(vj_video **video)
{
    vj_video *v = calloc(1, sizeof *v);
    *video = v;
    if (!v) return vj_raise(VJ_ERR_MEMORY, "no memory for a reader of videos");
    v->owned_fd = -1;
    v->read = av_packet_alloc();
    v->frame = av_frame_alloc();
    v->held = av_frame_alloc();
    if (v->read && v->frame && v->held) return VJ_OK;
    vj_video_destroy(v);
    *video = NULL;
    return vj_raise(VJ_ERR_MEMORY, "no memory for a reader of videos");
}

/* Keeps what is known of the file. */
static void close_file(vj_video *v)
{
    vj_media_file_close(&v->file);
    if (v->owned_fd >= 0) close(v->owned_fd);
    v->owned_fd = -1;
    avcodec_free_context(&v->decoder);
    vj_packets_clear(v);
    av_frame_unref(v->held);
}

void vj_video_close(vj_video *v)
{
    close_file(v);
    v->info = (vj_video_info){0};
    v->reason[0] = '\0';
}

void vj_video_destroy(vj_video *v)
{
    if (!v) return;
    vj_video_close(v);
    vj_packets_release(v);
    vj_converter_release(&v->converter);
    vj_converter_release(&v->look_converter);
    av_packet_free(&v->read);
    av_frame_free(&v->frame);
    av_frame_free(&v->held);
    free(v);
}

/* If a file cannot be opened, add to the reason what it is, if its first bytes show that. */
static vj_video_verdict explain(vj_video *v, vj_video_verdict verdict)
{
    const vj_media_file *file = &v->file;
    const size_t bytes = file->begin_bytes > 0 ? (size_t)file->begin_bytes : 0;
    if (verdict == VJ_VIDEO_TOO_LARGE || verdict == VJ_VIDEO_OUT_OF_MEMORY) return verdict;
    const char *is = vj_signature(file->begin, bytes);
    if (!is && (verdict == VJ_VIDEO_UNRECOGNISED || strstr(v->reason, "svg")))
        is = vj_signature_text(file->begin, bytes);
    return is ? vj_video_refuse(v, verdict, "this is %s", is) : verdict;
}

vj_video_verdict vj_video_open(vj_video *v, int fd, const vj_video_limits *limits)
{
    vj_video_close(v);
    v->limits = *limits;
    vj_video_verdict verdict = vj_media_file_open(v, fd);
    /* FFmpeg finds JPEG data without a container anywhere, also inside an archive or a document. */
    if (verdict == VJ_VIDEO_OK && strcmp(v->file.format->iformat->name, "mjpeg") == 0 &&
        vj_signature(v->file.begin, (size_t)v->file.begin_bytes))
        verdict = VJ_VIDEO_UNRECOGNISED;
    if (verdict == VJ_VIDEO_OK) verdict = open_stream(v);
    if (verdict == VJ_VIDEO_OK) verdict = vj_packets_index(v);
    if (verdict != VJ_VIDEO_OK)
        verdict = explain(v, verdict);
    else if (strcmp(v->info.container, "webp_pipe") == 0 &&
             vj_signature_is_animated_webp(v->file.begin, (size_t)v->file.begin_bytes))
        verdict = vj_video_refuse(v, VJ_VIDEO_NO_DECODER,
                                  "this is an animated WebP picture: this FFmpeg has no decoder "
                                  "for it");
    if (verdict == VJ_VIDEO_OK && v->info.is_image) verdict = vj_photo_inspect(v);
    if (v->file.failed) verdict = vj_video_refuse(v, VJ_VIDEO_UNREADABLE, "reading: %s", strerror(v->file.failed));
    if (verdict != VJ_VIDEO_OK) close_file(v);
    return verdict;
}

vj_status vj_video_open_path(vj_video *v, const char *path, vj_video_verdict *verdict)
{
    int fd;
    int64_t bytes;
    vj_video_close(v);
    VJ_TRY(vj_regular_open(path, vj_video_usual_limits.max_bytes, &fd, &bytes, verdict, v->reason));
    if (*verdict != VJ_VIDEO_OK) return VJ_OK;
    *verdict = vj_video_open(v, fd, &vj_video_usual_limits);
    if (*verdict == VJ_VIDEO_OK)
        v->owned_fd = fd;
    else
        close(fd);
    return VJ_OK;
}
