/* Checks masks.h5: Mersenne twister, block sizes, index lists and tubes exactly, and statistics of our sampler against
 * those of the published one. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "model/masks.h"
#include "parity/kinds.h"

/* ------------------------------------------------------------------------------------------------ exact parts */

static void check_twister(vj_fixture *f)
{
    const vj_values *seeds = vj_fixture_array(f, "twister/seeds");
    const vj_values *words = vj_fixture_array(f, "twister/first_words");
    const vj_values *units = vj_fixture_array(f, "twister/first_units");
    if (!seeds || !words || !units) return;
    double *got_words = vj_fixture_take(f, words->count * (int64_t)sizeof *got_words);
    double *got_units = vj_fixture_take(f, units->count * (int64_t)sizeof *got_units);
    for (int64_t s = 0; s < seeds->count; s++) {
        vj_twister twister;
        vj_twister_init(&twister, (uint32_t)seeds->value[s]);
        for (int64_t i = s * words->count / seeds->count; i < (s + 1) * words->count / seeds->count; i++)
            got_words[i] = vj_twister_u32(&twister);
        vj_twister_init(&twister, (uint32_t)seeds->value[s]);
        for (int64_t i = s * units->count / seeds->count; i < (s + 1) * units->count / seeds->count; i++)
            got_units[i] = vj_twister_unit(&twister);
    }
    vj_fixture_compare(f, words->name, got_words, words->count, words, vj_within(0));
    vj_fixture_compare(f, units->name, got_units, units->count, units, vj_within(0));
}

static bool read_grid(vj_fixture *f, const char *group, vj_grid *grid)
{
    int g[3];
    if (!vj_fixture_ints(f, group, "grid", g, 3)) return false;
    *grid = (vj_grid){g[0], g[1], g[2]};
    if (g[0] > 0 && g[1] > 0 && g[2] > 0) return true;
    vj_fixture_fail(f, group, "found a grid without cells, expected more than 0 in each direction");
    return false;
}

static void check_block_size(vj_fixture *f, const char *name)
{
    char group[VJ_FIXTURE_NAME + 16];
    snprintf(group, sizeof group, "block_size/%s", name);
    vj_mask_settings settings = {0};
    vj_grid grid;
    if (!read_grid(f, group, &grid) || !vj_fixture_numbers(f, group, "spatial", settings.spatial_scale, 2) ||
        !vj_fixture_numbers(f, group, "temporal", settings.temporal_scale, 2) ||
        !vj_fixture_numbers(f, group, "aspect", settings.aspect, 2))
        return;
    const vj_values *seeds = vj_fixture_array(f, "%s/seeds", group), *want = vj_fixture_array(f, "%s/sizes", group);
    if (!seeds || !want) return;
    double *got = vj_fixture_take(f, 3 * seeds->count * (int64_t)sizeof *got);
    for (int64_t i = 0; i < seeds->count; i++) {
        int size[3];
        vj_mask_block_size(size, &settings, grid, (uint32_t)seeds->value[i]);
        for (int axis = 0; axis < 3; axis++) got[3 * i + axis] = size[axis];
    }
    vj_fixture_compare(f, want->name, got, 3 * seeds->count, want, vj_within(0));
}

/* Compare the first lengths[0] entries of each list, packed, with the file. */
static void compare_lists(vj_fixture *f, const vj_values *want, const int32_t *lists, const int32_t *lengths,
                          int64_t clips, int tokens)
{
    double *got = vj_fixture_take(f, clips * tokens * (int64_t)sizeof *got);
    int64_t count = 0;
    for (int64_t b = 0; b < clips; b++)
        for (int32_t k = 0; k < lengths[b]; k++) got[count++] = lists[b * tokens + k];
    vj_fixture_compare(f, want->name, got, count, want, vj_within(0));
}

