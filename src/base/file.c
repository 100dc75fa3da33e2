/* fsync and rename. */
#include "base/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"

vj_status vj_file_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return vj_raise(VJ_ERR_IO, "open %s", path);
    vj_status status = fsync(fd) == 0 ? VJ_OK : vj_raise(VJ_ERR_IO, "fsync %s", path);
    (void)close(fd); /* opened for reading: nothing of ours can be lost by it */
    return status;
}

vj_status vj_file_publish(const char *part, const char *path)
{
    char folder[VJ_PATH + 64];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 2, slash ? path : "./");
    VJ_TRY(vj_file_sync(part));
    if (rename(part, path) != 0) return vj_raise(VJ_ERR_IO, "rename %s to %s", part, path);
    return vj_file_sync(folder);
}
