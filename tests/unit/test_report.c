/* Tests parts of the report: numbers parsed like strtod(), broken lines reported, peaks kept, texts escaped, settings
 * as flat lists. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/markup.h"
#include "report/decimate.h"
#include "report/inside.h"
#include "report/recorded.h"
#include "report/script.h"
#include "report/svg.h"

/* ------------------------------------------------------------------------------------------------ numbers */

static void parses_as_strtod(const char *text)
{
    double value;
    const char *end = vj_parse_number(text, text + strlen(text), &value);
    char *stop;
    const double want = strtod(text, &stop);
    assert_non_null(end);
    assert_int_equal(end - text, stop - text);
    assert_memory_equal(&value, &want, sizeof value);
}

static void test_numbers_are_those_of_strtod(void **state)
{
    (void)state;
    static const char *const texts[] = {"0",
                                        "-0",
                                        "1",
                                        "-17",
                                        "0.1",
                                        "1e22",
                                        "1e23",
                                        "1e-22",
                                        "1e-23",
                                        "9007199254740993",
                                        "12345678901234567890123",
                                        "4.9e-324",
                                        "1.7976931348623157e308",
                                        "2.5e-3",
                                        "+3.25",
                                        "1.",
                                        ".5",
                                        "0.000000000000000000000000000001",
                                        "123456789e-05"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) parses_as_strtod(texts[i]);
    uint64_t bits = 88172645463325252u;
    for (int i = 0; i < 200000; i++) {
        char text[40];
        bits ^= bits << 13, bits ^= bits >> 7, bits ^= bits << 17;
        const double value = ldexp((double)(int64_t)bits, (int)(bits % 120) - 110);
        snprintf(text, sizeof text, i % 2 ? "%.9g" : "%.17g", value);
        parses_as_strtod(text);
    }
}

static void test_no_number(void **state)
{
    (void)state;
    static const char *const none[] = {"null", "nan", "NaN", "inf", "-inf", "Infinity"}, *const wrong[] = {
                                                                                             "",   "x",  "-",  ".",
                                                                                             "e5", "1e", "1e+"};
    double value = 1.0;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_ptr_equal(vj_parse_number(none[i], none[i] + strlen(none[i]), &value), none[i] + strlen(none[i]));
        assert_true(isnan(value));
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_null(vj_parse_number(wrong[i], wrong[i] + strlen(wrong[i]), &value));
    assert_non_null(vj_parse_number("12345", "12345" + 2, &value)); /* nothing is read beyond the end */
}

static const char *put(const char *name, const char *text)
{
    FILE *out = fopen(name, "w");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
    return name;
}

static bool says(const vj_problems *problems, const char *text)
{
    for (int i = 0; i < problems->count; i++)
        if (strstr(problems->text[i], text)) return true;
    for (int i = 0; i < problems->count; i++) print_error("%s\n", problems->text[i]);
    return false;
}

static void test_broken_lines_are_named(void **state)
{
    (void)state;
    vj_numbers n;
    vj_problems p = {0};
    put("broken.csv", "step,loss,lr\n1,0.5,1e-3\n2,,0.002\n3,0.25\n4,x,1\n5,1,2,3\n6,0.125,3e-3\r\n7,0.1");
    assert_true(vj_numbers_read(&n, "broken.csv", "step", &p));
    assert_int_equal(n.rows, 3);
    const double *loss = vj_numbers_find(&n, "loss"), *lr = vj_numbers_find(&n, "lr");
    assert_true(loss[0] == 0.5 && isnan(loss[1]) && loss[2] == 0.125 && lr[2] == 3e-3);
    assert_null(vj_numbers_find(&n, "los"));
    assert_int_equal(p.count, 4);
    assert_true(says(&p, "broken.csv:4: the header has 3 cells, this line 2"));
    assert_true(says(&p, "broken.csv:5: column loss holds \"x\""));
    assert_true(says(&p, "broken.csv:6: the header has 3 cells, this line 4"));
    assert_true(says(&p, "broken.csv:8: the last line has no end"));
    vj_numbers_release(&n);
    vj_problems_release(&p);
}

