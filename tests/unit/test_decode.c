/* The pool of decoding processes: the right clips, every file one verdict whatever it does to its worker, and no leak.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "clips/clips.h"
#include "decode/message.h"
#include "decode/sandbox.h"
#include "video/encode.h"

enum { W = 64, H = 48, FPS = 25, F = 8, STEP = 2 };

static char folder[PATH_MAX];

static const char *in_folder(const char *name)
{
    static char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Lossless, frame k all of level 5 k. */
static void make(const char *name, int count)
{
    uint8_t *frames = malloc((size_t)count * W * H * 3);
    assert_non_null(frames);
    for (int k = 0; k < count; k++) memset(frames + (size_t)k * W * H * 3, 5 * k, W * H * 3);
    const vj_video_form form = {.encoding = VJ_ENCODING_FFV1, .width = W, .height = H, .fps = FPS};
    assert_int_equal(vj_video_write(in_folder(name), &form, frames, count), VJ_OK);
    free(frames);
}

static vj_decode_settings usual(void)
{
    return (vj_decode_settings){.frames = F,
                                .step = STEP,
                                .windows = 1,
                                .short_side = 24,
                                .limits = vj_video_usual_limits,
                                .memory_mb = 512,
                                .seconds = 60};
}

static vj_decoders *start(const vj_decode_settings *settings, int workers)
{
    vj_decoders *d;
    assert_int_equal(vj_decoders_start(&d, settings, workers), VJ_OK);
    assert_int_equal(vj_decoders_idle(d), workers);
    return d;
}

static void submit(vj_decoders *d, int64_t source, const char *path)
{
    const vj_decode_job job = {.source = source, .path = path, .start_s = -1, .end_s = -1};
    assert_int_equal(vj_decoders_submit(d, &job), VJ_OK);
}

static vj_decoded *next(vj_decoders *d)
{
    vj_decoded *file;
    assert_int_equal(vj_decoders_next(d, &file, 60), VJ_OK);
    assert_non_null(file);
    return file;
}

static vj_decoded *decode(vj_decoders *d, int64_t source, const char *path)
{
    submit(d, source, path);
    vj_decoded *file = next(d);
    assert_int_equal(file->source, source);
    return file;
}

static void assert_verdict(const vj_decoded *file, vj_video_verdict expected)
{
    if (file->verdict != expected)
        fail_msg("file %d: %s (%s), expected %s", (int)file->source, vj_video_verdict_name(file->verdict), file->reason,
                 vj_video_verdict_name(expected));
    if (expected != VJ_VIDEO_OK) {
        assert_int_equal(file->clips, 0);
        assert_true(file->reason[0] != '\0');
    }
}

/* The frames of a clip by their levels. */
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

/* ------------------------------------------------------------------------------------------------ clips */

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
    assert_true(file->digest != 0);
    vj_decoded_free(file);

    make("short.mkv", 5); /* the last frame is held */
    file = decode(d, 8, in_folder("short.mkv"));
    assert_verdict(file, VJ_VIDEO_OK);
    assert_levels(file, 0, (int[]){0, 4, 4, 4, 4, 4, 4, 4});
    vj_decoded_free(file);
    vj_decoders_stop(d);
}

/* Only frames of the stretch asked for, and counted from its start. */
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
    assert_levels(file, 0, (int[]){10, 12, 15, 17, 19, 19, 19, 19}); /* 5 points, then the last is held */
    vj_decoded_free(file);
    job.start_s = 90;
    job.end_s = 95;
    assert_int_equal(vj_decoders_submit(d, &job), VJ_OK);
    file = next(d);
    assert_verdict(file, VJ_VIDEO_TOO_SHORT);
    vj_decoded_free(file);
    vj_decoders_stop(d);
}

