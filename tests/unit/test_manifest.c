/*
 * Tests manifests: lists of every format, quoting, bytes that are not text, and mistakes, whose messages name list and
 * line. Folders are tested in test_manifest_folders.c.
 */
#include "manifest.h"

#include "pack/escape.h"

/* Read a dataset; `dataset` has no list yet. */
static vj_status more(vj_dataset_settings dataset, const char *text, size_t bytes)
{
    write_bytes("list", text, bytes);
    in_folder(dataset.list, "list");
    if (!*dataset.name) strcpy(dataset.name, "d");
    return vj_manifest_read(&names, &classes, &dataset, "label", folder, take, NULL);
}

static vj_status parse(vj_list_format format, const char *text)
{
    begin();
    return more((vj_dataset_settings){.format = (int)format}, text, strlen(text));
}

/* Check the class of label 0 of entry n: its number, after the classes were numbered, and its name. */
static void expect_class(int n, int number, const char *name)
{
    assert_true(got.labels[n][0] >= 0);
    assert_int_equal(classes.of[0].number[got.labels[n][0]], number);
    assert_string_equal(vj_class_names_name(&classes, 0, number), name);
}

static void expect_path(int n, const char *relative)
{
    char path[VJ_PATH];
    in_folder(path, relative);
    assert_string_equal(got.listed[n], relative);
    assert_string_equal(got.path[n], *relative == '/' ? relative : path);
}

static void test_csv(void **state)
{
    (void)state;
    assert_int_equal(parse(VJ_LIST_AUTO, "\xef\xbb\xbfpath,appearance,motion\r\n"
                                         "a.mp4,1,2\r\n"
                                         "\r\n"
                                         "\"with, comma and \"\"quotes\"\".mp4\",3,-1\n"
                                         "\"two\nlines.mp4\",5,6\n"
                                         "\xff\xfe.mp4,0,0\n"
                                         "/abs/b.mp4,7,8"),
                     VJ_OK);
    assert_int_equal(got.count, 5);
    assert_int_equal(names.label_count, 2);
    assert_string_equal(names.label_names[0], "appearance");
    assert_string_equal(names.label_names[1], "motion");
    assert_string_equal(names.dataset_names[0], "d");
    expect_path(0, "a.mp4");
    expect_path(1, "with, comma and \"quotes\".mp4");
    expect_path(2, "two\nlines.mp4");
    expect_path(3, "\xff\xfe.mp4");
    expect_path(4, "/abs/b.mp4");
    assert_int_equal(got.labels[1][0], 3);
    assert_int_equal(got.labels[1][1], -1);
    assert_int_equal(got.labels[4][1], 8);
    assert_int_equal(got.labels[4][2], -1);
    assert_true(got.start_s[0] < 0 && got.end_s[0] < 0);
    assert_int_equal(parse(VJ_LIST_AUTO, "path\nx.mp4\n"), VJ_OK);
    assert_int_equal(names.label_count, 0);
}

static void test_csv_columns(void **state)
{
    (void)state;
    assert_int_equal(parse(VJ_LIST_CSV, "dataset,start,path,label,end,id\n"
                                        "k400,,a.mp4,1,,\n"
                                        ",1.5,b.mp4,2,4,b_id\n"),
                     VJ_OK);
    assert_int_equal(names.dataset_count, 2);
    assert_int_equal(names.label_count, 1);
    assert_string_equal(names.dataset_names[got.dataset[0]], "k400");
    assert_string_equal(names.dataset_names[got.dataset[1]], "d");
    assert_string_equal(got.id[0], "a");
    assert_string_equal(got.id[1], "b_id");
    assert_true(got.start_s[0] < 0 && got.end_s[0] < 0);
    assert_true(got.start_s[1] == 1.5 && got.end_s[1] == 4);
}

static void test_plain(void **state)
{
    (void)state;
    assert_int_equal(parse(VJ_LIST_AUTO, "/k400/abc.mp4 17\r\nwith blank.mp4 0 \n\npaths.mp4 3\nby,comma.mp4,4"),
                     VJ_OK);
    assert_int_equal(got.count, 4);
    assert_string_equal(names.label_names[0], "label");
    expect_path(0, "/k400/abc.mp4");
    expect_path(1, "with blank.mp4");
    expect_path(3, "by,comma.mp4");
    assert_int_equal(got.labels[0][0], 17);
    assert_int_equal(got.labels[3][0], 4);
    /* All lists of a dataset must have the same labels; another dataset may have others. */
    assert_int_equal(more((vj_dataset_settings){.format = 0}, "path,label\nz.mp4,4\n", 19), VJ_OK);
    assert_int_equal(got.count, 5);
    assert_int_equal(more((vj_dataset_settings){.format = 0}, "path,colour\nz.mp4,4\n", 20), VJ_ERR_FORMAT);
    assert_int_equal(more((vj_dataset_settings){.name = "e"}, "path,colour\nz.mp4,4\n", 20), VJ_OK);
    assert_int_equal(got.labels[5][0], -1);
    assert_int_equal(got.labels[5][1], 4);
}

