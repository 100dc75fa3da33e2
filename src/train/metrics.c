/* metrics.csv and metrics.jsonl. */
#include "train/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

/*
 * A file to which rows are appended, by write(2): if the disk becomes full, stdio would not tell how much of a row was
 * written.
 */
typedef struct {
    int fd;
    char path[VJ_PATH + 32];
    FILE *lines; /* collects rows in `text`, of which [done, bytes) is not in the file yet */
    char *text;
    size_t bytes, done;
    bool stuck; /* the last write failed, which has been reported */
} record_file;

struct vj_metrics {
    record_file csv, jsonl;
    char *header; /* of metrics.csv, owned; NULL: not written yet */
    bool agrees;  /* the columns of rows were compared with the header */
    int more;     /* columns of the header, from an earlier start, that rows lack; they are at its end */
};

void vj_metrics_put(vj_metrics_row *row, const char *name, double value)
{
    VJ_ASSERT(row->count < VJ_MAX_COLUMNS);
    row->name[row->count] = name;
    row->value[row->count++] = value;
}

/* Return the step of a line; -1 for a header or an incomplete line. */
static long long line_step(const char *line)
{
    long long step;
    if (line[0] == '\0' || line[strlen(line) - 1] != '\n') return -1;
    if (sscanf(line, "{\"step\": %lld", &step) == 1 || sscanf(line, "%lld,", &step) == 1) return step;
    return -1;
}

/*
 * Copy the header and the rows up to `step`. There should be a row for each step from 1 on; warn if some are missing.
 */
static bool copy_rows(FILE *old, FILE *kept, const char *path, int64_t step, char **kept_header)
{
    char *line = NULL;
    size_t room = 0;
    bool good = true;
    int64_t next = 1, missing = 0, first_missing = 0;
    while (old && step > 0 && getline(&line, &room, old) > 0) {
        const int header = strncmp(line, "step,", 5) == 0;
        const long long at = line_step(line);
        if (header && !*kept_header) good &= (*kept_header = strndup(line, strcspn(line, "\n"))) != NULL;
        if (!header && (at < 0 || at > step)) continue;
        good &= fputs(line, kept) >= 0;
        if (header) continue;
        if (at > next && missing == 0) first_missing = next;
        if (at > next) missing += at - next;
        next = at + 1;
    }
    free(line);
    if (next <= step && missing == 0) first_missing = next;
    if (next <= step) missing += step + 1 - next;
    if (missing > 0)
        vj_warn("%s lacks the rows of %lld steps before step %lld, which this run goes on from, beginning with step "
                "%lld: they were lost with a node or a disk, or the file was moved",
                path, (long long)missing, (long long)step, (long long)first_missing);
    return good && (!old || !ferror(old));
}

vj_status vj_metrics_last(const char *path, int64_t *step)
{
    char *line = NULL;
    size_t room = 0;
    *step = 0;
    FILE *f = fopen(path, "r");
    if (!f) return errno == ENOENT ? VJ_OK : vj_raise(VJ_ERR_IO, "read %s", path);
    while (getline(&line, &room, f) > 0)
        if (line_step(line) > *step) *step = line_step(line);
    free(line);
    const bool failed = ferror(f);
    fclose(f); /* only read */
    return failed ? vj_raise(VJ_ERR_IO, "read %s", path) : VJ_OK;
}

/*
 * Rename a file of an earlier run to PATH.1, PATH.2, ...: this run begins with its first step, because the earlier one
 * left no checkpoint.
 */
static vj_status keep_aside(const char *path)
{
    struct stat info;
    char aside[VJ_PATH + 64];
    if (stat(path, &info) != 0 || info.st_size == 0) return VJ_OK;
    int n = 1;
    do snprintf(aside, sizeof aside, "%s.%d", path, n);
    while (access(aside, F_OK) == 0 && n++ < 10000);
    if (rename(path, aside) != 0) return vj_raise(VJ_ERR_IO, "rename %s to %s", path, aside);
    vj_log("%s of a start that left no checkpoint is kept as %s", path, aside);
    return VJ_OK;
}

