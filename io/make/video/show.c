/*
 * Decodes the pictures shown at given times. The packet list tells which frame is shown at each wanted time. Decoding
 * starts at the last key frame before that frame, jumps ahead to a later key frame where there is one between two
 * wanted frames, and skips frames that are neither wanted nor needed to decode others. Decoded frames are identified by
 * timestamp alone. If starting in the middle does not give the wanted frame undamaged (damage, or a false key frame),
 * everything is decoded from the start instead, so the result equals that of a full pass.
 */
#include <string.h>

#include "video/inside.h"

typedef struct {
    vj_video *video;
    const double *times;
    int count, next;              /* times[next] is the first time not served yet */
    const vj_timed_frame *target; /* the frame for that time; NULL: all are served */
    int64_t target_start;         /* number of the packet where decoding for it may start */
    vj_on_picture *on_picture;
    void *user;
    int held; /* whether video->held is set: the newest frame */
    int64_t held_ticks;
    int64_t number; /* number of the held picture */
    int64_t order;  /* frames decoded so far, if frames are identified by number */
    int held_damaged;
    int64_t corrupt, lost;
    vj_video_verdict verdict;
} show;

/* ------------------------------------------------------------------------------------------------ what is wanted */

/* Return the frame shown at a time, with a tolerance of a microsecond for rounding errors. */
static vj_timed_frame *frame_at(const vj_video *v, double time_s)
{
    int64_t low = 0, high = v->info.frames;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (v->times[middle] <= time_s + 1e-6)
            low = middle;
        else
            high = middle;
    }
    return &v->shown[low];
}

/* Return the packet where decoding for a frame must start: the last key frame that is not after it in the file nor in
 * time. */
static int64_t start_for(const vj_video *v, const vj_timed_frame *frame)
{
    for (int64_t i = frame->packet; i > v->start; i--)
        if ((v->packets[i].flags & AV_PKT_FLAG_KEY) && v->packets[i].pts != AV_NOPTS_VALUE &&
            v->packets[i].pts <= frame->ticks)
            return i;
    return v->start;
}

static void aim(show *s)
{
    const vj_video *v = s->video;
    s->target = s->next < s->count ? frame_at(v, s->times[s->next]) : NULL;
    s->target_start = s->target ? start_for(v, s->target) : v->start;
}

/* Mark the packets that hold wanted frames, for the decoder loop; or clear the marks. */
static void mark_wanted(const show *s, int wanted)
{
    vj_video *v = s->video;
    for (int k = 0; k < s->count; k++) v->packets[frame_at(v, s->times[k])->packet].wanted = wanted;
}

/* ------------------------------------------------------------------------------------------------ handing out */

/* Hand out the held frame for the target. Returns 0 if the receiver ended the decoding. */
static int hand_out(show *s)
{
    const vj_video *v = s->video;
    const int missing = s->held_ticks != s->target->ticks;
    s->lost += missing;
    const vj_picture picture = {.pts_s = v->by_number ? v->times[s->held_ticks]
                                                      : (double)(s->held_ticks - v->shown[0].ticks) * v->tick_s,
                                .number = s->number,
                                .damaged = missing || s->held_damaged,
                                .video = s->video};
    s->verdict = s->on_picture(s->user, s->next++, &picture);
    aim(s);
    return s->verdict == VJ_VIDEO_OK;
}

static void hold(show *s, int64_t ticks, int damaged)
{
    av_frame_unref(s->video->held);
    av_frame_move_ref(s->video->held, s->video->frame);
    s->held = 1;
    s->held_ticks = ticks;
    s->held_damaged = damaged;
    s->number++;
}

/*
 * Take a decoded frame. Targets before it will not come any more: the frame held before is handed out for them, or this
 * one if none was held. Returns 0 if the receiver ended the decoding.
 */
static int take_frame(show *s, int64_t ticks, int damaged)
{
    while (s->held && s->target && s->target->ticks < ticks)
        if (!hand_out(s)) return 0;
    hold(s, ticks, damaged);
    while (s->target && s->target->ticks <= ticks)
        if (!hand_out(s)) return 0;
    return 1;
}

static int64_t ticks_of(show *s)
{
    const AVFrame *frame = s->video->frame;
    if (s->video->by_number) return s->order++;
    int64_t ticks = vj_sane_timestamp(frame->pts);
    if (ticks == AV_NOPTS_VALUE) ticks = vj_sane_timestamp(frame->best_effort_timestamp);
    return ticks == AV_NOPTS_VALUE ? s->held_ticks : ticks;
}

static int is_flagged(const AVFrame *frame)
{
    return frame->decode_error_flags || (frame->flags & AV_FRAME_FLAG_CORRUPT);
}

/* Return the number of the packet of the frame shown at `ticks`. */
static int64_t packet_at(const vj_video *v, int64_t ticks)
{
    int64_t low = 0, high = v->info.frames;
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (v->shown[middle].ticks <= ticks)
            low = middle;
        else
            high = middle;
    }
    return v->shown[low].packet;
}

/*
 * Return whether the decoded frame depends on others although its packet is flagged as a key frame: some containers
 * flag all packets. The start of a gradual refresh is flagged correctly.
 */
