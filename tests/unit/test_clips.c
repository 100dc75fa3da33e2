/* Tests the clip store: reading gives what was written, also by a resumed writer; several stores opened as one. */
#include "../clips_fixture.h"
#include "clips/classes.h"

#include <fcntl.h>
#include <glob.h>
#include <hdf5.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* ------------------------------------------------------------------------------------------------ round trip */

/* Return the number of unfinished files in a folder. */
static int parts_in(const char *folder)
{
    char pattern[VJ_PATH + 16];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/*.part", folder);
    const int count = glob(pattern, 0, NULL, &found) == 0 ? (int)found.gl_pathc : 0;
    globfree(&found);
    return count;
}

static void test_round_trip(void **state)
{
    const fixture *f = *state;
    vj_clips *clips;
    assert_int_equal(open_store(&clips, f->store), VJ_OK);
    assert_int_equal(vj_clips_count(clips), CLIPS);
    assert_int_equal(vj_clips_frames(clips), STORE_FRAMES);
    assert_int_equal(vj_clips_largest_bytes(clips), STORE_LARGEST);
    assert_int_equal(vj_clips_label_count(clips), STORE_LABELS);
    assert_string_equal(vj_clips_label_name(clips, 0), "appearance");
    assert_string_equal(vj_clips_label_name(clips, 1), "motion");
    assert_int_equal(vj_clips_dataset_count(clips), 2);
    assert_string_equal(vj_clips_dataset_name(clips, 1), "odd");
    assert_int_equal(vj_clips_shard_count(clips), 5);
    assert_int_equal(vj_clips_shard(clips, 6), 1);
    for (int64_t i = 0; i < CLIPS; i++) check_clip(clips, i, i);
    vj_clips_close(clips);
    assert_true(exists(f->store, "shard-00000.h5") && exists(f->store, "shard-00004.h5"));
    assert_false(exists(f->store, "shard-00005.h5")); /* each has six clips */
    assert_false(parts_in(f->store) > 0);
}

static void test_several_stores(void **state)
{
    const fixture *f = *state;
    char second[VJ_PATH];
    join(second, f->folder, "b.clips");
    assert_int_equal(pack_store(second, 5, MPI_COMM_SELF), VJ_OK);
    vj_clips *one, *both, *other;
    vj_strings paths = one_path(f->store);
    paths.count = 2;
    join(paths.item[1], f->folder, "b.clips");
    assert_int_equal(open_store(&one, f->store), VJ_OK);
    assert_int_equal(vj_clips_open(&both, &paths, MPI_COMM_SELF), VJ_OK);
    paths = one_path(second);
    assert_int_equal(vj_clips_open(&other, &paths, MPI_COMM_SELF), VJ_OK);
    assert_int_equal(vj_clips_count(both), CLIPS + 5);
    check_clip(both, CLIPS - 1, CLIPS - 1);
    for (int64_t i = 0; i < 5; i++) check_clip(both, CLIPS + i, i);
    assert_true(vj_clips_fingerprint(one) != vj_clips_fingerprint(both));
    assert_true(vj_clips_fingerprint(one) != vj_clips_fingerprint(other));
    vj_clips_close(other);
    vj_clips_close(both);
    vj_clips_close(one);
}

static void test_stores_must_be_alike(void **state)
{
    const fixture *f = *state;
    char second[VJ_PATH];
    join(second, f->folder, "b.clips");
    vj_clips_header layout = store_layout(raw);
    vj_clips_index_writer *writer;
    layout.frames = 2 * STORE_FRAMES;
    assert_int_equal(vj_clips_make_folder(second), VJ_OK);
    assert_int_equal(vj_clips_index_create(&writer, second, &layout, 0), VJ_OK);
    assert_int_equal(vj_clips_index_publish(&writer), VJ_OK); /* an empty store is a store */
    vj_clips *clips;
    assert_int_equal(open_store(&clips, second), VJ_OK);
    assert_int_equal(vj_clips_count(clips), 0);
    vj_clips_close(clips);
    vj_strings paths = one_path(f->store);
    paths.count = 2;
    join(paths.item[1], f->folder, "b.clips");
    assert_int_equal(vj_clips_open(&clips, &paths, MPI_COMM_SELF), VJ_ERR_FORMAT);
}

