/* Tests records: round trips, the loss that is reported, and that nothing in an untrusted record is believed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <mpi.h>
#include <turbojpeg.h>
#include <unistd.h>

#include "base/rng.h"
#include "codec/filter.h"

enum { T = 3, H = 33, W = 47, BYTES = T * H * W * 3 };

static vj_coder *coder;

/* Draw frames like those of a video: gradients, an edge, and a little noise. */
static void draw(uint8_t *frames, int t_count, int height, int width)
{
    vj_rng rng;
    vj_rng_init(&rng, 5, VJ_RNG_TEST, 1);
    for (int t = 0; t < t_count; t++)
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++, frames += 3) {
                const int noise = (int)(vj_rng_u32(&rng) % 5), edge = x > y + 2 * t ? 60 : 0;
                frames[0] = (uint8_t)(40 + 2 * x + noise);
                frames[1] = (uint8_t)(80 + y + edge + noise);
                frames[2] = (uint8_t)(200 - x - y + noise);
            }
}

static double psnr_of(const uint8_t *a, const uint8_t *b, int64_t count)
{
    double error = 0;
    for (int64_t i = 0; i < count; i++) error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return 10 * log10(255. * 255. * (double)count / error);
}

/* Encode a drawn clip as a record, which the caller may change. Returns its length. */
static int64_t make_record(uint8_t *record, int64_t room, int quality, int chroma)
{
    static uint8_t frames[BYTES];
    const vj_codec_settings settings = {VJ_CODEC_JPEG, quality, chroma};
    const uint8_t *made;
    int64_t bytes;
    double psnr;
    draw(frames, T, H, W);
    assert_int_equal(vj_record_encode(coder, &settings, frames, T, H, W, &made, &bytes, &psnr), VJ_OK);
    assert_true(bytes <= room);
    memcpy(record, made, (size_t)bytes);
    return bytes;
}

static vj_status decode(const uint8_t *record, int64_t bytes)
{
    static uint8_t frames[BYTES];
    uint8_t *exact = malloc((size_t)bytes); /* of the exact length, so that the sanitizer finds a read beyond it */
    assert_non_null(exact);
    memcpy(exact, record, (size_t)bytes);
    const vj_status status = vj_record_decode(coder, VJ_CODEC_JPEG, exact, bytes, T, H, W, frames);
    free(exact);
    return status;
}

static void set_u32(uint8_t *record, int word, uint32_t value)
{
    memcpy(record + 4 * word, &value, sizeof value);
}

static uint32_t get_u32(const uint8_t *record, int word)
{
    uint32_t value;
    memcpy(&value, record + 4 * word, sizeof value);
    return value;
}

/* ------------------------------------------------------------------------------------------------ round trips */

static void test_raw(void **state)
{
    (void)state;
    static uint8_t frames[BYTES], back[BYTES];
    const vj_codec_settings settings = {.codec = VJ_CODEC_RAW};
    const uint8_t *record;
    int64_t bytes;
    double psnr;
    draw(frames, T, H, W);
    assert_int_equal(vj_record_encode(coder, &settings, frames, T, H, W, &record, &bytes, &psnr), VJ_OK);
    assert_ptr_equal(record, frames);
    assert_int_equal(bytes, BYTES);
    assert_true(isinf(psnr) && psnr > 0);
    assert_int_equal(vj_record_decode(coder, VJ_CODEC_RAW, record, bytes, T, H, W, back), VJ_OK);
    assert_memory_equal(back, frames, BYTES);
    assert_int_equal(vj_record_decode(coder, VJ_CODEC_RAW, record, bytes - 1, T, H, W, back), VJ_ERR_FORMAT);
    assert_int_equal(vj_record_decode(coder, VJ_CODEC_RAW, record, bytes, T, H, W + 1, back), VJ_ERR_FORMAT);
}