/* Check separators, blanks around fields, quotes and line ends. Each list names two files with labels 3 and 4. */
static void test_separators(void **state)
{
    (void)state;
    static const char *const lists[] = {
        "path,label\na b.mp4,3\nc.mp4,4\n",
        "path;label\na b.mp4;3\nc.mp4;4\n",
        "path\tlabel\na b.mp4\t3\nc.mp4\t4\n",
        "path label\n\"a b.mp4\" 3\nc.mp4   4  \n",
        "\xef\xbb\xbf\"path\" , \"label\" \r\n  \"a b.mp4\" , 3 \r\nc.mp4, 4\r\n",
        "label; path\n3; a b.mp4\n4; c.mp4\n",
        "a b.mp4\t3\nc.mp4\t4\n",
        "a b.mp4;3\nc.mp4 ; 4\n",
        "\"a b.mp4\",3\nc.mp4, 4\n",
        "a b.mp4 3\nc.mp4     4",
        "path,label\ra b.mp4,3\rc.mp4,4\r", /* lines that end in CR alone */
        "a b.mp4 3\r\rc.mp4     4",
        "{\"path\": \"a b.mp4\", \"labels\": {\"label\": 3}}\r{\"path\": \"c.mp4\", \"labels\": {\"label\": 4}}\r",
    };
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        if (parse(VJ_LIST_AUTO, lists[i]) != VJ_OK) fail_msg("refused: %s", lists[i]);
        assert_int_equal(got.count, 2);
        expect_path(0, "a b.mp4");
        expect_path(1, "c.mp4");
        assert_string_equal(names.label_names[0], "label");
        assert_int_equal(got.labels[0][0], 3);
        assert_int_equal(got.labels[1][0], 4);
    }
    assert_int_equal(parse(VJ_LIST_AUTO, "path;start;end\nx;1:02.5;0:01:03\n"), VJ_OK);
    assert_true(got.start_s[0] == 62.5 && got.end_s[0] == 63);
    assert_int_equal(parse(VJ_LIST_AUTO, "{\"path\": \"x\", \"start\": \"1:00\", \"end\": 1e2}"), VJ_OK);
    assert_true(got.start_s[0] == 60 && got.end_s[0] == 100);
    assert_int_equal(parse(VJ_LIST_AUTO, "path,label\nx,2147483647\n"), VJ_OK);
    assert_int_equal(got.labels[0][0], INT32_MAX);
}

/* Check lines of paths without labels, as find and ls write them; the first line tells that there are none. */
static void test_paths_alone(void **state)
{
    (void)state;
    assert_int_equal(parse(VJ_LIST_AUTO, "\n./a b.mp4\nc.mp4 \r\nd 7\n"), VJ_OK);
    assert_int_equal(got.count, 3);
    expect_path(0, "./a b.mp4");
    expect_path(1, "c.mp4");
    expect_path(2, "d 7");
    assert_int_equal(names.label_count, 0);
    assert_int_equal(parse(VJ_LIST_AUTO, "a.mp4 1\nb.mp4\n"), VJ_ERR_FORMAT);
    assert_int_equal(parse(VJ_LIST_AUTO, "\x7f"
                                         "ELF\x02.\x01\n"),
                     VJ_ERR_FORMAT);
    assert_int_equal(parse(VJ_LIST_AUTO, "a.mp4 1\n"), VJ_OK);
    assert_int_equal(more((vj_dataset_settings){.format = 0}, "b.mp4\n", 6), VJ_ERR_FORMAT);
    assert_int_equal(more((vj_dataset_settings){.name = "e"}, "b.mp4\n", 6), VJ_OK);
}

