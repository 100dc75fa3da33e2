/*
 * From a media file to RGB frames, with libavformat, libavcodec and libswscale: one decoder thread, frames chosen by
 * presentation time, only those decoded that the wanted ones need, only the wanted ones scaled and converted. Files are
 * untrusted: only regular files are opened, by content and never by name, containers and codecs are those of a list,
 * and what is inside a file cannot open another one. io/make/decode calls this in processes that may do nothing else.
 *
 * regular.c opens, file.c recognises the container, packets.c reads it once and keeps the compressed packets of the
 * video stream, which gives the presentation time of every frame without decoding; show.c decodes from key frames
 * and hands out the pictures shown at given times; convert.c makes RGB of them. encode.h is the other way round.
 */
#ifndef VJ_VIDEO_H
#define VJ_VIDEO_H

#include "base/status.h"

/* Of the pictures given out: a side, pixels, and the bytes of one call of vj_video_frames(). */
#define VJ_VIDEO_MAX_SIDE      65536
#define VJ_VIDEO_MAX_PIXELS    (INT64_C(64) << 20)
#define VJ_VIDEO_MAX_RGB_BYTES (INT64_C(1) << 30)

typedef enum {
    VJ_VIDEO_OK,
    VJ_VIDEO_MISSING,       /* no such file, or no permission to reach it */
    VJ_VIDEO_NOT_REGULAR,   /* a folder, FIFO, device, or a loop of links */
    VJ_VIDEO_EMPTY,         /* no bytes */
    VJ_VIDEO_UNRECOGNISED,  /* no container format fits */
    VJ_VIDEO_NO_STREAM,     /* no video stream (attached pictures do not count) */
    VJ_VIDEO_NO_DECODER,    /* the codec is unknown to this FFmpeg */
    VJ_VIDEO_TOO_LARGE,     /* beyond one of the limits */
    VJ_VIDEO_CORRUPT,       /* no frame can be decoded, or more are damaged or lost than the limits allow */
    VJ_VIDEO_TOO_SHORT,     /* no frame at all */
    VJ_VIDEO_FAILED,        /* anything else the libraries say */
    VJ_VIDEO_FORBIDDEN,     /* a container or codec that is not read: play lists, subtitles, network formats ... */
    VJ_VIDEO_CRASHED,       /* the process that decoded it died */
    VJ_VIDEO_TIMED_OUT,     /* it took longer than allowed */
    VJ_VIDEO_OUT_OF_MEMORY, /* it wanted more memory than allowed */
    VJ_VIDEO_UNREADABLE,    /* its bytes cannot be read: a disk or file server that fails */
    VJ_VIDEO_VERDICTS
} vj_video_verdict;

/** The name in ledgers: "ok", "missing", "not_regular" ... */
const char *vj_video_verdict_name(vj_video_verdict verdict);

/* Bytes of the text that explains a verdict. */
enum { VJ_VIDEO_REASON = 256 };

typedef struct {
    int64_t max_bytes;  /* of a file, and of its video stream */
    int64_t max_kept;   /* bytes of compressed video held in memory; beyond, the file is read again for decoding */
    int64_t max_pixels; /* of a stored picture */
    double max_damage;  /* share of the frames asked for that may be damaged or lost */
    int decode_all;     /* decode all of every stream, so that its damage is known, and not only what is asked for */
} vj_video_limits;

/* 1 GB (the published loader skips larger files too), 64 MB, 64 Mi pixels, a tenth damaged. */
extern const vj_video_limits vj_video_usual_limits;

typedef struct {
    char container[32], codec[32];
    int width, height;      /* as shown: after rotation and sample aspect ratio */
    int rotation;           /* degrees clockwise from stored to shown, 0 to 359 */
    double fps, duration_s; /* from the presentation times; nominal for a single frame */
    int64_t frames;         /* with a presentation time, counted in the stream; not the header's word */
    int64_t decoded;        /* frames that came out of the decoder in the last call that decoded */
    int64_t corrupt;        /* of these the decoder flagged, and its errors */
    int64_t missing; /* frames that should have come out and did not, those before the first key frame and those that
                        the header promises, but no packet holds, among them */
    int is_image;    /* a still picture: one frame */
} vj_video_info;

