/* Draws a contact sheet: clips of a store as rows of frames in one picture. */
#ifndef VJ_SHEET_SHEET_H
#define VJ_SHEET_SHEET_H

#include "base/config.h"
#include "sheet/canvas.h"

/* The layout, in pixels. Row r of clip k begins at vj_sheet_top(); its frame t at vj_sheet_left(). */
enum {
    VJ_SHEET_FRAME = 96,  /* height of all frames */
    VJ_SHEET_TEXT = 320,  /* width of the text beside them */
    VJ_SHEET_GAP = 4,     /* between frames, and between rows */
    VJ_SHEET_MARGIN = 12, /* around the sheet, and between clips */
    VJ_SHEET_HEAD = 60    /* height of the heading */
};

/** Return the position of a row or frame. `rows`: rows of each clip, one plus one for each mask. `cell`: width of the
 * widest frame in pixels. */
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
 * Draw clips [first, first + *count) of the store. Release the canvas with vj_canvas_release(), also after a failure.
 * If there are fewer, *count becomes their number. If `masks`, a checked configuration, is not NULL, each clip is shown
 * again for each of mask.generators as training on this store alone first sees it: cropped, with masked patches dark.
 * If `views`, likewise, is not NULL, each clip is shown as probes see it (section evaluate): training views of three
 * epochs, then all test views. A clip that cannot be read is an error. Not collective.
 */
vj_status vj_sheet_draw(vj_canvas *canvas, const char *store, int64_t first, int64_t *count, const vj_config *masks,
                        const vj_config *views);
/** Write what vj_sheet_draw() draws into the PNG file `out`. */
vj_status vj_sheet_write(const char *out, const char *store, int64_t first, int64_t *count, const vj_config *masks,
                         const vj_config *views);

#endif
