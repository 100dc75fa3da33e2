/* Tests workers that crash, hang, need too much memory or send wrong replies: only their file is refused. */
#include "../decode_pool.h"

#include <math.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "decode/message.h"

static int address_sanitizer(void)
{
#ifdef __SANITIZE_ADDRESS__
    return 1;
#else
    return 0;
#endif
}

/* Make a file that takes seconds to decode, so that its worker can be disturbed at work. */
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

/* Send a signal to a process. Number 0 would be all processes of the test's group. */
static void signal_to(int process, int number)
{
    assert_true(process > 0);
    assert_int_equal(kill(process, number), 0);
}

/* Check that when something happens to a working worker its file is refused, and the next file gets a new worker. */
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
        signal_to(first, ends[i].signal);
        vj_decoded *file = next(d);
        assert_int_equal(file->source, 1);
        assert_verdict(file, ends[i].verdict);
        if (!strstr(file->reason, ends[i].reason)) fail_msg("%s, expected %s", file->reason, ends[i].reason);
        assert_true(file->bytes > 0);
        vj_decoded_free(file);
        assert_int_not_equal(vj_decoders_process(d, 0), first);
        assert_int_equal(kill(first, 0), -1); /* it was waited for and is not a zombie */
        assert_int_equal(vj_decoders_idle(d), 2);
        file = decode(d, 2, in_folder("after.mkv"));
        assert_verdict(file, VJ_VIDEO_OK);
        vj_decoded_free(file);
        vj_decoders_stop(d);
    }
}

/* Check that when an idle worker dies no file is refused. */
static void test_idle_worker_lost(void **state)
{
    (void)state;
    const vj_decode_settings settings = usual();
    vj_decoders *d = start(&settings, 1);
    int first = vj_decoders_process(d, 0);
    signal_to(first, SIGKILL);
    pause_ms(200);
    vj_decoded *file = decode(d, 1, in_folder("after.mkv"));
    assert_verdict(file, VJ_VIDEO_OK);
    assert_int_not_equal(vj_decoders_process(d, 0), first);
    vj_decoded_free(file);
    vj_decoders_stop(d);
}

/*
 * Act as a worker that a hostile file has taken over. The only harm that it can do to its parent is a wrong reply.
 * main() calls this when the program is started as a worker.
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
    const vj_decode_reply going_on = {.so_far = 0.5};
    do /* so_far says nothing about the file */
        if (vj_message_send(STDIN_FILENO, &going_on, sizeof going_on, NULL, 0) != 0) return 1;
    while (strcmp(kind, "chatter") == 0);
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
    if (strcmp(kind, "tiny") == 0) clip.bytes = 1; /* no JPEG record of these frames can be so short */
    if (strcmp(kind, "time") == 0) clip.pts_s = NAN;
    if (strcmp(kind, "huge") == 0) { /* consistent, but larger than a shard can hold */
        clip.height = clip.width = 20000;
        clip.bytes = (int64_t)F * clip.height * clip.width * 3;
        if (ftruncate(fds[1], clip.at + clip.bytes) != 0) return 1;
    }
    if (strcmp(kind, "window") == 0) clip.window = 1;
    if (strcmp(kind, "many") == 0) reply.clips = INT32_MAX;
    if (strcmp(kind, "verdict") == 0) reply.verdict = 1000;
    if (strcmp(kind, "source") == 0) reply.source++;
    if (strcmp(kind, "name") == 0) strcpy(reply.info.codec, "h264,\n"); /* this would be two columns of the ledger */
    if (strcmp(kind, "leaving") == 0) reply.leaving = 1;
    memcpy(map, &clip, sizeof clip);
    if (strcmp(kind, "mapped") != 0) munmap(map, 4096);
    if (strcmp(kind, "words") == 0 && write(STDIN_FILENO, "hello?", 6) != 6) return 1;
    if (vj_message_send(STDIN_FILENO, &reply, sizeof reply, NULL, 0) != 0) return 1;
    for (;;) pause();
}

