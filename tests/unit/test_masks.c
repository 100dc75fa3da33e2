/* Tests masks: properties of every draw, and that masks depend on the sample alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/masks.h"

static const vj_mask_settings short_range = {.kind = VJ_MASK_MULTIBLOCK,
                                             .blocks = 8,
                                             .spatial_scale = {0.15, 0.15},
                                             .temporal_scale = {1, 1},
                                             .aspect = {0.75, 1.5},
                                             .max_temporal_keep = 1};
static const vj_mask_settings long_range = {.kind = VJ_MASK_MULTIBLOCK,
                                            .blocks = 2,
                                            .spatial_scale = {0.7, 0.7},
                                            .temporal_scale = {1, 1},
                                            .aspect = {0.75, 1.5},
                                            .max_temporal_keep = 1};
static const vj_mask_settings free_range = {.kind = VJ_MASK_MULTIBLOCK,
                                            .blocks = 3,
                                            .spatial_scale = {0.2, 0.8},
                                            .temporal_scale = {0.3, 0.9},
                                            .aspect = {0.3, 3},
                                            .max_temporal_keep = 1};
static const vj_mask_settings causal = {.kind = VJ_MASK_CAUSAL,
                                        .blocks = 2,
                                        .spatial_scale = {0.2, 0.5},
                                        .temporal_scale = {0.3, 0.9},
                                        .aspect = {0.75, 1.5},
                                        .max_temporal_keep = 0.5};
static const vj_mask_settings tube = {.kind = VJ_MASK_TUBE, .ratio = 0.9};

static vj_config make_config(int count, const vj_mask_settings *generators, int64_t batch, int64_t group)
{
    vj_config config = {0};
    config.run.seed = 234;
    config.train.batch = batch;
    config.mask.cut = group ? VJ_CUT_GROUP : VJ_CUT_NONE;
    config.mask.group = group;
    config.mask.count = count;
    memcpy(config.mask.generator, generators, (size_t)count * sizeof *generators);
    return config;
}

/* Check that both lists of a segment are in range, ascending, disjoint and not empty. */
static void check_lists(const vj_mask_lists *lists, int64_t segment)
{
    char *seen = calloc((size_t)lists->tokens, 1);
    assert_non_null(seen);
    for (int side = 0; side < 2; side++) {
        const int32_t *list = (side ? lists->target : lists->context) + segment * lists->tokens;
        const int32_t length = (side ? lists->targets : lists->contexts)[segment];
        assert_in_range(length, 1, lists->tokens);
        for (int32_t k = 0; k < length; k++) {
            assert_in_range(list[k], 0, lists->tokens - 1);
            assert_true(k == 0 || list[k] > list[k - 1]);
            assert_false(seen[list[k]]);
            seen[list[k]] = 1;
        }
    }
    free(seen);
}

static void test_lists_are_sound(void **state)
{
    (void)state;
    const vj_mask_settings generators[] = {short_range, long_range, free_range, causal, tube};
    const vj_grid grids[] = {{8, 14, 14}, {4, 8, 8}, {5, 6, 3}};
    for (int g = 0; g < 3; g++)
        for (int64_t group = 0; group <= 7; group += 7) {
            const vj_config config = make_config(5, generators, 10, group);
            vj_mask_lists lists;
            assert_int_equal(vj_mask_lists_create(&lists, 5, 10, vj_grid_tokens(grids[g])), VJ_OK);
            for (int64_t step = 0; step < 20; step++) {
                assert_int_equal(vj_masks_sample(&lists, &config, grids[g], step, step * 10, 10), VJ_OK);
                for (int64_t segment = 0; segment < 50; segment++) check_lists(&lists, segment);
            }
            vj_mask_lists_release(&lists);
        }
}

