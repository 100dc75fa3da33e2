/* Tests parts of vjepa-report --watch: curves drawn in characters, growing metrics, the state of a run, the screen. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "report/sparkline.h"
#include "report/watch.h"

#define HEADER                                                                                                         \
    "step,samples,loss,lr,grad_norm_encoder,effective_rank,skipped_steps,failed_checkpoints,clips_per_s,step_s\n"

static char folder[] = "/tmp/vjepa_watch_XXXXXX";
static char path[64];
static vj_follow follow;
static vj_course course;
static vj_sparkline spark;

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/metrics.csv", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

/* Remove the files of an earlier test. */
static int prepare(void **state)
{
    static const char *const names[] = {"metrics.csv", "lease",       "complete",
                                        "config.yaml", "history.csv", "watchdog.txt"};
    char name[96];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(name, sizeof name, "%s/%s", folder, names[i]);
        unlink(name);
    }
    memset(&course, 0, sizeof course);
    return 0;
}

static void put(const char *name, const char *text)
{
    char whole[96];
    snprintf(whole, sizeof whole, "%s/%s", folder, name);
    assert_int_equal(vj_file_put_text(whole, text), VJ_OK);
}

static void append(const char *text)
{
    FILE *f = fopen(path, "a");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* Append the rows of steps [from, to] with the loss 1000 - step, and a rank at every 10th step. */
static void append_rows(int from, int to)
{
    FILE *f = fopen(path, "a");
    assert_non_null(f);
    for (int s = from; s <= to; s++) {
        char rank[16] = "";
        if (s % 10 == 0) snprintf(rank, sizeof rank, "%d", s / 10);
        fprintf(f, "%d,%d,%d,0.001,%d,%s,0,0,100,0.5\n", s, 2 * s, 1000000 - s, s, rank);
    }
    assert_int_equal(fclose(f), 0);
}

/* ------------------------------------------------------------------------------------------------ curves */

/* Check that for any number of steps each is counted in a span, extremes and sums are kept, and memory does not grow.
 */
static void course_keeps_extremes(void **state)
{
    (void)state;
    const int steps = 5 * VJ_COURSE + 7;
    double sum = 0.0;
    int64_t count = 0;
    for (int s = 11; s < 11 + steps; s++) vj_course_add(&course, s, s == 777 ? -5.0 : s == 4000 ? NAN : s);
    assert_int_equal(course.stride, 8);
    assert_int_equal(course.first, 11);
    assert_int_equal(course.count, (steps + 7) / 8);
    double low = INFINITY, high = -INFINITY;
    for (int i = 0; i < course.count; i++) {
        low = fmin(low, course.span[i].low);
        high = fmax(high, course.span[i].high);
        sum += course.span[i].sum;
        count += course.span[i].count;
    }
    assert_true(low == -5.0 && high == 10 + steps);
    assert_int_equal(count, steps - 1);
    assert_true(sum == (11.0 + 10.0 + steps) * steps / 2.0 - 777.0 - 5.0 - 4000.0);
}

static void curve_in_ascii(void **state)
{
    (void)state;
    for (int s = 0; s < 6; s++) vj_course_add(&course, s, s);
    vj_sparkline_draw(&spark, &course, 6, 2, false);
    assert_true(spark.any && !spark.logarithmic && spark.low == 0.0 && spark.high == 5.0);
    assert_string_equal(spark.row[0], "   _-\"");
    assert_string_equal(spark.row[1], "_-\"   ");
}

static void curve_in_dots(void **state)
{
    (void)state;
    for (int s = 0; s < 4; s++) vj_course_add(&course, s, s);
    vj_sparkline_draw(&spark, &course, 2, 1, true);
    /* There are four columns of dots; each goes from the previous value to its own: at the bottom, up to the second
     * row, ...
     */
    assert_string_equal(spark.row[0], "\xe2\xa3\xa0\xe2\xa0\x9e"); /* U+28E0 U+281E */
    memset(&course, 0, sizeof course);
    for (int s = 0; s < 4; s++) vj_course_add(&course, s, 3.0);
    vj_sparkline_draw(&spark, &course, 2, 1, true);
    assert_string_equal(spark.row[0], "\xe2\xa0\x92\xe2\xa0\x92"); /* equal values give a line in the middle */
}

/* Check that values far apart are drawn on a logarithmic scale, that steps without a value repeat the previous one, and
 * that without any value there is no curve. */
static void curve_of_odd_values(void **state)
{
    (void)state;
    vj_sparkline_draw(&spark, &course, 5, 1, false);
    assert_false(spark.any);
    assert_string_equal(spark.row[0], "     ");
    const double values[] = {NAN, 1.0, NAN, 1e6, NAN, INFINITY, 1e3};
    for (int s = 0; s < 7; s++) vj_course_add(&course, s, values[s]);
    vj_sparkline_draw(&spark, &course, 7, 1, false);
    assert_true(spark.logarithmic);
    assert_string_equal(spark.row[0], " __\"\"\"-");
    vj_sparkline_draw(&spark, &course, 100000, 100000, true);
    assert_int_equal(strlen(spark.row[VJ_SPARK_ROWS - 1]), 3 * VJ_SPARK_COLUMNS);
}

static void bars(void **state)
{
    char text[3 * VJ_SPARK_COLUMNS + 1];
    (void)state;
    vj_bar_draw(text, 0.5, 4, false);
    assert_string_equal(text, "##..");
    vj_bar_draw(text, 7.0, 4, false);
    assert_string_equal(text, "####");
    vj_bar_draw(text, NAN, 4, false);
    assert_string_equal(text, "....");
    vj_bar_draw(text, 0.625, 2, true);
    assert_string_equal(text, "\xe2\x96\x88\xe2\x96\x8e"); /* a full block and two eighths of one */
}

/* ------------------------------------------------------------------------------------------------ metrics */

static void metrics_grow(void **state)
{
    (void)state;
    vj_follow_begin(&follow, folder, true);
    vj_follow_read(&follow);
    assert_false(follow.found);
    append("step,samp");
    vj_follow_read(&follow);
    assert_true(follow.found && !follow.readable);
    prepare(state);
    append(HEADER);
    append_rows(1, 5);
    vj_follow_read(&follow);
    assert_true(follow.readable);
    assert_int_equal(follow.rows, 5);
    assert_true(isnan(follow.known[VJ_METRIC_RANK]));
    append_rows(6, 25);
    append("26,52,0.25,0.001,7"); /* half a row, which is just being written */
    vj_follow_read(&follow);
    assert_int_equal(follow.step, 25);
    append(",,0,1,100,0.5\n27,54,,0.001,7,,3,1,100,0.5\n");
    vj_follow_read(&follow);
    assert_int_equal(follow.rows, 27);
    assert_int_equal(follow.odd, 0);
    assert_true(follow.known[VJ_METRIC_LOSS] == 0.25 && isnan(follow.value[VJ_METRIC_LOSS]));
    assert_true(follow.known[VJ_METRIC_RANK] == 2.0 && isnan(follow.value[VJ_METRIC_RANK]));
    assert_true(follow.value[VJ_METRIC_SKIPPED] == 3.0);
    assert_true(vj_follow_mean(&follow, VJ_METRIC_STEP_S, 1000) == 0.5);
    assert_true(vj_follow_mean(&follow, VJ_METRIC_GRAD_ENCODER, 4) == (24 + 25 + 7 + 7) / 4.0);
    assert_true(isnan(vj_follow_mean(&follow, VJ_METRIC_MEMORY, 4))); /* the file has no such column */
    assert_int_equal(follow.course[VJ_METRIC_LOSS].count, 27);
}

/* Check that lines which are no rows are counted and skipped, and that the rows after them are read. */
static void metrics_with_odd_lines(void **state)
{
    (void)state;
    append(HEADER);
    append_rows(1, 3);
    append("4,8,0.5\n5,10,zero,0.001,7,,0,0,100,0.5\n\n3,6,0.5,0.001,7,,0,0,100,0.5\n");
    append_rows(4, 4);
    vj_follow_begin(&follow, folder, true);
    vj_follow_read(&follow);
    assert_int_equal(follow.rows, 4);
    assert_int_equal(follow.odd, 4);
    assert_int_equal(follow.step, 4);
    char *long_line = malloc(700000);
    assert_non_null(long_line);
    memset(long_line, '1', 699999);
    long_line[699999] = '\0';
    append(long_line);
    free(long_line);
    append("\n");
    append_rows(5, 6);
    vj_follow_read(&follow);
    assert_int_equal(follow.step, 6);
}

/* Check that a replaced file is noticed, as after a start from a checkpoint, and so is one that has become shorter. */
static void metrics_are_replaced(void **state)
{
    char text[4096] = HEADER "1,2,0.5,0.001,7,,0,0,100,0.5\n";
    (void)state;
    append(HEADER);
    append_rows(1, 300);
    vj_follow_begin(&follow, folder, true);
    vj_follow_read(&follow);
    assert_int_equal(follow.step, 300);
    put("metrics.csv", text);
    vj_follow_read(&follow);
    assert_int_equal(follow.step, 1);
    assert_int_equal(follow.course[VJ_METRIC_LOSS].count, 1);
    append_rows(2, 9);
    vj_follow_read(&follow);
    assert_int_equal(truncate(path, (off_t)strlen(text)), 0);
    vj_follow_read(&follow);
    assert_int_equal(follow.step, 1);
    unlink(path);
    vj_follow_read(&follow);
    assert_false(follow.found);
    assert_int_equal(follow.rows, 0);
}

/* Check that of a long file only the last rows are read, beginning with a whole one. */
static void metrics_from_the_end(void **state)
{
    (void)state;
    append(HEADER);
    append_rows(1, 20000);
    vj_follow_begin(&follow, folder, false);
    vj_follow_read(&follow);
    assert_int_equal(follow.step, 20000);
    assert_int_equal(follow.odd, 0);
    assert_true(follow.rows > 1000 && follow.rows < 19000);
    assert_true(follow.known[VJ_METRIC_RANK] == 2000.0);
    assert_int_equal(follow.course[VJ_METRIC_LOSS].first, 20001 - follow.rows);
}

/* ------------------------------------------------------------------------------------------------ states */

static vj_run_view view;

static vj_run_state state_of(void)
{
    vj_run_view_begin(&view, folder, true);
    vj_run_view_refresh(&view);
    return view.state;
}

/* Set the time of a file to so many seconds ago. */
static void make_old(const char *name, double age_s)
{
    char whole[96];
    struct timespec now;
    snprintf(whole, sizeof whole, "%s/%s", folder, name);
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec -= (time_t)age_s;
    const struct timespec times[2] = {now, now};
    assert_int_equal(utimensat(AT_FDCWD, whole, times, 0), 0);
}

static const char lease[] = "host elsewhere\npid 7\nstarted 8\nboot another\nnamespace pid:[1]\njob 4711\n"
                            "since 2020-01-01T00:00:00Z\ntoken 00000000000000aa\n";

static void states(void **state)
{
    (void)state;
    assert_int_equal(state_of(), VJ_RUN_MISSING);
    put("lease", lease);
    assert_int_equal(state_of(), VJ_RUN_STARTING);
    append(HEADER);
    append_rows(1, 50);
    assert_int_equal(state_of(), VJ_RUN_RUNNING);
    make_old("metrics.csv", 100);
    assert_int_equal(state_of(), VJ_RUN_RUNNING);
    make_old("metrics.csv", 1000);
    assert_int_equal(state_of(), VJ_RUN_HUNG);
    assert_true(view.alarms > 0 && strstr(view.alarm[0], "no progress"));
    append("51,102,0.5,0.001,7,,0,0,100,100\n"); /* steps of 100 s */
    make_old("metrics.csv", 1000);
    assert_int_equal(state_of(), VJ_RUN_RUNNING);
    make_old("lease", 1000);
    assert_int_equal(state_of(), VJ_RUN_KILLED);
    assert_non_null(strstr(view.alarm[0], "process 7 on elsewhere"));
    unlink("lease");
    put("complete", "51 steps\n");
    assert_int_equal(state_of(), VJ_RUN_COMPLETE);
}

/* Check that if no job works on a run the end of its history says how the last job ended. */
static void ends(void **state)
{
    (void)state;
#define LINE(event, step, why) "2026-01-02T03:04:05Z," event "," step ",2,node1,\"vjepa 1\",\"" why "\"\n"
#define START                  "time,event,step,ranks,host,code,why\n" LINE("start", "0", "")
    append(HEADER);
    append_rows(1, 50);
    put("history.csv", START);
    assert_int_equal(state_of(), VJ_RUN_KILLED);
    assert_string_equal(view.alarm[0], "the job was killed");
    put("history.csv", START LINE("roll_back", "40", "the loss was not finite"));
    assert_int_equal(state_of(), VJ_RUN_KILLED);
    put("watchdog.txt", "rank 1 reads clips\n");
    assert_int_equal(state_of(), VJ_RUN_HUNG);
    assert_non_null(strstr(view.alarm[0], "see watchdog.txt"));
    put("history.csv", START LINE("failed", "50", "no space left"));
    assert_int_equal(state_of(), VJ_RUN_FAILED);
    assert_string_equal(view.alarm[0], "the job failed at step 50: no space left");
    put("history.csv", START LINE("stop", "50", "signal 10"));
    assert_int_equal(state_of(), VJ_RUN_STOPPED);
    assert_string_equal(view.stopped, "step 50: signal 10");
    put("history.csv", START LINE("done", "50", ""));
    assert_int_equal(state_of(), VJ_RUN_STOPPED);
    put("lease", lease);
    assert_int_equal(state_of(), VJ_RUN_RUNNING);
#undef LINE
#undef START
}

/* Check that the number of steps comes from the settings, and that unknown settings of another version do no harm. */
static void settings(void **state)
{
    (void)state;
    append(HEADER);
    append_rows(1, 50);
    put("config.yaml", "train: {steps_per_epoch: 10, epochs: 20}\nlog: {rank_alarm: 6}\n");
    assert_int_equal(state_of(), VJ_RUN_STOPPED);
    assert_int_equal(view.steps, 200);
    assert_true(fabs(vj_run_view_left_s(&view) - 75.0) < 1e-9);
    assert_int_equal(view.alarms, 1);
    assert_string_equal(view.alarm[0], "collapse: the effective rank is 5.0, below log.rank_alarm 6.0");
    put("config.yaml", "train: {steps_of_another_release: 10}\n");
    assert_int_equal(state_of(), VJ_RUN_STOPPED);
    assert_int_equal(view.steps, 0);
    assert_true(isnan(vj_run_view_left_s(&view)));
    assert_non_null(strstr(view.alarm[0], "steps_of_another_release"));
}

/* Check that the screen fits a window of any size, and that texts from files cannot control the terminal. */
static void screen_fits(void **state)
{
    (void)state;
    append(HEADER);
    append_rows(1, 50);
    assert_int_equal(state_of(), VJ_RUN_STOPPED);
    snprintf(view.alarm[0], VJ_ALARM_TEXT, "evil \033[2J text");
    view.alarms = 1;
    for (int columns = 20; columns <= 200; columns += 20)
        for (int lines = 10; lines <= 60; lines += 10) {
            char *text = NULL;
            size_t bytes;
            const vj_terminal terminal = {.lines = lines, .columns = columns, .screen = true};
            FILE *out = open_memstream(&text, &bytes);
            assert_non_null(out);
            vj_watch_page(&terminal, &view, 1, out);
            assert_int_equal(fclose(out), 0);
            assert_null(strstr(text, "\033[2J"));
            int rows = 0;
            for (const char *c = text; (c = strchr(c, '\n')) != NULL; c++) rows++;
            if (columns >= 80 && lines >= 20) assert_in_range(rows, 6, lines);
            free(text);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(course_keeps_extremes, prepare),
        cmocka_unit_test_setup(curve_in_ascii, prepare),
        cmocka_unit_test_setup(curve_in_dots, prepare),
        cmocka_unit_test_setup(curve_of_odd_values, prepare),
        cmocka_unit_test_setup(bars, prepare),
        cmocka_unit_test_setup_teardown(metrics_grow, prepare, prepare),
        cmocka_unit_test_setup_teardown(metrics_with_odd_lines, prepare, prepare),
        cmocka_unit_test_setup_teardown(metrics_are_replaced, prepare, prepare),
        cmocka_unit_test_setup_teardown(metrics_from_the_end, prepare, prepare),
        cmocka_unit_test_setup_teardown(states, prepare, prepare),
        cmocka_unit_test_setup_teardown(ends, prepare, prepare),
        cmocka_unit_test_setup_teardown(settings, prepare, prepare),
        cmocka_unit_test_setup_teardown(screen_fits, prepare, prepare),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
