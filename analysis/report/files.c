/* Reads and creates files. */
#include "report/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/inside.h"

void vj_problems_add(vj_problems *problems, const char *format, ...)
{
    va_list arguments;
    problems->text = vj_report_room(problems->text, problems->count, sizeof *problems->text);
    va_start(arguments, format);
    VJ_ASSERT(vasprintf(&problems->text[problems->count++], format, arguments) >= 0);
    va_end(arguments);
}

void vj_problems_release(vj_problems *problems)
{
    vj_report_free_names(problems->text, problems->count);
    *problems = (vj_problems){0};
}

int vj_report_open(const char *path, int64_t limit, int64_t *bytes, vj_problems *problems)
{
    struct stat info;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* do not block on a pipe */
    *bytes = 0;
    if (fd < 0) {
        vj_problems_add(problems, "%s cannot be read: %s.", path, strerror(errno));
        return -1;
    }
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        vj_problems_add(problems, "%s is not a file.", path);
    } else if (info.st_size > limit) {
        vj_problems_add(problems, "%s has %lld bytes, more than such a file has.", path, (long long)info.st_size);
    } else {
        *bytes = info.st_size;
        return fd;
    }
    close(fd); /* nothing was written */
    return -1;
}

char *vj_report_load(const char *path, int64_t limit, int64_t *bytes, vj_problems *problems)
{
    const int fd = vj_report_open(path, limit, bytes, problems);
    if (fd < 0) return NULL;
    char *text = malloc((size_t)*bytes + 1);
    VJ_ASSERT(text);
    *bytes = vj_read_at(fd, text, *bytes, 0);
    if (*bytes >= 0) {
        text[*bytes] = '\0';
    } else {
        vj_problems_add(problems, "%s cannot be read: %s.", path, strerror(errno));
        free(text);
        text = NULL;
    }
    close(fd); /* only read */
    return text;
}

vj_status vj_report_make_folder(const char *folder)
{
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) return vj_raise(VJ_ERR_IO, "make the folder %s", folder);
    return VJ_OK;
}

vj_status vj_report_begin(vj_file *file, const char *folder, const char *name, const char *ending)
{
    char path[VJ_PATH + 120];
    snprintf(path, sizeof path, "%s/%s%s", folder, name, ending);
    return vj_file_begin_text(file, path);
}
