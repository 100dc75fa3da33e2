/* Resizing: with antialias as Pillow, without as OpenCV; both in fixed point, one axis after the other. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/status.h"
#include "feed/picture.h"

/* ------------------------------------------------------------------------------------------------ with antialias */

enum { BITS = 22 }; /* of weights behind the point; a sum of 256 times the weights fits in 32 bits */

/* One axis: output position i is the sum of count[i] inputs from first[i] on, times weight[i * taps ...]. */
typedef struct {
    int n, taps; /* outputs; inputs of one output, at most */
    int32_t *first, *count, *weight;
} axis;

static double filter_support(vj_filter filter)
{
    return filter == VJ_FILTER_BILINEAR ? 1.0 : 2.0;
}

static double filter_weight(vj_filter filter, double x)
{
    x = fabs(x);
    if (filter == VJ_FILTER_BILINEAR) return x < 1.0 ? 1.0 - x : 0.0;
    const double a = -0.5; /* Keys 1981 */
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * a : 0.0;
}

static int max_taps(vj_filter filter, int in, int out)
{
    const double scale = (double)in / out;
    return (int)ceil(filter_support(filter) * (scale < 1.0 ? 1.0 : scale)) * 2 + 1;
}

static int64_t axis_bytes(vj_filter filter, int in, int out, int n)
{
    return (int64_t)n * (2 + max_taps(filter, in, out)) * (int64_t)sizeof(int32_t);
}

