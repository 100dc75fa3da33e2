/*
 * Tests packing on 1 to 4 ranks: the store does not depend on the ranks, every file is in the ledger, files that are
 * held out or listed twice are left out and counted, existing shards are kept, and mistakes are errors.
 */
#include <math.h>
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

/* Make the videos. Video v has height 24, width 32 or 24, and 8 (v + 2) frames; frame k has the grey level 4 v + k. */
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

/* Make a video of moving bars, which depend on the scene: `frames` frames of `width` x `width` pixels, brighter by
 * `lift`. */
static void make_scene(const char *name, int scene, int frames, int width, int lift)
{
    const vj_video_form form = {.encoding = VJ_ENCODING_FFV1, .width = width, .height = width, .fps = frames / 2};
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    uint8_t *pixels = malloc((size_t)(frames * width * width * 3));
    assert_non_null(pixels);
    for (int64_t i = 0; i < (int64_t)frames * width * width; i++) {
        double t = (double)(i / (width * width)) / frames, y = (double)(i / width % width) / width;
        double x = (double)(i % width) / width;
        double level = sin(9 * x * (1 + scene % 3) + 11 * t + scene) * cos(7 * y * (1 + scene / 2) + 5 * t * scene);
        memset(pixels + 3 * i, 100 + lift + (int)(60 * level), 3);
    }
    assert_int_equal(vj_video_write(path, &form, pixels, frames), VJ_OK);
    free(pixels);
}

static void make_datasets(void)
{
    char many[1024] = "path,scene\n";
    for (int i = 0; i < 6; i++) {
        char name[32];
        snprintf(name, sizeof name, "scene%d.mkv", i);
        make_scene(name, i, 50, 64, 0);
    }
    make_scene("copy0.mkv", 0, 50, 48, 20); /* a copy in another size and brightness */
    make_scene("copy2.mkv", 2, 50, 80, -20);
    write_file("one.csv", "path,scene\nscene0.mkv,0\nscene1.mkv,1\nscene2.mkv,2\nscene4.mkv,4\n");
    write_file("two.txt", "copy0.mkv 0\nscene5.mkv 5\nscene4.mkv 4\nlost.mkv 1\n");
    write_file("ids.txt", "other\nelsewhere/scene1.mp4 7\n");
    write_file("held_out.csv", "path\ncopy2.mkv\nnowhere.mkv\n");
    for (int i = 0; i < 80; i++) sprintf(many + strlen(many), "v%d.mkv,%d\n", i % VIDEOS, i);
    write_file("many.csv", many);
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

/* Check that clips have the frames chosen by the rule of docs/method.md, section 10.2, and the labels of the list. */
static void test_content(void **state)
{
    (void)state;
    vj_clips *clips = open_store("world.clips", MPI_COMM_WORLD);
    uint8_t *frames = malloc((size_t)vj_clips_largest_bytes(clips));
    vj_coder *coder;
    int seen[VIDEOS] = {0};
    assert_non_null(frames);
    assert_int_equal(vj_coder_create(&coder), VJ_OK);
    for (int64_t i = 0; i < vj_clips_count(clips); i++) {
        int v = vj_clips_labels(clips, i)[0], height, width;
        assert_true(v >= 0 && v < VIDEOS);
        int window = seen[v]++, half = 4 * (v + 2); /* windows of a video are stored together, in order */
        vj_clips_geometry(clips, i, &height, &width);
        assert_int_equal(height, 24);
        assert_int_equal(width, v % 2 ? 24 : 32);
        assert_int_equal(vj_clips_labels(clips, i)[1], v % 2);
        assert_int_equal(vj_clips_read(clips, i, coder, frames), VJ_OK);
        int last = 4 * v + window * half - 1;
        for (int t = 0; t < FRAMES; t++) {
            int level = frames[t * height * width * 3];
            assert_true(level >= last && level >= 4 * v + window * half && level < 4 * v + (window + 1) * half);
            last = level;
        }
        /* Only in the last two videos a half is longer than the 16 x 2 frames of a window, whose place is then drawn.
         */
        if (half <= 32) assert_int_equal(last, 4 * v + (window + 1) * half - 1);
    }
    for (int v = 0; v < VIDEOS; v++) assert_int_equal(seen[v], 2);
    vj_coder_destroy(coder);
    free(frames);
    vj_clips_close(clips);
}

/* Count the rows of a ledger that contain a text; *rows gets the number of all. Checks that rows are numbered from 0.
 */
static int count_rows(const char *store, const char *text, int *rows)
{
    char path[512], line[2048];
    int found = 0;
    snprintf(path, sizeof path, "%s/%s/ledger.csv", folder, store);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    assert_true(strncmp(line, "source,dataset,path,bytes,xxh3,codec,", 37) == 0);
    for (*rows = 0; fgets(line, sizeof line, f); ++*rows) {
        assert_int_equal(atoi(line), *rows);
        found += strstr(line, text) != NULL;
    }
    fclose(f);
    return found;
}

static void test_ledger(void **state)
{
    (void)state;
    int rows;
    if (rank != 0) return;
    assert_int_equal(count_rows("world.clips", "gone.mkv\",0,,", &rows), 1);
    assert_int_equal(rows, VIDEOS + 2);
    assert_int_equal(count_rows("world.clips", ",missing,\"No such file", &rows), 1);
    assert_int_equal(count_rows("world.clips", "text,\\x0aodd.mkv\",9,", &rows), 1);
    assert_int_equal(count_rows("world.clips", ",unrecognised,", &rows), 1);
    assert_int_equal(count_rows("world.clips", ",short,", &rows), 6); /* halves have 8 to 28 frames, windows span 32 */
    assert_int_equal(count_rows("world.clips", ",ffv1,matroska,", &rows), VIDEOS);
}

static void test_again(void **state)
{
    (void)state;
    vj_config *c = settings("list.csv", "world.clips");
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_OK); /* the store is complete already */
    c->pack.short_side = 16;
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_ERR_USAGE);
    free(c);
}

