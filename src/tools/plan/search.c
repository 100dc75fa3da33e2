/*
 * Finds the best layout. The time of every valid layout is forecast, which is cheap. Their memory, which is not cheap
 * to forecast, is computed in order of time until one fits into a node. Layouts that differ from it in one choice are
 * then reported for comparison.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "plan/forecast.h"

enum { MAX_MICROBATCH = 128 };

/* Times that differ by a smaller ratio count as equal, and the simpler layout is preferred. */
static const double same_time = 0.01;

/* A layout, and what candidates are sorted by: the class of its time, then effort(). */
typedef struct {
    vj_train_layout layout;
    double time_class, effort;
} candidate;

typedef struct {
    vj_config *config; /* a copy, which layouts change */
    const vj_train_work *work;
    const vj_machine *machine;
    int64_t given_microbatch;
    int nodes, node_ranks; /* only layouts with these numbers; 0: any number */
    bool as_given;         /* only the tensor, zero and microbatch of the configuration */
    candidate *found;      /* [count] valid layouts */
    int64_t count, room;
    vj_train_layout *failed; /* [failures] those that do not fit, without the ones that known_to_fail() skipped */
    int64_t failures;
} search;

/* ------------------------------------------------------------------------------------------------ candidates */

/* Return a number that is smaller for simpler layouts: with fewer nodes, less divided among ranks, and a microbatch
 * close to the configuration's. */
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
    /* Times are compared in classes of one per cent, because a comparison with a tolerance would not be transitive. */
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

/* Return whether so many nodes are tried: all of them, or a number that divides the batch. */
static bool worth_trying(const search *s, int nodes)
{
    return nodes == s->machine->nodes || s->config->train.batch % nodes == 0;
}

/* Add all layouts of the ranks of so many nodes. */
static vj_status add_layouts(search *s, int nodes, int node_ranks)
{
    const int64_t batch = s->config->train.batch;
    char reason[VJ_FORECAST_REASON];
    for (int tensor = 1; tensor <= node_ranks && tensor <= VJ_TENSOR_MAX; tensor++)
        for (int zero = 0; zero <= 1; zero++)
            for (int64_t m = 1; m <= batch && m <= MAX_MICROBATCH; m++) {
                vj_train_layout l = {
                    .nodes = nodes, .node_ranks = node_ranks, .tensor = tensor, .zero = zero, .microbatch = m};
                if (batch % m != 0 || s->work->weight_floats[tensor] == 0) continue;
                if (!vj_train_layout_time(&l, s->config, s->work, s->machine, reason, sizeof reason)) continue;
                if (zero && l.data_ranks == 1) continue; /* there is nothing to divide */
                VJ_TRY(add(s, &l));
            }
    return VJ_OK;
}

/* Return the number of GPUs or cores that the ranks of a node divide among them. */
static int units(const vj_machine *machine)
{
    return machine->gpus ? machine->gpus : machine->cores;
}

/* Add the layout of the configuration. */
static vj_status add_given(search *s)
{
    char reason[VJ_FORECAST_REASON];
    const vj_config *c = s->config;
    vj_train_layout l = {.nodes = s->nodes,
                         .node_ranks = s->node_ranks,
                         .tensor = (int)c->parallel.tensor,
                         .zero = (int)c->parallel.zero,
                         .microbatch = c->train.microbatch};
    if (!vj_train_layout_time(&l, s->config, s->work, s->machine, reason, sizeof reason))
        return vj_raise(VJ_ERR_USAGE, "%d nodes of %d ranks: %s", l.nodes, l.node_ranks, reason);
    if (l.data_ranks == 1) l.zero = 0;
    return add(s, &l);
}

static vj_status add_all(search *s)
{
    if (s->as_given) return add_given(s);
    if (s->nodes > 0) return add_layouts(s, s->nodes, s->node_ranks);
    const int least = s->machine->gpus ? 1 : s->machine->numa, limit = units(s->machine);
    for (int nodes = 1; nodes <= s->machine->nodes && nodes <= s->config->train.batch; nodes++)
        for (int ranks = least; ranks <= limit && worth_trying(s, nodes); ranks++)
            if (limit % ranks == 0) VJ_TRY(add_layouts(s, nodes, ranks));
    if (s->count > 0) return VJ_OK;
    if (least > limit)
        return vj_raise(VJ_ERR_USAGE,
                        "a node of %d cores cannot have %d memory domains: cluster.numa_per_node is to be at most "
                        "cluster.cores_per_node",
                        limit, least);
    if (s->machine->gpus)
        return vj_raise(VJ_ERR_USAGE, "no layout of ranks on %d nodes of %d GPUs can train this configuration",
                        s->machine->nodes, s->machine->gpus);
    return vj_raise(VJ_ERR_USAGE, "no layout of ranks on %d nodes of %d cores can train this configuration",
                    s->machine->nodes, s->machine->cores);
}

