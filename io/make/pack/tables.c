/* Reads lists of lines and CSV: plain, csv, kinetics, howto100m. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pack/csv.h"
#include "pack/listing.h"

/* ------------------------------------------------------------------------------------------------ plain */

static int is_whole(const char *value)
{
    value += *value == '-';
    return *value && value[strspn(value, "0123456789")] == '\0';
}

/* Return the beginning of a line's label, after its divider; NULL: no label. A label is a number, or a word without dot
 * and slash, which would be a path. */
static char *find_label(char *line)
{
    for (int words = 0; words < 2; words++)
        for (const char *divider = "\t ,;"; *divider; divider++) {
            char *at = strrchr(line, *divider);
            if (at && (is_whole(at + 1) || (words && at[1] && !strpbrk(at + 1, "./\"")))) return at + 1;
        }
    return NULL;
}

/* Refuse a first line that has only words, no path and no number: it is probably the header of a CSV list without a
 * column path. */
static vj_status refuse_header(const vj_text *text, int64_t number, const char *line)
{
    static const char dividers[] = "\t,; ";
    int fields = 0;
    if (strpbrk(line, "./")) return VJ_OK;
    for (const char *at = line; *at; at += strspn(at, dividers), fields++) {
        const size_t digits = strspn(at, "-0123456789"), length = strcspn(at, dividers);
        if (digits == length) return VJ_OK;
        at += length;
    }
    if (fields < 2) return VJ_OK;
    char shown[201];
    snprintf(shown, sizeof shown, "%s", line);
    for (char *at = shown; (at = strchr(at, '\t'));) *at = ' ';
    return vj_text_refuse(text, number,
                          "the line looks like a header, but no column is called path: \"%s\". Call the column of the "
                          "files path; dataset, start, end and id may follow, and each other column is a label",
                          shown);
}

enum { NO_LABEL = -1, UNKNOWN_YET = -2 }; /* in place of a label's index */

/* The first line tells whether the lines have labels. */
static vj_status begin_plain(vj_listing *l, const vj_text *text, int64_t number, char *line, int *label)
{
    VJ_TRY(refuse_header(text, number, line));
    if (!find_label(line)) {
        if (!vj_printable(line))
            return vj_text_refuse(text, number,
                                  "found bytes that are no text, expected lines \"path\" or \"path label\", or a first "
                                  "line path,LABEL,... (CSV)");
        *label = NO_LABEL;
        return vj_listing_labels(l, text, number, 0);
    }
    VJ_TRY(vj_listing_label(l, text, number, l->label_name, label));
    VJ_TRY(vj_listing_labels(l, text, number, 1U << *label));
    return vj_listing_fix_classes(l, *label);
}

static vj_status plain_line(vj_listing *l, const vj_text *text, int64_t number, char *line, int label)
{
    char *value = label == NO_LABEL ? NULL : find_label(line);
    if (value) {
        char *end = value - 1;
        while (end > line && strchr(" \t", end[-1])) end--;
        if (end > line && strchr(",;", end[-1]) && strchr(" \t", value[-1])) end--; /* "path, label" */
        while (end > line && strchr(" \t", end[-1])) end--;
        *end = '\0';
    } else if (label != NO_LABEL) {
        return vj_text_refuse(
            text, number,
            "found no label in \"%.200s\", expected \"path label\" as in the first line, or lines that "
            "are all without a label",
            line);
    }
    vj_text_unquote(line);
    vj_listing_begin(l);
    if (value) VJ_TRY(vj_listing_set_label(l, text, number, label, l->names->label_names[label], value, 1));
    return vj_listing_add(l, text, number, line, NULL);
}

vj_status vj_listing_plain(vj_listing *l, vj_text *text)
{
    int label = UNKNOWN_YET;
    int64_t length = 0;
    char *line = malloc(VJ_RECORD_BYTES);
    vj_status status = line ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to read %s", text->name);
    while (status == VJ_OK) {
        int64_t number = text->line;
        status = vj_text_line(text, line, &length);
        if (status != VJ_OK || length < 0) break;
        while (length > 0 && strchr(" \t", line[length - 1])) line[--length] = '\0';
        if (length == 0) continue;
        if (label == UNKNOWN_YET) status = begin_plain(l, text, number, line, &label);
        if (status == VJ_OK) status = plain_line(l, text, number, line, label);
    }
    free(line);
    return status;
}

