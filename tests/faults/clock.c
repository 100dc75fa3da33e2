/*
 * A clock that runs fast: preloaded, each time that the main thread of a vjepa program asks for the monotonic time, the
 * time is a second later. So a program on a few clips believes that it takes minutes, on a machine of any speed, and
 * says what it says of long work. Other threads, and libraries, see the real time.
 */
#include <dlfcn.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Return whether the code at `address` is of a program of vjepa or of libvjepa. */
static int is_ours(const void *address)
{
    Dl_info from;
    if (!dladdr(address, &from) || !from.dli_fname) return 0;
    const char *slash = strrchr(from.dli_fname, '/');
    return strstr(slash ? slash : from.dli_fname, "vjepa") != NULL;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    static atomic_long asked;
    const int failed = (int)syscall(SYS_clock_gettime, clock, time);
    if (failed || clock != CLOCK_MONOTONIC || syscall(SYS_gettid) != getpid() || !is_ours(__builtin_return_address(0)))
        return failed;
    time->tv_sec += ++asked;
    return 0;
}
