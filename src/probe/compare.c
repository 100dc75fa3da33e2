/* Selects heads, pairs them, checks that they were measured on the same samples, and compares them. */
#include "probe/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------ selection */

/* First tries the whole text as the name of a file, since names may contain colons. */
vj_status vj_selection_split(const char *text, char path[VJ_PATH], char select[VJ_HEAD_NAME])
{
    static const char in_folder[] = "/predictions.h5";
    struct stat info;
    const char *colon = strrchr(text, ':');
    const size_t length = colon && access(text, F_OK) != 0 ? (size_t)(colon - text) : strlen(text);
    if (length + strlen(in_folder) >= VJ_PATH || strlen(text) - length > VJ_HEAD_NAME)
        return vj_raise(VJ_ERR_USAGE, "too long: %s", text);
    snprintf(path, VJ_PATH, "%.*s", (int)length, text);
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) strcat(path, in_folder);
    snprintf(select, VJ_HEAD_NAME, "%s", text[length] ? text + length + 1 : "");
    return VJ_OK;
}

/* List the encoders of a file, each once, "pretrained, random_fan_in". */
static void list_encoders(char *list, size_t bytes, const vj_predictions *p)
{
    size_t used = 0;
    *list = '\0';
    for (int64_t i = 0; i < p->count; i++) {
        bool seen = false;
        for (int64_t k = 0; k < i; k++) seen |= strcmp(p->head[k].encoder, p->head[i].encoder) == 0;
        if (seen || used >= bytes) continue;
        used += (size_t)snprintf(list + used, bytes - used, "%s%s", used ? ", " : "", p->head[i].encoder);
    }
}

static vj_status select_heads(vj_selection *s, const char *text)
{
    char list[512];
    const vj_predictions *p = &s->file;
    const int64_t exact = vj_predictions_find(p, s->select);
    s->head = vj_calloc(p->count + 1, sizeof *s->head);
    if (!s->head) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld heads", (long long)p->count);
    for (int64_t i = 0; i < p->count; i++)
        if (exact >= 0 ? i == exact : !*s->select || strcmp(p->head[i].encoder, s->select) == 0)
            s->head[s->count++] = i;
    list_encoders(list, sizeof list, p);
    if (s->count == 0)
        return vj_raise(VJ_ERR_USAGE, "%s: %s has no head and no encoder '%s'; its encoders: %s; its first head: %s",
                        text, p->path, s->select, list, p->count ? p->head[0].name : "none");
    for (int64_t i = 1; i < s->count; i++)
        if (strcmp(p->head[s->head[i]].encoder, p->head[s->head[0]].encoder) != 0)
            return vj_raise(VJ_ERR_USAGE, "%s has several encoders (%s): choose one, %s:%s", p->path, list, p->path,
                            p->head[s->head[0]].encoder);
    return VJ_OK;
}

vj_status vj_selection_open(vj_selection *s, const char *text)
{
    char path[VJ_PATH];
    *s = (vj_selection){0};
    VJ_TRY(vj_selection_split(text, path, s->select));
    VJ_TRY(vj_predictions_open(&s->file, path));
    return select_heads(s, text);
}

void vj_selection_release(vj_selection *s)
{
    vj_predictions_release(&s->file);
    free(s->head);
    *s = (vj_selection){0};
}

/* ------------------------------------------------------------------------------------------------ the same samples? */

/* The predictions of one head, sorted. */
typedef struct {
    const vj_predictions *file;
    const vj_head_facts *head;
    vj_prediction *rows;
    vj_clips_classes classes;
} side;

static int by_clip(const void *a, const void *b)
{
    const vj_prediction *x = a, *y = b;
    return (x->clip > y->clip) - (x->clip < y->clip);
}

static int by_content(const void *a, const void *b)
{
    const vj_prediction *x = a, *y = b;
    if (x->content != y->content) return x->content > y->content ? 1 : -1;
    return x->label != y->label ? (x->label > y->label) - (x->label < y->label) : by_clip(a, b);
}

/* Report that a clip is in one of the two files only. */
static vj_status refuse_clip(const side *a, const side *b, const vj_prediction *one, bool only_a)
{
    return vj_raise(VJ_ERR_USAGE,
                    "clip %lld is in %s alone, not in %s (%lld and %lld samples): only predictions of the same samples "
                    "can be compared",
                    (long long)one->clip, (only_a ? a : b)->file->path, (only_a ? b : a)->file->path,
                    (long long)a->head->counted, (long long)b->head->counted);
}

