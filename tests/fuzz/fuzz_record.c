/*
 * Decodes records of clips. The first bytes choose codec and shape. The rest is the record, or if the first byte is odd
 * edits of a good one, which change single bytes inside JPEG streams of the right lengths.
 */
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "fuzz.h"

enum { T = 2, H = 24, W = 40, SHAPES = 2 };

static uint8_t pixels[T * H * W * 3], *good[SHAPES];
static int64_t good_bytes[SHAPES];
static vj_coder *coder;

void vj_fuzz_begin(void)
{
    const vj_codec_settings settings[SHAPES] = {{VJ_CODEC_JPEG, 90, 420}, {VJ_CODEC_JPEG, 40, 444}};
    VJ_FUZZ_CHECK(vj_coder_create(&coder) == VJ_OK);
    for (int i = 0; i < T * H * W * 3; i++) pixels[i] = (uint8_t)(i * i / 97 + i / 3);
    for (int s = 0; s < SHAPES; s++) {
        const uint8_t *record;
        double psnr;
        VJ_FUZZ_CHECK(vj_record_encode(coder, &settings[s], pixels, T, H, W, &record, &good_bytes[s], &psnr) == VJ_OK);
        good[s] = malloc((size_t)good_bytes[s]);
        VJ_FUZZ_CHECK(good[s]);
        memcpy(good[s], record, (size_t)good_bytes[s]);
    }
}

/* Decode into memory of exactly the size. The coder is kept, and must still decode a good record afterwards. */
static vj_status decode(vj_codec codec, const uint8_t *record, int64_t bytes, int t, int h, int w)
{
    uint8_t *frames = malloc((size_t)vj_frames_bytes(t, h, w)), *exact = malloc((size_t)bytes + !bytes);
    VJ_FUZZ_CHECK(frames && exact);
    if (bytes) memcpy(exact, record, (size_t)bytes);
    vj_status status = vj_fuzz_told(vj_record_decode(coder, codec, exact, bytes, t, h, w, frames));
    free(exact);
    free(frames);
    return status;
}

static void edit(vj_fuzz_bytes *in, int s)
{
    uint8_t *record = malloc((size_t)good_bytes[s]);
    VJ_FUZZ_CHECK(record);
    memcpy(record, good[s], (size_t)good_bytes[s]);
    const bool whole = in->at == in->end;
    while (in->at < in->end) {
        const uint32_t at = vj_fuzz_u8(in) | (uint32_t)vj_fuzz_u8(in) << 8;
        record[at % (uint32_t)good_bytes[s]] = vj_fuzz_u8(in);
    }
    vj_status status = decode(VJ_CODEC_JPEG, record, good_bytes[s], T, H, W);
    VJ_FUZZ_CHECK(!whole || status == VJ_OK);
    free(record);
}

void vj_fuzz_input(const uint8_t *data, size_t size)
{
    vj_fuzz_bytes in = {data, data + size};
    const uint8_t head = vj_fuzz_u8(&in);
    if (head & 1) {
        edit(&in, head / 2 % SHAPES);
        VJ_FUZZ_CHECK(decode(VJ_CODEC_JPEG, good[0], good_bytes[0], T, H, W) == VJ_OK);
        return;
    }
    const int t = vj_fuzz_u8(&in) % 4 + 1, h = vj_fuzz_u8(&in) + 1, w = vj_fuzz_u8(&in) + 1;
    (void)decode(head & 2 ? VJ_CODEC_RAW : VJ_CODEC_JPEG, in.at, in.end - in.at, t, h, w);
    VJ_FUZZ_CHECK(decode(VJ_CODEC_JPEG, good[1], good_bytes[1], T, H, W) == VJ_OK);
}

void vj_fuzz_seeds(void (*seed)(const uint8_t *data, size_t size))
{
    static const uint8_t head[] = {0, T - 1, H - 1, W - 1};
    seed((const uint8_t *)"\1", 1);
    seed((const uint8_t *)"\3", 1);
    for (int s = 0; s < SHAPES; s++) {
        uint8_t *data = malloc(sizeof head + (size_t)good_bytes[s]);
        VJ_FUZZ_CHECK(data);
        memcpy(data, head, sizeof head);
        memcpy(data + sizeof head, good[s], (size_t)good_bytes[s]);
        seed(data, sizeof head + (size_t)good_bytes[s]);
        free(data);
    }
    seed((const uint8_t *)"\2\0\0\1abcdef", 10);
}
