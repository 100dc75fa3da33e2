/* What the files of io/make/video share among themselves: the open video, and how a refusal is put into words. */
#ifndef VJ_VIDEO_INSIDE_H
#define VJ_VIDEO_INSIDE_H

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#include "video/convert.h"
#include "video/signature.h"
#include "video/video.h"

/** Refuse with FFmpeg's text for `error` added; when memory has ended the verdict says so. */
vj_video_verdict vj_refuse_av(vj_video *video, vj_video_verdict verdict, int error, const char *what);

/* A packet of the video stream. */
typedef struct {
    int64_t pts, dts; /* AV_NOPTS_VALUE: it has none; made continuous */
    int flags;        /* AV_PKT_FLAG_* */
    int wanted;       /* it holds a frame that is asked for */
    int damaged;      /* its frame cannot be right: bytes of it, or of a frame that it is made from, are lost */
    int behind_hole;  /* packets before it seem to be lost */
    int gradual;      /* a key frame with which the picture only begins to be right: it is refreshed part by part */
} vj_packet;

/* A frame with a presentation time. */
typedef struct {
    int64_t ticks;  /* in the stream's time base; where packets have no times, the frame's number */
    int64_t packet; /* number of the packet that holds it */
} vj_shown;

/* An open container over a file descriptor; nothing but its bytes can be reached through it. */
typedef struct {
    int fd; /* borrowed */
    AVIOContext *io;
    AVFormatContext *format;
    int errors;                              /* the demuxer has spoken of, by its log */
    int failed;                              /* errno of a read that failed; 0: none has */
    unsigned char begin[VJ_SIGNATURE_BYTES]; /* of the file */
    int64_t begin_bytes;
} vj_media_file;

/* Where reading of the stream's packets stands. */
typedef struct {
    int64_t next;         /* number of the packet to be read */
    int64_t last, offset; /* of the clock, which recordings that were joined start again */
} vj_packet_cursor;

struct vj_video {
    vj_video_limits limits;
    vj_video_info info;
    char reason[VJ_VIDEO_REASON];
    int owned_fd; /* -1: the caller's */

    vj_media_file file;
    int stream; /* its number in the file */
    AVCodecContext *decoder;
    vj_orientation orientation;
    AVRational aspect; /* of a stored pixel */
    double tick_s;     /* stream time base */
    double nominal_fps;
    int64_t promised; /* packets the header speaks of; 0: it does not */

    /* packets.c: kept between files as memory */
    vj_packet *packets; /* [packet_count], in file order */
    int64_t packet_count, packet_room;
    AVPacket **kept; /* [kept_room], empty beyond kept_count */
    int64_t kept_count, kept_room;
    AVPacket *read; /* the one read last */
    vj_packet_cursor cursor;
    int64_t start;        /* packet where decoding starts: the first key frame */
    int64_t before_start; /* packets that are shown, but cannot be decoded without what comes before the file */
    int64_t read_errors;  /* of the demuxer, while it read the packets */
    int64_t faults;       /* packets that the container shows to be damaged, or to come after lost ones */
    int has_holes;        /* packets seem to be lost, by the times of the others */
    int lost_reference;   /* set when the decoder says so of the packet it was given last */
    vj_shown *shown;      /* [info.frames], ascending ticks */
    double *times;        /* [info.frames], seconds from the first */
    int64_t shown_room;
    int by_number; /* frames are known by their number, not by their time */

    /* show.c */
    AVFrame *frame, *held;
    vj_converter converter, look_converter;
};

/** Recognise the container over `fd` by its content. Close in any case. */
vj_video_verdict vj_media_file_open(vj_video *video, int fd);
void vj_media_file_close(vj_media_file *file);

/** Whether a container (FFmpeg's names, separated by commas) and a decoder are of those that are read. */
int vj_container_allowed(const char *names);
int vj_decoder_allowed(const char *name);

/** Choose the stream and open its decoder. */
vj_video_verdict vj_stream_open(vj_video *video);

/** A timestamp from a file: AV_NOPTS_VALUE if so large (2^61) that sums and differences of such could overflow. */
int64_t vj_sane_timestamp(int64_t ticks);

/** Read all packets of the stream and learn the frames' times, by decoding where packets carry none. */
vj_video_verdict vj_packets_index(vj_video *video);

/**
 * Packet `first` is damaged, and so is every frame that may be made from it: those up to the next key frame, and those
 * after that one which are shown before it.
 */
void vj_packets_damage(vj_video *video, int64_t first);

/** Packet i is called a key frame by its container and is none: damage of the packets before it reaches beyond it. */
void vj_packets_no_key(vj_video *video, int64_t i);

/** Frames that a hole in the presentation times of a stream with a constant frame rate has room for; else 0. */
int64_t vj_packets_holes(const vj_video *video);

/**
 * Of an open still picture: turn it as its metadata say, forget its print density, and mark it as damaged if its file
 * ends early or is garbled.
 */
vj_video_verdict vj_photo_inspect(vj_video *video);

/** Whether a picture of Motion JPEG ends early or is garbled; libjpeg-turbo notices what FFmpeg makes up. */
int vj_photo_is_damaged(const AVPacket *packet);

/** Packet number i, borrowed until the next call; cheap if numbers ascend. AVERROR or 0. */
int vj_packets_get(vj_video *video, int64_t i, AVPacket **packet);
void vj_packets_clear(vj_video *video);
void vj_packets_release(vj_video *video);

/* Decoding from some packet on. Begin, then frame by frame: 1 with video->frame filled in, 0 at the end, or AVERROR. */
typedef struct {
    int64_t next;    /* number of the packet to be sent */
    int wanted_only; /* leave out frames that neither are wanted nor needed for others */
    int ended;       /* nothing is left to be sent */
    int retries;     /* errors to go on after once it has ended */
    int64_t errors;
    int64_t faults;  /* errors, and packets that need a frame which is lost */
    int64_t key_pts; /* of the key frame sent last */
} vj_decoding;
void vj_decoding_begin(vj_video *video, vj_decoding *decoding, int64_t first, int wanted_only);
int vj_decoding_next(vj_video *video, vj_decoding *decoding);

#endif
