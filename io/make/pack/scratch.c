/* Unlinked scratch files and memory mapped from them. */
#include "pack/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/config.h"

vj_status vj_scratch_file(int *fd, const char *folder)
{
    char path[VJ_PATH + 32];
    *fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (*fd >= 0) return VJ_OK; /* some network file systems do not support O_TMPFILE */
    snprintf(path, sizeof path, "%s/scratch-XXXXXX", folder);
    *fd = mkostemp(path, O_CLOEXEC);
    if (*fd < 0) return vj_raise(VJ_ERR_IO, "create a temporary file in %s (TMPDIR, if it is no store)", folder);
    return unlink(path) == 0 ? VJ_OK : vj_raise(VJ_ERR_IO, "unlink %s", path);
}

vj_status vj_scratch_create(vj_scratch *scratch, const char *folder, int64_t bytes)
{
    int fd;
    *scratch = (vj_scratch){.bytes = bytes > 0 ? bytes : 1};
    vj_status status = vj_scratch_file(&fd, folder);
    if (status == VJ_OK && (errno = posix_fallocate(fd, 0, scratch->bytes)) != 0)
        status = vj_raise(VJ_ERR_IO, "take %lld MB of scratch space in %s", (long long)(scratch->bytes / 1000000 + 1),
                          folder);
    if (status == VJ_OK) {
        void *data = mmap(NULL, (size_t)scratch->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
            status = vj_raise(VJ_ERR_IO, "map %lld bytes of scratch space in %s", (long long)scratch->bytes, folder);
        else
            scratch->data = data;
    }
    if (fd >= 0) (void)close(fd); /* the mapping keeps the file alive */
    return status;
}

void vj_scratch_release(vj_scratch *scratch)
{
    if (scratch->data) (void)munmap(scratch->data, (size_t)scratch->bytes);
    *scratch = (vj_scratch){0};
}
