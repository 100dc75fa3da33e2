/* Lays out a contact sheet: text on the left, frames from left to right, clips from top to bottom. */
#include "sheet/sheet.h"

#include <stdlib.h>
#include <string.h>

#include "clips/clips.h"
#include "feed/crop.h"
#include "pack/ledger.h"
#include "pack/text.h"
#include "parallel/parallel.h"
#include "sheet/canvas.h"
#include "sheet/seen.h"
#include "sheet/shown.h"
#include "video/still.h"

enum { LETTERS = VJ_SHEET_TEXT / VJ_LETTER };

static const vj_colour paper = {{24, 24, 28}}, ink = {{235, 235, 235}}, pale = {{160, 160, 170}};

typedef struct {
    const char *store;
    vj_clips *clips;
    int64_t first, count;
    int rows, frames, cell; /* cell: width of the widest frame */
    vj_canvas canvas;
    vj_still_scaler *scaler;
    uint8_t *clip, *picture; /* one clip, one frame of the sheet */
    vj_coder *coder;
    vj_clip_origin *origin; /* [count] */
    bool masked;
    vj_seen seen;
    int64_t *samples; /* [count] */
    int view_row;     /* the first row of views */
    vj_shown shown;   /* all zeros: no views */
} sheet;

/* Return the width of a frame at the sheet's frame height, at least one pixel. */
static int shown_width(int height, int width)
{
    const int shown = (int)(((int64_t)width * VJ_SHEET_FRAME + height / 2) / height);
    return shown > 0 ? shown : 1;
}

/* ------------------------------------------------------------------------------------------------ text */

__attribute__((format(printf, 5, 6))) static void write_line(sheet *s, int top, int line, vj_colour colour,
                                                             const char *format, ...)
{
    char text[VJ_PATH];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    text[LETTERS - 1] = '\0'; /* a gap before the frames */
    vj_canvas_text(&s->canvas, top + line * VJ_LINE, VJ_SHEET_MARGIN, text, colour);
}

/* Write a clip's data set, if there are several, and its labels. */
static void write_labels(sheet *s, int top, int line, int64_t clip)
{
    char text[VJ_PATH] = "";
    size_t used = 0;
    if (vj_clips_dataset_count(s->clips) > 1)
        used = (size_t)snprintf(text, sizeof text, "%s ",
                                vj_clips_dataset_name(s->clips, vj_clips_dataset(s->clips, clip)));
    for (int l = 0; l < vj_clips_label_count(s->clips); l++) {
        const int length = snprintf(text + used, sizeof text - used, "%s%s %d", l ? ", " : "",
                                    vj_clips_label_name(s->clips, l), vj_clips_labels(s->clips, clip)[l]);
        if (length > 0 && used + (size_t)length < sizeof text) used += (size_t)length;
    }
    write_line(s, top, line, pale, "%s", text);
}

/* Write a path. If it is too long, write its end, which says most. */
static void write_path(sheet *s, int top, int line, const char *ledger_row)
{
    char path[VJ_MEDIA_PATH];
    vj_ledger_path(ledger_row, path, sizeof path);
    const size_t length = strlen(path), limit = LETTERS - 2;
    if (length > limit)
        write_line(s, top, line, pale, "..%s", path + length - limit + 2);
    else
        write_line(s, top, line, pale, "%s", path);
}

static void write_clip(sheet *s, int top, int64_t k, int height, int width)
{
    const vj_clip_origin *origin = &s->origin[k];
    write_line(s, top, 0, ink, "clip %lld", (long long)(s->first + k));
    write_path(s, top, 1, origin->ledger_row);
    write_labels(s, top, 2, s->first + k);
    write_line(s, top, 3, pale, "window %lld at %.2f s", (long long)origin->window, origin->pts_s);
    write_line(s, top, 4, pale, "%d x %d", width, height);
}

static void write_mask(sheet *s, int top, int mask)
{
    static const char *const kinds[] = {
        [VJ_MASK_MULTIBLOCK] = "multiblock", [VJ_MASK_CAUSAL] = "causal", [VJ_MASK_TUBE] = "tube"};
    const vj_mask_settings *m = &s->seen.config->mask.generator[mask];
    const vj_crop *crop = &s->seen.crop;
    write_line(s, top, 0, ink, "  mask %d: %s", mask, kinds[m->kind]);
    if (m->kind == VJ_MASK_TUBE)
        write_line(s, top, 1, pale, "  %.3g %% masked", 100 * m->ratio);
    else
        write_line(s, top, 1, pale, "  %d blocks of %.3g %%", m->blocks,
                   50 * (m->spatial_scale[0] + m->spatial_scale[1]));
    write_line(s, top, 2, pale, "  context %d of %d", s->seen.lists.contexts[mask], s->seen.lists.tokens);
    write_line(s, top, 3, pale, "  sample %lld", (long long)s->seen.sample);
    write_line(s, top, 4, pale, "  %d x %d at %d, %d%s", crop->width, crop->height, crop->left, crop->top,
               crop->flip ? " <->" : "");
}

