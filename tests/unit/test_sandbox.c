/* Tests the restrictions of a decoding process before it receives the first file. */
#include "../decode_pool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "decode/sandbox.h"

/* Read a file under /proc/PROCESS as text. */
static const char *told_of(int process, const char *what)
{
    static char text[1 << 20];
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", process, what);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

static double told_limit(int process, const char *name)
{
    const char *line = strstr(told_of(process, "limits"), name);
    assert_non_null(line);
    return strtod(line + strlen(name), NULL); /* "unlimited" gives 0 as well */
}

static void test_limits(void **state)
{
    (void)state;
    vj_decode_settings settings = usual();
    settings.seconds = 30;
    vj_decoders *d = start(&settings, 1);
    vj_decoded_free(decode(d, 1, in_folder("after.mkv")));
    int process = vj_decoders_process(d, 0);
    assert_true(told_limit(process, "Max cpu time") >= 30 && told_limit(process, "Max cpu time") < 60);
    assert_true(told_limit(process, "Max address space") > 512e6);
    assert_true(told_limit(process, "Max file size") == 512e6);
    assert_true(told_limit(process, "Max open files") == 7);
    assert_non_null(strstr(told_of(process, "limits"), "Max core file size        0 "));
    assert_int_equal(atoi(told_of(process, "oom_score_adj")), 1000);
    assert_non_null(strstr(told_of(process, "status"), "NoNewPrivs:\t1"));
    const char *maps = told_of(process, "maps");
    assert_non_null(strstr(maps, "libavcodec"));
    assert_null(strstr(maps, "libmpi"));
    assert_null(strstr(maps, "libhdf5"));
    vj_decoders_stop(d);
}

/* Try what a process in the sandbox may not do. Returns the number of the first thing that it could do; 0: none. */
static int try_forbidden(const char *path, pid_t parent)
{
    struct rlimit cpu = {RLIM_INFINITY, RLIM_INFINITY};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    errno = 0;
    if (open(path, O_RDONLY) != -1 || errno != EPERM) return 1;
    if (syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT, 0600) != -1) return 2;
    if (socket(AF_INET, SOCK_STREAM, 0) != -1) return 3;
    if (connect(STDIN_FILENO, (struct sockaddr *)&address, sizeof address) != -1 || errno != EPERM) return 4;
    if (fork() != -1) return 5;
    if (execl("/bin/true", "true", NULL) != -1 || errno != EPERM) return 6;
    if (kill(getppid(), 0) != -1) return 7;
    if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) return 8;
    if (unlink(path) != -1 || errno != EPERM) return 9;
    if (syscall(SYS_ptrace, 16, getppid(), 0, 0) != -1 || errno != EPERM) return 10;
    if (setrlimit(RLIMIT_AS, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}) != -1) return 11;
    if (syscall(SYS_prlimit64, parent, RLIMIT_CPU, NULL, &cpu) != -1 || errno != EPERM) return 12;
    if (syscall(SYS_prlimit64, parent, RLIMIT_CPU, &cpu, NULL) != -1 || errno != EPERM) return 13;
    void *memory = malloc(1 << 20); /* this must still be possible */
    if (!memory) return 14;
    free(memory);
    if (getrlimit(RLIMIT_CPU, &cpu) != 0 || setrlimit(RLIMIT_CPU, &cpu) != 0) return 15;
    return 0;
}

/* Runs in the sandbox. Returns 0 if the sandbox says "worn" exactly while more than half of its 64 MB are in use. */
static int try_worn(const vj_sandbox *sandbox)
{
    const size_t bytes = 40 << 20;
    if (vj_sandbox_is_worn(sandbox)) return 1;
    void *memory = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 2;
    if (!vj_sandbox_is_worn(sandbox)) return 3;
    if (mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) return 4;
    munmap(memory, bytes);
    return vj_sandbox_is_worn(sandbox) ? 5 : 0;
}

static void test_memory(void **state)
{
    (void)state;
    vj_decode_settings settings = usual();
    settings.memory_mb = 64;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        vj_sandbox sandbox;
        char lacking[128];
        _exit(vj_sandbox_enter(&sandbox, &settings, lacking, sizeof lacking) == VJ_OK ? try_worn(&sandbox) : 99);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_system_calls(void **state)
{
    (void)state;
    enum { LACKING = 77, FAILED = 99 };
    const vj_decode_settings settings = usual();
    const pid_t parent = getpid();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        vj_sandbox sandbox;
        char lacking[128];
        if (vj_sandbox_enter(&sandbox, &settings, lacking, sizeof lacking) != VJ_OK) _exit(FAILED);
        _exit(lacking[0] ? LACKING : try_forbidden(in_folder("after.mkv"), parent));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == LACKING) skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_system_calls),
    };
    return cmocka_run_group_tests(tests, set_up_folder, tear_down_folder);
}
