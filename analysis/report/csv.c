/* Writes the numbers of a document: a CSV file for each table and plot. */
#include <stdlib.h>
#include <unistd.h>

#include "base/markup.h"
#include "base/output.h"
#include "report/files.h"
#include "report/inside.h"

static void put_heading(FILE *out, const char *heading, const char *unit)
{
    char *text;
    VJ_ASSERT(asprintf(&text, *unit ? "%s (%s)" : "%s%s", heading, unit) >= 0);
    vj_put_csv(out, text);
    free(text);
}

static void put_table(FILE *out, const vj_table *table)
{
    for (int c = 0; c < table->column_count; c++) {
        if (c) putc(',', out);
        put_heading(out, table->columns[c].heading, table->columns[c].unit);
    }
    putc('\n', out);
    for (int64_t first = 0; first < table->cell_count; first += table->column_count) {
        for (int c = 0; c < table->column_count; c++) {
            const vj_cell *cell = first + c < table->cell_count ? &table->cells[first + c] : NULL;
            if (c) putc(',', out);
            if (!cell) continue;
            if (cell->is_number)
                vj_put_csv_number(out, cell->number);
            else
                vj_put_csv(out, cell->text);
        }
        putc('\n', out);
    }
}

static void put_x(FILE *out, const vj_axis *axis, double x)
{
    const int index = x >= 0 && x < axis->name_count ? (int)x : -1;
    if (axis->names && index >= 0 && x == index)
        vj_put_csv(out, axis->names[index]);
    else
        vj_put_csv_number(out, x);
}

static void put_curves(FILE *out, const vj_plot *plot)
{
    fputs("series,", out);
    put_heading(out, *plot->x.name ? plot->x.name : "x", plot->x.unit);
    putc(',', out);
    put_heading(out, *plot->y.name ? plot->y.name : "y", plot->y.unit);
    fputs(",low,high\n", out);
    for (int i = 0; i < plot->series_count; i++) {
        const vj_series *s = plot->series[i];
        for (int64_t k = 0; k < s->count; k++) {
            vj_put_csv(out, s->name);
            putc(',', out);
            put_x(out, &plot->x, s->x[k]);
            putc(',', out);
            vj_put_csv_number(out, s->y[k]);
            putc(',', out);
            if (s->low) vj_put_csv_number(out, s->low[k]);
            putc(',', out);
            if (s->high) vj_put_csv_number(out, s->high[k]);
            putc('\n', out);
        }
    }
}

static void put_name(FILE *out, char *const *names, int number)
{
    if (names)
        vj_put_csv(out, names[number]);
    else
        fprintf(out, "%d", number);
}

static void put_heat_map(FILE *out, const vj_plot *plot)
{
    fputs("row,column,value\n", out);
    for (int r = 0; r < plot->rows; r++)
        for (int c = 0; c < plot->columns; c++) {
            put_name(out, plot->row_names, r);
            putc(',', out);
            put_name(out, plot->column_names, c);
            putc(',', out);
            vj_put_csv_number(out, plot->heat[(int64_t)r * plot->columns + c]);
            putc('\n', out);
        }
}

static const char *name_of(const vj_document_block *block)
{
    return block->kind == VJ_BLOCK_TABLE ? block->table->name : block->kind == VJ_BLOCK_PLOT ? block->plot->name : NULL;
}

/* A small text beside the tables, by which a folder of an earlier report is recognised. */
static const char mark[] =
    "Tables and curves of a report, written by vjepa-report --csv. It may replace all of them.\n";

vj_status vj_document_check_csv(const vj_document *document, const char *folder)
{
    char path[VJ_PATH + 120];
    snprintf(path, sizeof path, "%s/report.txt", folder);
    VJ_TRY(vj_output_check_text(path, mark));
    if (access(path, F_OK) == 0) return VJ_OK;
    for (int i = 0; i < document->block_count; i++) {
        if (!name_of(&document->blocks[i])) continue;
        snprintf(path, sizeof path, "%s/%s.csv", folder, name_of(&document->blocks[i]));
        if (access(path, F_OK) == 0)
            return vj_raise(VJ_ERR_USAGE,
                            "%s is there, and not of an earlier report, which has a report.txt beside it: write to "
                            "another folder",
                            path);
    }
    return VJ_OK;
}

vj_status vj_document_csv(const vj_document *document, const char *folder)
{
    char path[VJ_PATH + 120];
    VJ_TRY(vj_report_make_folder(folder));
    snprintf(path, sizeof path, "%s/report.txt", folder);
    VJ_TRY(vj_file_put_text(path, mark));
    for (int i = 0; i < document->block_count; i++) {
        vj_file file;
        const vj_document_block *block = &document->blocks[i];
        if (block->kind == VJ_BLOCK_TABLE) {
            VJ_TRY(vj_report_begin(&file, folder, block->table->name, ".csv"));
            put_table(file.stream, block->table);
        } else if (block->kind == VJ_BLOCK_PLOT) {
            VJ_TRY(vj_report_begin(&file, folder, block->plot->name, ".csv"));
            if (block->plot->heat)
                put_heat_map(file.stream, block->plot);
            else
                put_curves(file.stream, block->plot);
        } else {
            continue;
        }
        VJ_TRY(vj_file_commit(&file));
    }
    return VJ_OK;
}