/* Return whether blocks are [clips, blocks, (start, size) of time, row, column], inside the grid. */
static bool blocks_fit(vj_fixture *f, const vj_values *blocks, vj_grid grid)
{
    const int size[3] = {grid.t, grid.y, grid.x};
    const int64_t clips = blocks->ndim > 0 ? blocks->dim[0] : 1, count = blocks->ndim > 1 ? blocks->dim[1] : 1;
    if (!vj_fixture_expect(f, blocks, 3, (const int64_t[]){clips, count, 6})) return false;
    for (int64_t i = 0; i < blocks->count; i += 2)
        if (blocks->value[i] < 0 || blocks->value[i + 1] < 0 ||
            blocks->value[i] + blocks->value[i + 1] > size[i % 6 / 2]) {
            char reason[VJ_FIXTURE_NAME];
            snprintf(reason, sizeof reason, "found a block of %g cells from %g on, expected one inside %d",
                     blocks->value[i + 1], blocks->value[i], size[i % 6 / 2]);
            vj_fixture_fail(f, blocks->name, reason);
            return false;
        }
    return true;
}

static void check_lists(vj_fixture *f, const char *name)
{
    char group[VJ_FIXTURE_NAME + 24];
    snprintf(group, sizeof group, "blocks_to_indices/%s", name);
    vj_grid grid;
    int max_keep;
    double ratio;
    if (!read_grid(f, group, &grid) || !vj_fixture_ints(f, group, "max_keep", &max_keep, 1) ||
        !vj_fixture_numbers(f, group, "max_context_ratio", &ratio, 1))
        return;
    const vj_values *blocks = vj_fixture_array(f, "%s/blocks", group);
    const vj_values *full = vj_fixture_array(f, "%s/full_lengths", group);
    const vj_values *context = vj_fixture_array(f, "%s/context", group);
    const vj_values *target = vj_fixture_array(f, "%s/target", group);
    if (!blocks || !full || !context || !target) return;
    if (!blocks_fit(f, blocks, grid)) return;

    const int64_t clips = blocks->dim[0], count = blocks->dim[1];
    const int tokens = vj_grid_tokens(grid);
    vj_cell_box *boxes = vj_fixture_take(f, count * (int64_t)sizeof *boxes);
    uint8_t *cells = vj_fixture_take(f, tokens);
    int32_t *lists[2], *lengths[2];
    for (int side = 0; side < 2; side++) {
        lists[side] = vj_fixture_take(f, clips * tokens * (int64_t)sizeof **lists);
        lengths[side] = vj_fixture_take(f, clips * (int64_t)sizeof **lengths);
    }
    double *got_full = vj_fixture_take(f, 2 * clips * (int64_t)sizeof *got_full);
    for (int64_t b = 0; b < clips; b++) {
        for (int64_t i = 0; i < count; i++)
            for (int axis = 0; axis < 3; axis++) {
                boxes[i].start[axis] = (int)blocks->value[(b * count + i) * 6 + 2 * axis];
                boxes[i].size[axis] = (int)blocks->value[(b * count + i) * 6 + 2 * axis + 1];
            }
        vj_mask_from_boxes(lists[0] + b * tokens, &lengths[0][b], lists[1] + b * tokens, &lengths[1][b], boxes,
                           (int)count, grid, ratio, cells);
        for (int side = 0; side < 2; side++) got_full[2 * b + side] = lengths[side][b];
    }
    vj_fixture_compare(f, full->name, got_full, 2 * clips, full, vj_within(0));
    vj_mask_cut_lengths(lengths[0], clips, max_keep < 0 ? INT32_MAX : max_keep);
    vj_mask_cut_lengths(lengths[1], clips, INT32_MAX);
    compare_lists(f, context, lists[0], lengths[0], clips, tokens);
    compare_lists(f, target, lists[1], lengths[1], clips, tokens);
}

