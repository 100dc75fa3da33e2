/* A contact sheet: clips of a store as rows of frames in one picture, for human eyes. */
#ifndef VJ_SHEET_SHEET_H
#define VJ_SHEET_SHEET_H

#include "base/config.h"

/* Where things are, in pixels. Row r of clip k begins at vj_sheet_top(), its frame t at vj_sheet_left(). */
enum {
    VJ_SHEET_FRAME = 96,  /* height of all frames */
    VJ_SHEET_TEXT = 320,  /* width of the text beside them */
    VJ_SHEET_GAP = 4,     /* between frames, and between rows */
    VJ_SHEET_MARGIN = 12, /* around all, and between clips */
    VJ_SHEET_HEAD = 60    /* height of the lines over all */
};

/** `rows`: of a clip, 1 and one for each mask. `cell`: pixels that a frame has in width, of the widest. */
static inline int vj_sheet_top(int64_t k, int row, int rows)
{
    return VJ_SHEET_HEAD + (int)k * (rows * (VJ_SHEET_FRAME + VJ_SHEET_GAP) + VJ_SHEET_MARGIN) +
           row * (VJ_SHEET_FRAME + VJ_SHEET_GAP);
}

static inline int vj_sheet_left(int t, int cell)
{
    return VJ_SHEET_MARGIN + VJ_SHEET_TEXT + t * (cell + VJ_SHEET_GAP);
}

/**
 * Draw clips [first, first + *count) of the store, as many of them as there are (*count afterwards), into the PNG file
 * `out`. With `masks`, a checked configuration, each clip is shown again for each of mask.generators, as training on
 * this store alone sees it first: cropped, what is masked dark. With `views`, likewise, it is shown as probes see it
 * (section evaluate): training views of three epochs, then all test views. NULL: without. A clip that cannot be read is
 * an error. Not collective.
 */
vj_status vj_sheet_write(const char *out, const char *store, int64_t first, int64_t *count, const vj_config *masks,
                         const vj_config *views);

#endif
