/* Functions that pages share: names of files, pictures from files. */
#include "report/pages.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/inside.h"
#include "video/still.h"

/* Return the length of a path without trailing slashes. */
static size_t end_of(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    return end;
}

/* Return where the last `parts` components of path [end] begin. */
static size_t tail_of(const char *path, size_t end, int parts)
{
    while (end > 0 && (path[end - 1] != '/' || --parts > 0)) end--;
    return end;
}

/* Return whether another input ends with the same components. The same path, given twice, is no other input. */
static bool is_ambiguous(const char *path, size_t end, int parts, const vj_inputs *all)
{
    const size_t begin = tail_of(path, end, parts);
    for (int i = 0; i < all->count; i++) {
        const char *other = all->paths[i];
        const size_t other_end = end_of(other), other_begin = tail_of(other, other_end, parts);
        if (other_end == end && memcmp(other, path, end) == 0) continue;
        if (other_end - other_begin == end - begin && memcmp(other + other_begin, path + begin, end - begin) == 0)
            return true;
    }
    return false;
}

char *vj_page_name(const char *path, const vj_inputs *all)
{
    enum { PARTS = 16 };
    int parts = 1;
    const size_t end = end_of(path), last = tail_of(path, end, 1);
    if (strcmp(path + last, ".") == 0 || strcmp(path + last, "..") == 0) { /* the folder that this is */
        char *real = realpath(path, NULL);
        char *name = real ? vj_report_copy(real + tail_of(real, strlen(real), 1)) : vj_report_copy(path);
        free(real);
        return name;
    }
    while (parts < PARTS && is_ambiguous(path, end, parts, all)) parts++;
    const size_t begin = tail_of(path, end, parts);
    char *name = vj_report_memory((int64_t)(end - begin) + 1, 1);
    memcpy(name, path + begin, end - begin);
    return name;
}

bool vj_page_begins(const char *path, const char *begin)
{
    char text[256];
    struct stat info;
    const size_t length = strlen(begin);
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || length > sizeof text) return false;
    FILE *f = fopen(path, "r");
    if (!f) return false;
    const size_t bytes = fread(text, 1, length, f);
    fclose(f); /* only read */
    return bytes == length && memcmp(text, begin, length) == 0;
}

bool vj_page_has(const char *folder, const char *name)
{
    char path[VJ_PATH + 64];
    return snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path && access(path, F_OK) == 0;
}

/* ------------------------------------------------------------------------------------------------ pictures */

/* Read a file that this program has written. */
static vj_status load(const char *path, int64_t limit, char **bytes, int64_t *count, bool *too_large)
{
    struct stat info;
    *bytes = NULL;
    if (stat(path, &info) != 0) return vj_raise(VJ_ERR_IO, "read %s", path);
    *count = info.st_size;
    *too_large = limit > 0 && info.st_size > limit;
    if (*too_large) return VJ_OK;
    FILE *f = fopen(path, "r");
    if (!f) return vj_raise(VJ_ERR_IO, "read %s", path);
    *bytes = vj_report_memory(info.st_size, 1);
    const bool whole = fread(*bytes, 1, (size_t)info.st_size, f) == (size_t)info.st_size;
    fclose(f); /* only read */
    return whole ? VJ_OK : vj_raise(VJ_ERR_IO, "read %s", path);
}

vj_status vj_page_drawn(vj_document *document, const char *name, vj_page_draw *draw, void *user, int64_t limit,
                        bool *too_large, const char *alt, const char *caption)
{
    const char *temporary = getenv("TMPDIR");
    char folder[VJ_PATH], path[VJ_PATH + 16], *bytes = NULL;
    int64_t count = 0;
    *too_large = false;
    snprintf(folder, sizeof folder, "%s/vjepa-report.XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (!mkdtemp(folder)) return vj_raise(VJ_ERR_IO, "make a folder for a picture, %s", folder);
    snprintf(path, sizeof path, "%s/a.png", folder);
    vj_status status = draw(user, path);
    if (status == VJ_OK) status = load(path, limit, &bytes, &count, too_large);
    if (status == VJ_OK && !*too_large) vj_document_picture(document, name, bytes, (size_t)count, alt, caption);
    free(bytes);
    (void)unlink(path); /* it may not have been written */
    (void)rmdir(folder);
    return status;
}

typedef struct {
    const uint8_t *rgb;
    int height, width;
} picture;

static vj_status write_picture(void *user, const char *path)
{
    const picture *p = user;
    return vj_still_write(path, p->rgb, p->height, p->width);
}

vj_status vj_page_rgb(vj_document *document, const char *name, const uint8_t *rgb, int height, int width,
                      const char *alt, const char *caption)
{
    picture p = {rgb, height, width};
    bool too_large;
    return vj_page_drawn(document, name, write_picture, &p, 0, &too_large, alt, caption);
}
