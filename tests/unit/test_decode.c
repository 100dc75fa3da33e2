/* Tests the pool of decoding processes: the right clips, one verdict for every file, and no leak. */
#include "../decode_pool.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <xxhash.h>

#include "base/config.h"
#include "clips/clips.h"
#include "video/frames.h"

/* Check the frames of a clip by their grey levels. */
static void assert_levels(const vj_decoded *file, int clip, const int *expected)
{
    const vj_decoded_clip *c = &file->clip[clip];
    assert_int_equal(c->height, 24);
    assert_int_equal(c->width, 32);
    assert_int_equal(c->bytes, F * 24 * 32 * 3);
    const uint8_t *frames = file->data + c->at;
    for (int t = 0; t < F; t++)
        for (int i = 0; i < 24 * 32 * 3; i++) assert_int_equal(frames[t * 24 * 32 * 3 + i], 5 * expected[t]);
}

static void test_clip(void **state)
{
    (void)state;
    const vj_decode_settings settings = usual();
    vj_decoders *d = start(&settings, 1);
    make("a.mkv", 40);
    vj_decoded *file = decode(d, 7, in_folder("a.mkv"));
    assert_verdict(file, VJ_VIDEO_OK);
    assert_int_equal(file->clips, 1);
    assert_string_equal(file->info.codec, "ffv1");
    assert_int_equal(file->info.frames, 40);
    assert_true(isinf(file->clip[0].psnr));
    assert_true(file->clip[0].pts_s == 0);
    int64_t index[F];
    vj_clip_frames(index, 40, F, STEP, 1, 0, NULL);
    int expected[F];
    for (int t = 0; t < F; t++) expected[t] = (int)index[t];
    assert_levels(file, 0, expected);
    struct stat st;
    assert_int_equal(stat(in_folder("a.mkv"), &st), 0);
    assert_int_equal(file->bytes, st.st_size);
    static uint8_t bytes[1 << 20];
    FILE *f = fopen(in_folder("a.mkv"), "rb");
    assert_non_null(f);
    size_t count = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    assert_int_equal(count, file->bytes);
    assert_true(file->digest == XXH3_64bits(bytes, count));
    vj_decoded_free(file);

    make("short.mkv", 5); /* the last frame is repeated */
    file = decode(d, 8, in_folder("short.mkv"));
    assert_verdict(file, VJ_VIDEO_OK);
    assert_levels(file, 0, (int[]){0, 4, 4, 4, 4, 4, 4, 4});
    vj_decoded_free(file);
    vj_decoders_stop(d);
}

/* Check that a clip of a part of a file has only frames of this part, counted from its start. */
static void test_stretch(void **state)
{
    (void)state;
    const vj_decode_settings settings = usual();
    vj_decoders *d = start(&settings, 1);
    make("b.mkv", 50);
    vj_decode_job job = {.source = 1, .path = in_folder("b.mkv"), .start_s = 0.4, .end_s = 0.8};
    assert_int_equal(vj_decoders_submit(d, &job), VJ_OK);
    vj_decoded *file = next(d);
    assert_verdict(file, VJ_VIDEO_OK);
    assert_levels(file, 0, (int[]){10, 12, 15, 17, 19, 19, 19, 19}); /* 5 frames, then the last one is repeated */
    vj_decoded_free(file);
    job.start_s = 90;
    job.end_s = 95;
    assert_int_equal(vj_decoders_submit(d, &job), VJ_OK);
    file = next(d);
    assert_verdict(file, VJ_VIDEO_TOO_SHORT);
    vj_decoded_free(file);
    vj_decoders_stop(d);
}

/* Check the same frames as JPEG records. */
static void test_jpeg(void **state)
{
    (void)state;
    vj_decode_settings settings = usual();
    settings.codec = (vj_codec_settings){.codec = VJ_CODEC_JPEG, .quality = 95, .chroma = 420};
    settings.windows = 2;
    vj_decoders *d = start(&settings, 1);
    vj_decoded *file = decode(d, 1, in_folder("b.mkv"));
    assert_verdict(file, VJ_VIDEO_OK);
    assert_int_equal(file->clips, 2);
    vj_coder *coder;
    assert_int_equal(vj_coder_create(&coder), VJ_OK);
    for (int i = 0; i < 2; i++) {
        static uint8_t frames[F * 24 * 32 * 3];
        const vj_decoded_clip *c = &file->clip[i];
        assert_true(c->psnr > 40); /* pictures of one colour lose little */
        assert_int_equal(vj_record_decode(coder, VJ_CODEC_JPEG, file->data + c->at, c->bytes, F, 24, 32, frames),
                         VJ_OK);
        assert_true(abs(frames[0] - 5 * 25 * i) <= 1);
    }
    vj_coder_destroy(coder);
    vj_decoded_free(file);
    vj_decoders_stop(d);
}

