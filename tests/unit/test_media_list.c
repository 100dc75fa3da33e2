/* Media lists: both forms, quoting, and mistakes, which name list and line; and the escaping of ledgers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pack/ledger.h"
#include "pack/list.h"

/* Parse a text as list `name` into `list`, which may hold entries already. */
static vj_status parse(vj_media_list *list, const char *name, const char *text)
{
    size_t bytes = strlen(text);
    char *copy = malloc(bytes + 1);
    assert_non_null(copy);
    memcpy(copy, text, bytes);
    vj_status status = vj_media_list_parse(list, name, copy, (int64_t)bytes);
    free(copy);
    return status;
}

static void test_csv(void **state)
{
    (void)state;
    vj_media_list l = {0};
    assert_int_equal(parse(&l, "data/train.csv",
                           "path,appearance,motion\r\n"
                           "a.mp4,1,2\r\n"
                           "\r\n"
                           "\"with, comma and \"\"quotes\"\".mp4\",3,-1\n"
                           "\"two\nlines.mp4\",5,6\n"
                           "/abs/b.mp4,7,8"),
                     VJ_OK);
    assert_int_equal(l.count, 4);
    assert_int_equal(l.label_count, 2);
    assert_string_equal(l.label_names[0], "appearance");
    assert_string_equal(l.label_names[1], "motion");
    assert_string_equal(l.path[0], "data/a.mp4");
    assert_string_equal(l.path[1], "data/with, comma and \"quotes\".mp4");
    assert_string_equal(l.path[2], "data/two\nlines.mp4");
    assert_string_equal(l.path[3], "/abs/b.mp4");
    const int32_t labels[] = {1, 2, 3, -1, 5, 6, 7, 8};
    assert_memory_equal(l.labels, labels, sizeof labels);
    vj_media_list_release(&l);
}

static void test_csv_without_labels(void **state)
{
    (void)state;
    vj_media_list l = {0};
    assert_int_equal(parse(&l, "list", "\xef\xbb\xbfpath\nx.mp4\n"), VJ_OK);
    assert_int_equal(l.count, 1);
    assert_int_equal(l.label_count, 0);
    assert_string_equal(l.path[0], "x.mp4");
    vj_media_list_release(&l);
}

static void test_published(void **state)
{
    (void)state;
    vj_media_list l = {0};
    assert_int_equal(parse(&l, "list", "/k400/abc.mp4 17\r\nwith blank.mp4 0\n\npath,odd.mp4 3"), VJ_OK);
    assert_int_equal(l.count, 3);
    assert_int_equal(l.label_count, 1);
    assert_string_equal(l.label_names[0], "label");
    assert_string_equal(l.path[0], "/k400/abc.mp4");
    assert_string_equal(l.path[1], "with blank.mp4");
    assert_string_equal(l.path[2], "path,odd.mp4");
    const int32_t labels[] = {17, 0, 3};
    assert_memory_equal(l.labels, labels, sizeof labels);
    /* Lists are concatenated when their labels agree. */
    assert_int_equal(parse(&l, "more", "path,label\nz.mp4,4\n"), VJ_OK);
    assert_int_equal(l.count, 4);
    assert_int_equal(l.labels[3], 4);
    assert_int_equal(parse(&l, "other", "path,colour\nz.mp4,4\n"), VJ_ERR_FORMAT);
    vj_media_list_release(&l);
}

static void test_mistakes(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",                                              /* nothing */
        "path,a\n",                                      /* only a header */
        "path,a\nx.mp4,cat\n",                           /* labels are whole numbers */
        "path,a\nx.mp4,1.5\n",                           /* */
        "path,a\nx.mp4,\n",                              /* */
        "path,a\nx.mp4,-2\n",                            /* */
        "path,a\nx.mp4,99999999999\n",                   /* */
        "path,a\nx.mp4\n",                               /* too few fields */
        "path,a\nx.mp4,1,2\n",                           /* too many */
        "path,a\n,1\n",                                  /* no path */
        "path,a\n\"x.mp4,1\n",                           /* no closing quote */
        "path,a\n\"x\"y,1\n",                            /* text behind it */
        "path,\nx.mp4,1\n",                              /* a label without a name */
        "path,a,b,c,d,e,f,g,h,i\nx,1,1,1,1,1,1,1,1,1\n", /* more than 8 labels */
        "x.mp4\n",                                       /* the published form needs a label */
        "x.mp4 cat\n",                                   /* */
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        vj_media_list l = {0};
        if (parse(&l, "list", wrong[i]) != VJ_ERR_FORMAT) fail_msg("accepted: %s", wrong[i]);
        vj_media_list_release(&l);
    }
    char binary[] = "path\0x";
    vj_media_list l = {0};
    assert_int_equal(vj_media_list_parse(&l, "list", binary, sizeof binary - 1), VJ_ERR_FORMAT);
    vj_media_list_release(&l);
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
        char *escaped = vj_ledger_escape(pairs[i][0]);
        assert_string_equal(escaped, pairs[i][1]);
        free(escaped);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csv),       cmocka_unit_test(test_csv_without_labels),
        cmocka_unit_test(test_published), cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_escape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
