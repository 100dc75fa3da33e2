/* Tests the plans, samples and statistics of the benchmarks, and their reports as JSON and text. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/report.h"
#include "bench/spread.h"

static vj_measurements samples;

static vj_timing timing_of(int count, const double *values)
{
    samples.count = 0;
    for (int i = 0; i < count; i++) vj_measurements_add(&samples, values[i]);
    return vj_measurements_timing(&samples);
}

static void timings(void **state)
{
    (void)state;
    vj_timing t = timing_of(5, (const double[]){3, 1, 5, 2, 4});
    assert_true(t.min == 1 && t.median == 3 && t.max == 5);
    t = timing_of(4, (const double[]){10, 2, 4, 1});
    assert_true(t.min == 1 && t.median == 3 && t.max == 10);
    assert_true(samples.value[0] == 10); /* the samples keep their order */
    t = timing_of(1, (const double[]){7});
    assert_true(t.min == 7 && t.median == 7 && t.max == 7);
}

static void plans(void **state)
{
    vj_plan plan;
    (void)state;
    assert_int_equal(vj_plan_parse(&plan, NULL, NULL, 2.5), VJ_OK);
    assert_true(plan.repeats == 0 && plan.seconds == 2.5);
    assert_int_equal(vj_plan_parse(&plan, NULL, "0.5", 2.5), VJ_OK);
    assert_true(plan.repeats == 0 && plan.seconds == 0.5);
    assert_int_equal(vj_plan_parse(&plan, "3", NULL, 2.5), VJ_OK);
    assert_int_equal(plan.repeats, 3);
    const char *const wrong[][2] = {{"1", NULL},    {"2", NULL},   {"0", NULL},   {"-3", NULL},  {"3.5", NULL},
                                    {"1001", NULL}, {"x", NULL},   {"", NULL},    {"nan", NULL}, {"3", "1"},
                                    {NULL, "0"},    {NULL, "inf"}, {NULL, "1 s"}, {NULL, ""},    {NULL, "-1"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(vj_plan_parse(&plan, wrong[i][0], wrong[i][1], 2.5), VJ_ERR_USAGE);
}

static int taken(const vj_plan *plan, double each)
{
    samples.count = 0;
    while (vj_plan_goes_on(plan, &samples)) vj_measurements_add(&samples, each);
    return samples.count;
}

static void how_long(void **state)
{
    (void)state;
    assert_int_equal(taken(&(vj_plan){.repeats = 5, .seconds = 1}, 100), 5);
    assert_int_equal(taken(&(vj_plan){.seconds = 1}, 100), VJ_FEWEST_REPEATS);
    assert_int_equal(taken(&(vj_plan){.seconds = 1}, 0.125), 8);
    assert_int_equal(taken(&(vj_plan){.seconds = 1}, 0), VJ_MAX_REPEATS);
}

static char *print(vj_status (*how)(const json_t *, FILE *), const json_t *report)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    assert_int_equal(how(report, out), VJ_OK);
    fclose(out);
    return text;
}

static void reports(void **state)
{
    (void)state;
    json_t *report = json_object();
    vj_put_text(report, "host", "here");
    vj_put_text(report, "file", "caf\xe9.h5"); /* Latin-1, which a file name may have */
    vj_put_number(report, "nothing", NAN);
    vj_put_timing(report, "step_s", (vj_timing){0.5, 0.75, 2});
    json_t *row = vj_put_row(report, "rows");
    vj_put_text(row, "name", "first");
    vj_put_count(row, "n", 1568);
    row = vj_put_row(report, "rows");
    vj_put_text(row, "name", "a");
    vj_put_count(row, "n", 7);

    char *text = print(vj_report_text, report);
    assert_non_null(strstr(text, "host                 here\n"));
    assert_non_null(strstr(text, "file                 caf\xef\xbf\xbd.h5\n"));
    assert_non_null(strstr(text, "500 / 750 / 2000 ms"));
    assert_non_null(strstr(text, "name      n\nfirst  1568\na         7\n"));
    free(text);

    text = print(vj_report_json, report);
    json_t *again = json_loads(text, 0, NULL);
    assert_true(json_equal(report, again));
    assert_true(json_is_null(json_object_get(again, "nothing")));
    json_decref(again);
    json_decref(report);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(timings), cmocka_unit_test(plans), cmocka_unit_test(how_long),
                                       cmocka_unit_test(reports)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
