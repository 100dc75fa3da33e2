/* Tests that a lease has one holder at a time: the holder is alive, dead or on another node; two processes want the
 * lease; a holder finds its lease taken. */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/lease.h"
#include "folder.h"

static char path[64];

/* Write a lease as a process on another node would, last renewed age_s seconds ago. */
static void put_foreign(double age_s)
{
    static const char text[] = "host elsewhere\npid 7\nstarted 8\nboot another\nnamespace pid:[1]\njob 4711\n"
                               "since 2020-01-01T00:00:00Z\ntoken 00000000000000aa\n";
    assert_int_equal(vj_file_put_text(path, text), VJ_OK);
    struct timespec now;
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    now = info.st_mtim;
    now.tv_sec -= (time_t)age_s;
    const struct timespec times[2] = {now, now};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static int prepare(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "%s/lease", folder);
    return unsetenv("VJEPA_LEASE_S");
}
/* Check that a test left no files in the folder besides the lease, which is removed. */
static int check_empty(void **state)
{
    (void)state;
    int left = 0;
    unlink(path);
    DIR *d = opendir(folder);
    for (const struct dirent *e = readdir(d); e; e = readdir(d))
        if (e->d_name[0] != '.') {
            fprintf(stderr, "left: %s\n", e->d_name);
            left++;
        }
    closedir(d);
    return left;
}
static void taken_and_given_back(void **state)
{
    (void)state;
    vj_lease *a, *b;
    assert_int_equal(vj_lease_acquire(&a, folder), VJ_OK);
    const vj_lease_seal seal = vj_lease_seal_of(a), none = vj_lease_seal_of(NULL);
    assert_int_equal(vj_lease_check(&seal), VJ_OK);
    assert_int_equal(vj_lease_check(&none), VJ_OK);
    const double begin = vj_now();
    assert_int_equal(vj_lease_acquire(&b, folder), VJ_ERR_STATE); /* this process is alive */
    assert_null(b);
    assert_true(vj_now() - begin < 60); /* it is refused before the lease's time, 90 s, is over */
    vj_lease_release(a);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(vj_lease_check(&seal), VJ_ERR_STATE);
    assert_int_equal(vj_lease_acquire(&b, folder), VJ_OK);
    vj_lease_release(b);
}

/* Check that after the holder is killed by kill -9 the next process gets the lease at once, also while the killed one
 * is a zombie. */
static void after_a_kill(void **state)
{
    (void)state;
    vj_lease *a;
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        if (vj_lease_acquire(&a, folder) != VJ_OK || write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(vj_lease_acquire(&a, folder), VJ_ERR_STATE);
    kill(child, SIGKILL);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0); /* it is a zombie now */
    const double begin = vj_now();
    assert_int_equal(vj_lease_acquire(&a, folder), VJ_OK);
    assert_true(vj_now() - begin < 60);
    vj_lease_release(a);
    waitpid(child, NULL, 0);
    close(ready[0]);
    close(ready[1]);
}

static void of_another_node(void **state)
{
    (void)state;
    vj_lease *a;
    setenv("VJEPA_LEASE_S", "0.3", 1);
    put_foreign(1000); /* not renewed for longer than the lease's time */
    assert_int_equal(vj_lease_acquire(&a, folder), VJ_OK);
    vj_lease_release(a);
    /* Nobody renews it from now on, so it is waited for and then taken. */
    put_foreign(0);
    const double begin = vj_now();
    assert_int_equal(vj_lease_acquire(&a, folder), VJ_OK);
    assert_true(vj_now() - begin >= 0.2);
    vj_lease_release(a);
    /* An empty lease is treated as one of another node. */
    assert_int_equal(vj_file_put_text(path, ""), VJ_OK);
    assert_int_equal(vj_lease_acquire(&a, folder), VJ_OK);
    vj_lease_release(a);
    setenv("VJEPA_LEASE_S", "soon", 1);
    assert_int_equal(vj_lease_acquire(&a, folder), VJ_ERR_USAGE);
    assert_null(a);
}

/* Check that a lease which is renewed while we wait is refused, because its holder is alive; also one that was last
 * renewed age_s ago by a clock that was set since then. */
static void check_at_work(double age_s)
{
    vj_lease *a;
    put_foreign(age_s);
    const pid_t holder = fork();
    if (holder == 0)
        for (;;) {
            const struct timespec t = {.tv_nsec = 100000000};
            nanosleep(&t, NULL);
            utimensat(AT_FDCWD, path, NULL, 0);
        }
    assert_int_equal(vj_lease_acquire(&a, folder), VJ_ERR_STATE); /* within the usual 90 s */
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
}

static void of_another_node_at_work(void **state)
{
    (void)state;
    check_at_work(0);
    check_at_work(1000);
}

