/*
 * Decodes a media file to RGB frames with libavformat, libavcodec and libswscale: one decoder thread; frames are chosen
 * by presentation time; only the frames that the wanted ones depend on are decoded, only the wanted ones scaled and
 * converted. Files are untrusted: only regular files are opened; the format is recognised by content, never by name;
 * only listed containers and codecs are accepted (allowed.c); nothing inside a file can make us open another one.
 * io/make/decode calls this in sandboxed processes.
 *
 * regular.c opens the file; file.c recognises the container; packets.c reads the container once and keeps the
 * compressed packets of the video stream, which gives the presentation time of every frame without decoding; show.c
 * decodes from key frames and hands out the pictures shown at given times; convert.c converts them to RGB. encode.h
 * does the reverse.
 */
#ifndef VJ_VIDEO_H
#define VJ_VIDEO_H

#include "base/status.h"

/* Limits on the pictures handed out: pixels of a side, pixels of a picture, bytes of one call of vj_video_frames(). */
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
    VJ_VIDEO_TOO_LARGE,     /* exceeds one of vj_video_limits */
    VJ_VIDEO_CORRUPT,       /* no frame can be decoded, or more are damaged or lost than the limits allow */
    VJ_VIDEO_TOO_SHORT,     /* no frame at all */
    VJ_VIDEO_FAILED,        /* any other error from the libraries */
    VJ_VIDEO_FORBIDDEN,     /* a container or codec that we do not accept: play lists, subtitles, network formats ... */
    VJ_VIDEO_CRASHED,       /* the process that decoded it died */
    VJ_VIDEO_TIMED_OUT,     /* it took longer than allowed */
    VJ_VIDEO_OUT_OF_MEMORY, /* decoding needed more memory than allowed */
    VJ_VIDEO_UNREADABLE,    /* its bytes cannot be read: a disk or file server that fails */
    VJ_VIDEO_VERDICTS
} vj_video_verdict;

/** Return the name used in ledgers: "ok", "missing", "not_regular" ... */
const char *vj_video_verdict_name(vj_video_verdict verdict);

/* Bytes of the text that explains a verdict. */
enum { VJ_VIDEO_REASON = 256 };

typedef struct {
    int64_t max_bytes;  /* of a file, and of its video stream */
    int64_t max_kept;   /* bytes of compressed video held in memory; beyond, the file is read again for decoding */
    int64_t max_pixels; /* of a stored picture */
    double max_damage;  /* fraction of the requested frames that may be damaged or lost */
    int decode_all; /* decode the whole stream, to find all its damage, and not only what the requested frames need */
} vj_video_limits;

/* 1 GB (the published loader skips larger files too), 64 MB, 64 Mi pixels, a tenth damaged. */
extern const vj_video_limits vj_video_usual_limits;

typedef struct {
    char container[32], codec[32];
    int width, height;      /* as shown: after rotation and sample aspect ratio */
    int rotation;           /* degrees clockwise from stored to shown, 0 to 359 */
    double fps, duration_s; /* from the presentation times; nominal for a single frame */
    int64_t frames;         /* frames with a presentation time, counted in the stream, not taken from the header */
    int64_t decoded;        /* frames that came out of the decoder in the last call that decoded */
    int64_t corrupt;        /* decoded frames that the decoder flagged as corrupt, plus the decoder's errors */
    int64_t missing; /* frames that should have been decoded and were not, including those before the first key frame
                        and those that the header announces but no packet holds */
    int is_image;    /* a still picture: one frame */
} vj_video_info;

/**
 * Open a regular file (links are followed) of 1 to `max_bytes` bytes; never blocks on a FIFO. Any other file is
 * refused: *verdict and `reason` say why, and *fd is -1. An error that would hit the next file too (no descriptor or
 * memory left) returns VJ_ERR_IO. *bytes: the file's size, 0 if it is not regular.
 */
vj_status vj_regular_open(const char *path, int64_t max_bytes, int *fd, int64_t *bytes, vj_video_verdict *verdict,
                          char reason[VJ_VIDEO_REASON]);

