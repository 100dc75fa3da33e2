/*
 * The packets of the video stream: one pass over the file lists them all and gives every frame's presentation time. The
 * compressed bytes are kept with them, so that decoding neither reads nor seeks again, which is where containers and
 * codecs disagree most. Beyond some size nothing is kept, and decoding reads the file a second time from its start.
 */
#include <stdlib.h>
#include <string.h>

#include "video/inside.h"

static const int64_t most_ticks = INT64_C(1) << 61;

int64_t vj_sane_timestamp(int64_t ticks)
{
    return ticks < -most_ticks || ticks > most_ticks ? AV_NOPTS_VALUE : ticks;
}

/* ------------------------------------------------------------------------------------------------ reading */

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

static void start_cursor(vj_video *v)
{
    v->cursor = (vj_packet_cursor){.last = AV_NOPTS_VALUE};
}

/* The stream's next packet into v->read. AVERROR or 0. */
static int read_next(vj_video *v)
{
    for (;;) {
        av_packet_unref(v->read);
        int error = av_read_frame(v->file.format, v->read);
        if (error < 0) {
            v->cursor.next = INT64_MAX; /* nothing is left of the last packet: whoever wants it has to rewind */
            return error;
        }
        if (v->read->stream_index != v->stream) continue;
        continue_clock(v->read, &v->cursor.last, &v->cursor.offset);
        v->cursor.next++;
        return 0;
    }
}

/* Open the container once more, for its first packet. */
static int rewind_file(vj_video *v)
{
    int fd = v->file.fd;
    vj_media_file_close(&v->file);
    if (vj_media_file_open(v, fd) != VJ_VIDEO_OK || v->stream >= (int)v->file.format->nb_streams)
        return AVERROR_INVALIDDATA;
    for (unsigned i = 0; i < v->file.format->nb_streams; i++)
        if ((int)i != v->stream) v->file.format->streams[i]->discard = AVDISCARD_ALL;
    start_cursor(v);
    return 0;
}

int vj_packets_get(vj_video *v, int64_t i, AVPacket **packet)
{
    *packet = i < v->kept_count ? v->kept[i] : v->read;
    if (i < v->kept_count) return 0;
    int error = 0;
    if (i + 1 < v->cursor.next) error = rewind_file(v);
    while (error >= 0 && v->cursor.next <= i) error = read_next(v);
    if (error < 0) return error;
    /* A file that somebody writes to meanwhile. */
    return v->read->pts == v->packets[i].pts ? 0 : AVERROR_INVALIDDATA;
}

/* ------------------------------------------------------------------------------------------------ keeping */

/* Room for one more in an array that at least doubles. */
static int grow(void **array, int64_t count, int64_t *room, size_t item)
{
    if (count < *room) return 0;
    int64_t more = *room ? 2 * *room : 256;
    void *grown = realloc(*array, (size_t)more * item);
    if (!grown) return AVERROR(ENOMEM);
    memset((char *)grown + (size_t)*room * item, 0, (size_t)(more - *room) * item);
    *array = grown;
    *room = more;
    return 0;
}

static void forget_kept(vj_video *v)
{
    for (int64_t i = 0; i < v->kept_count; i++) av_packet_unref(v->kept[i]);
    v->kept_count = 0;
}

static int list_packet(vj_video *v, int keep)
{
    const vj_packet listed = {.pts = v->read->pts, .dts = v->read->dts, .flags = v->read->flags};
    int error = grow((void **)&v->packets, v->packet_count, &v->packet_room, sizeof *v->packets);
    if (error >= 0 && keep) error = grow((void **)&v->kept, v->kept_count, &v->kept_room, sizeof(AVPacket *));
    if (error < 0) return error;
    if (keep) {
        AVPacket **to = &v->kept[v->kept_count];
        if (!*to && !(*to = av_packet_alloc())) return AVERROR(ENOMEM);
        av_packet_move_ref(*to, v->read);
        v->kept_count++;
    }
    v->packets[v->packet_count++] = listed;
    return 0;
}

static vj_video_verdict list_packets(vj_video *v)
{
    int error = 0;
    int64_t bytes = 0;
    start_cursor(v);
    v->read_errors = 0;
    while (error >= 0 && bytes <= v->limits.max_bytes && (error = read_next(v)) >= 0) {
        bytes += v->read->size + (int64_t)sizeof *v->read; /* an index can name the same bytes again and again */
        if (bytes > v->limits.max_kept) forget_kept(v);
        error = list_packet(v, bytes <= v->limits.max_kept);
    }
    if (error == AVERROR(ENOMEM)) return vj_refuse_av(v, VJ_VIDEO_OUT_OF_MEMORY, error, "reading packets");
    if (bytes > v->limits.max_bytes)
        return vj_video_refuse(v, VJ_VIDEO_TOO_LARGE, "packets of more than %lld bytes",
                               (long long)v->limits.max_bytes);
    if (error < 0 && error != AVERROR_EOF) v->read_errors++;
    if (v->packet_count == 0) return vj_video_refuse(v, VJ_VIDEO_TOO_SHORT, "the video stream holds no packet");
    return VJ_VIDEO_OK;
}

void vj_packets_clear(vj_video *v)
{
    forget_kept(v);
    v->packet_count = 0;
    av_packet_unref(v->read);
}

void vj_packets_release(vj_video *v)
{
    for (int64_t i = 0; i < v->kept_room; i++) av_packet_free(&v->kept[i]);
    free(v->kept);
    free(v->packets);
    free(v->shown);
    free(v->times);
}

