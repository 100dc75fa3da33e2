/* Opens an untrusted path: accepts only a regular file of acceptable size. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "video/video.h"

/* Turn errno into a verdict on the file, or into an error if this process lacks resources, which would hit the next
 * file too. */
static vj_status judge_errno(const char *path, vj_video_verdict *verdict, char *reason)
{
    switch (errno) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return vj_raise(VJ_ERR_IO, "open %s", path);
    case ENOENT:
    case ENOTDIR:
    case EACCES:
    case EPERM:
    case ENAMETOOLONG:
        *verdict = VJ_VIDEO_MISSING;
        break;
    case ELOOP:
        *verdict = VJ_VIDEO_NOT_REGULAR;
        break;
    default:
        *verdict = VJ_VIDEO_UNREADABLE;
    }
    snprintf(reason, VJ_VIDEO_REASON, "%s", strerror(errno));
    return VJ_OK;
}

static vj_video_verdict judge_stat(const struct stat *st, int64_t max_bytes, char *reason)
{
    if (!S_ISREG(st->st_mode)) {
        const char *kind = S_ISDIR(st->st_mode) ? "a folder" : S_ISFIFO(st->st_mode) ? "a FIFO" : "a device or socket";
        snprintf(reason, VJ_VIDEO_REASON, "%s", kind);
        return VJ_VIDEO_NOT_REGULAR;
    }
    if (st->st_size == 0) {
        snprintf(reason, VJ_VIDEO_REASON, "no bytes");
        return VJ_VIDEO_EMPTY;
    }
    if (st->st_size > max_bytes) {
        snprintf(reason, VJ_VIDEO_REASON, "%lld bytes, at most %lld are read", (long long)st->st_size,
                 (long long)max_bytes);
        return VJ_VIDEO_TOO_LARGE;
    }
    return VJ_VIDEO_OK;
}

/* Checks the file before it is opened, because opening some devices has effects, and again afterwards, because it may
 * have been replaced. */
vj_status vj_regular_open(const char *path, int64_t max_bytes, int *fd, int64_t *bytes, vj_video_verdict *verdict,
                          char reason[VJ_VIDEO_REASON])
{
    struct stat st;
    *fd = -1;
    *bytes = 0;
    reason[0] = '\0';
    if (stat(path, &st) != 0) return judge_errno(path, verdict, reason);
    *verdict = judge_stat(&st, max_bytes, reason);
    if (*verdict == VJ_VIDEO_OK) {
        *fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (*fd < 0) return judge_errno(path, verdict, reason);
        if (fstat(*fd, &st) != 0) {
            vj_status status = judge_errno(path, verdict, reason);
            close(*fd);
            *fd = -1;
            return status;
        }
        *verdict = judge_stat(&st, max_bytes, reason);
        if (*verdict != VJ_VIDEO_OK) {
            close(*fd);
            *fd = -1;
        }
    }
    if (S_ISREG(st.st_mode)) *bytes = st.st_size;
    return VJ_OK;
}
