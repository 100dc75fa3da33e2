/* The system calls that a worker may still make; enforced with libseccomp. */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "decode/sandbox.h"

/* Calls allowed with any arguments: they act on open descriptors, own memory, or the process itself. */
static const int calls[] = {
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(pread64),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(pwrite64),
    SCMP_SYS(lseek),
    SCMP_SYS(_llseek),
    SCMP_SYS(ftruncate),
    SCMP_SYS(ftruncate64),
    SCMP_SYS(close),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(futex),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(getrandom),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getrusage),
    SCMP_SYS(sysinfo),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

static int add_calls(scmp_filter_ctx filter)
{
    int error = 0;
    for (size_t i = 0; i < sizeof calls / sizeof *calls && error == 0; i++) {
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
        if (error == -EDOM) error = 0; /* this architecture does not have the call */
    }
    return error;
}

static int add_call(scmp_filter_ctx filter, int call, struct scmp_arg_cmp condition)
{
    int error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, condition);
    return error == -EDOM ? 0 : error;
}

/* Allow prlimit64() with process id 0 (this process) only; other ids reach any process of the user. */
static int add_own_limit(scmp_filter_ctx filter)
{
    int error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2, SCMP_A0(SCMP_CMP_EQ, 0),
                                 SCMP_A1(SCMP_CMP_EQ, RLIMIT_CPU));
    return error == -EDOM ? 0 : error;
}

/* Allow messages from and to the parent, memory that is not executable, abort() of this process, and reading its CPU
 * time. */
static int add_conditional_calls(scmp_filter_ctx filter)
{
    int error = add_call(filter, SCMP_SYS(recvmsg), SCMP_A0(SCMP_CMP_EQ, STDIN_FILENO));
    if (!error) error = add_call(filter, SCMP_SYS(sendmsg), SCMP_A0(SCMP_CMP_EQ, STDIN_FILENO));
    if (!error) error = add_call(filter, SCMP_SYS(mmap), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (!error) error = add_call(filter, SCMP_SYS(mmap2), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (!error) error = add_call(filter, SCMP_SYS(mprotect), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (!error) error = add_call(filter, SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
    if (!error) error = add_own_limit(filter);
    if (!error) error = add_call(filter, SCMP_SYS(getrlimit), SCMP_A0(SCMP_CMP_EQ, RLIMIT_CPU));
    if (!error) error = add_call(filter, SCMP_SYS(setrlimit), SCMP_A0(SCMP_CMP_EQ, RLIMIT_CPU));
    return error;
}

void vj_sandbox_calls(char *lacking, size_t bytes)
{
    lacking[0] = '\0';
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int error = filter ? 0 : -ENOMEM;
    /* Do not enable the mitigation of speculative store bypass: it slows decoding down, and there are no secrets in
     * this process. */
    if (!error) error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    if (!error) error = add_calls(filter);
    if (!error) error = add_conditional_calls(filter);
    if (!error) error = seccomp_load(filter);
    if (filter) seccomp_release(filter);
    if (error)
        snprintf(lacking, bytes, "the system does not allow to forbid system calls (seccomp: %s)", strerror(-error));
}
