/* Tests schedules against the published values (docs/method.md, section 7) and at their ends. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "train/schedules.h"

static vj_config published(void)
{
    vj_config config = {0};
    config.train.epochs = 300;
    config.train.steps_per_epoch = 300;
    config.train.schedule_scale = 1.25;
    config.optimizer.warmup_epochs = 40;
    config.optimizer.start_lr = 2e-4;
    config.optimizer.lr = 6.25e-4;
    config.optimizer.final_lr = 1e-6;
    config.optimizer.weight_decay = 0.04;
    config.optimizer.final_weight_decay = 0.4;
    config.optimizer.ema[0] = 0.998;
    config.optimizer.ema[1] = 1.0;
    config.optimizer.clip_grad = 10;
    config.optimizer.clip_from_epoch = -1;
    return config;
}

/* Check that a value agrees with a table within half its last printed digit. */
static void check(double got, double want, double half_last_digit)
{
    assert_true(fabs(got - want) <= half_last_digit);
}

static void test_published_values(void **state)
{
    (void)state;
    const vj_config config = published();
    const vj_schedule s = vj_schedules_from(&config);
    assert_int_equal(s.warmup_steps, 12000);
    assert_int_equal(s.total_steps, 112500);
    check(vj_schedule_lr(&s, 1), 2.00035417e-4, 5e-13);
    check(vj_schedule_lr(&s, 11999), 6.24964583e-4, 5e-13);
    check(vj_schedule_lr(&s, 12000), 6.25e-4, 1e-18);
    check(vj_schedule_lr(&s, 50000), 4.2957577e-4, 5e-12);
    check(vj_schedule_lr(&s, 90000), 7.5042224e-5, 5e-13);
    check(vj_schedule_weight_decay(&s, 1), 0.0400000001, 5e-11);
    check(vj_schedule_weight_decay(&s, 45000), 0.1643769, 5e-8);
    check(vj_schedule_weight_decay(&s, 90000), 0.3656231, 5e-8);
    check(vj_schedule_ema(&s, 1), 0.998, 1e-16);
    check(vj_schedule_ema(&s, 45000), 0.99879998, 5e-9);
    check(vj_schedule_ema(&s, 90000), 0.99959998, 5e-9);
}

static void test_ends(void **state)
{
    (void)state;
    const vj_config config = published();
    const vj_schedule s = vj_schedules_from(&config);
    check(vj_schedule_lr(&s, s.total_steps), 1e-6, 1e-18);
    check(vj_schedule_weight_decay(&s, s.total_steps), 0.4, 1e-15);
    assert_true(vj_schedule_lr(&s, s.total_steps + 1000) >= 1e-6);
}

/* Check that without warm-up the first update is one step down the cosine. */
static void test_without_warmup(void **state)
{
    (void)state;
    vj_config config = published();
    config.optimizer.warmup_epochs = 0;
    const vj_schedule s = vj_schedules_from(&config);
    check(vj_schedule_lr(&s, 1), 1e-6 + (6.25e-4 - 1e-6) * 0.5 * (1 + cos(M_PI / 112500)), 1e-16);
}

static void test_probe(void **state)
{
    (void)state;
    vj_config config = {0};
    config.probe.epochs = 4;
    config.probe.lr = 1e-3;
    config.probe.weight_decay = 0.01;
    config.probe.final_weight_decay = 1e-6;
    const vj_schedule s = vj_schedules_probe(&config, config.probe.epochs, 50);
    check(vj_schedule_lr(&s, 100), 0.5e-3, 1e-17);
    check(vj_schedule_lr(&s, 200), 0, 1e-17);
    check(vj_schedule_weight_decay(&s, 100), 0.5 * (0.01 + 1e-6), 1e-16);
    check(vj_schedule_weight_decay(&s, 200), 1e-6, 1e-17); /* a falling weight decay has a lower bound */
}

/* Check that gradients are clipped from epoch 41 (from 0) on, that is from update 12301 on, as published. */
static void test_clipping(void **state)
{
    (void)state;
    vj_config config = published();
    assert_false(vj_schedule_clips(&config, 1));
    assert_false(vj_schedule_clips(&config, 12300));
    assert_true(vj_schedule_clips(&config, 12301));
    config.optimizer.clip_from_epoch = 0;
    assert_true(vj_schedule_clips(&config, 1));
    config.optimizer.clip_from_epoch = 2;
    assert_false(vj_schedule_clips(&config, 600));
    assert_true(vj_schedule_clips(&config, 601));
    check(vj_schedule_clip_factor(&config, 600, 40), 1, 0);
    check(vj_schedule_clip_factor(&config, 601, 40), 0.25, 1e-8); /* the published 1e-6 in the divisor */
    check(vj_schedule_clip_factor(&config, 601, 9), 1, 0);
    config.optimizer.clip_grad = 0;
    assert_false(vj_schedule_clips(&config, 601));
    check(vj_schedule_clip_factor(&config, 601, 40), 1, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_values), cmocka_unit_test(test_ends),
        cmocka_unit_test(test_without_warmup),   cmocka_unit_test(test_probe),
        cmocka_unit_test(test_clipping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