/* Check clips of any shape: the reported PSNR is that of the decoded frames, and better settings lose less. */
static void test_jpeg(void **state)
{
    (void)state;
    static const struct {
        int t, h, w;
    } shapes[] = {{1, 1, 1}, {2, 7, 33}, {16, 17, 1}, {4, 64, 48}, {3, 33, 47}};
    static const vj_codec_settings settings[] = {
        {VJ_CODEC_JPEG, 50, 420}, {VJ_CODEC_JPEG, 95, 420}, {VJ_CODEC_JPEG, 95, 444}, {VJ_CODEC_JPEG, 100, 444}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        const int t = shapes[s].t, h = shapes[s].h, w = shapes[s].w;
        const int64_t count = vj_frames_bytes(t, h, w);
        uint8_t *frames = malloc((size_t)count), *back = malloc((size_t)count);
        assert_true(frames && back);
        draw(frames, t, h, w);
        double last = 0;
        for (int i = 0; i < 4; i++) {
            const uint8_t *record;
            int64_t bytes;
            double psnr;
            assert_int_equal(vj_record_encode(coder, &settings[i], frames, t, h, w, &record, &bytes, &psnr), VJ_OK);
            assert_int_equal(vj_record_decode(coder, VJ_CODEC_JPEG, record, bytes, t, h, w, back), VJ_OK);
            if (memcmp(frames, back, (size_t)count) == 0)
                assert_true(isinf(psnr));
            else
                assert_true(fabs(psnr - psnr_of(frames, back, count)) < 1e-9);
            if (h * w > 1000) {
                assert_true(psnr > last && psnr > (i == 0 ? 25 : 30));
                last = psnr;
            }
        }
        free(back);
        free(frames);
    }
}

/* Check a uniform grey, which JPEG stores without loss. */
static void test_lossless(void **state)
{
    (void)state;
    static uint8_t frames[BYTES];
    const vj_codec_settings settings = {VJ_CODEC_JPEG, 95, 420};
    const uint8_t *record;
    int64_t bytes;
    double psnr;
    memset(frames, 128, sizeof frames);
    assert_int_equal(vj_record_encode(coder, &settings, frames, T, H, W, &record, &bytes, &psnr), VJ_OK);
    assert_true(isinf(psnr));
}

static void test_same_from_any_coder(void **state)
{
    (void)state;
    static uint8_t first[BYTES], second[BYTES];
    const int64_t bytes = make_record(first, BYTES, 95, 420);
    vj_coder *mine = coder;
    assert_int_equal(vj_coder_create(&coder), VJ_OK);
    assert_int_equal(make_record(second, BYTES, 95, 420), bytes);
    assert_memory_equal(first, second, (size_t)bytes);
    vj_coder_destroy(coder);
    coder = mine;
}

static void test_settings(void **state)
{
    (void)state;
    vj_codec codec;
    assert_int_equal(vj_codec_find(&codec, "jpeg"), VJ_OK);
    assert_int_equal(codec, VJ_CODEC_JPEG);
    assert_string_equal(vj_codec_name(VJ_CODEC_RAW), "raw");
    assert_int_equal(vj_codec_find(&codec, "png"), VJ_ERR_USAGE);
    static const vj_codec_settings bad[] = {
        {VJ_CODEC_JPEG, 0, 420}, {VJ_CODEC_JPEG, 101, 420}, {VJ_CODEC_JPEG, 90, 422}};
    for (int i = 0; i < 3; i++) assert_int_equal(vj_codec_check(&bad[i]), VJ_ERR_USAGE);
    static uint8_t wide[(VJ_JPEG_MAX_SIDE + 1) * 3];
    const vj_codec_settings jpeg = {VJ_CODEC_JPEG, 90, 420};
    const uint8_t *record;
    int64_t bytes;
    double psnr;
    assert_int_equal(vj_record_encode(coder, &jpeg, wide, 1, 1, VJ_JPEG_MAX_SIDE + 1, &record, &bytes, &psnr),
                     VJ_ERR_FORMAT);
    assert_int_equal(vj_record_encode(coder, &jpeg, wide, 1 << 10, 1 << 16, 1 << 16, &record, &bytes, &psnr),
                     VJ_ERR_FORMAT); /* before any byte of the record is read */
}

/* ------------------------------------------------------------------------------------------------ damage */

static void test_damaged_head(void **state)
{
    (void)state;
    static uint8_t record[BYTES], bad[2 * BYTES];
    const int64_t bytes = make_record(record, BYTES, 90, 420);
    assert_int_equal(decode(record, bytes), VJ_OK);
    for (int64_t cut = 0; cut < bytes; cut += cut < 40 ? 1 : 97) {
        assert_int_equal(decode(record, cut), VJ_ERR_FORMAT);
        assert_int_equal(decode(record, bytes), VJ_OK);
    }
    memcpy(bad, record, (size_t)bytes);
    assert_int_equal(decode(bad, bytes + 1), VJ_ERR_FORMAT);
    for (int word = 0; word < 2 + T; word++)
        for (int bit = 0; bit < 32; bit++) { /* version, T, lengths: no bit of these may change */
            memcpy(bad, record, (size_t)bytes);
            set_u32(bad, word, get_u32(record, word) ^ 1u << bit);
            assert_int_equal(decode(bad, bytes), VJ_ERR_FORMAT);
        }
    /* The sum of these lengths is right, but only because it wraps around 32 bits. */
    memcpy(bad, record, (size_t)bytes);
    set_u32(bad, 2, get_u32(record, 2) + 1);
    set_u32(bad, 3, get_u32(record, 3) - 1);
    assert_int_equal(decode(bad, bytes), VJ_ERR_FORMAT);
    set_u32(bad, 2, get_u32(record, 2) + 0x80000000u);
    set_u32(bad, 3, get_u32(record, 3) + 0x80000000u);
    assert_int_equal(decode(bad, bytes), VJ_ERR_FORMAT);
}