/* Check words as classes, which are numbered in the order of their names over all lists; -1 stands for no class. */
static void test_words(void **state)
{
    (void)state;
    static const char *const lists[] = {
        "path,label\na.mp4,dog\nb.mp4,-1\nc.mp4,cat\nd.mp4,dog\n",
        "a.mp4 dog\nb.mp4 -1\nc.mp4 cat\nd.mp4 dog\n",
        "a.mp4\tdog\nb.mp4\t-1\nc.mp4\tcat\nd.mp4\tdog\n",
        "{\"path\": \"a\", \"label\": \"dog\"}{\"path\": \"b\", \"label\": -1}{\"path\": \"c\", \"label\": \"cat\"}"
        "{\"path\": \"d\", \"label\": \"dog\"}",
    };
    static const char second[] = "path,label\ne.mp4,big ape\n", object[] = "{\"path\": \"e\", \"label\": \"big ape\"}";
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        assert_int_equal(parse(VJ_LIST_AUTO, lists[i]), VJ_OK);
        const char *other = *lists[i] == '{' ? object : second;
        assert_int_equal(more((vj_dataset_settings){.format = 0}, other, strlen(other)), VJ_OK);
        assert_int_equal(got.labels[1][0], -1);
        assert_int_equal(vj_class_names_number(&classes, names.label_names), VJ_OK);
        static const char *const want[] = {"dog", "", "cat", "dog", "big ape"};
        for (int n = 0; n < 5; n++)
            if (n != 1)
                assert_string_equal(vj_class_names_name(&classes, 0, classes.of[0].number[got.labels[n][0]]), want[n]);
        assert_string_equal(vj_class_names_name(&classes, 0, 0), "big ape");
        assert_string_equal(vj_class_names_name(&classes, 0, 2), "dog");
        assert_string_equal(vj_class_names_name(&classes, 0, 3), "");
    }
    /* With several labels in words the column label_NAME is the label NAME. */
    assert_int_equal(parse(VJ_LIST_AUTO, "path,label_kind,label_motion,label_2\nx,cat,up,7\ny,dog,down,8\n"), VJ_OK);
    assert_int_equal(names.label_count, 3);
    assert_string_equal(names.label_names[0], "kind");
    assert_string_equal(names.label_names[1], "motion");
    assert_string_equal(names.label_names[2], "label_2");
    assert_int_equal(vj_class_names_number(&classes, names.label_names), VJ_OK);
    assert_string_equal(vj_class_names_name(&classes, 1, classes.of[1].number[got.labels[1][1]]), "down");
    /* A file of class names fixes the numbers, also for lists with numbers; other names are refused. */
    vj_dataset_settings d = {.name = "d"};
    write_bytes("classes", "dog\ncat\n", 8);
    in_folder(d.labels, "classes");
    static const char by_name[] = "path,label,n\nx,cat,7\n", by_number[] = "path,label\nx,1\n";
    begin();
    assert_int_equal(more(d, by_name, sizeof by_name - 1), VJ_OK);
    assert_int_equal(got.labels[0][0], 1);
    assert_int_equal(got.labels[0][1], 7);
    begin();
    assert_int_equal(more(d, by_number, sizeof by_number - 1), VJ_OK);
    assert_int_equal(got.labels[0][0], 1);
    begin();
    assert_int_equal(more(d, "path,label\nx,2\n", 15), VJ_ERR_FORMAT);
    begin();
    assert_int_equal(more(d, "path,label\nx,cow\n", 17), VJ_ERR_FORMAT);
    write_bytes("classes", "dog\ndog\n", 8);
    begin();
    assert_int_equal(more(d, by_number, sizeof by_number - 1), VJ_ERR_FORMAT);
    /* Two files of names for one label must agree, and a list may not use a name that is not in them. */
    write_bytes("classes", "dog\ncat\n", 8);
    begin();
    assert_int_equal(more(d, by_name, sizeof by_name - 1), VJ_OK);
    write_bytes("classes", "cat\ndog\n", 8);
    assert_int_equal(more(d, by_name, sizeof by_name - 1), VJ_ERR_FORMAT);
    write_bytes("classes", "dog\ncat\n", 8);
    begin();
    assert_int_equal(more((vj_dataset_settings){.format = 0}, second, sizeof second - 1), VJ_OK);
    assert_int_equal(more(d, by_number, sizeof by_number - 1), VJ_OK);
    assert_int_equal(vj_class_names_number(&classes, names.label_names), VJ_ERR_FORMAT);
}

static void test_json(void **state)
{
    (void)state;
    static const char *const forms[] = {"%s\n%s\n", "[%s,\n %s]\n", "\n%s %s"};
    static const char first[] = "{\"path\": \"a }\\\" \\u00e4.mp4\", \"label\": 3, \"more\": {\"x\": [1, {}]}}";
    static const char second[] =
        "{\"path_bytes\": \"b\\\\xff\\\\\\\\.mp4\", \"labels\": {\"colour\": 1}, \"dataset\": \"e\",\n"
        " \"start\": 2, \"end\": 2.5, \"id\": \"q\"}";
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        char text[1024];
        snprintf(text, sizeof text, forms[i], first, second);
        assert_int_equal(parse(VJ_LIST_AUTO, text), VJ_OK);
        assert_int_equal(got.count, 2);
        expect_path(0, "a }\" \xc3\xa4.mp4");
        expect_path(1, "b\xff\\.mp4");
        assert_string_equal(names.label_names[0], "label");
        assert_string_equal(names.label_names[1], "colour");
        assert_int_equal(got.labels[0][0], 3);
        assert_int_equal(got.labels[1][0], -1);
        assert_int_equal(got.labels[1][1], 1);
        assert_string_equal(names.dataset_names[got.dataset[1]], "e");
        assert_true(got.start_s[1] == 2 && got.end_s[1] == 2.5);
        assert_string_equal(got.id[1], "q");
    }
}

