/*
 * An open video: choice of the stream, its decoder, its packets held in memory and the presentation time of every
 * frame. Holding the compressed packets (bounded by the limit on the file's size) means one pass over the file and no
 * seeking, which is where containers and codecs disagree most.
 */
#include <libavutil/avutil.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "video/inside.h"

static const char *const verdict_names[VJ_VIDEO_VERDICTS] = {"ok",           "missing",   "not_regular", "empty",
                                                             "unrecognised", "no_stream", "no_decoder",  "too_large",
                                                             "corrupt",      "too_short", "failed"};

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

static int is_candidate(const AVStream *stream)
{
    return stream->codecpar->codec_type == AVMEDIA_TYPE_VIDEO && !(stream->disposition & AV_DISPOSITION_ATTACHED_PIC);
}

/* FFmpeg's best stream, unless that is a cover picture; all others are not even read. */
static const AVStream *choose_stream(AVFormatContext *format)
{
    int best = av_find_best_stream(format, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    if (best >= 0 && !is_candidate(format->streams[best])) best = -1;
    for (unsigned i = 0; best < 0 && i < format->nb_streams; i++)
        if (is_candidate(format->streams[i])) best = (int)i;
    for (unsigned i = 0; i < format->nb_streams; i++)
        if ((int)i != best) format->streams[i]->discard = AVDISCARD_ALL;
    return best < 0 ? NULL : format->streams[best];
}

static vj_video_verdict open_decoder(vj_video *v, const AVStream *stream, vj_reason reason)
{
    const AVCodecParameters *given = stream->codecpar;
    if ((int64_t)given->width * given->height > VJ_VIDEO_MAX_PIXELS)
        return vj_refuse(reason, VJ_VIDEO_TOO_LARGE, "%d x %d pixels, at most %lld are decoded", given->width,
                         given->height, (long long)VJ_VIDEO_MAX_PIXELS);
    const AVCodec *codec = avcodec_find_decoder(given->codec_id);
    if (!codec)
        return vj_refuse(reason, VJ_VIDEO_NO_DECODER, "no decoder for codec %s", avcodec_get_name(given->codec_id));
    v->decoder = avcodec_alloc_context3(codec);
    if (!v->decoder) return vj_refuse(reason, VJ_VIDEO_FAILED, "out of memory");
    int error = avcodec_parameters_to_context(v->decoder, given);
    if (error < 0) return vj_refuse_av(reason, VJ_VIDEO_FAILED, error, "decoder");
    v->decoder->pkt_timebase = stream->time_base;
    v->decoder->thread_count = 1; /* ranks are the parallelism; frame threads lose on small pictures */
    v->decoder->max_pixels = VJ_VIDEO_MAX_PIXELS;
    v->decoder->err_recognition = AV_EF_CRCCHECK;
    error = avcodec_open2(v->decoder, codec, NULL);
    if (error < 0) return vj_refuse_av(reason, VJ_VIDEO_NO_DECODER, error, avcodec_get_name(given->codec_id));
    return VJ_VIDEO_OK;
}

static void describe(vj_video *v, AVFormatContext *format, AVStream *stream)
{
    vj_video_info *info = &v->info;
    snprintf(info->container, sizeof info->container, "%.*s", (int)strcspn(format->iformat->name, ","),
             format->iformat->name);
    snprintf(info->codec, sizeof info->codec, "%s", avcodec_get_name(stream->codecpar->codec_id));
    const uint8_t *matrix = av_stream_get_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, NULL);
    v->orientation = vj_orientation_from((const int32_t *)matrix, &info->rotation);
    v->aspect = av_guess_sample_aspect_ratio(format, stream, NULL);
    vj_shown_size(stream->codecpar->width, stream->codecpar->height, v->aspect, v->orientation, &info->width,
                  &info->height);
    AVRational rate = av_guess_frame_rate(format, stream, NULL);
    v->nominal_fps = rate.num > 0 && rate.den > 0 ? av_q2d(rate) : 25;
    v->tick_s = av_q2d(stream->time_base);
    v->promised = stream->nb_frames;
}