/* Write the words of a text, in as many lines as fit beside a row. */
static void write_words(sheet *s, int top, const char *text)
{
    char line[LETTERS - 2];
    for (int at = 0; *text && at < VJ_SHEET_FRAME / VJ_LINE; at++) {
        size_t length = strlen(text);
        if (length >= sizeof line)
            for (length = sizeof line - 1; length > 1 && text[length] != ' ';) length--;
        snprintf(line, sizeof line, "%.*s", (int)length, text);
        write_line(s, top, at, at == 0 ? ink : pale, "  %s", line);
        text += length;
        text += strspn(text, " ");
    }
}

static void write_head(sheet *s)
{
    char text[2 * VJ_PATH];
    snprintf(text, sizeof text, "%s: clips %lld to %lld of %lld, %d frames each", s->store, (long long)s->first,
             (long long)(s->first + s->count - 1), (long long)vj_clips_count(s->clips), s->frames);
    vj_canvas_text(&s->canvas, VJ_SHEET_MARGIN, VJ_SHEET_MARGIN, text, ink);
    if (s->masked)
        vj_canvas_text(&s->canvas, VJ_SHEET_MARGIN + VJ_LINE, VJ_SHEET_MARGIN,
                       "bright: context, hatched: to predict, black: left out", pale);
    else if (s->shown.rows > 0)
        vj_canvas_text(&s->canvas, VJ_SHEET_MARGIN + VJ_LINE, VJ_SHEET_MARGIN,
                       "views: of three epochs of training, then of testing", pale);
}

/* ------------------------------------------------------------------------------------------------ frames */

/* Draw a row of frames u8 [T, height, width, 3], with a mask unless `mask` is negative. */
static vj_status draw_frames(sheet *s, int top, const uint8_t *frames, int height, int width, int mask)
{
    const int shown = shown_width(height, width);
    for (int t = 0; t < s->frames; t++) {
        const uint8_t *frame = frames + (size_t)t * (size_t)height * (size_t)width * 3;
        VJ_TRY(vj_still_scale(s->scaler, frame, height, width, s->picture, VJ_SHEET_FRAME, shown));
        if (mask >= 0) vj_seen_mask(&s->seen, mask, t, s->picture, shown);
        vj_canvas_put(&s->canvas, top, vj_sheet_left(t, s->cell), s->picture, VJ_SHEET_FRAME, shown);
    }
    return VJ_OK;
}

static vj_status draw_masks(sheet *s, int64_t k, int height, int width)
{
    if (s->samples[k] < 0) {
        write_line(s, vj_sheet_top(k, 1, s->rows), 0, pale, "  training does not");
        write_line(s, vj_sheet_top(k, 1, s->rows), 1, pale, "  see it soon");
        return VJ_OK;
    }
    VJ_TRY(vj_seen_prepare(&s->seen, s->samples[k], s->clip, height, width));
    for (int mask = 0; mask < s->view_row - 1; mask++) {
        const int below = vj_sheet_top(k, mask + 1, s->rows);
        write_mask(s, below, mask);
        VJ_TRY(draw_frames(s, below, s->seen.rgb, s->seen.side, s->seen.side, mask));
    }
    return VJ_OK;
}

static vj_status draw_views(sheet *s, int64_t k, int height, int width)
{
    for (int row = 0; row < s->shown.rows; row++) {
        const int below = vj_sheet_top(k, s->view_row + row, s->rows);
        vj_shown_make(&s->shown, row, s->first + k, s->clip, height, width);
        write_words(s, below, s->shown.text);
        VJ_TRY(draw_frames(s, below, s->shown.rgb, s->shown.test.side, s->shown.test.side, -1));
    }
    return VJ_OK;
}

static vj_status draw_clip(sheet *s, int64_t k)
{
    const int64_t clip = s->first + k;
    const int top = vj_sheet_top(k, 0, s->rows);
    int height, width;
    vj_clips_geometry(s->clips, clip, &height, &width);
    VJ_TRY(vj_clips_read(s->clips, clip, s->coder, s->clip));
    write_clip(s, top, k, height, width);
    VJ_TRY(draw_frames(s, top, s->clip, height, width, -1));
    if (s->masked) VJ_TRY(draw_masks(s, k, height, width));
    return draw_views(s, k, height, width);
}

/* ------------------------------------------------------------------------------------------------ the sheet */