static void test_kinetics(void **state)
{
    (void)state;
    static const char list[] = "label,youtube_id,time_start,time_end,split\n"
                               "\"abseiling\",0347ZoDXyP0,95,105,train\nzumba,--x,0.0,10.0,train\n";
    vj_dataset_settings d = {.name = "k400", .root = "/data/k"};
    begin();
    assert_int_equal(more(d, list, sizeof list - 1), VJ_OK);
    assert_int_equal(got.count, 2);
    assert_string_equal(got.path[0], "/data/k/0347ZoDXyP0_000095_000105.mp4");
    assert_string_equal(got.path[1], "/data/k/--x_000000_000010.mp4");
    assert_string_equal(got.id[0], "0347ZoDXyP0");
    assert_true(got.start_s[0] < 0); /* the file is already cut to this part */
    assert_int_equal(names.label_count,
                     1); /* classes are numbered in the order of their names, as most programs do it */
    assert_int_equal(vj_class_names_number(&classes, names.label_names), VJ_OK);
    expect_class(0, 0, "abseiling");
    expect_class(1, 1, "zumba");
    write_bytes("classes", "zumba\nabseiling\n", 16);
    in_folder(d.labels, "classes");
    strcpy(d.pattern, "{label}/{id}_{start}.mkv");
    begin();
    assert_int_equal(more(d, list, sizeof list - 1), VJ_OK);
    assert_string_equal(got.path[0], "/data/k/abseiling/0347ZoDXyP0_000095.mkv");
    assert_int_equal(got.labels[0][0], 1);
    assert_int_equal(got.labels[1][0], 0);
    /* If the files are whole videos the list says which part is meant. */
    strcpy(d.pattern, "{id}.mkv");
    begin();
    assert_int_equal(more(d, list, sizeof list - 1), VJ_OK);
    assert_true(got.start_s[0] == 95 && got.end_s[0] == 105 && got.start_s[1] == 0 && got.end_s[1] == 10);
    assert_int_equal(more(d, "label,youtube_id,time_start,time_end\nzumba,a,5,5\n", 49), VJ_ERR_FORMAT);
    write_bytes("classes", "zumba\n", 6);
    begin();
    assert_int_equal(more(d, list, sizeof list - 1), VJ_ERR_FORMAT);
    d.labels[0] = '\0';
    strcpy(d.pattern, "{name}.mkv");
    assert_int_equal(more(d, list, sizeof list - 1), VJ_ERR_USAGE);
    /* A test list has no labels. A video has the same key under two roots of one dataset. */
    begin();
    assert_int_equal(more((vj_dataset_settings){.root = "a"}, "youtube_id,time_start,time_end,split\nx,1,2,t\n", 45),
                     VJ_OK);
    assert_int_equal(more((vj_dataset_settings){.root = "b"}, "youtube_id,time_start,time_end,split\nx,1,2,t\n", 45),
                     VJ_OK);
    assert_string_not_equal(got.path[0], got.path[1]);
    assert_string_equal(got.key[0], got.key[1]);
}

static void test_ssv2(void **state)
{
    (void)state;
    static const char list[] =
        "[{\"id\": \"78687\", \"label\": \"holding potato next to vicks\", \"template\": "
        "\"Holding [something] next to [something]\", \"placeholders\": [\"potato\", \"vicks\"]},"
        "{\"id\": 42}]";
    static const char numbers[] = "{\"Pushing something\": \"0\", \"Holding something next to something\": \"1\"}";
    vj_dataset_settings d = {.name = "ssv2"};
    write_bytes("classes", numbers, sizeof numbers - 1);
    in_folder(d.labels, "classes");
    begin();
    assert_int_equal(more(d, list, sizeof list - 1), VJ_OK);
    assert_int_equal(got.count, 2);
    expect_path(0, "78687.webm");
    expect_path(1, "42.webm");
    assert_int_equal(got.labels[0][0], 1);
    assert_int_equal(got.labels[1][0], -1);
    d.labels[0] = '\0';
    begin();
    assert_int_equal(more(d, list, sizeof list - 1), VJ_OK);
    assert_int_equal(vj_class_names_number(&classes, names.label_names), VJ_OK);
    expect_class(0, 0, "Holding something next to something");
    assert_int_equal(parse(VJ_LIST_AUTO, "[{\"id\": 42}, {\"id\": \"7\"}]"), VJ_OK); /* a test list */
    assert_int_equal(names.label_count, 0);
}

/* Check files of labels in every form; each says cat 1, big dog 0, ape 2. */
static void test_label_files(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "big dog\ncat\nape\n",
        "\xef\xbb\xbf"
        "big dog\r\ncat \r\nape\r\n",
        "cat 1\nape 2\nbig dog 0\n",
        "cat,1\nbig dog,0\nape,2\n",
        "name\tid\ncat\t1\nbig dog\t0\nape\t2\n",
        "id,name\r\n1,cat\r\n0,\"big dog\"\r\n2,ape\r\n",
        "0 big dog\n1 cat\n2 ape",
        "[\"big dog\", \"cat\",\n\"ape\"]",
        "\xef\xbb\xbf{\"cat\": 1, \"big dog\": \"0\", \"ape\": 2}",
        "\n {\"\\\"big dog\\\"\": 0, \"cat\": 1, \"ape\": 2}",
        "{\"0\": \"big dog\", \"2\": \"ape\", \"1\": \"cat\"}",
        "cat 1\nbig_dog 0\nape 2\n",
    };
    static const char list[] = "path,label\nx,cat\ny,big dog\nz,2\n", *const order[] = {"big dog", "cat", "ape"};
    vj_dataset_settings d = {.name = "d"};
    in_folder(d.labels, "classes");
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        write_bytes("classes", forms[i], strlen(forms[i]));
        begin();
        if (more(d, list, sizeof list - 1) != VJ_OK) fail_msg("refused: %s", forms[i]);
        assert_int_equal(vj_class_names_number(&classes, names.label_names), VJ_OK);
        for (int n = 0; n < 3; n++)
            expect_class(n,
                         n == 0   ? 1
                         : n == 1 ? 0
                                  : 2,
                         strchr(forms[i], '_') && n == 1 ? "big_dog"
                                                         : order[n == 0   ? 1
                                                                 : n == 1 ? 0
                                                                          : 2]);
    }
    /* Numbers in a name are part of it unless they number all classes. A name may begin with a bracket. */
    static const char *const names_alone[] = {"digit 0\ndigit 1\n", "run 5\ndigit 1\n", "[thing] 3\ndigit 1\n"};
    for (size_t i = 0; i < 3; i++) {
        write_bytes("classes", names_alone[i], strlen(names_alone[i]));
        begin();
        if (more(d, "path,label\nx,digit 1\n", 21) != VJ_OK) fail_msg("refused: %s", names_alone[i]);
        assert_int_equal(got.labels[0][0], 1);
    }
    static const char *const wrong[] = {
        "{\"cat\": -1}", "{\"cat\": 1, \"ape\": 1}", "[\"cat\", 3]", "[\"cat\", \"cat\"]",
        "cat\ncat\n",    "{\"cat\": \"x\"}",         "{\"cat\": 1",  ""};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        write_bytes("classes", wrong[i], strlen(wrong[i]));
        begin();
        if (more(d, "path,label\nx,cat\n", 17) != VJ_ERR_FORMAT) fail_msg("accepted: %s", wrong[i]);
    }
}

