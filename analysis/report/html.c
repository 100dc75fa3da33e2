/* Writes a document as one HTML file. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/markup.h"
#include "base/program.h"
#include "report/script.h"

static void put_element(FILE *out, const char *tag, const char *text)
{
    fprintf(out, "<%s>", tag);
    vj_put_html(out, text);
    fprintf(out, "</%.*s>\n", (int)strcspn(tag, " "), tag);
}

/* ------------------------------------------------------------------------------------------------ blocks */

static void put_cell(FILE *out, const vj_document_column *column, const vj_cell *cell, bool heads_row)
{
    const char *const tag = heads_row ? "th scope=\"row\"" : "td";
    const bool right = column->align == VJ_RIGHT, highlight = cell && cell->highlight;
    fprintf(out, "<%s", tag);
    if (right || highlight)
        fprintf(out, " class=\"%s%s%s\"", right ? "r" : "", right && highlight ? " " : "", highlight ? "hi" : "");
    putc('>', out);
    if (cell) vj_put_html(out, cell->text);
    fputs(heads_row ? "</th>" : "</td>", out);
}

/* Write a table. If it is wider than the page, it scrolls by itself; tabindex makes that possible with the keyboard. */
static void put_table(FILE *out, const vj_table *table)
{
    if (table->column_count == 0) return;
    if (*table->caption) put_element(out, "p class=\"dim\"", table->caption);
    fputs("<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"", out);
    vj_put_html(out, *table->caption ? table->caption : table->name);
    fputs("\"><table>", out);
    fputs("<thead><tr>", out);
    for (int c = 0; c < table->column_count; c++) {
        fprintf(out, "<th scope=\"col\"%s>", table->columns[c].align == VJ_RIGHT ? " class=\"r\"" : "");
        vj_put_html(out, table->columns[c].heading);
        if (*table->columns[c].unit && !table->columns[c].units_in_cells)
            put_element(out, "small", table->columns[c].unit);
        fputs("</th>", out);
    }
    fputs("</tr></thead>\n<tbody>", out);
    for (int64_t first = 0; first < table->cell_count; first += table->column_count) {
        fputs("<tr>", out);
        for (int c = 0; c < table->column_count; c++)
            put_cell(out, &table->columns[c], first + c < table->cell_count ? &table->cells[first + c] : NULL, c == 0);
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
}

static void put_list(FILE *out, const vj_list *list)
{
    if (list->count == 0) return;
    fputs("<dl>", out);
    for (int i = 0; i < list->count; i++) {
        put_element(out, "dt", list->keys[i]);
        put_element(out, "dd", list->values[i]);
    }
    fputs("</dl>\n", out);
}

static void put_base64(FILE *out, const unsigned char *bytes, size_t count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < count; i += 3) {
        const size_t left = count - i;
        const uint32_t three = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                               (left > 2 ? (uint32_t)bytes[i + 2] : 0);
        putc(digits[three >> 18], out);
        putc(digits[three >> 12 & 63], out);
        putc(left > 1 ? digits[three >> 6 & 63] : '=', out);
        putc(left > 2 ? digits[three & 63] : '=', out);
    }
}

static void put_picture(FILE *out, const vj_photo *picture)
{
    fputs("<figure><div class=\"picture\" tabindex=\"0\" role=\"region\" aria-label=\"", out);
    vj_put_html(out, picture->name);
    fputs("\"><img alt=\"", out);
    vj_put_html(out, picture->alt);
    fputs("\" src=\"data:image/jpeg;base64,", out);
    put_base64(out, picture->jpeg, picture->bytes);
    fputs("\"></div>", out);
    if (*picture->caption) put_element(out, "figcaption", picture->caption);
    fputs("</figure>\n", out);
}

static void put_scale(FILE *out, const vj_plot *plot)
{
    double low, high;
    vj_heat_range(plot, &low, &high);
    fprintf(out, " <span class=\"scale\">%.4g ", low);
    for (int i = 0; i < VJ_HEAT_CLASSES; i++) fprintf(out, "<i class=\"h%d\"></i>", i);
    fprintf(out, " %.4g</span>", high);
}

static void put_plot(FILE *out, const vj_plot *plot)
{
    fputs("<figure>", out);
    put_element(out, "h4", plot->title);
    if (plot->svg)
        fputs(plot->svg, out);
    else
        fputs("<p class=\"dim\">No numbers to draw.</p>", out);
    const bool scale = plot->heat && plot->svg;
    if (*plot->caption || scale) {
        fputs("<figcaption>", out);
        vj_put_html(out, plot->caption);
        if (scale) put_scale(out, plot);
        fputs("</figcaption>", out);
    }
    fputs("</figure>\n", out);
}

static bool is_figure(const vj_document_block *block)
{
    return block->kind == VJ_BLOCK_PLOT;
}

static void put_block(FILE *out, const vj_document *document, int number)
{
    const vj_document_block *block = &document->blocks[number];
    switch (block->kind) {
    case VJ_BLOCK_SECTION:
        break; /* put_blocks() writes its heading */
    case VJ_BLOCK_HEADING:
        fprintf(out, "<h3 id=\"s-%d\">", number);
        vj_put_html(out, block->text);
        fputs("</h3>\n", out);
        break;
    case VJ_BLOCK_PARAGRAPH:
        put_element(out, "p", block->text);
        break;
    case VJ_BLOCK_NOTE:
        fprintf(out, "<div class=\"note\" role=\"note\" id=\"note-%d\"><b>Note.</b> ", number);
        vj_put_html(out, block->text);
        fputs("</div>\n", out);
        break;
    case VJ_BLOCK_TABLE:
        put_table(out, block->table);
        break;
    case VJ_BLOCK_LIST:
        put_list(out, block->list);
        break;
    case VJ_BLOCK_PICTURE:
        put_picture(out, block->photo);
        break;
    case VJ_BLOCK_PLOT:
        put_plot(out, block->plot);
        break;
    }
}

/* ------------------------------------------------------------------------------------------------ the page */

static bool has_headings(const vj_document *document, int section)
{
    for (int i = section + 1; i < document->block_count; i++) {
        if (document->blocks[i].kind == VJ_BLOCK_HEADING) return true;
        if (document->blocks[i].kind == VJ_BLOCK_SECTION) return false;
    }
    return false;
}

static void put_header(FILE *out, const vj_document *document)
{
    char date[64] = "";
    struct tm utc;
    const time_t now = time(NULL);
    if (gmtime_r(&now, &utc)) strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &utc);
    fputs("<header>", out);
    put_element(out, "h1", document->title);
    fprintf(out, "<p class=\"dim\">Made on %s by ", date);
    vj_put_html(out, vj_version());
    fputs("</p>\n", out);
    if (document->note_count > 0) {
        fprintf(out,
                "<div class=\"note\" role=\"note\"><b>%d note%s</b> on what is wrong or missing:", document->note_count,
                document->note_count == 1 ? "" : "s");
        for (int i = 0, n = 0; i < document->block_count; i++)
            if (document->blocks[i].kind == VJ_BLOCK_NOTE) fprintf(out, " <a href=\"#note-%d\">%d</a>", i, ++n);
        fputs("</div>\n", out);
    }
    fputs("<nav aria-label=\"Contents\">", out);
    bool line = false, headed = false; /* there is an entry before this one; the section before this one has headings */
    for (int i = 0; i < document->block_count; i++) {
        const vj_document_block *block = &document->blocks[i];
        if (block->kind != VJ_BLOCK_SECTION && block->kind != VJ_BLOCK_HEADING) continue;
        if (block->kind == VJ_BLOCK_SECTION) {
            if (line && (headed || has_headings(document, i))) fputs("<br>", out);
            headed = has_headings(document, i);
        }
        line = true;
        fprintf(out, "<a%s href=\"#s-%d\">", block->kind == VJ_BLOCK_SECTION ? " class=\"top\"" : "", i);
        vj_put_html(out, block->text);
        fputs("</a>\n", out);
    }
    fputs("</nav></header>\n<main>\n", out);
}