static int exists(const char *store, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s/%s", folder, store, name);
    return access(path, F_OK) == 0;
}

/* Check that complete shards are kept, whichever rank made them, that the others are made, and that the store is the
 * same.
 */
static void test_goes_on(void **state)
{
    (void)state;
    char name[64], first[512], other[512];
    struct stat before, after;
    vj_config *c = settings("many.csv", "parts.clips");
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_OK);
    vj_clips *clips = open_store("parts.clips", MPI_COMM_WORLD);
    uint64_t fingerprint = vj_clips_fingerprint(clips);
    int shards = (int)vj_clips_shard_count(clips);
    vj_clips_close(clips);
    assert_true(shards >= 5);
    snprintf(first, sizeof first, "%s/parts.clips/shard-00000.h5", folder);
    snprintf(other, sizeof other, "%s/parts.clips/index.h5", folder);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) {
        assert_int_equal(remove(other), 0);
        for (int k = 1; k < shards; k += 2) {
            snprintf(name, sizeof name, "parts.clips/shard-%05d.h5.part", k);
            write_file(name, "half a shard");
            snprintf(other, sizeof other, "%s/parts.clips/shard-%05d.h5", folder, k);
            assert_int_equal(remove(other), 0);
        }
    }
    MPI_Barrier(MPI_COMM_WORLD);
    assert_int_equal(stat(first, &before), 0);
    /* With other settings packing does not continue. */
    c->pack.seed = 9;
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_ERR_USAGE);
    c->pack.seed = 0;
    c->pack.buffer_mb = 1; /* settings of memory and workers do not matter */
    c->pack.workers = 2;
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_OK);
    assert_int_equal(stat(first, &after), 0);
    assert_true(before.st_ino == after.st_ino && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    clips = open_store("parts.clips", MPI_COMM_WORLD);
    assert_true(vj_clips_fingerprint(clips) == fingerprint);
    vj_clips_close(clips);
    if (rank == 0) {
        snprintf(name, sizeof name, "shard-%05d.h5.part", 1);
        assert_false(exists("parts.clips", name) || exists("parts.clips", "catalogue.data"));
    }
    MPI_Barrier(MPI_COMM_WORLD);
    free(c);
}

static void use_dataset(vj_config *c, const char *name, vj_list_format format, const char *list)
{
    vj_dataset_settings *d = &c->pack.dataset[c->pack.dataset_count++];
    snprintf(d->name, sizeof d->name, "%s", name);
    d->format = (int)format;
    snprintf(d->list, sizeof d->list, "%s/%s", folder, list);
    c->pack.lists.count = 0;
}