static vj_status check_samples(const side *a, const side *b)
{
    const bool one_store = a->head->store_digest == b->head->store_digest;
    int (*order)(const void *, const void *) = one_store ? by_clip : by_content;
    qsort(a->rows, (size_t)a->head->counted, sizeof *a->rows, order);
    qsort(b->rows, (size_t)b->head->counted, sizeof *b->rows, order);
    for (int64_t i = 0; i < a->head->counted || i < b->head->counted; i++) {
        if (i >= a->head->counted) return refuse_clip(a, b, &b->rows[i], false);
        if (i >= b->head->counted) return refuse_clip(a, b, &a->rows[i], true);
        const vj_prediction *x = &a->rows[i], *y = &b->rows[i];
        if (!one_store && (x->content == 0 || y->content == 0))
            return vj_raise(VJ_ERR_USAGE,
                            "%s and %s are of different stores (%016llx, %016llx), and one has no checksums of clips: "
                            "whether they are the same clips cannot be told",
                            a->file->path, b->file->path, (unsigned long long)a->head->store_digest,
                            (unsigned long long)b->head->store_digest);
        const bool same = one_store ? x->clip == y->clip : x->content == y->content;
        if (!same) return order(x, y) < 0 ? refuse_clip(a, b, x, true) : refuse_clip(a, b, y, false);
        if (x->label != y->label)
            return vj_raise(VJ_ERR_USAGE, "clip %lld is of class %d in %s and of class %d in %s", (long long)x->clip,
                            x->label, a->file->path, y->label, b->file->path);
    }
    return VJ_OK;
}

/* Class numbers must have the same names on both sides, or different answers would be right. */
static vj_status check_classes(const side *a, const side *b)
{
    if (strcmp(a->head->task, b->head->task) != 0)
        return vj_raise(VJ_ERR_USAGE, "%s is of task %s, %s of task %s", a->head->name, a->head->task, b->head->name,
                        b->head->task);
    const int64_t both = a->classes.count < b->classes.count ? a->classes.count : b->classes.count;
    for (int64_t k = 0; k < both; k++) {
        const char *x = vj_clips_classes_name(&a->classes, k), *y = vj_clips_classes_name(&b->classes, k);
        if (strcmp(x, y) != 0)
            return vj_raise(VJ_ERR_USAGE,
                            "class %lld of %s is '%s' in %s and '%s' in %s: the classes are in another order",
                            (long long)k, a->head->task, x, a->file->path, y, b->file->path);
    }
    return VJ_OK;
}

static vj_status read_side(side *s, const vj_selection *from, int64_t at)
{
    *s = (side){.file = &from->file, .head = &from->file.head[from->head[at]]};
    VJ_TRY(vj_predictions_read(s->file, from->head[at], &s->rows));
    return vj_predictions_classes(s->file, s->head->task, &s->classes);
}

static void release_side(side *s)
{
    free(s->rows);
    vj_clips_classes_release(&s->classes);
}

/* ------------------------------------------------------------------------------------------------ one pair */

static void rate(const vj_prediction *rows, int64_t n, uint8_t *right, double *top1, double *top5, double *low,
                 double *high)
{
    int64_t first = 0, five = 0;
    for (int64_t i = 0; i < n; i++) {
        right[i] = rows[i].rank == 0;
        first += right[i];
        five += rows[i].rank < VJ_TOP;
    }
    *top1 = 100.0 * (double)first / (double)n;
    *top5 = 100.0 * (double)five / (double)n;
    vj_wilson_interval((double)first / (double)n, (double)n, low, high);
    *low *= 100.0;
    *high *= 100.0;
}