/* Make a store of the clips of shard 0 whose second label ("motion", with values -1, 0 and 1 in turn) has these class
 * names. */
static void make_named(const fixture *f, const char *name, const char *const *names, int64_t count)
{
    char store[VJ_PATH];
    join(store, f->folder, name);
    vj_clips_header layout = store_layout(raw);
    vj_clips_index_writer *writer;
    assert_int_equal(vj_clips_make_folder(store), VJ_OK);
    assert_int_equal(make_shard(store, 0, STORE_SHARD_CLIPS, raw), VJ_OK);
    assert_int_equal(vj_clips_index_create(&writer, store, &layout, 1), VJ_OK);
    assert_int_equal(append_shards(writer, store, &layout, 1), VJ_OK);
    if (count > 0) assert_int_equal(vj_clips_index_classes(writer, 1, names, count), VJ_OK);
    assert_int_equal(vj_clips_index_publish(&writer), VJ_OK);
}

/* Check that classes are identified by name: labels of a second store with other numbers get the first store's numbers.
 */
static void test_class_names(void **state)
{
    const fixture *f = *state;
    static const char *const first[] = {"ant", "a bee"}, *const second[] = {"cow", "ant", "never used"};
    make_named(f, "one.clips", first, 2);
    make_named(f, "two.clips", second, 3);
    make_named(f, "bare.clips", NULL, 0);
    make_named(f, "few.clips", first, 1); /* this names one class, but the clips have two */
    vj_strings paths = {.count = 3};
    join(paths.item[0], f->folder, "one.clips");
    join(paths.item[1], f->folder, "two.clips");
    join(paths.item[2], f->folder, "bare.clips");
    vj_clips *clips;
    assert_int_equal(vj_clips_open(&clips, &paths, MPI_COMM_SELF), VJ_OK);
    assert_int_equal(vj_clips_class_count(clips, 0), 0);
    assert_string_equal(vj_clips_class_name(clips, 0, 0), "");
    assert_int_equal(vj_clips_class_count(clips, 1), 4);
    static const char *const all[] = {"ant", "a bee", "cow", "never used", ""};
    for (int i = -1; i < 5; i++) assert_string_equal(vj_clips_class_name(clips, 1, i), i < 0 ? "" : all[i]);
    for (int64_t i = 0; i < STORE_SHARD_CLIPS; i++) {
        const int32_t own = vj_clips_labels(clips, i)[1];
        assert_int_equal(vj_clips_labels(clips, STORE_SHARD_CLIPS + i)[1], own == 0 ? 2 : own == 1 ? 0 : -1);
        assert_int_equal(vj_clips_labels(clips, 2 * STORE_SHARD_CLIPS + i)[1], own);
        for (int64_t store = 0; store < 3; store++) /* media files of different stores have different numbers */
            assert_int_equal(vj_clips_source(clips, store * STORE_SHARD_CLIPS + i),
                             store * STORE_SHARD_SOURCES + i / STORE_WINDOWS);
    }
    vj_clips_close(clips);
    paths.count = 1;
    join(paths.item[0], f->folder, "few.clips");
    assert_int_equal(vj_clips_open(&clips, &paths, MPI_COMM_SELF), VJ_ERR_FORMAT);
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    join(paths.item[0], f->folder, "two.clips");
    assert_int_equal(vj_clips_print(paths.item[0], out), VJ_OK);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(text, "label motion, names of its 3 classes: 0 cow, 1 ant, 2 never used\n"));
    free(text);
}

