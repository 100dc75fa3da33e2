/*
 * Masks: which tokens of a clip the context encoder sees and which the predictor must predict (docs/method.md, section
 * 9). A mask of global sample s is a function of (seed, s, step, settings), never of rank, thread or microbatch (design
 * invariant 1): any rank can draw the masks of any sample.
 */
#ifndef VJ_MODEL_MASKS_H
#define VJ_MODEL_MASKS_H

#include "base/config.h"
#include "model/grid.h"

/* ------------------------------------------------------------------------------------------------ pieces */

/** A box of cells, in the order t, y, x. */
typedef struct {
    int start[3], size[3];
} vj_cell_box;

/**
 * Size (t, y, x) of all blocks of a step, from the Mersenne twister seeded with `counter` (0 for the first step), as
 * published: docs/method.md, section 9.1 b.
 */
void vj_mask_block_size(int size[3], const vj_mask_settings *settings, vj_grid grid, uint32_t counter);

/**
 * Lists of one clip, ascending: context = cells outside all boxes and inside the first max(1, int(t max_temporal_keep))
 * tubelets, target = all other cells. context and target [tokens]; *contexts, *targets: their lengths.
 *
 * @param cells  [tokens] scratch
 */
void vj_mask_from_boxes(int32_t *context, int32_t *contexts, int32_t *target, int32_t *targets,
                        const vj_cell_box *boxes, int count, vj_grid grid, double max_temporal_keep, uint8_t *cells);

/** Cut `count` lists of one group: all lengths become the shortest of them, or `limit` if that is smaller. */
void vj_mask_cut_lengths(int32_t *lengths, int64_t count, int64_t limit);

/* ------------------------------------------------------------------------------------------------ sampling */

/**
 * Index lists of some clips. Segment i*clips + b is mask i of clip b: contexts[segment] tokens, ascending, from
 * context + segment*tokens; targets and target likewise. Lists of one clip differ in length between masks and, with
 * mask.cut none, between clips. A cell may be in neither list.
 */
typedef struct {
    int masks;
    int64_t clips;               /* clips held now, at most `capacity` */
    int tokens;                  /* of a clip: the stride of the lists */
    int32_t *contexts, *targets; /* [masks*clips] */
    int32_t *context, *target;   /* [masks*clips][tokens] */
    int64_t capacity;            /* clips there is memory for */
    int32_t *spare;              /* [2*tokens] lists of clips drawn only to find their group's shortest lengths */
    uint8_t *cells;              /* [tokens] */
} vj_mask_lists;

/** Allocate memory for `clips` clips and set lists->clips to it. Release with vj_mask_lists_release(), also on failure.
 */
vj_status vj_mask_lists_create(vj_mask_lists *lists, int masks, int64_t clips, int tokens);
void vj_mask_lists_release(vj_mask_lists *lists);

/**
 * Draw the lists of global samples [first, first + count), which belong to batch `step` (from 0): step*batch <= first.
 * All clips of a batch share the block size of the step. A clip without context or without target is drawn again.
 * With mask.cut group, lists are cut to the shortest of their group (mask.group consecutive samples of the batch, the
 * last group may be smaller); the whole group is drawn even when part of it is asked for.
 *
 * Fails (VJ_ERR_USAGE) when the settings leave practically no clip with both context and target on this grid.
 * Allocates nothing. Not collective.
 */
vj_status vj_masks_sample(vj_mask_lists *lists, const vj_config *config, vj_grid grid, int64_t step, int64_t first,
                          int64_t count);

/**
 * Refuse (VJ_ERR_USAGE) settings with which no mask on this grid has both context and target tokens. Settings for which
 * such masks exist but are hardly ever drawn are refused by vj_masks_sample(). Not collective.
 */
vj_status vj_masks_check(const vj_config *config, vj_grid grid);

/** Upper bounds of one clip's list lengths over all steps, to size memory. Never below what vj_masks_sample() draws. */
void vj_masks_bounds(const vj_config *config, vj_grid grid, int generator, int64_t *context_max, int64_t *target_max);

#endif
