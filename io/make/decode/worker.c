/* The worker's side: enter the sandbox, then serve one file after another until the parent closes the socket. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "decode/maker.h"
#include "decode/sandbox.h"

static int is_channel(int fd)
{
    int type;
    socklen_t bytes = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 && type == SOCK_SEQPACKET;
}

static vj_status lost(const char *what)
{
    return vj_raise(VJ_ERR_IO, "%s the process that started this one", what);
}

/* For vj_maker_run(). If the parent does not get it, the answer will show why. */
static void tell(double so_far)
{
    const vj_decode_reply reply = {.so_far = so_far};
    (void)vj_message_send(STDIN_FILENO, &reply, sizeof reply, NULL, 0);
}

static vj_status serve(vj_maker *maker, const vj_sandbox *sandbox, const vj_decode_settings *settings)
{
    for (;;) {
        vj_decode_order order;
        vj_decode_reply reply;
        int fds[2];
        int got = vj_message_receive(STDIN_FILENO, &order, sizeof order, fds, 2);
        if (got <= 0) return got == 0 ? VJ_OK : lost("reading from");
        VJ_TRY(vj_sandbox_allow_time(settings->seconds));
        vj_maker_run(maker, &order, fds[0], fds[1], &reply, tell);
        close(fds[0]);
        close(fds[1]);
        reply.leaving = vj_sandbox_is_worn(sandbox);
        if (vj_message_send(STDIN_FILENO, &reply, sizeof reply, NULL, 0) != 0) return lost("answering");
    }
}

vj_status vj_decode_serve(void)
{
    vj_decode_settings settings;
    vj_decode_hello hello = {.protocol = VJ_DECODE_PROTOCOL};
    vj_maker *maker;
    vj_sandbox sandbox;
    if (!is_channel(STDIN_FILENO))
        return vj_raise(VJ_ERR_USAGE, "vjepa-decode is started by vjepa-pack, not by hand: see vjepa-decode --help");
    /* If the parent has died before this call, the socket is closed, which is noticed below. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return lost("cannot ask to end with");
    int got = vj_message_receive(STDIN_FILENO, &settings, sizeof settings, NULL, 0);
    if (got <= 0) return got == 0 ? VJ_OK : lost("reading settings from");
    vj_status status = vj_maker_create(&maker, &settings);
    if (status == VJ_OK) status = vj_sandbox_enter(&sandbox, &settings, hello.sandbox, sizeof hello.sandbox);
    if (status == VJ_OK && vj_message_send(STDIN_FILENO, &hello, sizeof hello, NULL, 0) != 0) status = lost("greeting");
    if (status == VJ_OK) status = serve(maker, &sandbox, &settings);
    vj_maker_destroy(maker);
    return status;
}
