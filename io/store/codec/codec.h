/*
 * Records: the bytes that a store keeps for one clip. `raw` is the frames themselves; `jpeg` is a small header and one
 * JPEG stream a frame, a tenth of the bytes. Neither HDF5 nor MPI is needed here: workers, loaders and the HDF5 filter
 * (filter.h) all call the same two functions.
 *
 * JPEG record, numbers little-endian: u32 VJ_RECORD_VERSION, u32 T, u32 length[T], then the T streams without a gap.
 */
#ifndef VJ_CODEC_H
#define VJ_CODEC_H

#include "base/status.h"

typedef enum { VJ_CODEC_RAW, VJ_CODEC_JPEG, VJ_CODECS } vj_codec;

typedef struct {
    vj_codec codec;
    int quality; /* jpeg: 1 to 100 */
    int chroma;  /* jpeg: 420 or 444 */
} vj_codec_settings;

/** "raw", "jpeg". */
const char *vj_codec_name(vj_codec codec);
/** VJ_ERR_USAGE when there is no codec of that name, or the settings are none that it has. */
vj_status vj_codec_find(vj_codec *codec, const char *name);
vj_status vj_codec_check(const vj_codec_settings *settings);

/** Bytes of the frames u8 [T, H, W, 3]. */
int64_t vj_frames_bytes(int T, int H, int W);

enum { VJ_JPEG_MAX_SIDE = 65500, VJ_RECORD_VERSION = 1, VJ_RECORD_MAX_FRAMES = 1 << 16 };
#define VJ_RECORD_MAX_BYTES INT64_C(0xffffffff) /* HDF5's limit for a chunk, raw or compressed */

/** What one thread needs to make and read records: compressor, decompressor, memory that is kept between calls. */
typedef struct vj_coder vj_coder;

/** Cheap; what a codec needs is made when it is first needed. */
vj_status vj_coder_create(vj_coder **coder);
/** NULL is harmless. */
void vj_coder_destroy(vj_coder *coder);

/**
 * Make a record of `frames` u8 [T, H, W, 3].
 *
 * @param record  borrowed: `frames` itself (raw), or the coder's until its next call
 * @param bytes   its length
 * @param psnr    in dB, over all values of all frames, of what vj_record_decode() will give; INFINITY if nothing is
 * lost
 *
 * Fails on sides beyond VJ_JPEG_MAX_SIDE (jpeg) and on frames or records beyond VJ_RECORD_MAX_BYTES.
 */
vj_status vj_record_encode(vj_coder *coder, const vj_codec_settings *settings, const uint8_t *frames, int T, int H,
                           int W, const uint8_t **record, int64_t *bytes, double *psnr);

/**
 * Frames u8 [T, H, W, 3] of a record that may hold anything: lengths, sizes, colour format and every stream are
 * checked, and a damaged stream is VJ_ERR_FORMAT even if libjpeg could guess on. T, H and W are the caller's own.
 * After a failure the frames are undefined.
 */
vj_status vj_record_decode(vj_coder *coder, vj_codec codec, const uint8_t *record, int64_t bytes, int T, int H, int W,
                           uint8_t *frames);

/**
 * Can a record of `bytes` hold frames of `frames_bytes`? raw: they are the same; jpeg: 256 times as many at most (one
 * colour in 4:2:0 takes 4 bytes of its 768, with the tables that we write). To be asked before memory is allocated for
 * what a file says of itself.
 */
bool vj_record_can_hold(vj_codec codec, int64_t bytes, int64_t frames_bytes);

/** Memory for a record read from elsewhere, valid until the next call of it; NULL (not reported) when there is none. */
uint8_t *vj_coder_scratch(vj_coder *coder, int64_t bytes);

#endif
