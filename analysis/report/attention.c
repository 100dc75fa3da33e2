/*
 * Draws attention over frames. Each clip has two rows: the frames as the encoder saw them, and the same frames in grey,
 * where a cell is brighter and more orange the more it is attended to, averaged over the heads of attention. The first
 * clip also has a row for each head.
 */
#include "report/attention.h"

#include <math.h>
#include <stdlib.h>

#include "probe/attention_file.h"
#include "report/inside.h"
#include "report/pages.h"
#include "sheet/canvas.h"
#include "video/still.h"

enum { PICTURES = 4, ROWS = 8, HEADS = 16, CELL = 112, SMALL = 56, GAP = 4, TEXT = 22, WHY = 1024, FLOOR = 4 };

static const vj_colour paper = {{24, 24, 28}}, ink = {{235, 235, 235}};

typedef struct {
    vj_attention file;
    vj_predictions predictions; /* count 0: none */
    const vj_attention_map *map;
    const vj_head_facts *facts; /* of the map's probe; NULL: not known */
    vj_prediction *rows;        /* [facts->counted] owned */
    vj_clips_classes names;
    vj_still_scaler *scaler;
    vj_canvas canvas;
    uint8_t *cell; /* [CELL, CELL, 3] */
    double *mean;  /* [cells] of the clip that is drawn */
} show;

/* ------------------------------------------------------------------------------------------------ weights */

/* Get the weights of one head for a sample; with head -1 their mean over the heads. */
static void take_weights(const show *s, int64_t sample, int64_t head, double *to)
{
    const int64_t cells = vj_attention_cells(&s->file), heads = s->map->heads;
    const float *from = s->map->weight + sample * heads * cells;
    for (int64_t i = 0; i < cells; i++) {
        double sum = 0.0;
        for (int64_t h = 0; h < heads; h++)
            if (head < 0 || h == head) sum += from[h * cells + i];
        to[i] = head < 0 ? sum / (double)heads : sum;
    }
}

/* Return the largest weight, relative to a uniform distribution over the cells. */
static double peak_of(const show *s, const double *weight)
{
    const int64_t cells = vj_attention_cells(&s->file);
    double peak = 0.0;
    for (int64_t i = 0; i < cells; i++) peak = fmax(peak, weight[i]);
    return peak * (double)cells;
}

/* ------------------------------------------------------------------------------------------------ drawing */

/* Colour a pixel from dark grey (share 0) to bright orange (share 1). */
static void tint(uint8_t rgb[3], double share)
{
    static const double hot[3] = {255.0, 150.0, 0.0};
    const double grey = 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2];
    for (int c = 0; c < 3; c++) {
        const double cold = 0.35 * grey, warm = 0.45 * rgb[c] + 0.55 * hot[c];
        rgb[c] = (uint8_t)lrint(cold + share * (warm - cold));
    }
}

/* Draw one frame at (top, left), `side` pixels wide. weight: of its cells [y, x], or NULL. */
static vj_status draw_frame(show *s, const uint8_t *frame, const double *weight, double full, int top, int left,
                            int side)
{
    const vj_attention *a = &s->file;
    VJ_TRY(vj_still_scale(s->scaler, frame, (int)a->side, (int)a->side, s->cell, side, side));
    for (int i = 0; weight && i < side * side; i++) {
        const int64_t y = (int64_t)(i / side) * a->y / side, x = (int64_t)(i % side) * a->x / side;
        tint(s->cell + 3 * i, fmin(1.0, weight[y * a->x + x] / full));
    }
    vj_canvas_put(&s->canvas, top, left, s->cell, side, side);
    return VJ_OK;
}

/* Draw the frames of one segment. The brightest colour stands for the largest weight, but at least FLOOR times the
 * uniform weight. */
