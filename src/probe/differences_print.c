/* Differences of encoders as Markdown, CSV and JSON. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/csv_table.h"
#include "base/markup.h"
#include "probe/columns.h"
#include "probe/differences.h"

enum { MAX_LINES = 100 };

/* ------------------------------------------------------------------------------------------------ Markdown */

static void print_interval(FILE *out, double low, double high)
{
    if (isnan(low))
        fprintf(out, " |");
    else
        fprintf(out, " [%+.1f, %+.1f] |", low, high);
}

static void print_line(FILE *out, const vj_difference *d)
{
    char verdict[VJ_HEAD_NAME + 32];
    vj_difference_verdict(verdict, sizeof verdict, d);
    fputc('|', out);
    vj_put_markdown_cell(out, d->task);
    vj_put_markdown_cell(out, d->kind);
    fprintf(out, " %g %% |", d->labels);
    vj_put_markdown_cell(out, d->a);
    vj_put_markdown_cell(out, d->b);
    fprintf(out, " %+.1f |", d->over.mean);
    print_interval(out, d->over.mean - d->over.half, d->over.mean + d->over.half);
    print_interval(out, d->low, d->high);
    fprintf(out, d->seeds > 1 ? " %.2g to %.2g |" : " %.2g |", d->p_least, d->p_most);
    vj_put_markdown_cell(out, verdict);
    fputc('\n', out);
}

void vj_differences_print(FILE *out, const vj_differences *d)
{
    if (d->count == 0) return;
    fprintf(
        out,
        "\nDifferences of encoders in points of top-1, with 95 %% intervals: over seeds (Student's, of the mean over "
        "the seeds of the probe, which also draw the split) and over clips (paired bootstrap). McNemar: how often "
        "equal probes would differ as much on these clips%s.\n\n"
        "| task | pooling | labels | encoder | minus | difference | over seeds | over clips | McNemar's p | |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n",
        d->item[0].seeds > 1 ? ", of the seed with the least and the one with the most" : "");
    for (int64_t i = 0; i < d->count && i < MAX_LINES; i++) print_line(out, &d->item[i]);
    if (d->count > MAX_LINES)
        fprintf(out, "\nThe other %lld differences are in differences.csv.\n", (long long)(d->count - MAX_LINES));
    if (d->count > 1)
        fprintf(out, "\n%lld comparisons: of equal encoders one in twenty has p below 0.05 by chance.\n",
                (long long)d->count);
}

/* ------------------------------------------------------------------------------------------------ CSV */

static void put_number(FILE *out, double value)
{
    if (isnan(value))
        fputc(',', out);
    else
        fprintf(out, ",%.17g", value);
}

void vj_differences_csv(FILE *out, const vj_differences *differences)
{
    fprintf(out, VJ_DIFFERENCES_CSV_BEGIN "validation_clips,seeds,difference_points,std_points,t_low,t_high,"
                                          "bootstrap_low,bootstrap_high,mcnemar_p_least,mcnemar_p_most\n");
    for (int64_t i = 0; i < differences->count; i++) {
        const vj_difference *d = &differences->item[i];
        vj_csv_put_text(out, d->task);
        fprintf(out, ",%s,%g,", d->kind, d->labels);
        vj_csv_put_text(out, d->a);
        fputc(',', out);
        vj_csv_put_text(out, d->b);
        fprintf(out, ",%lld,%lld", (long long)d->clips, (long long)d->seeds);
        put_number(out, d->over.mean);
        put_number(out, d->seeds > 1 ? d->over.sd : NAN);
        put_number(out, d->over.mean - d->over.half);
        put_number(out, d->over.mean + d->over.half);
        put_number(out, d->low);
        put_number(out, d->high);
        put_number(out, d->p_least);
        put_number(out, d->p_most);
        fputc('\n', out);
    }
}

/* ------------------------------------------------------------------------------------------------ JSON */

static json_t *interval(double low, double high)
{
    return isnan(low) ? json_null() : json_pack("[f,f]", low, high);
}

static json_t *object_of(const vj_difference *d)
{
    char verdict[VJ_HEAD_NAME + 32];
    vj_difference_verdict(verdict, sizeof verdict, d);
    return json_pack("{s:o, s:I, s:I, s:f, s:o, s:o, s:o, s:[f,f], s:o}", "minus", vj_json_text(d->b),
                     "validation_clips", (json_int_t)d->clips, "seeds", (json_int_t)d->seeds, "difference",
                     d->over.mean, "std", d->seeds > 1 ? json_real(d->over.sd) : json_null(), "t_interval",
                     interval(d->over.mean - d->over.half, d->over.mean + d->over.half), "bootstrap_interval",
                     interval(d->low, d->high), "mcnemar_p", d->p_least, d->p_most, "verdict", vj_json_text(verdict));
}

json_t *vj_differences_json(const vj_differences *differences, const char *task, const char *kind, double labels,
                            const char *encoder)
{
    json_t *list = json_array();
    for (int64_t i = 0; list && i < differences->count; i++) {
        const vj_difference *d = &differences->item[i];
        if (strcmp(d->task, task) != 0 || strcmp(d->kind, kind) != 0 || d->labels != labels ||
            strcmp(d->a, encoder) != 0)
            continue;
        if (json_array_append_new(list, object_of(d)) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

/* Return number i of an array, or for i = -1 the number itself; NaN if there is none. */
static double number_of(const json_t *object, const char *key, int i)
{
    const json_t *value = json_object_get(object, key);
    if (i >= 0) value = json_array_get(value, (size_t)i);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

vj_status vj_differences_add_json(vj_differences *d, const char *task, const char *kind, double labels,
                                  const char *encoder, const json_t *array)
{
    size_t i;
    const json_t *o;
    json_array_foreach(array, i, o)
    {
        const char *minus = json_string_value(json_object_get(o, "minus"));
        const double mean = number_of(o, "difference", -1), sd = number_of(o, "std", -1);
        if (!minus || isnan(mean)) continue;
        vj_difference *more = realloc(d->item, (size_t)(d->count + 1) * sizeof *more);
        if (!more) return vj_raise(VJ_ERR_MEMORY, "no memory for differences");
        d->item = more;
        vj_difference *to = &d->item[d->count++];
        *to = (vj_difference){.labels = labels,
                              .clips = json_integer_value(json_object_get(o, "validation_clips")),
                              .seeds = json_integer_value(json_object_get(o, "seeds")),
                              .over = {mean, isnan(sd) ? 0.0 : sd, number_of(o, "t_interval", 1) - mean},
                              .low = number_of(o, "bootstrap_interval", 0),
                              .high = number_of(o, "bootstrap_interval", 1),
                              .p_least = number_of(o, "mcnemar_p", 0),
                              .p_most = number_of(o, "mcnemar_p", 1)};
        snprintf(to->task, sizeof to->task, "%s", task);
        snprintf(to->kind, sizeof to->kind, "%s", kind);
        snprintf(to->a, sizeof to->a, "%s", encoder);
        snprintf(to->b, sizeof to->b, "%s", minus);
    }
    return VJ_OK;
}