/* ------------------------------------------------------------------------------------------------ times */

static int ascending(const void *a, const void *b)
{
    const vj_shown *x = a, *y = b;
    if (x->ticks != y->ticks) return x->ticks < y->ticks ? -1 : 1;
    return (x->packet > y->packet) - (x->packet < y->packet);
}

static void set_times(vj_video *v)
{
    for (int64_t k = 0; k < v->info.frames; k++)
        v->times[k] = (double)(v->shown[k].ticks - v->shown[0].ticks) * v->tick_s;
}

/* The times stay, but frames are known by their number from now on. */
static void number_frames(vj_video *v)
{
    for (int64_t k = 0; k < v->info.frames; k++) v->shown[k].ticks = k;
    v->by_number = 1;
}

/*
 * Times as the packets have them, those of presentation or else of decoding; 0 if packets have neither. In the second
 * case, and where a stream whose frames are reordered was given the times of decoding as those of presentation, these
 * are the right times, but not of these packets: frames are known by number then. Packets outside an edit list are
 * decoded but not shown.
 */
static int times_from_packets(vj_video *v)
{
    int64_t frames = 0, last = INT64_MIN;
    int have_pts = 1, have_dts = 1, sorted = 1, as_decoded = v->decoder->has_b_frames > 0;
    for (int64_t i = 0; i < v->packet_count; i++) {
        const vj_packet *packet = &v->packets[i];
        if (packet->flags & AV_PKT_FLAG_DISCARD) continue;
        if (packet->pts == AV_NOPTS_VALUE) have_pts = 0;
        if (packet->dts == AV_NOPTS_VALUE || packet->dts <= last) have_dts = 0;
        if (packet->pts != packet->dts) as_decoded = 0;
        last = packet->dts;
        v->shown[frames++] = (vj_shown){.packet = i};
    }
    if (!have_pts && !have_dts) return 0;
    for (int64_t k = 0; k < frames; k++) {
        const vj_packet *packet = &v->packets[v->shown[k].packet];
        v->shown[k].ticks = have_pts ? packet->pts : packet->dts;
        if (k > 0 && v->shown[k].ticks < v->shown[k - 1].ticks) sorted = 0;
    }
    if (!sorted) qsort(v->shown, (size_t)frames, sizeof *v->shown, ascending);
    v->info.frames = frames;
    set_times(v);
    if (as_decoded || !have_pts) number_frames(v);
    return 1;
}

/*
 * The slow way, for streams without timestamps: decode all to count, and trust the decoder's times only if they ascend.
 * What the pictures look like does not matter here.
 */
static vj_video_verdict times_from_decoding(vj_video *v)
{
    vj_decoding decoding;
    int error, ascend = 1;
    int64_t frames = 0;
    v->decoder->skip_loop_filter = v->decoder->skip_idct = AVDISCARD_ALL;
    vj_decoding_begin(v, &decoding, 0, 0);
    /* More frames than packets: the surplus stays unused. */
    while ((error = vj_decoding_next(v, &decoding)) > 0 && frames < v->packet_count) {
        int64_t ticks = vj_sane_timestamp(v->frame->best_effort_timestamp);
        if (ticks == AV_NOPTS_VALUE || (frames > 0 && ticks <= v->shown[frames - 1].ticks)) ascend = 0;
        v->shown[frames++] = (vj_shown){.ticks = ticks};
    }
    v->decoder->skip_loop_filter = v->decoder->skip_idct = AVDISCARD_DEFAULT;
    av_frame_unref(v->frame);
    if (error < 0) return vj_refuse_av(v, VJ_VIDEO_FAILED, error, "decoding");
    v->info.frames = frames;
    if (ascend)
        set_times(v);
    else
        for (int64_t k = 0; k < frames; k++) v->times[k] = (double)k / v->nominal_fps;
    number_frames(v);
    return VJ_VIDEO_OK;
}

static int allocate_times(vj_video *v)
{
    if (v->packet_count <= v->shown_room) return 0;
    free(v->shown);
    free(v->times);
    v->shown_room = 0;
    v->shown = calloc((size_t)v->packet_count, sizeof *v->shown);
    v->times = calloc((size_t)v->packet_count, sizeof *v->times);
    if (!v->shown || !v->times) return AVERROR(ENOMEM);
    v->shown_room = v->packet_count;
    return 0;
}

vj_video_verdict vj_packets_index(vj_video *v)
{
    v->by_number = 0;
    vj_video_verdict verdict = list_packets(v);
    if (verdict != VJ_VIDEO_OK) return verdict;
    int error = allocate_times(v);
    if (error < 0) return vj_refuse_av(v, VJ_VIDEO_OUT_OF_MEMORY, error, "times of the frames");
    if (!times_from_packets(v)) {
        verdict = times_from_decoding(v);
        if (verdict != VJ_VIDEO_OK) return verdict;
    }
    int64_t n = v->info.frames;
    if (n == 0) return vj_video_refuse(v, VJ_VIDEO_TOO_SHORT, "no frame in %lld packets", (long long)v->packet_count);
    v->info.fps = n > 1 && v->times[n - 1] > 0 ? (double)(n - 1) / v->times[n - 1] : v->nominal_fps;
    v->info.duration_s = v->times[n - 1] + 1 / v->info.fps;
    v->info.is_image = n == 1 && strstr(v->file.format->iformat->name, "_pipe") != NULL;
    return VJ_VIDEO_OK;
}
