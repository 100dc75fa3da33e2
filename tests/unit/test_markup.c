/* Tests that untrusted text in HTML, Markdown and CSV is shown unchanged and never taken for markup. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/markup.h"
#include "probe/report.h"

typedef void put_text(FILE *out, const char *text);

static void becomes(put_text *write, const char *text, const char *want)
{
    char *got = NULL;
    size_t bytes;
    FILE *out = open_memstream(&got, &bytes);
    assert_non_null(out);
    write(out, text);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(got, want);
    free(got);
}

static void test_escaping(void **state)
{
    (void)state;
    becomes(vj_put_html, "<script a=\"b\">&'x'</script>",
            "&#60;script a=&#34;b&#34;&#62;&#38;&#39;x&#39;&#60;/script&#62;");
    becomes(vj_put_html, "größe 世界 \xf0\x9f\x8e\xa5", "größe 世界 \xf0\x9f\x8e\xa5");
    becomes(vj_put_html, "\xff\xc0\xaf\x01\xed\xa0\x80z\xe4\xb8", "�������z��");
    becomes(vj_put_html,
            "a\xe2\x80\xae"
            "b",
            "a�b"); /* right-to-left override */
    becomes(vj_put_markdown, "a|b\n# *c* [d](e) <f>", "a\\|b # \\*c\\* \\[d\\](e) &#60;f&#62;");
    becomes(vj_put_markdown, "random_fan_in: _a_ \\_ b_c_ `d` ~e~ $f$",
            "random_fan_in: \\_a\\_ \\\\\\_ b_c\\_ \\`d\\` \\~e\\~ \\$f\\$");
    becomes(vj_put_markdown, "\n# heading", "\\# heading");
    becomes(vj_put_markdown, "- item", "\\- item");
    becomes(vj_put_markdown, "---", "\\---");
    becomes(vj_put_markdown, "12. item", "12\\. item");
    becomes(vj_put_markdown, "-1.5", "-1.5");
    becomes(vj_put_markdown, "16.5 (0.3)", "16.5 (0.3)");
    becomes(vj_put_markdown_cell, "a||b", " a\\|\\|b |");
    becomes(vj_put_csv, "a,\"b\"", "\"a,\"\"b\"\"\"");
    becomes(vj_put_csv, "=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\"");
    becomes(vj_put_csv, "-1.5", "-1.5");
    becomes(vj_put_csv, "-x", "'-x");
}

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text, *copy;
        bool is_name;
    } cases[] = {{"größe 世界", "größe 世界", true}, {"", "", true},
                 {"a\tb\n", "a\tb\n", false},        {"caf\xe9", "caf�", false},
                 {"\x1b[2J", "�[2J", false},         {"cut \xe4\xb8", "cut ��", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *copy = vj_utf8_copy(cases[i].text);
        assert_non_null(copy);
        assert_string_equal(copy, cases[i].copy);
        assert_int_equal(vj_utf8_is_name(cases[i].text), cases[i].is_name);
        free(copy);
    }
}

static void test_csv_numbers_come_back(void **state)
{
    (void)state;
    static const double values[] = {0.1, 1.0 / 3.0, 123456789.0, -2.5e-300, 90000.0};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char *text = NULL;
        size_t bytes;
        FILE *out = open_memstream(&text, &bytes);
        vj_put_csv_number(out, values[i]);
        assert_int_equal(fclose(out), 0);
        assert_true(strtod(text, NULL) == values[i]);
        free(text);
    }
}

/* Count the cells in a line of a table, which ends in `|`. */
static int count_cells(const char *line)
{
    int cells = -1;
    for (; *line && *line != '\n'; line++)
        if (*line == '\\' && line[1])
            line++;
        else
            cells += *line == '|';
    return cells;
}

/* Check that all lines of a table have the same number of cells, whatever the names of encoders and tasks are. */
static void names_do_not_break_tables(void **state)
{
    (void)state;
    static const char *const names[] = {"a|b", "`c`|*d*\n| e |", "random_<f>\\"};
    vj_probe_row rows[4];
    vj_difference differences[1] = {
        {.task = "t|u", .kind = "average", .a = "a|b", .b = "`c`", .seeds = 1, .labels = 100.0}};
    const vj_notes notes = {0};
    char *text = NULL;
    size_t bytes;
    int lines = 0;
    for (int i = 0; i < 3; i++) {
        rows[i] =
            (vj_probe_row){VJ_PROBE_ROW_UNKNOWN, .task = "t|u", .labels = 100.0, .validation_clips = 100, .seeds = 1};
        strcpy(rows[i].encoder, names[i]);
        strcpy(rows[i].paper_cell, "table | 7");
        rows[i].paper = 50.0;
    }
    rows[3] = rows[0]; /* a kind of probe that only one encoder has */
    strcpy(rows[3].kind, "ridge");
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    vj_report_print(out, &(vj_report){rows, 4, &(vj_differences){differences, 1}, &notes});
    assert_int_equal(fclose(out), 0);
    for (const char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        static int cells;
        if (*line != '|') continue;
        if (line[-2] == '\n') cells = count_cells(line); /* the heading of a table, after an empty line */
        assert_int_equal(count_cells(line), cells);
        lines++;
    }
    /* Three tables, results, differences and published, each with a heading, a rule and rows. */
    assert_int_equal(lines, 4 + 3 + 6);
    assert_non_null(strstr(text, "| t\\|u |  | 100 % |"));
    assert_non_null(strstr(text, " \\`c\\`\\|\\*d\\* \\| e \\| |"));
    assert_non_null(strstr(text, " random\\_&#60;f&#62;\\\\ |"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escaping),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_csv_numbers_come_back),
        cmocka_unit_test(names_do_not_break_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
