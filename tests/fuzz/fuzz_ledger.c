/*
 * Writes rows of the ledger: paths and reasons of any bytes become plain text and can be read back, and a row is one
 * CSV record with all columns, also after its verdict was revised. What is no row is refused.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "pack/csv.h"
#include "pack/escape.h"
#include "pack/ledger.h"

enum { PATH = 2, VERDICT = 14, REASON, SHARD, CLIPS, COLUMNS = 19 };

static char file[VJ_PATH];
static vj_csv record;

void vj_fuzz_begin(void)
{
    vj_fuzz_path(file, "line");
}

static void check_plain(const char *text)
{
    VJ_FUZZ_CHECK(vj_printable(text) && !strpbrk(text, "\n\t"));
}

/* Check that the escaped text is plain, and gives the text again when it is unescaped. */
static void check_escape(const char *text)
{
    char *escaped = vj_escape(text), *back = malloc(strlen(text) + 1);
    VJ_FUZZ_CHECK(escaped && back && vj_unescape(escaped, back, strlen(text) + 1) && strcmp(back, text) == 0);
    check_plain(escaped);
    free(back);
    free(escaped);
}

/* Check that `line` is one record with this path, verdict, reason and number of clips. */
static void check_line(const char *line, const char *path, int verdict, const char *reason, const char *clips)
{
    const struct {
        int column;
        const char *text;
    } escaped[] = {{PATH, path}, {REASON, reason}};
    vj_text text;
    check_plain(line);
    vj_fuzz_write(file, line, strlen(line));
    record.separator = ',';
    VJ_FUZZ_CHECK(vj_text_open(&text, file, "line") == VJ_OK && vj_csv_read(&record, &text) == VJ_OK);
    VJ_FUZZ_CHECK(record.fields == COLUMNS && vj_text_peek(&text) < 0);
    for (int i = 0; i < 2; i++) {
        char *want = vj_escape(escaped[i].text);
        VJ_FUZZ_CHECK(want && strcmp(record.field[escaped[i].column], want) == 0);
        free(want);
    }
    VJ_FUZZ_CHECK(strcmp(record.field[VERDICT], vj_ledger_verdict_name(verdict)) == 0);
    VJ_FUZZ_CHECK(strcmp(record.field[CLIPS], clips) == 0);
    vj_text_close(&text);
}

static void check_row(const char *path, const char *reason)
{
    const vj_video_info info = {.codec = "h264", .container = "mov", .width = 64, .fps = 25};
    const vj_ledger_row row = {.source = 7,
                               .dataset = "set",
                               .path = path,
                               .reason = reason,
                               .verdict = VJ_LEDGER_SHORT,
                               .info = strlen(path) % 2 ? &info : NULL,
                               .bytes = 1234,
                               .digest = 0xabc,
                               .shard = 1,
                               .clips = 2};
    char *line = vj_ledger_text(&row);
    VJ_FUZZ_CHECK(line);
    check_line(line, path, VJ_LEDGER_SHORT, reason, "2");
    char *revised = vj_ledger_revised(line, VJ_LEDGER_DUPLICATE, path);
    VJ_FUZZ_CHECK(revised);
    check_line(revised, path, VJ_LEDGER_DUPLICATE, path, "0");
    free(revised);
    free(line);
}

/* The input is two texts with a zero byte between them. */
void vj_fuzz_input(const uint8_t *data, size_t size)
{
    char *path = malloc(size + 1), *any = malloc(size + 1);
    VJ_FUZZ_CHECK(path && any);
    if (size) memcpy(path, data, size);
    path[size] = '\0';
    const char *reason = strlen(path) < size ? path + strlen(path) + 1 : "";
    check_escape(path);
    check_row(path, reason);
    (void)vj_unescape(path, any, size + 1); /* this may be no escaped text */
    free(any);
    free(vj_ledger_revised(path, VJ_LEDGER_DUPLICATE, "a copy of source 3")); /* this may be no row */
    free(vj_ledger_remarked(path, "may be a copy of source 3, kept"));
    free(path);
}

void vj_fuzz_seeds(void (*seed)(const uint8_t *data, size_t size))
{
    static const char text[] = "a \"b\",\\c\n\xff\xc3\xa9\xe2\x80\xa8\xf0\x9f\x8e\xa5.mp4\0truncated, \x1b[2J";
    static const char row[] = "7,\"set\",\"a\",1,,,,0,0,0,0,0,0,0,ok,\"\",1,2,0.5";
    seed((const uint8_t *)text, sizeof text - 1);
    seed((const uint8_t *)row, sizeof row - 1);
}
