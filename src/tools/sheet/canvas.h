/* An RGB image to draw rectangles, images and text into. Drawing is clipped at the edges. */
#ifndef VJ_SHEET_CANVAS_H
#define VJ_SHEET_CANVAS_H

#include "base/status.h"

typedef struct {
    uint8_t rgb[3];
} vj_colour;

typedef struct {
    int height, width;
    uint8_t *pixels; /* [height, width, 3], owned */
} vj_canvas;

/* Pixels from one letter to the next, and from one line of text to the next. */
enum { VJ_LETTER = 12, VJ_LINE = 18 };

/** Allocate an image filled with one colour. Release with vj_canvas_release(), also after a failure. */
vj_status vj_canvas_create(vj_canvas *canvas, int height, int width, vj_colour colour);
void vj_canvas_release(vj_canvas *canvas);

/** Fill a rectangle of height x width pixels. */
void vj_canvas_fill(vj_canvas *canvas, int top, int left, int height, int width, vj_colour colour);

/** Draw an image: pixels [height, width, 3]. */
void vj_canvas_put(vj_canvas *canvas, int top, int left, const uint8_t *pixels, int height, int width);

/** Draw one line of ASCII text; other bytes are shown as '?'. */
void vj_canvas_text(vj_canvas *canvas, int top, int left, const char *text, vj_colour colour);

#endif