/* Drop the rows after `step`, and open the file for appending. */
static vj_status reopen(record_file *file, int64_t step, char **header)
{
    const char *path = file->path;
    vj_file kept;
    if (step == 0) VJ_TRY(keep_aside(path));
    FILE *old = fopen(path, "r");
    if (!old && errno != ENOENT) return vj_raise(VJ_ERR_IO, "read %s", path);
    vj_status status = vj_file_begin_anew(&kept, path);
    if (status == VJ_OK && !copy_rows(old, kept.stream, path, step, header)) {
        status = vj_raise(VJ_ERR_IO, "copy the rows of %s", path);
        vj_file_rollback(&kept);
    }
    if (old) fclose(old); /* only read */
    if (status == VJ_OK) status = vj_file_commit(&kept);
    VJ_TRY(status);
    file->fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (file->fd < 0) return vj_raise(VJ_ERR_IO, "open %s for appending", path);
    file->lines = open_memstream(&file->text, &file->bytes);
    return file->lines ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for rows of %s", path);
}

/* Write the rows in memory, as far as the file system accepts them. Returns true if all are written. */
static bool drain(record_file *file)
{
    if (fflush(file->lines) != 0) return false; /* text and bytes are right after it */
    while (file->done < file->bytes) {
        const ssize_t n = write(file->fd, file->text + file->done, file->bytes - file->done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            if (!file->stuck) vj_warn("write %s: %s; its rows wait in memory", file->path, strerror(errno));
            file->stuck = true;
            return false;
        }
        file->done += (size_t)n;
    }
    file->stuck = false;
    file->done = 0;
    rewind(file->lines);
    return true;
}

/* Write the rows in memory and close the file. Returns false if rows are lost. */
static bool close_file(record_file *file)
{
    bool good = true;
    if (file->lines) {
        good = drain(file);
        good &= fclose(file->lines) == 0;
    }
    free(file->text);
    if (file->fd >= 0) good &= close(file->fd) == 0;
    return good;
}

vj_status vj_metrics_open(vj_metrics **metrics, const char *dir, int64_t step)
{
    char *none = NULL; /* JSON lines have no header */
    vj_metrics *m = *metrics = vj_calloc(1, sizeof *m);
    if (!m) return vj_raise(VJ_ERR_MEMORY, "no memory for metrics");
    m->csv.fd = m->jsonl.fd = -1;
    snprintf(m->csv.path, sizeof m->csv.path, "%s/metrics.csv", dir);
    snprintf(m->jsonl.path, sizeof m->jsonl.path, "%s/metrics.jsonl", dir);
    VJ_TRY(reopen(&m->csv, step, &m->header));
    return reopen(&m->jsonl, step, &none);
}

/* ------------------------------------------------------------------------------------------------ other columns */

enum { MAX_CELLS = 4 * VJ_MAX_COLUMNS };

/* Cut a line at its commas, in place. Returns the number of cells, at most MAX_CELLS. */
static int cut(char *line, char *cell[MAX_CELLS])
{
    int count = 0;
    line[strcspn(line, "\n")] = '\0';
    for (char *at = line; at && count < MAX_CELLS; count++) {
        cell[count] = at;
        at = strchr(at, ',');
        if (at) *at++ = '\0';
    }
    return count;
}

static int find(char *const *cell, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(cell[i], name) == 0) return i;
    return -1;
}

/*
 * List the columns of `row`, then those of the old header that it lacks. from[i] is the index of column i in the old
 * header, -1 if it was not there.
 */
static int merge_columns(const vj_metrics_row *row, char *const *old, int old_count, const char *name[2 * MAX_CELLS],
                         int from[2 * MAX_CELLS])
{
    int count = 0;
    for (int i = 0; i < row->count; i++) {
        name[count] = row->name[i];
        from[count++] = find(old, old_count, row->name[i]);
    }
    for (int i = 0; i < old_count; i++) {
        bool known = false;
        for (int k = 0; k < row->count; k++) known |= strcmp(old[i], row->name[k]) == 0;
        if (known) continue;
        name[count] = old[i];
        from[count++] = i;
    }
    return count;
}

static bool copy_cells(FILE *old, FILE *kept, const char *const *name, const int *from, int count)
{
    char *line = NULL, *cell[MAX_CELLS];
    size_t room = 0;
    for (int i = 0; i < count; i++) fprintf(kept, "%s%s", i ? "," : "", name[i]);
    fputc('\n', kept);
    while (getline(&line, &room, old) > 0) {
        if (strncmp(line, "step,", 5) == 0) continue;
        const int cells = cut(line, cell);
        for (int i = 0; i < count; i++)
            fprintf(kept, "%s%s", i ? "," : "", from[i] >= 0 && from[i] < cells ? cell[from[i]] : "");
        fputc('\n', kept);
    }
    free(line);
    return !ferror(old) && !ferror(kept);
}

