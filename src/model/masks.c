/* Mask sampling: docs/method.md, section 9. Boxes to lists first, then the sampler, then the bounds. */
#include "model/masks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

/*
 * So many draws of a clip without context or without target mean that the settings are impossible. With the published
 * settings 2 % of clips need a second draw.
 */
enum { MAX_DRAWS = 10000 };

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

static int64_t min_int64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max_int64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static double between(const double range[2], double u)
{
    return range[0] + u * (range[1] - range[0]);
}

/* Cells of a block of `area` cells and aspect ratio `aspect` (rows over columns); ties to even, as published. */
static int block_rows(int area, double aspect, vj_grid grid)
{
    return min_int(grid.y, (int)rint(sqrt(area * aspect)));
}

static int block_columns(int area, double aspect, vj_grid grid)
{
    return min_int(grid.x, (int)rint(sqrt(area / aspect)));
}

void vj_mask_block_size(int size[3], const vj_mask_settings *settings, vj_grid grid, uint32_t counter)
{
    vj_twister twister;
    vj_twister_init(&twister, counter);
    const double u_time = vj_twister_unit(&twister);
    const double u_area = vj_twister_unit(&twister);
    const double u_aspect = vj_twister_unit(&twister);

    const int area = (int)(grid.y * grid.x * between(settings->spatial_scale, u_area));
    const double aspect = between(settings->aspect, u_aspect);
    size[0] = max_int(1, (int)(grid.t * between(settings->temporal_scale, u_time)));
    size[1] = block_rows(area, aspect, grid);
    size[2] = block_columns(area, aspect, grid);
}

/* Return the number of tubelets that may contain context: all, or with causal masks the first ones. */
static int context_tubelets(vj_grid grid, double max_temporal_keep)
{
    return min_int(grid.t, max_int(1, (int)(grid.t * max_temporal_keep)));
}

/* Set the cells of tubelets that may contain context to 1, the others to 0. */
static void open_cells(uint8_t *cells, vj_grid grid, double max_temporal_keep)
{
    const int visible = context_tubelets(grid, max_temporal_keep) * grid.y * grid.x;
    memset(cells, 1, (size_t)visible);
    memset(cells + visible, 0, (size_t)(vj_grid_tokens(grid) - visible));
}

static void close_box(uint8_t *cells, vj_grid grid, const vj_cell_box *box)
{
    for (int t = box->start[0]; t < box->start[0] + box->size[0]; t++)
        for (int y = box->start[1]; y < box->start[1] + box->size[1]; y++)
            memset(cells + (t * grid.y + y) * grid.x + box->start[2], 0, (size_t)box->size[2]);
}

/* Ascending lists of the cells that are 1 and 0. */
static void list_cells(int32_t *context, int32_t *contexts, int32_t *target, int32_t *targets, const uint8_t *cells,
                       int tokens)
{
    int32_t ones = 0, zeros = 0;
    for (int n = 0; n < tokens; n++) {
        if (cells[n])
            context[ones++] = n;
        else
            target[zeros++] = n;
    }
    *contexts = ones;
    *targets = zeros;
}

void vj_mask_from_boxes(int32_t *context, int32_t *contexts, int32_t *target, int32_t *targets,
                        const vj_cell_box *boxes, int count, vj_grid grid, double max_temporal_keep, uint8_t *cells)
{
    open_cells(cells, grid, max_temporal_keep);
    for (int b = 0; b < count; b++) close_box(cells, grid, &boxes[b]);
    list_cells(context, contexts, target, targets, cells, vj_grid_tokens(grid));
}

void vj_mask_cut_lengths(int32_t *lengths, int64_t count, int64_t limit)
{
    for (int64_t i = 0; i < count; i++) limit = min_int64(limit, lengths[i]);
    for (int64_t i = 0; i < count; i++) lengths[i] = (int32_t)limit;
}

/* ------------------------------------------------------------------------------------------------ lists */

vj_status vj_mask_lists_create(vj_mask_lists *lists, int masks, int64_t clips, int tokens)
{
    const int64_t segments = masks * clips;
    *lists = (vj_mask_lists){.masks = masks, .clips = clips, .tokens = tokens, .capacity = clips};
    lists->contexts = vj_calloc(segments, sizeof(int32_t));
    lists->targets = vj_calloc(segments, sizeof(int32_t));
    lists->context = vj_calloc(segments * tokens, sizeof(int32_t));
    lists->target = vj_calloc(segments * tokens, sizeof(int32_t));
    lists->spare = vj_calloc(2 * (int64_t)tokens, sizeof(int32_t));
    lists->cells = vj_calloc(tokens, 1);
    if (!lists->contexts || !lists->targets || !lists->context || !lists->target || !lists->spare || !lists->cells)
        return vj_raise(VJ_ERR_MEMORY, "mask lists of %lld clips, %d masks, %d tokens", (long long)clips, masks,
                        tokens);
    return VJ_OK;
}