static vj_video_verdict open_stream(vj_video *v, vj_media_file *file, vj_reason reason)
{
    const AVStream *stream = choose_stream(file->format);
    if (!stream)
        return vj_refuse(reason, VJ_VIDEO_NO_STREAM, "no video among %u streams (%s)", file->format->nb_streams,
                         file->format->iformat->name);
    vj_video_verdict verdict = open_decoder(v, stream, reason);
    if (verdict != VJ_VIDEO_OK) return verdict;
    describe(v, file->format, file->format->streams[stream->index]);
    return vj_video_index(v, file->format, stream, reason);
}

vj_status vj_video_open(vj_video **video, const char *path, vj_video_verdict *verdict, char *reason, int reason_bytes)
{
    *video = NULL;
    reason[0] = '\0';
    vj_video *v = calloc(1, sizeof *v);
    if (!v) return vj_raise(VJ_ERR_MEMORY, "no memory to open %s", path);
    vj_media_file file;
    vj_reason why = {reason, reason_bytes};
    vj_status status = vj_media_file_open(&file, path, verdict, why);
    if (status == VJ_OK && *verdict == VJ_VIDEO_OK) *verdict = open_stream(v, &file, why);
    vj_media_file_close(&file);
    if (status == VJ_OK && *verdict == VJ_VIDEO_OK)
        *video = v;
    else
        vj_video_close(v);
    return status;
}

void vj_video_close(vj_video *v)
{
    if (!v) return;
    for (int64_t i = 0; i < v->packet_count; i++) av_packet_free(&v->packets[i]);
    free(v->packets);
    free(v->times);
    vj_converter_release(&v->converter);
    avcodec_free_context(&v->decoder);
    free(v);
}

/* ------------------------------------------------------------------------------------------------ packets */

static int keep_packet(vj_video *v, AVPacket *packet)
{
    if (v->packet_count == v->packet_room) {
        int64_t room = v->packet_room ? 2 * v->packet_room : 256;
        AVPacket **grown = realloc(v->packets, (size_t)room * sizeof *grown);
        if (!grown) return AVERROR(ENOMEM);
        v->packets = grown;
        v->packet_room = room;
    }
    AVPacket *kept = av_packet_alloc();
    if (!kept) return AVERROR(ENOMEM);
    av_packet_move_ref(kept, packet);
    v->packets[v->packet_count++] = kept;
    return 0;
}

static const int64_t most_ticks = INT64_C(1) << 61;

int64_t vj_sane_timestamp(int64_t ticks)
{
    return ticks < -most_ticks || ticks > most_ticks ? AV_NOPTS_VALUE : ticks;
}

/*
 * Joined recordings start their clock again in the middle: let it run on, or two frames would have the same time.
 * Timestamps and *last are within 2^61 and a step is below it, so the offset, which only grows, stays below 3 x 2^61
 * and no sum here reaches 2^63.
 */
static void continue_clock(AVPacket *packet, int64_t *last, int64_t *offset)
{
    packet->dts = vj_sane_timestamp(packet->dts);
    packet->pts = vj_sane_timestamp(packet->pts);
    if (packet->dts == AV_NOPTS_VALUE) return;
    int64_t step = packet->duration > 0 && packet->duration < most_ticks ? packet->duration : 1;
    if (*last != AV_NOPTS_VALUE && packet->dts + *offset < *last) *offset = *last + step - packet->dts;
    packet->dts = vj_sane_timestamp(packet->dts + *offset);
    if (packet->pts != AV_NOPTS_VALUE) packet->pts = vj_sane_timestamp(packet->pts + *offset);
    if (packet->dts != AV_NOPTS_VALUE) *last = packet->dts;
}