/* Check whether two lists of names are refused, and what the message says. */
static void expect_classes(vj_clips_classes a, vj_clips_classes b, vj_status wanted, bool wanted_compared,
                           const char *said)
{
    char text[4096] = "";
    bool compared;
    FILE *caught = tmpfile();
    fflush(stderr);
    const int kept = dup(STDERR_FILENO);
    dup2(fileno(caught), STDERR_FILENO);
    const vj_status status = vj_clips_check_classes("action", &a, "a.h5", &b, "b.h5", &compared);
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    rewind(caught);
    text[fread(text, 1, sizeof text - 1, caught)] = '\0';
    fclose(caught);
    assert_int_equal(status, wanted);
    assert_int_equal(compared, wanted_compared);
    assert_int_equal(*text != '\0', wanted != VJ_OK);
    if (said && !strstr(text, said)) fail_msg("the message has no \"%s\": %s", said, text);
}

/* Check that the same names in another order are refused, and that a class which one side does not have is no reason to
 * refuse. */
static void test_class_order(void **state)
{
    (void)state;
    vj_clips_classes none = {0}, abc = {3, 4, (char *)"ant\0bee\0cow"},
                     wide = {3, 8, (char *)"ant\0\0\0\0\0bee\0\0\0\0\0cow\0\0\0\0"},
                     more = {4, 4, (char *)"ant\0bee\0cow\0dog"}, gap = {3, 4, (char *)"ant\0\0\0\0\0cow"},
                     tail = {4, 4, (char *)"ant\0bee\0cow\0\0\0\0"}, acb = {3, 4, (char *)"ant\0cow\0bee"},
                     moved = {4, 4, (char *)"ant\0\0\0\0\0\0\0\0\0bee"};
    expect_classes(abc, abc, VJ_OK, true, NULL);
    expect_classes(abc, wide, VJ_OK, true, NULL);
    expect_classes(more, abc, VJ_OK, true, NULL);
    expect_classes(gap, more, VJ_OK, true, NULL);
    expect_classes(none, abc, VJ_OK, false, NULL);
    expect_classes(abc, none, VJ_OK, false, NULL);
    expect_classes(abc, acb, VJ_ERR_USAGE, true, "label action: class 1 is 'bee' in a.h5 and 'cow' in b.h5");
    expect_classes(gap, moved, VJ_OK, true, NULL);
    expect_classes(abc, moved, VJ_ERR_USAGE, true, "label action: 'bee' is class 1 in a.h5 and class 3 in b.h5");
    assert_true(vj_clips_classes_digest(&abc) != 0);
    assert_int_equal(vj_clips_classes_digest(&none), 0);
    assert_true(vj_clips_classes_digest(&abc) == vj_clips_classes_digest(&wide));
    assert_true(vj_clips_classes_digest(&abc) == vj_clips_classes_digest(&tail));
    assert_true(vj_clips_classes_digest(&abc) != vj_clips_classes_digest(&acb));
    assert_true(vj_clips_classes_digest(&abc) != vj_clips_classes_digest(&gap));
    assert_true(vj_clips_classes_digest(&abc) != vj_clips_classes_digest(&more));
}

/* Check that naming a store twice, also by another path, is refused: its clips would be used twice as often. */
static void test_store_named_twice(void **state)
{
    const fixture *f = *state;
    vj_clips *clips;
    vj_strings paths = one_path(f->store);
    paths.count = 2;
    join(paths.item[1], f->store, ".");
    assert_int_equal(vj_clips_open(&clips, &paths, MPI_COMM_SELF), VJ_ERR_USAGE);
}

