/* Tests decoding: files with known content give the right frames; odd, damaged and hostile files get their verdict. */
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "folder.h"
#include "video/encode.h"
#include "video/video.h"

enum { W = 64, H = 48, N = 30, FPS = 25 };

static const char *in_folder(const char *name)
{
    static char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/*
 * Frame k is a grey whose level identifies the frame, with a red square in the top left corner and a blue one in the
 * top right corner, which show how the picture is rotated.
 */
static uint8_t grey_of(int k)
{
    return (uint8_t)(20 + 7 * k);
}

static uint8_t *made_frames(int count, int height, int width)
{
    uint8_t *frames = malloc((size_t)count * (size_t)(height * width) * 3), *to = frames;
    assert_non_null(frames);
    for (int k = 0; k < count; k++)
        for (int i = 0; i < height; i++)
            for (int j = 0; j < width; j++, to += 3) {
                memset(to, grey_of(k), 3);
                if (i < 16 && j < 16) to[0] = 255, to[1] = to[2] = 0;
                if (i < 16 && j >= width - 16) to[2] = 255, to[0] = to[1] = 0;
            }
    return frames;
}

static const char *make(const char *name, const vj_video_form *form)
{
    uint8_t *frames = made_frames(N, form->height, form->width);
    const char *path = in_folder(name);
    assert_int_equal(vj_video_write(path, form, frames, N), VJ_OK);
    free(frames);
    return path;
}

static vj_video *opened(const char *path)
{
    vj_video *video;
    vj_video_verdict verdict;
    assert_int_equal(vj_video_create(&video), VJ_OK);
    assert_int_equal(vj_video_open_path(video, path, &verdict), VJ_OK);
    if (verdict != VJ_VIDEO_OK) fail_msg("%s: %s: %s", path, vj_video_verdict_name(verdict), vj_video_reason(video));
    return video;
}

static void assert_refused(const char *path, vj_video_verdict expected)
{
    vj_video *video;
    vj_video_verdict verdict;
    assert_int_equal(vj_video_create(&video), VJ_OK);
    assert_int_equal(vj_video_open_path(video, path, &verdict), VJ_OK);
    if (verdict != expected)
        fail_msg("%s: verdict %s (%s)", path, vj_video_verdict_name(verdict), vj_video_reason(video));
    assert_true(vj_video_reason(video)[0] != '\0');
    vj_video_destroy(video);
}

/* A decoded picture. */
typedef struct {
    int height, width;
    uint8_t *pixels;
} picture;

static const uint8_t *pixel(const picture *p, int row, int column)
{
    return p->pixels + 3 * (row * p->width + column);
}

static void assert_colour(const uint8_t *rgb, int r, int g, int b, int tolerance)
{
    if (abs(rgb[0] - r) > tolerance || abs(rgb[1] - g) > tolerance || abs(rgb[2] - b) > tolerance)
        fail_msg("colour %d %d %d, expected %d %d %d", rgb[0], rgb[1], rgb[2], r, g, b);
}

/* Decode frames at times and check by their grey that they are numbers `expected`. */
static void assert_frames(vj_video *video, const double *times, const int *expected, int count, int tolerance)
{
    uint8_t *out;
    int height, width;
    double shown[64];
    vj_video_verdict verdict = vj_video_frames(video, times, count, 0, &out, &height, &width, shown);
    if (verdict != VJ_VIDEO_OK) fail_msg("%s: %s", vj_video_verdict_name(verdict), vj_video_reason(video));
    for (int k = 0; k < count; k++) {
        const uint8_t *middle = out + 3 * ((k * height + height - 10) * width + width / 2);
        int grey = grey_of(expected[k]);
        if (abs(middle[0] - grey) > tolerance)
            fail_msg("at %g s a grey of %d, expected frame %d with %d", times[k], middle[0], expected[k], grey);
        assert_true(fabs(shown[k] - vj_video_times(video)[expected[k]]) < 1e-9);
    }
    free(out);
}

static picture first_picture(vj_video *video, int short_side)
{
    picture p;
    double time = 0, shown;
    assert_int_equal(vj_video_frames(video, &time, 1, short_side, &p.pixels, &p.height, &p.width, &shown), VJ_VIDEO_OK);
    return p;
}

/* ------------------------------------------------------------------------------------------------ good files */

static void test_every_codec(void **state)
{
    (void)state;
    for (int e = 0; e < VJ_ENCODINGS; e++) {
        if (!vj_encoding_available((vj_encoding)e)) {
            print_message("no encoder for %s, not tested\n", vj_encoding_codec((vj_encoding)e));
            continue;
        }
        const vj_video_form form = {.encoding = (vj_encoding)e, .width = W, .height = H, .fps = FPS};
        vj_video *video = opened(make(vj_encoding_codec((vj_encoding)e), &form));
        const vj_video_info *info = vj_video_describe(video);
        assert_string_equal(info->codec, vj_encoding_codec((vj_encoding)e));
        assert_int_equal(info->frames, N);
        assert_int_equal(info->width, W);
        assert_int_equal(info->height, H);
        assert_false(info->is_image);
        /* Matroska rounds times to milliseconds. */
        assert_true(fabs(info->fps - FPS) < 0.05);
        int expected[N];
        for (int k = 0; k < N; k++) {
            expected[k] = k;
            assert_true(fabs(vj_video_times(video)[k] - (double)k / FPS) <= 0.0011);
        }
        /* Greys of neighbouring frames differ by 7, so a tolerance of 3 can tell them apart. */
        assert_frames(video, vj_video_times(video), expected, N, 3);
        assert_int_equal(info->corrupt, 0);
        assert_int_equal(info->missing, 0);
        /* A frame is shown until the next one begins; before its start the first frame is shown, and at the end the
         * last. A second call decodes again. */
        const double between[] = {-1, 0.001, 3.0 / FPS + 0.03, 3.0 / FPS + 0.03, 10.5 / FPS, 99};
        assert_frames(video, between, (int[]){0, 0, 3, 3, 10, N - 1}, 6, 3);
        vj_video_destroy(video);
    }
}

/* Check that no bit changes if the video is lossless and already has the requested size. */
static void test_pixels_exact(void **state)
{
    (void)state;
    const vj_video_form form = {.encoding = VJ_ENCODING_FFV1, .width = 67, .height = 49, .fps = FPS};
    vj_video *video = opened(make("exact.mkv", &form));
    uint8_t *made = made_frames(N, 49, 67), *out;
    int height, width;
    double shown[N];
    assert_int_equal(vj_video_frames(video, vj_video_times(video), N, 49, &out, &height, &width, shown), VJ_VIDEO_OK);
    assert_int_equal(height, 49);
    assert_int_equal(width, 67);
    assert_memory_equal(out, made, (size_t)N * 49 * 67 * 3);
    free(out);
    free(made);
    vj_video_destroy(video);
}

/* Check that encoders always write the same bytes: demonstration data must not depend on the number of ranks. */
static void test_encoders_repeat(void **state)
{
    (void)state;
    for (int e = 0; e < VJ_ENCODINGS; e++) {
        if (!vj_encoding_available((vj_encoding)e)) continue;
        const vj_video_form form = {.encoding = (vj_encoding)e, .width = 48, .height = 48, .fps = FPS};
        uint8_t *first = NULL;
        size_t first_bytes = 0;
        for (int again = 0; again < 4; again++) {
            FILE *f = fopen(make("again", &form), "rb");
            assert_non_null(f);
            static uint8_t bytes[1 << 20];
            size_t count = fread(bytes, 1, sizeof bytes, f);
            fclose(f);
            if (!first) {
                first_bytes = count;
                first = malloc(count);
                assert_non_null(first);
                memcpy(first, bytes, count);
            }
            assert_int_equal(count, first_bytes);
            assert_memory_equal(bytes, first, count);
        }
        free(first);
    }
}

/* Decode the frames at these times with these limits. Free them with free(). */
static uint8_t *frames_within(const vj_video_limits *limits, const char *path, const double *times, int count,
                              int64_t *decoded, size_t *bytes)
{
    vj_video *video;
    uint8_t *out;
    int height, width, fd = open(path, O_RDONLY);
    double shown[N];
    assert_true(fd >= 0);
    assert_int_equal(vj_video_create(&video), VJ_OK);
    assert_int_equal(vj_video_open(video, fd, limits), VJ_VIDEO_OK);
    for (int again = 0; again < 2; again++) { /* the second call starts from the beginning */
        assert_int_equal(vj_video_frames(video, times, count, 0, &out, &height, &width, shown), VJ_VIDEO_OK);
        if (again == 0) free(out);
    }
    *decoded = vj_video_describe(video)->decoded;
    *bytes = (size_t)count * (size_t)(height * width * 3);
    assert_int_equal(vj_video_describe(video)->corrupt, 0);
    assert_int_equal(vj_video_describe(video)->missing, 0);
    vj_video_destroy(video);
    close(fd);
    return out;
}

/*
 * Check that starting at key frames and skipping unneeded frames gives the same frames as decoding all of them, and so
 * does reading a file again because its packets are too large to be kept.
 */
static void test_ways_agree(void **state)
{
    (void)state;
    const double last_s = (double)(N - 1) / FPS;
    const double choices[][3] = {
        {0, 0.04, 1.12}, {0.6, 0.64, 1.0}, {0.8, 0.8, 0.84}, {0.2, 0.52, 0.56}, {last_s, last_s, last_s}};
    for (int e = 0; e < VJ_ENCODINGS; e++) {
        if (!vj_encoding_available((vj_encoding)e)) continue;
        const vj_video_form form = {.encoding = (vj_encoding)e, .width = W, .height = H, .fps = FPS};
        char path[2 * PATH_MAX];
        snprintf(path, sizeof path, "%s", make("ways", &form));
        for (size_t c = 0; c < sizeof choices / sizeof *choices; c++) {
            vj_video_limits needed = vj_video_usual_limits, all = needed, again = needed;
            all.decode_all = 1;
            again.max_kept = 1;
            int64_t decoded[3];
            size_t bytes[3];
            uint8_t *frames[3] = {frames_within(&needed, path, choices[c], 3, &decoded[0], &bytes[0]),
                                  frames_within(&all, path, choices[c], 3, &decoded[1], &bytes[1]),
                                  frames_within(&again, path, choices[c], 3, &decoded[2], &bytes[2])};
            assert_int_equal(decoded[1], N);
            assert_true(decoded[0] < N || choices[c][0] == last_s); /* for the last frame all may be needed */
            assert_int_equal(decoded[2], decoded[0]);
            if (e == VJ_ENCODING_MJPEG)
                assert_int_equal(decoded[0], 1 + (choices[c][0] < choices[c][1]) + (choices[c][1] < choices[c][2]));
            for (int i = 1; i < 3; i++) assert_memory_equal(frames[i], frames[0], bytes[0]);
            for (int i = 0; i < 3; i++) free(frames[i]);
        }
    }
}

static void test_variable_frame_rate(void **state)
{
    (void)state;
    int64_t ticks[N];
    for (int k = 0; k < N; k++) ticks[k] = k < 10 ? k : 10 + 5 * (k - 10);
    const vj_video_form form = {.encoding = VJ_ENCODING_H264, .width = W, .height = H, .fps = FPS, .ticks = ticks};
    if (!vj_encoding_available(form.encoding)) skip();
    vj_video *video = opened(make("vfr.mp4", &form));
    assert_int_equal(vj_video_describe(video)->frames, N);
    for (int k = 0; k < N; k++) assert_true(fabs(vj_video_times(video)[k] - (double)ticks[k] / FPS) < 1e-4);
    const double times[] = {4.0 / FPS, 12.0 / FPS, 16.0 / FPS, 34.9 / FPS, 35.1 / FPS};
    assert_frames(video, times, (int[]){4, 10, 11, 14, 15}, 5, 3);
    vj_video_destroy(video);
}

/* Check where the red (top left) and the blue square (top right) of the stored picture are shown. */
static void test_rotation(void **state)
{
    (void)state;
    for (int rotation = 0; rotation < 360; rotation += 90) {
        const vj_video_form form = {
            .encoding = VJ_ENCODING_MJPEG, .width = W, .height = H, .fps = FPS, .rotation = rotation};
        vj_video *video = opened(make("turned.mov", &form));
        int swapped = rotation % 180 != 0, h = swapped ? W : H, w = swapped ? H : W;
        assert_int_equal(vj_video_describe(video)->rotation, rotation);
        assert_int_equal(vj_video_describe(video)->width, w);
        picture p = first_picture(video, 0);
        assert_int_equal(p.height, h);
        assert_int_equal(p.width, w);
        int red_row = rotation == 180 || rotation == 270 ? h - 8 : 8,
            red_column = rotation == 90 || rotation == 180 ? w - 8 : 8;
        int blue_row = rotation == 90 || rotation == 180 ? h - 8 : 8,
            blue_column = rotation == 180 || rotation == 270 ? 8 : w - 8;
        /* JPEG at quantiser 2 changes uniform colours by a few levels. */
        assert_colour(pixel(&p, red_row, red_column), 255, 0, 0, 6);
        assert_colour(pixel(&p, blue_row, blue_column), 0, 0, 255, 6);
        free(p.pixels);
        vj_video_destroy(video);
    }
}

static void test_pixel_aspect_and_scaling(void **state)
{
    (void)state;
    const vj_video_form form = {
        .encoding = VJ_ENCODING_MPEG4, .width = W, .height = H, .fps = FPS, .aspect_num = 4, .aspect_den = 3};
    vj_video *video = opened(make("wide.avi", &form));
    assert_int_equal(vj_video_describe(video)->height, H);
    assert_int_equal(vj_video_describe(video)->width, 85); /* 64 x 4/3 */
    picture p = first_picture(video, 24);
    assert_int_equal(p.height, 24);
    assert_int_equal(p.width, 43);
    /* In 4:2:0 at quantiser 2, scaled down, uniform colours change by at most 10 levels. */
    assert_colour(pixel(&p, 4, 4), 255, 0, 0, 10);
    assert_colour(pixel(&p, 20, 20), grey_of(0), grey_of(0), grey_of(0), 10);
    free(p.pixels);
    vj_video_destroy(video);
}

/* Write a binary PPM picture of one colour. */
static const char *make_still(const char *name, int width, int height)
{
    FILE *f = fopen(in_folder(name), "wb");
    assert_non_null(f);
    fprintf(f, "P6\n%d %d\n255\n", width, height);
    for (int i = 0; i < width * height; i++) fwrite((uint8_t[]){10, 200, 90}, 1, 3, f);
    assert_int_equal(fclose(f), 0);
    return in_folder(name);
}

/* Check that a picture has is_image set and one frame, which is shown at any time. */
static void test_still_image(void **state)
{
    (void)state;
    vj_video *video = opened(make_still("still.ppm", W, H));
    assert_int_equal(vj_video_describe(video)->frames, 1);
    assert_true(vj_video_describe(video)->is_image);
    uint8_t *out;
    int height, width;
    double shown[3];
    assert_int_equal(vj_video_frames(video, (double[]){0, 1, 2}, 3, 16, &out, &height, &width, shown), VJ_VIDEO_OK);
    assert_int_equal(height, 16);
    for (int k = 0; k < 3; k++) assert_colour(out + 3 * (k * height * width + 5), 10, 200, 90, 1);
    free(out);
    vj_video_destroy(video);
}

/* ------------------------------------------------------------------------------------------------ odd files */

/* Check that such a size is refused before memory for it is allocated. */
static void assert_too_large(vj_video *video, int count, int short_side)
{
    static const double times[16] = {0};
    uint8_t *out;
    int height, width;
    double shown[16];
    assert_int_equal(vj_video_frames(video, times, count, short_side, &out, &height, &width, shown),
                     VJ_VIDEO_TOO_LARGE);
    assert_null(out);
    assert_true(vj_video_reason(video)[0] != '\0');
}

static void test_too_large(void **state)
{
    (void)state;
    vj_video *video = opened(make_still("line.ppm", VJ_VIDEO_MAX_SIDE + 1, 1));
    assert_too_large(video, 1, 0);
    vj_video_destroy(video);
    video = opened(make_still("short.ppm", VJ_VIDEO_MAX_SIDE, 1));
    picture p = first_picture(video, 0); /* the largest side that is permitted */
    assert_int_equal(p.width, VJ_VIDEO_MAX_SIDE);
    free(p.pixels);
    assert_too_large(video, 1, 2);
    assert_too_large(video, 1, 65535); /* 2^32 pixels wide, which would be small as an int */
    assert_too_large(video, 1, 65536);
    vj_video_destroy(video);
    video = opened(make_still("square.ppm", 8, 8));
    assert_too_large(video, 16, 8000); /* 192 MB a picture, 3 GB in all */
    vj_video_destroy(video);
}

/* Make the nth cluster with a timestamp of 8 bytes (element 0xe7) start early, like a clock that restarts. */
static void set_clock_back(const char *path, int nth)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    for (int byte, before = 0; nth > 0; before = byte) {
        byte = fgetc(f);
        assert_true(byte != EOF);
        nth -= before == 0xe7 && byte == 0x88;
    }
    assert_int_equal(fseek(f, 0, SEEK_CUR), 0);
    for (int i = 0; i < 5; i++) fputc(0, f);
    assert_int_equal(fclose(f), 0);
}