void vj_mask_lists_release(vj_mask_lists *lists)
{
    free(lists->contexts);
    free(lists->targets);
    free(lists->context);
    free(lists->target);
    free(lists->spare);
    free(lists->cells);
    *lists = (vj_mask_lists){0};
}

/* ------------------------------------------------------------------------------------------------ sampling */

static void draw_blocks(uint8_t *cells, const vj_mask_settings *settings, vj_grid grid, const int size[3], vj_rng *rng)
{
    open_cells(cells, grid, settings->max_temporal_keep);
    for (int b = 0; b < settings->blocks; b++) {
        vj_cell_box box = {.size = {size[0], size[1], size[2]}};
        box.start[1] = (int)vj_rng_below(rng, grid.y - size[1] + 1);
        box.start[2] = (int)vj_rng_below(rng, grid.x - size[2] + 1);
        box.start[0] = (int)vj_rng_below(rng, grid.t - size[0] + 1);
        close_box(cells, grid, &box);
    }
}

/* Context cells of a tube mask in each tubelet, truncated in floating point as published (196 cells, 0.9: 19). */
static int tube_cells(const vj_mask_settings *settings, vj_grid grid)
{
    return (int)(grid.y * grid.x * (1 - settings->ratio));
}

/* The same cells in all tubelets, each set of them equally likely (Knuth's selection sampling). */
static void draw_tube(uint8_t *cells, const vj_mask_settings *settings, vj_grid grid, vj_rng *rng)
{
    const int area = grid.y * grid.x;
    int wanted = tube_cells(settings, grid);
    for (int n = 0; n < area; n++) {
        cells[n] = vj_rng_below(rng, area - n) < wanted;
        wanted -= cells[n];
    }
    for (int t = 1; t < grid.t; t++) memcpy(cells + (int64_t)t * area, cells, (size_t)area);
}

/* Lists of one clip before any cut, into rows of `tokens` entries. */
static vj_status draw_clip(int32_t *context, int32_t *contexts, int32_t *target, int32_t *targets, uint8_t *cells,
                           const vj_mask_settings *settings, vj_grid grid, const int size[3], vj_rng *rng)
{
    for (int draw = 0; draw < MAX_DRAWS; draw++) {
        if (settings->kind == VJ_MASK_TUBE)
            draw_tube(cells, settings, grid, rng);
        else
            draw_blocks(cells, settings, grid, size, rng);
        list_cells(context, contexts, target, targets, cells, vj_grid_tokens(grid));
        if (*contexts > 0 && *targets > 0) return VJ_OK;
    }
    return vj_raise(VJ_ERR_USAGE, "mask settings leave no %s tokens on a grid of %d x %d x %d (block %d x %d x %d)",
                    *contexts ? "target" : "context", grid.t, grid.y, grid.x, size[0], size[1], size[2]);
}

/*
 * Draw generator `i` for samples [begin, end), whose lists are cut to a common length; those outside [first, first +
 * count) are drawn only for their lengths.
 */
static vj_status sample_group(vj_mask_lists *lists, const vj_config *config, vj_grid grid, int i, const int size[3],
                              int64_t begin, int64_t end, int64_t first, int64_t count)
{
    const vj_mask_settings *settings = &config->mask.generator[i];
    const int64_t wanted_begin = max_int64(begin, first), wanted_end = min_int64(end, first + count);
    int64_t context_limit = settings->max_keep > 0 ? settings->max_keep : INT64_MAX, target_limit = INT64_MAX;

    for (int64_t s = begin; s < end; s++) {
        vj_rng rng;
        vj_rng_init(&rng, (uint64_t)config->run.seed, VJ_RNG_MASK, (uint64_t)s * 64 + (uint64_t)i);
        if (s >= wanted_begin && s < wanted_end) {
            const int64_t segment = i * count + (s - first);
            VJ_TRY(draw_clip(lists->context + segment * lists->tokens, &lists->contexts[segment],
                             lists->target + segment * lists->tokens, &lists->targets[segment], lists->cells, settings,
                             grid, size, &rng));
        } else {
            int32_t contexts, targets;
            VJ_TRY(draw_clip(lists->spare, &contexts, lists->spare + lists->tokens, &targets, lists->cells, settings,
                             grid, size, &rng));
            context_limit = min_int64(context_limit, contexts);
            target_limit = min_int64(target_limit, targets);
        }
    }
    const int64_t segment = i * count + (wanted_begin - first);
    vj_mask_cut_lengths(lists->contexts + segment, wanted_end - wanted_begin, context_limit);
    vj_mask_cut_lengths(lists->targets + segment, wanted_end - wanted_begin, target_limit);
    return VJ_OK;
}

