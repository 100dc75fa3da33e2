/*
 * Shows tokens as colours: the first three principal components of each token as red, green and blue, next to the
 * frames (as in Oquab et al. 2023, fig. 1, but without masking the background).
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/ckpt.h"
#include "clips/clips.h"
#include "feed/crop.h"
#include "h5/h5.h"
#include "parallel/parallel.h"
#include "report/inside.h"
#include "report/spectra.h"
#include "sheet/canvas.h"
#include "video/still.h"

enum { CLIPS = 4, COLOURS = 3, CELL = 112, GAP = 4, WIDE = 960, MAX_TOKENS = 1 << 16, WHY = 1024 };

/* The cells of a clip in time and space. Tokens that belong to no cell come before those of cells. */
typedef struct {
    int t, y, x;
    bool guessed;
} grid;

typedef struct {
    const vj_spectrum_of *spectrum;
    int64_t clips, tokens;
    float *values;    /* [clips, tokens, COLOURS], owned */
    int64_t *numbers; /* [clips] in their store, owned; NULL: not known */
    uint64_t *sums;   /* [clips] checksums, owned; NULL: not known */
    grid grid;
    vj_clips *store; /* the clips themselves; NULL: not given. Owned */
} tokens;

/* ------------------------------------------------------------------------------------------------ grid */

static bool fits(const grid *g, int64_t n)
{
    return g->t > 0 && g->y > 0 && g->x > 0 && (int64_t)g->t * g->y * g->x <= n;
}

static void grid_of_config(grid *g, const char *text, const char *path)
{
    vj_config *c = vj_report_memory(1, sizeof *c);
    vj_config_defaults(c);
    if (vj_config_parse(c, path, text) == VJ_OK && vj_config_check(c) == VJ_OK) {
        g->t = (int)(c->data.frames / c->model.tubelet);
        g->y = g->x = (int)(c->data.crop / c->model.patch);
    }
    free(c);
}

/* Read the grid from the feature file or checkpoint that the representation was made from, if it still exists. */
static void grid_of_origin(grid *g, const char *origin)
{
    hid_t file;
    char *text;
    if (!vj_h5_is_file(origin) || (file = vj_h5_open_file(origin)) < 0) return;
    if (H5Aexists(file, "config") > 0 && vj_h5_get_text(file, origin, "config", &text) == VJ_OK) {
        grid_of_config(g, text, origin);
        free(text);
    }
    H5Fclose(file); /* only read */
}

/* Guess the grid from n = t s^2 with the largest t that is at most s: 1568 tokens are 8 x 14 x 14. */
static grid guess_grid(int64_t n)
{
    grid g = {.guessed = true};
    for (int s = 1; (int64_t)s * s <= n; s++)
        if (n % ((int64_t)s * s) == 0 && n / ((int64_t)s * s) <= s) {
            g.y = g.x = s;
            g.t = (int)(n / ((int64_t)s * s));
            break;
        }
    return g;
}

static bool find_grid(tokens *k)
{
    const uint64_t *given = k->spectrum->grid, limit = MAX_TOKENS;
    if (given[0] <= limit && given[1] <= limit && given[2] <= limit)
        k->grid = (grid){(int)given[0], (int)given[1], (int)given[2], false};
    if (fits(&k->grid, k->tokens)) return true;
    grid_of_origin(&k->grid, k->spectrum->origin); /* files from before the grid was an attribute */
    if (fits(&k->grid, k->tokens)) return true;
    k->grid = guess_grid(k->tokens);
    return fits(&k->grid, k->tokens);
}

/* ------------------------------------------------------------------------------------------------ reading */

static vj_status read_numbers(tokens *k, hid_t file)
{
    const hsize_t start = 0, count = (hsize_t)k->clips;
    const char *const names[] = {"clip", "clip_xxh3"};
    void *to[2] = {k->numbers = vj_report_memory(k->clips, sizeof *k->numbers),
                   k->sums = vj_report_memory(k->clips, sizeof *k->sums)};
    for (int i = 0; i < 2; i++) {
        if (H5Lexists(file, names[i], H5P_DEFAULT) <= 0) continue;
        const hid_t dataset = H5Dopen2(file, names[i], H5P_DEFAULT), space = H5Dget_space(dataset);
        const hid_t memory = H5Screate_simple(1, &count, NULL);
        herr_t failed = H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL);
        if (failed >= 0)
            failed = H5Dread(dataset, i == 0 ? H5T_NATIVE_INT64 : H5T_NATIVE_UINT64, memory, space, H5P_DEFAULT, to[i]);
        H5Sclose(memory); /* only read */
        H5Sclose(space);
        H5Dclose(dataset);
        if (failed < 0) return vj_raise_h5("%s: /%s cannot be read", k->spectrum->path, names[i]);
    }
    return VJ_OK;
}

