/* Tests what signals, the time limit and the stop file request. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "folder.h"
#include "train/stop.h"

static vj_config config;
static vj_stop stop;

static int start(void **state)
{
    (void)state;
    vj_config_defaults(&config);
    snprintf(config.run.dir, sizeof config.run.dir, "%s", folder);
    vj_stop_listen(&stop, &config);
    return 0;
}

static int asked(int what)
{
    return vj_stop_requests()[what];
}

static void signals(void **state)
{
    (void)state;
    raise(SIGUSR2);
    assert_int_equal(asked(VJ_REQUEST_WRITE), VJ_WHY_SIGNAL);
    assert_int_equal(asked(VJ_REQUEST_STOP), VJ_WHY_NONE);
    raise(SIGUSR1);
    assert_int_equal(asked(VJ_REQUEST_STOP), VJ_WHY_SIGNAL);
    start(NULL);
    assert_int_equal(asked(VJ_REQUEST_WRITE), VJ_WHY_NONE);
    assert_int_equal(asked(VJ_REQUEST_STOP), VJ_WHY_NONE);
    raise(SIGTERM);
    assert_int_equal(asked(VJ_REQUEST_STOP), VJ_WHY_SIGNAL);
    start(NULL);
    raise(SIGINT);
    assert_int_equal(asked(VJ_REQUEST_STOP), VJ_WHY_SIGNAL);
    struct sigaction now; /* a second Ctrl-C ends the program */
    assert_int_equal(sigaction(SIGINT, NULL, &now), 0);
    assert_true(now.sa_handler == SIG_DFL);
    static const int ends[] = {SIGHUP, SIGPIPE}; /* the terminal, and the reader of the log */
    for (int i = 0; i < 2; i++) {
        signal(ends[i], SIG_DFL); /* the test itself may run under nohup */
        start(NULL);
        raise(ends[i]);
        assert_int_equal(asked(VJ_REQUEST_STOP), VJ_WHY_SIGNAL);
        signal(ends[i], SIG_IGN);
        start(NULL);
        raise(ends[i]);
        assert_int_equal(asked(VJ_REQUEST_STOP), VJ_WHY_NONE);
    }
}

/* Return whether a run of this age stops. The limit is 100000 s, of which one percent is kept back. */
static int stops_at(double age_s)
{
    stop.began_s = vj_now() - age_s;
    vj_stop_poll(&stop);
    return asked(VJ_REQUEST_STOP) == VJ_WHY_HOURS;
}

static void time_for_two_steps_and_checkpoints_is_kept(void **state)
{
    (void)state;
    assert_false(stops_at(1e9));
    config.run.max_hours = 1e5 / 3600;
    assert_int_equal(vj_stop_limit(&stop, &config), VJ_OK);
    assert_false(stops_at(98900));
    vj_stop_record_step(&stop, 10000);
    vj_stop_record_step(&stop, 2000); /* the longest step counts */
    assert_false(stops_at(78900));
    vj_stop_expect_checkpoint(&stop, 150e10);
    assert_false(stops_at(48900));
    vj_stop_record_checkpoint(&stop, 5000); /* from now on a measured time replaces the guess */
    assert_false(stops_at(68900));
    assert_true(stops_at(69100));
}

static void guess_of_a_checkpoint(void **state)
{
    (void)state;
    config.run.max_hours = 1e5 / 3600;
    assert_int_equal(vj_stop_limit(&stop, &config), VJ_OK);
    vj_stop_expect_checkpoint(&stop, 150e10); /* which takes 15000 s at 100 MB/s */
    assert_false(stops_at(68900));
    assert_true(stops_at(69100));
}

/* Set the time limit in the environment of a job with these times of its end; "": not set. */
static vj_status limit_of_job(const char *end, const char *slurm_end)
{
    setenv("VJEPA_JOB_END_TIME", end, 1);
    setenv("SLURM_JOB_END_TIME", slurm_end, 1);
    start(NULL);
    config.run.max_hours = VJ_AUTO;
    return vj_stop_limit(&stop, &config);
}
static const char *in(int seconds)
{
    static char text[32];
    snprintf(text, sizeof text, "%lld", (long long)time(NULL) + seconds);
    return text;
}

static void limit_by_the_batch_job(void **state)
{
    (void)state;
    assert_int_equal(limit_of_job("", in(1000)), VJ_OK);
    assert_false(stops_at(965)); /* 20 s are kept for the job script, and one percent */
    assert_true(stops_at(975));
    assert_int_equal(limit_of_job(in(1000), "9"), VJ_OK); /* our variable takes precedence */
    assert_false(stops_at(965));
    vj_stop_record_step(&stop, 10);
    vj_stop_record_checkpoint(&stop, 100);
    assert_false(stops_at(745));
    assert_true(stops_at(755));
    assert_int_equal(limit_of_job("", ""), VJ_OK);
    assert_false(stops_at(1e9));
    assert_int_equal(limit_of_job("tomorrow", ""), VJ_ERR_USAGE);
    assert_int_equal(limit_of_job(in(-10), ""), VJ_ERR_USAGE);
    assert_int_equal(limit_of_job("", "nan"), VJ_ERR_USAGE);
}

static void stop_file(void **state)
{
    (void)state;
    vj_stop_poll(&stop);
    assert_int_equal(asked(VJ_REQUEST_STOP), VJ_WHY_NONE);
    assert_int_equal(close(open(stop.path, O_WRONLY | O_CREAT, 0666)), 0);
    stop.looked_s = 0; /* otherwise this call is too early to look again */
    vj_stop_poll(&stop);
    assert_int_equal(asked(VJ_REQUEST_STOP), VJ_WHY_FILE);
    assert_int_equal(vj_stop_remove_file(&stop), VJ_OK);
    assert_int_equal(access(stop.path, F_OK), -1);
    assert_int_equal(vj_stop_remove_file(&stop), VJ_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(signals, start),
        cmocka_unit_test_setup(time_for_two_steps_and_checkpoints_is_kept, start),
        cmocka_unit_test_setup(guess_of_a_checkpoint, start),
        cmocka_unit_test_setup(limit_by_the_batch_job, start),
        cmocka_unit_test_setup(stop_file, start),
    };
    return cmocka_run_group_tests(tests, set_up_folder, tear_down_empty_folder);
}
