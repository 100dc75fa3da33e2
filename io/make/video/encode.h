/*
 * Encodes RGB frames to a small video file, for the demonstration data and for tests. If the writer fails or is killed,
 * there is either the whole file or none. Files are not fsynced, because that takes several times as long as encoding a
 * small video; after a crash of the machine, remove the demonstration data and make them again. The same frames and
 * settings give the same bytes with one version of FFmpeg and its encoders.
 */
#ifndef VJ_VIDEO_ENCODE_H
#define VJ_VIDEO_ENCODE_H

#include "base/status.h"

typedef enum {
    VJ_ENCODING_H264,  /* .mp4, libx264 crf 8, 4:4:4, groups of 12 with B frames */
    VJ_ENCODING_MPEG4, /* .avi, quantiser 2, 4:2:0 */
    VJ_ENCODING_MJPEG, /* .mov, quantiser 2, 4:4:4, full range */
    VJ_ENCODING_VP9,   /* .webm, libvpx crf 8, 4:4:4 */
    VJ_ENCODING_FFV1,  /* .mkv, lossless RGB */
    VJ_ENCODINGS
} vj_encoding;

/** Return the file name extension, without the dot. */
const char *vj_encoding_extension(vj_encoding encoding);
/** Return the codec's name as in vj_video_info.codec. */
const char *vj_encoding_codec(vj_encoding encoding);
/** Return whether this build of FFmpeg has the encoder. */
int vj_encoding_available(vj_encoding encoding);

typedef struct {
    vj_encoding encoding;
    int width, height, fps;
    const int64_t *ticks;       /* presentation time of each frame in units of 1 / fps, ascending; NULL: 0, 1, 2 ... */
    int aspect_num, aspect_den; /* aspect ratio of a pixel; 0: square, and not stated in the file */
    int rotation;               /* degrees clockwise by which a player must rotate the pictures (mp4, mov) */
} vj_video_form;

/** Write frames u8 RGB [count, height, width, 3] to `path`: written as `path`.part, then renamed. */
vj_status vj_video_write(const char *path, const vj_video_form *form, const uint8_t *frames, int count);

#endif