/* Check that after a failure to open a store no other descriptor is closed. */
static void test_failed_open_closes_nothing(void **state)
{
    const fixture *f = *state;
    vj_clips *clips;
    vj_strings paths = one_path(f->store);
    paths.count = 2;
    join(paths.item[1], f->folder, "gone.clips");
    mallopt(M_PERTURB, 0xff); /* new memory is filled with 0, which as a descriptor is standard input */
    int zero = open("/dev/null", O_RDONLY);
    assert_true(zero >= 0 && dup2(zero, 0) == 0);
    assert_int_equal(vj_clips_open(&clips, &paths, MPI_COMM_SELF), VJ_ERR_IO);
    mallopt(M_PERTURB, 0);
    assert_true(fcntl(0, F_GETFD) >= 0);
    if (zero > 0) close(zero);
}

/* ------------------------------------------------------------------------------------------------ writing */

/* Make a clip of height 1 and width 1 + i % 100 whose bytes are all i. */
static vj_clip narrow_clip(int64_t i, const int32_t *labels, uint8_t frames[STORE_FRAMES * 100 * 3])
{
    const int width = 1 + (int)(i % 100);
    memset(frames, (int)i, (size_t)STORE_FRAMES * 100 * 3);
    return (vj_clip){.source = i,
                     .height = 1,
                     .width = width,
                     .labels = labels,
                     .record = frames,
                     .bytes = vj_frames_bytes(STORE_FRAMES, 1, width)};
}

/* Check clips of more frame sizes than the writer keeps HDF5 datasets open: these are opened again. */
static void test_many_geometries(void **state)
{
    const fixture *f = *state;
    static uint8_t frames[STORE_FRAMES * 100 * 3], got[STORE_FRAMES * 100 * 3];
    const int32_t labels[STORE_LABELS] = {0};
    char store[VJ_PATH];
    join(store, f->folder, "many.clips");
    vj_clips_header layout = store_layout(raw);
    vj_shard *shard;
    assert_int_equal(vj_clips_make_folder(store), VJ_OK);
    assert_int_equal(vj_shard_create(&shard, store, 0, &layout), VJ_OK);
    for (int64_t i = 0; i < 310; i++) {
        vj_clip clip = narrow_clip(i, labels, frames);
        const vj_clips_file file = {.source = i, .clips = 1, .row = ""};
        assert_int_equal(vj_shard_add_clip(shard, &clip), VJ_OK);
        assert_int_equal(vj_shard_add_file(shard, &file), VJ_OK);
    }
    assert_int_equal(vj_shard_publish(&shard), VJ_OK);
    assert_null(shard);
    assert_int_equal(make_index(store, 1, raw), VJ_OK);
    vj_clips *clips;
    assert_int_equal(open_store(&clips, store), VJ_OK);
    assert_int_equal(vj_clips_count(clips), 310);
    for (int64_t i = 0; i < 310; i++) {
        vj_clip clip = narrow_clip(i, labels, frames);
        assert_int_equal(read_clip(clips, i, got), VJ_OK);
        assert_memory_equal(got, frames, (size_t)STORE_FRAMES * (size_t)clip.width * 3);
    }
    vj_clips_close(clips);
}

/* Check that a clip which no reader would accept, or which is too large for an HDF5 chunk, is refused before its frames
 * are read. */
static void test_too_large(void **state)
{
    const fixture *f = *state;
    const int32_t labels[STORE_LABELS] = {0};
    vj_clips_header layout = store_layout(raw);
    layout.frames = 30000;
    vj_shard *shard;
    vj_clip clip = {.height = 1, .width = 65537, .labels = labels, .bytes = 1};
    assert_int_equal(vj_shard_create(&shard, f->folder, 7, &layout), VJ_OK);
    assert_int_equal(vj_shard_add_clip(shard, &clip), VJ_ERR_FORMAT);
    clip.width = 65536; /* x 30000 x 3 bytes: beyond 2^32 */
    assert_int_equal(vj_shard_add_clip(shard, &clip), VJ_ERR_FORMAT);
    clip.width = 10;
    clip.bytes = 30000 * 10 * 3 - 1;
    assert_int_equal(vj_shard_add_clip(shard, &clip), VJ_ERR_FORMAT);
    clip.window = -1, clip.bytes++;
    assert_int_equal(vj_shard_add_clip(shard, &clip), VJ_ERR_FORMAT);
    vj_shard_abandon(shard);
    assert_false(parts_in(f->folder) > 0 || vj_shard_is_complete(f->folder, 7));
}

