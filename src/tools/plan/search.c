/*
 * The best layout: all that can work are timed, which is cheap, and from the fastest on they are weighed, which is not,
 * until one fits into a node. Then its neighbours show what each choice is worth.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "plan/forecast.h"

enum { MOST_MICROBATCH = 128 };

/* Times that differ by less are the same: the simpler layout wins. */
static const double same_time = 0.01;

/* A layout and its place among others: by time first. */
typedef struct {
    vj_train_layout layout;
    double time_class, effort;
} candidate;

typedef struct {
    vj_config *config; /* a copy, which layouts change */
    const vj_train_work *work;
    const vj_machine *machine;
    int64_t given_microbatch;
    candidate *found; /* [count] that can work */
    int64_t count, room;
    vj_train_layout *failed; /* [failures] of them that do not fit, but for those that fail with them */
    int64_t failures;
} search;

/* ------------------------------------------------------------------------------------------------ candidates */

/* Fewer nodes, fewer things that are divided, and the microbatch of the configuration or near it. */
static double effort(const search *s, const vj_train_layout *l)
{
    const double away = fabs(log2((double)l->microbatch / (double)s->given_microbatch));
    return 1e4 * l->nodes + 1e3 * log2(l->tensor) + 1e2 * l->zero + 1e1 * log2(l->node_ranks) + away;
}

static vj_status add(search *s, const vj_train_layout *l)
{
    if (s->count == s->room) {
        s->room = 2 * s->room + 64;
        candidate *grown = realloc(s->found, (size_t)s->room * sizeof *grown);
        if (!grown) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld layouts", (long long)s->room);
        s->found = grown;
    }
    /* Times are compared in classes of one per cent, so that "the same" has no ends. */
    s->found[s->count++] =
        (candidate){.layout = *l, .time_class = floor(log(l->step_s) / same_time), .effort = effort(s, l)};
    return VJ_OK;
}

static int best_first(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    const double difference = x->time_class != y->time_class ? x->time_class - y->time_class : x->effort - y->effort;
    return (difference > 0) - (difference < 0);
}

/* All nodes, or as many as divide a batch evenly. */
static bool worth_trying(const search *s, int nodes)
{
    return nodes == s->machine->nodes || s->config->train.batch % nodes == 0;
}

/* All divisions of so many nodes' ranks. */
static vj_status add_layouts(search *s, int nodes, int node_ranks)
{
    const int64_t batch = s->config->train.batch;
    char reason[VJ_FORECAST_REASON];
    for (int tensor = 1; tensor <= node_ranks && tensor <= VJ_TENSOR_MOST; tensor++)
        for (int zero = 0; zero <= 1; zero++)
            for (int64_t m = 1; m <= batch && m <= MOST_MICROBATCH; m++) {
                vj_train_layout l = {
                    .nodes = nodes, .node_ranks = node_ranks, .tensor = tensor, .zero = zero, .microbatch = m};
                if (batch % m != 0 || s->work->weight_floats[tensor] == 0) continue;
                if (!vj_train_layout_time(&l, s->config, s->work, s->machine, reason, sizeof reason)) continue;
                if (zero && l.data_ranks == 1) continue; /* there is nothing to divide */
                VJ_TRY(add(s, &l));
            }
    return VJ_OK;
}

/* What ranks of a node divide among them. */
static int units(const vj_machine *machine)
{
    return machine->gpus ? machine->gpus : machine->cores;
}

static vj_status add_all(search *s)
{
    const int least = s->machine->gpus ? 1 : s->machine->numa, most = units(s->machine);
    for (int nodes = 1; nodes <= s->machine->nodes && nodes <= s->config->train.batch; nodes++)
        for (int ranks = least; ranks <= most && worth_trying(s, nodes); ranks++)
            if (most % ranks == 0) VJ_TRY(add_layouts(s, nodes, ranks));
    if (s->count > 0) return VJ_OK;
    if (s->machine->gpus)
        return vj_raise(VJ_ERR_USAGE, "no layout of ranks on %d nodes of %d GPUs can train this configuration",
                        s->machine->nodes, s->machine->gpus);
    return vj_raise(VJ_ERR_USAGE, "no layout of ranks on %d nodes of %d cores can train this configuration",
                    s->machine->nodes, s->machine->cores);
}

/* ------------------------------------------------------------------------------------------------ fitting */