static vj_status draw_row(show *s, int64_t sample, int64_t segment, const double *weight, int top, int side)
{
    const vj_attention *a = &s->file;
    const int64_t frame = a->side * a->side * 3, each = a->y * a->x;
    const double even = 1.0 / (double)vj_attention_cells(a);
    const double full = weight ? even * fmax(FLOOR, peak_of(s, weight)) : 1.0;
    for (int64_t t = 0; t < a->t; t++) {
        const int64_t number = segment * a->t + t;
        VJ_TRY(draw_frame(s, a->frames + (sample * a->segments * a->t + number) * frame,
                          weight ? weight + number * each : NULL, full, top, GAP + (int)t * (side + GAP), side));
    }
    return VJ_OK;
}

static const vj_prediction *find_prediction(const show *s, int64_t clip)
{
    for (int64_t i = 0; s->facts && i < s->facts->counted; i++)
        if (s->rows[i].clip == clip) return &s->rows[i];
    return NULL;
}

static void class_text(const show *s, int class, char text[VJ_HEAD_TEXT])
{
    if (class < s->names.count)
        snprintf(text, VJ_HEAD_TEXT, "%.60s", vj_clips_classes_name(&s->names, class));
    else
        snprintf(text, VJ_HEAD_TEXT, "class %d", class);
}

/* Write "clip 17: run, taken for walk (63 %)". */
static void describe(const show *s, int64_t sample, char *text, size_t bytes)
{
    char label[VJ_HEAD_TEXT], said[VJ_HEAD_TEXT];
    const vj_prediction *p = find_prediction(s, s->file.clip[sample]);
    if (!p) {
        snprintf(text, bytes, "clip %lld", (long long)s->file.clip[sample]);
        return;
    }
    class_text(s, p->label, label);
    class_text(s, p->top[0], said);
    if (p->label == p->top[0])
        snprintf(text, bytes, "clip %lld: %s, rightly (%.0f %%)", (long long)s->file.clip[sample], label,
                 100.0 * p->chance[0]);
    else
        snprintf(text, bytes, "clip %lld: %s, taken for %s (%.0f %%)", (long long)s->file.clip[sample], label, said,
                 100.0 * p->chance[0]);
}

/* Draw one sample: a line of text, then two rows for each segment. *top becomes where it ends. */
static vj_status draw_sample(show *s, int64_t sample, int *top)
{
    char text[2 * VJ_HEAD_TEXT + 64], line[2 * VJ_HEAD_TEXT + 128];
    take_weights(s, sample, -1, s->mean);
    describe(s, sample, text, sizeof text);
    snprintf(line, sizeof line, "%s; peak %.1f x even", text, peak_of(s, s->mean));
    vj_canvas_text(&s->canvas, *top, GAP, line, ink);
    *top += TEXT;
    for (int64_t segment = 0; segment < s->file.segments; segment++)
        for (int heat = 0; heat < 2; heat++) {
            VJ_TRY(draw_row(s, sample, segment, heat ? s->mean : NULL, *top, CELL));
            *top += CELL + GAP;
        }
    *top += 2 * GAP;
    return VJ_OK;
}