/**
 * Open a file if it is regular (links are followed) and has 1 to `max_bytes` bytes; never blocks on a FIFO. Otherwise
 * *verdict and reason say why and *fd is -1. What the next file would meet too (no descriptor or memory left) is
 * VJ_ERR_IO. *bytes: its size, 0 if it is not regular.
 */
vj_status vj_regular_open(const char *path, int64_t max_bytes, int *fd, int64_t *bytes, vj_video_verdict *verdict,
                          char reason[VJ_VIDEO_REASON]);

typedef struct vj_video vj_video;

/** A reader for one file after another, which keeps its memory and its scaler between them. */
vj_status vj_video_create(vj_video **video);
void vj_video_destroy(vj_video *video);

/**
 * Open a media file by its descriptor, which is borrowed until vj_video_close(). A file that cannot be used is not an
 * error of the job: the verdict says so, vj_video_reason() why, and nothing is open. Closing twice is harmless.
 */
vj_video_verdict vj_video_open(vj_video *video, int fd, const vj_video_limits *limits);
void vj_video_close(vj_video *video);

/** vj_regular_open() and vj_video_open() within the usual limits. The descriptor is closed by vj_video_close(). */
vj_status vj_video_open_path(vj_video *video, const char *path, vj_video_verdict *verdict);

/** Why the last call refused; "" if it did not. */
const char *vj_video_reason(const vj_video *video);

/** All zero before anything is known. Frames and times until vj_video_close(). */
const vj_video_info *vj_video_describe(const vj_video *video);

/** Presentation times of the frames in seconds from the first, ascending, [info.frames]. Borrowed. */
const double *vj_video_times(const vj_video *video);

/* ------------------------------------------------------------------------------------------------ pictures */

/* A decoded picture, valid during the call that hands it out. */
typedef struct {
    double pts_s;   /* its time, seconds from the first frame */
    int64_t number; /* counts the pictures handed out; two wanted times that show the same picture share it */
    int damaged;    /* the decoder had to make up part of it, or it stands in for a frame that is lost */
    vj_video *video;
} vj_picture;

/** Called with the picture shown at times_s[k], k ascending. Anything but VJ_VIDEO_OK ends the decoding. */
typedef vj_video_verdict vj_on_picture(void *user, int k, const vj_picture *picture);

/**
 * Hand out the picture shown at each of the given times (seconds from the first frame, ascending): a frame is shown
 * from its own time until the next one's, the first also before and the last also after. Decodes from the last key
 * frame before a wanted time, and passes over what no wanted time needs; where that shows damage it decodes from the
 * start instead. Damage is told picture by picture and counted in info.corrupt and info.missing; what it means the
 * caller decides. May be called again. What only the header promises counts as missing.
 */
vj_video_verdict vj_video_show(vj_video *video, const double *times_s, int count, vj_on_picture *on_picture,
                               void *user);

/**
 * Size of a picture as shown, scaled so that the short side is short_side (aspect kept, sizes even not required; 0: not
 * scaled). Refused beyond VJ_VIDEO_MAX_SIDE or VJ_VIDEO_MAX_PIXELS.
 */
vj_video_verdict vj_picture_size(const vj_picture *picture, int short_side, int *height, int *width);

/**
 * The picture as u8 RGB [height, width, 3], as shown, with the stream's matrix and range (FFmpeg's default, BT.601 and
 * limited, where the stream does not say). Alpha is dropped. The same bits on every processor.
 */
vj_video_verdict vj_picture_rgb(const vj_picture *picture, int height, int width, uint8_t *out);

/** State a refusal of the caller's own, to be found by vj_video_reason(), and return `verdict`. */
vj_video_verdict vj_video_refuse(vj_video *video, vj_video_verdict verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/**
 * vj_video_show() into one piece of memory, refused if more than limits.max_damage of the pictures are damaged: out u8
 * [count, *height, *width, 3], allocated by the callee, free() it. pts_s[count]: the time of each frame given. When the
 * size of the pictures changes in the middle of a stream, the first frame kept decides and the others are scaled to it.
 */
vj_video_verdict vj_video_frames(vj_video *video, const double *times_s, int count, int short_side, uint8_t **out,
                                 int *height, int *width, double *pts_s);

#endif