static vj_status open_store(sheet *s, const vj_config *masks, int64_t first, int64_t count)
{
    vj_strings paths;
    VJ_TRY(vj_strings_one(&paths, s->store));
    VJ_TRY(masks ? vj_clips_open_training(&s->clips, &paths, (int)masks->data.frames, VJ_ALONE)
                 : vj_clips_open(&s->clips, &paths, VJ_ALONE));
    const int64_t n = vj_clips_count(s->clips);
    if (first < 0 || first >= n || count < 1)
        return vj_raise(VJ_ERR_USAGE, "%s has clips 0 to %lld; %lld from clip %lld are asked for", s->store,
                        (long long)n - 1, (long long)count, (long long)first);
    s->first = first;
    s->count = count < n - first ? count : n - first;
    s->frames = vj_clips_frames(s->clips);
    s->origin = vj_calloc(s->count, sizeof *s->origin);
    if (!s->origin) return vj_raise(VJ_ERR_MEMORY, "no memory for the origins of %lld clips", (long long)s->count);
    VJ_TRY(vj_coder_create(&s->coder));
    return vj_clips_origins(s->store, s->first, s->count, s->origin);
}

static vj_status open_masks(sheet *s, const vj_config *masks)
{
    s->masked = masks != NULL;
    s->rows = s->view_row = 1;
    if (!masks) return VJ_OK;
    VJ_TRY(vj_seen_create(&s->seen, masks, s->clips));
    s->rows = s->view_row += masks->mask.count;
    s->samples = vj_calloc(s->count, sizeof *s->samples);
    if (!s->samples) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld sample numbers", (long long)s->count);
    return vj_seen_samples(&s->seen, s->clips, s->first, s->count, s->samples);
}

static vj_status open_views(sheet *s, const vj_config *views)
{
    if (!views) return VJ_OK;
    VJ_TRY(vj_shown_create(&s->shown, views, s->clips));
    s->rows += s->shown.rows;
    return VJ_OK;
}

static vj_status lay_out(sheet *s)
{
    s->cell = s->rows > 1 ? VJ_SHEET_FRAME : 1;
    for (int64_t k = 0; k < s->count; k++) {
        int height, width;
        vj_clips_geometry(s->clips, s->first + k, &height, &width);
        if (shown_width(height, width) > s->cell) s->cell = shown_width(height, width);
    }
    const int64_t clip_pixels = (int64_t)vj_sheet_top(1, 0, s->rows) - VJ_SHEET_HEAD;
    const int64_t height = VJ_SHEET_HEAD + s->count * clip_pixels;
    const int64_t width = vj_sheet_left(0, 0) + (int64_t)s->frames * (s->cell + VJ_SHEET_GAP) + VJ_SHEET_MARGIN;
    if (height > VJ_STILL_MAX_PIXELS / width)
        return vj_raise(VJ_ERR_USAGE,
                        "%lld clips make a picture of %lld x %lld pixels, too large a file: ask for fewer",
                        (long long)s->count, (long long)width, (long long)height);
    s->clip = vj_calloc(vj_clips_largest_bytes(s->clips), 1);
    s->picture = vj_calloc((int64_t)VJ_SHEET_FRAME * s->cell, 3);
    if (!s->clip || !s->picture) return vj_raise(VJ_ERR_MEMORY, "no memory for a clip");
    VJ_TRY(vj_still_scaler_create(&s->scaler));
    return vj_canvas_create(&s->canvas, (int)height, (int)width, paper);
}

static vj_status draw(sheet *s)
{
    write_head(s);
    for (int64_t k = 0; k < s->count; k++) VJ_TRY(draw_clip(s, k));
    return VJ_OK;
}

vj_status vj_sheet_draw(vj_canvas *canvas, const char *store, int64_t first, int64_t *count, const vj_config *masks,
                        const vj_config *views)
{
    sheet s = {.store = store};
    vj_status status = open_store(&s, masks, first, *count);
    if (status == VJ_OK) status = open_masks(&s, masks);
    if (status == VJ_OK) status = open_views(&s, views);
    if (status == VJ_OK) status = lay_out(&s);
    if (status == VJ_OK) status = draw(&s);
    *count = s.count;
    *canvas = s.canvas;
    vj_still_scaler_destroy(s.scaler);
    vj_coder_destroy(s.coder);
    if (s.origin) vj_clips_origins_release(s.origin, s.count);
    free(s.origin);
    vj_seen_release(&s.seen);
    vj_shown_release(&s.shown);
    free(s.samples);
    free(s.clip);
    free(s.picture);
    vj_clips_close(s.clips);
    return status;
}

vj_status vj_sheet_write(const char *out, const char *store, int64_t first, int64_t *count, const vj_config *masks,
                         const vj_config *views)
{
    vj_canvas canvas;
    vj_status status = vj_sheet_draw(&canvas, store, first, count, masks, views);
    if (status == VJ_OK) status = vj_still_write(out, canvas.pixels, canvas.height, canvas.width);
    vj_canvas_release(&canvas);
    return status;
}
