/* Writes a document as Markdown, with a file for each plot and picture. */
#include <string.h>
#include <unistd.h>

#include "base/markup.h"
#include "base/output.h"
#include "base/program.h"
#include "report/files.h"
#include "report/script.h"

static void put_line(FILE *out, const char *before, const char *text, const char *after)
{
    fputs(before, out);
    vj_put_markdown(out, text);
    fputs(after, out);
}

static void put_table(FILE *out, const vj_table *table)
{
    if (table->column_count == 0) return;
    if (*table->caption) put_line(out, "", table->caption, "\n\n");
    for (int c = 0; c < table->column_count; c++) {
        put_line(out, c ? " | " : "| ", table->columns[c].heading, "");
        if (*table->columns[c].unit && !table->columns[c].units_in_cells)
            put_line(out, " (", table->columns[c].unit, ")");
    }
    fputs(" |\n", out);
    for (int c = 0; c < table->column_count; c++) fputs(table->columns[c].align == VJ_RIGHT ? "|--:" : "|---", out);
    fputs("|\n", out);
    for (int64_t first = 0; first < table->cell_count; first += table->column_count) {
        for (int c = 0; c < table->column_count; c++) {
            const vj_cell *cell = first + c < table->cell_count ? &table->cells[first + c] : NULL;
            const char *bold = cell && cell->highlight && *cell->text ? "**" : "";
            fprintf(out, "%s%s", c ? " | " : "| ", bold);
            if (cell) put_line(out, "", cell->text, bold);
        }
        fputs(" |\n", out);
    }
    putc('\n', out);
}

static void put_list(FILE *out, const vj_list *list)
{
    for (int i = 0; i < list->count; i++) {
        put_line(out, "- ", list->keys[i], ": ");
        put_line(out, "", list->values[i], "\n");
    }
    putc('\n', out);
}

/* Write a plot as an SVG file with its own style sheet: the colours of both themes, and a matching background. */
static vj_status write_svg(const char *folder, const vj_plot *plot)
{
    vj_file file;
    VJ_TRY(vj_report_begin(&file, folder, plot->name, ".svg"));
    const char *inside = strchr(plot->svg, '>') + 1; /* after the svg tag */
    fprintf(file.stream, "%.*s<style>%s%s.plot{background:var(--bg)}</style>%s\n", (int)(inside - plot->svg), plot->svg,
            vj_theme_colours, vj_theme_plots, inside);
    return vj_file_commit(&file);
}

static vj_status write_jpeg(const char *folder, const vj_photo *picture)
{
    vj_file file;
    VJ_TRY(vj_report_begin(&file, folder, picture->name, ".jpg"));
    fwrite(picture->jpeg, 1, picture->bytes, file.stream); /* vj_file_commit() reports a failure */
    return vj_file_commit(&file);
}

/* Say for which values the first and the last colour of a heat map stand. */
static void put_scale(FILE *out, const vj_plot *plot)
{
    double low, high;
    vj_heat_range(plot, &low, &high);
    fprintf(out, "Colours: from %.4g, nearly the background, to %.4g.\n\n", low, high);
}

static vj_status put_block(FILE *out, const char *folder, const vj_document_block *block)
{
    switch (block->kind) {
    case VJ_BLOCK_SECTION:
        put_line(out, "## ", block->text, "\n\n");
        break;
    case VJ_BLOCK_HEADING:
        put_line(out, "### ", block->text, "\n\n");
        break;
    case VJ_BLOCK_PARAGRAPH:
        put_line(out, "", block->text, "\n\n");
        break;
    case VJ_BLOCK_NOTE:
        put_line(out, "> **Note.** ", block->text, "\n\n");
        break;
    case VJ_BLOCK_TABLE:
        put_table(out, block->table);
        break;
    case VJ_BLOCK_LIST:
        put_list(out, block->list);
        break;
    case VJ_BLOCK_PICTURE:
        put_line(out, "![", block->photo->alt, "");
        fprintf(out, "](%s.jpg)\n\n", block->photo->name);
        if (*block->photo->caption) put_line(out, "", block->photo->caption, "\n\n");
        return write_jpeg(folder, block->photo);
    case VJ_BLOCK_PLOT:
        put_line(out, "**", block->plot->title, "**\n\n");
        if (block->plot->svg) {
            put_line(out, "![", block->plot->title, "");
            fprintf(out, "](%s.svg)\n\n", block->plot->name);
        } else {
            fputs("No numbers to draw.\n\n", out);
        }
        if (*block->plot->caption) put_line(out, "", block->plot->caption, "\n\n");
        if (block->plot->heat && block->plot->svg) put_scale(out, block->plot);
        return block->plot->svg ? write_svg(folder, block->plot) : VJ_OK;
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ may it be written?
 */

/* Our reports begin with a title, and a line that says who made them. */
static vj_status check_report(const char *path, bool *ours)
{
    char text[4096] = "";
    VJ_TRY(vj_output_check_text(path, "# "));
    FILE *f = fopen(path, "r");
    const size_t bytes = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f); /* only read */
    text[bytes] = '\0';
    *ours = strstr(text, "\nMade by vjepa ") != NULL;
    if (*ours || bytes == 0) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE, "%s was not written by this program: move it away, or write to another folder", path);
}

/* Plots begin as vj_svg_themed() writes them. Pictures have no such mark: they are ours if a report of ours lies beside
 * them. */
static vj_status check_block(const vj_document_block *block, const char *folder, bool beside_report)
{
    char path[VJ_PATH + 120];
    if (block->kind == VJ_BLOCK_PLOT && vj_plot_has_numbers(block->plot)) {
        snprintf(path, sizeof path, "%s/%s.svg", folder, block->plot->name);
        return vj_output_check_text(path, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\"");
    }
    if (block->kind != VJ_BLOCK_PICTURE || beside_report) return VJ_OK;
    snprintf(path, sizeof path, "%s/%s.jpg", folder, block->photo->name);
    if (access(path, F_OK) != 0) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE, "%s is there, and no report.md of ours beside it: write to another folder", path);
}

vj_status vj_document_check_markdown(const vj_document *document, const char *folder)
{
    char path[VJ_PATH + 120];
    bool beside_report;
    snprintf(path, sizeof path, "%s/report.md", folder);
    VJ_TRY(check_report(path, &beside_report));
    for (int i = 0; document && i < document->block_count; i++)
        VJ_TRY(check_block(&document->blocks[i], folder, beside_report));
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ writing */

vj_status vj_document_markdown(const vj_document *document, const char *folder)
{
    vj_file file;
    VJ_TRY(vj_report_make_folder(folder));
    VJ_TRY(vj_report_begin(&file, folder, "report", ".md"));
    put_line(file.stream, "# ", document->title, "\n\n");
    put_line(file.stream, "Made by ", vj_version(), ".\n\n");
    vj_status status = VJ_OK;
    for (int i = 0; i < document->block_count && status == VJ_OK; i++)
        status = put_block(file.stream, folder, &document->blocks[i]);
    if (status == VJ_OK) return vj_file_commit(&file);
    vj_file_rollback(&file);
    return status;
}