/* Decode a record of one frame whose JPEG stream has these properties. */
static vj_status decode_stream(int width, int height, int format, int sampling, int flags, int64_t cut)
{
    static uint8_t pixels[4 * 64 * 64], record[1 << 16], frame[H * W * 3];
    unsigned char *stream = NULL;
    unsigned long bytes = 0;
    tjhandle compressor = tjInitCompress();
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 7);
    assert_int_equal(tjCompress2(compressor, pixels, width, 0, height, format, &stream, &bytes, sampling, 90, flags),
                     0);
    bytes -= (unsigned long)cut;
    set_u32(record, 0, VJ_RECORD_VERSION);
    set_u32(record, 1, 1);
    set_u32(record, 2, (uint32_t)bytes);
    memcpy(record + 12, stream, bytes);
    tjFree(stream);
    tjDestroy(compressor);
    return vj_record_decode(coder, VJ_CODEC_JPEG, record, 12 + (int64_t)bytes, 1, H, W, frame);
}

static void test_other_streams(void **state)
{
    (void)state;
    assert_int_equal(decode_stream(W, H, TJPF_RGB, TJSAMP_420, 0, 0), VJ_OK);
    assert_int_equal(decode_stream(W, H, TJPF_RGB, TJSAMP_444, TJFLAG_PROGRESSIVE, 0), VJ_OK);
    assert_int_equal(decode_stream(W + 1, H, TJPF_RGB, TJSAMP_420, 0, 0), VJ_ERR_FORMAT);
    assert_int_equal(decode_stream(W, H + 8, TJPF_RGB, TJSAMP_420, 0, 0), VJ_ERR_FORMAT);
    assert_int_equal(decode_stream(W - 1, H, TJPF_RGB, TJSAMP_420, 0, 0), VJ_ERR_FORMAT);
    assert_int_equal(decode_stream(W, H, TJPF_RGB, TJSAMP_422, 0, 0), VJ_ERR_FORMAT);
    assert_int_equal(decode_stream(W, H, TJPF_RGB, TJSAMP_GRAY, 0, 0), VJ_ERR_FORMAT);
    assert_int_equal(decode_stream(W, H, TJPF_CMYK, TJSAMP_444, 0, 0), VJ_ERR_FORMAT);
    for (int64_t cut = 1; cut < 1000;
         cut += 83) /* libjpeg itself would decode what there is and fill the rest with grey */
        assert_int_equal(decode_stream(W, H, TJPF_RGB, TJSAMP_420, 0, cut), VJ_ERR_FORMAT);
}

/* Check that flipped bits anywhere give an error or other pixels, and nothing worse. */
static void test_flipped_bits(void **state)
{
    (void)state;
    static uint8_t record[BYTES], bad[BYTES];
    const int64_t bytes = make_record(record, BYTES, 90, 420);
    vj_rng rng;
    vj_rng_init(&rng, 6, VJ_RNG_TEST, 2);
    int refused = 0, tries = 3000;
    for (int i = 0; i < tries; i++) {
        memcpy(bad, record, (size_t)bytes);
        for (uint32_t flips = 1 + vj_rng_u32(&rng) % 8; flips > 0; flips--)
            bad[vj_rng_below(&rng, bytes)] ^= (uint8_t)(1u << vj_rng_u32(&rng) % 8);
        const vj_status status = decode(bad, bytes);
        assert_true(status == VJ_OK || status == VJ_ERR_FORMAT);
        refused += status != VJ_OK;
        if (i % 100 == 0) assert_int_equal(decode(record, bytes), VJ_OK); /* a good record is decoded afterwards */
    }
    assert_true(refused > tries / 4); /* the other changes can only be found by the store's checksum */
}

/* ------------------------------------------------------------------------------------------------ HDF5 filter */

