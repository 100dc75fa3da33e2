/* Converts measured points of a scaling study from JSON of vjepa-bench step to rows of CSV. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/sort.h"
#include "scaling/scaling.h"

enum { STUDY = 64, REPEATS = 64, PHASES = 16 };

/* A phase of a point: minimum, mean and maximum over the ranks of each rank's median over the steps, and the rank of
 * the maximum. */
typedef struct {
    char name[32], node[64];
    double min, mean, max;
    int64_t slowest;
} phase;

typedef struct {
    char study[STUDY], machine[64];
    int64_t ranks, nodes, tensor, clips;
    int repeats, phases;
    double min, max, median[REPEATS]; /* seconds of a step */
    phase phase[PHASES];              /* of the fastest repetition */
} point;

static double number(const json_t *object, const char *key, double otherwise)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

/* Make a name for a cell of CSV, without characters that would need quotes. */
static void put_name(char *to, size_t bytes, const char *from, size_t length)
{
    size_t used = 0;
    for (size_t i = 0; i < length && used + 1 < bytes; i++)
        if (from[i] != ',' && from[i] != '"' && (unsigned char)from[i] >= ' ') to[used++] = from[i];
    to[used] = '\0';
}

static void read_phases(point *p, const json_t *report)
{
    size_t i;
    json_t *row;
    p->phases = 0;
    json_array_foreach(json_object_get(report, "phases_over_ranks"), i, row)
    {
        if (p->phases == PHASES) return;
        phase *f = &p->phase[p->phases++];
        put_name(f->name, sizeof f->name, text(row, "phase"), strlen(text(row, "phase")));
        put_name(f->node, sizeof f->node, text(row, "slowest_node"), strlen(text(row, "slowest_node")));
        f->min = number(row, "min", NAN);
        f->mean = number(row, "mean", NAN);
        f->max = number(row, "max", NAN);
        f->slowest = (int64_t)number(row, "slowest_rank", 0);
    }
}

static vj_status read_point(point *p, const char *path)
{
    json_error_t error;
    json_t *report = json_load_file(path, 0, &error);
    if (!report && error.line < 0) return vj_raise(VJ_ERR_IO, "open %s", path);
    if (!report) return vj_raise(VJ_ERR_FORMAT, "%s:%d: this is not JSON: %s", path, error.line, error.text);
    const json_t *step = json_object_get(report, "step_s");
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    *p = (point){.ranks = (int64_t)number(report, "ranks", 0),
                 .nodes = (int64_t)number(report, "nodes", 1),
                 .tensor = (int64_t)number(report, "tensor_ranks", 1),
                 .clips = (int64_t)number(report, "clips", 0),
                 .repeats = 1,
                 .min = number(step, "min", NAN),
                 .max = number(step, "max", NAN)};
    p->median[0] = number(step, "median", NAN);
    put_name(p->study, sizeof p->study, name, strcspn(name, "."));
    put_name(p->machine, sizeof p->machine, text(report, "host"), strlen(text(report, "host")));
    read_phases(p, report);
    json_decref(report);
    if (p->ranks < 1 || p->clips < 1 || !(p->min > 0))
        return vj_raise(VJ_ERR_FORMAT, "%s: no result of vjepa-bench step --json (ranks, clips, step_s.min)", path);
    return VJ_OK;
}

/* Add a repetition of the point `to`. */
static vj_status merge(point *to, const point *from, const char *path)
{
    if (to->clips != from->clips || to->nodes != from->nodes)
        return vj_raise(VJ_ERR_FORMAT,
                        "%s: %lld clips on %lld nodes; another repetition of %s with %lld ranks has %lld on %lld", path,
                        (long long)from->clips, (long long)from->nodes, to->study, (long long)to->ranks,
                        (long long)to->clips, (long long)to->nodes);
    if (to->repeats == REPEATS) return vj_raise(VJ_ERR_FORMAT, "%s: more than %d repetitions", path, REPEATS);
    to->median[to->repeats++] = from->median[0];
    if (from->min < to->min) {
        to->min = from->min;
        to->phases = from->phases;
        memcpy(to->phase, from->phase, sizeof to->phase);
    }
    to->max = fmax(to->max, from->max);
    return VJ_OK;
}

