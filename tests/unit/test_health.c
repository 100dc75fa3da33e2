/* Tests the classification of steps as good, bad or lost by the bounds of train.rollback_*. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/health.h"

static vj_config config;
static vj_health health;
static int64_t number;

static int start(void **state)
{
    (void)state;
    vj_config_defaults(&config);
    config.train.max_bad_steps = 3;
    health = (vj_health){.config = &config};
    number = 0;
    return 0;
}

static vj_verdict judge(double loss, double std, double rank)
{
    const vj_step_report report = {.loss = loss, .spread = {std, rank}, .healthy = isfinite(loss)};
    return vj_health_judge(&health, number++, &report);
}

static void three_in_a_row_are_lost(void **state)
{
    (void)state;
    assert_int_equal(judge(1, 1, NAN), VJ_HEALTH_GOOD);
    assert_int_equal(judge(NAN, 1, NAN), VJ_HEALTH_BAD);
    assert_int_equal(judge(NAN, 1, NAN), VJ_HEALTH_BAD);
    assert_int_equal(judge(1, 1, NAN), VJ_HEALTH_GOOD);
    assert_int_equal(judge(NAN, 1, NAN), VJ_HEALTH_BAD);
    assert_int_equal(judge(4, 1, NAN), VJ_HEALTH_BAD); /* whatever makes it bad */
    assert_int_equal(judge(NAN, 1, NAN), VJ_HEALTH_LOST);
}

/* Check that the usual loss is first the mean, then a moving average over a hundred steps, and that bad steps do not
 * count. */
static void loss_against_the_usual(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) assert_int_equal(judge(i % 2 ? 1.0 : 3.0, 1, NAN), VJ_HEALTH_GOOD);
    assert_float_equal(health.usual_loss, 2.0, 1e-12);
    assert_int_equal(judge(6.01, 1, NAN), VJ_HEALTH_BAD);
    assert_float_equal(health.usual_loss, 2.0, 1e-12);
    assert_int_equal(judge(5.99, 1, NAN), VJ_HEALTH_GOOD);
    for (number = 1000; number < 2000;) assert_int_equal(judge(0.5, 1, NAN), VJ_HEALTH_GOOD);
    assert_float_equal(health.usual_loss, 0.5, 1e-3);
    assert_int_equal(judge(1.6, 1, NAN), VJ_HEALTH_BAD);
    config.train.rollback_loss = 0;
    assert_int_equal(judge(1e30, 1, NAN), VJ_HEALTH_GOOD);
}

/* Check that the first step sets the usual loss even if it is a late one: checkpoints of older versions do not have it.
 */
static void first_usual_loss_of_a_late_step(void **state)
{
    (void)state;
    number = 500;
    assert_int_equal(judge(0.7, 1, NAN), VJ_HEALTH_GOOD);
    assert_float_equal(health.usual_loss, 0.7, 1e-12);
    assert_int_equal(judge(0.8, 1, NAN), VJ_HEALTH_GOOD);
}

static void spread_of_the_targets(void **state)
{
    (void)state;
    assert_int_equal(judge(1, 0, NAN), VJ_HEALTH_GOOD); /* by default there is no bound */
    config.train.rollback_std = 0.1;
    assert_int_equal(judge(1, NAN, NAN), VJ_HEALTH_GOOD); /* with the pixel objective the spread is not measured */
    assert_int_equal(judge(1, 0.1, NAN), VJ_HEALTH_GOOD);
    assert_int_equal(judge(1, 0.09, NAN), VJ_HEALTH_BAD);
    assert_int_equal(judge(1, 0.2, NAN), VJ_HEALTH_GOOD);
}

/* Check that after a low rank, which is measured only at some steps, the steps until the next measurement are not good,
 * because a checkpoint there would have a low rank. */
static void effective_rank_counts_where_it_is_measured(void **state)
{
    (void)state;
    assert_int_equal(judge(1, 1, 1), VJ_HEALTH_GOOD);
    config.train.rollback_rank = 8;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(judge(1, 1, 7), VJ_HEALTH_BAD);
        for (int j = 0; j < 9; j++) assert_int_equal(judge(1, 1, NAN), VJ_HEALTH_BAD);
    }
    assert_int_equal(judge(1, 1, 8), VJ_HEALTH_GOOD);
    assert_int_equal(judge(1, 1, 7), VJ_HEALTH_BAD);
    assert_int_equal(judge(1, 1, 7), VJ_HEALTH_BAD);
    assert_int_equal(judge(1, 1, NAN), VJ_HEALTH_BAD);
    assert_int_equal(judge(1, 1, 7), VJ_HEALTH_LOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(three_in_a_row_are_lost, start),
        cmocka_unit_test_setup(loss_against_the_usual, start),
        cmocka_unit_test_setup(first_usual_loss_of_a_late_step, start),
        cmocka_unit_test_setup(spread_of_the_targets, start),
        cmocka_unit_test_setup(effective_rank_counts_where_it_is_measured, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
