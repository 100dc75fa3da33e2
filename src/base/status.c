/* Reporting of errors and log lines. The only file-scope state is who speaks (rank, size and host), and where to. */
#include "base/status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static int speaker_rank = 0;
static int speaker_size = 1;
static char speaker_host[64];
static bool speaker_muted;
static char *diverted; /* where errors and warnings go instead of standard error; NULL: nowhere else */
static size_t diverted_bytes;

void vj_status_divert(char *text, size_t bytes)
{
    diverted = bytes > 0 ? text : NULL;
    diverted_bytes = bytes;
    if (diverted) diverted[0] = '\0';
}

void vj_status_identity(int rank, int size)
{
    speaker_rank = rank;
    speaker_size = size;
    if (gethostname(speaker_host, sizeof speaker_host - 1) != 0) strcpy(speaker_host, "unknown host");
}

bool vj_printable(const char *text)
{
    for (; *text; text++)
        if (((unsigned char)*text < ' ' && *text != '\n' && *text != '\t') || *text == 0x7f) return false;
    return true;
}

/* Messages quote names and texts from files: they must not steer a terminal, nor pass for another message. */
static void make_printable(char *line, int bytes)
{
    for (int i = 0; i < bytes; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f) line[i] = '?';
}

/* One write(2) for the whole line, so that the lines of several ranks do not mix. */
static void speak(FILE *stream, const char *head, const char *format, va_list args, const char *tail)
{
    char line[4096];
    const bool divert = stream == stderr && diverted;
    int used = snprintf(line, sizeof line, "%s", divert ? "" : head);
    used += vsnprintf(line + used, sizeof line - (size_t)used, format, args);
    if (used > (int)sizeof line - 2) used = (int)sizeof line - 2;
    if (tail) used += snprintf(line + used, sizeof line - (size_t)used, "%s", tail);
    if (used > (int)sizeof line - 2) used = (int)sizeof line - 2;
    if (stream == stderr) make_printable(line, used);
    if (divert) {
        line[used] = '\0';
        if (diverted[0] == '\0') snprintf(diverted, diverted_bytes, "%s", line);
        return;
    }
    line[used] = '\n';
    line[used + 1] = '\0';
    fputs(line, stream);
    fflush(stream);
}

/* Paths as seen from the project's root, wherever it was built. */
static const char *short_path(const char *file)
{
    static const char *const roots[] = {"/src/", "/io/", "/analysis/", "/tests/"};
    for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++) {
        const char *at = NULL, *next = file;
        while ((next = strstr(next, roots[i])) != NULL) at = next++;
        if (at) return at + 1;
    }
    return file;
}

static void error_head(char *head, size_t bytes, const char *file, int line)
{
    snprintf(head, bytes, "vjepa: rank %d of %d on %s: %s:%d: ", speaker_rank, speaker_size,
             speaker_host[0] ? speaker_host : "this host", short_path(file), line);
}

vj_status vj_raise_at(const char *file, int line, vj_status code, const char *format, ...)
{
    char head[256], tail[160] = "";
    int error = errno;
    if (code == VJ_ERR_USAGE) /* the user's mistake, not a place in our code */
        strcpy(head, "vjepa: ");
    else
        error_head(head, sizeof head, file, line);
    if (code == VJ_ERR_IO && error != 0) snprintf(tail, sizeof tail, ": %s", strerror(error));
    va_list args;
    va_start(args, format);
    speak(stderr, head, format, args, tail);
    va_end(args);
    errno = 0;
    return code;
}

_Noreturn void vj_assert_failed(const char *file, int line, const char *condition)
{
    diverted = NULL;
    vj_raise_at(file, line, VJ_ERR_STATE, "this should not happen: %s is false; please report it", condition);
    abort();
}

void vj_log(const char *format, ...)
{
    if (speaker_rank != 0 || speaker_muted) return;
    va_list args;
    va_start(args, format);
    speak(stdout, "", format, args, NULL);
    va_end(args);
}

void vj_log_mute(bool mute)
{
    speaker_muted = mute;
}

void vj_warn(const char *format, ...)
{
    char head[64];
    snprintf(head, sizeof head, "vjepa: warning: rank %d: ", speaker_rank);
    va_list args;
    va_start(args, format);
    speak(stderr, head, format, args, NULL);
    va_end(args);
}

double vj_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void *vj_calloc(int64_t count, int64_t bytes)
{
    if (count < 0 || bytes < 0 || (bytes > 0 && count > INT64_MAX / 2 / bytes)) return NULL;
    size_t total = ((size_t)(count * bytes) + 63) / 64 * 64;
    if (total == 0) total = 64;
    void *memory = aligned_alloc(64, total);
    if (memory) memset(memory, 0, total);
    return memory;
}

int64_t vj_resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    long pages = 0;
    if (f) {
        if (fscanf(f, "%*s %ld", &pages) != 1) pages = 0;
        fclose(f);
    }
    return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

int64_t vj_peak_bytes(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
    return (int64_t)usage.ru_maxrss * 1024;
}
