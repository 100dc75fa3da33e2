/* Checks schedules.h5: learning rate, weight decay and EMA of some updates, for the settings in the attributes. */
#include <stdio.h>

#include "parity/kinds.h"
#include "train/schedules.h"

static const double tolerance = 1e-12;

/* Read the settings into a configuration, so that numbers derived from it are checked with the curves. */
static bool read_settings(vj_fixture *f, const char *group, vj_config *config)
{
    int ipe, epochs;
    if (!vj_fixture_ints(f, group, "ipe", &ipe, 1) || !vj_fixture_ints(f, group, "epochs", &epochs, 1)) return false;
    config->train.steps_per_epoch = ipe;
    config->train.epochs = epochs;
    return vj_fixture_numbers(f, group, "scale", &config->train.schedule_scale, 1) &&
           vj_fixture_numbers(f, group, "warmup", &config->optimizer.warmup_epochs, 1) &&
           vj_fixture_numbers(f, group, "start_lr", &config->optimizer.start_lr, 1) &&
           vj_fixture_numbers(f, group, "lr", &config->optimizer.lr, 1) &&
           vj_fixture_numbers(f, group, "final_lr", &config->optimizer.final_lr, 1) &&
           vj_fixture_numbers(f, group, "wd", &config->optimizer.weight_decay, 1) &&
           vj_fixture_numbers(f, group, "final_wd", &config->optimizer.final_weight_decay, 1) &&
           vj_fixture_numbers(f, group, "ema_start", &config->optimizer.ema[0], 1) &&
           vj_fixture_numbers(f, group, "ema_end", &config->optimizer.ema[1], 1);
}

static void check_number(vj_fixture *f, const char *group, const char *attribute, double got)
{
    double want;
    char name[2 * VJ_FIXTURE_NAME];
    snprintf(name, sizeof name, "%s@%s", group, attribute);
    if (vj_fixture_numbers(f, group, attribute, &want, 1)) vj_fixture_compare_number(f, name, got, want, tolerance);
}

static void check_curve(vj_fixture *f, const char *group, const char *dataset, const vj_schedule *schedule,
                        double (*curve)(const vj_schedule *, int64_t))
{
    const vj_values *step = vj_fixture_array(f, "%s/step", group), *want = vj_fixture_array(f, "%s/%s", group, dataset);
    if (!step || !want) return;
    double *got = vj_fixture_take(f, step->count * (int64_t)sizeof *got);
    for (int64_t i = 0; i < step->count; i++) got[i] = curve(schedule, (int64_t)step->value[i]);
    vj_fixture_compare(f, want->name, got, step->count, want, vj_within(tolerance));
}

vj_status vj_parity_schedules(vj_fixture *f)
{
    const vj_names groups = vj_fixture_children(f, "/");
    vj_config *config = vj_fixture_take(f, sizeof *config);
    for (int i = 0; i < groups.count; i++) {
        const char *group = groups.name[i];
        if (!read_settings(f, group, config)) continue;
        const vj_schedule schedule = vj_schedules_from(config);
        check_number(f, group, "warmup_steps", (double)schedule.warmup_steps);
        check_number(f, group, "total_steps", (double)schedule.total_steps);
        check_number(f, group, "ema_span", schedule.ema_span);
        check_curve(f, group, "lr", &schedule, vj_schedule_lr);
        check_curve(f, group, "weight_decay", &schedule, vj_schedule_weight_decay);
        check_curve(f, group, "ema", &schedule, vj_schedule_ema);
    }
    return VJ_OK;
}
