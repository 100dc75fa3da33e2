/*
 * Tests the catalogue: sources as the manifests name them, files excluded before they are opened, and digests, which
 * change with what matters and with nothing else; and the layout of shards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "folder.h"
#include "pack/catalogue.h"
#include "pack/held_out.h"
#include "pack/sharding.h"

static vj_config config;
static vj_catalogue_summary summary;
static vj_class_names classes;

static void in_folder(char path[VJ_PATH], const char *name)
{
    snprintf(path, VJ_PATH, "%s/%s", folder, name);
}

static void write_file(const char *name, const char *text)
{
    char path[VJ_PATH];
    in_folder(path, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void use_list(vj_strings *lists, const char *name)
{
    in_folder(lists->item[lists->count++], name);
}

static void use_dataset(const char *name, const char *list)
{
    vj_dataset_settings *d = &config.pack.dataset[config.pack.dataset_count++];
    memset(d, 0, sizeof *d);
    strcpy(d->name, name);
    in_folder(d->list, list);
}

static vj_status build(int write)
{
    vj_class_names_release(&classes);
    vj_class_names_init(&classes, folder);
    return vj_catalogue_build(&summary, &classes, &config, write ? folder : NULL, folder);
}

static void test_sources(void **state)
{
    (void)state;
    vj_catalogue catalogue;
    static vj_pack_source source;
    vj_config_defaults(&config);
    write_file("a.csv", "path,colour,start,end\nx.mp4,3,1,2\nx.mp4,3,2,3\nx.mp4,4,1,2\ny.mp4,-1,,\n");
    write_file("b.txt", "x.mp4 7\nz.mp4 8\n");
    write_file("h.txt", "v.mp4 0\n");
    write_file("ids", "y\n");
    use_dataset("one", "a.csv");
    use_dataset("two", "b.txt");
    config.pack.dataset[1].windows = 5;
    config.pack.windows = 2;
    use_list(&config.pack.held_out_ids, "ids");
    use_list(&config.pack.held_out_videos, "h.txt");
    assert_int_equal(build(1), VJ_OK);
    assert_int_equal(summary.sources, 7);
    assert_int_equal(summary.held_out_videos, 1);
    assert_int_equal(summary.names.dataset_count, 2);
    assert_int_equal(summary.names.label_count, 2);
    assert_int_equal(summary.of_dataset[0].files, 4);
    assert_int_equal(summary.of_dataset[0].held_out_ids, 1);
    assert_int_equal(summary.of_dataset[0].listed_twice,
                     1); /* the same part of the file twice; other parts count as other sources */
    assert_int_equal(summary.of_dataset[1].listed_twice, 0); /* the whole file is another source than a part of it */
    assert_int_equal(summary.clips, 3 * 2 + 2 * 5);
    static const struct {
        const char *path;
        int dataset, exclusion, windows, labels[2];
        double start_s;
    } want[] = {
        {"x.mp4", 0, VJ_SOURCE_TAKEN, 2, {3, -1}, 1},
        {"x.mp4", 0, VJ_SOURCE_TAKEN, 2, {3, -1}, 2},
        {"x.mp4", 0, VJ_SOURCE_LISTED_TWICE, 2, {4, -1}, 1},
        {"y.mp4", 0, VJ_SOURCE_HELD_OUT_ID, 2, {-1, -1}, -1},
        {"x.mp4", 1, VJ_SOURCE_TAKEN, 5, {-1, 7}, -1},
        {"z.mp4", 1, VJ_SOURCE_TAKEN, 5, {-1, 8}, -1},
        {"v.mp4", VJ_SOURCE_HELD_OUT, VJ_SOURCE_TAKEN, 2, {0, -1}, -1},
    };
    assert_int_equal(vj_catalogue_open(&catalogue, folder, summary.sources), VJ_OK);
    for (int n = 6; n >= 0; n--) {
        char path[VJ_PATH];
        in_folder(path, want[n].path);
        assert_int_equal(vj_catalogue_find(&catalogue, n, &source), VJ_OK);
        assert_string_equal(source.path, path);
        assert_int_equal(source.dataset, want[n].dataset);
        assert_int_equal(source.exclusion, want[n].exclusion);
        assert_int_equal(source.windows, want[n].windows);
        assert_int_equal(source.first, n == 2 ? 0 : -1);
        assert_memory_equal(source.labels, want[n].labels, sizeof want[n].labels);
        assert_true(source.start_s == want[n].start_s);
    }
    vj_catalogue_close(&catalogue);
    vj_catalogue_close(&catalogue);
    /* A damaged catalogue is refused. */
    char path[VJ_PATH];
    in_folder(path, "catalogue.data");
    assert_int_equal(truncate(path, 30), 0);
    assert_int_equal(vj_catalogue_open(&catalogue, folder, summary.sources), VJ_OK);
    assert_int_equal(vj_catalogue_find(&catalogue, 6, &source), VJ_ERR_FORMAT);
    vj_catalogue_close(&catalogue);
    vj_catalogue_remove(folder);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(vj_catalogue_open(&catalogue, folder, summary.sources), VJ_ERR_IO);
    vj_catalogue_close(&catalogue);
}