/* Check that without a cut each token of the clip is either context or target. */
static void test_uncut_lists_cover_the_clip(void **state)
{
    (void)state;
    const vj_mask_settings generators[] = {short_range, long_range, causal, tube};
    const vj_config config = make_config(4, generators, 6, 0);
    const vj_grid grid = {8, 14, 14};
    vj_mask_lists lists;
    assert_int_equal(vj_mask_lists_create(&lists, 4, 6, vj_grid_tokens(grid)), VJ_OK);
    assert_int_equal(vj_masks_sample(&lists, &config, grid, 3, 18, 6), VJ_OK);
    int differing = 0;
    for (int64_t segment = 0; segment < 24; segment++) {
        assert_int_equal(lists.contexts[segment] + lists.targets[segment], lists.tokens);
        differing += segment % 6 > 0 && lists.contexts[segment] != lists.contexts[segment - 1];
        if (segment / 6 == 2) { /* a causal mask has no context after the first half of the clip */
            const int32_t last = lists.context[segment * lists.tokens + lists.contexts[segment] - 1];
            assert_true(last < lists.tokens / 2);
        }
        if (segment / 6 == 3) assert_int_equal(lists.contexts[segment], 8 * 19);
    }
    assert_true(differing > 0);
    vj_mask_lists_release(&lists);
}

static void test_groups_have_one_length(void **state)
{
    (void)state;
    const vj_mask_settings generators[] = {short_range, long_range};
    const vj_config config = make_config(2, generators, 10, 4); /* groups of 4, 4 and 2 */
    const vj_config uncut = make_config(2, generators, 10, 0);
    const vj_grid grid = {8, 14, 14};
    vj_mask_lists lists, full;
    assert_int_equal(vj_mask_lists_create(&lists, 2, 10, vj_grid_tokens(grid)), VJ_OK);
    assert_int_equal(vj_mask_lists_create(&full, 2, 10, vj_grid_tokens(grid)), VJ_OK);
    assert_int_equal(vj_masks_sample(&lists, &config, grid, 1, 10, 10), VJ_OK);
    assert_int_equal(vj_masks_sample(&full, &uncut, grid, 1, 10, 10), VJ_OK);
    for (int i = 0; i < 2; i++)
        for (int b = 0; b < 10; b++) {
            int32_t shortest[2] = {INT32_MAX, INT32_MAX};
            for (int other = b / 4 * 4; other < 10 && other < b / 4 * 4 + 4; other++) {
                const int segment = i * 10 + other;
                if (full.contexts[segment] < shortest[0]) shortest[0] = full.contexts[segment];
                if (full.targets[segment] < shortest[1]) shortest[1] = full.targets[segment];
            }
            const int64_t segment = i * 10 + b, at = segment * lists.tokens;
            assert_int_equal(lists.contexts[segment], shortest[0]);
            assert_int_equal(lists.targets[segment], shortest[1]);
            assert_memory_equal(lists.context + at, full.context + at, (size_t)shortest[0] * sizeof(int32_t));
            assert_memory_equal(lists.target + at, full.target + at, (size_t)shortest[1] * sizeof(int32_t));
        }
    vj_mask_lists_release(&lists);
    vj_mask_lists_release(&full);
}

/* Check that a part of a batch gets the lists that it has in the whole batch, so ranks and microbatches do not matter.
 */