vj_status vj_masks_sample(vj_mask_lists *lists, const vj_config *config, vj_grid grid, int64_t step, int64_t first,
                          int64_t count)
{
    const int64_t batch_begin = step * config->train.batch, batch_end = batch_begin + config->train.batch;
    VJ_ASSERT(first >= batch_begin && first + count <= batch_end && count <= lists->capacity);
    VJ_ASSERT(lists->masks == config->mask.count && lists->tokens == vj_grid_tokens(grid));

    /* If lists are not cut to a common length, each clip is a group of its own. */
    const int64_t group = config->mask.cut == VJ_CUT_GROUP ? config->mask.group : 1;
    const int64_t group_begin = first - (first - batch_begin) % group;
    lists->clips = count;
    for (int i = 0; i < lists->masks; i++) {
        int size[3];
        vj_mask_block_size(size, &config->mask.generator[i], grid, (uint32_t)step);
        for (int64_t begin = group_begin; begin < first + count; begin += group)
            VJ_TRY(
                sample_group(lists, config, grid, i, size, begin, min_int64(begin + group, batch_end), first, count));
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ bounds */

/*
 * Smallest (or largest) rows x columns that a block of `area` cells takes for any aspect ratio allowed: over all pairs
 * (rows, columns), those that some aspect ratio rounds to. Both shrink and grow with the area.
 */
static int extreme_block_area(const vj_mask_settings *settings, vj_grid grid, int area, bool largest)
{
    const int first_row = block_rows(area, settings->aspect[0], grid);
    const int last_row = block_rows(area, settings->aspect[1], grid);
    const int first_column = block_columns(area, settings->aspect[1], grid);
    const int last_column = block_columns(area, settings->aspect[0], grid);
    int extreme = -1;
    for (int h = first_row; h <= last_row; h++)
        for (int w = first_column; w <= last_column; w++) {
            /* Aspect ratios that round to h rows, and to w columns; the grid's edge takes all beyond it. */
            const double low_h = (h - 0.5) * (h - 0.5) / area;
            const double high_h = h == grid.y ? INFINITY : (h + 0.5) * (h + 0.5) / area;
            const double low_w = w == grid.x ? 0 : area / ((w + 0.5) * (w + 0.5));
            const double high_w = w == 0 ? INFINITY : area / ((w - 0.5) * (w - 0.5));
            const double low = fmax(settings->aspect[0], fmax(low_h, low_w));
            const double high = fmin(settings->aspect[1], fmin(high_h, high_w));
            /* bounds may be too wide, but not too narrow, so a pair in doubt is included */
            if (low > high * (1 + 1e-9)) continue;
            if (extreme < 0 || (largest ? h * w > extreme : h * w < extreme)) extreme = h * w;
        }
    return extreme;
}

void vj_masks_bounds(const vj_config *config, vj_grid grid, int generator, int64_t *context_max, int64_t *target_max)
{
    const vj_mask_settings *settings = &config->mask.generator[generator];
    const int plane = grid.y * grid.x, tokens = vj_grid_tokens(grid);
    if (settings->kind == VJ_MASK_TUBE) {
        *context_max = grid.t * (int64_t)tube_cells(settings, grid);
        *target_max = tokens - *context_max;
    } else {
        const int visible = context_tubelets(grid, settings->max_temporal_keep);
        const int shortest = max_int(1, (int)(grid.t * settings->temporal_scale[0]));
        const int longest = max_int(1, (int)(grid.t * settings->temporal_scale[1]));
        const int smallest = extreme_block_area(settings, grid, (int)(plane * settings->spatial_scale[0]), false);
        const int largest = extreme_block_area(settings, grid, (int)(plane * settings->spatial_scale[1]), true);
        /*
         * The fewest cells are masked if all blocks lie on one place and reach beyond the visible tubelets, the most if
         * none overlap.
         */
        const int64_t fewest = (int64_t)max_int(0, shortest - (grid.t - visible)) * smallest;
        const int64_t most = (int64_t)settings->blocks * min_int(longest, visible) * largest;
        *context_max = (int64_t)visible * plane - fewest;
        *target_max = min_int64((int64_t)(grid.t - visible) * plane + most, tokens - 1);
    }
    if (settings->max_keep > 0) *context_max = min_int64(*context_max, settings->max_keep);
}

vj_status vj_masks_check(const vj_config *config, vj_grid grid)
{
    for (int i = 0; i < config->mask.count; i++) {
        int64_t context, target;
        vj_masks_bounds(config, grid, i, &context, &target);
        if (context < 1 || target < 1)
            return vj_raise(
                VJ_ERR_USAGE,
                "mask.generators[%d]: these mask settings leave no %s tokens on a grid of %d x %d x %d tokens "
                "(data.frames / model.tubelet, data.crop / model.patch): take a larger data.crop, a smaller "
                "model.patch, or smaller masks",
                i, context < 1 ? "context" : "target", grid.t, grid.y, grid.x);
    }
    return VJ_OK;
}