/* ------------------------------------------------------------------------------------------------ fitting */

/* Return whether a similar layout did not fit that needs no more memory: on as many nodes or more, with no larger
 * microbatch; and with one microbatch a rank and step if this one has one, which saves memory (model/model.c). */
static bool known_to_fail(const search *s, const vj_train_layout *l)
{
    for (int64_t i = 0; i < s->failures; i++) {
        const vj_train_layout *f = &s->failed[i];
        if (f->node_ranks == l->node_ranks && f->tensor == l->tensor && f->zero == l->zero &&
            f->microbatch <= l->microbatch && f->nodes >= l->nodes && (l->microbatches > 1 || f->microbatches == 1))
            return true;
    }
    return false;
}

static bool fits(const search *s, const vj_train_layout *l)
{
    return l->node_bytes <= s->machine->memory_bytes &&
           (!s->machine->gpus || l->gpu_bytes <= s->machine->gpu_memory_bytes);
}

/* Set a lower bound of the memory: of weights, gradient and moments, and on processors of the pixels read ahead (GPUs
 * make these themselves). */
static void set_least_bytes(const search *s, vj_train_layout *l)
{
    const vj_config *c = s->config;
    const double clip = 3.0 * sizeof(float) * (double)(c->data.frames * c->data.crop * c->data.crop);
    const double clips = (double)((c->data.read_ahead + 1) * l->microbatches * l->microbatch);
    const double state = l->weight_bytes * (2 + (l->zero ? 2.0 / l->data_ranks : 2));
    l->gpu_bytes = s->machine->gpus ? state : 0;
    l->node_bytes = s->machine->gpus ? 0 : l->node_ranks * (state + clips * clip);
}

/* Return whether a needs less memory than b. If the bounds of set_least_bytes() are equal, the microbatch decides,
 * because most other memory grows with it. */
static bool needs_less(const vj_train_layout *a, const vj_train_layout *b)
{
    const double of_a = a->node_bytes + a->gpu_bytes, of_b = b->node_bytes + b->gpu_bytes;
    return of_a < of_b || (of_a == of_b && a->microbatch < b->microbatch);
}

/* Choose the best layout that fits, or if none fits the one that needs the least memory. */
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

/* Return the next value above (step 1) or below (step -1) that divides n; 0 if there is none from 1 to `most`. */
static int64_t next_divisor(int64_t n, int64_t value, int step, int64_t limit)
{
    for (value += step; value >= 1 && value <= limit; value += step)
        if (n % value == 0) return value;
    return 0;
}

/* Write the text "12.3 GB a node, 3.4 more than a job may use". */
static void describe_excess(const search *s, const vj_train_layout *l, char *text, size_t bytes)
{
    const vj_machine *m = s->machine;
    const bool of_gpu = m->gpus > 0 && l->gpu_bytes > m->gpu_memory_bytes;
    const double needed = of_gpu ? l->gpu_bytes : l->node_bytes, there = of_gpu ? m->gpu_memory_bytes : m->memory_bytes;
    snprintf(text, bytes, "%.4g GB a %s, %.3g more than a job may use", 1e-9 * needed, of_gpu ? "GPU" : "node",
             1e-9 * (needed - there));
}

static void compare(const search *s, const vj_train_layout *best, const vj_train_layout *l,
                    char verdict[VJ_FORECAST_REASON])
{
    const double time = l->step_s / best->step_s, node_time = time * l->nodes / best->nodes;
    int used = 0;
    char excess[96];
    const bool gpus = s->machine->gpus > 0;
    describe_excess(s, l, excess, sizeof excess);
    if (!fits(s, l)) used = snprintf(verdict, VJ_FORECAST_REASON, "does not fit, %s; ", excess);
    used += snprintf(
        verdict + used, VJ_FORECAST_REASON - (size_t)used, "%+.1f %% time, %+.1f GB a %s", 100 * (time - 1),
        1e-9 * (gpus ? l->gpu_bytes - best->gpu_bytes : l->node_bytes - best->node_bytes), gpus ? "GPU" : "node");
    if (l->nodes != best->nodes)
        snprintf(verdict + used, VJ_FORECAST_REASON - (size_t)used, ", %+.0f %% node hours", 100 * (node_time - 1));
}

/* Report a layout that differs from the best in one choice, unless it is not valid. */
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
        l.tensor = (int)next_divisor(best.node_ranks, best.tensor, step, VJ_TENSOR_MAX);
        if (l.tensor == 0 && step > 0) { /* double the ranks of the node as well */
            l.tensor = 2 * best.tensor;
            l.node_ranks = 2 * best.node_ranks;
        }
        VJ_TRY(add_neighbour(s, f, l));
        l = best;
        l.microbatch = next_divisor(batch, best.microbatch, step, MAX_MICROBATCH);
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

