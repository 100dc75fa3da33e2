/* Computes the number of jobs, the energy and the cost of node failures from the time of a step. */
#include <math.h>

#include "plan/forecast.h"

/* The share of a job's time that vjepa-pretrain --max-hours keeps back, besides two steps and two checkpoints. */
static const double kept_back = 0.01;

/*
 * Return the expected time of work_s seconds of work. It is done in pieces of interval_s, each followed by a checkpoint
 * that takes write_s. Failures come at random, on average every mtbf_s; each costs restart_s and the present piece.
 * Daly 2006, "A higher order estimate of the optimum checkpoint interval for restart dumps".
 */
static double expected_s(double work_s, double interval_s, double write_s, double restart_s, double mtbf_s)
{
    return mtbf_s * exp(restart_s / mtbf_s) * expm1((interval_s + write_s) / mtbf_s) * work_s / interval_s;
}

/* Young 1974, "A first order approximation to the optimum checkpoint interval". */
static double young_interval(double write_s, double mtbf_s)
{
    return sqrt(2 * write_s * mtbf_s);
}

/* Return the interval at which expected_s() is smallest, by a series. Daly 2006. */
static double daly_interval(double write_s, double mtbf_s)
{
    if (write_s >= 2 * mtbf_s) return mtbf_s;
    const double x = write_s / (2 * mtbf_s);
    return young_interval(write_s, mtbf_s) * (1 + sqrt(x) / 3 + x / 9) - write_s;
}

static void expect_failures(vj_campaign_forecast *p, const vj_config *c, const vj_machine *machine,
                            const vj_train_work *w, const vj_train_layout *l)
{
    const double work_s = (double)w->steps * l->step_s;
    /* A checkpoint that is written in the background is of use only when it is complete, but training does not wait. */
    const double waited_s = c->checkpoint.async ? 0 : p->checkpoint_s;
    p->mtbf_s = machine->node_mtbf_s / l->nodes;
    p->young_s = young_interval(p->checkpoint_s, p->mtbf_s);
    p->daly_s = fmin(daly_interval(p->checkpoint_s, p->mtbf_s), work_s);
    const double interval_s = p->interval_s > 0 ? fmin(p->interval_s, work_s) : work_s;
    p->expected_s = expected_s(work_s, interval_s, waited_s, machine->restart_s, p->mtbf_s);
    p->daly_expected_s = expected_s(work_s, p->daly_s, waited_s, machine->restart_s, p->mtbf_s);
}

vj_campaign_forecast vj_campaign_make(const vj_config *c, const vj_machine *machine, const vj_train_work *w,
                                      const vj_train_layout *l)
{
    vj_campaign_forecast p = {.checkpoint_s = machine->checkpoint_s > 0
                                                  ? machine->checkpoint_s
                                                  : w->checkpoint_bytes / machine->filesystem_bytes_s};
    if (!c->checkpoint.async) p.checkpoints_s = (double)w->checkpoints * p.checkpoint_s;
    p.watch_s = w->watch_steps * l->compute_s;
    p.training_s = (double)w->steps * l->step_s + p.checkpoints_s + p.watch_s;
    p.interval_s = (double)c->checkpoint.every * l->step_s;
    if (c->checkpoint.every_minutes > 0 && (p.interval_s == 0 || 60 * c->checkpoint.every_minutes < p.interval_s))
        p.interval_s = 60 * c->checkpoint.every_minutes;
    p.jobs = 1;
    if (machine->job_s > 0) {
        p.job_s = machine->job_s * (1 - kept_back) - machine->restart_s - 2 * (l->step_s + p.checkpoint_s);
        p.jobs = p.job_s > 0 ? ceil(p.training_s / p.job_s) : INFINITY;
    }
    p.energy_wh = machine->node_watts * l->nodes * p.training_s / 3600;
    if (machine->node_mtbf_s > 0) expect_failures(&p, c, machine, w, l);
    return p;
}
