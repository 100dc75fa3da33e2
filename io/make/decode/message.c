/* Messages with descriptors over a Unix socket. */
#include "decode/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FDS = 2 };

typedef union {
    struct cmsghdr head;
    char room[CMSG_SPACE(MAX_FDS * sizeof(int))];
} control;

int vj_message_send(int socket, const void *message, size_t bytes, const int *fds, int fd_count)
{
    struct iovec part = {(void *)(uintptr_t)message, bytes};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    control c = {0};
    if (fd_count > 0) {
        m.msg_control = &c;
        m.msg_controllen = CMSG_SPACE((size_t)fd_count * sizeof(int));
        c.head.cmsg_level = SOL_SOCKET;
        c.head.cmsg_type = SCM_RIGHTS;
        c.head.cmsg_len = CMSG_LEN((size_t)fd_count * sizeof(int));
        memcpy(CMSG_DATA(&c.head), fds, (size_t)fd_count * sizeof(int));
    }
    ssize_t sent;
    do sent = sendmsg(socket, &m, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)bytes ? 0 : -1;
}

/* Get all descriptors that came with a message, expected or not. Returns how many. */
static int take_descriptors(struct msghdr *m, int *fds)
{
    int count = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
        int here = (int)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < here && count < MAX_FDS; i++)
            memcpy(&fds[count++], CMSG_DATA(h) + (size_t)i * sizeof(int), sizeof(int));
    }
    return count;
}

int vj_message_receive(int socket, void *message, size_t bytes, int *fds, int fd_count)
{
    struct iovec part = {message, bytes};
    control c;
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
    int taken[MAX_FDS];
    ssize_t got;
    do got = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0) return errno == ECONNRESET ? 0 : -1;
    int count = take_descriptors(&m, taken);
    if (got == 0 && count == 0) return 0;
    if ((size_t)got == bytes && count == fd_count && !(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
        if (count > 0) memcpy(fds, taken, (size_t)count * sizeof(int));
        return 1;
    }
    for (int i = 0; i < count; i++) close(taken[i]);
    errno = EPROTO;
    return -1;
}
