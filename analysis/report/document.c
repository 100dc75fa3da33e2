/* Builds a document. */
#include "report/document.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "report/inside.h"

/* ------------------------------------------------------------------------------------------------ memory */

void *vj_report_memory(int64_t count, size_t bytes)
{
    void *memory = calloc((size_t)(count > 0 ? count : 1), bytes);
    VJ_ASSERT(memory);
    return memory;
}

void *vj_report_copy_bytes(const void *from, size_t bytes)
{
    if (!from) return NULL;
    void *copy = vj_report_memory(1, bytes ? bytes : 1);
    memcpy(copy, from, bytes);
    return copy;
}

char *vj_report_copy(const char *text)
{
    return text ? vj_report_copy_bytes(text, strlen(text) + 1) : vj_report_copy("");
}

void *vj_report_room(void *items, int64_t count, size_t item)
{
    if (count & (count - 1)) return items; /* full only if count is a power of two, or 0 */
    items = realloc(items, (size_t)(count ? 2 * count : 1) * item);
    VJ_ASSERT(items);
    return items;
}

char **vj_report_names(const char *const *names, int count)
{
    if (!names) return NULL;
    char **copy = vj_report_memory(count, sizeof *copy);
    for (int i = 0; i < count; i++) copy[i] = vj_report_copy(names[i]);
    return copy;
}

void vj_report_free_names(char **names, int count)
{
    for (int i = 0; names && i < count; i++) free(names[i]);
    free(names);
}

static char *print(const char *format, va_list arguments)
{
    char *text;
    VJ_ASSERT(vasprintf(&text, format, arguments) >= 0);
    return text;
}

/* ------------------------------------------------------------------------------------------------ blocks */

vj_document *vj_document_create(const char *title)
{
    vj_document *document = vj_report_memory(1, sizeof *document);
    document->title = vj_report_copy(title);
    return document;
}

static vj_document_block *add(vj_document *document, vj_block_kind kind)
{
    document->blocks = vj_report_room(document->blocks, document->block_count, sizeof *document->blocks);
    vj_document_block *block = &document->blocks[document->block_count++];
    *block = (vj_document_block){.kind = kind};
    return block;
}

void vj_document_section(vj_document *document, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(document, VJ_BLOCK_SECTION)->text = print(format, arguments);
    va_end(arguments);
}

void vj_document_heading(vj_document *document, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(document, VJ_BLOCK_HEADING)->text = print(format, arguments);
    va_end(arguments);
}

void vj_document_paragraph(vj_document *document, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(document, VJ_BLOCK_PARAGRAPH)->text = print(format, arguments);
    va_end(arguments);
}

void vj_document_note(vj_document *document, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add(document, VJ_BLOCK_NOTE)->text = print(format, arguments);
    va_end(arguments);
    document->note_count++;
}

int vj_document_notes(const vj_document *document)
{
    return document->note_count;
}

const char *vj_document_note_text(const vj_document *document, int number)
{
    for (int i = 0; i < document->block_count; i++)
        if (document->blocks[i].kind == VJ_BLOCK_NOTE && number-- == 0) return document->blocks[i].text;
    return NULL;
}

/* ------------------------------------------------------------------------------------------------ names of files */

static const char *name_of(const vj_document_block *block)
{
    switch (block->kind) {
    case VJ_BLOCK_TABLE:
        return block->table ? block->table->name : NULL;
    case VJ_BLOCK_PICTURE:
        return block->photo ? block->photo->name : NULL;
    case VJ_BLOCK_PLOT:
        return block->plot ? block->plot->name : NULL;
    default:
        return NULL;
    }
}

static bool is_taken(const vj_document *document, const char *name)
{
    for (int i = 0; i < document->block_count; i++) {
        const char *other = name_of(&document->blocks[i]);
        if (other && strcasecmp(other, name) == 0) return true; /* some file systems ignore case */
    }
    return false;
}

/* Return a file name that is valid in every file system and unique in this document. */
static char *file_name(const vj_document *document, const char *wanted)
{
    enum { LONGEST = 80 };
    char stem[LONGEST + 1], name[LONGEST + 16];
    snprintf(stem, sizeof stem, "%s", *wanted ? wanted : "unnamed");
    for (char *c = stem; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '_') *c = '-';
    snprintf(name, sizeof name, "%s", stem);
    for (int n = 2; is_taken(document, name); n++) snprintf(name, sizeof name, "%s-%d", stem, n);
    return vj_report_copy(name);
}

/* ------------------------------------------------------------------------------------------------ tables, lists */

vj_table *vj_document_table(vj_document *document, const char *name, const char *caption)
{
    vj_table *table = vj_report_memory(1, sizeof *table);
    table->name = file_name(document, name);
    table->caption = vj_report_copy(caption);
    add(document, VJ_BLOCK_TABLE)->table = table;
    return table;
}

static void add_column(vj_table *table, vj_align align, const char *heading, const char *unit)
{
    table->columns = vj_report_room(table->columns, table->column_count, sizeof *table->columns);
    table->columns[table->column_count++] =
        (vj_document_column){.align = align, .heading = vj_report_copy(heading), .unit = vj_report_copy(unit)};
}

void vj_table_column(vj_table *table, vj_align align, const char *heading, const char *unit)
{
    VJ_ASSERT(table->cell_count == 0);
    add_column(table, align, heading, unit);
}

/* Find the column of the next cell. In the first row each cell makes a new column, until its first heading is repeated.
 */
