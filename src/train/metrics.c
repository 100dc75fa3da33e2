/* metrics.csv and metrics.jsonl. */
#include "train/metrics.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct vj_metrics {
    FILE *csv, *jsonl;
    int has_header;
    char csv_path[VJ_PATH + 32], jsonl_path[VJ_PATH + 32];
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
static vj_status reopen(FILE **file, const char *path, int64_t step, int *has_header)
{
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
    *file = fopen(path, "a");
    return *file ? VJ_OK : vj_raise(VJ_ERR_IO, "open %s for appending", path);
}

vj_status vj_metrics_open(vj_metrics **metrics, const char *dir, int64_t step)
{
    int ignored = 0;
    vj_metrics *m = *metrics = vj_calloc(1, sizeof *m);
    if (!m) return vj_raise(VJ_ERR_MEMORY, "no memory for metrics");
    snprintf(m->csv_path, sizeof m->csv_path, "%s/metrics.csv", dir);
    snprintf(m->jsonl_path, sizeof m->jsonl_path, "%s/metrics.jsonl", dir);
    VJ_TRY(reopen(&m->csv, m->csv_path, step, &m->has_header));
    return reopen(&m->jsonl, m->jsonl_path, step, &ignored);
}

vj_status vj_metrics_write(vj_metrics *m, const vj_metrics_row *row)
{
    if (!m->has_header) {
        for (int i = 0; i < row->count; i++) fprintf(m->csv, "%s%s", i ? "," : "", row->name[i]);
        fputc('\n', m->csv);
        m->has_header = 1;
    }
    for (int i = 0; i < row->count; i++) {
        const double value = row->value[i];
        fprintf(m->jsonl, "%s\"%s\": ", i ? ", " : "{", row->name[i]);
        if (i) fputc(',', m->csv);
        if (isfinite(value)) {
            fprintf(m->csv, "%.9g", value);
            fprintf(m->jsonl, "%.9g", value);
        } else {
            fputs("null", m->jsonl);
        }
    }
    fputc('\n', m->csv);
    fputs("}\n", m->jsonl);
    if (fflush(m->csv) != 0 || ferror(m->csv)) return vj_raise(VJ_ERR_IO, "write %s", m->csv_path);
    if (fflush(m->jsonl) != 0 || ferror(m->jsonl)) return vj_raise(VJ_ERR_IO, "write %s", m->jsonl_path);
    return VJ_OK;
}

vj_status vj_metrics_close(vj_metrics *m)
{
    if (!m) return VJ_OK;
    int good = 1;
    if (m->csv) good &= fclose(m->csv) == 0;
    if (m->jsonl) good &= fclose(m->jsonl) == 0;
    vj_status status = good ? VJ_OK : vj_raise(VJ_ERR_IO, "close %s", m->csv_path);
    free(m);
    return status;
}
