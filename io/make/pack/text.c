/* Buffered reading of lists. */
#include "pack/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void end_lines_by_line_feeds(vj_text *t)
{
    char *at = t->buffer;
    while ((at = memchr(at, '\r', (size_t)(t->buffer + t->end - at)))) *at++ = '\n';
}

static void fill(vj_text *t)
{
    char what[VJ_MEDIA_PATH + 16];
    t->at = t->end = 0;
    while (t->end < VJ_RECORD_BYTES && t->status == VJ_OK) {
        ssize_t got = read(t->fd, t->buffer + t->end, VJ_RECORD_BYTES - t->end);
        if (got == 0) break;
        if (got > 0)
            t->end += (size_t)got;
        else if (errno != EINTR)
            t->status = vj_raise(VJ_ERR_IO, "read %s", t->name);
    }
    t->got += (int64_t)t->end;
    snprintf(what, sizeof what, "reading %s", t->name);
    if (t->end > 0) vj_progress_line_log(&t->progress, what, fmin((double)t->got / (double)t->bytes, 1.0), vj_now());
    if (t->returns) end_lines_by_line_feeds(t);
}

/* The first bytes of other kinds of files, `at` bytes from the beginning. */
static const struct {
    size_t at, bytes;
    const char *begin, *is;
} formats[] = {
    {0, 2, "\x1f\x8b", "a gzip file: unpack it"},
    {0, 3, "BZh", "a bzip2 file: unpack it"},
    {0, 6,
     "\xfd"
     "7zXZ\0",
     "an xz file: unpack it"},
    {0, 4, "\x28\xb5\x2f\xfd", "a zstd file: unpack it"},
    {0, 4, "PK\3\4", "a zip file, or a spreadsheet (xlsx, ods): unpack it, or save it as CSV"},
    {257, 5, "ustar", "a tar file: unpack it"},
    {0, 8, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a spreadsheet (xls): save it as CSV"},
    {0, 4, "PAR1", "a Parquet file: save it as CSV"},
    {0, 6, "ARROW1", "an Arrow file: save it as CSV"},
    {0, 8, "\x89HDF\r\n\x1a\n", "an HDF5 file"},
    {0, 15, "SQLite format 3", "an SQLite file: export its table as CSV"},
    {0, 6, "\x93NUMPY", "a NumPy file: save it as CSV"},
    {0, 2, "\x80\3", "a Python pickle: save it as CSV"},
    {0, 2, "\x80\4", "a Python pickle: save it as CSV"},
    {0, 2, "\x80\5", "a Python pickle: save it as CSV"},
    {0, 5, "%PDF-", "a PDF file"},
    {0, 2, "\xff\xfe", "in UTF-16: save it as UTF-8"},
    {0, 2, "\xfe\xff", "in UTF-16: save it as UTF-8"},
    {0, 3, "\xff\xd8\xff", "a JPEG picture"},
    {0, 4, "\x89PNG", "a PNG picture"},
    {0, 4, "GIF8", "a GIF picture"},
    {0, 4, "RIFF", "a video, sound or picture (RIFF)"},
    {0, 4, "\x1a\x45\xdf\xa3", "a video (Matroska, WebM)"},
    {4, 4, "ftyp", "a video (MP4, MOV)"},
    {0, 4, "\x00\x00\x01\xba", "a video (MPEG)"},
    {0, 4, "OggS", "a video or sound (Ogg)"},
    {0, 3, "FLV", "a video (FLV)"},
};

/* Refuse a file that begins like another kind of file, naming that kind. */
static vj_status refuse_other_formats(const vj_text *t, const char *what)
{
    static const char *const pages[] = {"<!doctype", "<html", "<?xml"};
    const char *is = NULL;
    size_t blank = 0;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0] && !is; i++)
        if (t->end >= formats[i].at + formats[i].bytes &&
            memcmp(t->buffer + formats[i].at, formats[i].begin, formats[i].bytes) == 0)
            is = formats[i].is;
    while (blank < t->end && strchr(" \t\r\n", t->buffer[blank])) blank++;
    for (size_t i = 0; i < sizeof pages / sizeof pages[0] && !is; i++)
        if (t->end - blank >= strlen(pages[i]) && strncasecmp(t->buffer + blank, pages[i], strlen(pages[i])) == 0)
            is = "a web page, or XML: what was downloaded is not the list";
    if (!is) return VJ_OK;
    return vj_raise(VJ_ERR_FORMAT, "the %s %s is %s", what, t->name, is);
}

