/* Reads metrics.csv as it grows. */
#include "report/follow.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "report/numbers.h"

enum { HEADER_BYTES = 4096, PIECE_BYTES = 1 << 18 };

static const char *const names[VJ_METRICS] = {
    [VJ_METRIC_LOSS] = "loss",
    [VJ_METRIC_RANK] = "effective_rank",
    [VJ_METRIC_LR] = "lr",
    [VJ_METRIC_GRAD_ENCODER] = "grad_norm_encoder",
    [VJ_METRIC_GRAD_PREDICTOR] = "grad_norm_predictor",
    [VJ_METRIC_SKIPPED] = "skipped_steps",
    [VJ_METRIC_FAILED] = "failed_checkpoints",
    [VJ_METRIC_STEP_S] = "step_s",
    [VJ_METRIC_CLIPS_PER_S] = "clips_per_s",
    [VJ_METRIC_WAIT_S] = "data_wait_s",
    [VJ_METRIC_COMM_S] = "comm_s",
    [VJ_METRIC_MEMORY] = "peak_memory_mib",
    [VJ_METRIC_WATCH_KNN] = "watch_knn",
    [VJ_METRIC_WATCH_PROBE] = "watch_probe",
};

/* ------------------------------------------------------------------------------------------------ courses */

/* Double the number of steps in each span, by merging pairs. */
static void widen(vj_course *c)
{
    for (int i = 0; i < VJ_COURSE; i += 2) {
        const vj_course_span *a = &c->span[i], *b = &c->span[i + 1];
        vj_course_span both = a->count ? *a : *b;
        if (a->count && b->count)
            both = (vj_course_span){a->count + b->count, fmin(a->low, b->low), fmax(a->high, b->high), a->sum + b->sum};
        c->span[i / 2] = both;
    }
    memset(c->span + VJ_COURSE / 2, 0, sizeof c->span / 2);
    c->stride *= 2;
    c->count = (c->count + 1) / 2;
}

void vj_course_add(vj_course *c, int64_t step, double value)
{
    if (c->stride == 0) {
        c->stride = 1;
        c->first = step;
    }
    if (step < c->first) return;
    while ((step - c->first) / c->stride >= VJ_COURSE) widen(c);
    const int at = (int)((step - c->first) / c->stride);
    if (at >= c->count) c->count = at + 1;
    if (!isfinite(value)) return;
    vj_course_span *s = &c->span[at];
    s->low = s->count ? fmin(s->low, value) : value;
    s->high = s->count ? fmax(s->high, value) : value;
    s->sum += value;
    s->count++;
}

/* ------------------------------------------------------------------------------------------------ rows */

/* Find the columns in the header. False: this is not the header of metrics. */
static bool read_header(vj_follow *f, char *line)
{
    for (int c = 0; c < VJ_METRICS; c++) f->at[c] = -1;
    f->columns = 0;
    if (strncmp(line, "step,", 5) != 0) return false;
    for (char *cell = line, *next; cell; cell = next, f->columns++) {
        next = strchr(cell, ',');
        if (next) *next++ = '\0';
        for (int c = 0; c < VJ_METRICS; c++)
            if (strcmp(cell, names[c]) == 0) f->at[c] = f->columns;
    }
    return true;
}

/* Read a number, or NaN for an empty cell. False: something else. */
static bool read_cell(const char *text, size_t length, double *value)
{
    *value = NAN;
    return length == 0 || vj_parse_number(text, text + length, value) == text + length;
}

/* Read one row without its line feed. False if the number of cells is wrong, or a cell is not a number. */
static bool read_row(vj_follow *f, const char *line, double values[VJ_METRICS], double *step)
{
    int column = 0;
    for (int c = 0; c < VJ_METRICS; c++) values[c] = NAN;
    for (const char *cell = line;; column++) {
        const size_t length = strcspn(cell, ",");
        if (column == 0 && (!read_cell(cell, length, step) || !(*step >= 0))) return false;
        for (int c = 0; c < VJ_METRICS; c++)
            if (f->at[c] == column && !read_cell(cell, length, &values[c])) return false;
        if (cell[length] == '\0') break;
        cell += length + 1;
    }
    return column + 1 == f->columns;
}

