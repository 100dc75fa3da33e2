/*
 * From a media file to RGB frames, with libavformat, libavcodec and libswscale: one decoder thread, only the kept
 * frames are scaled and converted, frames chosen by presentation time. Files are untrusted: only regular files are
 * opened, by content and never by name, and what is inside a file cannot open another one.
 *
 * Opening reads the file once and keeps its compressed packets of the video stream (file.c), which gives the
 * presentation time of every frame without decoding (stream.c); vj_video_frames() then decodes all of it once
 * (frames.c) and converts the frames asked for (convert.c). encode.h is the other way round.
 */
#ifndef VJ_VIDEO_H
#define VJ_VIDEO_H

#include "base/status.h"

/* Limits: larger files are refused (the published loader skips them too), and so are larger pictures. */
#define VJ_VIDEO_MAX_BYTES  INT64_C(1000000000)
#define VJ_VIDEO_MAX_PIXELS (INT64_C(64) << 20)
/* Of what vj_video_frames() gives: a side of its pictures, and the bytes of one call. */
#define VJ_VIDEO_MAX_SIDE      65536
#define VJ_VIDEO_MAX_RGB_BYTES (INT64_C(1) << 30)

typedef enum {
    VJ_VIDEO_OK,
    VJ_VIDEO_MISSING,      /* no such file, or no permission to reach it */
    VJ_VIDEO_NOT_REGULAR,  /* a folder, FIFO, device, or a loop of links */
    VJ_VIDEO_EMPTY,        /* no bytes */
    VJ_VIDEO_UNRECOGNISED, /* no container format fits */
    VJ_VIDEO_NO_STREAM,    /* no video stream (attached pictures do not count) */
    VJ_VIDEO_NO_DECODER,   /* the codec is unknown to this FFmpeg */
    VJ_VIDEO_TOO_LARGE,    /* beyond one of the limits above */
    VJ_VIDEO_CORRUPT,      /* of the stream's frames more than a tenth damaged or not decoded */
    VJ_VIDEO_TOO_SHORT,    /* no frame at all */
    VJ_VIDEO_FAILED,       /* anything else the libraries say */
    VJ_VIDEO_VERDICTS
} vj_video_verdict;

/** The name in ledgers: "ok", "missing", "not_regular" ... */
const char *vj_video_verdict_name(vj_video_verdict verdict);

typedef struct vj_video vj_video;

typedef struct {
    char container[32], codec[32];
    int width, height;      /* as shown: after rotation and sample aspect ratio */
    int rotation;           /* degrees clockwise from stored to shown, multiple of 90 */
    double fps, duration_s; /* from the presentation times; nominal for a single frame */
    int64_t frames;         /* with a presentation time, counted in the stream; not the header's word */
    int64_t corrupt;        /* frames the decoder flagged, and its error returns: after vj_video_frames() */
    int64_t missing; /* frames in the stream that did not come out; frames the header promises, but no packet holds */
    int is_image;    /* a still picture: one frame */
} vj_video_info;

/**
 * Open a media file. A file that cannot be used is not an error of the job: *verdict and reason[reason_bytes] say why,
 * and *video is NULL. What says nothing about the file (no descriptor left, a disk or file server that fails) is
 * VJ_ERR_IO. VJ_ERR_MEMORY only when there is none to begin with; FFmpeg's wish for more is a refusal. Never blocks on
 * a FIFO. Free with vj_video_close().
 */
vj_status vj_video_open(vj_video **video, const char *path, vj_video_verdict *verdict, char *reason, int reason_bytes);
void vj_video_close(vj_video *video);
const vj_video_info *vj_video_describe(const vj_video *video);

/** Presentation times of the frames in seconds from the first, ascending, [info.frames]. Borrowed. */
const double *vj_video_times(const vj_video *video);

/**
 * Frames shown at the given times (seconds from the first frame, ascending), scaled so that the short side is
 * short_side (aspect kept, sizes even not required; 0: native size), converted to RGB with the stream's matrix and
 * range (FFmpeg's default, BT.601 and limited, where the stream does not say): out u8 [count, *height, *width, 3],
 * allocated by the callee, free() it. pts_s[count]: the time of each frame given. Alpha is dropped. When the size of
 * the pictures changes in the middle of a stream, the first frame kept decides and the others are scaled to it. What
 * only the header promises counts as missing, and does not make a file corrupt.
 *
 * Decodes the whole stream, so that info.corrupt and info.missing speak for all of it. May be called again.
 */
vj_video_verdict vj_video_frames(vj_video *video, const double *times_s, int count, int short_side, uint8_t **out,
                                 int *height, int *width, double *pts_s, char *reason, int reason_bytes);

#endif