/* One of the same kind on as many nodes or more, with no larger microbatch, failed: this one needs no weighing. */
static bool known_to_fail(const search *s, const vj_train_layout *l)
{
    for (int64_t i = 0; i < s->failures; i++) {
        const vj_train_layout *f = &s->failed[i];
        if (f->node_ranks == l->node_ranks && f->tensor == l->tensor && f->zero == l->zero &&
            f->microbatch <= l->microbatch && f->nodes >= l->nodes)
            return true;
    }
    return false;
}

static bool fits(const search *s, const vj_train_layout *l)
{
    return l->node_bytes <= s->machine->memory_bytes &&
           (!s->machine->gpus || l->gpu_bytes <= s->machine->gpu_memory_bytes);
}

/* Weights, their gradient and their moments alone, and the clips read ahead. */
static void set_least_bytes(const search *s, vj_train_layout *l)
{
    const vj_config *c = s->config;
    const double clip = 3.0 * sizeof(float) * (double)(c->data.frames * c->data.crop * c->data.crop);
    const double clips = (double)((c->data.read_ahead + 1) * l->microbatches * l->microbatch);
    const double state = l->weight_bytes * (2 + (l->zero ? 2.0 / l->data_ranks : 2));
    l->gpu_bytes = s->machine->gpus ? state : 0;
    l->node_bytes = l->node_ranks * ((s->machine->gpus ? 0 : state) + clips * clip);
}

/* What is not in least_bytes() grows with the microbatch. */
static bool needs_less(const vj_train_layout *a, const vj_train_layout *b)
{
    const double of_a = a->node_bytes + a->gpu_bytes, of_b = b->node_bytes + b->gpu_bytes;
    return of_a < of_b || (of_a == of_b && a->microbatch < b->microbatch);
}

/* The best layout that fits; where none does, the one that needs least. */
static vj_status choose(search *s, vj_train_layout *best, bool *one_fits)
{
    *one_fits = false;
    best->node_bytes = INFINITY;
    s->failed = vj_calloc(s->count, sizeof *s->failed);
    if (!s->failed) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld layouts", (long long)s->count);
    for (int64_t i = 0; i < s->count && !*one_fits; i++) {
        vj_train_layout *l = &s->found[i].layout;
        if (known_to_fail(s, l)) continue;
        set_least_bytes(s, l);
        if (fits(s, l)) VJ_TRY(vj_train_layout_weigh(l, s->config, s->work, s->machine));
        *one_fits = fits(s, l);
        if (*one_fits || needs_less(l, best)) *best = *l;
        if (!*one_fits) s->failed[s->failures++] = *l;
    }
    return *one_fits ? VJ_OK : vj_train_layout_weigh(best, s->config, s->work, s->machine);
}

/* ------------------------------------------------------------------------------------------------ neighbours */

/* The next value above (step 1) or below (-1) that divides n; 0: there is none up to `most`. */
static int64_t next_divisor(int64_t n, int64_t value, int step, int64_t most)
{
    for (value += step; value >= 1 && value <= most; value += step)
        if (n % value == 0) return value;
    return 0;
}

static void compare(const search *s, const vj_train_layout *best, const vj_train_layout *l,
                    char verdict[VJ_FORECAST_REASON])
{
    const double time = l->step_s / best->step_s, node_time = time * l->nodes / best->nodes;
    int used = 0;
    const bool gpus = s->machine->gpus > 0, of_gpu = gpus && l->gpu_bytes > s->machine->gpu_memory_bytes;
    if (!fits(s, l))
        used = snprintf(verdict, VJ_FORECAST_REASON, "does not fit into %.0f GB%s; ",
                        1e-9 * (of_gpu ? s->machine->gpu_memory_bytes : s->machine->memory_bytes),
                        of_gpu ? " of a GPU" : "");
    used += snprintf(
        verdict + used, VJ_FORECAST_REASON - (size_t)used, "%+.1f %% time, %+.1f GB a %s", 100 * (time - 1),
        1e-9 * (gpus ? l->gpu_bytes - best->gpu_bytes : l->node_bytes - best->node_bytes), gpus ? "GPU" : "node");
    if (l->nodes != best->nodes)
        snprintf(verdict + used, VJ_FORECAST_REASON - (size_t)used, ", %+.0f %% node hours", 100 * (node_time - 1));
}

