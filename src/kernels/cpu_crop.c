/* Frames to pixels (docs/method.md, section 10.3): one pass that crops, resizes, mirrors and normalises. */
#include "kernels/cpu_device.h"

/* Where one of `size` output positions is among `length` source positions: its two neighbours and the weight of the
 * second.
 */
typedef struct {
    int low, high;
    float weight;
} tap;

static tap tap_at(int i, int size, int length)
{
    double at = (i + 0.5) * length / size - 0.5;
    if (at < 0) at = 0;
    int low = (int)at;
    if (low > length - 1) low = length - 1;
    return (tap){low, low + 1 < length ? low + 1 : low, (float)(at - low)};
}

/* The normalisation of each channel: (x - offset) * gain. */
typedef struct {
    float offset[3], gain[3];
} affine;

/* Columns are processed in tiles, so that their taps and rows fit on the stack whatever the size. */
enum { TILE = 256 };

/* A row of the source, interpolated at the tile's columns, by channel. */
typedef struct {
    int source; /* its number; -1: none */
    float value[3][TILE];
} wide_row;

/* Return a row of the source interpolated at the columns. Rows of the output share rows of the source; each is
 * interpolated once. */
static const wide_row *row_at(wide_row *row, const uint8_t *frame, int64_t line, int source, const tap *taps,
                              int columns)
{
    if (row->source == source) return row;
    const uint8_t *from = frame + source * line;
    row->source = source;
    for (int x = 0; x < columns; x++) {
        const tap *t = &taps[x];
        for (int c = 0; c < 3; c++) {
            const float a = from[t->low + c], b = from[t->high + c];
            row->value[c][x] = a + t->weight * (b - a);
        }
    }
    return row;
}

static void blend_rows(float *out, int64_t plane, const wide_row *top, const wide_row *bottom, float weight,
                       int columns, const affine *normal)
{
    for (int c = 0; c < 3; c++) {
        const float *a = top->value[c], *b = bottom->value[c], offset = normal->offset[c], gain = normal->gain[c];
        float *to = out + c * plane;
#pragma omp simd
        for (int x = 0; x < columns; x++) to[x] = (a[x] + weight * (b[x] - a[x]) - offset) * gain;
    }
}

/* The same result for a box of the output's size, without interpolation. */
static void copy_tile(float *out, int64_t plane, const uint8_t *row, const tap *taps, int columns, const affine *normal)
{
    for (int x = 0; x < columns; x++)
        for (int c = 0; c < 3; c++)
            out[c * plane + x] = ((float)row[taps[x].low + c] - normal->offset[c]) * normal->gain[c];
}

void vj_host_crop(float *out, const uint8_t *frames, const vj_clip_view *view, int T, int size, const double mean[3],
                  const double std[3])
{
    const int height = view->height, width = view->width;
    const vj_crop *crop = &view->crop;
    frames += view->at;
    VJ_ASSERT(crop->top >= 0 && crop->left >= 0 && crop->height >= 1 && crop->width >= 1 &&
              crop->top + crop->height <= height && crop->left + crop->width <= width);
    affine normal;
    for (int c = 0; c < 3; c++) {
        normal.offset[c] = (float)(255.0 * mean[c]);
        normal.gain[c] = (float)(1.0 / (255.0 * std[c]));
    }
    int64_t line = 3 * (int64_t)width, plane = (int64_t)T * size * size;
    int identity = crop->height == size && crop->width == size;
    for (int first = 0; first < size; first += TILE) {
        tap taps[TILE];
        int columns = size - first < TILE ? size - first : TILE;
        for (int x = 0; x < columns; x++) {
            tap t = tap_at(crop->flip ? size - 1 - (first + x) : first + x, size, crop->width);
            taps[x] = (tap){3 * (crop->left + t.low), 3 * (crop->left + t.high), t.weight};
        }
        for (int f = 0; f < T; f++) {
            wide_row rows[2] = {{.source = -1}, {.source = -1}}; /* for even and odd row numbers */
            for (int y = 0; y < size; y++) {
                float *to = out + ((int64_t)f * size + y) * size + first;
                tap t = tap_at(y, size, crop->height);
                const uint8_t *frame = frames + ((int64_t)f * height + crop->top) * line;
                if (identity)
                    copy_tile(to, plane, frame + t.low * line, taps, columns, &normal);
                else
                    blend_rows(to, plane, row_at(&rows[t.low % 2], frame, line, t.low, taps, columns),
                               row_at(&rows[t.high % 2], frame, line, t.high, taps, columns), t.weight, columns,
                               &normal);
            }
        }
    }
}

void vj_cpu_crop_clips(vj_backend *be, float *pixels, const uint8_t *frames, const vj_clip_view *views, int64_t B,
                       int T, int size, const double *mean, const double *std)
{
    const int64_t clip = (int64_t)3 * T * size * size;
#pragma omp parallel for num_threads(be->threads) schedule(dynamic)
    for (int64_t b = 0; b < B; b++) vj_host_crop(pixels + b * clip, frames, &views[b], T, size, mean, std);
}