/* Several windows of many files over several workers: what a file gives does not depend on who decoded it when. */
static void test_many(void **state)
{
    (void)state;
    enum { FILES = 12 };
    vj_decode_settings settings = usual();
    settings.windows = 2;
    settings.random_windows = 1;
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

/* Names of any bytes are opened, and what is no regular file is not, without waiting for it. */
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

/* A socket that nobody may connect to; returns it and its port. */
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

/* Play lists and the like name other files and addresses: none is read, and nobody is called. */
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

/* ------------------------------------------------------------------------------------------------ lost workers */

static int address_sanitizer(void)
{
#ifdef __SANITIZE_ADDRESS__
    return 1;
#else
    return 0;
#endif
}

/* A file that takes seconds to decode, so that its worker can be met at work. */
static void make_long(void)
{
    enum { COUNT = 60, SIDE = 720 };
    static uint8_t noise[SIDE * SIDE * 3];
    uint8_t *frames = malloc((size_t)COUNT * sizeof noise);
    assert_non_null(frames);
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof noise; i++) {
        random = random * 1664525 + 1013904223;
        noise[i] = (uint8_t)(random >> 24);
    }
    for (int k = 0; k < COUNT; k++) {
        memcpy(frames + (size_t)k * sizeof noise, noise + 1000 * k, sizeof noise - 1000 * (size_t)k);
        memset(frames + (size_t)(k + 1) * sizeof noise - 1000 * (size_t)k, 7, 1000 * (size_t)k);
    }
    const vj_video_form form = {.encoding = VJ_ENCODING_FFV1, .width = SIDE, .height = SIDE, .fps = FPS};
    assert_int_equal(vj_video_write(in_folder("long.mkv"), &form, frames, COUNT), VJ_OK);
    free(frames);
}

static void pause_ms(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

/* Whatever happens to a worker at work costs its file a verdict; the next file meets a new worker. */
static void test_lost_workers(void **state)
{
    (void)state;
    const struct {
        int signal;
        vj_video_verdict verdict;
        const char *reason;
    } ends[] = {{SIGSEGV, VJ_VIDEO_CRASHED, address_sanitizer() ? "exit code 1" : "signal 11 (Segmentation fault)"},
                {SIGABRT, VJ_VIDEO_CRASHED, "signal 6"},
                {SIGKILL, VJ_VIDEO_OUT_OF_MEMORY, "killed"},
                {SIGXCPU, VJ_VIDEO_TIMED_OUT, "not done after"},
                {SIGSTOP, VJ_VIDEO_TIMED_OUT, "not done after 0.5 s"}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        vj_decode_settings settings = usual();
        settings.limits.decode_all = 1;
        if (ends[i].signal == SIGSTOP) settings.seconds = 0.5;
        vj_decoders *d = start(&settings, 2);
        submit(d, 1, in_folder("long.mkv"));
        int first = vj_decoders_process(d, 0);
        assert_int_equal(kill(first, ends[i].signal), 0);
        vj_decoded *file = next(d);
        assert_int_equal(file->source, 1);
        assert_verdict(file, ends[i].verdict);
        if (!strstr(file->reason, ends[i].reason)) fail_msg("%s, expected %s", file->reason, ends[i].reason);
        assert_true(file->bytes > 0);
        vj_decoded_free(file);
        assert_int_not_equal(vj_decoders_process(d, 0), first);
        assert_int_equal(kill(first, 0), -1); /* waited for: no zombie */
        assert_int_equal(vj_decoders_idle(d), 2);
        file = decode(d, 2, in_folder("after.mkv"));
        assert_verdict(file, VJ_VIDEO_OK);
        vj_decoded_free(file);
        vj_decoders_stop(d);
    }
}

/* One that dies while it has nothing to do costs no file anything. */
static void test_idle_worker_lost(void **state)
{
    (void)state;
    const vj_decode_settings settings = usual();
    vj_decoders *d = start(&settings, 1);
    int first = vj_decoders_process(d, 0);
    assert_int_equal(kill(first, SIGKILL), 0);
    pause_ms(200);
    vj_decoded *file = decode(d, 1, in_folder("after.mkv"));
    assert_verdict(file, VJ_VIDEO_OK);
    assert_int_not_equal(vj_decoders_process(d, 0), first);
    vj_decoded_free(file);
    vj_decoders_stop(d);
}

/* A file under /proc/PROCESS as text. */
static const char *told_of(int process, const char *what)
{
    static char text[1 << 20];
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", process, what);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

static double told_limit(int process, const char *name)
{
    const char *line = strstr(told_of(process, "limits"), name);
    assert_non_null(line);
    return strtod(line + strlen(name), NULL); /* 0 for "unlimited" too */
}

static void test_limits(void **state)
{
    (void)state;
    vj_decode_settings settings = usual();
    settings.seconds = 30;
    vj_decoders *d = start(&settings, 1);
    vj_decoded_free(decode(d, 1, in_folder("after.mkv")));
    int process = vj_decoders_process(d, 0);
    assert_true(told_limit(process, "Max cpu time") >= 30 && told_limit(process, "Max cpu time") < 60);
    assert_true(told_limit(process, "Max address space") > 512e6);
    assert_true(told_limit(process, "Max file size") == 512e6);
    assert_true(told_limit(process, "Max open files") == 6);
    assert_non_null(strstr(told_of(process, "limits"), "Max core file size        0 "));
    assert_int_equal(atoi(told_of(process, "oom_score_adj")), 1000);
    assert_non_null(strstr(told_of(process, "status"), "NoNewPrivs:\t1"));
    const char *maps = told_of(process, "maps");
    assert_non_null(strstr(maps, "libavcodec"));
    assert_null(strstr(maps, "libmpi"));
    assert_null(strstr(maps, "libhdf5"));
    vj_decoders_stop(d);
}

/* What a process in the sandbox may not do; the number of the first thing that it could, 0: none. */
static int try_forbidden(const char *path)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    errno = 0;
    if (open(path, O_RDONLY) != -1 || errno != EPERM) return 1;
    if (syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT, 0600) != -1) return 2;
    if (socket(AF_INET, SOCK_STREAM, 0) != -1) return 3;
    if (connect(STDIN_FILENO, (struct sockaddr *)&address, sizeof address) != -1 || errno != EPERM) return 4;
    if (fork() != -1) return 5;
    if (execl("/bin/true", "true", NULL) != -1 || errno != EPERM) return 6;
    if (kill(getppid(), 0) != -1) return 7;
    if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) return 8;
    if (unlink(path) != -1 || errno != EPERM) return 9;
    if (syscall(SYS_ptrace, 16, getppid(), 0, 0) != -1 || errno != EPERM) return 10;
    if (setrlimit(RLIMIT_AS, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}) != -1) return 11;
    void *memory = malloc(1 << 20);
    if (!memory) return 12; /* while this must go on */
    free(memory);
    return 0;
}

