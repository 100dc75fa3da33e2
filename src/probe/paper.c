/* Matches published cells with results. Names are written in many ways, so only letters and digits are compared. */
#include "probe/paper.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

#include "probe/token_probe.h"

enum { KEY = 256 };

vj_status vj_paper_read(vj_paper *p, const char *path, const char *only_table)
{
    memset(p, 0, sizeof *p);
    snprintf(p->only_table, sizeof p->only_table, "%s", only_table);
    VJ_TRY(vj_csv_table_read(&p->cells, path));
    p->row = vj_csv_table_column(&p->cells, "row");
    p->column = vj_csv_table_column(&p->cells, "column");
    p->value = vj_csv_table_column(&p->cells, "value");
    p->model = vj_csv_table_column(&p->cells, "model");
    p->table = vj_csv_table_column(&p->cells, "table");
    p->protocol = vj_csv_table_column(&p->cells, "protocol");
    p->views = vj_csv_table_column(&p->cells, "views");
    if (p->row < 0 || p->column < 0 || p->value < 0)
        return vj_raise(VJ_ERR_FORMAT, "%s has no columns row, column and value", path);
    return VJ_OK;
}

void vj_paper_release(vj_paper *p)
{
    vj_csv_table_release(&p->cells);
}

/* Join the letters and digits of both texts, in lower case. */
static void make_key(char key[KEY], const char *a, const char *b)
{
    size_t used = 0;
    for (const char *part[] = {a, b}, **p = part; p < part + 2; p++)
        for (const char *c = *p; *c && used < KEY - 1; c++)
            if (isalnum((unsigned char)*c)) key[used++] = (char)tolower((unsigned char)*c);
    key[used] = '\0';
}

static bool same_key(const char *a, const char *b, const char *c, const char *d)
{
    char left[KEY], right[KEY];
    make_key(left, a, b);
    make_key(right, c, d);
    return strcmp(left, right) == 0;
}

static const char *text_of(const vj_paper *p, int64_t at, int column)
{
    return vj_csv_table_text(&p->cells, at, column);
}

/* The cell's column is the task, perhaps followed by the share or the kind of probe. */
bool vj_paper_matches(const vj_paper *p, int64_t at, const char *encoder, const char *task, const char *kind,
                      double labels)
{
    const char *row = text_of(p, at, p->row), *model = text_of(p, at, p->model), *column = text_of(p, at, p->column);
    char behind[KEY] = "";
    if (*p->only_table && strcmp(text_of(p, at, p->table), p->only_table) != 0) return false;
    if (!same_key(encoder, "", row, "") && !same_key(encoder, "", row, model)) return false;
    if (labels < 100.0) snprintf(behind, sizeof behind, "%g", labels);
    if (same_key(task, behind, column, "")) return !isnan(labels) && strcmp(kind, "average") != 0;
    if (labels < 100.0) return false;
    const bool attentive = strcmp(kind, "attentive") == 0 || vj_token_probe_depth(kind) > 0;
    return same_key(task, attentive ? "Att" : "Lin", column, "");
}

double vj_paper_value(const vj_paper *p, int64_t at)
{
    return vj_csv_table_number(&p->cells, at, p->value);
}

void vj_paper_place(const vj_paper *p, int64_t at, char *text, size_t bytes)
{
    snprintf(text, bytes, "table %s, %s, %s", text_of(p, at, p->table), text_of(p, at, p->row),
             text_of(p, at, p->model));
}

/* Return whether the cell was measured on the views of the row. */
static bool has_views(const vj_paper *p, int64_t at, const vj_probe_row *r)
{
    return *r->views && strcmp(text_of(p, at, p->views), r->views) == 0;
}

static bool fits(const vj_paper *p, int64_t at, const vj_probe_row *r)
{
    return !isnan(vj_paper_value(p, at)) && vj_paper_matches(p, at, r->encoder, r->task, r->kind, r->labels);
}

/* Add a note if the cell has other views; views given in words are not compared. */
static vj_status note_views(const vj_paper *p, int64_t at, const vj_probe_row *r, vj_notes *notes)
{
    int frames, clips, crops;
    const char *views = text_of(p, at, p->views);
    if (sscanf(views, "%dx%dx%d", &frames, &clips, &crops) != 3 || !*r->views || has_views(p, at, r)) return VJ_OK;
    return vj_notes_add(notes, "%s of %s: published with %s views (%s), measured here with %s", r->task, r->encoder,
                        views, r->paper_cell, r->views);
}

/* If a cell was measured on the row's views, cells with other views are ignored. */
static vj_status fill_row(const vj_paper *p, vj_probe_row *r, vj_notes *notes)
{
    bool exact = false;
    for (int64_t at = 0; at < p->cells.rows; at++) exact |= fits(p, at, r) && has_views(p, at, r);
    for (int64_t at = 0; at < p->cells.rows; at++) {
        const double value = vj_paper_value(p, at);
        char place[VJ_PAPER_CELL];
        if (!fits(p, at, r) || (exact && !has_views(p, at, r))) continue;
        vj_paper_place(p, at, place, sizeof place);
        if (isnan(r->paper)) {
            r->paper = value;
            memcpy(r->paper_cell, place, sizeof place);
            VJ_TRY(note_views(p, at, r, notes));
        } else if (value != r->paper) {
            VJ_TRY(vj_notes_add(notes, "%s of %s is published as %g in %s, and as %g in %s (probe.paper_table)",
                                r->task, r->encoder, r->paper, r->paper_cell, value, place));
        }
    }
    return VJ_OK;
}

vj_status vj_paper_fill(int64_t *filled, const vj_paper *p, vj_probe_row *rows, int64_t count, vj_notes *notes)
{
    *filled = 0;
    for (int64_t i = 0; i < count; i++) {
        VJ_TRY(fill_row(p, &rows[i], notes));
        *filled += !isnan(rows[i].paper);
    }
    return VJ_OK;
}
