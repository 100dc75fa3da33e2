/* Operations that move pixels: an affine map and bicubic interpolation, in double and with Pillow's order of
 * operations, since the result is cut to whole numbers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feed/picture.h"

/* Interpolate four values by a cubic, at distance d behind the second one; d = 0 gives exactly the second. */
static inline double cubic(double v0, double v1, double v2, double v3, double d)
{
    const double p2 = -v0 + v2, p3 = 2.0 * (v0 - v1) + v2 - v3, p4 = -v0 + v1 - v2 + v3;
    return v1 + d * (p2 + d * (p3 + d * p4));
}

static inline int inside(int i, int n)
{
    return i < 0 ? 0 : i < n ? i : n - 1;
}

static inline uint8_t cut(double v)
{
    return v <= 0.0 ? 0 : v >= 255.0 ? 255 : (uint8_t)v;
}

/* Interpolate row `row` at the columns `at`, which are byte offsets. */
static inline void along(double v[3], const uint8_t *row, const int32_t at[4], double d)
{
    if (d == 0.0) {
        for (int c = 0; c < 3; c++) v[c] = row[at[1] + c];
        return;
    }
    for (int c = 0; c < 3; c++) v[c] = cubic(row[at[0] + c], row[at[1] + c], row[at[2] + c], row[at[3] + c], d);
}

/* The whole number below u >= -1/2; floor() is a call where the processor is not known. */
static inline int below(double u)
{
    return u < 0.0 ? -1 : (int)u;
}

static void interpolate(uint8_t out[3], const uint8_t *from, int height, int width, double X, double Y)
{
    const double u = X - 0.5, w = Y - 0.5;
    const int i = below(u), j = below(w);
    const double dx = u - i, dy = w - j;
    const int64_t line = 3 * (int64_t)width;
    int32_t at[4] = {3 * i - 3, 3 * i, 3 * i + 3, 3 * i + 6};
    double v[4][3];
    if (i < 1 || i > width - 3)
        for (int k = 0; k < 4; k++) at[k] = 3 * inside(i - 1 + k, width);
    if (dy == 0.0) {
        along(v[0], from + j * line, at, dx);
        for (int c = 0; c < 3; c++) out[c] = cut(v[0][c]);
        return;
    }
    along(v[0], from + inside(j - 1, height) * line, at, dx);
    for (int k = 1; k < 4; k++) { /* a row outside repeats the result of the row before */
        if (j - 1 + k >= 0 && j - 1 + k < height)
            along(v[k], from + (j - 1 + k) * line, at, dx);
        else
            memcpy(v[k], v[k - 1], sizeof v[k]);
    }
    for (int c = 0; c < 3; c++) out[c] = cut(cubic(v[0][c], v[1][c], v[2][c], v[3][c], dy));
}

/* Write the pixels (x, y) of the box: each is the source at (m[0] (x + 1/2) + m[1] (y + 1/2) + m[2], m[3] (x + 1/2) +
 * ...). */
static void transform(uint8_t *to, const uint8_t *from, int height, int width, const double m[6], const uint8_t fill[3],
                      vj_box box)
{
    for (int y = box.top; y < box.top + box.height; y++) {
        uint8_t *out = to + 3 * ((int64_t)y * width + box.left);
        for (int x = box.left; x < box.left + box.width; x++, out += 3) {
            const double u = x + 0.5, v = y + 0.5;
            const double X = m[0] * u + m[1] * v + m[2], Y = m[3] * u + m[4] * v + m[5];
            if (X >= 0.0 && X < width && Y >= 0.0 && Y < height)
                interpolate(out, from, height, width, X, Y);
            else
                memcpy(out, fill, 3);
        }
    }
}

/* Round to 15 decimals, as Pillow does with the coefficients of a rotation. */
static double round_15(double x)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%.15f", x);
    return strtod(digits, NULL);
}

static void rotation(double m[6], int height, int width, double degrees)
{
    static const double pi = 3.14159265358979323846;
    double turn = fmod(degrees, 360.0);
    if (turn < 0.0) turn += 360.0;
    const double angle = -(turn * (pi / 180.0)), cx = width / 2.0, cy = height / 2.0;
    m[0] = m[4] = round_15(cos(angle));
    m[1] = round_15(sin(angle));
    m[3] = round_15(-sin(angle));
    m[2] = m[0] * -cx + m[1] * -cy + cx;
    m[5] = m[3] * -cx + m[4] * -cy + cy;
}

void vj_picture_apply(uint8_t *to, const uint8_t *from, int height, int width, vj_picture_op op, double argument,
                      const uint8_t fill[3], vj_box box)
{
    double m[6] = {1, 0, 0, 0, 1, 0};
    switch (op) {
    case VJ_OP_ROTATE:
        rotation(m, height, width, argument);
        break;
    case VJ_OP_SHEAR_X:
        m[1] = argument;
        break;
    case VJ_OP_SHEAR_Y:
        m[3] = argument;
        break;
    case VJ_OP_TRANSLATE_X:
        m[2] = argument * width;
        break;
    case VJ_OP_TRANSLATE_Y:
        m[5] = argument * height;
        break;
    default:
        vj_picture_colour(to, from, height, width, op, argument, box);
        return;
    }
    transform(to, from, height, width, m, fill, box);
}

vj_box vj_picture_needs(vj_picture_op op, vj_box box, int height, int width)
{
    switch (op) {
    case VJ_OP_INVERT:
    case VJ_OP_POSTERIZE:
    case VJ_OP_SOLARIZE:
    case VJ_OP_SOLARIZE_ADD:
    case VJ_OP_COLOR:
    case VJ_OP_BRIGHTNESS:
        return box;
    case VJ_OP_SHARPNESS: { /* neighbours */
        const int top = box.top > 0 ? box.top - 1 : 0, left = box.left > 0 ? box.left - 1 : 0;
        const int bottom = box.top + box.height < height ? box.top + box.height + 1 : height;
        const int right = box.left + box.width < width ? box.left + box.width + 1 : width;
        return (vj_box){top, left, bottom - top, right - left};
    }
    default: /* histograms, a mean, or other places */
        return (vj_box){0, 0, height, width};
    }
}