/* Draw the heads for the first segment of the first sample, side by side if they fit. */
static vj_status draw_heads(show *s, int top, int64_t heads)
{
    char line[128];
    snprintf(line, sizeof line, "clip %lld, by head", (long long)s->file.clip[0]);
    vj_canvas_text(&s->canvas, top, GAP, line, ink);
    top += TEXT;
    for (int64_t h = 0; h < heads; h++) {
        take_weights(s, 0, h, s->mean);
        VJ_TRY(draw_row(s, 0, 0, s->mean, top, SMALL));
        snprintf(line, sizeof line, "%lld: peak %.1f", (long long)h, peak_of(s, s->mean));
        vj_canvas_text(&s->canvas, top + SMALL / 3, 2 * GAP + (int)s->file.t * (SMALL + GAP), line, ink);
        top += SMALL + GAP;
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ a picture */

static vj_status draw(show *s, int64_t samples, char *caption, size_t bytes)
{
    const vj_attention *a = &s->file;
    const int64_t heads = s->map->heads < HEADS ? s->map->heads : HEADS;
    const int letters = 60 * VJ_LETTER, wide = (int)a->t * (CELL + GAP) + GAP;
    const int64_t high = samples * (TEXT + a->segments * 2 * (CELL + GAP) + 2 * GAP) + TEXT + heads * (SMALL + GAP);
    int top = GAP;
    size_t used;
    VJ_TRY(vj_canvas_create(&s->canvas, (int)high + 2 * GAP, wide > letters ? wide : letters, paper));
    used = (size_t)snprintf(
        caption, bytes,
        "Attention of the probe %s (task, kind, share of labels in %%, encoder, seed) over frames: the "
        "brighter and more orange, the more; mean over its heads of attention, %lld in number, and "
        "head by head. Peak: the largest weight of a token, in multiples of what equal weights would "
        "be. In brackets: the probability that the probe gives to the class that it chose.",
        s->map->name, (long long)s->map->heads);
    for (int64_t i = 0; i < samples; i++) {
        char text[2 * VJ_HEAD_TEXT + 64];
        VJ_TRY(draw_sample(s, i, &top));
        describe(s, i, text, sizeof text);
        if (used < bytes)
            used += (size_t)snprintf(caption + used, bytes - used, "%s %s%s", i ? ";" : "", text,
                                     i == samples - 1 ? "." : "");
    }
    return draw_heads(s, top, heads);
}

static vj_status find_facts(show *s)
{
    const int64_t head = s->predictions.count > 0 ? vj_predictions_find(&s->predictions, s->map->name) : -1;
    s->facts = NULL;
    if (head < 0) return VJ_OK;
    VJ_TRY(vj_predictions_read(&s->predictions, head, &s->rows));
    s->facts = &s->predictions.head[head];
    return vj_predictions_classes(&s->predictions, s->facts->task, &s->names);
}

static vj_status add_picture(vj_document *document, show *s)
{
    char caption[4096], name[VJ_HEAD_NAME + 16];
    bool too_large;
    const int64_t fit = ROWS / s->file.segments, samples = fit < 1 ? 1 : fit < s->file.samples ? fit : s->file.samples;
    vj_status status = find_facts(s);
    if (status == VJ_OK) status = draw(s, samples, caption, sizeof caption);
    snprintf(name, sizeof name, "attention-%s", s->map->name);
    if (status == VJ_OK)
        status = vj_page_picture(
            document, name, &s->canvas, 0, &too_large,
            "Frames of clips, and below each the same frame with bright cells where the probe attends.", caption);
    vj_canvas_release(&s->canvas);
    vj_clips_classes_release(&s->names);
    free(s->rows);
    s->rows = NULL;
    return status;
}

static vj_status add_pictures(vj_document *document, show *s, const char *folder)
{
    char path[VJ_PATH + 32];
    snprintf(path, sizeof path, "%s/attention.h5", folder);
    VJ_TRY(vj_attention_read(&s->file, path));
    snprintf(path, sizeof path, "%s/predictions.h5", folder);
    if (vj_page_has(folder, "predictions.h5")) VJ_TRY(vj_predictions_open(&s->predictions, path));
    VJ_TRY(vj_still_scaler_create(&s->scaler));
    s->cell = vj_report_memory(CELL * CELL, 3);
    s->mean = vj_report_memory(vj_attention_cells(&s->file), sizeof *s->mean);
    for (int64_t i = 0; i < s->file.count && i < PICTURES; i++) {
        s->map = &s->file.map[i];
        VJ_TRY(add_picture(document, s));
    }
    if (s->file.count > PICTURES)
        vj_document_paragraph(document, "The attention of the first %d of %lld probes in attention.h5 is shown.",
                              PICTURES, (long long)s->file.count);
    return VJ_OK;
}

void vj_attention_show(vj_document *document, const char *folder)
{
    show s = {.map = NULL};
    char why[WHY];
    if (!vj_page_has(folder, "attention.h5")) return;
    vj_status_divert(why, sizeof why);
    const vj_status status = add_pictures(document, &s, folder);
    vj_status_divert(NULL, 0);
    if (status != VJ_OK) vj_document_note(document, "No picture of the attention of probes: %s.", why);
    vj_still_scaler_destroy(s.scaler);
    vj_predictions_release(&s.predictions);
    vj_attention_release(&s.file);
    free(s.cell);
    free(s.mean);
}
