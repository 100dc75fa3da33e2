/*
 * Lists the packets of the video stream in one pass over the file, which gives every frame's presentation time. The
 * compressed bytes are kept, so that decoding need not read or seek again; seeking is where containers and codecs
 * disagree most. Beyond limits.max_kept bytes nothing is kept, and decoding reads the file again from its start.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sort.h"
#include "video/inside.h"

static const int64_t max_ticks = INT64_C(1) << 61;

int64_t vj_sane_timestamp(int64_t ticks)
{
    return ticks < -max_ticks || ticks > max_ticks ? AV_NOPTS_VALUE : ticks;
}

/* ------------------------------------------------------------------------------------------------ reading */

/*
 * Make the timestamps of a packet continuous: where recordings were joined, the clock restarts, and two frames would
 * have the same time. Timestamps and *last are within 2^61 and a step is below that, so the offset, which only grows,
 * stays below 3 x 2^61 and no sum here reaches 2^63.
 */
static void continue_clock(AVPacket *packet, int64_t *last, int64_t *offset)
{
    packet->dts = vj_sane_timestamp(packet->dts);
    packet->pts = vj_sane_timestamp(packet->pts);
    if (packet->dts == AV_NOPTS_VALUE) return;
    int64_t step = packet->duration > 0 && packet->duration < max_ticks ? packet->duration : 1;
    if (*last != AV_NOPTS_VALUE && packet->dts + *offset < *last) *offset = *last + step - packet->dts;
    packet->dts = vj_sane_timestamp(packet->dts + *offset);
    if (packet->pts != AV_NOPTS_VALUE) packet->pts = vj_sane_timestamp(packet->pts + *offset);
    if (packet->dts != AV_NOPTS_VALUE) *last = packet->dts;
}

static void start_cursor(vj_video *v)
{
    v->cursor = (vj_packet_cursor){.last = AV_NOPTS_VALUE};
}

/* Read the stream's next packet into v->read. Returns 0 or an AVERROR. */
static int read_next(vj_video *v)
{
    for (;;) {
        av_packet_unref(v->read);
        int error = av_read_frame(v->file.format, v->read);
        if (error < 0) {
            v->cursor.next = INT64_MAX; /* v->read is empty now: getting a packet needs a rewind */
            return error;
        }
        if (v->read->stream_index != v->stream) continue;
        continue_clock(v->read, &v->cursor.last, &v->cursor.offset);
        v->cursor.next++;
        return 0;
    }
}

/* Open the container again, to read from its first packet. */
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
    /* Different times mean that the file is being written to. */
    return v->read->pts == v->packets[i].pts ? 0 : AVERROR_INVALIDDATA;
}

/* ------------------------------------------------------------------------------------------------ keeping */

/* Make room for one more item; the array at least doubles. */
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

/*
 * Return whether an H.264 packet that is flagged as a key frame only starts a gradual refresh (a recovery point): it
 * depends on other frames, since its first slice is not intra coded. Packets have start codes or lengths.
 */
static int refreshes_gradually(const vj_video *v)
{
    const AVCodecParameters *given = v->file.format->streams[v->stream]->codecpar;
    const uint8_t *at = v->read->data, *end = at + v->read->size;
    if (given->codec_id != AV_CODEC_ID_H264) return 0;
    const int lengths = given->extradata_size > 4 && given->extradata[0] == 1 ? (given->extradata[4] & 3) + 1 : 0;
    while (end - at > 5) {
        int64_t unit = lengths;
        if (lengths) {
            int64_t bytes = 0;
            for (int i = 0; i < lengths; i++) bytes = bytes << 8 | at[i];
            at += lengths;
            unit = bytes;
        } else {
            while (end - at > 5 && (at[0] || at[1] || at[2] != 1)) at++;
            at += 3;
            unit = 0;
        }
        if (end - at < 2) return 0;
        const int type = at[0] & 31;
        if (type == 5) return 0;
        if (type == 1) {
            /* first_mb_in_slice = 0 is the bit 1; slice_type I (2 or 7) follows as 011 or 0001000. */
            return (at[1] & 0xf0) != 0xb0 && at[1] != 0x88;
        }
        if (unit > end - at) return 0;
        at += unit;
    }
    return 0;
}

