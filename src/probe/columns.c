/* Rows of results as CSV and JSON, from one list of columns. */
#include "probe/columns.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/csv_table.h"
#include "base/markup.h"

typedef enum { TEXT, COUNT, INT, NUMBER, DIGEST, DERIVED } kind;

typedef struct {
    const char *csv, *json; /* headings */
    kind kind;
    const char *format;   /* printf format of a NUMBER or DERIVED in CSV */
    size_t offset, bytes; /* in vj_probe_row */
    double (*derive)(const vj_probe_row *);
} column;

static double low_of(const vj_probe_row *row)
{
    double low, high;
    vj_probe_row_interval(row, &low, &high);
    return low;
}

static double high_of(const vj_probe_row *row)
{
    double low, high;
    vj_probe_row_interval(row, &low, &high);
    return high;
}

static double difference_of(const vj_probe_row *row)
{
    return row->top1_mean - row->paper;
}

#define AT(field) offsetof(vj_probe_row, field), sizeof(((vj_probe_row *)0)->field), NULL

static const column columns[] = {
    {"task", "task", TEXT, NULL, AT(task)},
    {"encoder", "encoder", TEXT, NULL, AT(encoder)},
    {"pooling", "pooling", TEXT, NULL, AT(kind)},
    {"labels_percent", "labels", NUMBER, "%g", AT(labels)},
    {"training_clips", "training_clips", COUNT, NULL, AT(training_clips)},
    {"validation_clips", "validation_clips", COUNT, NULL, AT(validation_clips)},
    {"seeds", "seeds", COUNT, NULL, AT(seeds)},
    {"top1_mean_percent", "top1_mean", NUMBER, "%.3f", AT(top1_mean)},
    {"top1_std_percent", "top1_std", NUMBER, "%.3f", AT(top1_std)},
    {"top1_error_percent", "top1_error", DERIVED, "%.3f", 0, 0, vj_probe_row_error},
    {"effective_rank", "effective_rank", NUMBER, "%.2f", AT(effective_rank)},
    {"top1_low_percent", "top1_low", DERIVED, "%.3f", 0, 0, low_of},
    {"top1_high_percent", "top1_high", DERIVED, "%.3f", 0, 0, high_of},
    {"top5_mean_percent", "top5_mean", NUMBER, "%.3f", AT(top5)},
    {"mean_class_percent", "mean_class", NUMBER, "%.3f", AT(mean_class)},
    {"classes", "class_count", INT, NULL, AT(classes)},
    {"width", "width", INT, NULL, AT(width)},
    {"epochs", "epochs", COUNT, NULL, AT(epochs)},
    {"validation_failed", "validation_failed", COUNT, NULL, AT(failed)},
    {"features", "features", TEXT, NULL, AT(features)},
    {"preset", "preset", TEXT, NULL, AT(preset)},
    {"split", "split", TEXT, NULL, AT(split)},
    {"encoder_digest", "encoder_digest", DIGEST, NULL, AT(encoder_digest)},
    {"probe_digest", "probe_digest", DIGEST, NULL, AT(probe_digest)},
    {"train_digest", "train_digest", DIGEST, NULL, AT(train_digest)},
    {"validation_digest", "validation_digest", DIGEST, NULL, AT(validation_digest)},
    {"class_digest", "class_digest", DIGEST, NULL, AT(class_digest)},
    {"split_digest", "split_digest", DIGEST, NULL, AT(split_digest)},
    {"paper_percent", "paper", NUMBER, "%g", AT(paper)},
    {"difference_percent", "difference", DERIVED, "%.3f", 0, 0, difference_of},
    {"paper_cell", "paper_cell", TEXT, NULL, AT(paper_cell)},
    {"views", "views", TEXT, NULL, AT(views)},
    {"precision", "precision", TEXT, NULL, AT(precision)},
    {"training_failed", "training_failed", COUNT, NULL, AT(training_failed)},
    {"top1_as_published_percent", "top1_as_published", NUMBER, "%.3f", AT(as_published)},
};
enum { COLUMNS = sizeof columns / sizeof columns[0], LATER = 4 /* last ones; older files lack them */ };

void vj_columns_csv_head(FILE *out)
{
    for (int i = 0; i < COLUMNS; i++) fprintf(out, "%s%s", i ? "," : "", columns[i].csv);
    fputc('\n', out);
}