/* Check lists in the style of COCO, such as iNaturalist's: arrays in any order, unknown keys, ids as numbers and texts.
 */
static void test_coco(void **state)
{
    (void)state;
#define INFO "\"info\": {\"year\": 2021, \"x\": [\"]\", {\"images\": []}]}"
#define IMAGES                                                                                                         \
    "\"images\": [{\"id\": 7, \"width\": 3, \"file_name\": \"train/b c/7.jpg\"}, {\"file_name\": \"train/a/8.jpg\", "  \
    "\"id\": 8}, {\"id\": 9, \"file_name\": \"9.jpg\"}]"
#define NOTES                                                                                                          \
    "\"annotations\": [{\"id\": 0, \"image_id\": 8, \"category_id\": 4},\n{\"id\": 1, \"image_id\": 7, "               \
    "\"category_id\": 2}, {\"image_id\": 8, \"category_id\": 4}]"
#define KINDS                                                                                                          \
    "\"categories\": [{\"id\": 4, \"name\": \"Aves\", \"image_dir_name\": \"00004_Aves\"}, {\"id\": 2, \"name\": "     \
    "\"Felis\"}]"
    static const char *const lists[] = {
        "{" INFO "," IMAGES "," NOTES "," KINDS "}",
        "\xef\xbb\xbf\r\n{ " KINDS ",\r\n" INFO ", \"licenses\": [], " NOTES ", \"a\\\"b\": -1.5e3 , " IMAGES "}\n",
    };
    for (size_t i = 0; i < 2; i++) {
        if (parse(VJ_LIST_AUTO, lists[i]) != VJ_OK) fail_msg("refused: %s", lists[i]);
        assert_int_equal(got.count, 3);
        expect_path(0, "train/b c/7.jpg");
        expect_path(2, "9.jpg");
        assert_string_equal(names.label_names[0], "label");
        assert_int_equal(vj_class_names_number(&classes, names.label_names), VJ_OK);
        expect_class(0, 2, "Felis");
        expect_class(1, 4, "00004_Aves");
        assert_int_equal(got.labels[2][0], -1);
    }
    assert_int_equal(parse(VJ_LIST_AUTO, "{" INFO ", " IMAGES "}"), VJ_OK); /* a test list has no annotations */
    assert_int_equal(got.count, 3);
    assert_int_equal(names.label_count, 0);
    /* A file of labels numbers the classes in another order. */
    vj_dataset_settings d = {.name = "d"};
    in_folder(d.labels, "classes");
    write_bytes("classes", "00004_Aves\nFelis\n", 17);
    begin();
    assert_int_equal(more(d, lists[0], strlen(lists[0])), VJ_OK);
    assert_int_equal(vj_class_names_number(&classes, names.label_names), VJ_OK);
    expect_class(0, 1, "Felis");
    write_bytes("classes", "Felis\n", 6);
    begin();
    assert_int_equal(more(d, lists[0], strlen(lists[0])), VJ_ERR_FORMAT);
    static const char *const wrong[] = {
        "{" NOTES "," KINDS "}",                                                            /* no images */
        "{" IMAGES "," NOTES "}",                                                           /* no categories */
        "{" IMAGES "," KINDS ", \"annotations\": [{\"image_id\": 7, \"category_id\": 3}]}", /* unknown */
        "{" IMAGES "," KINDS ", \"annotations\": [{\"image_id\": 7}]}",                     /* */
        "{" IMAGES "," KINDS ", \"annotations\": [{\"image_id\": 7, \"category_id\": 4}, {\"image_id\": 7, "
        "\"category_id\": 2}]}", /* two classes */
        "{" IMAGES "," NOTES
        ", \"categories\": [{\"id\": 4, \"name\": \"a\"}, {\"id\": 2, \"name\": \"a\"}]}", /* one name */
        "{" IMAGES "," NOTES
        ", \"categories\": [{\"id\": 4, \"name\": \"a\"}, {\"id\": 4, \"name\": \"b\"}]}", /* one id */
        "{" IMAGES "," NOTES ", \"categories\": [{\"id\": \"x\", \"name\": \"a\"}]}",      /* no number */
        "{" IMAGES "," NOTES ",",                                                          /* cut */
        "{\"images\": [{\"id\": 7, \"file_name\": \"x\"}",                                 /* */
        "{\"images\": [{\"id\": 7}]}",                                                     /* no file */
        "{\"images\": []}",                                                                /* nothing */
        "{\"info\" 3, " IMAGES "}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (parse(VJ_LIST_COCO, wrong[i]) != VJ_ERR_FORMAT) fail_msg("accepted: %s", wrong[i]);
    /* One label has numbers in one list and categories in the other. */
    assert_int_equal(parse(VJ_LIST_AUTO, "path,label\nx,3\n"), VJ_OK);
    assert_int_equal(more((vj_dataset_settings){.format = 0}, lists[0], strlen(lists[0])), VJ_ERR_FORMAT);
}

/* Check the lists of Places205, which are called CSV but have lines "path number" without a header. */
static void test_places205(void **state)
{
    (void)state;
    static const char list[] = "a/abbey/gsun_0001.jpg 0\r\na/airport_terminal/gsun (2).jpg 1\r\ny/yard/x.jpg 204\r\n";
    vj_dataset_settings d = {.name = "places205", .root = "/data/vision/torralba/deeplearning/images256"};
    begin();
    assert_int_equal(more(d, list, sizeof list - 1), VJ_OK);
    assert_int_equal(got.count, 3);
    assert_string_equal(got.path[1], "/data/vision/torralba/deeplearning/images256/a/airport_terminal/gsun (2).jpg");
    assert_int_equal(got.labels[2][0], 204);
    assert_int_equal(classes.of[0].count, 0); /* the list has only numbers, no names */
    static const char index[] = "/a/abbey 0\n/y/yard 2\n/a/airport_terminal 1\n";
    write_bytes("classes", index, sizeof index - 1);
    in_folder(d.labels, "classes");
    begin();
    assert_int_equal(more(d, list, (size_t)(strstr(list, "y/yard") - list)), VJ_OK); /* number 204 has no name */
    assert_int_equal(vj_class_names_number(&classes, names.label_names), VJ_OK);
    expect_class(1, 1, "/a/airport_terminal");
    begin();
    assert_int_equal(more(d, list, sizeof list - 1), VJ_ERR_FORMAT);
}

static void test_howto100m(void **state)
{
    (void)state;
    assert_int_equal(parse(VJ_LIST_AUTO, "video_id,category_1,category_2,rank,task_id\n"
                                         "nVbIUDjzWY4,Cars & Other Vehicles,Motorcycles,27,52907\n"),
                     VJ_OK);
    assert_int_equal(got.count, 1);
    expect_path(0, "nVbIUDjzWY4.mp4");
    assert_string_equal(got.id[0], "nVbIUDjzWY4");
}

/* ------------------------------------------------------------------------------------------------ mistakes */

static void test_mistakes(void **state)
{
    (void)state;
    static const struct {
        vj_list_format format;
        const char *text;
    } wrong[] = {
        {VJ_LIST_AUTO, ""},                                              /* nothing */
        {VJ_LIST_AUTO, "path,a\n"},                                      /* only a header */
        {VJ_LIST_AUTO, "path,a\nx.mp4,cat\n"},                           /* labels are whole numbers */
        {VJ_LIST_AUTO, "path,a\nx.mp4,1.5\n"},                           /* */
        {VJ_LIST_AUTO, "path,a\nx.mp4,\n"},                              /* */
        {VJ_LIST_AUTO, "path,a\nx.mp4,-2\n"},                            /* */
        {VJ_LIST_AUTO, "path,a\nx.mp4,99999999999\n"},                   /* */
        {VJ_LIST_AUTO, "path,a\nx.mp4\n"},                               /* too few fields */
        {VJ_LIST_AUTO, "path,a\nx.mp4,1,2\n"},                           /* too many */
        {VJ_LIST_AUTO, "path,a\n,1\n"},                                  /* no path */
        {VJ_LIST_AUTO, "path,a\n\"x.mp4,1\n"},                           /* no closing quote */
        {VJ_LIST_AUTO, "path,a\n\"x\"y,1\n"},                            /* text behind it */
        {VJ_LIST_AUTO, "path,a\nx\ry,1\n"},                              /* a carriage return inside */
        {VJ_LIST_AUTO, "path,\nx.mp4,1\n"},                              /* a label without a name */
        {VJ_LIST_AUTO, "path,a,a\nx.mp4,1,1\n"},                         /* twice */
        {VJ_LIST_AUTO, "path,a,b,c,d,e,f,g,h,i\nx,1,1,1,1,1,1,1,1,1\n"}, /* more than 8 labels */
        {VJ_LIST_AUTO, "path,start,end\nx,3,2\n"},                       /* no time between */
        {VJ_LIST_AUTO, "path,start\nx,-3\n"},                            /* */
        {VJ_LIST_AUTO, "path,start\nx,soon\n"},                          /* */
        {VJ_LIST_AUTO, "path,dataset\nx,a=b\n"},                         /* not a name */
        {VJ_LIST_AUTO, "x.mp4 1\ny.mp4\n"},                              /* the first line has a label, so all must */
        {VJ_LIST_AUTO, "x.mp4 1\ny.mp4 cat.x\n"},                        /* no word, but a path */
        {VJ_LIST_CSV, "x.mp4 1\n"},                                      /* no column path */
        {VJ_LIST_KINETICS, "youtube_id,label\nx,y\n"},                   /* no times */
        {VJ_LIST_KINETICS, "youtube_id,time_start,time_end\nx,,3\n"},    /* */
        {VJ_LIST_KINETICS, "youtube_id,time_start,time_end\n,1,3\n"},    /* no id */
        {VJ_LIST_JSON, "{\"label\": 3}"},                                /* no path */
        {VJ_LIST_JSON, "{\"path\": \"a\", \"path_bytes\": \"a\"}"},      /* two */
        {VJ_LIST_JSON, "{\"path_bytes\": \"a\\\\x0\"}"},                 /* half a byte */
        {VJ_LIST_JSON, "{\"path_bytes\": \"a\\\\x00\"}"},                /* the end of a text */
        {VJ_LIST_JSON, "{\"path\": \"a\\u0000\"}"},                      /* the same */
        {VJ_LIST_JSON, "{\"path\": 3}"},                                 /* no text */
        {VJ_LIST_JSON, "{\"path\": \"a\", \"label\": 3.0}"},             /* no whole number */
        {VJ_LIST_JSON, "{\"path\": \"a\", \"label\": null}"},            /* no number, no name */
        {VJ_LIST_JSON, "{\"path\": \"a\", \"labels\": [3]}"},            /* no names */
        {VJ_LIST_JSON, "{\"path\": \"a\", \"start\": -1}"},              /* */
        {VJ_LIST_JSON, "{\"path\": \"a\", \"path\": \"b\"}"},            /* a key twice */
        {VJ_LIST_JSON, "{\"path\": \"a\"\n"},                            /* not closed */
        {VJ_LIST_JSON, "{\"path\": \"\xff\"}"},                          /* not UTF-8 */
        {VJ_LIST_JSON, "[{\"path\": \"a\"}\n"},                          /* not closed */
        {VJ_LIST_JSON, "[{\"path\": \"a\"},]"},                          /* a comma too many */
        {VJ_LIST_JSON, "[{\"path\": \"a\"} {\"path\": \"b\"}]"},         /* one too few */
        {VJ_LIST_JSON, "[{\"path\": \"a\"}] 3"},                         /* more behind it */
        {VJ_LIST_JSON, "3"},                                             /* */
        {VJ_LIST_JSON, "[]"},                                            /* nothing */
        {VJ_LIST_SSV2, "[{\"label\": \"a\"}]"},                          /* no id */
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (parse(wrong[i].format, wrong[i].text) != VJ_ERR_FORMAT) fail_msg("accepted: %s", wrong[i].text);
    static const char zero[] = "path\nx\0y\n";
    begin();
    assert_int_equal(more((vj_dataset_settings){.format = 0}, zero, sizeof zero - 1), VJ_ERR_FORMAT);
    vj_dataset_settings d = {.labels = "somewhere", .format = VJ_LIST_AUTO};
    in_folder(d.labels, "list"); /* any file will do */
    assert_int_equal(more(d, "path\nx\n", 7), VJ_ERR_USAGE);
}

/* Read a list that is refused; `text` gets the message. */
static void refused(const char *list, size_t bytes, char text[2048])
{
    char path[VJ_PATH];
    in_folder(path, "stderr");
    int saved = dup(STDERR_FILENO);
    assert_non_null(freopen(path, "w+", stderr));
    begin();
    const vj_status status = more((vj_dataset_settings){.format = VJ_LIST_AUTO}, list, bytes);
    rewind(stderr);
    text[fread(text, 1, 2047, stderr)] = '\0';
    dup2(saved, STDERR_FILENO);
    close(saved);
    if (status != VJ_ERR_FORMAT) fail_msg("accepted: %s", list);
}

/* Check that messages begin with list and line, and name the column and the value. */
static void test_message(void **state)
{
    (void)state;
    static const char *const lists[][2] = {
        {"path,a\n\"1\n2\",1\nx.mp4,cat\n", "list:4: column a: \"cat\" is not a number"},
        {"path,label\nx.mp4,dog\ny.mp4,3\n", "list:3: column label: \"3\" is a number, but "},
        {"path,label\nx.mp4,3\ny.mp4,dog\n", "list:3: column label: \"dog\" is a name, but "},
        {"path,label\nx.mp4,1.0\n", "list:2: column label: \"1.0\" is not a whole number"},
        {"path,label\nx.mp4,3000000000\n", "list:2: column label: \"3000000000\" is more than 2147483647"},
        {"path,label\nx.mp4,99999999999999999999\n", "list:2: column label: \"99999999999999999999\" is more"},
        {"path,label\nx.mp4,-2\n", "list:2: column label: \"-2\" is negative"},
        {"path,label\nx.mp4,\n", "list:2: column label is empty"},
        {",path,label\n0,x.mp4,1\n", "list:1: a column has no name"},
        {"path,kind,label_kind\nx.mp4,1,cat\n", "list:1: two columns are the label \"kind\""},
        {"path,a/b\nx.mp4,1\n", "slash"},
        {"Video,Class\nx.mp4,1\n", "list:1: the line looks like a header, but no column is called path"},
        {"image\tlabel_1\nx.jpg\t1\n", "looks like a header"},
        {"path,start,end\nx,1:00,0:59\n", "list:2: the end, 59 s, is not after the start, 60 s"},
        {"path,end\nx,0\n", "list:2: the end, 0 s, is not after the start, 0 s"},
        {"path,start\nx,1:60\n", "list:2: column start: \"1:60\" is no time"},
        {"path,start\nx,1.5:00\n", "column start: \"1.5:00\" is no time"},
        {"path,start\nx,nan\n", "column start: \"nan\" is no time"},
        {"[{\"video\": \"x\", \"n\": 1}]", "list:1: the object has no path; its keys are: video, n"},
        {"{\"path\": \"x\", \"label\": [1]}", "label label is [1]"},
        {"{\"path\": \"x\", \"start\": -1}", "start is -1,"},
        {"\x1f\x8b\x08 more", "is a gzip file: unpack it"},
        {"PK\x03\x04 more", "is a zip file, or a spreadsheet"},
        {"\n <!DOCTYPE HTML>", "is a web page"},
        {"\xff\xfep", "is in UTF-16"},
        {"    ftypisom", "is a video"},
        {"PAR1", "is a Parquet file"},
        {"\x89HDF\r\n\x1a\n", "is an HDF5 file"},
    };
    char text[2048];
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        refused(lists[i][0], strlen(lists[i][0]), text);
        if (!strstr(text, lists[i][1])) fail_msg("%s: %s", lists[i][1], text);
    }
}

/* Check the limits of the length of lines, records and objects. */
static void test_long(void **state)
{
    (void)state;
    enum { LENGTH = VJ_RECORD_BYTES + 10 };
    static char text[LENGTH + 64];
    static const char *const starts[] = {"path\n\"", "path\n", "{\"path\": \"", "a"};
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        memset(text, 'x', sizeof text - 1);
        memcpy(text, starts[i], strlen(starts[i]));
        assert_int_equal(parse(VJ_LIST_AUTO, text), VJ_ERR_FORMAT);
    }
    /* A path of the largest permitted length, then one byte longer. */
    for (int length = VJ_MEDIA_PATH - 1; length <= VJ_MEDIA_PATH; length++) {
        memset(text, 'x', (size_t)length);
        strcpy(text, "path\n/");
        memset(text + 6, 'x', (size_t)length - 1);
        text[6 + length - 1] = '\0';
        assert_int_equal(parse(VJ_LIST_AUTO, text), length < VJ_MEDIA_PATH ? VJ_OK : VJ_ERR_FORMAT);
    }
}