static void test_json_lines(void **state)
{
    (void)state;
    vj_numbers n;
    vj_problems p = {0};
    put("lines.jsonl",
        "{\"step\": 1, \"loss\": 0.5}\n{\"step\": 2, \"loss\": null, \"new\": -3}\n{\"step\": 3, \"loss\"\n[]\n");
    assert_true(vj_numbers_read(&n, "lines.jsonl", "step", &p));
    assert_int_equal(n.rows, 2);
    assert_true(isnan(vj_numbers_find(&n, "new")[0]) && vj_numbers_find(&n, "new")[1] == -3.0);
    assert_true(isnan(vj_numbers_find(&n, "loss")[1]));
    assert_true(says(&p, "lines.jsonl:3: not one JSON object") && says(&p, "lines.jsonl:4"));
    vj_numbers_release(&n);
    vj_problems_release(&p);
}

static void test_no_table(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "day,hours\n1,2\n", "step,loss", "\x89PNG\r\n\x1a\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        vj_numbers n;
        vj_problems p = {0};
        put("none.csv", texts[i]);
        assert_false(vj_numbers_read(&n, "none.csv", "step", &p));
        assert_true(p.count > 0);
        vj_numbers_release(&n);
        vj_problems_release(&p);
    }
    vj_numbers n;
    vj_problems p = {0};
    assert_false(vj_numbers_read(&n, "not-there.csv", "step", &p));
    assert_true(says(&p, "No such file"));
    vj_numbers_release(&n);
    vj_problems_release(&p);
}

/* ------------------------------------------------------------------------------------------------ decimation */

enum { ROWS = 50000 };

static void test_peaks_stay(void **state)
{
    (void)state;
    static double x[ROWS], y[ROWS];
    static bool keep[ROWS];
    for (int i = 0; i < ROWS; i++) {
        x[i] = i + 1;
        y[i] = sin(i * 0.37) + (i % 7919 == 17 ? 5.0 : 0.0) - (i % 6007 == 11 ? 5.0 : 0.0);
    }
    for (int i = 20000; i < 21000; i++) y[i] = NAN; /* a gap of several columns */
    vj_decimate(keep, x, y, ROWS, x[0], x[ROWS - 1], VJ_LINEAR, 300);
    int kept = 0, gaps = 0;
    for (int i = 0; i < ROWS; i++) {
        kept += keep[i];
        gaps += keep[i] && isnan(y[i]);
        if ((i % 7919 == 17 || i % 6007 == 11) && !isnan(y[i])) assert_true(keep[i]);
    }
    assert_true(keep[0] && keep[ROWS - 1]);
    assert_true(kept <= 2 * 300 + 2 && kept > 300);
    assert_true(gaps > 0);
}

static void test_a_curve_keeps_its_extremes(void **state)
{
    (void)state;
    static double x[ROWS], y[ROWS];
    for (int i = 0; i < ROWS; i++) {
        x[i] = i + 1;
        y[i] = i == 31415 ? 9.0 : i == 27182 ? -9.0 : 1.0 + (i % 5) * 0.1;
    }
    y[4] = NAN;
    vj_curve curve = vj_curve_from("loss", x, y, ROWS);
    double min = 1.0, max = 1.0;
    for (int64_t i = 0; i < curve.count; i++) {
        min = fmin(min, curve.value[i]);
        max = fmax(max, curve.value[i]);
    }
    assert_true(curve.count < ROWS && min == -9.0 && max == 9.0);
    assert_true(curve.numbers == ROWS - 1 && curve.first_empty == 5 && !curve.sparse);
    assert_true(curve.min == -9.0 && curve.max == 9.0 && curve.last == y[ROWS - 1]);
    assert_true(fabs(curve.recent - 1.2) < 1e-12);
    assert_true(curve.median_count > 50);
    for (int64_t i = 0; i < curve.median_count; i++) assert_true(fabs(curve.median[i] - 1.2) < 1e-12);
    vj_curve_release(&curve);
}

/* ------------------------------------------------------------------------------------------------ drawing */