static void find_column(vj_table *table, vj_align align, const char *heading, const char *unit)
{
    const bool first_row = table->cell_count == table->column_count;
    if (first_row && (table->column_count == 0 || strcmp(heading, table->columns[0].heading) != 0))
        add_column(table, align, heading, unit);
    VJ_ASSERT(strcmp(table->columns[table->cell_count % table->column_count].heading, heading) == 0);
}

static vj_cell *add_cell(vj_table *table)
{
    VJ_ASSERT(table->column_count > 0);
    table->cells = vj_report_room(table->cells, table->cell_count, sizeof *table->cells);
    vj_cell *cell = &table->cells[table->cell_count++];
    *cell = (vj_cell){.number = NAN};
    return cell;
}

void vj_table_text(vj_table *table, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_cell(table)->text = print(format, arguments);
    va_end(arguments);
}

static void add_number(vj_table *table, double value, const char *text)
{
    vj_cell *cell = add_cell(table);
    cell->text = vj_report_copy(text);
    cell->number = value;
    cell->is_number = true;
}

void vj_table_number(vj_table *table, double value, int decimals)
{
    char text[400] = "";
    if (isfinite(value)) snprintf(text, sizeof text, fabs(value) < 1e15 ? "%.*f" : "%.*g", decimals, value);
    if (isinf(value)) snprintf(text, sizeof text, value > 0 ? "inf" : "-inf");
    add_number(table, value, text);
}

void vj_table_seconds(vj_table *table, double seconds)
{
    char text[32];
    vj_document_column *column = &table->columns[table->cell_count % table->column_count];
    VJ_ASSERT(strcmp(column->unit, "s") == 0);
    column->units_in_cells = true;
    add_number(table, seconds, isnan(seconds) ? "" : vj_duration(seconds, text));
}

void vj_row_text(vj_table *table, const char *heading, const char *format, ...)
{
    va_list arguments;
    find_column(table, VJ_LEFT, heading, "");
    va_start(arguments, format);
    add_cell(table)->text = print(format, arguments);
    va_end(arguments);
}

void vj_row_number(vj_table *table, const char *heading, const char *unit, double value, int decimals)
{
    find_column(table, VJ_RIGHT, heading, unit);
    vj_table_number(table, value, decimals);
}

void vj_row_seconds(vj_table *table, const char *heading, double seconds)
{
    find_column(table, VJ_RIGHT, heading, "s");
    vj_table_seconds(table, seconds);
}

void vj_table_highlight(vj_table *table)
{
    VJ_ASSERT(table->cell_count > 0);
    table->cells[table->cell_count - 1].highlight = true;
}

vj_list *vj_document_list(vj_document *document)
{
    return add(document, VJ_BLOCK_LIST)->list = vj_report_memory(1, sizeof(vj_list));
}

void vj_list_put(vj_list *list, const char *key, const char *format, ...)
{
    va_list arguments;
    list->keys = vj_report_room(list->keys, list->count, sizeof *list->keys);
    list->values = vj_report_room(list->values, list->count, sizeof *list->values);
    list->keys[list->count] = vj_report_copy(key);
    va_start(arguments, format);
    list->values[list->count++] = print(format, arguments);
    va_end(arguments);
}

/* ------------------------------------------------------------------------------------------------ pictures, plots */

void vj_document_picture(vj_document *document, const char *name, const void *jpeg, size_t bytes, const char *alt,
                         const char *caption)
{
    vj_photo *picture = vj_report_memory(1, sizeof *picture);
    picture->name = file_name(document, name);
    picture->alt = vj_report_copy(alt);
    picture->caption = vj_report_copy(caption);
    picture->jpeg = vj_report_copy_bytes(jpeg, bytes);
    picture->bytes = bytes;
    add(document, VJ_BLOCK_PICTURE)->photo = picture;
}

vj_plot *vj_document_plot(vj_document *document, const char *name, const char *title)
{
    const vj_axis axis = {.low = NAN, .high = NAN};
    vj_plot *plot = vj_report_memory(1, sizeof *plot);
    *plot = (vj_plot){.x = axis, .y = axis};
    plot->name = file_name(document, name);
    plot->title = vj_report_copy(title);
    plot->caption = vj_report_copy("");
    vj_plot_x(plot, "", "", VJ_LINEAR);
    vj_plot_y(plot, "", "", VJ_LINEAR);
    add(document, VJ_BLOCK_PLOT)->plot = plot;
    return plot;
}

/* ------------------------------------------------------------------------------------------------ the end */

static void destroy_table(vj_table *table)
{
    for (int i = 0; i < table->column_count; i++) {
        free(table->columns[i].heading);
        free(table->columns[i].unit);
    }
    for (int64_t i = 0; i < table->cell_count; i++) free(table->cells[i].text);
    free(table->columns);
    free(table->cells);
    free(table->name);
    free(table->caption);
    free(table);
}

static void destroy_list(vj_list *list)
{
    vj_report_free_names(list->keys, list->count);
    vj_report_free_names(list->values, list->count);
    free(list);
}

static void destroy_picture(vj_photo *picture)
{
    free(picture->name);
    free(picture->alt);
    free(picture->caption);
    free(picture->jpeg);
    free(picture);
}

void vj_document_destroy(vj_document *document)
{
    if (!document) return;
    for (int i = 0; i < document->block_count; i++) {
        vj_document_block *block = &document->blocks[i];
        free(block->text);
        if (block->kind == VJ_BLOCK_TABLE) destroy_table(block->table);
        if (block->kind == VJ_BLOCK_LIST) destroy_list(block->list);
        if (block->kind == VJ_BLOCK_PICTURE) destroy_picture(block->photo);
        if (block->kind == VJ_BLOCK_PLOT) vj_plot_destroy(block->plot);
    }
    free(document->blocks);
    free(document->title);
    free(document);
}
