/* metrics.csv and metrics.jsonl. */
#include "train/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file that only grows. Not a FILE: what one of those does with a line that the disk took half of is its own secret.
 */
typedef struct {
    int fd;
    char path[VJ_PATH + 32];
    FILE *lines; /* what is not yet in the file is text[done..bytes) */
    char *text;
    size_t bytes, done;
    bool stuck; /* the last write failed, and that was reported */
} record_file;

struct vj_metrics {
    record_file csv, jsonl;
    int has_header;
};

void vj_metrics_put(vj_metrics_row *row, const char *name, double value)
{
    VJ_ASSERT(row->count < VJ_MAX_COLUMNS);
    row->name[row->count] = name;
    row->value[row->count++] = value;
}

/* Step of a line, or -1 for a header or an incomplete line. */
static long long line_step(const char *line)
{
    long long step;
    if (line[0] == '\0' || line[strlen(line) - 1] != '\n') return -1;
    if (sscanf(line, "{\"step\": %lld", &step) == 1 || sscanf(line, "%lld,", &step) == 1) return step;
    return -1;
}

/* Keep the header and the rows up to `step`, through a temporary file; open for appending. */
static vj_status reopen(record_file *file, int64_t step, int *has_header)
{
    const char *path = file->path;
    char part[VJ_PATH + 40];
    snprintf(part, sizeof part, "%s.part", path);
    FILE *old = fopen(path, "r");
    if (!old && errno != ENOENT) return vj_raise(VJ_ERR_IO, "read %s", path);
    FILE *kept = fopen(part, "w");
    if (!kept) {
        if (old) fclose(old);
        return vj_raise(VJ_ERR_IO, "open %s for writing", part);
    }
    char *line = NULL;
    size_t room = 0;
    int good = 1;
    while (old && step > 0 && getline(&line, &room, old) > 0) {
        const int header = strncmp(line, "step,", 5) == 0;
        if (header) *has_header = 1;
        const long long at = line_step(line);
        if (header || (at >= 0 && at <= step)) good &= fputs(line, kept) >= 0;
    }
    free(line);
    good &= !old || !ferror(old);
    if (old) fclose(old);
    good &= fclose(kept) == 0;
    if (!good || rename(part, path) != 0) return vj_raise(VJ_ERR_IO, "write %s", path);
    file->fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (file->fd < 0) return vj_raise(VJ_ERR_IO, "open %s for appending", path);
    file->lines = open_memstream(&file->text, &file->bytes);
    return file->lines ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for rows of %s", path);
}

/* Write what is in memory, as far as the file system takes it. True: nothing is left. */
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

/* False: rows are lost. */
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
    int ignored = 0;
    vj_metrics *m = *metrics = vj_calloc(1, sizeof *m);
    if (!m) return vj_raise(VJ_ERR_MEMORY, "no memory for metrics");
    m->csv.fd = m->jsonl.fd = -1;
    snprintf(m->csv.path, sizeof m->csv.path, "%s/metrics.csv", dir);
    snprintf(m->jsonl.path, sizeof m->jsonl.path, "%s/metrics.jsonl", dir);
    VJ_TRY(reopen(&m->csv, step, &m->has_header));
    return reopen(&m->jsonl, step, &ignored);
}

vj_status vj_metrics_write(vj_metrics *m, const vj_metrics_row *row)
{
    FILE *csv = m->csv.lines, *jsonl = m->jsonl.lines;
    if (!m->has_header) {
        for (int i = 0; i < row->count; i++) fprintf(csv, "%s%s", i ? "," : "", row->name[i]);
        fputc('\n', csv);
        m->has_header = 1;
    }
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
    fputc('\n', csv);
    fputs("}\n", jsonl);
    if (ferror(csv) || ferror(jsonl)) return vj_raise(VJ_ERR_MEMORY, "no memory for rows of %s", m->csv.path);
    drain(&m->csv); /* what is left is written later */
    drain(&m->jsonl);
    return VJ_OK;
}

vj_status vj_metrics_close(vj_metrics *m)
{
    if (!m) return VJ_OK;
    const bool csv = close_file(&m->csv), jsonl = close_file(&m->jsonl);
    vj_status status =
        csv && jsonl ? VJ_OK : vj_raise(VJ_ERR_IO, "rows of %s are lost", csv ? m->jsonl.path : m->csv.path);
    free(m);
    return status;
}