/* Check that classes are numbered in the order of their names after all lists are read, and that the names are part of
 * the digest. */
static void test_classes(void **state)
{
    (void)state;
    vj_catalogue catalogue;
    static vj_pack_source source;
    vj_config_defaults(&config);
    write_file("a.csv", "path,label,n\nx.mp4,cow,7\ny.mp4,ant,8\n");
    write_file("b.csv", "path,label,n\nz.mp4,bee,-1\nw.mp4,cow,9\n");
    write_file("h.txt", "v.mp4 zebra\n"); /* a held-out video adds no class */
    use_dataset("one", "a.csv");
    use_dataset("two", "b.csv");
    use_list(&config.pack.held_out_videos, "h.txt");
    assert_int_equal(build(1), VJ_OK);
    assert_int_equal(summary.classes[0].count, 3);
    assert_int_equal(summary.classes[1].count, 0);
    static const int32_t want[][2] = {{2, 7}, {0, 8}, {1, -1}, {2, 9}};
    assert_int_equal(vj_catalogue_open(&catalogue, folder, summary.sources), VJ_OK);
    for (int n = 0; n < 4; n++) {
        assert_int_equal(vj_catalogue_find(&catalogue, n, &source), VJ_OK);
        assert_memory_equal(source.labels, want[n], sizeof want[n]);
    }
    vj_catalogue_close(&catalogue);
    vj_catalogue_remove(folder);
    const uint64_t before = summary.digest;
    write_file("a.csv", "path,label,n\nx.mp4,ant,7\ny.mp4,cow,8\n"); /* the same two labels in the other order */
    assert_int_equal(build(0), VJ_OK);
    assert_true(summary.digest != before);
    strcpy(config.pack.dataset[1].list, config.pack.dataset[0].list);
    assert_int_equal(build(0), VJ_ERR_USAGE); /* a list named twice */
    strcpy(config.pack.dataset[1].root, "/elsewhere");
    assert_int_equal(build(0), VJ_OK); /* with another root the list names other files */
    config.pack.dataset_count = 0;
    use_list(&config.pack.lists, "a.csv");
    use_list(&config.pack.lists, "./a.csv");
    assert_int_equal(build(0), VJ_ERR_USAGE);
}

/* Check that dropped files give no clips, and that counting without writing a catalogue gives the same digest. */
static void test_digest(void **state)
{
    (void)state;
    uint64_t whole = summary.digest, one = summary.of_dataset[0].digest, two = summary.of_dataset[1].digest;
    assert_int_equal(build(0), VJ_OK);
    assert_true(summary.digest == whole);
    config.pack.duplicates = VJ_DUPLICATES_DROP;
    assert_int_equal(build(0), VJ_OK);
    assert_int_equal(summary.clips, 2 * 2 + 2 * 5);
    config.pack.duplicates = VJ_DUPLICATES_KEEP;
    write_file("b.txt", "x.mp4 7\nz.mp4 9\n"); /* another label */
    assert_int_equal(build(0), VJ_OK);
    assert_true(summary.digest != whole && summary.of_dataset[0].digest == one && summary.of_dataset[1].digest != two);
    write_file("b.txt", "x.mp4 7\nz.mp4 8\n");
    write_file("ids", "y\nw\n"); /* this leaves out no more files, but it could with the next list */
    assert_int_equal(build(0), VJ_OK);
    assert_true(summary.digest != whole && summary.of_dataset[1].digest == two);
    write_file("ids", "y\n");
    write_file("moved.txt", "x.mp4 7\nz.mp4 8\n"); /* the folders of the list and of the files do not matter */
    in_folder(config.pack.dataset[1].list, "moved.txt");
    strcpy(config.pack.dataset[1].root, "/elsewhere");
    assert_int_equal(build(0), VJ_OK);
    assert_true(summary.digest == whole);
    config.pack.dataset_count = 0;
    assert_int_equal(build(0), VJ_ERR_USAGE); /* there is nothing to pack */
}