static vj_video_verdict read_packets(vj_video *v, AVFormatContext *format, int stream, vj_reason reason)
{
    AVPacket *packet = av_packet_alloc();
    int error = packet ? 0 : AVERROR(ENOMEM);
    int64_t bytes = 0, last = AV_NOPTS_VALUE, offset = 0;
    while (error >= 0 && bytes <= VJ_VIDEO_MAX_BYTES && (error = av_read_frame(format, packet)) >= 0) {
        if (packet->stream_index == stream) {
            bytes += packet->size + (int64_t)sizeof *packet; /* an index can name the same bytes again and again */
            continue_clock(packet, &last, &offset);
            error = keep_packet(v, packet);
        }
        av_packet_unref(packet);
    }
    av_packet_free(&packet);
    if (error == AVERROR(ENOMEM)) return vj_refuse(reason, VJ_VIDEO_FAILED, "out of memory");
    if (bytes > VJ_VIDEO_MAX_BYTES)
        return vj_refuse(reason, VJ_VIDEO_TOO_LARGE, "packets of more than %lld bytes", (long long)VJ_VIDEO_MAX_BYTES);
    if (error < 0 && error != AVERROR_EOF) v->read_errors++;
    if (v->packet_count == 0) return vj_refuse(reason, VJ_VIDEO_TOO_SHORT, "the video stream holds no packet");
    return VJ_VIDEO_OK;
}

/* ------------------------------------------------------------------------------------------------ times */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Packets outside an edit list are decoded but not shown. Returns 0 when a shown packet has no time. */
static int times_from_packets(vj_video *v)
{
    int64_t frames = 0, origin = INT64_MAX;
    for (int64_t i = 0; i < v->packet_count; i++) {
        const AVPacket *packet = v->packets[i];
        if (packet->flags & AV_PKT_FLAG_DISCARD) continue;
        if (packet->pts == AV_NOPTS_VALUE) return 0;
        if (packet->pts < origin) origin = packet->pts;
        v->times[frames++] = (double)packet->pts;
    }
    for (int64_t k = 0; k < frames; k++) v->times[k] = (v->times[k] - (double)origin) * v->tick_s;
    qsort(v->times, (size_t)frames, sizeof *v->times, ascending);
    v->info.frames = frames;
    v->origin = origin;
    return 1;
}

static int note_time(void *user, AVFrame *frame)
{
    vj_video *v = user;
    if (v->info.frames == v->packet_count) return 0; /* more frames than packets: the surplus stays unused */
    int64_t ticks = vj_sane_timestamp(frame->best_effort_timestamp);
    double time = (double)ticks;
    if (ticks == AV_NOPTS_VALUE || (v->info.frames > 0 && time <= v->times[v->info.frames - 1])) v->by_count = 1;
    v->times[v->info.frames++] = time;
    return 0;
}

/* The slow way, for streams without timestamps: decode all to count, and trust the decoder's times only if they ascend.
 */
static vj_video_verdict times_from_decoding(vj_video *v, vj_reason reason)
{
    int64_t decoded, corrupt;
    v->info.frames = 0;
    int error = vj_video_decode(v, note_time, v, &decoded, &corrupt);
    if (error < 0) return vj_refuse_av(reason, VJ_VIDEO_FAILED, error, "decoding");
    if (v->info.frames > 0 && !v->by_count) v->origin = (int64_t)v->times[0];
    for (int64_t k = 0; k < v->info.frames; k++)
        v->times[k] = v->by_count ? (double)k / v->nominal_fps : (v->times[k] - (double)v->origin) * v->tick_s;
    return VJ_VIDEO_OK;
}

vj_video_verdict vj_video_index(vj_video *v, AVFormatContext *format, const AVStream *stream, vj_reason reason)
{
    vj_video_verdict verdict = read_packets(v, format, stream->index, reason);
    if (verdict != VJ_VIDEO_OK) return verdict;
    v->times = calloc((size_t)v->packet_count, sizeof *v->times);
    if (!v->times) return vj_refuse(reason, VJ_VIDEO_FAILED, "out of memory");
    if (!times_from_packets(v)) {
        verdict = times_from_decoding(v, reason);
        if (verdict != VJ_VIDEO_OK) return verdict;
    }
    int64_t n = v->info.frames;
    if (n == 0) return vj_refuse(reason, VJ_VIDEO_TOO_SHORT, "no frame in %lld packets", (long long)v->packet_count);
    v->info.fps = n > 1 && v->times[n - 1] > 0 ? (double)(n - 1) / v->times[n - 1] : v->nominal_fps;
    v->info.duration_s = v->times[n - 1] + 1 / v->info.fps;
    v->info.is_image = n == 1 && strstr(format->iformat->name, "_pipe") != NULL;
    return VJ_VIDEO_OK;
}
