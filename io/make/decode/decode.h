/*
 * Decodes untrusted files in a pool of worker processes (the program vjepa-decode), one file at a time per worker. The
 * parent opens the file, passes the worker only its descriptor, and gets the clips back in shared memory. A worker can
 * open neither files nor sockets, its memory and time are limited, and it dies with its parent. If a file crashes its
 * worker, only that file is refused, with a verdict, and a new worker is started.
 *
 * pool.c is the parent's side, worker.c the worker's, maker.c makes the clips of one file; message.h defines the
 * messages between the two sides, sandbox.h the restrictions on a worker. Workers use neither MPI nor HDF5.
 */
#ifndef VJ_DECODE_H
#define VJ_DECODE_H

#include "codec/codec.h"
#include "video/phash.h"
#include "video/video.h"

/* Settings that are the same for all files. */
typedef struct {
    int64_t frames, step, windows; /* F frames a clip, sampling step, clips a file (docs/method.md, section 10.2) */
    int place;   /* vj_window_place: where a window lies in its segment; random: a function of seed and source */
    int overlap; /* bool: windows overlap if segments are shorter than windows */
    uint64_t seed;
    int short_side;          /* pixels of the short side of a clip; 0: as the first frame is shown */
    vj_codec_settings codec; /* how clips are returned */
    int looks;               /* whether to compute each file's perceptual hash (its look) too */
    vj_video_limits limits;  /* of the files */
    int64_t memory_mb;       /* MB of memory that a worker may use for a file, its clips included */
    double seconds;          /* wall-clock limit for a file */
} vj_decode_settings;

typedef struct {
    int64_t source; /* number of the file; seeds its random windows */
    const char *path;
    double start_s, end_s; /* use frames in [start_s, end_s), in seconds from the first frame; negative: no limit */
    int64_t windows;       /* clips to make of this file, at most settings.windows; 0: settings.windows */
    int look_only;         /* compute the perceptual hash only, make no clips */
} vj_decode_job;

typedef struct {
    int32_t window;
    int height, width;
    double pts_s;      /* presentation time of the clip's first frame */
    int64_t at, bytes; /* the record: decoded->data + at */
    float psnr;        /* dB; infinite for raw */
} vj_decoded_clip;

/* The result for one file. */
typedef struct {
    int64_t source;
    vj_video_verdict verdict; /* clips only if VJ_VIDEO_OK */
    char reason[VJ_VIDEO_REASON];
    vj_video_info info;    /* the fields that were not reached are zero */
    int64_t bytes;         /* size of the file; 0: not a regular file */
    uint64_t digest;       /* xxh3 of the file's bytes; 0: not read to the end */
    int64_t frames;        /* frames of the video in the job's [start_s, end_s) */
    double seconds;        /* time spent in the worker */
    vj_phash look;         /* perceptual hash of the job's part of the video; look.valid is 0 if not asked for */
    int clips;             /* at most settings.windows */
    vj_decoded_clip *clip; /* [clips], windows ascending */
    const uint8_t *data;   /* shared memory, sealed against writing */
    int64_t data_bytes;
} vj_decoded;
void vj_decoded_free(vj_decoded *decoded);

typedef struct vj_decoders vj_decoders;

/**
 * Start `workers` processes of the program vjepa-decode, which must be in the folder of the running program (the
 * environment variable VJEPA_DECODE gives another path). They inherit the caller's CPU affinity, so they run on the
 * cores of its rank. They end when the calling thread ends; only that thread may call these functions. Not collective.
 */
vj_status vj_decoders_start(vj_decoders **decoders, const vj_decode_settings *settings, int workers);
void vj_decoders_stop(vj_decoders *decoders);

/** Return the number of idle workers. */
int vj_decoders_idle(const vj_decoders *decoders);

/** Return the sum of the parts that are done of the files that workers have. */
double vj_decoders_so_far(const vj_decoders *decoders);

/** Give a file to an idle worker; there must be one. job->path is not kept after the return. */
vj_status vj_decoders_submit(vj_decoders *decoders, const vj_decode_job *job);

/**
 * Get the result of a file that is done, in any order; free it with vj_decoded_free(). *decoded is NULL if none is done
 * within timeout_s, or if no worker has a file. Also replaces workers that died and kills those that exceed their time
 * limit.
 */
vj_status vj_decoders_next(vj_decoders *decoders, vj_decoded **decoded, double timeout_s);

/** Return the process id of worker `number`, counted from 0; for tests and reports. */
int vj_decoders_process(const vj_decoders *decoders, int number);

/** Main loop of vjepa-decode: serve the parent over standard input until the parent closes it. */
vj_status vj_decode_serve(void);

#endif
