/* Signals, the walltime limit, the stop file. The only file-scope state is what a signal handler can reach. */
#include "train/stop.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/lease.h"
#include "base/program.h"

#define LOOK_EVERY_S     0.2
#define BYTES_PER_SECOND 1e8 /* a slow file system */
/* seconds of a batch job's time that are left for the launcher and the job script to end */
#define JOB_END_S 20.0

static volatile sig_atomic_t requests[VJ_REQUESTS];

static void on_signal(int number)
{
    requests[number == SIGUSR2 ? VJ_REQUEST_WRITE : VJ_REQUEST_STOP] = VJ_WHY_SIGNAL;
}

/*
 * Install a handler, unless the signal is ignored already: nohup and the like ignore signals before they start a
 * program.
 */
static void listen_unless_ignored(int number, const struct sigaction *action)
{
    struct sigaction before;
    if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN) sigaction(number, action, NULL);
}

void vj_stop_listen(vj_stop *stop, const vj_config *config)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    *stop = (vj_stop){.began_s = vj_now() - vj_program_age_s()};
    snprintf(stop->path, sizeof stop->path, "%s/stop", config->run.dir);
    for (int i = 0; i < VJ_REQUESTS; i++) requests[i] = VJ_WHY_NONE;
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    listen_unless_ignored(SIGHUP, &action);
    listen_unless_ignored(SIGPIPE, &action);
    action.sa_flags |= SA_RESETHAND; /* a second Ctrl-C ends the program at once */
    sigaction(SIGINT, &action, NULL);
}

/*
 * Find the end of this batch job in seconds since 1970 and the environment variable that gives it. Returns the
 * variable's text; NULL if there is none.
 */
static const char *find_job_end(double *end_s, const char **name)
{
    static const char *const names[] = {"VJEPA_JOB_END_TIME", "SLURM_JOB_END_TIME"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *text = getenv(names[i]);
        char *rest;
        if (!text || !*text) continue;
        *name = names[i];
        *end_s = strtod(text, &rest);
        if (*rest || !isfinite(*end_s)) *end_s = NAN;
        return text;
    }
    return NULL;
}

static vj_status limit_by_job(vj_stop *stop)
{
    double end_s;
    const char *name, *text = find_job_end(&end_s, &name);
    if (!text) {
        const char *job = vj_lease_batch_job();
        if (strcmp(job, "none") != 0)
            vj_warn("run.max_hours is auto, and batch job %s does not say when it ends: no limit of time. Let the job "
                    "script set VJEPA_JOB_END_TIME (seconds since 1970), as jobs/steps/lib.sh does",
                    job);
        else
            vj_log("run.max_hours is auto, and this is no batch job: no limit of time");
        return VJ_OK;
    }
    const double left_s = end_s - (double)time(NULL);
    if (isnan(end_s) || left_s < 0.0)
        return vj_raise(VJ_ERR_USAGE,
                        "run.max_hours is auto, and %s is '%s' in the environment, which is no time to come: it takes "
                        "the seconds since 1970 at which the job ends (now: %lld)",
                        name, text, (long long)time(NULL));
    stop->kept_s = JOB_END_S;
    stop->limit_s = vj_now() - stop->began_s + left_s;
    vj_log("the batch job ends in %.1f minutes (%s): a checkpoint is written and the program stops before",
           left_s / 60.0, name);
    return VJ_OK;
}

vj_status vj_stop_limit(vj_stop *stop, const vj_config *config)
{
    if (config->run.max_hours == VJ_AUTO) return limit_by_job(stop);
    stop->limit_s = 3600.0 * config->run.max_hours;
    return VJ_OK;
}

volatile sig_atomic_t *vj_stop_requests(void)
{
    return requests;
}

/* Return whether there is no time left for the step that begins now, another one, and a checkpoint. */
static int time_is_up(const vj_stop *stop)
{
    const double write_s = stop->write_s > 0.0 ? stop->write_s : stop->guess_s;
    const double needed_s = 2.0 * (stop->step_s + write_s) + 0.01 * stop->limit_s + stop->kept_s;
    return stop->limit_s > 0.0 && vj_now() - stop->began_s + needed_s > stop->limit_s;
}

void vj_stop_poll(vj_stop *stop)
{
    const double now = vj_now();
    if (requests[VJ_REQUEST_STOP]) return;
    if (time_is_up(stop)) requests[VJ_REQUEST_STOP] = VJ_WHY_HOURS;
    if (now - stop->looked_s < LOOK_EVERY_S) return;
    stop->looked_s = now;
    if (access(stop->path, F_OK) == 0) requests[VJ_REQUEST_STOP] = VJ_WHY_FILE;
}

void vj_stop_record_step(vj_stop *stop, double step_s)
{
    if (step_s > stop->step_s) stop->step_s = step_s;
}

void vj_stop_record_checkpoint(vj_stop *stop, double write_s)
{
    if (write_s > stop->write_s) stop->write_s = write_s;
}

void vj_stop_expect_checkpoint(vj_stop *stop, double bytes)
{
    stop->guess_s = bytes / BYTES_PER_SECOND;
}

vj_status vj_stop_remove_file(const vj_stop *stop)
{
    if (unlink(stop->path) == 0 || errno == ENOENT) return VJ_OK;
    return vj_raise(VJ_ERR_IO, "remove %s: remove it by hand, or the next start stops again", stop->path);
}

const char *vj_stop_reason(int why)
{
    static const char *const reasons[] = {"nobody's wish", "the file stop in the run folder",
                                          "the end of run.max_hours", "a signal"};
    return reasons[why];
}