/* Check that no text from a name reaches gnuplot. */
static void test_gnuplot_sees_no_text(void **state)
{
    (void)state;
    const double x[] = {1, 2, 3}, y[] = {1, NAN, 3};
    const char *const evil = "'; system \"touch owned\"; `touch owned`\n@x";
    vj_document *d = vj_document_create(evil);
    vj_plot *plot = vj_document_plot(d, evil, evil);
    vj_plot_x(plot, evil, evil, VJ_LINEAR);
    vj_plot_y(plot, evil, evil, VJ_LOG);
    vj_plot_series(plot, VJ_LINES, 0, evil, x, y, 3);
    vj_plot_series(plot, VJ_LINES_POINTS, 9, evil, x, y, 3);
    vj_plot_mark(plot, 2.0, 0, evil);
    vj_plot_level(plot, 2.0, evil);
    char *script = NULL;
    size_t bytes;
    vj_labels labels = {0};
    FILE *out = open_memstream(&script, &bytes);
    vj_script_plot(out, plot, "0.svg", 100, &labels);
    assert_int_equal(fclose(out), 0);
    assert_null(strstr(script, "touch"));
    assert_null(strstr(script, "system"));
    assert_null(strchr(script, '`'));
    for (const char *c = script; *c; c++) assert_true(*c != '@');
    assert_string_equal(plot->name + strlen(plot->name) - 2, "-x");
    free(script);
    vj_labels_release(&labels);
    vj_document_destroy(d);
}

/* Check that placeholders become texts, colours become classes, ids become unique, and coordinates relative, with one
 * decimal. */
static void test_svg(void **state)
{
    (void)state;
    static char text[] = "a<b", *texts[] = {text};
    static int elements[] = {0};
    const vj_labels labels = {.texts = texts, .elements = elements, .count = 1, .element_count = 1};
    char *svg = vj_svg_themed(
        "<svg viewBox=\"0 0 480 300\">\n<g id=\"gnuplot_canvas\">\n<defs>\n<circle id='gpDot'/>\n</defs>\n"
        "<g fill=\"none\">\n</g>\n<g id=\"gnuplot_plot_1\" ><title>gnuplot_plot_1</title>\n"
        "<path stroke='rgb(  1,   0,   3)'  d='M1.04,2.00 L2.06,1.00 L2.06,1.00 L2.00,4.00  '/></g>"
        "<text>~0~__</text><text> 1.5</text></g></svg>",
        7, "t\"t", &labels);
    assert_non_null(svg);
    assert_non_null(strstr(svg, "aria-label=\"t&#34;t\""));
    assert_non_null(strstr(svg, "<path stroke=\"currentColor\" d=\"M1 2l1.1-1-0.1 3\" class=\"c3\"/>"));
    assert_non_null(strstr(svg, "<text>a&#60;b</text><text>1.5</text>"));
    assert_non_null(strstr(svg, "<g id=\"p7-gnuplot_plot_1\"><title>a&#60;b</title>"));
    assert_null(strstr(svg, "<g fill"));
    assert_null(strstr(svg, "<defs>"));
    free(svg);
    assert_null(vj_svg_themed("no svg", 0, "", &labels));
}

static vj_plot *draw_later(vj_document *d, const char *name, vj_style style, const double *x, const double *y,
                           int64_t count)
{
    vj_plot *plot = vj_document_plot(d, name, name);
    vj_plot_series(plot, style, 0, name, x, y, count);
    return plot;
}

