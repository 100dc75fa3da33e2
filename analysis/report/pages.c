/* Functions that pages share: names of files, pictures from files. */
#include "report/pages.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec/codec.h"
#include "report/inside.h"

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

vj_status vj_page_picture(vj_document *document, const char *name, const vj_canvas *canvas, int64_t limit,
                          bool *too_large, const char *alt, const char *caption)
{
    enum { HEAD = 3 * sizeof(uint32_t) }; /* of a record of one frame (codec.h) */
    const vj_codec_settings settings = {.codec = VJ_CODEC_JPEG, .quality = 85, .chroma = 444};
    vj_coder *coder;
    const uint8_t *record;
    int64_t bytes;
    double psnr;
    vj_status status = vj_coder_create(&coder);
    if (status == VJ_OK)
        status = vj_record_encode(coder, &settings, canvas->pixels, 1, canvas->height, canvas->width, &record, &bytes,
                                  &psnr);
    *too_large = status == VJ_OK && limit > 0 && bytes - HEAD > limit;
    if (status == VJ_OK && !*too_large)
        vj_document_picture(document, name, record + HEAD, (size_t)(bytes - HEAD), alt, caption);
    vj_coder_destroy(coder);
    return status;
}
