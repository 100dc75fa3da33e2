/* Tests the count of a step's FLOPs against numbers computed by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/flops.h"

/* A network of 8 tokens of 24 values: the encoder has 2 blocks of width 4 (hidden 8), the predictor 1 of width 2
 * (hidden 6). */
static const vj_shape shape = {.channels = 3,
                               .frames = 4,
                               .height = 4,
                               .width_px = 4,
                               .tubelet = 2,
                               .patch = 2,
                               .width = 4,
                               .depth = 2,
                               .heads = 1,
                               .hidden = 8,
                               .eps = VJ_SHAPE_EPS,
                               .predictor_width = 2,
                               .predictor_depth = 1,
                               .predictor_heads = 1,
                               .predictor_hidden = 6,
                               .mask_tokens = 2,
                               .uniform_power = 1};

static double count(vj_objective objective)
{
    /* One clip and two masks: with the first 2 tokens are context and 6 are targets, with the second 1 and 4. */
    int32_t contexts[] = {2, 1}, targets[] = {6, 4};
    const vj_mask_lists lists = {.masks = 2, .clips = 1, .tokens = 8, .contexts = contexts, .targets = targets};
    vj_shape s = shape;
    vj_network net;
    s.objective = objective;
    vj_network_describe(&net, &s, 0, NULL);
    const double flops = vj_step_flops(&net, &lists);
    vj_network_release(&net);
    return flops;
}

static void by_hand(void **state)
{
    (void)state;
    /* Patch embedding: 2 * 8 tokens * 24 values * 4. */
    const double embedding = 1536;
    /* In each of the two encoder blocks a token costs 8*16 + 4*4*8 = 256, and 16 for each token of its sequence. */
    const double target = 2 * 8 * (256 + 16 * 8);                           /* 6144 */
    const double context = 2 * 2 * (256 + 16 * 2) + 2 * 1 * (256 + 16 * 1); /* 1152 + 544 */
    /* In a predictor block a token costs 8*4 + 4*2*6 = 80, and 8 for each token of its sequence; these have 8 and 5. */
    const double predictor = 8 * (80 + 8 * 8) + 5 * (80 + 8 * 5); /* 1152 + 600 */
    /* The layers before and after the predictor cost 2*4*2 for a context token and 2*2*4 for a target (2*2*24 for
     * pixels).
     */
    const double ends = 3 * 16 + 10 * 16, pixel_ends = 3 * 16 + 10 * 96;

    assert_true(target == 6144 && context == 1696 && predictor == 1752 && ends == 208);
    assert_true(count(VJ_OBJECTIVE_FEATURE) == embedding + target + 3 * (embedding + context + predictor + ends));
    assert_true(count(VJ_OBJECTIVE_FEATURE) == 23256);
    assert_true(count(VJ_OBJECTIVE_PIXEL) == 3 * (embedding + context + predictor + pixel_ends));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_hand)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