/* Check that gnuplot draws every kind of plot, also of numbers that leave little or nothing to draw. */
static void test_all_kinds_are_drawn(void **state)
{
    (void)state;
    const double x[] = {0, 1, 2, 3}, y[] = {1e-3, NAN, 2, 1e6}, low[] = {1e-4, NAN, 1, 1e5}, high[] = {1e-2, 5, 3, 1e7};
    const double none[] = {NAN, NAN, NAN, NAN}, same[] = {7, 7, 7, 7}, below[] = {-1, -2, 0, -3},
                 endless[] = {1, INFINITY, -INFINITY, 2}, hair[] = {1, 1 + 1e-15, 1, 1}, huge[] = {-1e308, 1e308, 1, 2},
                 narrow[] = {128, 128.00001, 128, 128.00002};
    const char *const names[] = {"a", "b<", "c", "d"};
    vj_document *d = vj_document_create("all kinds");
    for (vj_style style = VJ_LINES; style <= VJ_BARS; style++) {
        draw_later(d, "kind", style, x, y, 4);
        draw_later(d, "same", style, x, same, 4);
        draw_later(d, "endless", style, x, endless, 4);
        draw_later(d, "hair", style, x, hair, 4);
        draw_later(d, "huge", style, x, huge, 4);
        draw_later(d, "one", style, x, same, 1);
        vj_plot_y(draw_later(d, "log", style, x, y, 4), "y", "s", VJ_LOG);
        vj_plot_x(draw_later(d, "log-x", style, x, y, 4), "x", "s", VJ_LOG);
    }
    vj_plot *plot = draw_later(d, "band", VJ_LINES, x, y, 4);
    vj_series_band(vj_plot_series(plot, VJ_LINES, 1, "b", x, same, 4), low, high);
    vj_series_band(vj_plot_series(plot, VJ_FAINT, 2, "c", x, none, 4), none, none);
    plot = vj_document_plot(d, "bars", "bars");
    vj_plot_x_names(plot, names, 4);
    vj_series_errors(vj_plot_series(plot, VJ_BARS, 0, "first", x, y, 4), low, high);
    vj_series_errors(vj_plot_series(plot, VJ_BARS, 1, "second", x, same, 4), none, none);
    for (int rows = 1; rows <= 4; rows += 3)
        vj_plot_heat_map(vj_document_plot(d, "heat", "heat"), rows, 4 / rows, rows == 1 ? y : same, names, names, NAN,
                         NAN);
    draw_later(d, "narrow", VJ_LINES, x, narrow, 4);
    const int drawn = d->block_count;
    vj_plot *const empty[] = {draw_later(d, "none", VJ_LINES, x, none, 4), draw_later(d, "no x", VJ_POINTS, none, x, 4),
                              draw_later(d, "empty", VJ_LINES, x, y, 0), vj_document_plot(d, "no series", "t")};
    plot = draw_later(d, "below", VJ_LINES, x, below, 4);
    vj_plot_y(plot, "y", "", VJ_LOG);
    vj_plot *no_rows = vj_document_plot(d, "no rows", "t");
    vj_plot_heat_map(no_rows, 0, 0, y, names, names, 0.0, 1.0);
    assert_int_equal(vj_document_draw(d), VJ_OK);
    for (int i = 0; i < drawn; i++) {
        assert_non_null(d->blocks[i].plot->svg);
        assert_null(strstr(d->blocks[i].plot->svg, "rgb("));
    }
    for (int i = 0; i < 4; i++) assert_null(empty[i]->svg);
    assert_null(plot->svg);
    assert_null(no_rows->svg);
    assert_non_null(strstr(d->blocks[drawn - 4].plot->svg, ">b&#60;<"));
    assert_non_null(strstr(d->blocks[drawn - 1].plot->svg, ">128.00001<")); /* tics differ */
    vj_document_destroy(d);
}

/* ------------------------------------------------------------------------------------------------ settings */

static void test_settings(void **state)
{
    (void)state;
    vj_flat_settings s;
    vj_problems p = {0};
    assert_true(
        vj_flat_settings_parse(&s, "# c\nrun:\n  seed: 3\ntrain: {epochs: 2, new: [a, {b: c}]}\n", "x.yaml", &p));
    assert_string_equal(vj_flat_settings_find(&s, "run.seed"), "3");
    assert_string_equal(vj_flat_settings_find(&s, "train.new"), "[a, {b: c}]");
    assert_true(vj_flat_settings_number(&s, "train.epochs", 0.0) == 2.0);
    assert_true(vj_flat_settings_number(&s, "train.new", 7.0) == 7.0);
    vj_flat_settings_release(&s);
    static const char *const wrong[] = {"a: [1, 2\nb: 3\n", "- 1\n",        "just text", "a: &x {b: *x}\n",
                                        "\x80\x81",         "? [a]\n: 1\n", ""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const int before = p.count;
        assert_false(vj_flat_settings_parse(&s, wrong[i], "x.yaml", &p));
        assert_true(p.count == before + 1);
        vj_flat_settings_release(&s);
    }
    vj_problems_release(&p);
}

static int enter_scratch(void **state)
{
    static char folder[] = "/tmp/vjepa-report-unit.XXXXXX";
    *state = mkdtemp(folder);
    return *state && chdir(folder) == 0 ? 0 : -1;
}

static int leave_scratch(void **state)
{
    static const char *const files[] = {"broken.csv", "lines.jsonl", "none.csv"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) unlink(files[i]);
    return chdir("/") == 0 && rmdir(*state) == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_those_of_strtod),
        cmocka_unit_test(test_no_number),
        cmocka_unit_test(test_broken_lines_are_named),
        cmocka_unit_test(test_json_lines),
        cmocka_unit_test(test_no_table),
        cmocka_unit_test(test_peaks_stay),
        cmocka_unit_test(test_a_curve_keeps_its_extremes),
        cmocka_unit_test(test_gnuplot_sees_no_text),
        cmocka_unit_test(test_svg),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_all_kinds_are_drawn),
    };
    return cmocka_run_group_tests(tests, enter_scratch, leave_scratch);
}
