/* Formats, reads and changes rows of the ledger. */
#include "pack/ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pack/escape.h"

const char *vj_ledger_verdict_name(int verdict)
{
    static const char *const names[] = {
        [VJ_LEDGER_DAMAGED - VJ_VIDEO_VERDICTS] = "damaged",
        [VJ_LEDGER_SHORT - VJ_VIDEO_VERDICTS] = "short",
        [VJ_LEDGER_HELD_OUT_ID - VJ_VIDEO_VERDICTS] = "held_out_id",
        [VJ_LEDGER_HELD_OUT_CONTENT - VJ_VIDEO_VERDICTS] = "held_out_content",
        [VJ_LEDGER_DUPLICATE - VJ_VIDEO_VERDICTS] = "duplicate",
        [VJ_LEDGER_HELD_OUT - VJ_VIDEO_VERDICTS] = "held_out",
    };
    return verdict < VJ_VIDEO_VERDICTS ? vj_video_verdict_name((vj_video_verdict)verdict)
                                       : names[verdict - VJ_VIDEO_VERDICTS];
}

/* Indices of columns: the path, and those that vj_ledger_revised() changes. */
enum { PATH = 2, VERDICT = 14, CLIPS = 17 };
const char vj_ledger_header[] =
    "source,dataset,path,bytes,xxh3,codec,container,width,height,fps,frames,decoded,corrupt,"
    "missing,verdict,reason,shard,clips,seconds";

/* Write escaped text as a quoted CSV field (RFC 4180). */
static void put_text(FILE *out, const char *text)
{
    char *escaped = vj_escape(text);
    fputc('"', out);
    for (const char *s = escaped ? escaped : ""; *s; s++) {
        if (*s == '"') fputc('"', out);
        fputc(*s, out);
    }
    fputc('"', out);
    if (!escaped) fputs("\n", out); /* a line cannot contain one, so the caller fails */
    free(escaped);
}

/* Close a memory stream and return its text, or NULL. */
static char *finish(FILE *out, char **text)
{
    int good = !ferror(out);
    if (fclose(out) == 0 && good && !strchr(*text, '\n')) return *text;
    free(*text);
    return NULL;
}

char *vj_ledger_text(const vj_ledger_row *row)
{
    static const vj_video_info unknown;
    const vj_video_info *info = row->info ? row->info : &unknown;
    char *text = NULL, digest[17] = "";
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    if (row->digest != 0) snprintf(digest, sizeof digest, "%016" PRIx64, row->digest);
    fprintf(out, "%" PRId64 ",%s,", row->source, row->dataset);
    put_text(out, row->path);
    fprintf(out, ",%" PRId64 ",%s,%s,%s,%d,%d,%.6g,%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%s,", row->bytes,
            digest, info->codec, info->container, info->width, info->height, info->fps, info->frames, info->decoded,
            info->corrupt, info->missing, vj_ledger_verdict_name(row->verdict));
    put_text(out, row->reason);
    fprintf(out, ",%" PRId64 ",%" PRId64 ",%.3f", row->shard, row->clips, row->seconds);
    return finish(out, &text);
}

/* Return the beginning of column `column` of a line; NULL: it has fewer columns. */
static const char *column_of(const char *line, int column)
{
    for (int quoted = 0; column > 0; line++) {
        if (*line == '\0') return NULL;
        quoted ^= *line == '"';
        column -= *line == ',' && !quoted;
    }
    return line;
}

void vj_ledger_path(const char *line, char *path, size_t bytes)
{
    int commas = 0, quoted = 0;
    size_t length = 0;
    for (; *line && commas <= PATH; line++) {
        const int quote = *line == '"';
        quoted ^= quote;
        commas += *line == ',' && !quoted;
        /* A quote inside a field is doubled. */
        if (commas != PATH || (*line == ',' && !quoted) || (quote && !(quoted && line[-1] == '"'))) continue;
        if (length + 1 < bytes) path[length++] = *line;
    }
    path[length] = '\0';
}

char *vj_ledger_remarked(const char *line, const char *remark)
{
    const char *reason = column_of(line, VERDICT + 1), *shard = column_of(line, VERDICT + 2);
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = shard ? open_memstream(&text, &bytes) : NULL;
    if (!out) return NULL;
    /* The field is quoted and followed by a comma: "" or "text". */
    const int length = (int)(shard - reason) - 2;
    fprintf(out, "%.*s%s%s\",%s", (int)(reason - line) + length, line, length > 1 ? "; " : "", remark, shard);
    return finish(out, &text);
}

char *vj_ledger_revised(const char *line, int verdict, const char *reason)
{
    const char *begin = column_of(line, VERDICT), *shard = column_of(line, VERDICT + 2);
    const char *clips = column_of(line, CLIPS), *rest = column_of(line, CLIPS + 1);
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = rest ? open_memstream(&text, &bytes) : NULL;
    if (!out) return NULL;
    fprintf(out, "%.*s%s,", (int)(begin - line), line, vj_ledger_verdict_name(verdict));
    put_text(out, reason);
    fprintf(out, ",%.*s0,%s", (int)(clips - shard), shard, rest);
    return finish(out, &text);
}
