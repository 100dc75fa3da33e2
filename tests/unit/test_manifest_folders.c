/* Tests manifests of folders: links, pipes and loops in them, classes by folder, and files that are no media. */
#include "manifest.h"

static void make(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void make(const char *format, ...)
{
    char command[1024];
    va_list args;
    int used = snprintf(command, sizeof command, "cd %s/tree && ", folder);
    va_start(args, format);
    vsnprintf(command + used, sizeof command - (size_t)used, format, args);
    va_end(args);
    assert_int_equal(system(command), 0);
}

static void test_folder(void **state)
{
    (void)state;
    vj_dataset_settings d = {.name = "f", .format = VJ_LIST_FOLDER};
    in_folder(d.root, "tree");
    assert_int_equal(mkdir(d.root, 0700), 0);
    make("mkdir -p b/deep a && touch b/deep/x.mp4 b/y.mp4 a/'two words'.mp4 z 0.jpg && touch \"$(printf "
         "'n\\nl\\377')\"");
    make("ln -s ../b a/link && ln -s . self && ln -s nowhere dangling && ln -s b/y.mp4 file && ln -s loop loop");
    make("mkfifo fifo && ln -s fifo tofifo");
    begin();
    assert_int_equal(vj_manifest_read(&names, &classes, &d, "f", folder, take, NULL), VJ_OK);
    static const char *const want[] = {"0.jpg", "a/two words.mp4", "b/deep/x.mp4", "b/y.mp4", "file", "n\nl\377", "z"};
    assert_int_equal(got.count, 7);
    for (int i = 0; i < 7; i++) assert_string_equal(got.listed[i], want[i]);
    assert_int_equal(names.label_count, 0);
    /* A folder that is named in place of a list gives the same. */
    vj_dataset_settings list = {.name = "f"};
    strcpy(list.list, d.root);
    begin();
    assert_int_equal(vj_manifest_read(&names, &classes, &list, "f", folder, take, NULL), VJ_OK);
    assert_int_equal(got.count, 7);
    assert_string_equal(got.listed[1], want[1]);
    strcat(list.list, "/0.jpg");
    assert_true(strlen(got.path[0]) == strlen(list.list) && strcmp(got.path[0], list.list) == 0);
    /* Each folder is a class, also a linked one, in the order of names; files beside the folders have no class. */
    d.format = VJ_LIST_IMAGENET;
    make("rm self && ln -s b/deep c");
    begin();
    assert_int_equal(vj_manifest_read(&names, &classes, &d, "f", folder, take, NULL), VJ_OK);
    static const char *const in_class[] = {"a/two words.mp4", "b/deep/x.mp4", "b/y.mp4", "c/x.mp4"};
    static const int labels[] = {0, 1, 1, 2};
    assert_int_equal(got.count, 4);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(got.listed[i], in_class[i]);
        assert_int_equal(got.labels[i][0], labels[i]);
    }
    assert_string_equal(names.label_names[0], "f");
    make("rm -rf * && mkdir none");
    assert_int_equal(vj_manifest_read(&names, &classes, &d, "f", folder, take, NULL), VJ_ERR_FORMAT);
    make("rmdir none && rmdir ../tree");
    assert_int_equal(vj_manifest_read(&names, &classes, &d, "f", folder, take, NULL), VJ_ERR_IO);
}

/* Check that hidden folders, folders of the system, empty ones and our own are neither classes nor media. */
static void test_strays(void **state)
{
    (void)state;
    vj_dataset_settings d = {.name = "f", .format = VJ_LIST_IMAGENET}, two = d;
    in_folder(d.root, "tree");
    assert_int_equal(mkdir(d.root, 0700), 0);
    make("mkdir -p ant bee .git/o __MACOSX @eaDir 'System Volume Information' bat/deep aaa abc abd abe abf ant/.cache");
    make("touch ant/1.png ant/._1.png ant/.cache/1.png bee/1.png bee/Thumbs.db .git/o/1 __MACOSX/1.png @eaDir/1.png");
    make("touch 'System Volume Information/1' aaa/pack.yaml abc/shard-00000.h5.part abd/catalogue.data "
         "abe/step_00000010.h5");
    make("touch abf/config.yaml abf/metrics.csv abf/1.png ant/features.h5 bee/slurm-7.out abd/1.png");
    begin();
    assert_int_equal(vj_manifest_read(&names, &classes, &d, "f", folder, take, NULL), VJ_OK);
    assert_int_equal(got.count, 2);
    assert_string_equal(got.listed[0], "ant/1.png");
    assert_string_equal(got.listed[1], "bee/1.png");
    assert_int_equal(classes.of[0].count, 2);
    /* Folders of the same names in another tree are the same classes. */
    in_folder(two.root, "tree/more");
    make("mkdir -p more/abba more/bee && touch more/abba/2.png more/bee/2.png");
    assert_int_equal(vj_manifest_read(&names, &classes, &two, "f", folder, take, NULL), VJ_OK);
    assert_int_equal(vj_class_names_number(&classes, names.label_names), VJ_OK);
    static const int want[] = {1, 2, 0, 2};
    for (int i = 0; i < 4; i++) assert_int_equal(classes.of[0].number[got.labels[i][0]], want[i]);
    char *text = vj_class_names_text(&classes, 0);
    assert_string_equal(text, "3 classes: 0 abba, 1 ant, 2 bee");
    free(text);
    /* With a file of class names no other names are permitted. */
    write_bytes("classes", "bee\nabba\n", 9);
    in_folder(two.labels, "classes");
    begin();
    assert_int_equal(vj_manifest_read(&names, &classes, &two, "f", folder, take, NULL), VJ_OK);
    assert_int_equal(got.labels[0][0], 1);
    strcpy(d.labels, two.labels);
    begin();
    assert_int_equal(vj_manifest_read(&names, &classes, &d, "f", folder, take, NULL), VJ_ERR_FORMAT); /* ant */
    /* The folder of temporary files is not searched. */
    d.labels[0] = '\0';
    in_folder(two.root, "tree/more");
    begin();
    assert_int_equal(vj_manifest_read(&names, &classes, &d, "f", two.root, take, NULL), VJ_OK);
    assert_int_equal(got.count, 2);
    make("rm -rf ../tree");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_strays),
    };
    return cmocka_run_group_tests(tests, set_up_folder, tear_down_folder);
}
