/*
 * Pauses of increasing length between attempts to read, made of short sleeps so that a loader can be stopped quickly.
 */
#include "clips/outage.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static const double FIRST_PAUSE_S = 0.01, LONGEST_PAUSE_S = 5.0, NAP_S = 0.02;

void vj_outage_init(vj_outage *outage)
{
    *outage = (vj_outage){0};
    pthread_mutex_init(&outage->lock, NULL);
}

void vj_outage_release(vj_outage *outage)
{
    pthread_mutex_destroy(&outage->lock);
}

static bool is_stopped(const vj_patience *patience)
{
    return patience->stop && atomic_load(patience->stop);
}

/* Begin this thread's wait; the first thread to wait logs it. */
static void join(vj_outage *outage, const vj_patience *patience, const char *path, const char *why)
{
    char host[64] = "";
    pthread_mutex_lock(&outage->lock);
    const bool first = outage->waiting++ == 0;
    if (first) outage->since_s = vj_now();
    pthread_mutex_unlock(&outage->lock);
    if (!first) return;
    if (gethostname(host, sizeof host - 1) != 0) strcpy(host, "unknown host");
    const char *setting = patience->setting;
    vj_warn("%s cannot be read on %s: %s; trying again for up to %g s%s%s%s", path, host, why, patience->limit_s,
            setting ? " (" : "", setting ? setting : "", setting ? ")" : "");
}

bool vj_outage_pause(vj_outage *outage, vj_outage_wait *wait, const vj_patience *patience, const char *path,
                     const char *why)
{
    if (patience->limit_s <= 0.0 || is_stopped(patience)) return false;
    if (!wait->waiting) {
        *wait = (vj_outage_wait){.waiting = true, .since_s = vj_now(), .pause_s = FIRST_PAUSE_S};
        join(outage, patience, path, why);
    }
    const double left_s = patience->limit_s - (vj_now() - wait->since_s);
    if (left_s <= 0.0) return false;
    const double until_s = vj_now() + (wait->pause_s < left_s ? wait->pause_s : left_s);
    for (double now_s; (now_s = vj_now()) < until_s && !is_stopped(patience);) vj_sleep(fmin(until_s - now_s, NAP_S));
    wait->pause_s = 2.0 * wait->pause_s < LONGEST_PAUSE_S ? 2.0 * wait->pause_s : LONGEST_PAUSE_S;
    return !is_stopped(patience);
}

double vj_outage_end(vj_outage *outage, const vj_outage_wait *wait, bool succeeded)
{
    if (!wait->waiting) return 0.0;
    pthread_mutex_lock(&outage->lock);
    const bool last = --outage->waiting == 0;
    const double outage_s = vj_now() - outage->since_s;
    pthread_mutex_unlock(&outage->lock);
    if (last && succeeded) vj_warn("clips can be read again after %.1f s; none was replaced for it", outage_s);
    return vj_now() - wait->since_s;
}
