/* Tests how heads are built and trained: as in the released code, the paper's text, and V-JEPA 2's sweep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "probe/recipe.h"

static void heads_and_norm(void **state)
{
    (void)state;
    const vj_recipe code = {0}, paper = {.paper = 1};
    static const struct {
        int D, encoder, paper;
    } cases[] = {{1024, 16, 8}, {1280, 16, 10}, {768, 12, 12}, {384, 6, 12}, {7, 1, 7}, {13, 13, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(vj_recipe_heads(&code, cases[i].D, cases[i].encoder), cases[i].encoder);
        assert_int_equal(vj_recipe_heads(&paper, cases[i].D, cases[i].encoder), cases[i].paper);
    }
    static const int on_tokens[][2] = {{1024, 16}, {1408, 16}, {384, 16}, {36, 12}, {7, 7}, {13, 13}, {17, 1}};
    for (size_t i = 0; i < sizeof on_tokens / sizeof on_tokens[0]; i++)
        assert_int_equal(vj_recipe_token_heads(on_tokens[i][0]), on_tokens[i][1]);
    assert_false(vj_recipe_norm_last(&code, VJ_POOL_ATTENTIVE, 1));
    assert_true(vj_recipe_norm_last(&paper, VJ_POOL_ATTENTIVE, 1));
    assert_false(vj_recipe_norm_last(&paper, VJ_POOL_ATTENTIVE, 2));
    assert_false(vj_recipe_norm_last(&paper, VJ_POOL_AVERAGE, 1));
}

static void rates(void **state)
{
    (void)state;
    vj_config config;
    vj_config_defaults(&config);
    enum { EPOCHS = 4, STEPS = 5, ALL = EPOCHS * STEPS };
    const vj_recipe code = {0}, paper = {.paper = 1}, sweep = {.sweep = 1, .lr = 5e-3, .weight_decay = 0.4};
    const vj_recipe *recipes[] = {&code, &paper, &sweep};
    vj_head_step first[3], last[3];
    for (int i = 0; i < 3; i++) {
        const vj_schedule schedule = vj_recipe_schedule(recipes[i], &config, EPOCHS, STEPS);
        first[i] = vj_recipe_step(recipes[i], &config, &schedule, 1);
        last[i] = vj_recipe_step(recipes[i], &config, &schedule, ALL);
        assert_int_equal(last[i].update, ALL);
        assert_true(fabs(last[i].lr) < 1e-12); /* half a cosine ends at 0 */
    }
    const double one_step = 0.5 * (1 + cos(M_PI / ALL)); /* half a cosine after one update */
    for (int i = 0; i < 2; i++) {
        assert_true(fabs(first[i].lr - 1e-3 * one_step) < 1e-12);
        assert_true(first[i].clip == 1.0 && !first[i].decay_all);
    }
    assert_true(first[0].weight_decay < 0.01 && fabs(last[0].weight_decay - 1e-6) < 1e-12);
    assert_true(first[1].weight_decay == 0.01 && last[1].weight_decay == 0.01);
    assert_true(fabs(first[2].lr - 5e-3 * one_step) < 1e-12);
    assert_true(first[2].weight_decay == 0.4 && last[2].weight_decay == 0.4);
    assert_true(first[2].clip == 0.0 && first[2].decay_all);
}

/* Check V-JEPA 2's sweep for ImageNet: five epochs of warm-up from 2e-4, and a separate head. */
static void sweep_of_images(void **state)
{
    (void)state;
    vj_config config;
    vj_config_defaults(&config);
    enum { EPOCHS = 20, STEPS = 10, ALL = EPOCHS * STEPS, WARMUP = 5 * STEPS };
    config.probe.start_lr = 2e-4;
    config.probe.warmup_epochs = 5;
    config.probe.final_weight_decay = 0.0;
    const vj_recipe usual = {.sweep = 1, .lr = 2e-3, .weight_decay = 8e-3},
                    more = {.sweep = 1, .more = 1, .lr = 1e-3, .weight_decay = 1e-3};
    const vj_schedule a = vj_recipe_schedule(&usual, &config, EPOCHS, STEPS),
                      b = vj_recipe_schedule(&more, &config, EPOCHS, STEPS);
    for (int update = 1; update <= ALL; update++) {
        const vj_head_step one = vj_recipe_step(&usual, &config, &a, update),
                           other = vj_recipe_step(&more, &config, &b, update);
        const double lr = update < WARMUP ? 2e-4 + 1.8e-3 * update / WARMUP
                                          : 1e-3 * (1 + cos(M_PI * (update - WARMUP) / (ALL - WARMUP)));
        const double half = 0.5 * (1 + cos(M_PI * update / ALL));
        assert_true(fabs(one.lr - lr) < 1e-12 && one.weight_decay == 8e-3);
        assert_true(fabs(other.lr - 1e-3 * half) < 1e-12 && fabs(other.weight_decay - 1e-3 * half) < 1e-12);
        assert_true(one.decay_all && other.decay_all && one.clip == 0.0 && other.clip == 0.0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(heads_and_norm), cmocka_unit_test(rates),
                                       cmocka_unit_test(sweep_of_images)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
