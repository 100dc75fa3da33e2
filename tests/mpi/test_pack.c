/* Packing on 1 to 4 ranks: the store does not depend on the ranks, every file ends in the ledger, mistakes are errors.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clips/clips.h"
#include "pack/pack.h"
#include "video/encode.h"

enum { VIDEOS = 9, FRAMES = 16 };

static char folder[256];
static int rank;

static void write_file(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* Video v is 24 high, of width 32 or 24, and 8 (v + 2) frames long; frame k has level 4 v + k. */
static void make_videos(void)
{
    for (int v = 0; v < VIDEOS; v++) {
        char path[512];
        int width = v % 2 ? 24 : 32, count = 8 * (v + 2);
        snprintf(path, sizeof path, "%s/v%d.mkv", folder, v);
        uint8_t *frames = malloc((size_t)(count * 24 * width * 3));
        assert_non_null(frames);
        for (int k = 0; k < count; k++) memset(frames + k * 24 * width * 3, 4 * v + k, (size_t)(24 * width * 3));
        const vj_video_form form = {.encoding = VJ_ENCODING_FFV1, .width = width, .height = 24, .fps = 25};
        assert_int_equal(vj_video_write(path, &form, frames, count), VJ_OK);
        free(frames);
    }
}

static void make_list(void)
{
    char list[1024] = "path,video,parity\n";
    for (int v = 0; v < VIDEOS; v++) sprintf(list + strlen(list), "v%d.mkv,%d,%d\n", v, v, v % 2);
    strcat(list, "gone.mkv,1,1\n\"text,\nodd.mkv\",-1,0\n");
    write_file("list.csv", list);
    write_file("text,\nodd.mkv", "no video\n");
    write_file("bad.csv", "path,label\ngone.mkv,0\n");
    char fifo[512];
    snprintf(fifo, sizeof fifo, "%s/fifo.csv", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
}

static vj_config *settings(const char *list, const char *store)
{
    vj_config *c = malloc(sizeof *c);
    assert_non_null(c);
    vj_config_defaults(c);
    c->pack.lists.count = 1;
    snprintf(c->pack.lists.item[0], VJ_PATH, "%s/%s", folder, list);
    snprintf(c->pack.store, VJ_PATH, "%s/%s", folder, store);
    c->pack.short_side = 24;
    c->pack.frames = FRAMES;
    c->pack.step = 2;
    c->pack.windows = 2;
    c->pack.random_windows = 1;
    return c;
}

static vj_clips *open_store(const char *store, MPI_Comm comm)
{
    vj_strings paths = {.count = 1};
    vj_clips *clips;
    snprintf(paths.item[0], VJ_PATH, "%s/%s", folder, store);
    assert_int_equal(vj_clips_open(&clips, &paths, comm), VJ_OK);
    return clips;
}

static void test_same_on_any_ranks(void **state)
{
    (void)state;
    vj_config *c = settings("list.csv", "world.clips");
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_OK);
    free(c);
    vj_clips *world = open_store("world.clips", MPI_COMM_WORLD);
    assert_int_equal(vj_clips_count(world), 2 * VIDEOS);
    assert_int_equal(vj_clips_frames(world), FRAMES);
    assert_string_equal(vj_clips_label_name(world, 1), "parity");
    if (rank == 0) {
        c = settings("list.csv", "alone.clips");
        assert_int_equal(vj_pack(c, MPI_COMM_SELF, 0), VJ_OK);
        free(c);
        vj_clips *alone = open_store("alone.clips", MPI_COMM_SELF);
        assert_true(vj_clips_fingerprint(alone) == vj_clips_fingerprint(world));
        vj_clips_close(alone);
    }
    vj_clips_close(world);
}