/* Check that pictures of one colour have no perceptual hash, and that asking only for hashes makes no clips. */
static void test_look(void **state)
{
    (void)state;
    vj_decode_settings settings = usual();
    vj_decoders *d = start(&settings, 1);
    uint8_t frames[16 * 32 * 32 * 3];
    for (int i = 0; i < 16 * 32 * 32; i++) memset(frames + 3 * i, i % 32 * (i / 1024 + 1) / 3, 3);
    const vj_video_form form = {.encoding = VJ_ENCODING_FFV1, .width = 32, .height = 32, .fps = FPS};
    assert_int_equal(vj_video_write(in_folder("slope.mkv"), &form, frames, 16), VJ_OK);
    vj_decode_job job = {.source = 1, .path = in_folder("slope.mkv"), .start_s = -1, .end_s = -1, .look_only = 1};
    assert_int_equal(vj_decoders_submit(d, &job), VJ_OK);
    vj_decoded *file = next(d);
    assert_verdict(file, VJ_VIDEO_OK);
    assert_int_equal(file->clips, 0);
    assert_int_equal(file->look.valid, 0xff);
    vj_phash look = file->look;
    vj_decoded_free(file);
    file = decode(d, 2, in_folder("slope.mkv"));
    assert_int_equal(file->look.valid, 0);
    vj_decoded_free(file);
    vj_decoders_stop(d);

    settings.looks = 1; /* besides the clips, whose frames do not change */
    d = start(&settings, 1);
    file = decode(d, 1, in_folder("slope.mkv"));
    assert_memory_equal(&file->look, &look, sizeof look);
    vj_decoded_free(file);
    file = decode(d, 2, in_folder("b.mkv"));
    assert_int_equal(file->look.valid, 0);
    int64_t index[F];
    vj_clip_frames(index, 50, F, STEP, 1, 0, NULL);
    int expected[F];
    for (int t = 0; t < F; t++) expected[t] = (int)index[t];
    assert_levels(file, 0, expected);
    vj_decoded_free(file);
    vj_decoders_stop(d);
}

/* Check the frames of a clip of any codec; those decoded from JPEG may be off by one. */
static void assert_shows(const vj_decode_settings *s, const vj_decoded *file, int clip, int first, const int *expected)
{
    static uint8_t frames[F * 24 * 32 * 3];
    const vj_decoded_clip *c = &file->clip[clip];
    vj_coder *coder;
    assert_int_equal(c->window, clip);
    assert_int_equal(vj_coder_create(&coder), VJ_OK);
    if (s->codec.codec == VJ_CODEC_RAW)
        memcpy(frames, file->data + c->at, sizeof frames);
    else
        assert_int_equal(vj_record_decode(coder, s->codec.codec, file->data + c->at, c->bytes, F, 24, 32, frames),
                         VJ_OK);
    vj_coder_destroy(coder);
    for (int t = 0; t < F; t++)
        for (int i = 0; i < 24 * 32 * 3; i++)
            assert_true(abs(frames[t * 24 * 32 * 3 + i] - 5 * (first + expected[t])) <= 1);
}

/* Check windows that overlap: several clips are made at the same time in one pass. */
static void test_overlap(void **state)
{
    (void)state;
    make("b.mkv", 50);
    make("short.mkv", 10);
    for (int codec = 0; codec < 2; codec++) {
        vj_decode_settings settings = usual();
        settings.windows = 4;
        settings.overlap = 1;
        settings.looks = 1;
        if (codec) settings.codec = (vj_codec_settings){.codec = VJ_CODEC_JPEG, .quality = 95, .chroma = 420};
        vj_decoders *d = start(&settings, 1);
        vj_decoded *file = decode(d, 1, in_folder("b.mkv"));
        assert_verdict(file, VJ_VIDEO_OK);
        assert_int_equal(file->clips, 4); /* windows of 16 frames in 50; one begins every (50 - 16) div 3 frames */
        for (int i = 0; i < 4; i++) assert_shows(&settings, file, i, 11 * i, (int[]){0, 2, 5, 7, 10, 12, 14, 14});
        vj_decoded_free(file);
        file = decode(d, 2, in_folder("short.mkv"));
        assert_verdict(file, VJ_VIDEO_OK);
        assert_int_equal(file->clips, 4);
        for (int i = 0; i < 4; i++) assert_shows(&settings, file, i, 0, (int[]){0, 3, 6, 8, 8, 8, 8, 8});
        vj_decoded_free(file);
        vj_decoders_stop(d);
    }
    vj_decode_settings settings = usual();
    settings.place = VJ_WINDOW_CENTRE;
    vj_decoders *d = start(&settings, 1);
    vj_decoded *file = decode(d, 1, in_folder("b.mkv"));
    assert_verdict(file, VJ_VIDEO_OK);
    assert_levels(file, 0, (int[]){17, 19, 21, 23, 26, 28, 30, 32});
    vj_decoded_free(file);
    vj_decoders_stop(d);
}

