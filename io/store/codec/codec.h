/*
 * Records: the bytes that a store keeps for one clip. `raw` is the frames themselves; `jpeg` is a small header and one
 * JPEG stream a frame, about a tenth of the bytes. Uses neither HDF5 nor MPI; decoding workers, loaders and the HDF5
 * filter (filter.h) all call the same two functions.
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

/** Return the name of a codec: "raw" or "jpeg". */
const char *vj_codec_name(vj_codec codec);
/**
 * Find a codec by name; check its settings. VJ_ERR_USAGE for an unknown name, or for settings that the codec does not
 * support.
 */
vj_status vj_codec_find(vj_codec *codec, const char *name);
vj_status vj_codec_check(const vj_codec_settings *settings);

/** Return the size in bytes of frames u8 [T, H, W, 3]. */
int64_t vj_frames_bytes(int T, int H, int W);

enum { VJ_JPEG_MAX_SIDE = 65500, VJ_RECORD_VERSION = 1, VJ_RECORD_MAX_FRAMES = 1 << 16 };
#define VJ_RECORD_MAX_BYTES INT64_C(0xffffffff) /* HDF5's limit for a chunk, raw or compressed */

/**
 * The state one thread needs to encode and decode records: compressor, decompressor, and buffers reused between calls.
 */
typedef struct vj_coder vj_coder;

/** Create a coder. Cheap: compressor and decompressor are created when first needed. */
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
 * Decode a record, which is untrusted, to frames u8 [T, H, W, 3]. Lengths, sizes, colour format and every stream are
 * checked; a damaged stream is VJ_ERR_FORMAT even if libjpeg could conceal the damage. T, H and W are what the caller
 * expects, not read from the record. After a failure the frames are undefined.
 */
vj_status vj_record_decode(vj_coder *coder, vj_codec codec, const uint8_t *record, int64_t bytes, int T, int H, int W,
                           uint8_t *frames);

/**
 * Return whether a record of `bytes` bytes can hold frames of `frames_bytes` bytes. raw: they must be equal; jpeg: the
 * frames are at most 256 times as large (a block of one colour in 4:2:0 takes 4 bytes for its 768, with the tables that
 * we write). Call it before allocating memory by sizes read from a file.
 */
bool vj_record_can_hold(vj_codec codec, int64_t bytes, int64_t frames_bytes);

/**
 * Return a buffer for a record that the caller reads itself, valid until the next call; NULL (not reported) if there is
 * no memory.
 */
uint8_t *vj_coder_scratch(vj_coder *coder, int64_t bytes);

#endif