static void test_parts_equal_the_whole(void **state)
{
    (void)state;
    const vj_mask_settings generators[] = {short_range, long_range, tube};
    const vj_grid grid = {4, 8, 8};
    const int64_t step = 5, batch = 11;
    for (int64_t group = 0; group <= 4; group += 4) {
        const vj_config config = make_config(3, generators, batch, group);
        vj_mask_lists whole, part;
        assert_int_equal(vj_mask_lists_create(&whole, 3, batch, vj_grid_tokens(grid)), VJ_OK);
        assert_int_equal(vj_mask_lists_create(&part, 3, batch, vj_grid_tokens(grid)), VJ_OK);
        assert_int_equal(vj_masks_sample(&whole, &config, grid, step, step * batch, batch), VJ_OK);
        for (int64_t first = 0; first < batch; first++)
            for (int64_t count = 1; first + count <= batch; count++) {
                assert_int_equal(vj_masks_sample(&part, &config, grid, step, step * batch + first, count), VJ_OK);
                assert_int_equal(part.clips, count);
                for (int i = 0; i < 3; i++)
                    for (int64_t b = 0; b < count; b++) {
                        const int64_t p = i * count + b, w = i * batch + first + b;
                        assert_int_equal(part.contexts[p], whole.contexts[w]);
                        assert_int_equal(part.targets[p], whole.targets[w]);
                        assert_memory_equal(part.context + p * part.tokens, whole.context + w * whole.tokens,
                                            (size_t)part.contexts[p] * sizeof(int32_t));
                        assert_memory_equal(part.target + p * part.tokens, whole.target + w * whole.tokens,
                                            (size_t)part.targets[p] * sizeof(int32_t));
                    }
            }
        vj_mask_lists_release(&whole);
        vj_mask_lists_release(&part);
    }
}

/* Check that the bounds hold for 300 steps, and that for the published settings they are within 15 % of the lengths
 * that occur. */
static void test_bounds(void **state)
{
    (void)state;
    const vj_mask_settings generators[] = {short_range, long_range, free_range, causal, tube};
    const vj_grid grids[] = {{8, 14, 14}, {4, 8, 8}, {5, 6, 3}};
    for (int g = 0; g < 3; g++) {
        vj_config config = make_config(5, generators, 4, 0);
        config.mask.generator[2].max_keep = 17;
        int64_t bound[5][2], longest[5][2] = {{0}};
        for (int i = 0; i < 5; i++) vj_masks_bounds(&config, grids[g], i, &bound[i][0], &bound[i][1]);
        vj_mask_lists lists;
        assert_int_equal(vj_mask_lists_create(&lists, 5, 4, vj_grid_tokens(grids[g])), VJ_OK);
        for (int64_t step = 0; step < 300; step++) {
            assert_int_equal(vj_masks_sample(&lists, &config, grids[g], step, step * 4, 4), VJ_OK);
            for (int64_t segment = 0; segment < 20; segment++) {
                int64_t *seen = longest[segment / 4];
                if (lists.contexts[segment] > seen[0]) seen[0] = lists.contexts[segment];
                if (lists.targets[segment] > seen[1]) seen[1] = lists.targets[segment];
            }
        }
        for (int i = 0; i < 5; i++) {
            assert_true(longest[i][0] <= bound[i][0] && longest[i][1] <= bound[i][1]);
            assert_true(bound[i][0] < lists.tokens && bound[i][1] < lists.tokens);
        }
        assert_int_equal(longest[2][0], 17);
        if (g == 0) {
            assert_true((double)longest[1][0] > 0.85 * (double)bound[1][0]);
            assert_true((double)longest[1][1] > 0.85 * (double)bound[1][1]);
        }
        vj_mask_lists_release(&lists);
    }
}

/* Check that clips without context are drawn again and that the others keep their lists. Two blocks of 3 x 3 often
 * cover a plane of 3 x 4. */
static void test_empty_context_is_drawn_again(void **state)
{
    (void)state;
    vj_mask_settings settings = long_range;
    settings.spatial_scale[0] = settings.spatial_scale[1] = 0.75;
    settings.aspect[0] = settings.aspect[1] = 1;
    const vj_grid grid = {2, 3, 4};
    const vj_config config = make_config(1, &settings, 200, 0);
    vj_mask_lists lists;
    assert_int_equal(vj_mask_lists_create(&lists, 1, 200, vj_grid_tokens(grid)), VJ_OK);
    assert_int_equal(vj_masks_sample(&lists, &config, grid, 0, 0, 200), VJ_OK);
    for (int64_t b = 0; b < 200; b++) {
        check_lists(&lists, b);
        assert_int_equal(lists.contexts[b],
                         6); /* both blocks are on the same side; on different sides they would leave nothing */
    }
    vj_mask_lists_release(&lists);
}