/* Check that the result of a file does not depend on which of several workers decodes it, or when. */
static void test_many(void **state)
{
    (void)state;
    enum { FILES = 12 };
    vj_decode_settings settings = usual();
    settings.windows = 2;
    settings.place = VJ_WINDOW_RANDOM;
    char name[FILES][16];
    uint8_t *first[FILES] = {0};
    int64_t bytes[FILES];
    for (int i = 0; i < FILES; i++) {
        sprintf(name[i], "m%d.mkv", i);
        make(name[i], 10 + 3 * i);
    }
    for (int workers = 1; workers <= 3; workers += 2) {
        vj_decoders *d = start(&settings, workers);
        int done = 0, given = 0, seen[FILES] = {0};
        while (done < FILES) {
            while (given < FILES && vj_decoders_idle(d) > 0) {
                submit(d, given, in_folder(name[given]));
                given++;
            }
            vj_decoded *file = next(d);
            int i = (int)file->source;
            assert_verdict(file, VJ_VIDEO_OK);
            assert_int_equal(file->clips, 2);
            assert_int_equal(file->clip[1].window, 1);
            assert_int_equal(seen[i]++, 0);
            if (!first[i]) {
                bytes[i] = file->data_bytes;
                first[i] = malloc((size_t)bytes[i]);
                assert_non_null(first[i]);
                memcpy(first[i], file->data, (size_t)bytes[i]);
            }
            assert_int_equal(file->data_bytes, bytes[i]);
            assert_memory_equal(file->data, first[i], (size_t)bytes[i]);
            vj_decoded_free(file);
            done++;
        }
        vj_decoded *none;
        assert_int_equal(vj_decoders_next(d, &none, 0), VJ_OK);
        assert_null(none);
        vj_decoders_stop(d);
    }
    for (int i = 0; i < FILES; i++) free(first[i]);
}

/* ------------------------------------------------------------------------------------------------ hostile files */