/*
 * Write the file anew with the columns of its header and of the row. They differ if the run goes on with another
 * release or another watch.every. Cells that were not measured are empty.
 */
static vj_status change_columns(vj_metrics *m, const vj_metrics_row *row)
{
    const char *path = m->csv.path, *name[2 * MAX_CELLS];
    char *cell[MAX_CELLS];
    int from[2 * MAX_CELLS];
    vj_file kept;
    const int count = merge_columns(row, cell, cut(m->header, cell), name, from);
    FILE *old = fopen(path, "r");
    if (!old) return vj_raise(VJ_ERR_IO, "read %s", path);
    vj_status status = vj_file_begin_anew(&kept, path);
    if (status == VJ_OK && !copy_cells(old, kept.stream, name, from, count)) {
        status = vj_raise(VJ_ERR_IO, "copy the rows of %s", path);
        vj_file_rollback(&kept);
    }
    fclose(old); /* only read */
    if (status == VJ_OK) status = vj_file_commit(&kept);
    VJ_TRY(status);
    (void)close(m->csv.fd); /* of the file that was replaced */
    m->csv.fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (m->csv.fd < 0) return vj_raise(VJ_ERR_IO, "open %s for appending", path);
    m->more = count - row->count;
    return VJ_OK;
}

/* Before the first row: write the header, or rewrite the file if its header has other columns. */
static vj_status agree_on_columns(vj_metrics *m, const vj_metrics_row *row)
{
    char *names = NULL;
    size_t bytes;
    FILE *out = open_memstream(&names, &bytes);
    for (int i = 0; out && i < row->count; i++) fprintf(out, "%s%s", i ? "," : "", row->name[i]);
    if (!out || fclose(out) != 0 || !names) return vj_raise(VJ_ERR_MEMORY, "no memory for the columns of metrics");
    vj_status status = VJ_OK;
    if (!m->header)
        fprintf(m->csv.lines, "%s\n", names);
    else if (strcmp(m->header, names) != 0)
        status = change_columns(m, row);
    free(m->header);
    m->header = names;
    m->agrees = true;
    return status;
}

vj_status vj_metrics_write(vj_metrics *m, const vj_metrics_row *row)
{
    FILE *csv = m->csv.lines, *jsonl = m->jsonl.lines;
    if (!m->agrees) VJ_TRY(agree_on_columns(m, row));
    for (int i = 0; i < row->count; i++) {
        const double value = row->value[i];
        fprintf(jsonl, "%s\"%s\": ", i ? ", " : "{", row->name[i]);
        if (i) fputc(',', csv);
        if (isfinite(value)) {
            fprintf(csv, "%.9g", value);
            fprintf(jsonl, "%.9g", value);
        } else {
            fputs("null", jsonl);
        }
    }
    for (int i = 0; i < m->more; i++) fputc(',', csv);
    fputc('\n', csv);
    fputs("}\n", jsonl);
    if (ferror(csv) || ferror(jsonl)) return vj_raise(VJ_ERR_MEMORY, "no memory for rows of %s", m->csv.path);
    drain(&m->csv); /* what is left is written later */
    drain(&m->jsonl);
    return VJ_OK;
}

void vj_metrics_sync(vj_metrics *m)
{
    record_file *const file[] = {&m->csv, &m->jsonl};
    for (int i = 0; i < 2; i++)
        if (drain(file[i]) && fdatasync(file[i]->fd) != 0)
            vj_warn("fsync %s: %s; its last rows may be lost with this node", file[i]->path, strerror(errno));
}

vj_status vj_metrics_close(vj_metrics *m)
{
    if (!m) return VJ_OK;
    const bool csv = close_file(&m->csv), jsonl = close_file(&m->jsonl);
    vj_status status =
        csv && jsonl ? VJ_OK : vj_raise(VJ_ERR_IO, "rows of %s are lost", csv ? m->jsonl.path : m->csv.path);
    free(m->header);
    free(m);
    return status;
}
