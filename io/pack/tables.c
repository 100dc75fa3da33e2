/* Lists of lines and CSV: plain, csv, kinetics, howto100m. */
#include <stdlib.h>
#include <string.h>

#include "pack/csv.h"
#include "pack/listing.h"

/* ------------------------------------------------------------------------------------------------ plain */

static vj_status plain_line(vj_listing *l, const vj_text *text, int64_t number, char *line, int64_t length, int label)
{
    while (length > 0 && line[length - 1] == ' ') line[--length] = '\0';
    if (length == 0) return VJ_OK;
    char *divider = strrchr(line, ' ');
    if (!divider) divider = strrchr(line, ',');
    if (!divider)
        return vj_text_refuse(
            text, number,
            "expected \"path label\", or a first line path,LABEL,... (CSV; \"path\" where there are no labels)");
    *divider = '\0';
    vj_listing_begin(l);
    VJ_TRY(vj_listing_parse_label(text, number, divider + 1, &l->media.labels[label]));
    return vj_listing_add(l, text, number, line, NULL);
}

vj_status vj_listing_plain(vj_listing *l, vj_text *text)
{
    int label;
    int64_t length = 0;
    VJ_TRY(vj_listing_label(l, text, 1, l->label_name, &label));
    VJ_TRY(vj_listing_labels(l, text, 1, 1U << label));
    char *line = malloc(VJ_RECORD_BYTES);
    vj_status status = line ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to read %s", text->name);
    while (status == VJ_OK) {
        int64_t number = text->line;
        status = vj_text_line(text, line, &length);
        if (status != VJ_OK || length < 0) break;
        status = plain_line(l, text, number, line, length, label);
    }
    free(line);
    return status;
}

/* ------------------------------------------------------------------------------------------------ CSV */

typedef vj_status row_reader(vj_listing *l, const vj_text *text, const vj_csv *row, const int *column);

/* Read all rows with a reader that finds its fields in `column`; all rows have as many fields as the header. */
static vj_status read_rows(vj_listing *l, vj_text *text, vj_csv *csv, const int *column, row_reader *reader)
{
    int fields = csv->fields;
    for (;;) {
        VJ_TRY(vj_csv_read(csv, text));
        if (csv->fields == 0) return VJ_OK;
        if (csv->fields != fields)
            return vj_text_refuse(text, csv->line, "%d fields, the header has %d", csv->fields, fields);
        vj_listing_begin(l);
        VJ_TRY(reader(l, text, csv, column));
    }
}

/* The columns by these names; the first `needed` of them must be there. */
static vj_status find_columns(const vj_text *text, const vj_csv *header, const char *const *names, int count,
                              int needed, int *column)
{
    for (int i = 0; i < count; i++) {
        column[i] = vj_csv_column(header, names[i]);
        if (column[i] < 0 && i < needed)
            return vj_text_refuse(text, header->line, "the header has no column %s", names[i]);
    }
    return VJ_OK;
}

static const char *optional(const vj_csv *row, int column)
{
    return column < 0 ? "" : row->field[column];
}

enum { PATH, DATASET, START, END, ID, LABELS }; /* from LABELS: the label of each field, or -1 */
static const char *const csv_names[] = {"path", "dataset", "start", "end", "id"};

static vj_status csv_row(vj_listing *l, const vj_text *text, const vj_csv *row, const int *column)
{
    const char *dataset = optional(row, column[DATASET]), *id = optional(row, column[ID]);
    vj_media *m = &l->media;
    if (*dataset) VJ_TRY(vj_listing_dataset(l, text, row->line, dataset, &m->dataset));
    VJ_TRY(vj_listing_parse_seconds(text, row->line, "start", optional(row, column[START]), &m->start_s));
    VJ_TRY(vj_listing_parse_seconds(text, row->line, "end", optional(row, column[END]), &m->end_s));
    for (int i = 0; i < row->fields; i++)
        if (column[LABELS + i] >= 0)
            VJ_TRY(vj_listing_parse_label(text, row->line, row->field[i], &m->labels[column[LABELS + i]]));
    return vj_listing_add(l, text, row->line, row->field[column[PATH]], *id ? id : NULL);
}

static vj_status csv_header(vj_listing *l, const vj_text *text, const vj_csv *header, int *column)
{
    unsigned labels = 0;
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
        labels |= 1U << *label;
    }
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

/* Kinetics lists say what was cut out of which video: the files hold just that. */
enum { YOUTUBE, FROM, TO, CLASS, KINETICS };
static const char *const kinetics_names[] = {"youtube_id", "time_start", "time_end", "label"};

static vj_status kinetics_row(vj_listing *l, const vj_text *text, const vj_csv *row, const int *column)
{
    double start_s, end_s;
    const char *class = optional(row, column[CLASS]);
    VJ_TRY(vj_listing_parse_seconds(text, row->line, "time_start", row->field[column[FROM]], &start_s));
    VJ_TRY(vj_listing_parse_seconds(text, row->line, "time_end", row->field[column[TO]], &end_s));
    if (start_s < 0 || end_s < 0) return vj_text_refuse(text, row->line, "time_start or time_end is empty");
    if (*l->settings->labels && *class) {
        int label;
        VJ_TRY(vj_listing_label(l, text, row->line, l->label_name, &label));
        VJ_TRY(vj_listing_class(l, text, row->line, class, &l->media.labels[label]));
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