/* Check that a block which always covers everything is an error and not an endless loop. */
static void test_impossible_settings_are_refused(void **state)
{
    (void)state;
    vj_mask_settings settings = long_range;
    settings.spatial_scale[0] = settings.spatial_scale[1] = 1;
    settings.aspect[0] = settings.aspect[1] = 1;
    const vj_grid grid = {2, 4, 4};
    vj_config config = make_config(1, &settings, 2, 2);
    vj_mask_lists lists;
    assert_int_equal(vj_mask_lists_create(&lists, 1, 2, vj_grid_tokens(grid)), VJ_OK);
    assert_int_equal(vj_masks_sample(&lists, &config, grid, 0, 0, 2), VJ_ERR_USAGE);
    config.mask.generator[0].spatial_scale[0] = config.mask.generator[0].spatial_scale[1] = 0.01;
    assert_int_equal(vj_masks_sample(&lists, &config, grid, 0, 0, 2), VJ_ERR_USAGE); /* there is no target */
    vj_mask_lists_release(&lists);
    assert_int_equal(vj_masks_check(&config, (vj_grid){8, 1, 1}), VJ_ERR_USAGE);
    const vj_config usual = make_config(1, &long_range, 2, 2);
    assert_int_equal(vj_masks_check(&usual, (vj_grid){8, 14, 14}), VJ_OK);
}

/* Check lists of one token, on which the published code crashes (docs/method.md, section 17, number 11). */
static void test_single_token_lists(void **state)
{
    (void)state;
    vj_mask_settings settings = long_range;
    settings.blocks = 1;
    settings.spatial_scale[0] = settings.spatial_scale[1] = 0.5;
    settings.aspect[0] = settings.aspect[1] =
        0.5; /* a block of one row and two columns, limited to one of the two cells */
    const vj_grid grid = {1, 2, 1};
    const vj_config config = make_config(1, &settings, 3, 3);
    vj_mask_lists lists;
    assert_int_equal(vj_mask_lists_create(&lists, 1, 3, 2), VJ_OK);
    assert_int_equal(vj_masks_sample(&lists, &config, grid, 0, 0, 3), VJ_OK);
    for (int b = 0; b < 3; b++) {
        assert_int_equal(lists.contexts[b], 1);
        assert_int_equal(lists.targets[b], 1);
        check_lists(&lists, b);
    }
    vj_mask_lists_release(&lists);
}

static void test_boxes_at_the_edges(void **state)
{
    (void)state;
    const vj_grid grid = {2, 2, 3};
    const vj_cell_box boxes[] = {{{0, 0, 0}, {1, 1, 1}}, {{1, 1, 2}, {1, 1, 1}}};
    int32_t context[12], target[12], contexts, targets;
    uint8_t cells[12];
    vj_mask_from_boxes(context, &contexts, target, &targets, boxes, 2, grid, 1, cells);
    assert_int_equal(contexts, 10);
    assert_int_equal(targets, 2);
    assert_int_equal(target[0], 0);
    assert_int_equal(target[1], 11);
    vj_mask_from_boxes(context, &contexts, target, &targets, boxes, 2, grid, 0.1, cells); /* at least one tubelet */
    assert_int_equal(contexts, 5);
    assert_int_equal(targets, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists_are_sound),
        cmocka_unit_test(test_uncut_lists_cover_the_clip),
        cmocka_unit_test(test_groups_have_one_length),
        cmocka_unit_test(test_parts_equal_the_whole),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_empty_context_is_drawn_again),
        cmocka_unit_test(test_impossible_settings_are_refused),
        cmocka_unit_test(test_single_token_lists),
        cmocka_unit_test(test_boxes_at_the_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