/* Check times near the largest int64, whose sums must not overflow (the sanitizer would report it). The file may be
 * decoded or refused. */
static void test_huge_timestamps(void **state)
{
    (void)state;
    int64_t ticks[N];
    /* Ticks of 40 ms make times beyond 2^62. They are so far apart that each frame gets its own cluster. */
    for (int k = 0; k < N; k++) ticks[k] = k < N / 2 ? k : (INT64_C(1) << 57) + k * (INT64_C(1) << 20);
    const vj_video_form form = {.encoding = VJ_ENCODING_FFV1, .width = W, .height = H, .fps = FPS, .ticks = ticks};
    set_clock_back(make("huge.mkv", &form), 5);
    vj_video *video = opened(in_folder("huge.mkv"));
    for (int64_t k = 1; k < vj_video_describe(video)->frames; k++)
        assert_true(vj_video_times(video)[k] >= vj_video_times(video)[k - 1]);
    picture p = first_picture(video, 0);
    assert_colour(pixel(&p, H - 10, W / 2), grey_of(0), grey_of(0), grey_of(0), 0);
    free(p.pixels);
    vj_video_destroy(video);
}

static void copy_part(const char *from, const char *to, double share)
{
    char source[2 * PATH_MAX];
    snprintf(source, sizeof source, "%s", in_folder(from));
    struct stat st;
    assert_int_equal(stat(source, &st), 0);
    size_t bytes = (size_t)((double)st.st_size * share);
    uint8_t *data = malloc(bytes);
    FILE *f = fopen(source, "rb");
    assert_non_null(f);
    assert_int_equal(fread(data, 1, bytes, f), bytes);
    fclose(f);
    f = fopen(in_folder(to), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
    free(data);
}

static void test_truncated(void **state)
{
    (void)state;
    vj_video_form form = {.encoding = VJ_ENCODING_FFV1, .width = W, .height = H, .fps = FPS};
    (void)make("whole.mkv", &form);
    copy_part("whole.mkv", "cut.mkv", 0.6);
    vj_video *video = opened(in_folder("cut.mkv"));
    int64_t frames = vj_video_describe(video)->frames;
    assert_true(frames > N / 2 && frames < N * 3 / 4);
    const double times[] = {0, 5.0 / FPS, 10.0 / FPS};
    assert_frames(video, times, (int[]){0, 5, 10}, 3, 0);
    vj_video_destroy(video);

    form.encoding = VJ_ENCODING_MPEG4; /* the header of an AVI says how many frames there are */
    (void)make("whole.avi", &form);
    copy_part("whole.avi", "cut.avi", 0.8);
    video = opened(in_folder("cut.avi"));
    uint8_t *out;
    int height, width;
    double shown;
    (void)vj_video_frames(video, times, 1, 0, &out, &height, &width, &shown);
    frames = vj_video_describe(video)->frames;
    assert_true(frames > 0 && frames < N);
    assert_true(frames + vj_video_describe(video)->missing >= N);
    free(out);
    vj_video_destroy(video);

    form.encoding = VJ_ENCODING_MJPEG; /* a MOV has its index at the end */
    (void)make("whole.mov", &form);
    copy_part("whole.mov", "cut.mov", 0.6);
    assert_refused(in_folder("cut.mov"), VJ_VIDEO_UNRECOGNISED);
}

/* Check a file with zeros in the middle: it opens and its index is whole, but frames are damaged. */
static void test_damaged(void **state)
{
    (void)state;
    const vj_video_form form = {.encoding = VJ_ENCODING_FFV1, .width = W, .height = H, .fps = FPS};
    FILE *f = fopen(make("hole.mkv", &form), "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    long bytes = ftell(f);
    assert_int_equal(fseek(f, bytes / 4, SEEK_SET), 0);
    for (long i = 0; i < bytes / 2; i++) fputc(i % 7 ? 0x5a : 0, f);
    assert_int_equal(fclose(f), 0);
    vj_video *video = opened(in_folder("hole.mkv"));
    uint8_t *out;
    int height, width;
    double time = 0, shown;
    vj_video_verdict verdict = vj_video_frames(video, &time, 1, 0, &out, &height, &width, &shown);
    const vj_video_info *info = vj_video_describe(video);
    /* The Matroska reader skips what it cannot read, so there are fewer frames, or damaged ones are flagged and
     * refused. */
    assert_true(info->frames < N || verdict == VJ_VIDEO_CORRUPT);
    assert_true(verdict == VJ_VIDEO_OK || out == NULL);
    free(out);
    vj_video_destroy(video);
}

static void write_text(const char *name, const char *text)
{
    FILE *f = fopen(in_folder(name), "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void test_not_media(void **state)
{
    (void)state;
    write_text("empty.mp4", "");
    assert_refused(in_folder("empty.mp4"), VJ_VIDEO_EMPTY);
    write_text("text.mp4", "this is not a video\n");
    assert_refused(in_folder("text.mp4"), VJ_VIDEO_UNRECOGNISED);
    assert_refused(in_folder("nowhere.mp4"), VJ_VIDEO_MISSING);
    assert_refused(in_folder("text.mp4/inside.mp4"), VJ_VIDEO_MISSING);
    char name[NAME_MAX + 2] = {0};
    memset(name, 'n', sizeof name - 1);
    assert_refused(in_folder(name), VJ_VIDEO_MISSING);
}

/* Check that running out of descriptors is an error of the process and not a verdict on the file: otherwise all further
 * files would be called missing. */
static void test_system_failure(void **state)
{
    (void)state;
    const char *path = make_still("good.ppm", W, H);
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    vj_video *video;
    vj_video_verdict verdict;
    assert_int_equal(vj_video_create(&video), VJ_OK);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    vj_status status = vj_video_open_path(video, path, &verdict);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(status, VJ_ERR_IO);
    vj_video_destroy(video);
    vj_video_destroy(opened(path));
}

/* Check that a read error is no verdict on the file; the descriptor of a folder cannot be read. */
static void test_unreadable(void **state)
{
    (void)state;
    vj_video *video;
    const int fd = open(folder, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(vj_video_create(&video), VJ_OK);
    assert_int_equal(vj_video_open(video, fd, &vj_video_usual_limits), VJ_VIDEO_UNREADABLE);
    assert_non_null(strstr(vj_video_reason(video), "Is a directory"));
    vj_video_destroy(video);
    close(fd);
}

/* Check a WAV file with a second of silence. */
static void test_sound_only(void **state)
{
    (void)state;
    static const uint8_t head[44] =
        "RIFF\x64\x1f\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data\x40\x1f\0";
    FILE *f = fopen(in_folder("sound.wav"), "wb");
    assert_non_null(f);
    fwrite(head, 1, sizeof head, f);
    for (int i = 0; i < 8000; i++) fputc(128, f);
    assert_int_equal(fclose(f), 0);
    assert_refused(in_folder("sound.wav"), VJ_VIDEO_FORBIDDEN); /* its container is not for videos */
}

static void test_not_regular(void **state)
{
    (void)state;
    assert_refused(folder, VJ_VIDEO_NOT_REGULAR);
    assert_int_equal(mkfifo(in_folder("fifo.mp4"), 0600), 0);
    alarm(10); /* blocking on the FIFO would end the test */
    assert_refused(in_folder("fifo.mp4"), VJ_VIDEO_NOT_REGULAR);
    alarm(0);
    assert_int_equal(symlink("self.mp4", in_folder("self.mp4")), 0);
    assert_refused(in_folder("self.mp4"), VJ_VIDEO_NOT_REGULAR);
    assert_int_equal(symlink("gone.mp4", in_folder("dangling.mp4")), 0);
    assert_refused(in_folder("dangling.mp4"), VJ_VIDEO_MISSING);
}

/* Check names that FFmpeg would take for a protocol, a pattern or an option, and a play list that names another file.
 */
static void test_names(void **state)
{
    (void)state;
    const char *names[] = {"http:colon.mkv", "pct%03d.mkv", "-dash.mkv", "new\nline.mkv", "noext", "wrong.txt"};
    const vj_video_form form = {.encoding = VJ_ENCODING_FFV1, .width = W, .height = H, .fps = FPS};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        vj_video *video = opened(make(names[i], &form));
        assert_int_equal(vj_video_describe(video)->frames, N);
        vj_video_destroy(video);
    }
    assert_int_equal(symlink("noext", in_folder("link.mkv")), 0);
    vj_video_destroy(opened(in_folder("link.mkv")));

    assert_int_equal(chdir(folder), 0);
    vj_video_destroy(opened("http:colon.mkv"));
    write_text("list.mkv", "ffconcat version 1.0\nfile 'noext'\n");
    assert_refused("list.mkv", VJ_VIDEO_FORBIDDEN);
    assert_int_equal(chdir("/"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_codec),
        cmocka_unit_test(test_pixels_exact),
        cmocka_unit_test(test_encoders_repeat),
        cmocka_unit_test(test_variable_frame_rate),
        cmocka_unit_test(test_ways_agree),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_pixel_aspect_and_scaling),
        cmocka_unit_test(test_still_image),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_not_media),
        cmocka_unit_test(test_sound_only),
        cmocka_unit_test(test_not_regular),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_huge_timestamps),
        cmocka_unit_test(test_system_failure),
        cmocka_unit_test(test_unreadable),
    };
    return cmocka_run_group_tests(tests, set_up_folder, tear_down_folder);
}