/* One thing changed; what cannot work is left out. */
static vj_status add_neighbour(search *s, vj_forecast *f, vj_train_layout l)
{
    char reason[VJ_FORECAST_REASON];
    if (l.nodes < 1 || l.node_ranks < 1 || l.tensor < 1 || l.microbatch < 1) return VJ_OK;
    if (l.zero && l.nodes * l.node_ranks == l.tensor) return VJ_OK;
    if (!vj_train_layout_time(&l, s->config, s->work, s->machine, reason, sizeof reason)) return VJ_OK;
    VJ_TRY(vj_train_layout_weigh(&l, s->config, s->work, s->machine));
    compare(s, &f->layout[0], &l, f->verdict[f->layouts]);
    f->layout[f->layouts++] = l;
    return VJ_OK;
}

static vj_status add_neighbours(search *s, vj_forecast *f)
{
    const vj_train_layout best = f->layout[0];
    const int64_t batch = s->config->train.batch;
    vj_train_layout l = best;
    l.zero = !best.zero;
    VJ_TRY(add_neighbour(s, f, l));
    for (int step = -1; step <= 1; step += 2) {
        l = best;
        l.tensor = (int)next_divisor(best.node_ranks, best.tensor, step, VJ_TENSOR_MOST);
        if (l.tensor == 0 && step > 0) { /* a rank more for each */
            l.tensor = 2 * best.tensor;
            l.node_ranks = 2 * best.node_ranks;
        }
        VJ_TRY(add_neighbour(s, f, l));
        l = best;
        l.microbatch = next_divisor(batch, best.microbatch, step, MOST_MICROBATCH);
        VJ_TRY(add_neighbour(s, f, l));
        l = best;
        l.node_ranks = (int)next_divisor(units(s->machine), best.node_ranks, step, units(s->machine));
        VJ_TRY(add_neighbour(s, f, l));
        l = best;
        l.nodes = (int)next_divisor(batch, best.nodes, step, s->machine->nodes);
        VJ_TRY(add_neighbour(s, f, l));
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ the whole */

/* What takes most of a rank's memory, and what would lower it. */
static const char *largest_part(const vj_memory *m)
{
    const int64_t model = m->weights + m->gradient + m->moments + m->target;
    if (m->batches > model && m->batches > m->activations)
        return "most of it clips read ahead: more nodes, or less of data.read_ahead or train.batch";
    if (m->activations > model) return "most of it activations: train.recompute block";
    return "most of it the model: more memory";
}

static void judge_best(const search *s, vj_forecast *f)
{
    if (f->fits)
        snprintf(f->verdict[0], VJ_FORECAST_REASON, "best: the fastest that fits, of %lld that can work",
                 (long long)s->count);
    else
        snprintf(f->verdict[0], VJ_FORECAST_REASON, "NOTHING FITS, of %lld that can work this needs least; %s",
                 (long long)s->count, largest_part(&f->layout[0].memory));
}

static vj_status find_layouts(search *s, vj_forecast *f)
{
    VJ_TRY(add_all(s));
    qsort(s->found, (size_t)s->count, sizeof *s->found, best_first);
    VJ_TRY(choose(s, &f->layout[0], &f->fits));
    f->considered = s->count;
    f->layouts = 1;
    judge_best(s, f);
    return add_neighbours(s, f);
}

/* Checkpoints are written by all nodes together; in the background they cost the steps nothing that counts here. */
static void time_the_run(vj_forecast *f, const vj_config *c)
{
    const vj_train_work *w = &f->work;
    if (!c->checkpoint.async)
        f->checkpoints_s = (double)w->checkpoints * w->checkpoint_bytes / f->machine.filesystem_bytes_s;
    f->training_s = (double)w->steps * f->layout[0].step_s + f->checkpoints_s;
}

vj_status vj_forecast_make(vj_forecast *f, const vj_config *c, const vj_footage *footage)
{
    *f = (vj_forecast){.machine = vj_machine_from(c)};
    vj_pack_forecast_make(&f->pack, c, &f->machine, footage);
    VJ_TRY(vj_train_work_count(&f->work, c, &f->pack));
    search s = {.work = &f->work, .machine = &f->machine, .given_microbatch = c->train.microbatch};
    s.config = malloc(sizeof *s.config);
    if (!s.config) return vj_raise(VJ_ERR_MEMORY, "no memory for a configuration");
    *s.config = *c;
    vj_status status = find_layouts(&s, f);
    if (status == VJ_OK) time_the_run(f, c);
    free(s.config);
    free(s.found);
    free(s.failed);
    return status;
}