static vj_status count_pair(vj_comparison *c, const side *a, const side *b)
{
    const int64_t n = a->head->counted;
    VJ_TRY(check_classes(a, b));
    VJ_TRY(check_samples(a, b));
    if (n == 0) return vj_raise(VJ_ERR_USAGE, "%s has no samples", a->head->name);
    uint8_t *right = vj_calloc(2 * n, 1);
    *c = (vj_comparison){.a = a->head, .b = b->head, .samples = n, .surplus = vj_calloc(n, sizeof *c->surplus)};
    if (!right || !c->surplus) {
        free(right);
        return vj_raise(VJ_ERR_MEMORY, "no memory for %lld samples", (long long)n);
    }
    rate(a->rows, n, right, &c->top1_a, &c->top5_a, &c->low_a, &c->high_a);
    rate(b->rows, n, right + n, &c->top1_b, &c->top5_b, &c->low_b, &c->high_b);
    c->counts = vj_metrics_pair(right, right + n, n);
    c->difference = 100.0 * (double)(c->counts.only_a - c->counts.only_b) / (double)n;
    c->p = vj_mcnemar(c->counts.only_a, c->counts.only_b);
    for (int64_t i = 0; i < n; i++) c->surplus[i] = right[i] - right[n + i];
    free(right);
    return VJ_OK;
}

static vj_status compare_pair(vj_comparison *c, const vj_selection *from_a, int64_t at_a, const vj_selection *from_b,
                              int64_t at_b)
{
    side a = {0}, b = {0};
    vj_status status = read_side(&a, from_a, at_a);
    if (status == VJ_OK) status = read_side(&b, from_b, at_b);
    if (status == VJ_OK) status = count_pair(c, &a, &b);
    release_side(&a);
    release_side(&b);
    return status;
}

/* ------------------------------------------------------------------------------------------------ all pairs */

bool vj_heads_alike(const vj_head_facts *a, const vj_head_facts *b)
{
    return strcmp(a->task, b->task) == 0 && strcmp(a->kind, b->kind) == 0 && a->labels == b->labels;
}

int64_t vj_selection_partner(const vj_selection *in, const vj_head_facts *of)
{
    for (int64_t i = 0; i < in->count; i++) {
        const vj_head_facts *h = &in->file.head[in->head[i]];
        if (vj_heads_alike(h, of) && h->seed == of->seed) return i;
    }
    return -1;
}

static int by_group(const void *x, const void *y)
{
    const vj_head_facts *a = ((const vj_comparison *)x)->a, *b = ((const vj_comparison *)y)->a;
    const int task = strcmp(a->task, b->task), kind = strcmp(a->kind, b->kind);
    if (task != 0 || kind != 0) return task != 0 ? task : kind;
    if (a->labels != b->labels) return a->labels > b->labels ? -1 : 1;
    return (a->seed > b->seed) - (a->seed < b->seed);
}

/* Compute for a group of several seeds the sum of their surplus of each clip, and the range of McNemar's p. *surplus
 * becomes NULL if the seeds do not have the same clips. */
static vj_status sum_group(vj_comparison_group *g, const vj_comparison *pair, int32_t **surplus)
{
    const int64_t n = pair->samples;
    bool same = true;
    *surplus = NULL;
    g->low = g->high = NAN;
    g->p_least = g->p_most = pair->p;
    for (int64_t k = 1; k < g->count; k++) {
        g->p_least = fmin(g->p_least, pair[k].p);
        g->p_most = fmax(g->p_most, pair[k].p);
        same &= pair[k].samples == n && pair[k].a->store_digest == pair->a->store_digest;
    }
    if (!same) return VJ_OK;
    *surplus = vj_calloc(n, sizeof **surplus);
    if (!*surplus) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld samples", (long long)n);
    for (int64_t k = 0; k < g->count; k++)
        for (int64_t i = 0; i < n; i++) (*surplus)[i] += pair[k].surplus[i];
    return VJ_OK;
}

/* Compute the intervals of a group and of its pairs, from the same draws. */
static vj_status resample_group(vj_comparison_group *g, vj_comparison *pair, int64_t resamples, uint64_t seed)
{
    int32_t *surplus;
    vj_resampled *all = vj_calloc(g->count + 1, sizeof *all);
    if (!all) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld comparisons", (long long)g->count);
    vj_status status = sum_group(g, pair, &surplus);
    for (int64_t k = 0; k < g->count; k++) all[k] = (vj_resampled){.surplus = pair[k].surplus, .runs = 1};
    if (surplus) {
        all[g->count] = (vj_resampled){.surplus = surplus, .runs = g->count};
        if (status == VJ_OK) status = vj_metrics_bootstrap(all, g->count + 1, pair->samples, resamples, seed);
        g->low = all[g->count].low;
        g->high = all[g->count].high;
    }
    for (int64_t k = 0; status == VJ_OK && k < g->count; k++) {
        if (!surplus) status = vj_metrics_bootstrap(&all[k], 1, pair[k].samples, resamples, seed);
        pair[k].low = all[k].low;
        pair[k].high = all[k].high;
    }
    free(surplus);
    free(all);
    return status;
}

