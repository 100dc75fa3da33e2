/* What the files of io/video share among themselves: the open video, and how a refusal is put into words. */
#ifndef VJ_VIDEO_INSIDE_H
#define VJ_VIDEO_INSIDE_H

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#include "video/convert.h"
#include "video/video.h"

/* Why a file is refused: text for the ledger, owned by the caller of the library. */
typedef struct {
    char *text;
    int bytes;
} vj_reason;

/** Fill in the reason and return `verdict`. */
vj_video_verdict vj_refuse(vj_reason reason, vj_video_verdict verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** The same with FFmpeg's text for `error` added; when memory has ended the verdict says so. */
vj_video_verdict vj_refuse_av(vj_reason reason, vj_video_verdict verdict, int error, const char *what);

struct vj_video {
    vj_video_info info;
    AVCodecContext *decoder;
    AVPacket **packets; /* of the video stream in file order, owned; timestamps made continuous */
    int64_t packet_count, packet_room;
    double *times;  /* [info.frames], owned */
    int64_t origin; /* timestamp of the first frame */
    int by_count;   /* the stream has no usable timestamps: frame k is shown at k / fps */
    double tick_s;  /* stream time base */
    double nominal_fps;
    int64_t promised; /* packets the header speaks of; 0: it does not */
    int64_t read_errors;
    vj_orientation orientation;
    AVRational aspect; /* of a stored pixel */
    vj_converter converter;
};

/** An open container over a file descriptor; nothing but its bytes can be reached through it. */
typedef struct {
    int fd;
    AVIOContext *io;
    AVFormatContext *format;
} vj_media_file;

/**
 * Open `path` if it is a regular file of acceptable size, and recognise its container by content. VJ_ERR_IO: the system
 * failed, which is no verdict. Close in any case.
 */
vj_status vj_media_file_open(vj_media_file *file, const char *path, vj_video_verdict *verdict, vj_reason reason);
void vj_media_file_close(vj_media_file *file);

/** A timestamp from a file: AV_NOPTS_VALUE if so large (2^61) that sums and differences of such could overflow. */
int64_t vj_sane_timestamp(int64_t ticks);

/** Read all packets of `stream` into memory and learn the frames' times, by decoding where packets carry none. */
vj_video_verdict vj_video_index(vj_video *video, AVFormatContext *format, const AVStream *stream, vj_reason reason);

/** Called for each frame in presentation order; may take the frame's reference. Non-zero (AVERROR) stops decoding. */
typedef int vj_on_frame(void *user, AVFrame *frame);

/** Decode all packets from the start; *decoded frames came out, *corrupt frames or packets were damaged. AVERROR or 0.
 */
int vj_video_decode(vj_video *video, vj_on_frame *on_frame, void *user, int64_t *decoded, int64_t *corrupt);

#endif
