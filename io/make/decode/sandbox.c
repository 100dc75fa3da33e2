/* Descriptors and limits of a worker. */
#include "decode/sandbox.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* Limit of descriptors: standard input, output and error, statm, the file, its clips, and one in reserve. */
enum { DESCRIPTORS = 7 };

/* Close descriptors inherited from the parent, whose libraries may have left any open. */
static vj_status close_others(void)
{
    DIR *open = opendir("/proc/self/fd");
    if (!open) return vj_raise(VJ_ERR_IO, "list /proc/self/fd");
    for (const struct dirent *entry; (entry = readdir(open));) {
        int fd = atoi(entry->d_name);
        if (fd > STDERR_FILENO && fd != dirfd(open)) close(fd);
    }
    closedir(open);
    return VJ_OK;
}

static int limit(int resource, rlim_t value)
{
    const struct rlimit both = {value, value};
    return setrlimit((__rlimit_resource_t)resource, &both) == 0;
}

/* Return the bytes of address space in use; -1: unknown. */
static int64_t address_space(int statm)
{
    char text[128];
    ssize_t got = pread(statm, text, sizeof text - 1, 0);
    if (got <= 0) return -1;
    text[got] = '\0';
    return strtoll(text, NULL, 10) * sysconf(_SC_PAGESIZE);
}

int vj_sandbox_is_worn(const vj_sandbox *sandbox)
{
    return address_space(sandbox->statm) - sandbox->begin > sandbox->memory / 2;
}

/*
 * Limit the address space beyond what the process has at its start: its libraries, and in builds with the address
 * sanitizer 20 TB of shadow memory.
 */
static vj_status limit_memory(vj_sandbox *sandbox, int64_t memory_mb)
{
    sandbox->memory = memory_mb * 1000000;
    sandbox->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    sandbox->begin = address_space(sandbox->statm);
    if (sandbox->begin < 0) return vj_raise(VJ_ERR_IO, "read /proc/self/statm");
    if (!limit(RLIMIT_AS, (rlim_t)(sandbox->begin + sandbox->memory)))
        return vj_raise(VJ_ERR_IO, "limit memory to %lld MB", (long long)memory_mb);
    return VJ_OK;
}

/* Set limits on files. SIGXFSZ is ignored, so that a write beyond the limit fails with an error instead of ending the
 * process. */
static vj_status limit_files(int64_t memory_mb)
{
    if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR || !limit(RLIMIT_FSIZE, (rlim_t)memory_mb * 1000000) ||
        !limit(RLIMIT_NOFILE, DESCRIPTORS) || !limit(RLIMIT_CORE, 0))
        return vj_raise(VJ_ERR_IO, "set limits");
    return VJ_OK;
}

/* Ask the system to end this process, not the ranks, when memory runs out. Needs no privileges. */
static vj_status go_first(void)
{
    FILE *f = fopen("/proc/self/oom_score_adj", "w");
    int good = f && fputs("1000", f) >= 0;
    if (f && fclose(f) != 0) good = 0;
    return good ? VJ_OK : vj_raise(VJ_ERR_IO, "write /proc/self/oom_score_adj");
}

vj_status vj_sandbox_enter(vj_sandbox *sandbox, const vj_decode_settings *settings, char *lacking, size_t bytes)
{
    lacking[0] = '\0';
    VJ_TRY(close_others());
    VJ_TRY(go_first());
    VJ_TRY(limit_memory(sandbox, settings->memory_mb));
    VJ_TRY(limit_files(settings->memory_mb));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return vj_raise(VJ_ERR_IO, "give up the way to new rights");
    vj_sandbox_calls(lacking, bytes);
    return VJ_OK;
}

vj_status vj_sandbox_allow_time(double seconds)
{
    struct rusage used;
    struct rlimit cpu;
    if (getrusage(RUSAGE_SELF, &used) != 0 || getrlimit(RLIMIT_CPU, &cpu) != 0)
        return vj_raise(VJ_ERR_IO, "read the processor time used");
    /* The limit is in whole seconds: one is added for the fraction of time used, one for that of `seconds`. */
    double until = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + seconds + 2;
    cpu.rlim_cur = until < (double)cpu.rlim_max ? (rlim_t)until : cpu.rlim_max;
    if (setrlimit(RLIMIT_CPU, &cpu) != 0) return vj_raise(VJ_ERR_IO, "limit processor time");
    return VJ_OK;
}
