/* Shared by the files of io/make/video only: the open video, and functions that refuse a file with a reason. */
#ifndef VJ_VIDEO_INSIDE_H
#define VJ_VIDEO_INSIDE_H

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#include "video/convert.h"
#include "video/signature.h"
#include "video/video.h"

/** Refuse with `what` and FFmpeg's text for `error`; if memory ran out the verdict is VJ_VIDEO_OUT_OF_MEMORY. */
vj_video_verdict vj_refuse_av(vj_video *video, vj_video_verdict verdict, int error, const char *what);

/* A packet of the video stream. */
typedef struct {
    int64_t pts, dts; /* AV_NOPTS_VALUE: none; made continuous where recordings were joined */
    int flags;        /* AV_PKT_FLAG_* */
    int wanted;       /* holds a frame that the caller wants */
    int damaged;      /* its frame is damaged: bytes of it, or of a frame that it depends on, are lost */
    int behind_hole;  /* packets just before this one seem to be lost */
    int gradual; /* a key frame that only starts a gradual (intra) refresh: the picture becomes right over the following
                    frames */
} vj_packet;

/* A frame with a presentation time. */
typedef struct {
    int64_t ticks;  /* in the stream's time base; where packets have no times, the frame's number */
    int64_t packet; /* number of the packet that holds it */
} vj_timed_frame;

/* An open container over a file descriptor; nothing but its bytes can be reached through it. */
typedef struct {
    int fd; /* borrowed */
    AVIOContext *io;
    AVFormatContext *format;
    int errors;                              /* errors in the demuxer's log output */
    int failed;                              /* errno of the first failed read; 0: none failed */
    unsigned char begin[VJ_SIGNATURE_BYTES]; /* the file's first bytes */
    int64_t begin_bytes;
} vj_media_file;

/* Position in the stream's packets. */
typedef struct {
    int64_t next;         /* number of the packet to be read */
    int64_t last, offset; /* last timestamp; correction added where joined recordings restart the clock */
} vj_packet_cursor;

struct vj_video {
    vj_video_limits limits;
    vj_video_info info;
    char reason[VJ_VIDEO_REASON];
    int owned_fd; /* closed by vj_video_close(); -1: the caller owns the descriptor */

    vj_media_file file;
    int stream; /* index of the stream in the file */
    AVCodecContext *decoder;
    vj_orientation orientation;
    AVRational aspect; /* of a stored pixel */
    double tick_s;     /* stream time base */
    double nominal_fps;
    int64_t promised; /* packets that the header announces; 0: it does not say */

    /* packets.c: these arrays are reused from file to file */
    vj_packet *packets; /* [packet_count], in file order */
    int64_t packet_count, packet_room;
    AVPacket **kept; /* [kept_room], empty beyond kept_count */
    int64_t kept_count, kept_room;
    AVPacket *read; /* the packet read last */
    vj_packet_cursor cursor;
    int64_t start;         /* packet where decoding starts: the first key frame */
    int64_t before_start;  /* packets before `start` that are meant to be shown, but depend on frames before the
                              beginning of the file */
    int64_t read_errors;   /* demuxer errors while the packets were read */
    int64_t faults;        /* packets that are damaged, or follow lost ones, according to the container */
    int has_holes;         /* gaps in the timestamps show that packets are lost */
    int lost_reference;    /* set when the decoder reports, for the packet it was given last, that a reference frame is
                              lost */
    int lost_strip;        /* set when the decoder reports that a part of a TIFF picture could not be decoded */
    vj_timed_frame *shown; /* [info.frames], ascending ticks */
    double *times;         /* [info.frames], seconds from the first */
    int64_t shown_room;
    int by_number; /* no usable timestamps: frames are identified by their number */

    /* show.c */
    AVFrame *frame, *held;
    vj_converter converter, look_converter;
};

/** Recognise the container in `fd` by its content. Call vj_media_file_close() also after a failure. */
vj_video_verdict vj_media_file_open(vj_video *video, int fd);
void vj_media_file_close(vj_media_file *file);

/** Return whether we accept a container (FFmpeg's names, separated by commas), and a decoder. */
int vj_container_allowed(const char *names);
int vj_decoder_allowed(const char *name);

/** Return a file's timestamp, or AV_NOPTS_VALUE if it is so large (2^61) that sums and differences could overflow. */
int64_t vj_sane_timestamp(int64_t ticks);

/**
 * Read all packets of the stream and determine every frame's time; decodes the stream if its packets carry no times.
 */
vj_video_verdict vj_packets_index(vj_video *video);

/**
 * Mark packet `first` as damaged, and all packets whose frames may depend on it: those up to the next key frame, and
 * those after that key frame which are shown before it.
 */
void vj_packets_damage(vj_video *video, int64_t first);

/** Clear the key-frame flag of packet i, which the container set wrongly: damage before it now extends beyond it. */
void vj_packets_no_key(vj_video *video, int64_t i);

/** Return how many frames fit into the gaps of the presentation times, if the frame rate is constant; else 0. */
int64_t vj_packets_holes(const vj_video *video);

/**
 * For an open still picture: apply the orientation in its metadata, ignore its print density, and mark it as damaged if
 * the file is truncated or corrupt.
 */
vj_video_verdict vj_photo_inspect(vj_video *video);

/**
 * Return whether a Motion JPEG picture is truncated or corrupt. Uses libjpeg-turbo, because FFmpeg conceals such damage
 * without reporting it.
 */
int vj_photo_is_damaged(const AVPacket *packet);

/**
 * Convert an open still picture that is a JPEG in colour or grey, without scaling, to u8 RGB as shown. The bytes are
 * those of libjpeg-turbo, and so of Pillow and most image libraries; swscale's differ by a few levels. Returns false if
 * it cannot: another format, CMYK, a damaged file.
 */
bool vj_photo_rgb(vj_video *video, uint8_t *out);

/** Get packet i, borrowed until the next call; fast if i ascends from call to call. Returns 0 or an AVERROR. */
int vj_packets_get(vj_video *video, int64_t i, AVPacket **packet);
void vj_packets_clear(vj_video *video);
void vj_packets_release(vj_video *video);

/*
 * State of decoding from a given packet on. Call vj_decoding_begin(), then vj_decoding_next() frame by frame: returns 1
 * with video->frame filled in, 0 at the end, or an AVERROR.
 */
typedef struct {
    int64_t next;    /* number of the next packet to send to the decoder */
    int wanted_only; /* skip frames that are neither wanted nor needed to decode others */
    int ended;       /* all packets were sent */
    int retries;     /* decoder errors still tolerated after all packets were sent */
    int64_t errors;
    int64_t faults;  /* errors, plus packets that depend on a lost frame */
    int64_t key_pts; /* pts of the last key frame sent */
} vj_decoding;
void vj_decoding_begin(vj_video *video, vj_decoding *decoding, int64_t first, int wanted_only);
int vj_decoding_next(vj_video *video, vj_decoding *decoding);

#endif