vj_status vj_text_open(vj_text *t, const char *name, const char *what)
{
    struct stat st;
    *t = (vj_text){.name = name, .fd = -1, .line = 1, .progress = vj_progress_line_begin()};
    if (stat(name, &st) != 0) return vj_raise(VJ_ERR_IO, "open the %s %s", what, name);
    if (!S_ISREG(st.st_mode)) {
        errno = 0;
        return vj_raise(VJ_ERR_IO, "the %s %s is not a file", what, name);
    }
    t->bytes = st.st_size;
    t->fd = open(name, O_RDONLY | O_CLOEXEC);
    if (t->fd < 0) return vj_raise(VJ_ERR_IO, "open the %s %s", what, name);
    t->buffer = malloc(VJ_RECORD_BYTES);
    if (!t->buffer) return vj_raise(VJ_ERR_MEMORY, "no memory to read %s", name);
    fill(t);
    if (t->status == VJ_OK) t->status = refuse_other_formats(t, what);
    t->returns = memchr(t->buffer, '\r', t->end) && !memchr(t->buffer, '\n', t->end);
    if (t->returns) end_lines_by_line_feeds(t);
    if (t->end >= 3 && memcmp(t->buffer, "\xef\xbb\xbf", 3) == 0) t->at = 3; /* skip a byte order mark */
    for (; t->at < t->end && strchr("\r\n", t->buffer[t->at]) && t->buffer[t->at]; t->at++)
        t->line += t->buffer[t->at] == '\n'; /* and empty lines: the first one with text says what the list is */
    return t->status;
}

void vj_text_close(vj_text *t)
{
    if (t->fd >= 0) (void)close(t->fd); /* only read */
    free(t->buffer);
    *t = (vj_text){.fd = -1};
}

int vj_text_peek(vj_text *t)
{
    if (t->at == t->end && t->status == VJ_OK) fill(t);
    if (t->at == t->end || t->status != VJ_OK) return -1;
    if (t->buffer[t->at] != '\0') return (unsigned char)t->buffer[t->at];
    t->status = vj_text_refuse(t, t->line,
                               "a zero byte: this is not a text in UTF-8 (perhaps UTF-16, or another kind of file)");
    return -1;
}

int vj_text_next(vj_text *t)
{
    int byte = vj_text_peek(t);
    if (byte < 0) return byte;
    t->at++;
    t->line += byte == '\n';
    return byte;
}

const char *vj_text_begin(const vj_text *t, size_t *bytes)
{
    *bytes = t->end - t->at;
    return t->buffer + t->at;
}

int vj_text_first_line_has(const vj_text *t, const char *word, char separator)
{
    size_t bytes;
    const char *begin = vj_text_begin(t, &bytes);
    const char *end = memchr(begin, '\n', bytes);
    size_t line = end ? (size_t)(end - begin) : bytes, length = strlen(word);
    for (size_t at = 0; at + length <= line; at++) {
        if (memcmp(begin + at, word, length) != 0) continue;
        size_t from = at, to = at + length; /* extended over blanks and a quote around it */
        while (from > 0 && begin[from - 1] == ' ' && separator != ' ') from--;
        while (to < line && begin[to] == ' ' && separator != ' ') to++;
        if (from > 0 && to < line && begin[from - 1] == '"' && begin[to] == '"') from--, to++;
        while (from > 0 && begin[from - 1] == ' ' && separator != ' ') from--;
        while (to < line && begin[to] == ' ' && separator != ' ') to++;
        if ((from == 0 || begin[from - 1] == separator) &&
            (to == line || begin[to] == separator || (begin[to] == '\r' && to + 1 == line)))
            return 1;
    }
    return 0;
}

vj_status vj_text_line(vj_text *t, char line[VJ_RECORD_BYTES], int64_t *length)
{
    int64_t n = 0, begin = t->line;
    int byte = vj_text_next(t);
    *length = -1;
    if (byte < 0) return t->status;
    for (; byte >= 0 && byte != '\n'; byte = vj_text_next(t)) {
        if (n == VJ_RECORD_BYTES - 1)
            return vj_text_refuse(t, begin, "the line is longer than %d bytes", VJ_RECORD_BYTES - 1);
        line[n++] = (char)byte;
    }
    if (n > 0 && line[n - 1] == '\r') n--;
    line[n] = '\0';
    *length = n;
    return t->status;
}

void vj_text_unquote(char *text)
{
    const size_t length = strlen(text);
    if (length < 2 || *text != '"' || text[length - 1] != '"') return;
    text[length - 1] = '\0';
    char *to = text;
    for (const char *from = text + 1; *from; from++) {
        if (*from == '"' && from[1] == '"') from++;
        *to++ = *from;
    }
    *to = '\0';
}

vj_status vj_text_refuse(const vj_text *t, int64_t line, const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return vj_raise(VJ_ERR_FORMAT, "%s:%lld: %s", t->name, (long long)line, message);
}
