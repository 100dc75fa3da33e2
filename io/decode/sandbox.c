/* Descriptors and limits of a worker. */
#include "decode/sandbox.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* Standard input, output and error, the file, its clips, and one to spare. */
enum { DESCRIPTORS = 6 };

/* Whatever the parent and the libraries in it have left open for others to inherit. */
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

/*
 * Address space beyond what the program has at its start: its libraries, and under the address sanitizer, whose shadow
 * is there from the start, 20 TB.
 */
static vj_status limit_memory(int64_t memory_mb)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    int read = f ? fscanf(f, "%ld", &pages) : 0;
    if (f) fclose(f);
    if (read != 1) return vj_raise(VJ_ERR_IO, "read /proc/self/statm");
    rlim_t most = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (rlim_t)memory_mb * 1000000;
    if (!limit(RLIMIT_AS, most)) return vj_raise(VJ_ERR_IO, "limit memory to %lld MB", (long long)memory_mb);
    return VJ_OK;
}

/* A write beyond the limit on files shall fail, and say so, instead of ending the process. */
static vj_status limit_files(int64_t memory_mb)
{
    if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR || !limit(RLIMIT_FSIZE, (rlim_t)memory_mb * 1000000) ||
        !limit(RLIMIT_NOFILE, DESCRIPTORS) || !limit(RLIMIT_CORE, 0))
        return vj_raise(VJ_ERR_IO, "set limits");
    return VJ_OK;
}

/* Ask the system to end this process, not the ranks, when memory runs out. Nobody is refused that. */
static vj_status go_first(void)
{
    FILE *f = fopen("/proc/self/oom_score_adj", "w");
    int good = f && fputs("1000", f) >= 0;
    if (f && fclose(f) != 0) good = 0;
    return good ? VJ_OK : vj_raise(VJ_ERR_IO, "write /proc/self/oom_score_adj");
}

vj_status vj_sandbox_enter(const vj_decode_settings *settings, char *lacking, size_t bytes)
{
    lacking[0] = '\0';
    VJ_TRY(close_others());
    VJ_TRY(go_first());
    VJ_TRY(limit_memory(settings->memory_mb));
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
    /* The limit is in whole seconds: one for what has been used of the current one, one for the rest. */
    double until = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + seconds + 2;
    cpu.rlim_cur = until < (double)cpu.rlim_max ? (rlim_t)until : cpu.rlim_max;
    if (setrlimit(RLIMIT_CPU, &cpu) != 0) return vj_raise(VJ_ERR_IO, "limit processor time");
    return VJ_OK;
}
