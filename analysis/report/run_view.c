/* Finds the state of a run. Read vj_run_view_refresh() first. */
#include "report/run_view.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "ckpt/ckpt.h"
#include "parallel/parallel.h"
#include "report/pages.h"
#include "train/history.h"
#include "train/pretrain.h"

enum { HUNG_S = 120, HUNG_STEPS = 20 };

static void name_in(const vj_run_view *v, const char *name, char path[VJ_PATH + 32])
{
    snprintf(path, VJ_PATH + 32, "%s/%s", v->folder, name);
}

static double seconds(struct timespec t)
{
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

__attribute__((format(printf, 2, 3))) static void alarm_of(vj_run_view *v, const char *format, ...)
{
    va_list args;
    if (v->alarms == VJ_ALARMS) return;
    va_start(args, format);
    vsnprintf(v->alarm[v->alarms++], VJ_ALARM_TEXT, format, args);
    va_end(args);
}

const char *vj_run_state_name(vj_run_state state)
{
    static const char *const names[] = {
        [VJ_RUN_MISSING] = "not begun", [VJ_RUN_STARTING] = "starting", [VJ_RUN_RUNNING] = "running",
        [VJ_RUN_HUNG] = "HUNG",         [VJ_RUN_STOPPED] = "stopped",   [VJ_RUN_FAILED] = "FAILED",
        [VJ_RUN_KILLED] = "KILLED",     [VJ_RUN_COMPLETE] = "complete",
    };
    return names[state];
}

/* ------------------------------------------------------------------------------------------------ files */

static void read_config(vj_run_view *v)
{
    char path[VJ_PATH + 32];
    struct stat info;
    name_in(v, "config.yaml", path);
    if (stat(path, &info) != 0) return;
    if (memcmp(&info.st_mtim, &v->config_changed, sizeof info.st_mtim) == 0) return;
    v->config_changed = info.st_mtim;
    v->steps = 0;
    vj_config *c = vj_calloc(1, sizeof *c);
    if (!c) return;
    vj_config_defaults(c);
    vj_status_divert(v->config_trouble, sizeof v->config_trouble);
    if (vj_config_read(c, path) == VJ_OK && vj_config_check(c) == VJ_OK) {
        v->steps = vj_pretrain_steps(c);
        v->checkpoint_every = c->checkpoint.every;
        v->rank_alarm = c->log.rank_alarm;
        v->width = c->model.width;
    }
    vj_status_divert(NULL, 0);
    free(c);
}

/* Read the number of roll-backs from the newest checkpoint, which is opened only once. */
static void read_rollbacks(vj_run_view *v)
{
    vj_ckpt_state state;
    v->rollbacks = 0;
    vj_status_divert(v->checkpoint_trouble, sizeof v->checkpoint_trouble);
    if (vj_ckpt_read_state(v->checkpoint, &state, VJ_ALONE) == VJ_OK) {
        v->rollbacks = state.rollbacks;
        vj_ckpt_state_release(&state);
    }
    vj_status_divert(NULL, 0);
}

static void read_checkpoint(vj_run_view *v)
{
    char path[VJ_PATH] = "", ignored[VJ_ALARM_TEXT];
    struct stat info;
    vj_status_divert(ignored, sizeof ignored); /* a folder that cannot be read looks empty */
    if (vj_ckpt_latest(v->folder, path, VJ_ALONE) != VJ_OK) path[0] = '\0';
    vj_status_divert(NULL, 0);
    if (path[0] == '\0' || stat(path, &info) != 0) {
        v->checkpoint[0] = v->checkpoint_trouble[0] = '\0';
        v->checkpoint_step = v->rollbacks = 0;
        return;
    }
    const char *number = strrchr(path, '_');
    v->checkpoint_step = number ? atoll(number + 1) : 0;
    v->checkpoint_bytes = info.st_size;
    v->checkpoint_age_s = v->now_s - seconds(info.st_mtim);
    if (strcmp(path, v->checkpoint) == 0) return;
    snprintf(v->checkpoint, sizeof v->checkpoint, "%s", path);
    read_rollbacks(v);
}

/* Return the text of a line's last cell, which is in quotes; changes the line. */
static char *last_text(char *line)
{
    char *text = NULL;
    for (char *at = strstr(line, ",\""); at; at = strstr(at + 1, ",\"")) text = at + 2;
    if (text) text[strcspn(text, "\"\n")] = '\0';
    return text;
}

/* If the history ends with a stop or failure, describe it: "step 12: the file stop in the run folder". */
static void read_stop(vj_run_view *v)
{
    char path[VJ_PATH + 32], line[1024], event[16];
    long long step;
    name_in(v, VJ_HISTORY_FILE, path);
    v->event[0] = v->stopped[0] = '\0';
    FILE *f = vj_page_begins(path, "time,event,") ? fopen(path, "r") : NULL;
    if (!f) return;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%*[^,],%15[^,],%lld", event, &step) != 2) continue; /* the header */
        const bool early = strcmp(event, "stop") == 0 || strcmp(event, "failed") == 0;
        const char *why = early ? last_text(line) : NULL;
        memcpy(v->event, event, sizeof event);
        v->stopped[0] = '\0';
        if (why) snprintf(v->stopped, sizeof v->stopped, "step %lld: %.*s", step, VJ_ALARM_TEXT - 40, why);
    }
    fclose(f); /* only read */
}