static vj_status read_tokens(tokens *k, hid_t file)
{
    const vj_spectrum_of *s = k->spectrum;
    char name[VJ_PATH + 32];
    k->tokens = (int64_t)s->tokens;
    k->clips = s->rows / s->tokens < CLIPS ? (int64_t)(s->rows / s->tokens) : CLIPS;
    if (k->tokens > MAX_TOKENS || k->clips < 1)
        return vj_raise(VJ_ERR_FORMAT, "%s has %lld clips of %lld tokens", s->name, (long long)k->clips,
                        (long long)k->tokens);
    snprintf(name, sizeof name, "%s/projections", s->group);
    k->values = vj_h5_corner_read(file, s->path, name, (const int64_t[]){k->clips, k->tokens, COLOURS});
    if (!k->values) return VJ_ERR_FORMAT;
    return read_numbers(k, file);
}

/* Find the store among the inputs that has these clips, with the same numbers and checksums. */
static void find_store(tokens *k, const vj_inputs *all)
{
    for (int i = 0; i < all->count && !k->store; i++) {
        vj_strings one;
        if (!vj_page_has(all->paths[i], "index.h5")) continue;
        bool same = vj_strings_one(&one, all->paths[i]) == VJ_OK && vj_clips_open(&k->store, &one, VJ_ALONE) == VJ_OK;
        for (int64_t c = 0; c < k->clips && same; c++)
            same = k->numbers[c] >= 0 && k->numbers[c] < vj_clips_count(k->store) &&
                   vj_clips_checksum(k->store, k->numbers[c]) == k->sums[c] && vj_clips_frames(k->store) >= k->grid.t;
        if (!same) vj_clips_close(k->store);
        if (!same) k->store = NULL;
    }
}

/* ------------------------------------------------------------------------------------------------ drawing */