/* Check that when many processes find an abandoned lease only one of them gets it. */
static void many_newcomers(void **state)
{
    (void)state;
    enum { COUNT = 8 };
    pid_t child[COUNT];
    int go[2], won = 0;
    setenv("VJEPA_LEASE_S", "3", 1);
    put_foreign(1000);
    assert_int_equal(pipe(go), 0);
    for (int i = 0; i < COUNT; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            char byte;
            vj_lease *mine;
            close(go[1]);
            if (read(go[0], &byte, 1) < 0) _exit(2);
            const vj_status status = vj_lease_acquire(&mine, folder);
            if (status != VJ_OK) _exit(status == VJ_ERR_STATE ? 1 : 2);
            for (;;) pause(); /* the one that got it stays alive until all others have tried */
        }
    }
    close(go[0]);
    close(go[1]);
    for (int left = COUNT - 1; left > 0; left--) {
        int status;
        const pid_t ended = wait(&status);
        assert_true(ended > 0 && WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 1);
        for (int i = 0; i < COUNT; i++)
            if (child[i] == ended) child[i] = 0;
    }
    for (int i = 0; i < COUNT; i++)
        if (child[i]) {
            won++;
            kill(child[i], SIGKILL);
            waitpid(child[i], NULL, 0);
        }
    assert_int_equal(won, 1);
}

/* Check that a holder which was suspended until another process took its lease notices this, and does not touch the
 * other's lease. */
static void taken_away(void **state)
{
    (void)state;
    vj_lease *a;
    struct stat info;
    setenv("VJEPA_LEASE_S", "0.2", 1);
    assert_int_equal(vj_lease_acquire(&a, folder), VJ_OK);
    const vj_lease_seal seal = vj_lease_seal_of(a);
    put_foreign(1000);
    assert_int_equal(vj_lease_check(&seal), VJ_ERR_STATE);
    const struct timespec t = {.tv_nsec = 200000000};
    nanosleep(&t, NULL);
    vj_lease_release(a);
    assert_int_equal(stat(path, &info), 0);
    assert_true(time(NULL) - info.st_mtim.tv_sec > 500); /* the other's lease is neither renewed nor removed */
}

/* Check that looking tells who holds the lease and changes nothing. Whether a holder on another node is alive is judged
 * by the age of the lease. */
static void looked_at(void **state)
{
    (void)state;
    vj_lease *a;
    assert_int_equal(vj_lease_inspect(folder).state, VJ_LEASE_FREE);
    assert_int_equal(vj_lease_acquire(&a, folder), VJ_OK);
    vj_lease_view view = vj_lease_inspect(folder);
    assert_int_equal(view.state, VJ_LEASE_HELD);
    assert_non_null(strstr(view.holder, "process "));
    assert_true(fabs(view.since_s - (double)time(NULL)) < 100);
    vj_lease_release(a);
    put_foreign(10);
    view = vj_lease_inspect(folder);
    assert_int_equal(view.state, VJ_LEASE_HELD);
    assert_string_equal(view.holder, "process 7 on elsewhere, batch job 4711, since 2020-01-01T00:00:00Z");
    assert_true(view.since_s == 1577836800.0);
    put_foreign(1000);
    assert_int_equal(vj_lease_inspect(folder).state, VJ_LEASE_LEFT);
    assert_int_equal(vj_file_put_text(path, "host\n"), VJ_OK);
    view = vj_lease_inspect(folder);
    assert_int_equal(view.state, VJ_LEASE_HELD); /* a recent lease that does not name its holder */
    assert_true(view.since_s == 0.0);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(vj_lease_inspect(folder).state, VJ_LEASE_FREE); /* it does not wait for a writer of the FIFO */
}

/* Check that a holder on a host whose name has blanks is known. Needs the right to rename the host, in a namespace of
 * its own. */
static void odd_host(void **state)
{
    (void)state;
    int code;
    const pid_t child = fork();
    if (child == 0) {
        vj_lease *a;
        if (unshare(CLONE_NEWUTS) != 0 || sethostname("my old node", 11) != 0) _exit(77);
        if (vj_lease_acquire(&a, folder) != VJ_OK) _exit(1);
        const vj_lease_view view = vj_lease_inspect(folder);
        vj_lease_release(a);
        _exit(view.state == VJ_LEASE_HELD && strstr(view.holder, " on my_old_node, since ") ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &code, 0), child);
    if (WIFEXITED(code) && WEXITSTATUS(code) == 77) skip();
    assert_int_equal(code, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(taken_and_given_back, prepare, check_empty),
        cmocka_unit_test_setup_teardown(after_a_kill, prepare, check_empty),
        cmocka_unit_test_setup_teardown(of_another_node, prepare, check_empty),
        cmocka_unit_test_setup_teardown(of_another_node_at_work, prepare, check_empty),
        cmocka_unit_test_setup_teardown(many_newcomers, prepare, check_empty),
        cmocka_unit_test_setup_teardown(taken_away, prepare, check_empty),
        cmocka_unit_test_setup_teardown(looked_at, prepare, check_empty),
        cmocka_unit_test_setup_teardown(odd_host, prepare, check_empty),
    };
    return cmocka_run_group_tests(tests, set_up_folder, tear_down_empty_folder);
}