static void test_held_out(void **state)
{
    (void)state;
    vj_held_out h;
    vj_strings lists = {0};
    write_file("lines", "plain_id\n/val/by path.mp4 12\r\n\n/val/0347ZoDXyP0_000095_000105.mp4 3\ntabbed "
                        "one.mp4\t4\nby comma.mp4, 5\nword.mp4 a_dog\n  indented.mp4 7 \n\"quoted one.mp4\" 8\n"
                        "\"quoted two.mp4\" a_cat\n");
    write_file("kinetics", "\r\n\nlabel,youtube_id,time_start,time_end,split\n\"a, b\",--kin,1,2,validate\n");
    write_file("howto", "video_id,task\nhow,1\n");
    write_file("ssv2", "\n [{\"id\": \"17\", \"template\": \"x\"}, {\"id\": 18}]");
    write_file("paths", "label;path\n1;\"x/a \"\"b\"\".mp4\"\n");
    write_file("empty", "\n");
    static const char *const names[] = {"lines", "kinetics", "howto", "ssv2", "paths"};
    for (int i = 0; i < 5; i++) use_list(&lists, names[i]);
    assert_int_equal(vj_held_out_read(&h, &lists, folder), VJ_OK);
    assert_int_equal(h.entries, 14);
    static const char *const out[][2] = {
        {"", "a/plain_id.mkv"},
        {"", "by path.avi"},
        {"", "tabbed one.mp4"},
        {"", "by comma.mp4"},
        {"", "word.mkv"},
        {"", "indented.mp4"},
        {"", "quoted one.mp4"},
        {"", "quoted two.mp4"},
        {"0347ZoDXyP0", "x.mp4"},
        {"", "0347ZoDXyP0.mp4"},
        {"", "x/--kin_000001_000011"},
        {"how", "x"},
        {"17", "x"},
        {"", "18.webm"},
        {"", "a \"b\".mp4"},
    };
    static const char *const in[][2] = {{"", "plain"}, {"y", "by.mp4"}, {"1", "x.mp4"}, {"", "plain_id/x.mp4"}};
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++)
        if (!vj_held_out_has(&h, out[i][0], out[i][1])) fail_msg("not found: %s %s", out[i][0], out[i][1]);
    for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) assert_false(vj_held_out_has(&h, in[i][0], in[i][1]));
    vj_held_out_release(&h);
    use_list(&lists, "empty");
    assert_int_equal(vj_held_out_read(&h, &lists, folder), VJ_ERR_FORMAT);
    vj_held_out_release(&h);
    in_folder(lists.item[5], "nowhere");
    assert_int_equal(vj_held_out_read(&h, &lists, folder), VJ_ERR_IO);
    vj_held_out_release(&h);
}

/* Check a hash map with many more entries than it first has room for. */
static void test_register(void **state)
{
    (void)state;
    enum { COUNT = 50000 };
    vj_hashmap r;
    int64_t first;
    char text[32];
    assert_int_equal(vj_hashmap_init(&r, folder), VJ_OK);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < COUNT; i++) {
            snprintf(text, sizeof text, "text %d", i);
            assert_int_equal(vj_hashmap_find(&r, text), pass ? i : -1);
            assert_int_equal(vj_hashmap_put(&r, text, i + pass, &first), VJ_OK);
            assert_int_equal(first, i);
        }
    assert_int_equal(r.count, COUNT);
    vj_hashmap_release(&r);
    vj_hashmap_release(&r);
    assert_int_equal(vj_hashmap_init(&r, "/nowhere/at/all"), VJ_ERR_IO);
    vj_hashmap_release(&r);
}

/* Check that every source is in one shard, that shards are about equal in size, and that their number follows from the
 * settings. */
static void test_layout(void **state)
{
    (void)state;
    static const int64_t sources[] = {1, 2, 15, 16, 17, 100, 1023, 1024, 1025, 50000};
    vj_config_defaults(&config);
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        vj_sharding l = vj_sharding_of(&config, sources[i], sources[i]);
        uint8_t *seen = calloc((size_t)l.sources, 1);
        int64_t end = 0;
        assert_non_null(seen);
        assert_true(l.shards >= 1 && l.shards <= l.sources);
        for (int64_t k = 0; k < l.shards; k++) {
            int64_t first, last;
            vj_sharding_shard(&l, k, &first, &last);
            assert_int_equal(first, end);
            assert_true(last - first >= l.sources / l.shards && last - first <= l.sources / l.shards + 1);
            for (int64_t p = first; p < last; p++) {
                int64_t source = vj_sharding_source(&l, p);
                assert_true(source >= 0 && source < l.sources && !seen[source]);
                seen[source] = 1;
            }
            end = last;
        }
        assert_int_equal(end, l.sources);
        free(seen);
    }
    assert_int_equal(vj_sharding_of(&config, 100, 100).shards, 7);    /* 16 sources each */
    assert_int_equal(vj_sharding_of(&config, 5000, 5000).shards, 64); /* enough shards for many ranks */
    /* 1,024 MB hold 182 raw clips of 16 x 256 x 456. */
    assert_int_equal(vj_sharding_of(&config, 100000, 200000).shards, 1095);
    config.pack.codec = 1;
    assert_int_equal(vj_sharding_of(&config, 100000, 200000).shards, 110);
    config.pack.short_side = 8;
    config.pack.frames = 1;
    assert_int_equal(vj_sharding_of(&config, 100000000, 100000000).shards, 1526); /* 65536 files each */
    /* Another seed divides them in another way. */
    vj_sharding a = vj_sharding_of(&config, 1000, 1000);
    config.pack.seed = 1;
    vj_sharding b = vj_sharding_of(&config, 1000, 1000);
    int same = 0;
    for (int64_t p = 0; p < 1000; p++) same += vj_sharding_source(&a, p) == vj_sharding_source(&b, p);
    assert_true(same < 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sources),  cmocka_unit_test(test_digest),   cmocka_unit_test(test_classes),
        cmocka_unit_test(test_held_out), cmocka_unit_test(test_register), cmocka_unit_test(test_layout),
    };
    return cmocka_run_group_tests(tests, set_up_folder, tear_down_folder);
}