/* Create a dataset of one clip with the filter in a file in memory. */
static hid_t filtered_dataset(hid_t file, const unsigned values[VJ_FILTER_VALUES])
{
    const hsize_t dims[5] = {1, T, H, W, 3};
    hid_t space = H5Screate_simple(5, dims, NULL), creation = H5Pcreate(H5P_DATASET_CREATE);
    assert_true(H5Pset_chunk(creation, 5, dims) >= 0);
    assert_true(H5Pset_filter(creation, VJ_JPEG_FILTER, H5Z_FLAG_MANDATORY, VJ_FILTER_VALUES, values) >= 0);
    hid_t dataset = H5Dcreate2(file, "clips", H5T_STD_U8LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    H5Pclose(creation);
    H5Sclose(space);
    assert_true(dataset >= 0);
    return dataset;
}

static hid_t file_in_memory(void)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    assert_true(H5Pset_fapl_core(access, 1 << 16, 0) >= 0);
    hid_t file = H5Fcreate("codec.h5", H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    assert_true(file >= 0);
    return file;
}

static void test_filter(void **state)
{
    (void)state;
    static uint8_t frames[BYTES], by_hdf5[BYTES], by_us[BYTES], record[BYTES], stored[BYTES];
    static const unsigned values[VJ_FILTER_VALUES] = {T, H, W, 90, 444};
    const hsize_t first[5] = {0};
    uint32_t filters;
    hsize_t length;
    draw(frames, T, H, W);
    const int64_t bytes = make_record(record, BYTES, 90, 444);
    assert_int_equal(vj_record_decode(coder, VJ_CODEC_JPEG, record, bytes, T, H, W, by_us), VJ_OK);
    hid_t file = file_in_memory(), dataset = filtered_dataset(file, values);

    /* Frames written through the filter are stored as the same bytes as a record written directly, and reading through
     * the filter gives the frames that our decoder gives. */
    assert_true(H5Dwrite(dataset, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, frames) >= 0);
    assert_true(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    assert_true(H5Dget_chunk_storage_size(dataset, first, &length) >= 0 && (int64_t)length == bytes);
    assert_true(H5Dread_chunk(dataset, H5P_DEFAULT, first, &filters, stored) >= 0 && filters == 0);
    assert_memory_equal(stored, record, (size_t)bytes);
    assert_true(H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, first, (size_t)bytes, record) >= 0);
    assert_true(H5Dread(dataset, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, by_hdf5) >= 0);
    assert_memory_equal(by_hdf5, by_us, BYTES);

    /* HDF5 reports an error for a damaged record. */
    record[4]++;
    assert_true(H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, first, (size_t)bytes, record) >= 0);
    assert_true(H5Dread(dataset, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, by_hdf5) < 0);
    H5Dclose(dataset);
    H5Fclose(file);
}

/* Check wrong filter parameters: they come from the file, so they can be anything. */
static void test_filter_parameters(void **state)
{
    (void)state;
    static const unsigned bad[][VJ_FILTER_VALUES] = {
        {0, H, W, 90, 420},           {T, 0, W, 90, 420},     {T, H, 65501, 90, 420},
        {65537, H, W, 90, 420},       {T + 1, H, W, 90, 420}, {T, H, W, 0, 420},
        {T, H, W, 101, 420},          {T, H, W, 90, 0},       {~0u, ~0u, ~0u, ~0u, ~0u},
        {65536, 65500, 65500, 90, 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        void *buffer = malloc(BYTES), *before = buffer;
        size_t room = BYTES;
        assert_non_null(buffer);
        draw(buffer, T, H, W);
        assert_true(vj_jpeg_filter.filter(0, VJ_FILTER_VALUES, bad[i], BYTES, &room, &buffer) == 0);
        assert_ptr_equal(buffer, before);
        const int64_t bytes = make_record(buffer, BYTES, 90, 420);
        const int shape = bad[i][0] == T && bad[i][1] == H && bad[i][2] == W; /* a reader does not need the quality */
        assert_int_equal(
            vj_jpeg_filter.filter(H5Z_FLAG_REVERSE, VJ_FILTER_VALUES, bad[i], (size_t)bytes, &room, &buffer),
            shape ? BYTES : 0);
        free(buffer);
    }
    void *buffer = malloc(BYTES);
    size_t room = BYTES;
    assert_true(vj_jpeg_filter.filter(H5Z_FLAG_REVERSE, 2, bad[0], BYTES, &room, &buffer) == 0);
    free(buffer);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    if (vj_coder_create(&coder) != VJ_OK || H5Zregister(&vj_jpeg_filter) < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raw),           cmocka_unit_test(test_jpeg),
        cmocka_unit_test(test_lossless),      cmocka_unit_test(test_same_from_any_coder),
        cmocka_unit_test(test_settings),      cmocka_unit_test(test_damaged_head),
        cmocka_unit_test(test_other_streams), cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_filter),        cmocka_unit_test(test_filter_parameters),
    };
    int failed = cmocka_run_group_tests_name("codec", tests, NULL, NULL);
    vj_coder_destroy(coder);
    MPI_Finalize();
    return failed;
}
