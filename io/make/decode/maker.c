/*
 * Makes clips in shared memory from an open file: computes the digest, chooses the frames, decodes once for all windows
 * and the perceptual hash (the look). Raw frames are scaled directly into the shared memory; other records are copied
 * there. Windows may overlap, so several clips can be in progress; they begin and end in the order of their windows.
 */
#include "decode/maker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/config.h"
#include "base/rng.h"
#include "video/frames.h"

/* What the picture at a wanted time is used for. */
typedef struct {
    int window; /* number of the window; LOOK: for the look */
    int number; /* frame of the window, or instant of the look */
} purpose;

/* A clip in progress. */
typedef struct {
    uint8_t *frames; /* in shared memory or a buffer; NULL: not in progress */
    int64_t at;      /* raw: offset of the frames in the shared memory */
    int64_t number;  /* vj_picture.number of its last frame */
    int damaged;     /* number of damaged frames */
    double pts_s;
} clip_at_hand;

static const double PART_SLACK_S = 0.5; /* lists give times in whole seconds */
enum { LOOK = -1, ALIGNMENT = 4096, READ_BYTES = 256 * 1024 };

struct vj_maker {
    const vj_decode_settings *settings;
    vj_video *video;
    vj_coder *coder;
    uint8_t *buffer; /* [READ_BYTES] */
    XXH3_state_t *hash;
    int64_t *index, *start; /* [windows, F], [windows] */
    int *next;              /* [windows] used by list_times(): the next frame of each window */
    double *times;          /* [windows F + VJ_PHASH_INSTANTS], ascending */
    purpose *purposes;      /* [as times] use of the picture at each time */
    clip_at_hand *at_hand;  /* [windows] */
    uint8_t **spare;        /* [spares] unused ones of at most `windows` buffers, for frames that will be encoded */
    int spares;
    int64_t spare_bytes; /* size of each buffer, used or not */
    /* of the current file */
    int memory;
    int64_t memory_bytes;   /* of it, used so far */
    vj_decoded_clip *table; /* [windows] */
    int clips;
    vj_phash look;
    vj_phash_cells cells;
    int height, width; /* of the file's clips; 0: no clip has begun yet */
    /* number of windows; number of those left out because too many of their frames are damaged */
    int windows, left_out;
    void (*tell)(double so_far); /* vj_maker_run() */
    double told_s;               /* when it was called last */
    int count;                   /* of `times` */
};

vj_status vj_maker_create(vj_maker **maker, const vj_decode_settings *settings)
{
    vj_maker *m = calloc(1, sizeof *m);
    *maker = m;
    if (!m) return vj_raise(VJ_ERR_MEMORY, "no memory for a decoder");
    const int64_t frames = settings->windows * settings->frames;
    m->settings = settings;
    VJ_TRY(vj_video_create(&m->video));
    VJ_TRY(vj_coder_create(&m->coder));
    m->buffer = malloc(READ_BYTES);
    m->hash = XXH3_createState();
    m->index = vj_calloc(frames, sizeof *m->index);
    m->start = vj_calloc(settings->windows, sizeof *m->start);
    m->times = vj_calloc(frames + VJ_PHASH_INSTANTS, sizeof *m->times);
    m->purposes = vj_calloc(frames + VJ_PHASH_INSTANTS, sizeof *m->purposes);
    m->table = vj_calloc(settings->windows, sizeof *m->table);
    m->next = vj_calloc(settings->windows, sizeof *m->next);
    m->at_hand = vj_calloc(settings->windows, sizeof *m->at_hand);
    m->spare = vj_calloc(settings->windows, sizeof *m->spare);
    if (m->buffer && m->hash && m->index && m->start && m->times && m->purposes && m->table && m->next && m->at_hand &&
        m->spare)
        return VJ_OK;
    return vj_raise(VJ_ERR_MEMORY, "no memory for the times of %lld frames", (long long)frames);
}

static void free_spares(vj_maker *m)
{
    while (m->spares > 0) free(m->spare[--m->spares]);
    m->spare_bytes = 0;
}

void vj_maker_destroy(vj_maker *m)
{
    if (!m) return;
    free_spares(m);
    vj_video_destroy(m->video);
    vj_coder_destroy(m->coder);
    XXH3_freeState(m->hash);
    free(m->buffer);
    free(m->index);
    free(m->start);
    free(m->times);
    free(m->purposes);
    free(m->table);
    free(m->next);
    free(m->at_hand);
    free(m->spare);
    free(m);
}