/* The clips hold the frames that the rule of spec 10.2 chooses, with the labels of the list. */
static void test_content(void **state)
{
    (void)state;
    vj_clips *clips = open_store("world.clips", MPI_COMM_WORLD);
    uint8_t *frames = malloc((size_t)vj_clips_largest_bytes(clips));
    vj_coder *coder;
    assert_non_null(frames);
    assert_int_equal(vj_coder_create(&coder), VJ_OK);
    for (int64_t i = 0; i < vj_clips_count(clips); i++) {
        int v = (int)i / 2, window = (int)i % 2, half = 4 * (v + 2), height, width;
        vj_clips_geometry(clips, i, &height, &width);
        assert_int_equal(height, 24);
        assert_int_equal(width, v % 2 ? 24 : 32);
        assert_int_equal(vj_clips_labels(clips, i)[0], v);
        assert_int_equal(vj_clips_labels(clips, i)[1], v % 2);
        assert_int_equal(vj_clips_read(clips, i, coder, frames), VJ_OK);
        int last = 4 * v + window * half - 1;
        for (int t = 0; t < FRAMES; t++) {
            int level = frames[t * height * width * 3];
            assert_true(level >= last && level >= 4 * v + window * half && level < 4 * v + (window + 1) * half);
            last = level;
        }
        /* No half is longer than 16 x 2 frames but the last two videos': those end where the window was drawn. */
        if (half <= 32) assert_int_equal(last, 4 * v + (window + 1) * half - 1);
    }
    vj_coder_destroy(coder);
    free(frames);
    vj_clips_close(clips);
}

static void test_ledger(void **state)
{
    (void)state;
    if (rank != 0) return;
    char path[512], line[1024];
    snprintf(path, sizeof path, "%s/world.clips/ledger.csv", folder);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    int rows = 0, shorts = 0, missing = 0, unrecognised = 0;
    assert_non_null(fgets(line, sizeof line, f));
    assert_true(strncmp(line, "source,path,verdict,reason,codec,", 33) == 0);
    while (fgets(line, sizeof line, f)) {
        assert_int_equal(atoi(line), rows++);
        shorts += strstr(line, "\",short,\"") != NULL;
        missing += strstr(line, "gone.mkv\",missing,\"") != NULL;
        unrecognised += strstr(line, "text,\\x0aodd.mkv\",unrecognised,\"") != NULL;
    }
    fclose(f);
    assert_int_equal(rows, VIDEOS + 2);
    assert_int_equal(missing, 1);
    assert_int_equal(unrecognised, 1);
    assert_int_equal(shorts, 6); /* halves of 8, 12 ... 28 frames; windows span 32 */
}

static void test_again(void **state)
{
    (void)state;
    vj_config *c = settings("list.csv", "world.clips");
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_OK); /* done already */
    c->pack.short_side = 16;
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_ERR_USAGE);
    free(c);
}

static void test_mistakes(void **state)
{
    (void)state;
    vj_config *c = settings("nowhere.csv", "never.clips");
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_ERR_IO);
    snprintf(c->pack.lists.item[0], VJ_PATH, "%s/fifo.csv", folder);
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_ERR_IO); /* and does not wait for its writer */
    c->pack.lists.count = 0;
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_ERR_USAGE);
    free(c);
    c = settings("bad.csv", "never.clips"); /* no clip from any file */
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_ERR_FORMAT);
    free(c);
    char path[512];
    snprintf(path, sizeof path, "%s/never.clips/index.h5", folder);
    assert_int_not_equal(access(path, F_OK), 0);
}

static int make_all(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    snprintf(folder, sizeof folder, "%s/vjepa-pack-XXXXXX", base ? base : "/tmp");
    if (rank == 0) {
        if (!mkdtemp(folder)) return -1;
        make_videos();
        make_list();
    }
    MPI_Bcast(folder, sizeof folder, MPI_CHAR, 0, MPI_COMM_WORLD);
    return 0;
}

static int remove_all(void **state)
{
    (void)state;
    char command[512];
    MPI_Barrier(MPI_COMM_WORLD);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return rank == 0 ? system(command) : 0;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_on_any_ranks),
        cmocka_unit_test(test_content),
        cmocka_unit_test(test_ledger),
        cmocka_unit_test(test_again),
        cmocka_unit_test(test_mistakes),
    };
    int failed = cmocka_run_group_tests(tests, make_all, remove_all);
    MPI_Finalize();
    return failed;
}