/*
 * Return whether a part of a packet was never written, as after an incomplete download: it contains BLANK zeros in a
 * row, which the codecs tested here hardly ever write, and their decoders make a picture of any data without an error.
 */
static int has_blank(const vj_video *v)
{
    enum { BLANK = 256 };
    const enum AVCodecID codec = v->file.format->streams[v->stream]->codecpar->codec_id;
    if (codec != AV_CODEC_ID_VP8 && codec != AV_CODEC_ID_VP9 && codec != AV_CODEC_ID_AV1 && codec != AV_CODEC_ID_HEVC)
        return 0;
    for (int64_t at = BLANK - 1, zeros = 0; at < v->read->size; at += BLANK - zeros) {
        zeros = 0;
        while (zeros < BLANK && v->read->data[at - zeros] == 0) zeros++;
        if (zeros == BLANK) return 1;
    }
    return 0;
}

static int list_packet(vj_video *v, int keep)
{
    vj_packet listed = {.pts = v->read->pts, .dts = v->read->dts, .flags = v->read->flags};
    if (listed.flags & AV_PKT_FLAG_KEY) listed.gradual = refreshes_gradually(v);
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
    v->read_errors = v->file.errors = 0;
    while (error >= 0 && bytes <= v->limits.max_bytes && (error = read_next(v)) >= 0) {
        if (v->file.errors) v->read->flags |= AV_PKT_FLAG_CORRUPT; /* bytes before it could not be read */
        v->file.errors = 0;
        if (has_blank(v)) v->read->flags |= AV_PKT_FLAG_CORRUPT;
        bytes += v->read->size + (int64_t)sizeof *v->read; /* a hostile index can list the same bytes many times */
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

/* ------------------------------------------------------------------------------------------------ damage */

void vj_packets_no_key(vj_video *v, int64_t i)
{
    v->packets[i].flags &= ~AV_PKT_FLAG_KEY;
    if (v->packets[i].behind_hole) v->faults++;
    if (v->packets[i].behind_hole || (i > v->start && v->packets[i - 1].damaged)) vj_packets_damage(v, i);
}

void vj_packets_damage(vj_video *v, int64_t first)
{
    int64_t i = first, gradual = 0;
    if (v->packets[first].damaged) return;
    /* A key frame that only starts a gradual refresh does not end the damage; the key frame after it does. */
    do {
        gradual += v->packets[i].gradual && i > first;
        v->packets[i++].damaged = 1;
    } while (i < v->packet_count &&
             (!(v->packets[i].flags & AV_PKT_FLAG_KEY) || v->packets[i].damaged ||
              (v->packets[i].flags & AV_PKT_FLAG_CORRUPT) || (v->packets[i].gradual && gradual == 0)));
    if (i == v->packet_count || v->packets[i].pts == AV_NOPTS_VALUE) return;
    const int64_t key_pts = v->packets[i].pts;
    for (i++; i < v->packet_count && !(v->packets[i].flags & AV_PKT_FLAG_KEY); i++)
        if (v->packets[i].pts != AV_NOPTS_VALUE && v->packets[i].pts < key_pts) v->packets[i].damaged = 1;
}

/*
 * Return whether packet i is damaged according to the container. The flag is ignored in the last two packets before a
 * key frame: joined segments look like that (FFmpeg's parser is one packet behind its demuxer), and if bytes of these
 * frames are really lost, the decoder notices.
 */
static int is_broken(const vj_video *v, int64_t i)
{
    if (!(v->packets[i].flags & AV_PKT_FLAG_CORRUPT)) return 0;
    for (int64_t next = i + 1; next <= i + 2 && next < v->packet_count; next++)
        if (v->packets[next].flags & AV_PKT_FLAG_KEY) return 0;
    return 1;
}

static const double slack = 0.25; /* fraction of a step; some containers round times to milliseconds */

/* Return the step between frames if the frame rate is constant, that is, if at least 9 of 10 steps are alike; else 0.
 * Sorts the steps. */
static double constant_step(double *step, int64_t n)
{
    int64_t regular = 0;
    vj_sort_doubles(step, n);
    const double usual = step[n / 2];
    for (int64_t k = 0; k < n; k++) regular += fabs(step[k] - usual) < slack * usual;
    return 10 * regular >= 9 * n ? usual : 0;
}

int64_t vj_packets_holes(const vj_video *v)
{
    const int64_t n = v->info.frames - 1;
    int64_t holes = 0;
    double *step = n > 1 ? calloc((size_t)n, sizeof *step) : NULL;
    if (!step) return 0;
    for (int64_t k = 0; k < n; k++) step[k] = v->times[k + 1] - v->times[k];
    const double usual = constant_step(step, n);
    for (int64_t k = 0; usual > 0 && k < n; k++)
        if (step[k] > (1 + slack) * usual) holes += llround(step[k] / usual) - 1;
    free(step);
    return holes;
}

/* Return whether lost frames need no search: the decoder reports them, or no frame depends on another. */
static int notices_lost_frames(const vj_video *v)
{
    const AVCodecDescriptor *codec = v->decoder->codec_descriptor;
    return v->decoder->codec_id == AV_CODEC_ID_H264 || v->decoder->codec_id == AV_CODEC_ID_HEVC ||
           (codec && (codec->props & AV_CODEC_PROP_INTRA_ONLY));
}

/*
 * Find lost packets by gaps in the decoding times: most decoders decode the frames after a gap from wrong references
 * without an error. Gaps count only in a stream with a constant frame rate, and only if they are few or close together,
 * because an encoder that drops frames does so all the time. A gap after the first frame is ignored: some recordings
 * begin like that.
 */
static void find_lost_packets(vj_video *v)
{
    enum { FEW = 2, STEPS_EACH = 200, CLOSE = 4 }; /* two, or one in 200 steps, or all within a quarter of the stream */
    const int64_t n = v->packet_count - v->start - 1;
    vj_packet *packet = v->packets + v->start;
    if (n < 2 || notices_lost_frames(v)) return;
    double *step = calloc(2 * (size_t)n, sizeof *step), *sorted = step ? step + n : NULL;
    if (!step) return;
    for (int64_t k = 0; k < n; k++) {
        const int64_t from = packet[k].dts, to = packet[k + 1].dts;
        step[k] = sorted[k] = from == AV_NOPTS_VALUE || to == AV_NOPTS_VALUE ? 0 : (double)(to - from);
    }
    const double usual = constant_step(sorted, n);
    int64_t holes = 0, first = 0, last = 0;
    for (int64_t k = 1; usual > 0 && k < n; k++) {
        if (step[k] < (2 - slack) * usual) continue;
        if (holes++ == 0) first = k;
        last = k;
    }
    if (holes <= FEW || holes * STEPS_EACH <= n || (last - first) * CLOSE <= n)
        for (int64_t k = first; holes > 0 && k <= last; k++) {
            if (step[k] < (2 - slack) * usual) continue;
            packet[k + 1].behind_hole = v->has_holes = 1;
            if (!(packet[k + 1].flags & AV_PKT_FLAG_KEY)) {
                v->faults++;
                vj_packets_damage(v, v->start + k + 1);
            }
        }
    free(step);
}

/* Set where decoding starts (at the first key frame, or at the first packet if none is flagged), and find damage. */
static void find_damage(vj_video *v)
{
    v->start = v->faults = v->has_holes = 0;
    while (v->start < v->packet_count && !(v->packets[v->start].flags & AV_PKT_FLAG_KEY)) v->start++;
    if (v->start == v->packet_count) v->start = 0;
    v->before_start = 0;
    for (int64_t i = 0; i < v->start; i++) v->before_start += !(v->packets[i].flags & AV_PKT_FLAG_DISCARD);
    for (int64_t i = v->start; i < v->packet_count; i++)
        if (is_broken(v, i)) {
            v->faults++;
            vj_packets_damage(v, i);
        }
    find_lost_packets(v);
}

/* ------------------------------------------------------------------------------------------------ times */

static int ascending(const void *a, const void *b)
{
    const vj_timed_frame *x = a, *y = b;
    if (x->ticks != y->ticks) return x->ticks < y->ticks ? -1 : 1;
    return (x->packet > y->packet) - (x->packet < y->packet);
}

static void set_times(vj_video *v)
{
    for (int64_t k = 0; k < v->info.frames; k++)
        v->times[k] = (double)(v->shown[k].ticks - v->shown[0].ticks) * v->tick_s;
}

/* From now on frames are identified by their number; their times stay. */
static void number_frames(vj_video *v)
{
    for (int64_t k = 0; k < v->info.frames; k++) v->shown[k].ticks = k;
    v->by_number = 1;
}

/*
 * Get the frames' times from the packets: presentation times, or else decoding times. Returns 0 if packets have
 * neither. With decoding times, and if a stream with reordered frames has decoding times in place of presentation
 * times, the times are right but belong to other packets; then frames are identified by number. Packets outside an edit
 * list are decoded but not shown.
 */
static int times_from_packets(vj_video *v)
{
    int64_t frames = 0, last = INT64_MIN;
    int have_pts = 1, have_dts = 1, sorted = 1, as_decoded = v->decoder->has_b_frames > 0;
    for (int64_t i = v->start; i < v->packet_count; i++) {
        const vj_packet *packet = &v->packets[i];
        if (packet->flags & AV_PKT_FLAG_DISCARD) continue;
        if (packet->pts == AV_NOPTS_VALUE) have_pts = 0;
        if (packet->dts == AV_NOPTS_VALUE || packet->dts <= last) have_dts = 0;
        if (packet->pts != packet->dts) as_decoded = 0;
        last = packet->dts;
        v->shown[frames++] = (vj_timed_frame){.packet = i};
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
 * Slow, for streams without timestamps: decode all frames to count them, and use the decoder's times only if they
 * ascend. The pictures do not matter here, so parts of the decoding are skipped.
 */
static vj_video_verdict times_from_decoding(vj_video *v)
{
    vj_decoding decoding;
    int error, ascend = 1;
    int64_t frames = 0;
    v->decoder->skip_loop_filter = v->decoder->skip_idct = AVDISCARD_ALL;
    vj_decoding_begin(v, &decoding, v->start, 0);
    /* Frames beyond the number of packets are not used. */
    while ((error = vj_decoding_next(v, &decoding)) > 0 && frames < v->packet_count) {
        int64_t ticks = vj_sane_timestamp(v->frame->best_effort_timestamp);
        if (ticks == AV_NOPTS_VALUE || (frames > 0 && ticks <= v->shown[frames - 1].ticks)) ascend = 0;
        v->shown[frames++] = (vj_timed_frame){.ticks = ticks};
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

/*
 * Return whether frames at the start may depend on frames that are not in the file: those shown before the first key
 * frame, and all until a gradual refresh is complete.
 */
static int starts_open(const vj_video *v)
{
    const vj_packet *first = &v->packets[v->start];
    if (v->by_number || !(first->flags & AV_PKT_FLAG_KEY)) return 0;
    return first->gradual || v->shown[0].ticks < first->pts;
}

/* Drop the frames before the first one that the decoder returns, unless it reports errors: then they are damaged. */
static vj_video_verdict skip_until_decoded(vj_video *v)
{
    vj_decoding decoding;
    vj_decoding_begin(v, &decoding, v->start, 0);
    const int got = vj_decoding_next(v, &decoding);
    const int64_t ticks = got > 0 ? vj_sane_timestamp(v->frame->pts) : AV_NOPTS_VALUE;
    av_frame_unref(v->frame);
    if (got < 0) return vj_refuse_av(v, VJ_VIDEO_FAILED, got, "decoding");
    if (decoding.errors > 0) return VJ_VIDEO_OK;
    int64_t skip = 0;
    while (ticks != AV_NOPTS_VALUE && skip < v->info.frames && v->shown[skip].ticks < ticks) skip++;
    if (skip == 0 || skip == v->info.frames) return VJ_VIDEO_OK;
    v->info.frames -= skip;
    memmove(v->shown, v->shown + skip, (size_t)v->info.frames * sizeof *v->shown);
    set_times(v);
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

/* Return the end of the stream in seconds, from time 0, according to the file's header; 0: not stated, or not for this
 * stream alone. */
static double promised_end_s(const vj_video *v)
{
    const AVFormatContext *format = v->file.format;
    const AVDictionaryEntry *said = av_dict_get(format->streams[v->stream]->metadata, "DURATION", NULL, 0);
    int hours, minutes;
    double seconds;
    if (said && sscanf(said->value, "%d:%d:%lf", &hours, &minutes, &seconds) == 3)
        return 3600.0 * hours + 60 * minutes + seconds;
    const int is_header = format->duration_estimation_method == AVFMT_DURATION_FROM_STREAM;
    return is_header && format->nb_streams == 1 && format->duration != AV_NOPTS_VALUE
               ? (double)format->duration / AV_TIME_BASE
               : 0;
}

/* If the header states a later end time than that of the last frame, set the number of packets that should exist. */
static void look_for_tail(vj_video *v)
{
    /* fewer frames do not count as missing: rounding, and a last frame of unknown duration */
    enum { LEAST = 3, SHARE = 50 };
    if (v->by_number || v->promised > 0) return;
    const double end_s = (double)v->shown[0].ticks * v->tick_s + v->info.duration_s;
    const double lacking = (promised_end_s(v) - end_s) * v->info.fps;
    if (lacking > LEAST && lacking * SHARE > (double)v->info.frames && lacking < (double)INT32_MAX)
        v->promised = v->packet_count + llround(lacking);
}

vj_video_verdict vj_packets_index(vj_video *v)
{
    v->by_number = 0;
    vj_video_verdict verdict = list_packets(v);
    if (verdict != VJ_VIDEO_OK) return verdict;
    find_damage(v);
    int error = allocate_times(v);
    if (error < 0) return vj_refuse_av(v, VJ_VIDEO_OUT_OF_MEMORY, error, "times of the frames");
    if (!times_from_packets(v)) {
        verdict = times_from_decoding(v);
        if (verdict != VJ_VIDEO_OK) return verdict;
    }
    if (v->info.frames > 0 && starts_open(v)) {
        verdict = skip_until_decoded(v);
        if (verdict != VJ_VIDEO_OK) return verdict;
    }
    /* FFmpeg's containers of still pictures, and its container of JPEG after JPEG, which it may find in a photo too. A
     * few frames after the first are a preview, a depth map or another view; many are a stream, as cameras send it. */
    enum { VIEWS = 8 };
    const char *container = v->file.format->iformat->name;
    const int is_still = (strstr(container, "_pipe") || strcmp(container, "mjpeg") == 0) && v->info.frames <= VIEWS;
    if (is_still && v->info.frames > 1) v->info.frames = 1;
    int64_t n = v->info.frames;
    if (n == 0) return vj_video_refuse(v, VJ_VIDEO_TOO_SHORT, "no frame in %lld packets", (long long)v->packet_count);
    v->info.fps = n > 1 && v->times[n - 1] > 0 ? (double)(n - 1) / v->times[n - 1] : v->nominal_fps;
    v->info.duration_s = v->times[n - 1] + 1 / v->info.fps;
    v->info.is_image = is_still;
    if (!is_still) look_for_tail(v);
    return VJ_VIDEO_OK;
}
