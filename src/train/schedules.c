/* The schedules of docs/method.md, sections 7 and 12.2, to the last bit of their formulas. */
#include "train/schedules.h"

#include <math.h>

vj_schedule vj_schedules_from(const vj_config *config)
{
    const double span =
        config->train.schedule_scale * (double)config->train.epochs * (double)config->train.steps_per_epoch;
    return (vj_schedule){
        .warmup_steps = (int64_t)(config->optimizer.warmup_epochs * (double)config->train.steps_per_epoch),
        .total_steps = (int64_t)span,
        .start_lr = config->optimizer.start_lr,
        .lr = config->optimizer.lr,
        .final_lr = config->optimizer.final_lr,
        .weight_decay = config->optimizer.weight_decay,
        .final_weight_decay = config->optimizer.final_weight_decay,
        .ema = {config->optimizer.ema[0], config->optimizer.ema[1]},
        .ema_span = span, /* not rounded, unlike the length of the cosine schedules, as published */
    };
}

vj_schedule vj_schedules_probe(const vj_config *config, int64_t epochs, int64_t steps_per_epoch)
{
    const int64_t steps = epochs * steps_per_epoch;
    return (vj_schedule){
        .warmup_steps = (int64_t)(config->probe.warmup_epochs * (double)steps / (double)config->probe.epochs),
        .total_steps = steps,
        .start_lr = config->probe.start_lr,
        .lr = config->probe.lr,
        .final_lr = config->probe.final_lr,
        .weight_decay = vj_config_probe_decay(config, false),
        .final_weight_decay = config->probe.final_weight_decay,
        .ema = {1, 1},
        .ema_span = (double)steps,
    };
}

/* Half a cosine from `first` at progress 0 to `last` at progress 1. */
static double cosine(double first, double last, double progress)
{
    return last + (first - last) * 0.5 * (1 + cos(M_PI * progress));
}

static double at_least_one(int64_t steps)
{
    return steps > 1 ? (double)steps : 1.0;
}

double vj_schedule_lr(const vj_schedule *s, int64_t update)
{
    if (update < s->warmup_steps)
        return s->start_lr + (double)update / at_least_one(s->warmup_steps) * (s->lr - s->start_lr);
    const double progress = (double)(update - s->warmup_steps) / at_least_one(s->total_steps - s->warmup_steps);
    return fmax(s->final_lr, cosine(s->lr, s->final_lr, progress));
}

double vj_schedule_weight_decay(const vj_schedule *s, int64_t update)
{
    const double value = cosine(s->weight_decay, s->final_weight_decay, (double)update / at_least_one(s->total_steps));
    return s->final_weight_decay <= s->weight_decay ? fmax(s->final_weight_decay, value)
                                                    : fmin(s->final_weight_decay, value);
}

double vj_schedule_ema(const vj_schedule *s, int64_t update)
{
    return s->ema[0] + (double)(update - 1) * (s->ema[1] - s->ema[0]) / s->ema_span;
}

bool vj_schedule_clips(const vj_config *config, int64_t update)
{
    if (!(config->optimizer.clip_grad > 0)) return false;
    const double epoch = (double)((update - 1) / config->train.steps_per_epoch);
    if (config->optimizer.clip_from_epoch >= 0) return epoch >= config->optimizer.clip_from_epoch;
    return epoch > config->optimizer.warmup_epochs; /* published: one epoch later than one would expect */
}

double vj_schedule_clip_factor(const vj_config *config, int64_t update, double norm)
{
    return vj_schedule_clips(config, update) ? fmin(1.0, config->optimizer.clip_grad / (norm + 1e-6)) : 1.0;
}