static void read_free_space(vj_run_view *v)
{
    struct statvfs room;
    v->free_bytes = statvfs(v->folder, &room) == 0 ? (double)room.f_bavail * (double)room.f_frsize : NAN;
}

/* ------------------------------------------------------------------------------------------------ state */

/* Return the time without a row after which a run counts as hung. */
static double patience_s(const vj_run_view *v)
{
    double longest = 0.0;
    for (int64_t r = v->metrics.rows - 1; r >= 0 && r >= v->metrics.rows - VJ_RECENT; r--)
        longest = fmax(longest, v->metrics.recent[r % VJ_RECENT][VJ_METRIC_STEP_S]);
    return fmax(HUNG_S, HUNG_STEPS * longest);
}

/* Return whether the running job has written a row. Before its first row it opens the store and reads a checkpoint. */
static bool has_row_of_job(const vj_run_view *v)
{
    return v->metrics.rows > 0 && v->metrics.changed_s >= v->lease.since_s;
}

static bool has(const vj_run_view *v, const char *name)
{
    char path[VJ_PATH + 32];
    name_in(v, name, path);
    return access(path, F_OK) == 0;
}

/* Decide the state. The order of the checks matters. */
static vj_run_state judge(const vj_run_view *v)
{
    if (v->lease.state == VJ_LEASE_HELD) { /* also if the run was complete and is being continued */
        if (!has_row_of_job(v)) return VJ_RUN_STARTING;
        return v->row_age_s > patience_s(v) ? VJ_RUN_HUNG : VJ_RUN_RUNNING;
    }
    if (has(v, "complete")) return VJ_RUN_COMPLETE;
    if (v->lease.state == VJ_LEASE_FREE) {
        /* A job writes the last line of its history before it releases its lease. */
        if (strcmp(v->event, "failed") == 0) return VJ_RUN_FAILED;
        if (strcmp(v->event, "start") != 0 && strcmp(v->event, "roll_back") != 0)
            return v->metrics.found || v->checkpoint_step > 0 || has(v, "config.yaml") ? VJ_RUN_STOPPED
                                                                                       : VJ_RUN_MISSING;
    }
    return has(v, "watchdog.txt") ? VJ_RUN_HUNG : VJ_RUN_KILLED;
}

/* ------------------------------------------------------------------------------------------------ alarms */

/* Return the number of steps that were skipped among the last rows. */
static double skipped_lately(const vj_follow *f)
{
    const int64_t last = f->rows - 1, first = last < VJ_RECENT ? 0 : f->rows - VJ_RECENT;
    if (last < 1) return 0.0;
    return f->recent[last % VJ_RECENT][VJ_METRIC_SKIPPED] - f->recent[first % VJ_RECENT][VJ_METRIC_SKIPPED];
}

static void find_alarms_of_numbers(vj_run_view *v)
{
    const vj_follow *f = &v->metrics;
    if (f->rows == 0) return;
    if (isnan(f->value[VJ_METRIC_LOSS])) alarm_of(v, "the loss of the last step is not finite");
    if (f->known[VJ_METRIC_RANK] < v->rank_alarm)
        alarm_of(v, "collapse: the effective rank is %.1f, below log.rank_alarm %.1f", f->known[VJ_METRIC_RANK],
                 v->rank_alarm);
    if (skipped_lately(f) > 0.0)
        alarm_of(v, "%.0f of the last %lld steps were skipped: loss or gradient were not finite", skipped_lately(f),
                 (long long)(f->rows < VJ_RECENT ? f->rows : VJ_RECENT));
}