static void test_system_calls(void **state)
{
    (void)state;
    enum { LACKING = 77, FAILED = 99 };
    const vj_decode_settings settings = usual();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char lacking[128];
        if (vj_sandbox_enter(&settings, lacking, sizeof lacking) != VJ_OK) _exit(FAILED);
        _exit(lacking[0] ? LACKING : try_forbidden(in_folder("after.mkv")));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == LACKING) skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/*
 * A worker that a hostile file has taken over, as far as it can do harm to its parent: what it answers. This program
 * plays it, see main().
 */
static int play_worker(const char *kind)
{
    vj_decode_settings settings;
    vj_decode_order order;
    const vj_decode_hello hello = {.protocol = VJ_DECODE_PROTOCOL};
    int fds[2];
    if (vj_message_receive(STDIN_FILENO, &settings, sizeof settings, NULL, 0) != 1) return 1;
    if (vj_message_send(STDIN_FILENO, &hello, sizeof hello, NULL, 0) != 0) return 1;
    if (vj_message_receive(STDIN_FILENO, &order, sizeof order, fds, 2) != 1) return 1;
    vj_decoded_clip clip = {.window = 0, .height = 24, .width = 32, .at = 4096, .bytes = F * 24 * 32 * 3};
    vj_decode_reply reply = {.source = order.source, .clips = 1};
    if (ftruncate(fds[1], clip.at + clip.bytes) != 0) return 1;
    void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
    if (map == MAP_FAILED) return 1;
    if (strcmp(kind, "beyond") == 0) clip.at = 1 << 30;
    if (strcmp(kind, "overflow") == 0) clip.at = INT64_MAX - 100;
    if (strcmp(kind, "before") == 0) clip.at = -4096;
    if (strcmp(kind, "size") == 0) clip.height = 1 << 20;
    if (strcmp(kind, "bytes") == 0) clip.bytes -= 1;
    if (strcmp(kind, "window") == 0) clip.window = 1;
    if (strcmp(kind, "many") == 0) reply.clips = INT32_MAX;
    if (strcmp(kind, "verdict") == 0) reply.verdict = 1000;
    if (strcmp(kind, "source") == 0) reply.source++;
    if (strcmp(kind, "name") == 0) strcpy(reply.info.codec, "h264,\n"); /* would be two columns of the ledger */
    memcpy(map, &clip, sizeof clip);
    if (strcmp(kind, "mapped") != 0) munmap(map, 4096);
    if (strcmp(kind, "words") == 0 && write(STDIN_FILENO, "hello?", 6) != 6) return 1;
    if (vj_message_send(STDIN_FILENO, &reply, sizeof reply, NULL, 0) != 0) return 1;
    for (;;) pause();
}

