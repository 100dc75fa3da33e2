/* Checks of output paths before the work begins. */
#include "base/output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"

/* Write the name of the folder that contains `path`, which need not exist. */
static void folder_of(const char *path, char folder[VJ_PATH])
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    while (length > 0 && path[length - 1] != '/') length--;
    while (length > 1 && path[length - 1] == '/') length--;
    if (length == 0)
        strcpy(folder, ".");
    else
        snprintf(folder, VJ_PATH, "%.*s", (int)length, path);
}

static vj_status check_writable(const char *option, const char *path, const char *folder)
{
    struct stat info;
    if (stat(folder, &info) != 0)
        return vj_raise(VJ_ERR_USAGE, "%s %s: the folder %s cannot be used: %s", option, path, folder, strerror(errno));
    if (!S_ISDIR(info.st_mode)) return vj_raise(VJ_ERR_USAGE, "%s %s: %s is not a folder", option, path, folder);
    if (access(folder, W_OK | X_OK) != 0)
        return vj_raise(VJ_ERR_USAGE, "%s %s: nothing can be written in %s: %s", option, path, folder, strerror(errno));
    return VJ_OK;
}

static vj_status check_length(const char *option, const char *path)
{
    if (!*path) return vj_raise(VJ_ERR_USAGE, "%s is empty: it takes a path", option);
    if (strlen(path) >= VJ_PATH) return vj_raise(VJ_ERR_USAGE, "%s: path too long: %s", option, path);
    return VJ_OK;
}

/* Check that what is at `path`, if anything, is a regular file. `option` may be "". */
static vj_status check_regular(const char *option, const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0 || S_ISREG(info.st_mode)) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE, "%s%s%s: this is a %s, a file is to be written there", option, *option ? " " : "",
                    path, S_ISDIR(info.st_mode) ? "folder" : "special file");
}

vj_status vj_output_check_file(const char *option, const char *path)
{
    char folder[VJ_PATH];
    VJ_TRY(check_length(option, path));
    VJ_TRY(check_regular(option, path));
    folder_of(path, folder);
    return check_writable(option, path, folder);
}

vj_status vj_output_check_folder(const char *option, const char *path)
{
    struct stat info;
    char folder[VJ_PATH];
    VJ_TRY(check_length(option, path));
    if (stat(path, &info) == 0) return check_writable(option, path, path);
    if (errno != ENOENT) return check_writable(option, path, path); /* which says why */
    folder_of(path, folder);
    return check_writable(option, path, folder);
}

vj_status vj_output_check_text(const char *path, const char *begin)
{
    char text[256] = "";
    VJ_TRY(check_regular("", path)); /* opening a FIFO would wait for its writer */
    FILE *f = fopen(path, "r");
    if (!f)
        return errno == ENOENT ? VJ_OK
                               : vj_raise(VJ_ERR_USAGE, "%s is there and cannot be read: %s", path, strerror(errno));
    const size_t n = fread(text, 1, strlen(begin) < sizeof text ? strlen(begin) : sizeof text - 1, f);
    fclose(f); /* only read */
    if (n == 0 || strncmp(text, begin, n) == 0) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE, "%s was not written by this program: move it away, or write to another folder", path);
}
