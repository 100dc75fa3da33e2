/*
 * Operations on one picture, u8 [height, width, 3] RGB, rows without gaps, with exactly the bytes that Pillow gives
 * (docs/method.md, section 12.5): those of RandAugment and AutoAugment, and resizing with antialias. Nothing is
 * allocated; all functions are thread-safe. Implemented in picture_colour.c, picture_affine.c and picture_resize.c.
 */
#ifndef VJ_FEED_PICTURE_H
#define VJ_FEED_PICTURE_H

#include <stddef.h>
#include <stdint.h>

/* Operations with their argument. */
typedef enum {
    VJ_OP_AUTOCONTRAST, /* none: each channel stretched to 0..255 */
    VJ_OP_EQUALIZE,     /* none: each channel's histogram made flat */
    VJ_OP_INVERT,       /* none */
    VJ_OP_ROTATE,       /* degrees, counterclockwise */
    VJ_OP_POSTERIZE,    /* bits kept of each value, 0 to 8 */
    VJ_OP_SOLARIZE,     /* values from this threshold on are inverted */
    VJ_OP_SOLARIZE_ADD, /* added to values below 128, at most 255 */
    VJ_OP_COLOR,        /* enhancers: factor; 1 changes nothing, 0 removes colour, contrast, light, or detail */
    VJ_OP_CONTRAST,
    VJ_OP_BRIGHTNESS,
    VJ_OP_SHARPNESS,
    VJ_OP_SHEAR_X, /* source x = x + argument * y */
    VJ_OP_SHEAR_Y,
    VJ_OP_TRANSLATE_X, /* fraction of the width */
    VJ_OP_TRANSLATE_Y, /* fraction of the height */
    VJ_PICTURE_OPS
} vj_picture_op;

/** Return the name of an operation, "autocontrast". */
const char *vj_picture_op_name(vj_picture_op op);

/* A rectangle of a picture. */
typedef struct {
    int top, left, height, width;
} vj_box;

/**
 * Write to `to` what operation `op` makes of `from`, inside the box only: the rest of `to` is left as it is. They must
 * not overlap. Geometric operations interpolate bicubically and give `fill` to pixels from outside the picture.
 */
void vj_picture_apply(uint8_t *to, const uint8_t *from, int height, int width, vj_picture_op op, double argument,
                      const uint8_t fill[3], vj_box box);

/** Return which part of its input an operation reads to write this box of its result. */
vj_box vj_picture_needs(vj_picture_op op, vj_box box, int height, int width);

/** The part of vj_picture_apply() for operations on colours, which it calls. */
void vj_picture_colour(uint8_t *to, const uint8_t *from, int height, int width, vj_picture_op op, double argument,
                       vj_box box);

typedef enum { VJ_FILTER_BILINEAR, VJ_FILTER_BICUBIC } vj_filter;

/* What to resize: the box `from` of a picture with rows of `width` pixels is scaled to height x width `size`, and of
 * that the box `window` is written. */
typedef struct {
    vj_filter filter;
    vj_box from;
    int size_height, size_width;
    vj_box window;
} vj_resize;

/** Return the bytes of scratch memory that vj_picture_resize() needs. */
int64_t vj_picture_resize_scratch(const vj_resize *r);

/** Resize with antialias: to u8 [window.height, window.width, 3]. Pixels outside the box `from` have no influence. */
void vj_picture_resize(uint8_t *to, const uint8_t *picture, int width, const vj_resize *r, void *scratch);

/** Mirror every row of a picture in place. */
void vj_picture_mirror(uint8_t *picture, int height, int width);

/**
 * Resize without antialias, bilinear in fixed point as OpenCV does it for u8: the picture u8 [height, width, 3] to
 * size_height x size_width, of which the box `window` is written to `to`. Scratch: 12 bytes a column of the window.
 */
void vj_picture_resize_plain(uint8_t *to, const uint8_t *picture, int height, int width, int size_height,
                             int size_width, vj_box window, void *scratch);

#endif