static int is_no_key(const vj_video *v, int64_t packet)
{
    const enum AVPictureType type = v->frame->pict_type;
    return (v->packets[packet].flags & AV_PKT_FLAG_KEY) && !v->packets[packet].gradual && !v->frame->key_frame &&
           (type == AV_PICTURE_TYPE_P || type == AV_PICTURE_TYPE_B);
}

/* Return whether the decoded frame is damaged. If the decoder flags it, frames that depend on it are damaged too. */
static int is_damaged(const show *s, int64_t ticks)
{
    vj_video *v = s->video;
    const int64_t packet = packet_at(v, ticks);
    if (is_no_key(v, packet)) vj_packets_no_key(v, packet);
    if (is_flagged(v->frame)) vj_packets_damage(v, packet);
    return is_flagged(v->frame) || v->packets[packet].damaged;
}

/* ------------------------------------------------------------------------------------------------ decoding */

enum { DONE, NO_GOOD }; /* or an AVERROR */

/*
 * Decode from packet `first` until a later start is better for the next target. Returns NO_GOOD at the first sign of
 * damage; nothing damaged is handed out.
 */
static int decode_stretch(show *s, int64_t first)
{
    vj_video *v = s->video;
    const int64_t floor = first > v->start ? v->packets[first].pts : v->shown[0].ticks;
    vj_decoding decoding;
    int error;
    vj_decoding_begin(v, &decoding, first, 1);
    s->held = 0;
    while ((error = vj_decoding_next(v, &decoding)) > 0) {
        int64_t ticks = ticks_of(s);
        if (ticks < floor) continue; /* shown before the key frame; depends on frames before it */
        if (is_flagged(v->frame) || decoding.faults > 0 || is_no_key(v, packet_at(v, ticks))) return NO_GOOD;
        if (s->target->ticks < ticks || (s->held && ticks < s->held_ticks)) return NO_GOOD;
        v->info.decoded++;
        if (!take_frame(s, ticks, 0) || !s->target || s->target_start > decoding.next) return DONE;
    }
    return error < 0 ? error : NO_GOOD;
}

/*
 * Decode from the start to the last target, or to the end if limits.decode_all is set or a fault is known. Continues
 * after damage.
 */
static int decode_through(show *s)
{
    vj_video *v = s->video;
    const int all = v->limits.decode_all || v->faults > 0;
    vj_decoding decoding;
    int error;
    vj_decoding_begin(v, &decoding, v->start, 0);
    s->held = 0;
    v->info.decoded = 0;
    while ((error = vj_decoding_next(v, &decoding)) > 0) {
        const int64_t ticks = ticks_of(s);
        if (ticks < v->shown[0].ticks) continue;
        v->info.decoded++;
        const int damaged = is_damaged(s, ticks);
        s->corrupt += damaged;
        if (!take_frame(s, ticks, damaged)) return DONE;
        if (!s->target && !all) break;
    }
    if (v->info.decoded == 0) s->corrupt += decoding.errors;
    while (error == 0 && s->held && s->target)
        if (!hand_out(s)) return DONE;
    if (error == 0 && all) s->lost = v->info.frames > v->info.decoded ? v->info.frames - v->info.decoded : 0;
    return error < 0 ? error : DONE;
}

static int decode(show *s)
{
    const vj_video *v = s->video;
    int outcome = v->limits.decode_all || v->faults > 0 || v->by_number ? NO_GOOD : DONE;
    while (outcome == DONE && s->target && s->verdict == VJ_VIDEO_OK) outcome = decode_stretch(s, s->target_start);
    return outcome == NO_GOOD ? decode_through(s) : outcome;
}

static vj_video_verdict judge(const show *s, int error)
{
    vj_video *v = s->video;
    vj_video_info *info = &v->info;
    int64_t promised = v->promised > v->packet_count ? v->promised - v->packet_count : 0;
    const int64_t holes = s->corrupt > 0 || v->faults > 0 || v->has_holes ? vj_packets_holes(v) : 0;
    info->corrupt = s->corrupt + v->read_errors;
    info->missing = (promised > holes ? promised : holes) + s->lost + v->before_start;
    if (s->verdict != VJ_VIDEO_OK) return s->verdict;
    if (v->file.failed) return vj_video_refuse(v, VJ_VIDEO_UNREADABLE, "reading: %s", strerror(v->file.failed));
    if (error < 0) return vj_refuse_av(v, VJ_VIDEO_FAILED, error, "decoding");
    if (info->decoded == 0)
        return vj_video_refuse(v, info->corrupt ? VJ_VIDEO_CORRUPT : VJ_VIDEO_TOO_SHORT, "no frame could be decoded");
    return VJ_VIDEO_OK;
}

vj_video_verdict vj_video_show(vj_video *video, const double *times_s, int count, vj_on_picture *on_picture, void *user)
{
    show s = {.video = video, .times = times_s, .count = count, .on_picture = on_picture, .user = user};
    video->reason[0] = '\0';
    video->info.decoded = 0;
    mark_wanted(&s, 1);
    aim(&s);
    int error = decode(&s);
    mark_wanted(&s, 0);
    return judge(&s, error);
}
