/* Lists the tasks, splits and heads of a campaign, and divides the heads over the ranks. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/sort.h"
#include "evaluate/parts.h"
#include "probe/splits.h"

/* The permutation of held-out samples is keyed apart from those of epochs and classes. */
#define HELD_KEY  UINT64_C(0x300000000)
#define LIMIT_KEY UINT64_C(0x400000000) /* and so is the permutation that evaluate.limit draws samples from */

static int max_of(int a, int b)
{
    return a > b ? a : b;
}

/* ------------------------------------------------------------------------------------------------ tasks */

static int find_label(const vj_clips *clips, const char *name)
{
    for (int l = 0; l < vj_clips_label_count(clips); l++)
        if (strcmp(vj_clips_label_name(clips, l), name) == 0) return l;
    return -1;
}

static vj_status find_task(vj_eval_side *side, int task, const char *name)
{
    side->label[task] = find_label(side->clips, name);
    if (side->label[task] >= 0) return VJ_OK;
    char names[VJ_MAX_LABELS * (VJ_LABEL_NAME + 2)] = "none";
    size_t used = 0;
    for (int l = 0; l < vj_clips_label_count(side->clips); l++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", l ? ", " : "",
                                 vj_clips_label_name(side->clips, l));
    return vj_raise(VJ_ERR_USAGE, "%s has no label '%s' (probe.tasks); it has: %s", side->paths, name, names);
}

static int largest_label(const vj_eval_side *side, int task)
{
    int largest = -1;
    for (int64_t i = 0; i < side->set.count; i++)
        largest = max_of(largest, vj_eval_set_label(&side->set, i, side->label[task]));
    return largest;
}

vj_status vj_eval_note_unnamed(vj_evaluation *e, const char *task, const vj_clips_classes *a, const char *a_path,
                               const vj_clips_classes *b, const char *b_path)
{
    const bool both = a->count == 0 && b->count == 0;
    if (strcmp(a_path, b_path) == 0) return VJ_OK; /* the same numbers */
    return vj_notes_add(&e->notes,
                        "task %s: the classes have no names in %s%s%s, so that their numbers mean the same in %s and "
                        "%s was not checked; to give them names, pack with words instead of numbers in the lists, or "
                        "with a file of class names (pack.datasets, labels: FILE)%s",
                        task, a->count == 0 ? a_path : b_path, both ? " and " : "", both ? b_path : "", a_path, b_path,
                        e->request->probes ? "; a converted probe gets them by --class-names" : "");
}

static int32_t *labels_of(const vj_eval_side *side, int task)
{
    int32_t *labels = vj_calloc(side->set.count + 1, sizeof *labels);
    for (int64_t i = 0; labels && i < side->set.count; i++)
        labels[i] = vj_eval_set_label(&side->set, i, side->label[task]);
    return labels;
}

/* Check for classes that cannot be learned. */
static vj_status check_labels(vj_evaluation *e, int task)
{
    int32_t *train = labels_of(&e->train, task), *validation = labels_of(&e->validation, task);
    vj_status status = train && validation ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for labels");
    if (status == VJ_OK)
        status = vj_belong_check_labels(&e->notes, e->tasks.item[task],
                                        vj_clips_classes_of(e->train.clips, e->train.label[task]),
                                        &(vj_label_side){train, e->train.set.count, e->train.paths},
                                        &(vj_label_side){validation, e->validation.set.count, e->validation.paths});
    free(train);
    free(validation);
    return status;
}

/* Find the task in both stores, check that the same numbers stand for the same classes, and set e->classes[task]. */
static vj_status check_task(vj_evaluation *e, int task)
{
    const char *name = e->tasks.item[task];
    bool compared;
    VJ_TRY(find_task(&e->train, task, name));
    VJ_TRY(find_task(&e->validation, task, name));
    const vj_clips_classes *a = vj_clips_classes_of(e->train.clips, e->train.label[task]);
    const vj_clips_classes *b = vj_clips_classes_of(e->validation.clips, e->validation.label[task]);
    VJ_TRY(vj_clips_check_classes(name, a, e->train.paths, b, e->validation.paths, &compared));
    if (!compared && !e->request->probes)
        VJ_TRY(vj_eval_note_unnamed(e, name, a, e->train.paths, b, e->validation.paths));
    const int trained = largest_label(&e->train, task), tested = largest_label(&e->validation, task);
    if (trained < 0) return vj_raise(VJ_ERR_USAGE, "no sample of %s has a label '%s'", e->train.paths, name);
    if (tested < 0) return vj_raise(VJ_ERR_USAGE, "no sample of %s has a label '%s'", e->validation.paths, name);
    if (max_of(trained, tested) >= VJ_MAX_CLASSES)
        return vj_raise(VJ_ERR_FORMAT, "task '%s': a clip of %s is of class %d, which is no number of a class", name,
                        trained > tested ? e->train.paths : e->validation.paths, max_of(trained, tested));
    e->classes[task] = max_of(max_of(trained, tested) + 1, max_of((int)a->count, (int)b->count));
    return e->request->probes ? VJ_OK : check_labels(e, task);
}