/* Sort the pairs, so that those which differ only in the seed are neighbours, whatever their order in the files, and
 * group them. */
static vj_status group_pairs(vj_comparisons *c, int64_t resamples, uint64_t seed)
{
    double *difference = vj_calloc(c->count, sizeof *difference);
    c->group = vj_calloc(c->count, sizeof *c->group);
    qsort(c->pair, (size_t)c->count, sizeof *c->pair, by_group);
    vj_status status = difference && c->group ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for groups");
    for (int64_t i = 0; status == VJ_OK && i < c->count; i++) {
        difference[i] = c->pair[i].difference;
        if (i == 0 || !vj_heads_alike(c->pair[i - 1].a, c->pair[i].a)) c->group[c->group_count++].first = i;
        vj_comparison_group *g = &c->group[c->group_count - 1];
        g->count = i + 1 - g->first;
        g->over = vj_metrics_runs(difference + g->first, g->count);
    }
    for (int64_t i = 0; status == VJ_OK && i < c->group_count; i++)
        status = resample_group(&c->group[i], &c->pair[c->group[i].first], resamples, seed);
    free(difference);
    return status;
}

static vj_status compare_all(vj_comparisons *c, const vj_selection *a, const vj_selection *b, int64_t resamples,
                             uint64_t seed)
{
    c->pair = vj_calloc(a->count, sizeof *c->pair);
    if (!c->pair) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld comparisons", (long long)a->count);
    for (int64_t i = 0; i < a->count; i++) {
        const int64_t partner = a->count == 1 && b->count == 1 ? 0 : vj_selection_partner(b, &a->file.head[a->head[i]]);
        if (partner < 0) continue;
        c->count++; /* counted first, so that its memory is released after a failure */
        VJ_TRY(compare_pair(&c->pair[c->count - 1], a, i, b, partner));
    }
    c->alone_a = a->count - c->count;
    c->alone_b = b->count - c->count;
    if (c->count == 0)
        return vj_raise(VJ_ERR_USAGE,
                        "no probe of %s has the task, kind, share of labels and seed of one of %s, such as %s and %s: "
                        "name a head of each, FILE:HEAD",
                        a->file.path, b->file.path, a->file.head[a->head[0]].name, b->file.head[b->head[0]].name);
    return group_pairs(c, resamples, seed);
}

vj_status vj_compare(vj_comparisons *c, const vj_selection *a, const vj_selection *b, int64_t resamples, uint64_t seed)
{
    *c = (vj_comparisons){0};
    return compare_all(c, a, b, resamples, seed);
}

void vj_comparisons_release(vj_comparisons *c)
{
    for (int64_t i = 0; i < c->count; i++) free(c->pair[i].surplus);
    free(c->pair);
    free(c->group);
    *c = (vj_comparisons){0};
}

/* ------------------------------------------------------------------------------------------------ sentences */

void vj_comparison_verdict(char *text, size_t bytes, const vj_comparison *c)
{
    const bool outside = c->low > 0.0 || c->high < 0.0;
    const int64_t apart = c->counts.only_a + c->counts.only_b;
    if (apart == 0)
        snprintf(text, bytes, "A and B are right on the same clips: no difference.");
    else if (c->p < 0.05)
        snprintf(text, bytes, "%s is better: of the %lld clips that only one has right, it has %lld%s.",
                 c->difference > 0.0 ? "A" : "B", (long long)apart,
                 (long long)(c->difference > 0.0 ? c->counts.only_a : c->counts.only_b),
                 outside ? "" : "; the interval of the difference reaches zero, so it is a close call");
    else
        snprintf(text, bytes,
                 "No difference can be told from these %lld clips: equal probes would differ as much with "
                 "probability %.2g.",
                 (long long)c->samples, c->p);
}

void vj_comparison_group_verdict(char *text, size_t bytes, const vj_comparison_group *g)
{
    const double low = g->over.mean - g->over.half, high = g->over.mean + g->over.half;
    if (low > 0.0 || high < 0.0)
        snprintf(text, bytes, "%s is better beyond what seeds explain.", low > 0.0 ? "A" : "B");
    else
        snprintf(text, bytes, "No difference beyond what seeds explain.");
}