static void test_existing_store_is_refused(void **state)
{
    const fixture *f = *state;
    assert_int_equal(vj_clips_make_folder(f->store), VJ_ERR_USAGE);
    vj_clips *clips;
    assert_int_equal(open_store(&clips, f->store), VJ_OK); /* and it is unchanged */
    check_clip(clips, 3, 3);
    vj_clips_close(clips);
}

/* Check that after a writer died its shard is made again, and that without an index there is no store. */
static void test_resumed(void **state)
{
    const fixture *f = *state;
    char index[VJ_PATH], shard[VJ_PATH];
    vj_clips *clips;
    join(index, f->store, "index.h5");
    join(shard, f->store, "shard-00002.h5");
    assert_int_equal(unlink(index), 0);
    assert_int_equal(unlink(shard), 0);
    write_text(f->store, "shard-00002.h5.part");
    write_text(f->store, "index.h5.part");
    assert_int_equal(open_store(&clips, f->store), VJ_ERR_FORMAT);
    assert_int_equal(vj_clips_make_folder(f->store), VJ_OK); /* an existing folder is left as it is */
    for (int64_t k = 0; k < 5; k++) {
        assert_int_equal(vj_shard_is_complete(f->store, k), k != 2);
        if (k == 2) assert_int_equal(make_shard(f->store, k, CLIPS, raw), VJ_OK);
    }
    assert_int_equal(make_index(f->store, 5, raw), VJ_OK);
    assert_int_equal(parts_in(f->store), 2); /* they are left: only the holder of the folder's lease removes them */
    assert_int_equal(open_store(&clips, f->store), VJ_OK);
    for (int64_t i = 0; i < CLIPS; i++) check_clip(clips, i, i);
    vj_clips_close(clips);
}

/* Check that shards of another layout are refused when the index is made. */
static void test_other_layout(void **state)
{
    const fixture *f = *state;
    vj_clips_header layout = store_layout(raw);
    vj_shard_tables tables;
    assert_int_equal(vj_shard_tables_read(&tables, f->store, 1, &layout), VJ_OK);
    assert_int_equal(tables.clips, STORE_SHARD_CLIPS);
    assert_int_equal(tables.files, STORE_SHARD_SOURCES + 1);
    assert_string_equal(tables.file[1].row, "4,videos/4.mp4,ok");
    assert_string_equal(tables.file[3].row, "no clip");
    assert_int_equal(tables.file[3].verdict, STORE_REFUSED);
    assert_true(tables.file[1].look[1] == 7 && tables.file[1].look_valid == 3);
    assert_true(isinf(tables.entry[2].psnr) && tables.entry[2].pts_s == 0.25 * 8);
    vj_shard_tables_release(&tables);
    strcpy(layout.dataset_names[1], "other");
    assert_int_equal(vj_shard_tables_read(&tables, f->store, 1, &layout), VJ_ERR_FORMAT);
    vj_shard_tables_release(&tables);
    layout = store_layout((vj_codec_settings){VJ_CODEC_JPEG, 90, 420});
    assert_int_equal(vj_shard_tables_read(&tables, f->store, 1, &layout), VJ_ERR_FORMAT);
    vj_shard_tables_release(&tables);
}