/* ------------------------------------------------------------------------------------------------ which frames */

/* Compute the xxh3 of all bytes. This also fills the page cache in order, before the demuxer seeks in the file. */
static vj_video_verdict digest_file(vj_maker *m, int fd, uint64_t *digest)
{
    off_t at = 0;
    ssize_t got;
    XXH3_64bits_reset(m->hash);
    while ((got = pread(fd, m->buffer, READ_BYTES, at)) != 0) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return vj_video_refuse(m->video, VJ_VIDEO_UNREADABLE, "reading: %s", strerror(errno));
        XXH3_64bits_update(m->hash, m->buffer, (size_t)got);
        at += got;
    }
    *digest = XXH3_64bits_digest(m->hash);
    return VJ_VIDEO_OK;
}

/* Find the frames [*first, *end) of the video that lie in the order's time range. */
static void frames_of(const vj_decode_order *order, const vj_video *video, int64_t *first, int64_t *end)
{
    const double *times = vj_video_times(video);
    *first = 0;
    *end = vj_video_describe(video)->frames;
    while (order->end_s >= 0 && *end > 0 && times[*end - 1] >= order->end_s) --*end;
    while (order->start_s >= 0 && *first < *end && times[*first] < order->start_s) ++*first;
}

/* Choose the frames of all windows (docs/method.md, section 10.2), counted from the order's first frame. Returns the
 * number of windows, which is at most the number of frames. */
static int choose_windows(vj_maker *m, int64_t source, int64_t windows, int64_t available)
{
    const vj_decode_settings *s = m->settings;
    const int64_t span = s->frames * s->step;
    const int segments = (int)(available < windows ? available : windows);
    vj_rng rng;
    vj_rng_init(&rng, s->seed, VJ_RNG_WINDOW, (uint64_t)source);
    for (int i = 0; i < segments; i++) {
        int64_t room = available / segments - span; /* the last start is never drawn, as published */
        m->start[i] = 0;
        if (room > 0 && s->place == VJ_WINDOW_RANDOM) m->start[i] = vj_rng_below(&rng, room);
        if (room > 0 && s->place == VJ_WINDOW_CENTRE) m->start[i] = room / 2;
    }
    vj_clip_frames(m->index, available, (int)s->frames, (int)s->step, segments, s->overlap, m->start);
    return segments;
}

/* Return the window whose next frame is the earliest, of equals the first; -1: no window has frames left. Stops at the
 * first window that has not begun, because later windows do not begin before it. */
static int earliest(const vj_maker *m, int windows, int F)
{
    int best = -1;
    for (int w = 0; w < windows; w++) {
        if (m->next[w] == F) continue;
        if (best < 0 || m->index[w * F + m->next[w]] < m->index[best * F + m->next[best]]) best = w;
        if (m->next[w] == 0) break;
    }
    return best;
}

/* Merge the times that the windows and the look need into one ascending list. Returns its length. */
static int list_times(vj_maker *m, int windows, int64_t first, int64_t end, int look)
{
    const vj_video_info *info = vj_video_describe(m->video);
    const double *times = vj_video_times(m->video);
    const int F = (int)m->settings->frames, frames = windows * F, instants = look ? VJ_PHASH_INSTANTS : 0;
    double instant_s[VJ_PHASH_INSTANTS];
    vj_phash_times(times[first], end < info->frames ? times[end] : info->duration_s, instant_s);
    int count = 0;
    memset(m->next, 0, sizeof *m->next * (size_t)windows);
    for (int k = 0, i = 0; k < frames || i < instants; count++) {
        const int w = earliest(m, windows, F);
        const double frame_s = w < 0 ? 0.0 : times[first + m->index[w * F + m->next[w]]];
        if (i == instants || (w >= 0 && frame_s <= instant_s[i])) {
            m->times[count] = frame_s;
            m->purposes[count] = (purpose){w, m->next[w]++};
            k++;
        } else {
            m->times[count] = instant_s[i];
            m->purposes[count] = (purpose){LOOK, i};
            i++;
        }
    }
    return count;
}

/* ------------------------------------------------------------------------------------------------ clips */

static int64_t clip_bytes(const vj_maker *m)
{
    return m->settings->frames * m->height * m->width * 3;
}

static vj_video_verdict no_memory(vj_maker *m)
{
    return vj_video_refuse(m->video, VJ_VIDEO_OUT_OF_MEMORY, "clips of %d x %d do not fit into %lld MB", m->width,
                           m->height, (long long)m->settings->memory_mb);
}

