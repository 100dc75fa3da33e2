/*
 * Decoding untrusted files in worker processes. A pool of them (the program vjepa-decode) takes one file each at a
 * time: the parent opens the file, hands over nothing but its descriptor, and gets clips back in shared memory. A
 * worker can neither open a file nor a socket, has limits on memory and time, and dies with its parent. Whatever a file
 * does to its worker costs that file a verdict and the worker its life; another one takes its place.
 *
 * pool.c is the parent's side, worker.c the other, maker.c what it does with a file; message.h is what they say to each
 * other, and sandbox.h what a worker gives up. Neither MPI nor HDF5 is in a worker.
 */
#ifndef VJ_DECODE_H
#define VJ_DECODE_H

#include "codec/codec.h"
#include "video/phash.h"
#include "video/video.h"

/* The same for all files. */
typedef struct {
    int64_t frames, step, windows; /* F frames a clip, sampling step, clips a file (docs/method.md, section 10.2) */
    int random_windows;            /* random start inside a segment, a function of seed and source; else at its start */
    uint64_t seed;
    int short_side;          /* pixels of the short side of a clip */
    vj_codec_settings codec; /* how clips are returned */
    int looks;               /* whether each file's look is taken too */
    vj_video_limits limits;  /* of the files */
    int64_t memory_mb;       /* a worker may use for a file, its clips included */
    double seconds;          /* a file may take, by the clock */
} vj_decode_settings;

typedef struct {
    int64_t source; /* its number, which random windows depend on */
    const char *path;
    double start_s, end_s; /* use frames from here to before there, in seconds from the first; negative: no limit */
    int64_t windows;       /* clips of this file, at most settings.windows; 0: as many */
    int look_only;         /* make no clips */
} vj_decode_job;

typedef struct {
    int32_t window;
    int height, width;
    double pts_s;      /* of its first frame */
    int64_t at, bytes; /* the record: decoded->data + at */
    float psnr;        /* dB; infinite for raw */
} vj_decoded_clip;

/* What became of a file. */
typedef struct {
    int64_t source;
    vj_video_verdict verdict; /* clips only if VJ_VIDEO_OK */
    char reason[VJ_VIDEO_REASON];
    vj_video_info info;    /* as far as it was known */
    int64_t bytes;         /* of the file; 0: not a regular one */
    uint64_t digest;       /* xxh3 of the file's bytes; 0: not read to the end */
    int64_t frames;        /* of the video in the part that the job is about */
    double seconds;        /* in the worker */
    vj_phash look;         /* of the frames of the job; not valid if not asked for */
    int clips;             /* at most settings.windows */
    vj_decoded_clip *clip; /* [clips], windows ascending */
    const uint8_t *data;   /* shared memory that nobody can write to any more */
    int64_t data_bytes;
} vj_decoded;
void vj_decoded_free(vj_decoded *decoded);

typedef struct vj_decoders vj_decoders;

/**
 * Start `workers` processes of the program vjepa-decode, which lies beside the running program (the environment
 * variable VJEPA_DECODE names another). They inherit the caller's affinity, so they run on the cores of its rank; and
 * they end when the calling thread does, which must be the only one to call these functions. Not collective.
 */
vj_status vj_decoders_start(vj_decoders **decoders, const vj_decode_settings *settings, int workers);
void vj_decoders_stop(vj_decoders *decoders);

/** Workers that wait for a file. */
int vj_decoders_idle(const vj_decoders *decoders);

/** Give a file to an idle worker; there must be one. The path is not kept. */
vj_status vj_decoders_submit(vj_decoders *decoders, const vj_decode_job *job);

/**
 * The next file that is done, whichever it is; free it with vj_decoded_free(). *decoded is NULL if none is done within
 * timeout_s, or none is under way. Workers that are lost are replaced, those that take too long ended, here.
 */
vj_status vj_decoders_next(vj_decoders *decoders, vj_decoded **decoded, double timeout_s);

/** Process number of worker `number`, from 0; for tests and reports. */
int vj_decoders_process(const vj_decoders *decoders, int number);

/** What vjepa-decode does: serve the parent on standard input until it leaves. */
vj_status vj_decode_serve(void);

#endif