static void test_ids(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"a/b.c/0347ZoDXyP0_000095_000105.mp4", "0347ZoDXyP0"},
        {"x.mp4", "x"},
        {"x", "x"},
        {".mp4", ".mp4"},
        {"a.b", "a.b"},
        {"v1.2.webm", "v1.2"},
        {"x.y z", "x.y z"},
        {"_000095_000105.mp4", "_000095_000105"},
        {"a_00095_000105.mp4", "a_00095_000105"},
        {"dir/", ""},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char id[VJ_MEDIA_PATH];
        vj_media_id(id, pairs[i][0]);
        assert_string_equal(id, pairs[i][1]);
    }
}

static void test_escape(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"plain \xc3\xa4.mp4", "plain \xc3\xa4.mp4"}, /* UTF-8 stays */
        {"new\nline", "new\\x0aline"},
        {"back\\slash", "back\\\\slash"},
        {"\xff\xfe", "\\xff\\xfe"},
        {"\xc3", "\\xc3"},                   /* cut off */
        {"\xc0\xaf", "\\xc0\\xaf"},          /* longer than needed */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"}, /* a surrogate */
        {"\xf0\x9f\x8e\xac", "\xf0\x9f\x8e\xac"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char back[64], *escaped = vj_escape(pairs[i][0]);
        assert_string_equal(escaped, pairs[i][1]);
        assert_true(vj_unescape(escaped, back, sizeof back));
        assert_string_equal(back, pairs[i][0]);
        free(escaped);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csv),         cmocka_unit_test(test_csv_columns), cmocka_unit_test(test_plain),
        cmocka_unit_test(test_json),        cmocka_unit_test(test_kinetics),    cmocka_unit_test(test_ssv2),
        cmocka_unit_test(test_label_files), cmocka_unit_test(test_coco),        cmocka_unit_test(test_places205),
        cmocka_unit_test(test_howto100m),   cmocka_unit_test(test_mistakes),    cmocka_unit_test(test_message),
        cmocka_unit_test(test_long),        cmocka_unit_test(test_ids),         cmocka_unit_test(test_escape),
        cmocka_unit_test(test_separators),  cmocka_unit_test(test_paths_alone), cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, set_up_folder, tear_down_folder);
}
