/* Tests the watchdog: it ends a process that makes no progress, but not one that makes progress or was suspended. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "train/watchdog.h"

static const double limit_s = 0.6;
static char folder[] = "/tmp/vjepa_watchdog_XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}
static int remove_folder(void **state)
{
    char path[64];
    (void)state;
    snprintf(path, sizeof path, "%s/watchdog.txt", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/watchdog.answers", folder);
    unlink(path);
    return rmdir(folder);
}

static void pause_s(double seconds)
{
    const struct timespec t = {.tv_sec = (time_t)seconds, .tv_nsec = (long)(1e9 * (seconds - (double)(time_t)seconds))};
    nanosleep(&t, NULL);
}

/* Start a process with a watchdog that reports progress `moves` times, every 0.2 s, by place or by phase, and then
 * waits `waits` seconds. */
static pid_t start(int moves, int by_phase, double waits)
{
    const pid_t child = fork();
    if (child != 0) return child;
    static vj_config config;
    vj_watchdog *w;
    vj_backend *be;
    vj_config_defaults(&config);
    snprintf(config.run.dir, sizeof config.run.dir, "%s", folder);
    config.run.watchdog_s = limit_s;
    if (vj_backend_open(&be, "cpu", VJ_FP32, 1) != VJ_OK) _exit(1);
    if (vj_watchdog_start(&w, &config, MPI_COMM_SELF) != VJ_OK) _exit(1);
    vj_watchdog_set_backend(w, be);
    vj_watchdog_enter(w, VJ_AT_STEP, 7);
    for (int i = 0; i < moves; i++) {
        pause_s(0.2);
        if (by_phase)
            vj_phase_enter(be, VJ_PHASE_BACKWARD);
        else
            vj_watchdog_enter(w, i % 2 ? VJ_AT_STEP : VJ_AT_CLIPS, 7);
    }
    pause_s(waits);
    vj_watchdog_set_backend(w, NULL);
    vj_watchdog_stop(w);
    vj_backend_close(be);
    _exit(0);
}

static int end_of(pid_t child)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void progress_goes_on(void **state)
{
    (void)state;
    const pid_t places = start(8, 0, 0.1), phases = start(8, 1, 0.1);
    assert_int_equal(end_of(places), 0);
    assert_int_equal(end_of(phases), 0);
}

static void a_hang_is_ended(void **state)
{
    (void)state;
    char path[64], line[256] = "";
    const double begin = vj_now();
    assert_int_equal(end_of(start(2, 1, 600)), VJ_EXIT_HUNG);
    assert_true(vj_now() - begin < 500); /* not when the hang ends by itself */
    snprintf(path, sizeof path, "%s/watchdog.txt", folder);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    fclose(f);
    assert_non_null(strstr(line, "rank 0 on "));
    assert_non_null(strstr(line, "backward after step 7"));
}

static void a_suspended_job_is_left_alone(void **state)
{
    (void)state;
    const pid_t child = start(0, 0, 0.4);
    pause_s(0.1);
    kill(child, SIGSTOP);
    pause_s(3 * limit_s);
    kill(child, SIGCONT);
    assert_int_equal(end_of(child), 0);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_goes_on),
        cmocka_unit_test(a_hang_is_ended),
        cmocka_unit_test(a_suspended_job_is_left_alone),
    };
    const int failed = cmocka_run_group_tests(tests, make_folder, remove_folder);
    MPI_Finalize();
    return failed;
}