typedef struct vj_video vj_video;

/** Create a reader, used for one file after another; it keeps its memory and its scaler between files. */
vj_status vj_video_create(vj_video **video);
void vj_video_destroy(vj_video *video);

/**
 * Open a media file by its descriptor, which is borrowed until vj_video_close(). If the file cannot be used, the
 * verdict says what is wrong, vj_video_reason() gives the details, and nothing stays open. Closing twice is harmless.
 */
vj_video_verdict vj_video_open(vj_video *video, int fd, const vj_video_limits *limits);
void vj_video_close(vj_video *video);

/** Call vj_regular_open() and vj_video_open() with vj_video_usual_limits. vj_video_close() closes the descriptor. */
vj_status vj_video_open_path(vj_video *video, const char *path, vj_video_verdict *verdict);

/** Return why the last call refused the file; "" if it did not. */
const char *vj_video_reason(const vj_video *video);

/** Return what is known of the file; fields that are not known yet are zero. Valid until vj_video_close(). */
const vj_video_info *vj_video_describe(const vj_video *video);

/**
 * Return the presentation times of all frames [info.frames], in seconds from the first, ascending. Borrowed until
 * vj_video_close().
 */
const double *vj_video_times(const vj_video *video);

/* ------------------------------------------------------------------------------------------------ pictures */

/* A decoded picture, valid during the call that hands it out. */
typedef struct {
    double pts_s;   /* presentation time, seconds from the first frame */
    int64_t number; /* running number of the picture; equal for two wanted times that show the same picture */
    int damaged;    /* part of it was concealed by the decoder, or it replaces a frame that is lost */
    vj_video *video;
} vj_picture;

/** Called with the picture shown at times_s[k], k ascending. Any return value but VJ_VIDEO_OK ends the decoding. */
typedef vj_video_verdict vj_on_picture(void *user, int k, const vj_picture *picture);

/**
 * Call on_picture with the picture shown at each of the given times (seconds from the first frame, ascending). A frame
 * is shown from its own time until the next frame's; the first also before its time, the last also after it.
 *
 * Decodes from the last key frame before a wanted time and skips frames that no wanted time needs; if damage shows up,
 * it decodes from the start of the stream instead. Damage is reported with each picture and counted in info.corrupt and
 * info.missing; the caller decides what to do about it. Frames that only the header announces count as missing. May be
 * called again.
 */
vj_video_verdict vj_video_show(vj_video *video, const double *times_s, int count, vj_on_picture *on_picture,
                               void *user);

/**
 * Compute the size of a picture as shown, scaled so that its short side is short_side (0: not scaled); the aspect ratio
 * is kept, odd sizes are allowed. Refused beyond VJ_VIDEO_MAX_SIDE or VJ_VIDEO_MAX_PIXELS.
 */
vj_video_verdict vj_picture_size(const vj_picture *picture, int short_side, int *height, int *width);

/**
 * Convert the picture, as shown, to u8 RGB [height, width, 3], with the stream's colour matrix and range (FFmpeg's
 * default, BT.601 and limited, where the stream does not say). Alpha is dropped. The same bits on every CPU.
 */
vj_video_verdict vj_picture_rgb(const vj_picture *picture, int height, int width, uint8_t *out);

/** Record the caller's own reason to refuse the file, for vj_video_reason(), and return `verdict`. */
vj_video_verdict vj_video_refuse(vj_video *video, vj_video_verdict verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/**
 * Collect the pictures of vj_video_show() in one array, u8 RGB *out [count, *height, *width, 3], allocated here; free()
 * it. pts_s [count]: the presentation time of each frame given. Refused if more than limits.max_damage of the pictures
 * are damaged. If the picture size changes within the stream, the first frame kept sets the size and the others are
 * scaled to it.
 */
vj_video_verdict vj_video_frames(vj_video *video, const double *times_s, int count, int short_side, uint8_t **out,
                                 int *height, int *width, double *pts_s);

#endif
