/* Operations that change colours: tables of 256 values for each channel, and the enhancers that need neighbours. */
#include <stdbool.h>
#include <string.h>

#include "base/status.h"
#include "feed/picture.h"

typedef uint8_t table[3][256];

/* A row of the box. */
static void map(uint8_t *to, const uint8_t *from, int64_t pixels, const table t)
{
    for (int64_t i = 0; i < 3 * pixels; i += 3)
        for (int c = 0; c < 3; c++) to[i + c] = t[c][from[i + c]];
}

static void identity(uint8_t t[256])
{
    for (int v = 0; v < 256; v++) t[v] = (uint8_t)v;
}

static uint8_t clamp(int v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* ------------------------------------------------------------------------------------------------ histograms */

static void count(int64_t h[3][256], const uint8_t *from, int64_t pixels)
{
    memset(h, 0, 3 * 256 * sizeof h[0][0]);
    for (int64_t i = 0; i < 3 * pixels; i += 3)
        for (int c = 0; c < 3; c++) h[c][from[i + c]]++;
}

static void stretch(uint8_t t[256], const int64_t h[256])
{
    int lo = 0, hi = 255;
    while (lo < 255 && h[lo] == 0) lo++;
    while (hi > 0 && h[hi] == 0) hi--;
    identity(t);
    if (hi <= lo) return;
    const double scale = 255.0 / (hi - lo), offset = -lo * scale;
    for (int v = 0; v < 256; v++) t[v] = clamp((int)(v * scale + offset));
}

static void flatten(uint8_t t[256], const int64_t h[256])
{
    int64_t sum = 0, last = 0, used = 0;
    for (int v = 0; v < 256; v++) {
        sum += h[v];
        used += h[v] > 0;
        if (h[v] > 0) last = h[v];
    }
    const int64_t step = (sum - last) / 255;
    identity(t);
    if (used <= 1 || step == 0) return;
    int64_t n = step / 2;
    for (int v = 0; v < 256; v++) {
        t[v] = (uint8_t)(n / step < 255 ? n / step : 255);
        n += h[v];
    }
}

/* ------------------------------------------------------------------------------------------------ enhancers */

/*
 * Interpolate between the plain value d (factor 0) and v (factor 1), or extrapolate beyond them, in float and cut to a
 * byte, as Pillow does.
 */
static inline uint8_t blend(int d, int v, float factor)
{
    const float mixed = (float)d + factor * (float)(v - d);
    if (mixed <= 0.0F) return 0;
    return mixed >= 255.0F ? 255 : (uint8_t)mixed;
}

static inline int grey(const uint8_t rgb[3])
{
    return (19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + 32768) >> 16;
}

static int mean_grey(const uint8_t *from, int64_t pixels)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < pixels; i++) sum += grey(from + 3 * i);
    return (int)((double)sum / (double)pixels + 0.5);
}

static void enhance_colour(uint8_t *to, const uint8_t *from, int64_t pixels, float factor)
{
    for (int64_t i = 0; i < 3 * pixels; i += 3) {
        const int d = grey(from + i);
        for (int c = 0; c < 3; c++) to[i + c] = blend(d, from[i + c], factor);
    }
}

/* The plain value is the mean of 3 x 3 values, the centre counting five times; at the border it is the value itself. */
static void enhance_sharpness(uint8_t *to, const uint8_t *from, int height, int width, float factor, vj_box box)
{
    const int64_t line = 3 * (int64_t)width, end = 3 * (int64_t)(box.left + box.width);
    const bool tiny = height < 3 || width < 3;
    for (int y = box.top; y < box.top + box.height; y++) {
        const uint8_t *row = from + y * line, *above = row - line, *below = row + line;
        uint8_t *out = to + y * line;
        if (tiny || y == 0 || y == height - 1) {
            memcpy(out + 3 * (int64_t)box.left, row + 3 * (int64_t)box.left, 3 * (size_t)box.width);
            continue;
        }
        if (box.left == 0) memcpy(out, row, 3);
        if (end == line) memcpy(out + line - 3, row + line - 3, 3);
        for (int64_t x = box.left > 0 ? 3 * (int64_t)box.left : 3; x < (end < line ? end : line - 3); x++) {
            const int sum = above[x - 3] + above[x] + above[x + 3] + row[x - 3] + 5 * row[x] + row[x + 3] +
                            below[x - 3] + below[x] + below[x + 3];
            out[x] = blend((sum + 6) / 13, row[x], factor); /* sum / 13, rounded: it is never halfway */
        }
    }
}

/* ------------------------------------------------------------------------------------------------ all of them */

static uint8_t mapped(vj_picture_op op, double argument, int v, int d)
{
    const int n = (int)argument;
    switch (op) {
    case VJ_OP_INVERT:
        return (uint8_t)(255 - v);
    case VJ_OP_POSTERIZE:
        return (uint8_t)(n >= 8 ? v : v & (256 - (1 << (8 - n))));
    case VJ_OP_SOLARIZE:
        return (uint8_t)(v < n ? v : 255 - v);
    case VJ_OP_SOLARIZE_ADD:
        return v < 128 ? clamp(v + n) : (uint8_t)v;
    default: /* contrast, brightness */
        return blend(d, v, (float)argument);
    }
}

static void make_table(table t, const uint8_t *from, int64_t pixels, vj_picture_op op, double argument)
{
    int64_t h[3][256];
    if (op == VJ_OP_AUTOCONTRAST || op == VJ_OP_EQUALIZE) {
        count(h, from, pixels);
        for (int c = 0; c < 3; c++) (op == VJ_OP_EQUALIZE ? flatten : stretch)(t[c], h[c]);
        return;
    }
    const int d = op == VJ_OP_CONTRAST ? mean_grey(from, pixels) : 0;
    for (int v = 0; v < 256; v++) t[0][v] = t[1][v] = t[2][v] = mapped(op, argument, v, d);
}

void vj_picture_colour(uint8_t *to, const uint8_t *from, int height, int width, vj_picture_op op, double argument,
                       vj_box box)
{
    table t;
    if (op == VJ_OP_SHARPNESS) {
        enhance_sharpness(to, from, height, width, (float)argument, box);
        return;
    }
    if (op != VJ_OP_COLOR) make_table(t, from, (int64_t)height * width, op, argument);
    for (int y = box.top; y < box.top + box.height; y++) {
        const int64_t at = 3 * ((int64_t)y * width + box.left);
        if (op == VJ_OP_COLOR)
            enhance_colour(to + at, from + at, box.width, (float)argument);
        else
            map(to + at, from + at, box.width, (const uint8_t(*)[256])t);
    }
}

const char *vj_picture_op_name(vj_picture_op op)
{
    static const char *const names[VJ_PICTURE_OPS] = {
        "autocontrast", "equalize",   "invert",    "rotate",  "posterize", "solarize",    "solarize_add", "color",
        "contrast",     "brightness", "sharpness", "shear_x", "shear_y",   "translate_x", "translate_y"};
    VJ_ASSERT(op >= 0 && op < VJ_PICTURE_OPS);
    return names[op];
}
