/* history.csv */
#include "train/history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/csv_table.h"
#include "base/file.h"
#include "base/program.h"

enum { HOST_BYTES = 65 };

/* Return the text of one line, to be freed with free(); NULL if there is no memory. */
static char *line_of(const char *event, int64_t step, int ranks, const char *why, bool first)
{
    char *text = NULL, host[HOST_BYTES] = "", date[32] = "";
    size_t bytes;
    struct tm utc;
    const time_t now = time(NULL);
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    if (gethostname(host, sizeof host - 1) != 0) strcpy(host, "unknown");
    if (gmtime_r(&now, &utc)) strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    fprintf(out, "%s%s,%s,%lld,%d,%s,", first ? VJ_HISTORY_BEGIN : "", date, event, (long long)step, ranks, host);
    vj_csv_put_quoted(out, vj_version());
    fputc(',', out);
    vj_csv_put_quoted(out, why);
    fputc('\n', out);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    for (char *at = text + (first ? strlen(VJ_HISTORY_BEGIN) : 0); at[1]; at++)
        if (*at == '\n') *at = ' '; /* an event is one line */
    return text;
}

void vj_history_add(const vj_config *config, const char *event, int64_t step, int ranks, const char *why)
{
    char path[VJ_PATH + 32];
    snprintf(path, sizeof path, "%s/" VJ_HISTORY_FILE, config->run.dir);
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    const off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    char *line = end < 0 ? NULL : line_of(event, step, ranks, why, end == 0);
    bool good = line && vj_write_at(fd, line, (int64_t)strlen(line), end);
    if (fd >= 0) good &= close(fd) == 0;
    if (!good) vj_warn("write %s: %s; a report of this run will lack its %s", path, strerror(errno), event);
    free(line);
}