/* Check two datasets in which one file is held out by its id, one by its perceptual hash, one is listed twice, and one
 * is a copy in another encoding. */
static void test_left_out(void **state)
{
    (void)state;
    int rows;
    vj_config *c = settings("list.csv", "mix.clips");
    use_dataset(c, "one", VJ_LIST_CSV, "one.csv");
    use_dataset(c, "two", VJ_LIST_PLAIN, "two.txt");
    c->pack.held_out_ids.count = c->pack.held_out_videos.count = 1;
    snprintf(c->pack.held_out_ids.item[0], VJ_PATH, "%s/ids.txt", folder);
    snprintf(c->pack.held_out_videos.item[0], VJ_PATH, "%s/held_out.csv", folder);
    c->pack.duplicates = VJ_DUPLICATES_DROP;
    c->pack.codec = VJ_CODEC_JPEG;
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_OK);
    vj_clips *clips = open_store("mix.clips", MPI_COMM_WORLD);
    assert_int_equal(vj_clips_dataset_count(clips), 2);
    assert_string_equal(vj_clips_dataset_name(clips, 1), "two");
    assert_int_equal(vj_clips_label_count(clips), 2);
    assert_string_equal(vj_clips_label_name(clips, 0), "scene");
    assert_string_equal(vj_clips_label_name(clips, 1),
                        "two"); /* in a list without names the label has the dataset's name */
    /* Scenes 0 and 4 of dataset "one" and scene 5 of "two" are kept. */
    int kept[6] = {0};
    for (int64_t i = 0; i < vj_clips_count(clips); i++) {
        int second = vj_clips_dataset(clips, i), label = vj_clips_labels(clips, i)[second];
        assert_int_equal(vj_clips_labels(clips, i)[!second], -1);
        assert_int_equal(second, label == 5);
        kept[label]++;
    }
    assert_true(kept[0] == 2 && kept[4] == 2 && kept[5] == 2);
    assert_int_equal(vj_clips_count(clips), 6);
    vj_clips_close(clips);
    if (rank == 0) {
        assert_int_equal(count_rows("mix.clips", "1,one,", &rows), 1);
        assert_int_equal(rows, 4 + 4 + 2);
        assert_int_equal(count_rows("mix.clips", "scene1.mkv\",0,,,,0,0,0,0,0,0,0,held_out_id,", &rows), 1);
        assert_int_equal(count_rows("mix.clips", ",held_out_content,\"a copy of source 8\",0,0,", &rows), 1);
        assert_int_equal(count_rows("mix.clips", ",duplicate,\"a copy of source 0\",0,0,", &rows), 1);
        assert_int_equal(count_rows("mix.clips", ",duplicate,\"listed before, as source 3\",0,0,", &rows), 1);
        assert_int_equal(count_rows("mix.clips", ",held_out,", &rows), 1);
        assert_int_equal(count_rows("mix.clips", ",missing,", &rows), 2);
    }
    free(c);
}

/* Check the same lists with settings that drop nothing. */
static void test_kept(void **state)
{
    (void)state;
    int rows;
    vj_config *c = settings("list.csv", "kept.clips");
    use_dataset(c, "one", VJ_LIST_CSV, "one.csv");
    use_dataset(c, "two", VJ_LIST_PLAIN, "two.txt");
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_OK);
    if (rank == 0) {
        assert_int_equal(count_rows("kept.clips", ",missing,", &rows), 1);
        assert_int_equal(rows, 8);
        assert_int_equal(count_rows("kept.clips", ",2,0.", &rows), 7);
    }
    free(c);
}

static void test_mistakes(void **state)
{
    (void)state;
    vj_config *c = settings("nowhere.csv", "never.clips");
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_ERR_IO);
    snprintf(c->pack.lists.item[0], VJ_PATH, "%s/fifo.csv", folder);
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_ERR_IO); /* it does not wait for a writer of the FIFO */
    c->pack.lists.count = 0;
    assert_int_equal(vj_pack(c, MPI_COMM_WORLD, 0), VJ_ERR_USAGE);
    free(c);
    c = settings("bad.csv", "never.clips"); /* no file gives a clip */
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
        make_datasets();
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
        cmocka_unit_test(test_goes_on),
        cmocka_unit_test(test_left_out),
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_mistakes),
    };
    int failed = cmocka_run_group_tests(tests, make_all, remove_all);
    MPI_Finalize();
    return failed;
}