static void test_answers(void **state)
{
    (void)state;
    vj_decode_settings settings = usual();
    const char *kinds[] = {"beyond", "overflow", "before", "size", "bytes", "window", "many",    "verdict", "source",
                           "mapped", "words",    "name",   "huge", "time",  "good",   "leaving", "tiny",    "chatter"};
    char *named = strdup(getenv("VJEPA_DECODE") ? getenv("VJEPA_DECODE") : "");
    assert_int_equal(setenv("VJEPA_DECODE", "/proc/self/exe", 1), 0);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        assert_int_equal(setenv("VJEPA_TEST_ANSWER", kinds[i], 1), 0);
        if (strcmp(kinds[i], "chatter") == 0) settings.seconds = 1; /* however much it says, it gets no more time */
        if (strcmp(kinds[i], "tiny") == 0) settings.codec = (vj_codec_settings){VJ_CODEC_JPEG, 90, 420};
        vj_decoders *d = start(&settings, 1);
        int first = vj_decoders_process(d, 0);
        vj_decoded *file = decode(d, 5, in_folder("after.mkv"));
        assert_int_equal(vj_decoders_process(d, 0) == first, strcmp(kinds[i], "good") == 0);
        if (strcmp(kinds[i], "good") == 0 || strcmp(kinds[i], "leaving") == 0) {
            assert_verdict(file, VJ_VIDEO_OK);
            assert_int_equal(file->clips, 1);
        } else {
            const bool slow = strcmp(kinds[i], "chatter") == 0;
            if (file->verdict != (slow ? VJ_VIDEO_TIMED_OUT : VJ_VIDEO_CRASHED)) fail_msg("%s was believed", kinds[i]);
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

/* Write a script that is killed `times` times before it runs the worker. */
static void write_killed(const char *path, const char *program, int times)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\necho >>'%s.starts'\n[ $(wc -l <'%s.starts') -gt %d ] || kill -9 $$\nexec '%s'\n", path, path,
            times, program);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0700), 0);
}

static void test_killed_at_start(void **state)
{
    (void)state;
    const vj_decode_settings settings = usual();
    char *named = strdup(getenv("VJEPA_DECODE") ? getenv("VJEPA_DECODE") : "");
    if (!*named) skip();
    for (int times = 2; times <= 3; times++) {
        const char *path = in_folder(times == 2 ? "killed_twice" : "killed_thrice");
        write_killed(path, named, times);
        assert_int_equal(setenv("VJEPA_DECODE", path, 1), 0);
        if (times == 3) {
            vj_decoders *d;
            assert_int_equal(vj_decoders_start(&d, &settings, 1),
                             VJ_ERR_STATE); /* if this happens again and again it is the system's fault */
            continue;
        }
        vj_decoders *d = start(&settings, 1);
        vj_decoded *file = decode(d, 5, in_folder("after.mkv"));
        assert_verdict(file, VJ_VIDEO_OK);
        vj_decoded_free(file);
        vj_decoders_stop(d);
    }
    assert_int_equal(setenv("VJEPA_DECODE", named, 1), 0);
    free(named);
}

/* Check for the verdict on missing memory, or for a crash: the address sanitizer ends a process when it has no memory
 * for its own data. */
static void assert_out_of_memory(const vj_decoded *file)
{
    assert_verdict(file, address_sanitizer() && file->verdict == VJ_VIDEO_CRASHED ? VJ_VIDEO_CRASHED
                                                                                  : VJ_VIDEO_OUT_OF_MEMORY);
}

/* Check clips and pictures that do not fit into memory, and then a file that does. */
static void test_memory(void **state)
{
    (void)state;
    vj_decode_settings settings = usual();
    settings.windows = 4;
    settings.short_side = 400; /* 8 x 400 x 533 x 3 = 5 MB a clip */
    settings.memory_mb = 16;
    vj_decoders *d = start(&settings, 1);
    make("four.mkv", 40);
    const char *names[] = {"four.mkv", "long.mkv"};
    for (int i = 0; i < 2; i++) {
        vj_decoded *file = decode(d, i, in_folder(names[i]));
        assert_out_of_memory(file);
        vj_decoded_free(file);
    }
    vj_decoders_stop(d);
    settings.memory_mb = 512;
    d = start(&settings, 1);
    vj_decoded *file = decode(d, 1, in_folder("four.mkv"));
    assert_verdict(file, VJ_VIDEO_OK);
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

/* Check that all workers end when their parent is killed, including those at work. */
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
    signal_to(parent, SIGKILL);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    for (int i = 0; i < 2; i++) {
        int tries = 0;
        while (!has_ended(workers[i]) && tries++ < 500) pause_ms(10);
        assert_true(has_ended(workers[i]));
    }
}

static int make_files(void **state)
{
    if (set_up_folder(state) != 0) return -1;
    make_long();
    return 0;
}

int main(void)
{
    if (getenv("VJEPA_TEST_ANSWER")) return play_worker(getenv("VJEPA_TEST_ANSWER"));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lost_workers), cmocka_unit_test(test_idle_worker_lost),
        cmocka_unit_test(test_answers),      cmocka_unit_test(test_killed_at_start),
        cmocka_unit_test(test_memory),       cmocka_unit_test(test_parent_dies),
    };
    return cmocka_run_group_tests(tests, make_files, tear_down_folder);
}
