/* Lists the rows of a campaign's table, and divides them over parts, which are separate jobs (--part K/N). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate/parts.h"
#include "probe/token_probe.h"

/* The cost of a row, in passes of an encoder over one sample. Rows with the same encoder in the same part share passes,
 * because samples of a smaller share are mostly also samples of a larger one. */
typedef struct {
    double passes, own; /* own: not shared, for blocks on the tokens, which cost about one encoder for each probe */
    int part;           /* from 0 */
} cost;

static cost cost_of(const vj_evaluation *e, const vj_eval_row *row, int64_t labelled)
{
    const vj_config *c = e->config;
    const double share = c->probe.labels[row->share];
    const double passes = (double)labelled * share / 100.0 * (double)vj_probe_epochs(c, share);
    const bool on_tokens = vj_token_probe_depth(c->probe.pooling.item[row->pooling]) > 0;
    return (cost){.passes = passes, .own = on_tokens ? passes * e->seeds * e->sweep : 0.0};
}

static int64_t count_labelled(const vj_evaluation *e, int task)
{
    int64_t n = 0;
    for (int64_t i = 0; i < e->train.set.count; i++)
        n += vj_eval_set_label(&e->train.set, i, e->train.label[task]) >= 0;
    return n;
}

/* Return the most expensive row that has no part yet, the first of equals; -1: all rows have one. */
static int64_t costliest(const cost *costs, int64_t rows)
{
    int64_t found = -1;
    for (int64_t r = 0; r < rows; r++)
        if (costs[r].part < 0 && (found < 0 || costs[r].passes + costs[r].own > costs[found].passes + costs[found].own))
            found = r;
    return found;
}

/*
 * Assign rows to parts, the most expensive first. Each row goes to the part whose load with this row is lowest; among
 * equals to the one where it adds least, because that part's encoder passes over some of the samples anyway.
 * shared [parts, encoders]: passes of each encoder in each part.
 */
static void spread(const vj_evaluation *e, cost *costs, int parts, double *load, double *shared)
{
    const int encoders = e->encoders.count;
    for (int64_t r; (r = costliest(costs, e->row_count)) >= 0;) {
        const int encoder = e->row[r].encoder;
        int best = 0;
        double best_load = INFINITY, best_more = INFINITY;
        for (int k = 0; k < parts; k++) {
            const double more = fmax(0.0, costs[r].passes - shared[k * encoders + encoder]) + costs[r].own;
            if (load[k] + more > best_load || (load[k] + more == best_load && more >= best_more)) continue;
            best = k;
            best_load = load[k] + more;
            best_more = more;
        }
        costs[r].part = best;
        load[best] = best_load;
        shared[best * encoders + encoder] = fmax(shared[best * encoders + encoder], costs[r].passes);
    }
}

static vj_status divide(vj_evaluation *e, cost *costs, int parts)
{
    double *load = vj_calloc(parts, sizeof *load),
           *shared = vj_calloc((int64_t)parts * e->encoders.count, sizeof *load);
    if (load && shared) spread(e, costs, parts, load, shared);
    free(load);
    free(shared);
    return load && shared ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to divide the table");
}

/* Remove the rows of other parts, and the encoders that no remaining row needs. */
static void keep_part(vj_evaluation *e, const cost *costs, int part)
{
    int place[VJ_MAX_LIST], encoders = 0;
    int64_t rows = 0;
    for (int64_t r = 0; r < e->row_count; r++)
        if (costs[r].part == part) e->row[rows++] = e->row[r];
    e->row_count = rows;
    for (int i = 0; i < e->encoders.count; i++) {
        bool used = false;
        for (int64_t r = 0; r < rows; r++) used |= e->row[r].encoder == i;
        place[i] = encoders;
        if (!used) continue;
        e->encoders.at[encoders] = e->encoders.at[i];
        if (encoders < i) strcpy(e->encoders.name[encoders], e->encoders.name[i]);
        encoders++;
    }
    for (int64_t r = 0; r < rows; r++) e->row[r].encoder = place[e->row[r].encoder];
    e->encoders.count = encoders;
}

static vj_status choose_part(vj_evaluation *e)
{
    const vj_campaign_part *part = e->request->part;
    cost *costs = vj_calloc(e->row_count, sizeof *costs);
    if (!costs) return vj_raise(VJ_ERR_MEMORY, "no memory to divide the table");
    for (int64_t r = 0; r < e->row_count; r++) {
        costs[r] = cost_of(e, &e->row[r], count_labelled(e, e->row[r].task));
        costs[r].part = -1;
    }
    const vj_status status = divide(e, costs, part->count);
    if (status == VJ_OK) keep_part(e, costs, part->index - 1);
    free(costs);
    return status;
}

vj_status vj_eval_list_rows(vj_evaluation *e)
{
    const vj_config *c = e->config;
    e->row_total = (int64_t)e->tasks.count * c->probe.pooling.count * c->probe.labels_count * e->encoders.count;
    e->row = vj_calloc(e->row_total, sizeof *e->row);
    if (!e->row) return vj_raise(VJ_ERR_MEMORY, "no memory for a table of %lld rows", (long long)e->row_total);
    for (int t = 0; t < e->tasks.count; t++)
        for (int p = 0; p < c->probe.pooling.count; p++)
            for (int share = 0; share < c->probe.labels_count; share++)
                for (int i = 0; i < e->encoders.count; i++, e->row_count++)
                    e->row[e->row_count] = (vj_eval_row){t, p, share, i, e->row_count};
    return e->request->part ? choose_part(e) : VJ_OK;
}
