/*
 * A clip as probes see it: its first training views and its test views, made by the same code as in the loader
 * (feed/eval_views.h).
 */
#ifndef VJ_SHEET_SHOWN_H
#define VJ_SHEET_SHOWN_H

#include "clips/clips.h"
#include "feed/eval_views.h"

enum { VJ_SHOWN_EPOCHS = 3 }; /* number of training views of each clip */

typedef struct {
    vj_eval_views training, test;
    vj_eval_room room[2]; /* for training, test */
    int rows;             /* number of views of a clip: first of training, then of testing */
    float *pixels;        /* [3, frames, side, side] scratch, owned */
    char text[256];       /* description of the last view */
    uint8_t *rgb;         /* [frames, side, side, 3] the last view, owned */
} vj_shown;

/** Prepare the views by the section evaluate. Release it also after a failure. */
vj_status vj_shown_create(vj_shown *shown, const vj_config *config, const vj_clips *clips);
void vj_shown_release(vj_shown *shown);

/** Make view `row` of a clip: shown->rgb, and its description in shown->text. */
void vj_shown_make(vj_shown *shown, int row, int64_t clip, const uint8_t *frames, int height, int width);

#endif