/* ------------------------------------------------------------------------------------------------ CSV */

typedef vj_status row_reader(vj_listing *l, const vj_text *text, const vj_csv *row, const int *column);

/* Pass all rows to `reader`, with the indices of its fields in `column`. All rows have as many fields as the header. */
static vj_status read_rows(vj_listing *l, vj_text *text, vj_csv *csv, const int *column, row_reader *reader)
{
    int fields = csv->fields;
    for (;;) {
        VJ_TRY(vj_csv_read(csv, text));
        if (csv->fields == 0) return VJ_OK;
        if (csv->fields != fields)
            return vj_text_refuse(text, csv->line, "%d fields, the header has %d; is a quote missing?", csv->fields,
                                  fields);
        vj_listing_begin(l);
        VJ_TRY(reader(l, text, csv, column));
    }
}

static const char *columns_text(const vj_csv *header, char *text, size_t bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < header->fields && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%.60s", i ? ", " : "", header->field[i]);
    return text;
}

/* Find the columns with these names; the first `needed` of them must exist. */
static vj_status find_columns(const vj_text *text, const vj_csv *header, const char *const *names, int count,
                              int needed, int *column)
{
    char shown[256];
    for (int i = 0; i < count; i++) {
        column[i] = vj_csv_column(header, names[i]);
        if (column[i] < 0 && i < needed)
            return vj_text_refuse(text, header->line, "the header has no column %s; its columns are %s", names[i],
                                  columns_text(header, shown, sizeof shown));
    }
    return VJ_OK;
}

static const char *optional(const vj_csv *row, int column)
{
    return column < 0 ? "" : row->field[column];
}

enum { PATH, DATASET, START, END, ID, LABELS }; /* from LABELS on: the label of each field, or -1 */
static const char *const csv_names[] = {"path", "dataset", "start", "end", "id"};

static vj_status set_field(vj_listing *l, const vj_text *text, const vj_csv *row, int field, int label)
{
    const char *name = l->names->label_names[label];
    return vj_listing_set_label(l, text, row->line, label, name, row->field[field], (l->words >> label & 1U) != 0);
}

static vj_status csv_row(vj_listing *l, const vj_text *text, const vj_csv *row, const int *column)
{
    const char *dataset = optional(row, column[DATASET]), *id = optional(row, column[ID]);
    vj_media *m = &l->media;
    if (*dataset) VJ_TRY(vj_listing_dataset(l, text, row->line, dataset, &m->dataset));
    VJ_TRY(vj_listing_parse_seconds(text, row->line, "start", optional(row, column[START]), &m->start_s));
    VJ_TRY(vj_listing_parse_seconds(text, row->line, "end", optional(row, column[END]), &m->end_s));
    for (int i = 0; i < row->fields; i++)
        if (column[LABELS + i] >= 0) VJ_TRY(set_field(l, text, row, i, column[LABELS + i]));
    return vj_listing_add(l, text, row->line, row->field[column[PATH]], *id ? id : NULL);
}

static vj_status csv_header(vj_listing *l, const vj_text *text, const vj_csv *header, int *column)
{
    unsigned labels = 0;
    l->words = 0;
    VJ_TRY(find_columns(text, header, csv_names, LABELS, 1, column));
    for (int i = 0; i < header->fields; i++) {
        const char *name = header->field[i];
        int reserved = 0, *label = &column[LABELS + i];
        for (int k = 0; k < LABELS; k++) reserved |= column[k] == i;
        if (vj_csv_column(header, name) != i)
            return vj_text_refuse(text, header->line, "two columns are called \"%.60s\"", name);
        *label = -1;
        if (reserved) continue;
        VJ_TRY(vj_listing_label(l, text, header->line, name, label));
        if (labels & 1U << *label)
            return vj_text_refuse(text, header->line, "two columns are the label \"%.60s\"",
                                  l->names->label_names[*label]);
        labels |= 1U << *label;
        if (!vj_listing_takes_words(name)) continue;
        l->words |= 1U << *label;
        VJ_TRY(vj_listing_fix_classes(l, *label));
    }
    if (*l->settings->labels && !l->fixed)
        return vj_raise(
            VJ_ERR_USAGE,
            "%s: labels %s gives the names of classes, but no column has label, class or category in its name",
            text->name, l->settings->labels);
    return vj_listing_labels(l, text, header->line, labels);
}

