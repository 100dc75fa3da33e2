/* Decoding the packets of an open video, and picking the frames shown at given times on the way. */
#include <stdlib.h>
#include <string.h>

#include "video/inside.h"

/* Errors on the frames still inside the decoder at the end; no decoder holds more frames, so beyond it is stuck. */
enum { MOST_DAMAGED = 64 };

/* All frames the decoder has ready. 0: it wants more packets, or has ended. `retries`: errors to go on after. */
static int receive(vj_video *v, AVFrame *frame, int retries, vj_on_frame *on_frame, void *user, int64_t *decoded,
                   int64_t *corrupt)
{
    for (;;) {
        int error = avcodec_receive_frame(v->decoder, frame);
        if (error == AVERROR(EAGAIN) || error == AVERROR_EOF) return 0;
        if (error == AVERROR(ENOMEM)) return error;
        if (error < 0) {
            ++*corrupt;
            if (retries-- > 0) continue;
            return 0;
        }
        ++*decoded;
        if (frame->decode_error_flags || (frame->flags & AV_FRAME_FLAG_CORRUPT)) ++*corrupt;
        error = on_frame(user, frame);
        av_frame_unref(frame);
        if (error < 0) return error;
    }
}

int vj_video_decode(vj_video *v, vj_on_frame *on_frame, void *user, int64_t *decoded, int64_t *corrupt)
{
    *decoded = *corrupt = 0;
    AVFrame *frame = av_frame_alloc();
    if (!frame) return AVERROR(ENOMEM);
    avcodec_flush_buffers(v->decoder);
    int error = 0;
    for (int64_t i = 0; i <= v->packet_count && error >= 0; i++) {
        /* A packet of NULL, after the last, asks for the frames still inside the decoder. */
        error = avcodec_send_packet(v->decoder, i < v->packet_count ? v->packets[i] : NULL);
        if (error == AVERROR(ENOMEM)) break;
        if (error < 0) ++*corrupt;
        error = receive(v, frame, i < v->packet_count ? 0 : MOST_DAMAGED, on_frame, user, decoded, corrupt);
    }
    av_frame_free(&frame);
    return error < 0 ? error : 0;
}

/* ------------------------------------------------------------------------------------------------ picking */

typedef struct {
    vj_video *video;
    const double *times;
    int count, next, short_side; /* times[next] is the first not served */
    AVFrame *held;               /* the newest frame: shown until the next one's time */
    double held_s;
    int held_used; /* out[next - 1] is the held frame */
    int64_t order;
    int width, height;
    uint8_t *out;
    double *pts_s;
} picker;

static size_t picture_bytes(const picker *p)
{
    return 3 * (size_t)p->width * (size_t)p->height;
}

/* The first frame kept decides the size. */
static int allocate(picker *p)
{
    vj_shown_size(p->held->width, p->held->height, p->video->aspect, p->video->orientation, &p->width, &p->height);
    p->video->info.width = p->width;
    p->video->info.height = p->height;
    int error = vj_fit_short_side(p->short_side, &p->width, &p->height);
    if (error < 0) return error;
    if (picture_bytes(p) > (size_t)VJ_VIDEO_MAX_RGB_BYTES / (size_t)p->count) return AVERROR(ERANGE);
    p->out = malloc(picture_bytes(p) * (size_t)p->count);
    return p->out ? 0 : AVERROR(ENOMEM);
}

static int serve_held(picker *p)
{
    if (!p->out) {
        int error = allocate(p);
        if (error < 0) return error;
    }
    uint8_t *at = p->out + picture_bytes(p) * (size_t)p->next;
    if (p->held_used) {
        memcpy(at, at - picture_bytes(p), picture_bytes(p));
    } else {
        vj_video *v = p->video;
        int error = vj_convert(&v->converter, p->held, v->orientation, p->width, p->height, at);
        if (error < 0) return error;
    }
    p->held_used = 1;
    p->pts_s[p->next++] = p->held_s;
    return 0;
}

/* A frame is shown from its own time until the next frame's; a microsecond forgives rounding of the times asked for. */
static int pick(void *user, AVFrame *frame)
{
    picker *p = user;
    const vj_video *v = p->video;
    double time = (double)p->order++ / v->nominal_fps;
    int64_t ticks = vj_sane_timestamp(frame->best_effort_timestamp);
    if (!v->by_count && ticks != AV_NOPTS_VALUE) time = (double)(ticks - v->origin) * v->tick_s;
    while (p->held->data[0] && p->next < p->count && p->times[p->next] + 1e-6 < time) {
        int error = serve_held(p);
        if (error < 0) return error;
    }
    if (p->next == p->count) return 0; /* decoding goes on only to count */
    av_frame_unref(p->held);
    av_frame_move_ref(p->held, frame);
    p->held_s = time;
    p->held_used = 0;
    return 0;
}

static vj_video_verdict judge(vj_video *v, int error, int64_t decoded, int64_t corrupt, vj_reason reason)
{
    vj_video_info *info = &v->info;
    int64_t promised = v->promised > v->packet_count ? v->promised - v->packet_count : 0;
    int64_t lost = info->frames > decoded ? info->frames - decoded : 0;
    info->corrupt = corrupt + v->read_errors;
    info->missing = promised + lost;
    if (error == AVERROR(ERANGE))
        return vj_refuse(reason, VJ_VIDEO_TOO_LARGE,
                         "scaled, a frame has more than %d pixels a side or %lld in all, or the frames %lld bytes",
                         VJ_VIDEO_MAX_SIDE, (long long)VJ_VIDEO_MAX_PIXELS, (long long)VJ_VIDEO_MAX_RGB_BYTES);
    if (error == AVERROR(ENOSYS))
        return vj_refuse(reason, VJ_VIDEO_NO_DECODER, "this pixel format cannot be converted");
    if (error < 0) return vj_refuse_av(reason, VJ_VIDEO_FAILED, error, "decoding");
    if (decoded == 0)
        return vj_refuse(reason, corrupt ? VJ_VIDEO_CORRUPT : VJ_VIDEO_TOO_SHORT, "no frame could be decoded");
    if (10 * (info->corrupt + lost) > info->frames)
        return vj_refuse(reason, VJ_VIDEO_CORRUPT, "of %lld frames %lld are damaged and %lld missing",
                         (long long)info->frames, (long long)info->corrupt, (long long)lost);
    return VJ_VIDEO_OK;
}

vj_video_verdict vj_video_frames(vj_video *video, const double *times_s, int count, int short_side, uint8_t **out,
                                 int *height, int *width, double *pts_s, char *reason, int reason_bytes)
{
    *out = NULL;
    reason[0] = '\0';
    picker p = {.video = video,
                .times = times_s,
                .count = count,
                .short_side = short_side,
                .held = av_frame_alloc(),
                .pts_s = pts_s};
    int64_t decoded = 0, corrupt = 0;
    int error = p.held ? vj_video_decode(video, pick, &p, &decoded, &corrupt) : AVERROR(ENOMEM);
    while (error >= 0 && decoded > 0 && p.next < count) error = serve_held(&p);
    av_frame_free(&p.held);
    vj_video_verdict verdict = judge(video, error, decoded, corrupt, (vj_reason){reason, reason_bytes});
    if (verdict != VJ_VIDEO_OK) {
        free(p.out);
        return verdict;
    }
    *out = p.out;
    *height = p.height;
    *width = p.width;
    return VJ_VIDEO_OK;
}