/* Check a shard in which all files were refused, and an index that lists only some of the clips. */
static void test_dropped_clips(void **state)
{
    const fixture *f = *state;
    char store[VJ_PATH];
    uint8_t keep[STORE_SHARD_CLIPS] = {1, 0, 0, 1, 1, 0};
    static const int64_t kept[] = {0, 3, 4};
    vj_clips_header layout = store_layout(raw);
    vj_clips_index_writer *writer;
    join(store, f->folder, "part.clips");
    assert_int_equal(vj_clips_make_folder(store), VJ_OK);
    assert_int_equal(make_shard(store, 0, STORE_SHARD_CLIPS, raw), VJ_OK);
    assert_int_equal(make_shard(store, 1, STORE_SHARD_CLIPS, raw), VJ_OK);
    assert_int_equal(vj_clips_index_create(&writer, store, &layout, 2), VJ_OK);
    for (int64_t k = 0; k < 2; k++) {
        vj_shard_tables tables;
        assert_int_equal(vj_shard_tables_read(&tables, store, k, &layout), VJ_OK);
        assert_int_equal(tables.clips, k == 0 ? STORE_SHARD_CLIPS : 0);
        assert_int_equal(tables.files, k == 0 ? STORE_SHARD_SOURCES + 1 : 1);
        assert_int_equal(vj_clips_index_append(writer, k, &tables, k == 0 ? keep : NULL), VJ_OK);
        vj_shard_tables_release(&tables);
    }
    assert_int_equal(vj_clips_index_publish(&writer), VJ_OK);
    vj_clips *clips;
    assert_int_equal(open_store(&clips, store), VJ_OK);
    assert_int_equal(vj_clips_count(clips), 3);
    for (int64_t i = 0; i < 3; i++) check_clip(clips, i, kept[i]);
    vj_clips_close(clips);
}

/*
 * Check that a full disk at any point of writing a shard or an index is reported, leaves no file, and that HDF5 can be
 * used afterwards. A limit on the size of files stands for the full disk.
 */
static void test_full_disk(void **state)
{
    const fixture *f = *state;
    char store[VJ_PATH], path[VJ_PATH];
    struct rlimit before, small;
    struct stat whole;
    join(store, f->folder, "full.clips");
    assert_int_equal(vj_clips_make_folder(store), VJ_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN); /* then write() fails, and no signal ends the program */
    for (int index = 0; index < 2; index++) {
        join(path, f->store, index ? "index.h5" : "shard-00000.h5");
        assert_int_equal(stat(path, &whole), 0);
        join(path, store, index ? "index.h5" : "shard-00000.h5");
        for (int64_t sixteenths = 0; sixteenths <= 16; sixteenths++) {
            small = before;
            small.rlim_cur = (rlim_t)(whole.st_size * sixteenths / 16);
            assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
            const vj_status status = index ? make_index(store, 1, raw) : make_shard(store, 0, CLIPS, raw);
            assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
            assert_int_equal(status, sixteenths == 16 ? VJ_OK : VJ_ERR_IO);
            assert_int_equal(access(path, F_OK) == 0, sixteenths == 16);
            assert_false(parts_in(store) > 0);
        }
    }
    signal(SIGXFSZ, handler);
    vj_clips *clips;
    assert_int_equal(open_store(&clips, store), VJ_OK); /* the store that was made at last is good */
    for (int64_t i = 0; i < STORE_SHARD_CLIPS; i++) check_clip(clips, i, i);
    vj_clips_close(clips);
}

/* ------------------------------------------------------------------------------------------------ size */