/* Order points by study, then tensor groups, then ranks. */
static int in_order(const void *a, const void *b)
{
    const point *x = a, *y = b;
    const int study = strcmp(x->study, y->study);
    if (study) return study;
    if (x->tensor != y->tensor) return x->tensor < y->tensor ? -1 : 1;
    return (x->ranks > y->ranks) - (x->ranks < y->ranks);
}

static double median_of(point *p)
{
    vj_sort_doubles(p->median, p->repeats);
    return vj_sorted_median(p->median, p->repeats);
}

/* Write the points. Efficiency is clips a second and rank, by the fastest step, relative to the point of the study with
 * the fewest ranks. */
static vj_status write_points(point *points, int count, const char *path)
{
    vj_file file = VJ_FILE_NONE;
    const point *first = points;
    VJ_TRY(vj_file_begin_text(&file, path));
    fputs(VJ_SCALING_CSV_BEGIN "machine,tensor,clips,repeats,step_s_min,step_s_median,step_s_max,clips_per_s,"
                               "efficiency,node_hours_per_1000_steps\n",
          file.stream);
    for (int i = 0; i < count; i++) {
        point *p = &points[i];
        if (strcmp(p->study, first->study) != 0) first = p;
        const double median = median_of(p), each = (double)p->clips / p->min / (double)p->ranks;
        const double base = (double)first->clips / first->min / (double)first->ranks;
        fprintf(file.stream, "%lld,%lld,%s,%s,%s,%lld,%lld,%d,%.6g,%.6g,%.6g,%.6g,%.4f,%.6g\n", (long long)p->ranks,
                (long long)p->nodes, p->study, VJ_SCALING_MEASURED, p->machine, (long long)p->tensor,
                (long long)p->clips, p->repeats, p->min, median, p->max, (double)p->clips / median, each / base,
                1000 * median * (double)p->nodes / 3600);
    }
    return vj_file_commit(&file);
}

static vj_status write_phases(const point *points, int count, const char *path)
{
    vj_file file = VJ_FILE_NONE;
    VJ_TRY(vj_file_begin_text(&file, path));
    fputs(VJ_SCALING_PHASES_BEGIN "min_s,mean_s,max_s,slowest_rank,slowest_node\n", file.stream);
    for (int i = 0; i < count; i++)
        for (int f = 0; f < points[i].phases; f++) {
            const phase *p = &points[i].phase[f];
            fprintf(file.stream, "%s,%s,%lld,%lld,%.6g,%.6g,%.6g,%lld,%s\n", p->name, points[i].study,
                    (long long)points[i].tensor, (long long)points[i].ranks, p->min, p->mean, p->max,
                    (long long)p->slowest, p->node);
        }
    return vj_file_commit(&file);
}

static vj_status read_all(point *points, int *count, const char *const *files, int files_count)
{
    for (int i = 0; i < files_count; i++) {
        point next;
        int k = 0;
        VJ_TRY(read_point(&next, files[i]));
        while (k < *count && in_order(&points[k], &next) != 0) k++;
        if (k == *count)
            points[(*count)++] = next;
        else
            VJ_TRY(merge(&points[k], &next, files[i]));
    }
    return VJ_OK;
}

vj_status vj_scaling_points(const char *const *files, int files_count, const char *folder)
{
    char path[VJ_PATH];
    int count = 0;
    point *points = vj_calloc(files_count, sizeof *points);
    if (!points) return vj_raise(VJ_ERR_MEMORY, "no memory for %d points", files_count);
    vj_status status = read_all(points, &count, files, files_count);
    if (status == VJ_OK) {
        qsort(points, (size_t)count, sizeof *points, in_order);
        snprintf(path, sizeof path, "%s/phases.csv", folder);
        status = write_phases(points, count, path);
    }
    if (status == VJ_OK) {
        snprintf(path, sizeof path, "%s/scaling.csv", folder);
        status = write_points(points, count, path);
    }
    free(points);
    return status;
}