static vj_status list_tasks(vj_evaluation *e)
{
    if (!e->request->probes) e->tasks = e->config->probe.tasks;
    for (int l = 0;
         !e->request->probes && e->config->probe.tasks.count == 0 && l < vj_clips_label_count(e->train.clips); l++)
        snprintf(e->tasks.item[e->tasks.count++], VJ_PATH, "%s", vj_clips_label_name(e->train.clips, l));
    if (e->tasks.count == 0) return vj_raise(VJ_ERR_USAGE, "%s holds no labels", e->train.paths);
    if (e->tasks.count > VJ_MAX_LABELS)
        return vj_raise(VJ_ERR_USAGE, "%d tasks (probe.tasks); a store has at most %d labels", e->tasks.count,
                        VJ_MAX_LABELS);
    for (int t = 0; t < e->tasks.count; t++) VJ_TRY(check_task(e, t));
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ splits */

/* Hold out a tenth of the split, at least one sample. Only needed if there is a sweep to choose from. */
static void hold_out(vj_eval_split *s)
{
    s->held_count = s->count < 2 ? 0 : (int64_t)fmax(1.0, rint(0.1 * (double)s->count));
    for (int64_t i = 0; i < s->held_count; i++) s->held[i] = s->sample[vj_permute(s->seed, HELD_KEY, s->count, i)];
    vj_sort_integers(s->held, s->held_count);
    for (int64_t i = 0; i < s->held_count; i++) s->member[s->held[i]] = 0;
}

static vj_status make_split(vj_evaluation *e, vj_eval_split *s, const int32_t *labels)
{
    const vj_config *c = e->config;
    const int64_t n = e->train.set.count;
    const double share = s->labels;
    const vj_split_rule rule = (vj_split_rule)c->probe.split;
    char path[VJ_SPLIT_PATH];
    const vj_split_samples samples = {
        .labels = labels, .count = n, .fingerprint = vj_clips_fingerprint(e->train.clips), .name = e->train.paths};
    s->sample = vj_calloc(n + 1, sizeof *s->sample);
    s->held = vj_calloc(n + 1, sizeof *s->held);
    s->member = vj_calloc(n + 1, sizeof *s->member);
    if (!s->sample || !s->held || !s->member)
        return vj_raise(VJ_ERR_MEMORY, "no memory for a split of %lld samples", (long long)n);
    if (c->probe.split_files[0]) {
        vj_split_path(path, c->probe.split_files, e->tasks.item[s->task], rule, share, s->seed);
        VJ_TRY(vj_split_read(s->sample, &s->count, path, &samples, share, s->seed));
    } else
        VJ_TRY(vj_split_choose(s->sample, &s->count, rule, labels, n, e->classes[s->task], c->probe.clips, share,
                               s->seed));
    s->digest = vj_split_digest(&samples, s->sample, s->count);
    for (int64_t i = 0; i < s->count; i++) s->member[s->sample[i]] = 1;
    if (e->sweep > 1) hold_out(s);
    s->learned = s->count - s->held_count;
    s->epochs = vj_probe_epochs(e->config, s->labels);
    if (s->epochs > e->epochs) e->epochs = s->epochs;
    return VJ_OK;
}

/* Remove the labels of all but evaluate.limit samples, so that splits are drawn from these. */
static void limit_samples(const vj_evaluation *e, int32_t *labels)
{
    const int64_t n = e->train.set.count, limit = e->config->evaluate.limit;
    for (int64_t i = limit; limit > 0 && i < n; i++)
        labels[vj_permute((uint64_t)e->config->run.seed, LIMIT_KEY, n, i)] = -1;
}

/* Return whether a row learns from this share of a task's labels. */
static bool is_asked(const vj_evaluation *e, int task, int share)
{
    int64_t r = 0;
    while (r < e->row_count && (e->row[r].task != task || e->row[r].share != share)) r++;
    return r < e->row_count;
}

static vj_status make_splits(vj_evaluation *e)
{
    const vj_config *c = e->config;
    int32_t *labels = vj_calloc(e->train.set.count + 1, sizeof *labels);
    e->split = vj_calloc(e->tasks.count * c->probe.labels_count * c->probe.seeds + 1, sizeof *e->split);
    vj_status status = labels && e->split ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for splits");
    for (int t = 0; status == VJ_OK && t < e->tasks.count; t++) {
        for (int64_t i = 0; i < e->train.set.count; i++)
            labels[i] = vj_eval_set_label(&e->train.set, i, e->train.label[t]);
        limit_samples(e, labels);
        for (int share = 0; status == VJ_OK && share < c->probe.labels_count; share++)
            for (int64_t seed = 0; status == VJ_OK && is_asked(e, t, share) && seed < c->probe.seeds; seed++) {
                vj_eval_split *s = &e->split[e->split_count++];
                *s = (vj_eval_split){.task = t,
                                     .share = share,
                                     .labels = c->probe.labels[share],
                                     .seed = (uint64_t)(c->run.seed + seed)};
                status = make_split(e, s, labels);
            }
    }
    free(labels);
    return status;
}

/* Count the training samples that are in any split. */
static vj_status count_wanted(vj_evaluation *e)
{
    uint8_t *in = vj_calloc(e->train.set.count + 1, sizeof *in);
    if (!in) return vj_raise(VJ_ERR_MEMORY, "no memory to count samples");
    for (int s = 0; s < e->split_count; s++)
        for (int64_t i = 0; i < e->split[s].count; i++) in[e->split[s].sample[i]] = 1;
    for (int64_t i = 0; i < e->train.set.count; i++) e->train.wanted += in[i];
    free(in);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ heads */

/* Return the number of learning rates of the sweep, at least 1; decays_of(): of weight decays. */
static int rates_of(const vj_config *c)
{
    return max_of(c->evaluate.sweep_lr_count, 1);
}

static int decays_of(const vj_config *c)
{
    return max_of(c->evaluate.sweep_wd_count, 1);
}

/* Return the recipe for indices `lr` and `wd` in the sweep. The head of evaluate.sweep_more comes after the last
 * learning rate. */
static vj_recipe recipe_of(const vj_config *c, int lr, int wd)
{
    const bool more = lr == rates_of(c), rates = c->evaluate.sweep_lr_count > 0,
               decays = c->evaluate.sweep_wd_count > 0;
    return (vj_recipe){.paper = c->evaluate.preset == VJ_PRESET_PAPER,
                       .sweep = rates || decays,
                       .more = more,
                       .lr = rates && !more ? c->evaluate.sweep_lr[lr] : c->probe.lr,
                       .weight_decay = decays && !more ? c->evaluate.sweep_wd[wd] : c->probe.weight_decay};
}

/* Set the kind of a head from one word of probe.pooling. */
static vj_status parse_kind(const vj_evaluation *e, vj_eval_head *h, const char *word)
{
    const vj_config *c = e->config;
    const int depth = vj_token_probe_depth(word);
    if (depth > 0) {
        h->on_tokens = 1;
        h->shape.pooling = VJ_POOL_ATTENTIVE;
        h->shape.depth = depth;
        h->shape.heads = vj_recipe_token_heads((int)c->model.width);
        return VJ_OK;
    }
    VJ_TRY(vj_pooling_parse(&h->shape.pooling, word));
    if (h->shape.pooling == VJ_POOL_AVERAGE) return VJ_OK;
    h->shape.depth = (int)c->evaluate.depth;
    h->shape.norm_last = vj_recipe_norm_last(&h->recipe, h->shape.pooling, h->shape.depth);
    return VJ_OK;
}

static vj_status make_head(vj_evaluation *e, const vj_eval_row *row, int split, int sweep)
{
    const vj_config *c = e->config;
    const int decays = decays_of(c);
    const vj_eval_split *s = &e->split[split];
    vj_eval_head *h = &e->head[e->head_count++];
    *h = (vj_eval_head){.encoder = row->encoder,
                        .task = s->task,
                        .split = split,
                        .lr = sweep / decays,
                        .wd = sweep % decays,
                        .seed = s->seed,
                        .key_at = -1};
    h->recipe = recipe_of(c, h->lr, h->wd);
    h->shape = (vj_head_shape){.D = (int)c->model.width,
                               .heads = (int)e->key_heads,
                               .classes = e->classes[s->task],
                               .depth = 1,
                               .tokens = e->tokens,
                               .batch = c->probe.batch};
    VJ_TRY(parse_kind(e, h, c->probe.pooling.item[row->pooling]));
    if (h->shape.pooling == VJ_POOL_ATTENTIVE && !h->on_tokens) h->key_at = e->encoded.keyed[row->encoder]++;
    return VJ_OK;
}

/* Return roughly the multiply-adds of the row part of a head for one sample, to divide heads over the ranks. The blocks
 * on the tokens do not count: all ranks share that work whichever rank is the owner. */
static double row_cost(const vj_eval_head *h)
{
    const double D = h->shape.D, depth = h->shape.depth;
    return h->shape.pooling == VJ_POOL_ATTENTIVE && !h->on_tokens ? (12.0 * depth - 2.0) * D * D + D * h->shape.classes
                                                                  : D * h->shape.classes;
}

/* Assign each head, in order, to the rank with the least work so far. */
static vj_status divide(vj_evaluation *e)
{
    double *load = vj_calloc(e->size, sizeof *load);
    if (!load) return vj_raise(VJ_ERR_MEMORY, "no memory to divide the probes");
    for (int64_t i = 0; i < e->head_count; i++) {
        vj_eval_head *h = &e->head[i];
        for (int r = 1; r < e->size; r++)
            if (load[r] < load[h->owner]) h->owner = r;
        load[h->owner] += row_cost(h) * (double)(e->split[h->split].learned * e->split[h->split].epochs);
    }
    free(load);
    return VJ_OK;
}

/* Return the index of the split of a row's first seed; those of the other seeds follow. */
static int first_split(const vj_evaluation *e, const vj_eval_row *row)
{
    int s = 0;
    while (e->split[s].task != row->task || e->split[s].share != row->share) s++;
    return s;
}

/* Make the heads in the order of the rows, then of seeds. The heads of a sweep are neighbours. */
static vj_status make_heads(vj_evaluation *e)
{
    const int64_t n = e->row_count * e->seeds * e->sweep;
    e->head = vj_calloc(n + 1, sizeof *e->head);
    if (!e->head) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld probes", (long long)n);
    for (int64_t r = 0; r < e->row_count; r++)
        for (int seed = 0; seed < e->seeds; seed++)
            for (int k = 0; k < e->sweep; k++) VJ_TRY(make_head(e, &e->row[r], first_split(e, &e->row[r]) + seed, k));
    return divide(e);
}

vj_status vj_eval_plan(vj_evaluation *e)
{
    const vj_config *c = e->config;
    e->seeds = (int)c->probe.seeds;
    e->sweep = rates_of(c) * decays_of(c) + (c->evaluate.sweep_more ? 1 : 0);
    e->tokens = e->train.set.segments * (c->data.frames / c->model.tubelet) * (c->data.crop / c->model.patch) *
                (c->data.crop / c->model.patch);
    e->sample_floats = e->tokens * c->model.width;
    const vj_recipe recipe = recipe_of(c, 0, 0);
    e->key_heads = vj_recipe_heads(&recipe, (int)c->model.width, (int)c->model.heads);
    e->key_floats = e->key_heads * c->model.width;
    VJ_TRY(list_tasks(e));
    e->validation.wanted = e->validation.set.count;
    if (e->request->probes) return vj_eval_plan_probes(e);
    VJ_TRY(vj_eval_list_rows(e));
    VJ_TRY(make_splits(e));
    VJ_TRY(count_wanted(e));
    e->stored.copies = vj_config_copies(c, &e->stored.centre);
    if (e->stored.copies > e->epochs) e->stored.copies = e->epochs;
    for (int i = 0; i < e->split_count; i++)
        if (e->split[i].learned == 0)
            return vj_raise(VJ_ERR_STATE, "%s: %g %% of the labels leave no sample of '%s' to learn from",
                            e->train.paths, e->split[i].labels, e->tasks.item[e->split[i].task]);
    VJ_TRY(make_heads(e));
    e->stored.means = e->stored.copies > 0;
    for (int64_t i = 0; i < e->head_count; i++) e->stored.means &= e->head[i].shape.pooling == VJ_POOL_AVERAGE;
    return VJ_OK;
}

void vj_eval_plan_release(vj_evaluation *e)
{
    for (int i = 0; i < e->split_count; i++) {
        free(e->split[i].sample);
        free(e->split[i].held);
        free(e->split[i].member);
    }
    for (int64_t i = 0; i < e->measured_count; i++) vj_probe_file_release(&e->measured[i]);
    free(e->measured);
    free(e->row);
    free(e->split);
    free(e->head);
    e->row = NULL;
    e->split = NULL;
    e->head = NULL;
    e->split_count = 0;
    e->head_count = 0;
}
