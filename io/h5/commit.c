/* From PATH.part to PATH: nothing has its final name before all of it is on disk (design invariant 4). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "h5/h5.h"
#include "parallel/parallel.h"

vj_status vj_h5_sync(const char *path)
{
    int fd = open(path, O_RDONLY);
    if (fd < 0) return vj_raise(VJ_ERR_IO, "open %s", path);
    vj_status status = VJ_OK;
    if (fsync(fd) != 0) status = vj_raise(VJ_ERR_IO, "fsync %s", path);
    if (close(fd) != 0 && status == VJ_OK) status = vj_raise(VJ_ERR_IO, "close %s", path);
    return status;
}

const char *vj_h5_split(const char *path, char folder[VJ_PATH])
{
    const char *slash = strrchr(path, '/');
    if (!slash) strcpy(folder, ".");
    else snprintf(folder, VJ_PATH, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    return slash ? slash + 1 : path;
}

static vj_status rename_and_sync(const vj_h5_writer *writer)
{
    char folder[VJ_PATH];
    vj_h5_split(writer->path, folder);
    if (rename(writer->part, writer->path) != 0)
        return vj_raise(VJ_ERR_IO, "rename %s to %s", writer->part, writer->path);
    return vj_h5_sync(folder);
}

vj_status vj_h5_commit(vj_h5_writer *writer, vj_status status)
{
    int rank;
    MPI_Comm_rank(writer->comm, &rank);
    status = vj_agree(writer->comm, status);
    if (status == VJ_OK) status = vj_h5_put_i64(writer->file, "complete", 1);
    if (H5Fclose(writer->file) < 0 && status == VJ_OK) status = vj_raise_h5("close %s", writer->part);
    writer->file = H5I_INVALID_HID;
    if (status == VJ_OK) status = vj_h5_sync(writer->part);
    status = vj_agree(writer->comm, status);
    if (rank == 0) {
        if (status == VJ_OK) status = rename_and_sync(writer);
        else if (unlink(writer->part) != 0 && errno != ENOENT) vj_raise(VJ_ERR_IO, "remove %s", writer->part);
    }
    return vj_agree(writer->comm, status);
}