static int ascending(const void *a, const void *b)
{
    const float *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Return the number of tokens before those of the grid. */
static int64_t before_grid(const tokens *k)
{
    return k->tokens - (int64_t)k->grid.t * k->grid.y * k->grid.x;
}

/* Find the values at 2 % and 98 % of a component over all shown clips, which become dark and bright. */
static void find_range(const tokens *k, int component, float *low, float *high)
{
    int64_t n = 0;
    float *sorted = vj_report_memory(k->clips * k->tokens, sizeof *sorted);
    for (int64_t clip = 0; clip < k->clips; clip++)
        for (int64_t i = before_grid(k); i < k->tokens; i++) {
            const float value = k->values[(clip * k->tokens + i) * COLOURS + component];
            sorted[n++] = isfinite(value) ? value : 0.0f;
        }
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    *low = sorted[(n - 1) * 2 / 100];
    *high = sorted[(n - 1) * 98 / 100];
    free(sorted);
}

static void draw_tokens(const tokens *k, vj_canvas *canvas, int64_t clip, int top, int left)
{
    const grid *g = &k->grid;
    float low[COLOURS], high[COLOURS];
    for (int c = 0; c < COLOURS; c++) find_range(k, c, &low[c], &high[c]);
    for (int t = 0; t < g->t; t++)
        for (int y = 0; y < g->y; y++)
            for (int x = 0; x < g->x; x++) {
                const int64_t n = before_grid(k) + ((int64_t)t * g->y + y) * g->x + x;
                vj_colour colour;
                for (int c = 0; c < COLOURS; c++) {
                    const float value = k->values[(clip * k->tokens + n) * COLOURS + c];
                    const float share = high[c] > low[c] ? (value - low[c]) / (high[c] - low[c]) : 0.5f;
                    colour.rgb[c] = (uint8_t)(255.0f * (share > 1.0f ? 1.0f : share > 0.0f ? share : 0.0f));
                }
                const int y0 = y * CELL / g->y, y1 = (y + 1) * CELL / g->y;
                const int x0 = x * CELL / g->x, x1 = (x + 1) * CELL / g->x;
                vj_canvas_fill(canvas, top + y0, left + t * (CELL + GAP) + x0, y1 - y0, x1 - x0, colour);
            }
}

/* Draw the first frame of each time step of the grid, cropped as for evaluation: the largest central square. */
static vj_status draw_frames(const tokens *k, vj_canvas *canvas, int64_t clip, int top, int left)
{
    int height, width;
    vj_coder *coder = NULL;
    vj_still_scaler *scaler = NULL;
    const int64_t number = k->numbers[clip];
    uint8_t *frames = vj_report_memory(vj_clips_largest_bytes(k->store), 1), cell[CELL * CELL * 3];
    vj_clips_geometry(k->store, number, &height, &width);
    const vj_crop crop = vj_crop_centre(height, width);
    uint8_t *square = vj_report_memory((int64_t)crop.height * crop.width, 3);
    vj_status status = vj_coder_create(&coder);
    if (status == VJ_OK) status = vj_clips_read(k->store, number, coder, frames);
    if (status == VJ_OK) status = vj_still_scaler_create(&scaler);
    for (int t = 0; t < k->grid.t && status == VJ_OK; t++) {
        const int64_t frame = (int64_t)t * vj_clips_frames(k->store) / k->grid.t;
        for (int y = 0; y < crop.height; y++)
            memcpy(square + (size_t)y * (size_t)crop.width * 3,
                   frames + ((frame * height + crop.top + y) * width + crop.left) * 3, (size_t)crop.width * 3);
        status = vj_still_scale(scaler, square, crop.height, crop.width, cell, CELL, CELL);
        if (status == VJ_OK) vj_canvas_put(canvas, top, left + t * (CELL + GAP), cell, CELL, CELL);
    }
    vj_still_scaler_destroy(scaler);
    vj_coder_destroy(coder);
    free(frames);
    free(square);
    return status;
}

/* Note values that are not finite, which are drawn black. */
static void note_gaps(vj_document *document, const tokens *k)
{
    int64_t gaps = 0;
    for (int64_t i = 0; i < k->clips * k->tokens * COLOURS; i++) gaps += !isfinite(k->values[i]);
    if (gaps > 0)
        vj_document_note(document, "%s: projections of %s that are not finite, and are drawn black: %" PRId64 ".",
                         k->spectrum->path, k->spectrum->name, gaps);
}

static vj_status draw(vj_document *document, const tokens *k)
{
    const vj_colour paper = {{128, 128, 128}};
    const int rows = k->store ? 2 : 1, high = rows * (CELL + GAP) + 2 * GAP, wide = k->grid.t * (CELL + GAP) + 2 * GAP;
    const int fit = WIDE / wide > 1 ? WIDE / wide : 1, across = k->clips < fit ? (int)k->clips : fit;
    const int down = ((int)k->clips + across - 1) / across;
    vj_canvas canvas = {.pixels = NULL};
    char caption[512], name[256];
    bool too_large;
    vj_status status = vj_canvas_create(&canvas, down * high - 3 * GAP, across * wide - 3 * GAP, paper);
    for (int64_t c = 0; c < k->clips && status == VJ_OK; c++) {
        const int top = (int)c / across * high, left = (int)c % across * wide;
        if (k->store) status = draw_frames(k, &canvas, c, top, left);
        draw_tokens(k, &canvas, c, top + (rows - 1) * (CELL + GAP), left);
    }
    snprintf(name, sizeof name, "tokens-%s", k->spectrum->name);
    snprintf(caption, sizeof caption,
             "%s: the first three principal components of the tokens as red, green and blue, %d x %d x %d tokens a "
             "clip%s. Equal colours: the encoder finds these places alike.%s",
             k->spectrum->name, k->grid.t, k->grid.y, k->grid.x, k->grid.guessed ? " (guessed from their number)" : "",
             k->store ? "" : " Give the clip store, too, to see the frames beside.");
    if (status == VJ_OK)
        status = vj_page_picture(document, name, &canvas, 0, &too_large,
                                 "Tokens of clips as coloured squares, from left to right in time.", caption);
    vj_canvas_release(&canvas);
    if (status == VJ_OK) note_gaps(document, k);
    return status;
}

/* ------------------------------------------------------------------------------------------------ the picture */

static vj_status read_file(tokens *k)
{
    hid_t file;
    vj_status status;
    VJ_TRY(vj_h5_open(&file, k->spectrum->path, "vjepa-analysis", 1));
    H5E_BEGIN_TRY
    {
        status = read_tokens(k, file);
    }
    H5E_END_TRY
    H5Fclose(file); /* only read */
    return status;
}

void vj_page_tokens(vj_document *document, const vj_spectrum_of *spectrum, const vj_inputs *all)
{
    tokens k = {.spectrum = spectrum};
    char why[WHY];
    vj_status_divert(why, sizeof why);
    vj_status status = read_file(&k);
    if (status == VJ_OK) {
        const bool found = find_grid(&k);
        find_store(&k, all);
        vj_status_divert(why, sizeof why); /* it does not matter if the origin or a store cannot be read */
        status = found ? draw(document, &k)
                       : vj_raise(VJ_ERR_FORMAT, "%lld tokens make no grid of squares", (long long)k.tokens);
    }
    vj_status_divert(NULL, 0);
    if (status != VJ_OK) vj_document_note(document, "No picture of the tokens of %s: %s.", spectrum->name, why);
    free(k.values);
    free(k.numbers);
    free(k.sums);
    vj_clips_close(k.store);
}