static void write_text(const char *name, const char *text)
{
    FILE *f = fopen(in_folder(name), "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* Check that file names may have any bytes, and that what is not a regular file is refused without waiting. */
static void test_paths(void **state)
{
    (void)state;
    const vj_decode_settings settings = usual();
    vj_decoders *d = start(&settings, 1);
    const char *names[] = {"http:colon.mkv", "pct%03d.mkv", "-dash.mkv", "new\nline.mkv", "\xff\xfe.mkv", "a b'\".mkv"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        make(names[i], 10);
        vj_decoded *file = decode(d, (int64_t)i, in_folder(names[i]));
        assert_verdict(file, VJ_VIDEO_OK);
        vj_decoded_free(file);
    }
    assert_int_equal(mkfifo(in_folder("fifo.mkv"), 0600), 0);
    assert_int_equal(symlink("self.mkv", in_folder("self.mkv")), 0);
    write_text("empty.mkv", "");
    assert_int_equal(symlink("/dev/zero", in_folder("zero.mkv")), 0);
    const struct {
        const char *name;
        vj_video_verdict verdict;
    } refused[] = {{"fifo.mkv", VJ_VIDEO_NOT_REGULAR}, {"self.mkv", VJ_VIDEO_NOT_REGULAR},
                   {".", VJ_VIDEO_NOT_REGULAR},        {"zero.mkv", VJ_VIDEO_NOT_REGULAR},
                   {"nowhere.mkv", VJ_VIDEO_MISSING},  {"empty.mkv", VJ_VIDEO_EMPTY}};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        vj_decoded *file = decode(d, 100, in_folder(refused[i].name));
        assert_verdict(file, refused[i].verdict);
        assert_int_equal(file->bytes, 0);
        vj_decoded_free(file);
    }
    vj_decoders_stop(d);
}

/* Open a socket to which nobody may connect. Returns it and its port. */
static int listener(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t bytes = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

/* Check that the files and addresses named in play lists are neither read nor connected to. */
static void test_play_lists(void **state)
{
    (void)state;
    const vj_decode_settings settings = usual();
    int port, fd = listener(&port);
    vj_decoders *d = start(&settings, 1);
    make("target.mkv", 10);
    const char *texts[] = {
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nhttp://127.0.0.1:%d/a.ts\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\ntarget.mkv\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile 'target.mkv'\n",
        "ffconcat version 1.0\nfile 'http://127.0.0.1:%d/a.mkv'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video %d RTP/AVP 96\na=rtpmap:96 "
        "H264/90000\n",
        "<?xml version=\"1.0\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\"><Period><AdaptationSet>"
        "<BaseURL>http://127.0.0.1:%d/</BaseURL></AdaptationSet></Period></MPD>\n",
        "[Playlist]\nFile1=http://127.0.0.1:%d/a.mp4\n",
        "RTSPtext\nrtsp://127.0.0.1:%d/\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char text[512];
        snprintf(text, sizeof text, texts[i], port);
        write_text("list.mp4", text);
        vj_decoded *file = decode(d, (int64_t)i, in_folder("list.mp4"));
        if (file->verdict != VJ_VIDEO_FORBIDDEN && file->verdict != VJ_VIDEO_UNRECOGNISED)
            fail_msg("%.20s: %s (%s)", text, vj_video_verdict_name(file->verdict), file->reason);
        vj_decoded_free(file);
    }
    assert_int_equal(accept(fd, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);
    vj_decoders_stop(d);
    close(fd);
}

/* Check that workers stay on the cores of the process that started them, for example of a bound rank. */
static void test_cores(void **state)
{
    (void)state;
    const vj_decode_settings settings = usual();
    cpu_set_t before, one, theirs;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    for (int cpu = 0, tried = 0; cpu < CPU_SETSIZE && tried < 2; cpu++) {
        if (!CPU_ISSET(cpu, &before)) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
        vj_decoders *d = start(&settings, 2);
        assert_int_equal(sched_getaffinity(vj_decoders_process(d, 1), sizeof theirs, &theirs), 0);
        vj_decoders_stop(d);
        assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
        assert_true(CPU_EQUAL(&theirs, &one));
        tried++;
    }
}

static int open_descriptors(void)
{
    int count = 0;
    DIR *list = opendir("/proc/self/fd");
    assert_non_null(list);
    while (readdir(list)) count++;
    closedir(list);
    return count;
}

/* Decode hundreds of good and bad files and files that crash workers, and check that no descriptor and no child is left
 * over. */
static void test_no_leak(void **state)
{
    (void)state;
    const vj_decode_settings settings = usual();
    int before = open_descriptors();
    vj_decoders *d = start(&settings, 2);
    int started = open_descriptors();
    write_text("text.mkv", "this is not a video\n");
    const char *names[] = {"after.mkv", "text.mkv", "nowhere.mkv", "a.mkv"};
    for (int i = 0; i < 200; i++) {
        submit(d, i, in_folder(names[i % 4]));
        if (i % 50 == 7) kill(vj_decoders_process(d, 0), SIGKILL);
        vj_decoded_free(next(d));
    }
    assert_int_equal(open_descriptors(), started);
    vj_decoders_stop(d);
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

/* Check that a worker program which cannot be started, or is another program, is reported and not waited for. */
static void test_no_program(void **state)
{
    (void)state;
    const vj_decode_settings settings = usual();
    char *named = strdup(getenv("VJEPA_DECODE") ? getenv("VJEPA_DECODE") : "");
    vj_decoders *d;
    assert_int_equal(setenv("VJEPA_DECODE", "/nowhere/vjepa-decode", 1), 0);
    assert_int_equal(vj_decoders_start(&d, &settings, 1), VJ_ERR_IO);
    assert_null(d);
    assert_int_equal(setenv("VJEPA_DECODE", "/bin/true", 1), 0);
    assert_int_not_equal(vj_decoders_start(&d, &settings, 2), VJ_OK);
    assert_null(d);
    assert_int_equal(*named ? setenv("VJEPA_DECODE", named, 1) : unsetenv("VJEPA_DECODE"), 0);
    free(named);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clip),    cmocka_unit_test(test_stretch),    cmocka_unit_test(test_jpeg),
        cmocka_unit_test(test_look),    cmocka_unit_test(test_many),       cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_paths),   cmocka_unit_test(test_play_lists), cmocka_unit_test(test_cores),
        cmocka_unit_test(test_no_leak), cmocka_unit_test(test_no_program),
    };
    return cmocka_run_group_tests(tests, set_up_folder, tear_down_folder);
}