static vj_status check_tube(vj_fixture *f)
{
    const vj_values *grids = vj_fixture_array(f, "tube/grids"), *ratios = vj_fixture_array(f, "tube/ratios");
    const vj_values *want = vj_fixture_array(f, "tube/context_tokens");
    if (!grids || !ratios || !want) return VJ_OK;
    vj_config *config = vj_fixture_take(f, sizeof *config);
    config->mask.count = 1;
    config->mask.cut = VJ_CUT_NONE;
    config->train.batch = 1;
    const int64_t rows = grids->count / 3, columns = ratios->count;
    double *got = vj_fixture_take(f, rows * columns * (int64_t)sizeof *got);
    for (int64_t g = 0; g < rows; g++) {
        const double *n = grids->value + 3 * g;
        const vj_grid grid = {(int)n[0], (int)n[1], (int)n[2]};
        vj_mask_lists lists;
        vj_status status = vj_mask_lists_create(&lists, 1, 1, vj_grid_tokens(grid));
        for (int64_t r = 0; r < columns && status == VJ_OK; r++) {
            config->mask.generator[0] = (vj_mask_settings){.kind = VJ_MASK_TUBE, .ratio = ratios->value[r]};
            status = vj_masks_sample(&lists, config, grid, 0, 0, 1);
            if (status == VJ_OK) got[g * columns + r] = lists.contexts[0];
        }
        vj_mask_lists_release(&lists);
        VJ_TRY(status);
    }
    vj_fixture_compare(f, want->name, got, rows * columns, want, vj_within(0));
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ statistics */

/* Mean and standard error of a stream of numbers. */
typedef struct {
    double sum, squares;
    int64_t count;
} moments;

static void add(moments *m, double x)
{
    m->sum += x;
    m->squares += x * x;
    m->count++;
}

/* Compare with [mean, standard deviation, standard error]; allows four standard errors of both samples together. */
static void compare_moments(vj_fixture *f, const moments *got, const vj_values *want)
{
    if (!want) return;
    if (want->count != 3) {
        vj_fixture_fail(f, want->name, "found another shape, expected [mean, standard deviation, standard error]");
        return;
    }
    const double n = (double)got->count, mean = got->sum / n;
    const double error_squared = fmax(0, got->squares / n - mean * mean) / n;
    vj_fixture_compare_number(f, want->name, mean, want->value[0],
                              4 * sqrt(error_squared + want->value[2] * want->value[2]));
}

/*
 * Compare how often each cell is kept as context, from the share of clips in a batch that keep it. The standard error
 * of a cell is that of these shares, but at least that of as many independent clips, since a rare cell may not occur in
 * one of the samples. Allows six standard errors of both, because the worst of thousands of cells is compared.
 */
static void compare_cells(vj_fixture *f, const moments *cells, int tokens, int64_t clips, const vj_values *want)
{
    if (!want) return;
    if (want->count != tokens) {
        vj_fixture_fail(f, want->name, "found another number of values, expected one a cell");
        return;
    }
    double worst = 0;
    for (int n = 0; n < tokens; n++) {
        const double batches = (double)cells[n].count, mean = cells[n].sum / batches, p = 0.5 * (mean + want->value[n]);
        const double of_batches = fmax(0, cells[n].squares / batches - mean * mean) / batches;
        const double error = sqrt(2 * fmax(of_batches, p * (1 - p) / (double)clips));
        const double deviations = error > 0 ? fabs(mean - want->value[n]) / error : fabs(mean - want->value[n]);
        if (!(deviations <= worst)) worst = deviations;
    }
    char name[VJ_FIXTURE_NAME + 32];
    snprintf(name, sizeof name, "%s, standard errors", want->name);
    vj_fixture_compare_number(f, name, worst, 0, 6);
}

/* Get the published settings, after which these groups are named. */
static bool published_settings(const char *group, vj_mask_settings *settings)
{
    const bool short_range = strstr(group, "short_range"), long_range = strstr(group, "long_range");
    const double area = short_range ? 0.15 : 0.70;
    *settings = (vj_mask_settings){.kind = VJ_MASK_MULTIBLOCK,
                                   .blocks = short_range ? 8 : 2,
                                   .spatial_scale = {area, area},
                                   .temporal_scale = {1, 1},
                                   .aspect = {0.75, 1.5}};
    return short_range != long_range;
}

static vj_status check_statistics(vj_fixture *f, const char *name)
{
    char group[VJ_FIXTURE_NAME + 16];
    snprintf(group, sizeof group, "statistics/%s", name);
    vj_config *config = vj_fixture_take(f, sizeof *config);
    vj_mask_settings *settings = &config->mask.generator[0];
    vj_grid grid;
    int batch, batches;
    if (!published_settings(name, settings)) {
        vj_fixture_fail(f, group, "found this name, expected short_range or long_range");
        return VJ_OK;
    }
    if (!read_grid(f, group, &grid) || !vj_fixture_ints(f, group, "batch", &batch, 1) ||
        !vj_fixture_ints(f, group, "batches", &batches, 1) ||
        !vj_fixture_numbers(f, group, "max_context_ratio", &settings->max_temporal_keep, 1))
        return VJ_OK;
    config->run.seed = 1;
    config->train.batch = config->mask.group = batch;
    config->mask.count = 1;

    const int tokens = vj_grid_tokens(grid);
    moments per_clip = {0}, context = {0}, target = {0}, *cells = vj_fixture_take(f, tokens * (int64_t)sizeof *cells);
    double *share = vj_fixture_take(f, tokens * (int64_t)sizeof *share);
    vj_mask_lists lists;
    vj_status status = vj_mask_lists_create(&lists, 1, batch, tokens);
    for (int64_t step = 0; step < batches && status == VJ_OK; step++) {
        config->mask.cut = VJ_CUT_NONE;
        status = vj_masks_sample(&lists, config, grid, step, step * batch, batch);
        for (int b = 0; b < batch && status == VJ_OK; b++) add(&per_clip, (double)lists.contexts[b] / tokens);

        config->mask.cut = VJ_CUT_GROUP;
        if (status == VJ_OK) status = vj_masks_sample(&lists, config, grid, step, step * batch, batch);
        if (status != VJ_OK) break;
        add(&context, (double)lists.contexts[0] / tokens);
        add(&target, (double)lists.targets[0] / tokens);
        memset(share, 0, (size_t)tokens * sizeof *share);
        for (int b = 0; b < batch; b++)
            for (int32_t k = 0; k < lists.contexts[b]; k++) share[lists.context[b * tokens + k]] += 1.0 / batch;
        for (int n = 0; n < tokens; n++) add(&cells[n], share[n]);
    }
    vj_mask_lists_release(&lists);
    VJ_TRY(status);
    compare_moments(f, &per_clip, vj_fixture_array(f, "%s/context_fraction_per_clip", group));
    compare_moments(f, &context, vj_fixture_array(f, "%s/context_fraction_batch", group));
    compare_moments(f, &target, vj_fixture_array(f, "%s/target_fraction_batch", group));
    compare_cells(f, cells, tokens, (int64_t)batch * batches, vj_fixture_array(f, "%s/kept_probability", group));
    return VJ_OK;
}

vj_status vj_parity_masks(vj_fixture *f)
{
    check_twister(f);
    const vj_names sizes = vj_fixture_children(f, "block_size"), lists = vj_fixture_children(f, "blocks_to_indices");
    for (int i = 0; i < sizes.count; i++) check_block_size(f, sizes.name[i]);
    for (int i = 0; i < lists.count; i++) check_lists(f, lists.name[i]);
    VJ_TRY(check_tube(f));
    const vj_names statistics = vj_fixture_children(f, "statistics");
    for (int i = 0; i < statistics.count; i++) VJ_TRY(check_statistics(f, statistics.name[i]));
    return VJ_OK;
}