/* Write the sections, with consecutive figures side by side. */
static void put_blocks(FILE *out, const vj_document *document)
{
    bool section = false, figures = false;
    for (int i = 0; i < document->block_count; i++) {
        const vj_document_block *block = &document->blocks[i];
        if (figures != is_figure(block)) {
            fputs(figures ? "</div>\n" : "<div class=\"plots\">\n", out);
            figures = !figures;
        }
        if (block->kind == VJ_BLOCK_SECTION) {
            fprintf(out, "%s<section aria-labelledby=\"s-%d\"><h2 id=\"s-%d\">", section ? "</section>\n" : "", i, i);
            vj_put_html(out, block->text);
            fputs("</h2>\n", out);
            section = true;
        }
        put_block(out, document, i);
    }
    if (figures) fputs("</div>\n", out);
    if (section) fputs("</section>\n", out);
}

vj_status vj_document_html(const vj_document *document, const char *path)
{
    vj_file file;
    VJ_TRY(vj_file_begin_text(&file, path));
    FILE *out = file.stream;
    fputs(VJ_DOCUMENT_HTML_BEGIN "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                                 "<meta name=\"color-scheme\" content=\"light dark\">\n<title>",
          out);
    vj_put_html(out, document->title);
    fprintf(out, "</title>\n<style>\n%s%s%s</style>\n</head>\n<body>\n", vj_theme_colours, vj_theme_plots,
            vj_theme_page);
    put_header(out, document);
    put_blocks(out, document);
    fputs("</main>\n</body>\n</html>\n", out);
    return vj_file_commit(&file);
}
