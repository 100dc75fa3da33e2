/* Buffered reading of a list. */
#include "pack/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void fill(vj_text *t)
{
    t->at = t->end = 0;
    while (t->end < VJ_RECORD_BYTES && t->status == VJ_OK) {
        ssize_t got = read(t->fd, t->buffer + t->end, VJ_RECORD_BYTES - t->end);
        if (got == 0) return;
        if (got > 0)
            t->end += (size_t)got;
        else if (errno != EINTR)
            t->status = vj_raise(VJ_ERR_IO, "read %s", t->name);
    }
}

vj_status vj_text_open(vj_text *t, const char *name, const char *what)
{
    struct stat st;
    *t = (vj_text){.name = name, .fd = -1, .line = 1};
    if (stat(name, &st) != 0) return vj_raise(VJ_ERR_IO, "open the %s %s", what, name);
    if (!S_ISREG(st.st_mode)) {
        errno = 0;
        return vj_raise(VJ_ERR_IO, "the %s %s is not a file", what, name);
    }
    t->fd = open(name, O_RDONLY | O_CLOEXEC);
    if (t->fd < 0) return vj_raise(VJ_ERR_IO, "open the %s %s", what, name);
    t->buffer = malloc(VJ_RECORD_BYTES);
    if (!t->buffer) return vj_raise(VJ_ERR_MEMORY, "no memory to read %s", name);
    fill(t);
    if (t->end >= 3 && memcmp(t->buffer, "\xef\xbb\xbf", 3) == 0) t->at = 3; /* some spreadsheets begin so */
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
    t->status = vj_text_refuse(t, t->line, "a zero byte: this is not a text file");
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

int vj_text_first_line_has(const vj_text *t, const char *word)
{
    size_t bytes;
    const char *begin = vj_text_begin(t, &bytes);
    const char *end = memchr(begin, '\n', bytes);
    size_t line = end ? (size_t)(end - begin) : bytes, length = strlen(word);
    for (size_t at = 0; at + length <= line; at++) {
        if (memcmp(begin + at, word, length) != 0) continue;
        const char before = at > 0 ? begin[at - 1] : ',', after = at + length < line ? begin[at + length] : ',';
        if (strchr(",\"", before) && strchr(",\"\r", after)) return 1;
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

vj_status vj_text_refuse(const vj_text *t, int64_t line, const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return vj_raise(VJ_ERR_FORMAT, "%s:%lld: %s", t->name, (long long)line, message);
}