static void put_number(FILE *out, const char *format, double value)
{
    char text[64];
    if (isnan(value)) return;
    if (strcmp(format, "%g") == 0)
        snprintf(text, sizeof text, "%g", value);
    else if (strcmp(format, "%.2f") == 0)
        snprintf(text, sizeof text, "%.2f", value);
    else
        snprintf(text, sizeof text, "%.3f", value);
    fputs(text, out);
}

void vj_columns_csv_row(FILE *out, const vj_probe_row *row)
{
    for (int i = 0; i < COLUMNS; i++) {
        const column *c = &columns[i];
        const char *at = (const char *)row + c->offset;
        if (i) fputc(',', out);
        switch (c->kind) {
        case TEXT:
            vj_csv_put_text(out, at);
            break;
        case COUNT:
            fprintf(out, "%" PRId64, *(const int64_t *)at);
            break;
        case INT:
            fprintf(out, "%d", *(const int *)at);
            break;
        case NUMBER:
            put_number(out, c->format, *(const double *)at);
            break;
        case DIGEST:
            if (*(const uint64_t *)at) fprintf(out, "%016" PRIx64, *(const uint64_t *)at);
            break;
        case DERIVED:
            put_number(out, c->format, c->derive(row));
            break;
        }
    }
    fputc('\n', out);
}

/* ------------------------------------------------------------------------------------------------ JSON */

json_t *vj_json_text(const char *text)
{
    char *copy = vj_utf8_copy(text);
    json_t *value = copy ? json_string(copy) : NULL;
    free(copy);
    return value;
}

static json_t *number_or_null(double value)
{
    return isnan(value) ? json_null() : json_real(value);
}

/* Sixteen hexadecimal digits, as programs print it: a JSON number would lose digits. */
static json_t *digest_or_null(uint64_t digest)
{
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, digest);
    return digest ? json_string(text) : json_null();
}

static json_t *value_of(const column *c, const vj_probe_row *row)
{
    const char *at = (const char *)row + c->offset;
    switch (c->kind) {
    case TEXT:
        return vj_json_text(at);
    case COUNT:
        return json_integer(*(const int64_t *)at);
    case INT:
        return json_integer(*(const int *)at);
    case NUMBER:
        return number_or_null(*(const double *)at);
    case DIGEST:
        return digest_or_null(*(const uint64_t *)at);
    case DERIVED:
        return number_or_null(c->derive(row));
    }
    return NULL;
}

json_t *vj_columns_to_json(const vj_probe_row *row, bool derived)
{
    json_t *object = json_object();
    for (int i = 0; object && i < COLUMNS; i++) {
        if (columns[i].kind == DERIVED && !derived) continue;
        if (json_object_set_new(object, columns[i].json, value_of(&columns[i], row)) == 0) continue;
        json_decref(object);
        return NULL;
    }
    return object;
}

static bool read_digest(uint64_t *digest, const json_t *value)
{
    char *end;
    if (json_is_null(value)) return true;
    const char *text = json_string_value(value);
    if (!text || strlen(text) != 16) return false;
    errno = 0;
    *digest = strtoull(text, &end, 16);
    return *end == '\0' && errno == 0;
}

static bool read_value(const column *c, vj_probe_row *row, const json_t *value)
{
    char *at = (char *)row + c->offset;
    switch (c->kind) {
    case TEXT:
        if (!json_is_string(value) || json_string_length(value) >= c->bytes) return false;
        strcpy(at, json_string_value(value));
        return true;
    case COUNT:
        *(int64_t *)at = json_integer_value(value);
        return json_is_integer(value);
    case INT:
        *(int *)at = (int)json_integer_value(value);
        return json_is_integer(value) && json_integer_value(value) == *(int *)at;
    case NUMBER:
        *(double *)at = json_is_null(value) ? NAN : json_number_value(value);
        return json_is_null(value) || json_is_number(value);
    case DIGEST:
        return read_digest((uint64_t *)at, value);
    case DERIVED:
        return true;
    }
    return false;
}

bool vj_columns_from_json(vj_probe_row *row, const json_t *object)
{
    *row = (vj_probe_row){VJ_PROBE_ROW_UNKNOWN};
    for (int i = 0; i < COLUMNS; i++) {
        if (columns[i].kind == DERIVED) continue;
        const json_t *value = json_object_get(object, columns[i].json);
        if (!value && i >= COLUMNS - LATER) continue;
        if (!value || !read_value(&columns[i], row, value)) return false;
    }
    return true;
}
