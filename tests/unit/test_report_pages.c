/* Tests the input of report pages: intervals of results, all forms of CSV, and results of campaigns. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/markup.h"
#include "report/campaign.h"
#include "report/pages.h"

static char path[] = "/tmp/vjepa_pages_XXXXXX";

static int make_file(void **state)
{
    (void)state;
    const int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void put(const char *text, size_t bytes)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

static void csv_forms(void **state)
{
    static const char text[] = "a,b c,\"d,\"\"e\"\"\"\r\n1,,\"two\nlines\"\r\n\n2,x\n3,4.5e1,nan\n5,6,7";
    vj_csv_table csv;
    (void)state;
    put(text, sizeof text - 1);
    assert_int_equal(vj_csv_table_read(&csv, path), VJ_OK);
    assert_int_equal(csv.columns, 3);
    assert_int_equal(csv.rows, 3);
    assert_int_equal(csv.odd, 1);
    assert_int_equal(vj_csv_table_column(&csv, "d,\"e\""), 2);
    assert_int_equal(vj_csv_table_column(&csv, "nothing"), -1);
    assert_string_equal(vj_csv_table_text(&csv, 0, 2), "two\nlines");
    assert_string_equal(vj_csv_table_text(&csv, 0, -1), "");
    assert_true(isnan(vj_csv_table_number(&csv, 0, 1)) && isnan(vj_csv_table_number(&csv, 0, 2)));
    assert_true(vj_csv_table_number(&csv, 1, 1) == 45.0 && vj_csv_table_number(&csv, 2, 2) == 7.0);
    vj_csv_table_release(&csv);
}

/* Check that a file that is not text, does not exist or is empty is refused with a message, and that an open quote ends
 * with the file. */
static void csv_broken(void **state)
{
    char why[512];
    vj_csv_table csv;
    (void)state;
    vj_status_divert(why, sizeof why);
    put("a,b\n\0,c\n", 9);
    assert_int_equal(vj_csv_table_read(&csv, path), VJ_ERR_FORMAT);
    vj_csv_table_release(&csv);
    put("\n\n", 2);
    assert_int_equal(vj_csv_table_read(&csv, path), VJ_ERR_FORMAT);
    vj_csv_table_release(&csv);
    assert_int_equal(vj_csv_table_read(&csv, "/nowhere/at/all"), VJ_ERR_IO);
    vj_csv_table_release(&csv);
    vj_status_divert(NULL, 0);
    assert_non_null(strstr(why, "is no text")); /* the first message */
    put("a,b\n1,\"open\n2,3\n", 16);
    assert_int_equal(vj_csv_table_read(&csv, path), VJ_OK);
    assert_string_equal(vj_csv_table_text(&csv, 0, 1), "open\n2,3\n");
    vj_csv_table_release(&csv);
}

static void results(void **state)
{
    static const char text[] =
        "task,encoder,pooling,labels_percent,training_clips,validation_clips,seeds,top1_mean_percent,top1_std_percent,"
        "top1_error_percent,effective_rank\nt,e,knn,100,10,400,1,50.000,0.000,2.5,\nt,e,knn,50,10,400,3,140,0,2.5,\n";
    vj_campaign_results c;
    (void)state;
    put(text, sizeof text - 1);
    assert_int_equal(vj_campaign_read(&c, path), VJ_OK);
    assert_int_equal(c.count, 1);
    assert_int_equal(c.odd, 1); /* the accuracy of 140 % */
    assert_string_equal(c.rows[0].probe, "knn");
    assert_true(isnan(c.rows[0].low) && isnan(c.rows[0].effective_rank));
    assert_true(fabs(c.rows[0].wilson_low - 45.1235) < 1e-3 && fabs(c.rows[0].wilson_high - 54.8765) < 1e-3);
    vj_campaign_release(&c);
}

/* Check that the first message is kept as text, and that messages are printed again afterwards. */
static void diverted(void **state)
{
    char why[32];
    (void)state;
    vj_status_divert(why, sizeof why);
    assert_string_equal(why, "");
    vj_warn("the first of %d", 2);
    vj_warn("the second");
    assert_string_equal(why, "the first of 2");
    vj_status_divert(why, sizeof why);
    assert_int_equal(vj_raise(VJ_ERR_FORMAT, "a message that is longer than the room for it"), VJ_ERR_FORMAT);
    vj_status_divert(NULL, 0);
    assert_string_equal(why, "a message that is longer than t");
}

/* Check that inputs are named by as many last components of their paths as tell them apart. */
static void names(void **state)
{
    static const char *const paths[] = {"a/x/run", "b/x/run//", "c/other", "b/x/run", "run", "."},
                             *const want[] = {"a/x/run", "b/x/run", "other", "b/x/run", "run"};
    const vj_inputs all = {.paths = paths, .count = 6};
    (void)state;
    for (int i = 0; i < 5; i++) {
        char *name = vj_page_name(paths[i], &all);
        assert_string_equal(name, want[i]);
        free(name);
    }
    char *here = getcwd(NULL, 0), *name = vj_page_name(".", &all);
    assert_non_null(here);
    assert_string_equal(name, strrchr(here, '/') + 1);
    free(name);
    free(here);
}

/* Check that a text cannot steer a terminal, also not by control characters of two bytes. */
static void plain_for_terminals(void **state)
{
    char *text = NULL;
    size_t bytes;
    (void)state;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    vj_put_terminal(out, "a\033[31mb\nc\xff\xc2\x9b"
                         "31m\x7f \xc3\xa9");
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "a?[31mb?c??31m? \xc3\xa9");
    free(text);
}

static void durations(void **state)
{
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {{0, "0 s"},
                 {3.04e-5, "30.4 us"},
                 {0.00099949, "999 us"},
                 {0.0009996, "1 ms"},
                 {0.0421, "42.1 ms"},
                 {0.9996, "1 s"},
                 {24, "24 s"},
                 {119.6, "120 s"},
                 {255, "4.25 minutes"},
                 {7200, "2 hours"},
                 {86400, "24 hours"},
                 {12 * 86400, "12 days"},
                 {4321.0 * 86400, "4321 days"},
                 {-60, "-60 s"}};
    char text[32];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(vj_duration(cases[i].seconds, text), cases[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),     cmocka_unit_test(plain_for_terminals),
        cmocka_unit_test(csv_forms), cmocka_unit_test(csv_broken),
        cmocka_unit_test(results),   cmocka_unit_test(diverted),
        cmocka_unit_test(durations),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
