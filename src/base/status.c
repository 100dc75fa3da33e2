/*
 * Reporting of errors and log lines. The only file-scope state is this process's rank, size and host, the destination
 * of messages, and the kept messages.
 */
#include "base/status.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static int speaker_rank = 0;
static int speaker_size = 1;
static char speaker_host[64];
static bool speaker_muted;
static bool speaker_aside; /* vj_log() writes to standard error */
static char *diverted;     /* if not NULL, errors and warnings are written here and not to standard error */
static size_t diverted_bytes;
static struct {
    pthread_mutex_t lock;
    bool on;
    int count;           /* may be larger than VJ_KEPT: further messages are only counted */
    vj_message *message; /* [VJ_KEPT] */
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

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

/*
 * Replace control characters: messages quote names and texts from files, which must not control the terminal or look
 * like another message.
 */
static void make_printable(char *line, int bytes)
{
    for (int i = 0; i < bytes; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f) line[i] = '?';
}

/* One write(2) for the whole line, so that the lines of several ranks do not mix. */
static void write_line(FILE *stream, char *line, int used)
{
    if (stream == stderr) make_printable(line, used);
    line[used] = '\n';
    line[used + 1] = '\0';
    fputs(line, stream);
    fflush(stream);
}

void vj_status_print(const vj_message *m, int ranks, const char *more)
{
    char line[4400], others[48] = "";
    int used;
    if (m->said == VJ_SAID_WARNING) {
        if (ranks > 1) snprintf(others, sizeof others, " and %d others", ranks - 1);
        used = snprintf(line, sizeof line, "vjepa: warning: rank %d%s: %s%s", m->rank, others, m->text, more);
    } else if (m->said == VJ_SAID_USAGE) {
        used = snprintf(line, sizeof line, "vjepa: %s%s", m->text, more);
    } else {
        if (ranks > 1) snprintf(others, sizeof others, " and %d other ranks", ranks - 1);
        used = snprintf(line, sizeof line, "vjepa: rank %d of %d on %s%s: %s: %s%s", m->rank, speaker_size, m->host,
                        others, m->place, m->text, more);
    }
    write_line(stderr, line, used > (int)sizeof line - 2 ? (int)sizeof line - 2 : used);
}

/* Hash a place in the code by its text, since addresses differ from process to process (FNV-1a, 64 bits). */
static uint64_t kind_of(const char *text, uint64_t number)
{
    uint64_t hash = 14695981039346656037u ^ number;
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    return hash;
}

/* Keep a message if vj_status_keep(true) was called. Returns whether it was kept. */
static bool keep(const vj_message *message)
{
    pthread_mutex_lock(&kept.lock);
    const bool keeps = kept.on;
    if (keeps && kept.count < VJ_KEPT) kept.message[kept.count] = *message;
    kept.count += keeps;
    pthread_mutex_unlock(&kept.lock);
    return keeps;
}

/* Report an error or a warning: copy it to the text of vj_status_divert(), or keep it, or print it. */
static void report(vj_message *message, uint64_t kind, const char *format, va_list args, const char *tail)
{
    const int used = vsnprintf(message->text, sizeof message->text, format, args);
    if (used < (int)sizeof message->text)
        snprintf(message->text + used, sizeof message->text - (size_t)used, "%s", tail);
    if (diverted) {
        make_printable(message->text, (int)strlen(message->text));
        if (diverted[0] == '\0') snprintf(diverted, diverted_bytes, "%s", message->text);
        return;
    }
    message->kind = kind;
    message->rank = speaker_rank;
    snprintf(message->host, sizeof message->host, "%s", speaker_host[0] ? speaker_host : "this host");
    if (!keep(message)) vj_status_print(message, 1, "");
}

void vj_status_keep(bool on)
{
    if (on && !kept.message) kept.message = calloc(VJ_KEPT, sizeof *kept.message);
    if (!on) vj_status_tell();
    pthread_mutex_lock(&kept.lock);
    kept.on = on && kept.message;
    pthread_mutex_unlock(&kept.lock);
}

int vj_status_kept(void)
{
    pthread_mutex_lock(&kept.lock);
    const int count = kept.count;
    pthread_mutex_unlock(&kept.lock);
    return count;
}

int vj_status_take(vj_message *messages)
{
    pthread_mutex_lock(&kept.lock);
    const int count = kept.count < VJ_KEPT ? kept.count : VJ_KEPT;
    if (count > 0) memcpy(messages, kept.message, (size_t)count * sizeof *messages);
    kept.count = 0;
    pthread_mutex_unlock(&kept.lock);
    return count;
}

void vj_status_tell(void)
{
    const int all = vj_status_kept();
    vj_message *messages = all > 0 ? malloc(VJ_KEPT * sizeof *messages) : NULL;
    const int count = messages ? vj_status_take(messages) : 0;
    const int said = count < VJ_TOLD_ALONE ? count : VJ_TOLD_ALONE;
    char more[64] = "";
    for (int i = 0; i < said; i++) {
        if (i == said - 1 && all > said) snprintf(more, sizeof more, " (and %d messages more)", all - said);
        vj_status_print(&messages[i], 1, more);
    }
    free(messages);
}

/* Shorten a path to begin at the project's root, wherever it was built. */
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

vj_status vj_raise_at(const char *file, int line, vj_status code, const char *format, ...)
{
    char tail[160] = "";
    int error = errno;
    vj_message message = {.said = code == VJ_ERR_USAGE ? VJ_SAID_USAGE /* the user's mistake, not a place in our code */
                                                       : VJ_SAID_ERROR};
    snprintf(message.place, sizeof message.place, "%s:%d", short_path(file), line);
    if (code == VJ_ERR_IO && error != 0) snprintf(tail, sizeof tail, ": %s", strerror(error));
    va_list args;
    va_start(args, format);
    report(&message, kind_of(message.place, 1), format, args, tail);
    va_end(args);
    errno = 0;
    return code;
}

_Noreturn void vj_assert_failed(const char *file, int line, const char *condition)
{
    diverted = NULL;
    vj_status_keep(false);
    vj_raise_at(file, line, VJ_ERR_STATE, "this should not happen: %s is false; please report it", condition);
    abort();
}

void vj_log(const char *format, ...)
{
    char line[4096];
    if (speaker_rank != 0 || speaker_muted) return;
    va_list args;
    va_start(args, format);
    const int used = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    write_line(speaker_aside ? stderr : stdout, line, used > (int)sizeof line - 2 ? (int)sizeof line - 2 : used);
}

void vj_log_aside(void)
{
    speaker_aside = true;
}

void vj_log_mute(bool mute)
{
    speaker_muted = mute;
}

void vj_warn(const char *format, ...)
{
    vj_message message = {.said = VJ_SAID_WARNING};
    va_list args;
    va_start(args, format);
    report(&message, kind_of(format, 2), format, args, "");
    va_end(args);
}

double vj_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void vj_sleep(double seconds)
{
    const time_t whole = (time_t)seconds;
    const struct timespec time = {.tv_sec = whole, .tv_nsec = (long)(1e9 * (seconds - (double)whole))};
    nanosleep(&time, NULL);
}

const char *vj_duration(double seconds, char text[32])
{
    static const struct {
        double least, seconds; /* the unit is used from `least` seconds on */
        const char *name;
    } units[] = {{2 * 86400, 86400, "days"}, {2 * 3600, 3600, "hours"}, {2 * 60, 60, "minutes"},
                 {0.9995, 1, "s"},           {0.0009995, 1e-3, "ms"},   {0, 1e-6, "us"}};
    const int last = sizeof units / sizeof units[0] - 1;
    int u = 0;
    while (u < last && fabs(seconds) < units[u].least) u++;
    if (seconds == 0.0 || !isfinite(seconds)) u = 3; /* "0 s", "nan s" */
    const double value = seconds / units[u].seconds;
    snprintf(text, 32, fabs(value) < 999.5 ? "%.3g %s" : "%.5g %s", value, units[u].name);
    return text;
}

void *vj_calloc(int64_t count, int64_t bytes)
{
    if (count < 0 || bytes < 0 || (bytes > 0 && count > INT64_MAX / 2 / bytes)) return NULL;
    const size_t huge = 2 << 20, large = 4 << 20, wanted = (size_t)(count * bytes), align = wanted < large ? 64 : huge;
    size_t total = (wanted + align - 1) / align * align;
    if (total == 0) total = align;
    void *memory = aligned_alloc(align, total);
    /*
     * This is only advice, and may fail. The rows of a large matrix lie on as many pages, and looking up the addresses
     * of these pages took half of the time of a product.
     */
    if (memory && align == huge) (void)madvise(memory, total, MADV_HUGEPAGE);
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
