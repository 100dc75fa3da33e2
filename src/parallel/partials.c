/* Chooses which ranks of a node are summed before anything is sent, and sums these partial sums in a tree. */
#include "parallel/partials.h"

#include <stdlib.h>

#include "base/status.h"

static bool on_one_node(const int *node, int first, int count)
{
    for (int r = first; r < first + count; r++)
        if (node[r] != node[first]) return false;
    return true;
}

static void append(vj_partials *p, const int *node, int first, int count)
{
    p->item[p->count++] = (vj_partial){.first = first, .count = count, .node = node[first]};
}

/* The largest subtrees on one node of the tree over [first, first + count), count = 2^k. */
static void add_subtrees(vj_partials *p, const int *node, int first, int count)
{
    if (on_one_node(node, first, count)) {
        append(p, node, first, count);
    } else {
        add_subtrees(p, node, first, count / 2);
        add_subtrees(p, node, first + count / 2, count / 2);
    }
}

static void add_runs(vj_partials *p, const int *node, int ranks)
{
    for (int first = 0, count; first < ranks; first += count) {
        for (count = 1; first + count < ranks && node[first + count] == node[first];) count++;
        append(p, node, first, count);
    }
}

void vj_partials_init(vj_partials *p, const int *node, int ranks, int nodes)
{
    int *ranks_before = vj_calloc(nodes, sizeof *ranks_before), *turn = vj_calloc(nodes, sizeof *turn);
    *p = (vj_partials){.of_ranks = (ranks & (ranks - 1)) == 0, .item = vj_calloc(ranks, sizeof *p->item)};
    VJ_ASSERT(p->item && ranks_before && turn);
    if (p->of_ranks)
        add_subtrees(p, node, 0, ranks);
    else
        add_runs(p, node, ranks);
    for (int i = 0; i < p->count; i++) {
        vj_partial *one = &p->item[i];
        one->local = ranks_before[one->node];
        ranks_before[one->node] += one->count;
        one->turn = turn[one->node]++;
        if (turn[one->node] > p->per_node) p->per_node = turn[one->node];
    }
    free(ranks_before);
    free(turn);
}

void vj_partials_release(vj_partials *p)
{
    free(p->item);
    p->item = NULL;
}

typedef struct {
    const vj_partials *partials;
    float **in;
    int64_t n;
    vj_partials_adder *add;
    void *user;
} sum;

/* Return whether the tree over the partial sums [i, j) is the one that `add` follows. */
static bool is_plain(const vj_partials *p, int i, int j)
{
    for (int k = i + 1; k < j && p->of_ranks; k++)
        if (p->item[k].count != p->item[i].count) return false;
    return true;
}

/* Sum the partial sums [i, j), a subtree, into out. */
static void add_up(const sum *s, int i, int j, float *out)
{
    const vj_partial *item = s->partials->item;
    if (is_plain(s->partials, i, j)) {
        s->add(s->user, out, (const float *const *)(s->in + i), j - i, s->n);
        return;
    }
    const int middle = (item[i].first + item[j - 1].first + item[j - 1].count) / 2;
    int k = i + 1;
    while (item[k].first < middle) k++;
    if (k - i > 1) add_up(s, i, k, s->in[i]);
    if (j - k > 1) add_up(s, k, j, s->in[k]);
    const float *const halves[] = {s->in[i], s->in[k]};
    s->add(s->user, out, halves, 2, s->n);
}

void vj_partials_sum(const vj_partials *partials, float *out, float **in, int64_t n, vj_partials_adder *add, void *user)
{
    const sum s = {partials, in, n, add, user};
    add_up(&s, 0, partials->count, out);
}