/* Outputs [start, start + n) of `out`. Returns the memory behind the axis. */
static int32_t *axis_init(axis *a, vj_filter filter, int in, int out, int start, int n, int32_t *memory)
{
    const double scale = (double)in / out, wide = scale < 1.0 ? 1.0 : scale, support = filter_support(filter) * wide;
    *a = (axis){.n = n, .taps = max_taps(filter, in, out), .first = memory, .count = memory + n};
    a->weight = memory + 2 * (int64_t)n;
    for (int i = 0; i < n; i++) {
        const double centre = (start + i + 0.5) * scale, inverse = 1.0 / wide;
        int from = (int)(centre - support + 0.5), to = (int)(centre + support + 0.5);
        int32_t *weight = a->weight + (int64_t)i * a->taps;
        double sum = 0.0;
        if (from < 0) from = 0;
        if (to > in) to = in;
        for (int k = from; k < to; k++) sum += filter_weight(filter, (k - centre + 0.5) * inverse);
        for (int k = from; k < to; k++) {
            const double w = filter_weight(filter, (k - centre + 0.5) * inverse);
            const double scaled = (sum != 0.0 ? w / sum : w) * (1 << BITS);
            weight[k - from] = (int32_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
        }
        a->first[i] = from;
        a->count[i] = to - from;
    }
    return a->weight + (int64_t)n * a->taps;
}

static inline uint8_t finish(int32_t sum)
{
    const int32_t v = sum >> BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void across(uint8_t *to, const uint8_t *row, const axis *a)
{
    for (int i = 0; i < a->n; i++) {
        const int32_t *weight = a->weight + (int64_t)i * a->taps;
        const uint8_t *from = row + 3 * (int64_t)a->first[i];
        int32_t sum[3] = {1 << (BITS - 1), 1 << (BITS - 1), 1 << (BITS - 1)};
        for (int k = 0; k < a->count[i]; k++)
            for (int c = 0; c < 3; c++) sum[c] += from[3 * k + c] * weight[k];
        for (int c = 0; c < 3; c++) to[3 * i + c] = finish(sum[c]);
    }
}

static void down(uint8_t *to, const uint8_t *from, int64_t line, const axis *a, int32_t *sum)
{
    for (int i = 0; i < a->n; i++, to += line) {
        const int32_t *weight = a->weight + (int64_t)i * a->taps;
        for (int64_t x = 0; x < line; x++) sum[x] = 1 << (BITS - 1);
        for (int k = 0; k < a->count[i]; k++) {
            const uint8_t *row = from + (a->first[i] + k) * line;
            const int32_t w = weight[k];
            for (int64_t x = 0; x < line; x++) sum[x] += row[x] * w;
        }
        for (int64_t x = 0; x < line; x++) to[x] = finish(sum[x]);
    }
}

int64_t vj_picture_resize_scratch(const vj_resize *r)
{
    return axis_bytes(r->filter, r->from.width, r->size_width, r->window.width) +
           axis_bytes(r->filter, r->from.height, r->size_height, r->window.height) +
           3 * (int64_t)r->window.width * (r->from.height + (int64_t)sizeof(int32_t));
}

void vj_picture_resize(uint8_t *to, const uint8_t *picture, int width, const vj_resize *r, void *scratch)
{
    const vj_box *box = &r->from, *window = &r->window;
    const int64_t line = 3 * (int64_t)window->width;
    const uint8_t *corner = picture + 3 * ((int64_t)box->top * width + box->left);
    axis columns, rows;
    VJ_ASSERT(box->height >= 1 && box->width >= 1 && r->size_height >= 1 && r->size_width >= 1);
    int32_t *sum = axis_init(&columns, r->filter, box->width, r->size_width, window->left, window->width, scratch);
    sum = axis_init(&rows, r->filter, box->height, r->size_height, window->top, window->height, sum);
    uint8_t *middle = (uint8_t *)(sum + line); /* [box->height, window->width, 3], rows that are not needed left out */
    const bool same_height = r->size_height == box->height;
    const int first = same_height ? window->top : rows.first[0];
    const int last = same_height ? window->top + window->height
                                 : rows.first[rows.n - 1] + rows.count[rows.n - 1]; /* ends ascend as the centres do */
    for (int y = first; y < last; y++) {
        uint8_t *out = same_height ? to + (y - first) * line : middle + y * line;
        const uint8_t *row = corner + 3 * (int64_t)y * width;
        if (r->size_width == box->width)
            memcpy(out, row + 3 * (int64_t)window->left, (size_t)line);
        else
            across(out, row, &columns);
    }
    if (!same_height) down(to, middle, line, &rows, sum);
}

void vj_picture_mirror(uint8_t *picture, int height, int width)
{
    for (int y = 0; y < height; y++) {
        uint8_t *row = picture + 3 * (int64_t)y * width, pixel[3];
        for (int a = 0, b = width - 1; a < b; a++, b--) {
            memcpy(pixel, row + 3 * (int64_t)a, 3);
            memcpy(row + 3 * (int64_t)a, row + 3 * (int64_t)b, 3);
            memcpy(row + 3 * (int64_t)b, pixel, 3);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ without */

enum { ONE = 2048 }; /* weights in OpenCV's fixed point */

/*
 * Find the two neighbours among `in` inputs between which output i of `out` lies: return the first one, and the weight
 * of the second.
 */
static int place(int i, int in, int out, int *weight)
{
    const float at = (float)((i + 0.5) * ((double)in / out) - 0.5);
    int low = (int)floorf(at);
    float part = at - (float)low;
    if (low < 0) low = 0, part = 0.0F;
    if (low >= in - 1) low = in - 1, part = 0.0F;
    *weight = (int)lrintf(part * ONE);
    return low;
}

void vj_picture_resize_plain(uint8_t *to, const uint8_t *picture, int height, int width, int size_height,
                             int size_width, vj_box window, void *scratch)
{
    int32_t *low = scratch, *weight = low + window.width, *step = weight + window.width;
    for (int x = 0; x < window.width; x++) {
        low[x] = place(window.left + x, width, size_width, &weight[x]);
        step[x] = low[x] + 1 < width ? 3 : 0;
    }
    for (int y = 0; y < window.height; y++) {
        int below;
        const int row = place(window.top + y, height, size_height, &below);
        const uint8_t *a = picture + 3 * (int64_t)row * width, *b = row + 1 < height ? a + 3 * (int64_t)width : a;
        for (int x = 0; x < window.width; x++)
            for (int c = 0; c < 3; c++, to++) {
                const int64_t i = 3 * (int64_t)low[x] + c, j = i + step[x];
                const int top = a[i] * (ONE - weight[x]) + a[j] * weight[x];
                const int bottom = b[i] * (ONE - weight[x]) + b[j] * weight[x];
                *to = (uint8_t)(((((ONE - below) * (top >> 4)) >> 16) + ((below * (bottom >> 4)) >> 16) + 2) >> 2);
            }
    }
}