static void take_row(vj_follow *f, const char *line)
{
    double values[VJ_METRICS], step;
    if (strncmp(line, "step,", 5) == 0) return; /* the header */
    if (!read_row(f, line, values, &step) || (int64_t)step <= f->step) {
        f->odd++;
        return;
    }
    f->step = (int64_t)step;
    memcpy(f->recent[f->rows++ % VJ_RECENT], values, sizeof values);
    for (int c = 0; c < VJ_METRICS; c++) {
        f->value[c] = values[c];
        if (!isnan(values[c])) f->known[c] = values[c];
        if (c < VJ_COURSES) vj_course_add(&f->course[c], f->step, values[c]);
    }
}

/* Read the complete rows of a piece of the file, and return their bytes. */
static size_t take_piece(vj_follow *f, char *piece, size_t bytes)
{
    size_t done = 0;
    for (char *end; (end = memchr(piece + done, '\n', bytes - done)) != NULL; done = (size_t)(end + 1 - piece)) {
        *end = '\0';
        take_row(f, piece + done);
    }
    return done;
}

/* ------------------------------------------------------------------------------------------------ the file */

static void forget(vj_follow *f)
{
    const size_t kept = offsetof(vj_follow, found);
    memset((char *)f + kept, 0, sizeof *f - kept);
    for (int c = 0; c < VJ_METRICS; c++) f->value[c] = f->known[c] = NAN;
}

void vj_follow_begin(vj_follow *f, const char *folder, bool whole)
{
    snprintf(f->path, sizeof f->path, "%s/metrics.csv", folder);
    f->whole = whole;
    forget(f);
}

/* Read the header, and find where to begin: at a row, after a line feed. */
static bool begin_file(vj_follow *f, int fd, int64_t size)
{
    char line[HEADER_BYTES + 1];
    const int64_t bytes = vj_read_at(fd, line, HEADER_BYTES, 0);
    if (bytes <= 0) return false;
    line[bytes] = '\0';
    char *end = strchr(line, '\n');
    if (!end) return false;
    *end = '\0';
    f->bytes = end + 1 - line;
    if (!read_header(f, line)) return false;
    if (f->whole || size - PIECE_BYTES <= f->bytes) return true;
    f->bytes = size - PIECE_BYTES;
    const int64_t more = vj_read_at(fd, line, HEADER_BYTES, f->bytes);
    end = more > 0 ? memchr(line, '\n', (size_t)more) : NULL;
    if (end) f->bytes += end + 1 - line;
    return true;
}

static void read_rows(vj_follow *f, int fd, int64_t size)
{
    char *piece = malloc(PIECE_BYTES);
    while (piece && f->bytes < size) {
        const int64_t bytes = vj_read_at(fd, piece, PIECE_BYTES, f->bytes);
        if (bytes <= 0) break; /* it became shorter or unreadable: left to the next call */
        const size_t done = take_piece(f, piece, (size_t)bytes);
        if (done == 0 && bytes < PIECE_BYTES) break; /* the last row is not complete yet */
        if (done == 0) f->odd++;                     /* no row is that long */
        f->bytes += done ? (int64_t)done : bytes;
    }
    free(piece);
}

void vj_follow_read(vj_follow *f)
{
    struct stat info;
    const int fd = open(f->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        forget(f);
        if (fd >= 0) (void)close(fd); /* only read */
        return;
    }
    if (!f->readable || info.st_dev != f->device || info.st_ino != f->inode || info.st_size < f->bytes) {
        forget(f);
        f->readable = begin_file(f, fd, info.st_size);
        f->device = info.st_dev;
        f->inode = info.st_ino;
    }
    f->found = true;
    f->changed_s = (double)info.st_mtim.tv_sec + 1e-9 * (double)info.st_mtim.tv_nsec;
    if (f->readable) read_rows(f, fd, info.st_size);
    (void)close(fd); /* only read */
}

double vj_follow_mean(const vj_follow *f, vj_metric column, int64_t rows)
{
    double sum = 0.0;
    int64_t count = 0;
    if (rows > VJ_RECENT) rows = VJ_RECENT;
    for (int64_t r = f->rows - 1; r >= 0 && r >= f->rows - rows; r--) {
        const double value = f->recent[r % VJ_RECENT][column];
        if (isnan(value)) continue;
        sum += value;
        count++;
    }
    return count ? sum / (double)count : NAN;
}