/* Check an index of a million clips, without shards: the writer's memory does not grow, and the store opens. */
static void test_a_million_clips(void **state)
{
    const fixture *f = *state;
    enum { SHARDS = 256, EACH = 4000 };
    char store[VJ_PATH], path[VJ_PATH + 32];
    vj_clips_header layout = store_layout(raw);
    vj_clips_index_writer *writer;
    vj_shard_tables tables = {.clips = EACH, .bytes = 1 << 20};
    tables.entry = vj_calloc(EACH, sizeof *tables.entry);
    assert_non_null(tables.entry);
    join(store, f->folder, "million.clips");
    assert_int_equal(vj_clips_make_folder(store), VJ_OK);
    assert_int_equal(vj_clips_index_create(&writer, store, &layout, SHARDS), VJ_OK);
    int64_t early = 0;
    for (int64_t k = 0; k < SHARDS; k++) {
        for (int i = 0; i < EACH; i++)
            tables.entry[i] = (vj_clips_entry){.source = k * EACH + i,
                                               .offset = i,
                                               .bytes = STORE_LARGEST,
                                               .height = 24,
                                               .width = 32,
                                               .xxh3 = (uint64_t)(k * EACH + i)};
        assert_int_equal(vj_clips_index_append(writer, k, &tables, NULL), VJ_OK);
        snprintf(path, sizeof path, "%s/shard-%05lld.h5", store, (long long)k);
        FILE *shard = fopen(path, "w");
        assert_true(shard && ftruncate(fileno(shard), tables.bytes) == 0 && fclose(shard) == 0);
        if (k == 15) early = vj_resident_bytes();
    }
    const int64_t late = vj_resident_bytes();
    print_message("index writer: %.1f MB after 60,000 clips, %.1f MB after a million\n", 1e-6 * (double)early,
                  1e-6 * (double)late);
    assert_true(late - early < 8 << 20); /* a million rows would be 100 MB */
    assert_int_equal(vj_clips_index_publish(&writer), VJ_OK);
    free(tables.entry);
    vj_clips *clips;
    const double begin = vj_now();
    assert_int_equal(open_store(&clips, store), VJ_OK);
    print_message("opening: %.2f s\n", vj_now() - begin);
    assert_int_equal(vj_clips_count(clips), SHARDS * EACH);
    assert_int_equal(vj_clips_shard(clips, 777777), 777777 / EACH);
    vj_clips_close(clips);
}

/* ------------------------------------------------------------------------------------------------ print */

static void test_print(void **state)
{
    const fixture *f = *state;
    char *text = NULL, want[64];
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    assert_int_equal(vj_clips_print(f->store, out), VJ_OK);
    assert_int_equal(fclose(out), 0);
    vj_clips *clips;
    assert_int_equal(open_store(&clips, f->store), VJ_OK);
    snprintf(want, sizeof want, "fingerprint: %016llx", (unsigned long long)vj_clips_fingerprint(clips));
    vj_clips_close(clips);
    assert_non_null(strstr(text, want));
    assert_non_null(strstr(text, "clips: 26 of 4 frames, 5 shards"));
    assert_non_null(strstr(text, "24 x 32 pixels: 10 clips"));
    assert_non_null(strstr(text, "32 x 24 pixels: 16 clips"));
    assert_non_null(strstr(text, "data set even: 14 clips"));
    assert_non_null(strstr(text, "data set odd: 12 clips"));
    assert_non_null(strstr(text, "codec: raw\n"));
    assert_non_null(strstr(text, "label appearance (value:clips): 0:6 1:6 2:6 3:4 4:4\n"));
    assert_non_null(strstr(text, "label motion (value:clips): -1:4 0:11 1:11\n"));
    assert_non_null(strstr(text, "0000000000001234")); /* digest of the manifests */
    assert_non_null(strstr(text, "  even             packed                  7 files         14 clips\n"));
    assert_non_null(strstr(text, "  even             refused                 5 files          0 clips\n"));
    assert_non_null(strstr(text, "a store for tests\n"));
    assert_non_null(strstr(text, "pack: {frames: 4}"));
    free(text);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_store, remove_store)
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip),
        TEST(test_several_stores),
        TEST(test_stores_must_be_alike),
        TEST(test_class_names),
        TEST(test_class_order),
        TEST(test_store_named_twice),
        TEST(test_failed_open_closes_nothing),
        TEST(test_many_geometries),
        TEST(test_too_large),
        TEST(test_existing_store_is_refused),
        TEST(test_resumed),
        TEST(test_other_layout),
        TEST(test_dropped_clips),
        TEST(test_full_disk),
        TEST(test_a_million_clips),
        TEST(test_print),
    };
    int failed = cmocka_run_group_tests_name("clips", tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