static void test_answers(void **state)
{
    (void)state;
    const vj_decode_settings settings = usual();
    const char *kinds[] = {"beyond",  "overflow", "before", "size",  "bytes", "window", "many",
                           "verdict", "source",   "mapped", "words", "name",  "good"};
    char *named = strdup(getenv("VJEPA_DECODE") ? getenv("VJEPA_DECODE") : "");
    assert_int_equal(setenv("VJEPA_DECODE", "/proc/self/exe", 1), 0);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        assert_int_equal(setenv("VJEPA_TEST_ANSWER", kinds[i], 1), 0);
        vj_decoders *d = start(&settings, 1);
        vj_decoded *file = decode(d, 5, in_folder("after.mkv"));
        if (strcmp(kinds[i], "good") == 0) {
            assert_verdict(file, VJ_VIDEO_OK);
            assert_int_equal(file->clips, 1);
        } else {
            if (file->verdict != VJ_VIDEO_CRASHED) fail_msg("%s was believed", kinds[i]);
            assert_int_equal(file->clips, 0);
            assert_null(file->data);
        }
        vj_decoded_free(file);
        vj_decoders_stop(d);
    }
    assert_int_equal(unsetenv("VJEPA_TEST_ANSWER"), 0);
    assert_int_equal(*named ? setenv("VJEPA_DECODE", named, 1) : unsetenv("VJEPA_DECODE"), 0);
    free(named);
}

/* Clips that do not fit, and pictures that do not. */
static void test_memory(void **state)
{
    (void)state;
    vj_decode_settings settings = usual();
    settings.windows = 4;
    settings.short_side = 400; /* 8 x 400 x 533 x 3 = 5 MB a clip */
    settings.memory_mb = 16;
    vj_decoders *d = start(&settings, 1);
    make("four.mkv", 40);
    vj_decoded *file = decode(d, 1, in_folder("four.mkv"));
    assert_verdict(file, VJ_VIDEO_OUT_OF_MEMORY);
    vj_decoded_free(file);
    file = decode(d, 2, in_folder("long.mkv"));
    if (file->verdict != VJ_VIDEO_OUT_OF_MEMORY) fail_msg("%s", file->reason);
    vj_decoded_free(file);
    file = decode(d, 3, in_folder("empty.mkv"));
    assert_verdict(file, VJ_VIDEO_EMPTY);
    vj_decoded_free(file);
    vj_decoders_stop(d);
}

static int has_ended(int process)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", process);
    FILE *f = fopen(path, "r");
    if (!f) return 1;
    size_t got = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[got] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end && name_end[2] == 'Z';
}

/* A parent that is killed takes its workers along, those that are at work included. */
static void test_parent_dies(void **state)
{
    (void)state;
    int ends[2], workers[2];
    assert_int_equal(pipe(ends), 0);
    pid_t parent = fork();
    assert_true(parent >= 0);
    if (parent == 0) {
        vj_decode_settings settings = usual();
        settings.limits.decode_all = 1;
        vj_decoders *d;
        if (vj_decoders_start(&d, &settings, 2) != VJ_OK) _exit(1);
        const vj_decode_job job = {.source = 1, .path = in_folder("long.mkv"), .start_s = -1, .end_s = -1};
        if (vj_decoders_submit(d, &job) != VJ_OK) _exit(1);
        workers[0] = vj_decoders_process(d, 0);
        workers[1] = vj_decoders_process(d, 1);
        if (write(ends[1], workers, sizeof workers) != sizeof workers) _exit(1);
        for (;;) pause();
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], workers, sizeof workers), sizeof workers);
    close(ends[0]);
    assert_int_equal(kill(parent, SIGKILL), 0);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    for (int i = 0; i < 2; i++) {
        int tries = 0;
        while (!has_ended(workers[i]) && tries++ < 500) pause_ms(10);
        assert_true(has_ended(workers[i]));
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

/* Hundreds of files, good, bad and deadly: as many descriptors and children as before. */
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

/* A program that cannot be started, or is another one, is an error with words, not a wait for ever. */
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

static int make_folder(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/vjepa-decode-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(folder)) return -1;
    make_long();
    make("after.mkv", 10);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[PATH_MAX + 16];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    if (getenv("VJEPA_TEST_ANSWER")) return play_worker(getenv("VJEPA_TEST_ANSWER"));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clip),
        cmocka_unit_test(test_stretch),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_play_lists),
        cmocka_unit_test(test_lost_workers),
        cmocka_unit_test(test_idle_worker_lost),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_system_calls),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_parent_dies),
        cmocka_unit_test(test_no_leak),
        cmocka_unit_test(test_no_program),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