static uint8_t *take_buffer(vj_maker *m)
{
    if (m->spare_bytes < clip_bytes(m)) {
        free_spares(m); /* no buffer is in use, because all clips of a file have one size */
        m->spare_bytes = clip_bytes(m);
    }
    return m->spares > 0 ? m->spare[--m->spares] : malloc((size_t)m->spare_bytes);
}

/* Get memory for a clip's frames. The first picture kept sets the size of all clips of the file. */
static vj_video_verdict begin_clip(vj_maker *m, clip_at_hand *clip, const vj_picture *picture)
{
    if (m->height == 0) {
        vj_video_verdict verdict = vj_picture_size(picture, m->settings->short_side, &m->height, &m->width);
        if (verdict != VJ_VIDEO_OK) return verdict;
    }
    *clip = (clip_at_hand){.pts_s = picture->pts_s};
    if (m->settings->codec.codec == VJ_CODEC_RAW) {
        clip->at = (m->memory_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        if (ftruncate(m->memory, clip->at + clip_bytes(m)) != 0) return no_memory(m);
        clip->frames =
            mmap(NULL, (size_t)clip_bytes(m), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, m->memory, clip->at);
        if (clip->frames == MAP_FAILED) clip->frames = NULL;
        m->memory_bytes = clip->at + clip_bytes(m);
    } else {
        clip->frames = take_buffer(m);
    }
    return clip->frames ? VJ_VIDEO_OK : no_memory(m);
}

static void release_frames(vj_maker *m, clip_at_hand *clip)
{
    if (clip->frames && m->settings->codec.codec == VJ_CODEC_RAW) munmap(clip->frames, (size_t)clip_bytes(m));
    if (clip->frames && m->settings->codec.codec != VJ_CODEC_RAW) m->spare[m->spares++] = clip->frames;
    clip->frames = NULL;
}

static int write_record(const vj_maker *m, const uint8_t *record, int64_t bytes)
{
    for (int64_t done = 0; done < bytes;) {
        ssize_t wrote = pwrite(m->memory, record + done, (size_t)(bytes - done), m->memory_bytes + done);
        if (wrote < 0 && errno != EINTR) return 0;
        if (wrote > 0) done += wrote;
    }
    return 1;
}

/* Encode a complete clip, or leave it out if it is too damaged. The limit holds for each clip by itself, so the good
 * clips of a damaged file are packed. */
static vj_video_verdict end_clip(vj_maker *m, int window)
{
    const vj_decode_settings *s = m->settings;
    clip_at_hand *done = &m->at_hand[window];
    if ((double)done->damaged > s->limits.max_damage * (double)s->frames) {
        m->left_out++;
        if (s->codec.codec == VJ_CODEC_RAW && done->at + clip_bytes(m) == m->memory_bytes) m->memory_bytes = done->at;
        release_frames(m, done);
        return VJ_VIDEO_OK;
    }
    vj_decoded_clip *clip = &m->table[m->clips];
    const uint8_t *record;
    double psnr;
    if (vj_record_encode(m->coder, &s->codec, done->frames, (int)s->frames, m->height, m->width, &record, &clip->bytes,
                         &psnr) != VJ_OK)
        return vj_video_refuse(m->video, VJ_VIDEO_FAILED, "a clip of %d x %d could not be encoded", m->width,
                               m->height);
    const bool in_place = record == done->frames;
    if (!in_place && !write_record(m, record, clip->bytes)) return no_memory(m);
    clip->window = window;
    clip->height = m->height;
    clip->width = m->width;
    clip->pts_s = done->pts_s;
    clip->at = in_place ? done->at : m->memory_bytes;
    clip->psnr = (float)psnr;
    if (!in_place) m->memory_bytes += clip->bytes;
    m->clips++;
    release_frames(m, done);
    return VJ_VIDEO_OK;
}

static vj_video_verdict add_frame(vj_maker *m, const purpose *p, const vj_picture *picture)
{
    clip_at_hand *clip = &m->at_hand[p->window];
    if (p->number == 0) {
        vj_video_verdict verdict = begin_clip(m, clip, picture);
        if (verdict != VJ_VIDEO_OK) return verdict;
    }
    const size_t bytes = (size_t)m->height * (size_t)m->width * 3;
    uint8_t *at = clip->frames + (size_t)p->number * bytes;
    if (p->number > 0 && picture->number == clip->number) {
        memcpy(at, at - bytes, bytes);
    } else {
        vj_video_verdict verdict = vj_picture_rgb(picture, m->height, m->width, at);
        if (verdict != VJ_VIDEO_OK) return verdict;
    }
    clip->number = picture->number;
    clip->damaged += picture->damaged != 0;
    return p->number + 1 == m->settings->frames ? end_clip(m, p->window) : VJ_VIDEO_OK;
}

static vj_video_verdict take_picture(void *user, int k, const vj_picture *picture)
{
    vj_maker *m = user;
    const purpose *p = &m->purposes[k];
    const double now_s = vj_now();
    if (now_s - m->told_s >= 1.0) {
        m->told_s = now_s;
        m->tell((double)(k + 1) / m->count);
    }
    return p->window == LOOK ? vj_phash_add(&m->look, &m->cells, p->number, picture) : add_frame(m, p, picture);
}

/* ------------------------------------------------------------------------------------------------ a file */

static vj_video_verdict make(vj_maker *m, const vj_decode_order *order, int fd, vj_decode_reply *reply)
{
    const vj_decode_settings *s = m->settings;
    int64_t first, end;
    vj_video_verdict verdict = digest_file(m, fd, &reply->digest);
    if (verdict == VJ_VIDEO_OK) verdict = vj_video_open(m->video, fd, &s->limits);
    if (verdict != VJ_VIDEO_OK) return verdict;
    frames_of(order, m->video, &first, &end);
    if (first == end)
        return vj_video_refuse(m->video, VJ_VIDEO_TOO_SHORT, "no frame from %g s to %g s", order->start_s,
                               order->end_s);
    reply->frames = end - first;
    int windows = order->windows > 0 ? choose_windows(m, order->source, order->windows, end - first) : 0;
    m->count = list_times(m, windows, first, end, s->looks || windows == 0);
    m->memory_bytes = s->windows * (int64_t)sizeof *m->table;
    verdict = vj_video_show(m->video, m->times, m->count, take_picture, m);
    for (int w = 0; w < windows; w++) release_frames(m, &m->at_hand[w]); /* clips left unfinished by a failure */
    m->windows = windows;
    if (verdict == VJ_VIDEO_OK && m->left_out > 0 && m->clips == 0) {
        const vj_video_info *info = vj_video_describe(m->video);
        if (info->is_image) return vj_video_refuse(m->video, VJ_VIDEO_CORRUPT, "the picture is damaged or ends early");
        return vj_video_refuse(m->video, VJ_VIDEO_CORRUPT, "of %lld frames %lld are damaged and %lld missing",
                               (long long)(info->decoded + info->missing), (long long)info->corrupt,
                               (long long)info->missing);
    }
    if (verdict != VJ_VIDEO_OK || m->clips == 0) return verdict;
    int64_t records_end = m->memory_bytes;
    m->memory_bytes = 0;
    if (!write_record(m, (const uint8_t *)m->table, m->clips * (int64_t)sizeof *m->table)) return no_memory(m);
    m->memory_bytes = records_end;
    return VJ_VIDEO_OK;
}

void vj_maker_run(vj_maker *m, const vj_decode_order *order, int fd, int memory, vj_decode_reply *reply,
                  void (*tell)(double so_far))
{
    double begin = vj_now();
    m->tell = tell;
    m->told_s = begin;
    m->memory = memory;
    m->clips = m->height = m->width = m->left_out = 0;
    m->look = (vj_phash){0};
    m->cells = (vj_phash_cells){0};
    memset(reply, 0, sizeof *reply);
    vj_video_verdict verdict = make(m, order, fd, reply);
    reply->source = order->source;
    reply->verdict = verdict;
    reply->clips = verdict == VJ_VIDEO_OK ? m->clips : 0;
    memcpy(reply->reason, vj_video_reason(m->video), sizeof reply->reason);
    if (verdict == VJ_VIDEO_OK && m->left_out > 0)
        snprintf(reply->reason, sizeof reply->reason, "%d of %d clips left out, too many of their frames are damaged",
                 m->left_out, m->windows);
    reply->info = *vj_video_describe(m->video);
    if (verdict == VJ_VIDEO_OK && reply->reason[0] == '\0' && order->end_s > reply->info.duration_s + PART_SLACK_S)
        snprintf(reply->reason, sizeof reply->reason, "listed to %g s, but the video ends at %.2f s", order->end_s,
                 reply->info.duration_s);
    vj_phash_finish(&m->look, &m->cells);
    if (verdict == VJ_VIDEO_OK) reply->look = m->look;
    vj_video_close(m->video);
    reply->seconds = vj_now() - begin;
}