static void find_alarms_of_checkpoints(vj_run_view *v)
{
    const vj_follow *f = &v->metrics;
    const int64_t behind = f->step - v->checkpoint_step;
    if (v->checkpoint_trouble[0]) alarm_of(v, "%s", v->checkpoint_trouble);
    if (v->state != VJ_RUN_COMPLETE && f->known[VJ_METRIC_FAILED] > 0.0 && v->checkpoint_every > 0 &&
        behind > v->checkpoint_every)
        alarm_of(v, "checkpoints fail (%.0f so far): %lld steps would be lost now", f->known[VJ_METRIC_FAILED],
                 (long long)behind);
    if (v->checkpoint_step > 0 && v->state != VJ_RUN_COMPLETE && v->free_bytes < 1.1 * (double)v->checkpoint_bytes)
        alarm_of(v, "the disk is nearly full: %.1f GB are free, the next checkpoint needs %.1f GB",
                 1e-9 * v->free_bytes, 1e-9 * (double)v->checkpoint_bytes);
}

static void find_alarms(vj_run_view *v)
{
    const double waiting = vj_follow_mean(&v->metrics, VJ_METRIC_WAIT_S, VJ_RECENT) / vj_run_view_step_s(v);
    v->alarms = 0;
    if (v->state == VJ_RUN_HUNG && v->lease.state == VJ_LEASE_HELD)
        alarm_of(v, "no progress for %.0f s; where the ranks are: watchdog.txt, once the watchdog has ended the job",
                 v->row_age_s);
    if (v->state == VJ_RUN_KILLED)
        alarm_of(v, v->lease.holder[0] ? "the job was killed: it was %s" : "the job was killed%s", v->lease.holder);
    if (v->state == VJ_RUN_FAILED) alarm_of(v, "the job failed at %s", v->stopped);
    if (v->state == VJ_RUN_STARTING && v->now_s - v->lease.since_s > 600.0 && v->lease.since_s > 0.0)
        alarm_of(v, "no step yet, %.0f min after the job began", (v->now_s - v->lease.since_s) / 60.0);
    if (has(v, "watchdog.txt") && v->state != VJ_RUN_COMPLETE)
        alarm_of(v, "a job of this run has hung: see watchdog.txt in its folder");
    find_alarms_of_numbers(v);
    find_alarms_of_checkpoints(v);
    if (waiting > 0.1) alarm_of(v, "%.0f %% of the time is spent waiting for clips", 100.0 * waiting);
    if (v->config_trouble[0]) alarm_of(v, "the settings cannot be read: %s", v->config_trouble);
    if (v->metrics.found && !v->metrics.readable)
        alarm_of(v, "metrics.csv does not begin with the names of columns: no curves");
    if (v->metrics.odd > 0)
        alarm_of(v, "lines of metrics.csv that are no rows after the others, and are left out: %lld",
                 (long long)v->metrics.odd);
}

/* ------------------------------------------------------------------------------------------------ the view */

void vj_run_view_begin(vj_run_view *v, const char *folder, bool whole)
{
    memset(v, 0, sizeof *v);
    v->folder = folder;
    vj_follow_begin(&v->metrics, folder, whole);
}

void vj_run_view_refresh(vj_run_view *v)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    v->now_s = seconds(now);
    v->lease = vj_lease_inspect(v->folder);
    vj_follow_read(&v->metrics);
    read_config(v);
    read_checkpoint(v);
    read_stop(v);
    read_free_space(v);
    /* The clock of the file system may differ a little from ours, so the age is at least 0. */
    v->row_age_s = v->metrics.rows > 0 ? fmax(0.0, v->now_s - v->metrics.changed_s) : NAN;
    v->state = judge(v);
    find_alarms(v);
}

double vj_run_view_step_s(const vj_run_view *v)
{
    return vj_follow_mean(&v->metrics, VJ_METRIC_STEP_S, VJ_RECENT);
}

double vj_run_view_left_s(const vj_run_view *v)
{
    if (v->steps <= 0) return NAN;
    return (double)(v->steps - v->metrics.step) * vj_run_view_step_s(v);
}
