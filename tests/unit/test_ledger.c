/* Tests rows of the ledger, with any bytes in them, revised rows, and the summary. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pack/ledger.h"
#include "pack/report.h"

static const vj_video_info info = {.container = "mov",
                                   .codec = "h264",
                                   .width = 320,
                                   .height = 240,
                                   .fps = 29.97,
                                   .frames = 90,
                                   .decoded = 33,
                                   .missing = 1};

static vj_ledger_row a_row(void)
{
    return (vj_ledger_row){.source = 12,
                           .dataset = "k400",
                           .path = "/data/a \"b\", c\n\xff.mp4",
                           .reason = "1 frame, \"lost\"",
                           .verdict = VJ_LEDGER_DAMAGED,
                           .info = &info,
                           .bytes = 1234,
                           .digest = 0xabc,
                           .shard = 7,
                           .clips = 2,
                           .seconds = 0.25};
}

static void test_row(void **state)
{
    (void)state;
    vj_ledger_row row = a_row();
    char *text = vj_ledger_text(&row);
    assert_string_equal(text,
                        "12,k400,\"/data/a \"\"b\"\", c\\x0a\\xff.mp4\",1234,0000000000000abc,h264,mov,320,240,29.97,"
                        "90,33,0,1,damaged,\"1 frame, \"\"lost\"\"\",7,2,0.250");
    free(text);
    row.info = NULL;
    row.digest = 0;
    row.verdict = VJ_VIDEO_MISSING;
    text = vj_ledger_text(&row);
    assert_non_null(strstr(text, ".mp4\",1234,,,,0,0,0,0,0,0,0,missing,\""));
    free(text);
}

static void test_revised(void **state)
{
    (void)state;
    vj_ledger_row row = a_row();
    char *text = vj_ledger_text(&row), *revised = vj_ledger_revised(text, VJ_LEDGER_DUPLICATE, "as \"x\",");
    assert_string_equal(revised,
                        "12,k400,\"/data/a \"\"b\"\", c\\x0a\\xff.mp4\",1234,0000000000000abc,h264,mov,320,240,29.97,"
                        "90,33,0,1,duplicate,\"as \"\"x\"\",\",7,0,0.250");
    free(text);
    free(revised);
    assert_null(vj_ledger_revised("12,k400,\"a\",1", VJ_LEDGER_DUPLICATE, "")); /* this row is incomplete */
}

/* Check that the header has as many columns as a row, and that each verdict has its own name. */
static void test_names(void **state)
{
    (void)state;
    vj_ledger_row row = a_row();
    row.path = row.reason = "";
    char *text = vj_ledger_text(&row);
    int commas = 0;
    for (const char *s = text; *s; s++) commas += *s == ',';
    for (const char *s = vj_ledger_header; *s; s++) commas -= *s == ',';
    assert_int_equal(commas, 0);
    free(text);
    for (int a = 0; a < VJ_LEDGER_VERDICTS; a++)
        for (int b = 0; b < a; b++) assert_string_not_equal(vj_ledger_verdict_name(a), vj_ledger_verdict_name(b));
}

static void test_report(void **state)
{
    (void)state;
    static vj_pack_report r;
    vj_media_names names = {.dataset_count = 2, .dataset_names = {"one", "two"}};
    r.files[0][VJ_VIDEO_OK] = 3;
    r.clips_of[0][VJ_VIDEO_OK] = 6;
    r.files[0][VJ_LEDGER_DUPLICATE] = 1;
    r.files[1][VJ_LEDGER_DUPLICATE] = 4;
    r.files[1][VJ_VIDEO_MISSING] = 2;
    strcpy(r.missing[1], "a/b.mp4");
    r.held_out_videos = 9;
    r.held_out_unread = 2;
    assert_int_equal(vj_pack_report_files(&r, VJ_LEDGER_DUPLICATE), 5);
    char *text = vj_pack_report_text(&r, &names);
    assert_string_equal(text, "  one: 6 clips from 4 files, 4 of them found\n"
                              "    ok               3 files\n"
                              "    duplicate        1 files\n"
                              "  two: 0 clips from 6 files, 4 of them found\n"
                              "    missing          2 files, the first a/b.mp4\n"
                              "    duplicate        4 files\n"
                              "  compared with 7 held-out videos\n"
                              "  NOT compared with 2 held-out videos, which could not be decoded\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_row),
        cmocka_unit_test(test_revised),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