/* Return a text that says what takes most of a rank's memory, and which change would lower it. */
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
    char excess[96];
    describe_excess(s, &f->layout[0], excess, sizeof excess);
    if (s->as_given && f->fits)
        snprintf(f->verdict[0], VJ_FORECAST_REASON, "as configured: it fits");
    else if (s->as_given)
        snprintf(f->verdict[0], VJ_FORECAST_REASON, "DOES NOT FIT: %s; %s", excess, largest_part(&f->layout[0].memory));
    else if (f->fits)
        snprintf(f->verdict[0], VJ_FORECAST_REASON, "best: the fastest that fits, of %lld that can work",
                 (long long)s->count);
    else
        snprintf(f->verdict[0], VJ_FORECAST_REASON, "NOTHING FITS, of %lld that can work this needs least: %s; %s",
                 (long long)s->count, excess, largest_part(&f->layout[0].memory));
}

static void release(search *s)
{
    free(s->found);
    free(s->failed);
    s->found = NULL;
    s->failed = NULL;
    s->count = s->room = s->failures = 0;
}

/* List all valid layouts, the fastest first, and choose the best one that fits. */
static vj_status find_best(search *s, vj_train_layout *best, bool *one_fits)
{
    VJ_TRY(add_all(s));
    qsort(s->found, (size_t)s->count, sizeof *s->found, best_first);
    return choose(s, best, one_fits);
}

/*
 * If the layout does not fit, advise the fastest one that does, on the given nodes and ranks if there are any, with as
 * much recomputation (train.recompute) as necessary.
 */
static vj_status advise(const search *given, vj_forecast *f)
{
    static const char *const recompute[] = {"none", "attention", "block"};
    vj_train_layout l = {0};
    bool fits = false;
    int r = (int)given->config->train.recompute;
    for (r += !given->as_given; r <= VJ_RECOMPUTE_BLOCK && !fits; r++) {
        vj_train_work work;
        search s = *given;
        s.as_given = false;
        s.found = NULL;
        s.failed = NULL;
        s.count = s.room = s.failures = 0;
        s.work = &work;
        s.config->train.recompute = r;
        vj_status status = vj_train_work_count(&work, s.config, &f->pack);
        if (status == VJ_OK) status = find_best(&s, &l, &fits);
        release(&s);
        VJ_TRY(status);
    }
    if (fits)
        snprintf(
            f->advice, sizeof f->advice,
            "would fit: parallel.tensor=%d parallel.zero=%d train.microbatch=%lld train.recompute=%s on %d nodes of "
            "%d ranks, %.3g s a step",
            l.tensor, l.zero, (long long)l.microbatch, recompute[r - 1], l.nodes, l.node_ranks, l.step_s);
    else
        snprintf(
            f->advice, sizeof f->advice,
            "nothing fits here, not even with train.recompute=block: the least is %.4g GB a %s; more nodes, or nodes "
            "with more memory",
            1e-9 *
                (given->machine->gpus && l.gpu_bytes > given->machine->gpu_memory_bytes ? l.gpu_bytes : l.node_bytes),
            given->machine->gpus && l.gpu_bytes > given->machine->gpu_memory_bytes ? "GPU" : "node");
    return VJ_OK;
}

static vj_status find_layouts(search *s, vj_forecast *f)
{
    VJ_TRY(find_best(s, &f->layout[0], &f->fits));
    f->considered = s->count;
    f->layouts = 1;
    judge_best(s, f);
    VJ_TRY(add_neighbours(s, f));
    return f->fits ? VJ_OK : advise(s, f);
}

vj_status vj_forecast_make(vj_forecast *f, const vj_config *c, const vj_footage *footage, int nodes, int node_ranks)
{
    *f = (vj_forecast){.machine = vj_machine_from(c)};
    vj_pack_forecast_make(&f->pack, c, &f->machine, footage);
    VJ_TRY(vj_train_work_count(&f->work, c, &f->pack));
    search s = {.work = &f->work,
                .machine = &f->machine,
                .given_microbatch = c->train.microbatch,
                .nodes = nodes,
                .node_ranks = node_ranks,
                .as_given = node_ranks > 0};
    s.config = malloc(sizeof *s.config);
    if (!s.config) return vj_raise(VJ_ERR_MEMORY, "no memory for a configuration");
    *s.config = *c;
    vj_status status = find_layouts(&s, f);
    if (status == VJ_OK) status = vj_train_traffic_count(&f->traffic, c, &f->layout[0], f->machine.gpus > 0);
    if (status == VJ_OK) f->campaign = vj_campaign_make(c, &f->machine, &f->work, &f->layout[0]);
    free(s.config);
    release(&s);
    return status;
}