static vj_status csv_list(vj_listing *l, vj_text *text, vj_csv *csv)
{
    int column[LABELS + VJ_CSV_FIELDS];
    VJ_TRY(vj_csv_read(csv, text));
    VJ_TRY(csv_header(l, text, csv, column));
    return read_rows(l, text, csv, column, csv_row);
}

/* ------------------------------------------------------------------------------------------------ published lists */

/* Kinetics lists give the part that was cut out of each video. A file is that part if its name contains the times. */
enum { YOUTUBE, FROM, TO, CLASS, KINETICS };
static const char *const kinetics_names[] = {"youtube_id", "time_start", "time_end", "label"};

static vj_status kinetics_row(vj_listing *l, const vj_text *text, const vj_csv *row, const int *column)
{
    double start_s, end_s;
    const char *class = optional(row, column[CLASS]), *pattern = l->settings->pattern;
    VJ_TRY(vj_listing_parse_seconds(text, row->line, "time_start", row->field[column[FROM]], &start_s));
    VJ_TRY(vj_listing_parse_seconds(text, row->line, "time_end", row->field[column[TO]], &end_s));
    if (start_s < 0 || end_s < 0) return vj_text_refuse(text, row->line, "time_start or time_end is empty");
    if (end_s <= start_s)
        return vj_text_refuse(text, row->line, "time_end, %.9g s, is not after time_start, %.9g s", end_s, start_s);
    if (*class) {
        int label;
        VJ_TRY(vj_listing_label(l, text, row->line, l->label_name, &label));
        VJ_TRY(vj_listing_fix_classes(l, label));
        VJ_TRY(vj_listing_set_class(l, text, row->line, label, class));
    }
    if (*pattern && !strstr(pattern, "{start}") && !strstr(pattern, "{end}")) { /* whole videos */
        l->media.start_s = start_s;
        l->media.end_s = end_s;
    }
    return vj_listing_add_id(l, text, row->line, "{id}_{start}_{end}.mp4", row->field[column[YOUTUBE]], class, start_s,
                             end_s);
}

static vj_status kinetics_list(vj_listing *l, vj_text *text, vj_csv *csv)
{
    int column[KINETICS];
    VJ_TRY(vj_csv_read(csv, text));
    VJ_TRY(find_columns(text, csv, kinetics_names, KINETICS, CLASS, column));
    return read_rows(l, text, csv, column, kinetics_row);
}

static vj_status howto100m_row(vj_listing *l, const vj_text *text, const vj_csv *row, const int *column)
{
    return vj_listing_add_id(l, text, row->line, "{id}.mp4", row->field[column[0]], "", 0, 0);
}

static vj_status howto100m_list(vj_listing *l, vj_text *text, vj_csv *csv)
{
    static const char *const names[] = {"video_id"};
    int column[1];
    VJ_TRY(vj_csv_read(csv, text));
    VJ_TRY(find_columns(text, csv, names, 1, 1, column));
    return read_rows(l, text, csv, column, howto100m_row);
}

static vj_status with_csv(vj_listing *l, vj_text *text, vj_status (*reader)(vj_listing *, vj_text *, vj_csv *))
{
    vj_csv *csv = malloc(sizeof *csv);
    if (!csv) return vj_raise(VJ_ERR_MEMORY, "no memory to read %s", text->name);
    csv->separator = l->separator;
    vj_status status = reader(l, text, csv);
    free(csv);
    return status;
}

vj_status vj_listing_csv(vj_listing *l, vj_text *text)
{
    return with_csv(l, text, csv_list);
}

vj_status vj_listing_kinetics(vj_listing *l, vj_text *text)
{
    return with_csv(l, text, kinetics_list);
}

vj_status vj_listing_howto100m(vj_listing *l, vj_text *text)
{
    return with_csv(l, text, howto100m_list);
}
