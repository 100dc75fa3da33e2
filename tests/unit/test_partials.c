/*
 * Tests sums of partial sums: on 2^k ranks they have the bits of the tree over all ranks, on whatever nodes the ranks
 * are; and which ranks a node adds up by itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/tree_sum.h"
#include "parallel/partials.h"

enum { RANKS = 64, COUNT = 37 };

static void add(void *calls, float *out, const float *const *in, int count, int64_t n)
{
    ++*(int *)calls;
    vj_tree_sum(out, in, count, n, 1);
}

static float term[RANKS][COUNT];

static void draw(uint64_t number)
{
    vj_rng rng;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, number);
    for (int r = 0; r < RANKS; r++)
        for (int i = 0; i < COUNT; i++) term[r][i] = (float)vj_rng_normal(&rng);
}

/* Sum over `ranks` ranks on these nodes, each of which computes its partial sums. Returns how often arrays were added.
 */
static int sum_by_nodes(const int *node, int ranks, int nodes, float out[COUNT])
{
    vj_partials p;
    static float made[RANKS][COUNT];
    float *in[RANKS];
    int calls = 0, next = 0, turns[RANKS] = {0}, locals[RANKS] = {0};
    vj_partials_init(&p, node, ranks, nodes);
    for (int i = 0; i < p.count; i++) {
        const vj_partial *one = &p.item[i];
        const float *terms[RANKS];
        assert_int_equal(one->first, next);
        assert_int_equal(one->turn, turns[one->node]++);
        assert_int_equal(one->local, locals[one->node]);
        assert_true(one->turn < p.per_node);
        for (int r = 0; r < one->count; r++) {
            assert_int_equal(node[one->first + r], one->node);
            terms[r] = term[one->first + r];
        }
        vj_tree_sum(made[i], terms, one->count, COUNT, 1);
        in[i] = made[i];
        next += one->count;
        locals[one->node] += one->count;
    }
    assert_int_equal(next, ranks);
    vj_partials_sum(&p, out, in, COUNT, add, &calls);
    vj_partials_release(&p);
    return calls;
}

static void any_placement_has_the_bits_of_the_tree(void **state)
{
    (void)state;
    vj_rng rng;
    vj_rng_init(&rng, 2, VJ_RNG_TEST, 0);
    for (int trial = 0; trial < 300; trial++) {
        const int ranks = 1 << trial % 7, nodes = 1 + trial % (ranks < 5 ? ranks : 5);
        int node[RANKS];
        const float *all[RANKS];
        float want[COUNT], got[COUNT];
        draw((uint64_t)trial);
        for (int r = 0; r < ranks; r++) {
            node[r] = trial % 3 == 0 ? r * nodes / ranks : trial % 3 == 1 ? r % nodes : r < nodes ? r : nodes - 1;
            all[r] = term[r];
        }
        if (trial % 2)
            for (int r = nodes; r < ranks; r++)
                if (vj_rng_uniform(&rng) < 0.2) node[r] = node[r - 1];
        vj_tree_sum(want, all, ranks, COUNT, 1);
        sum_by_nodes(node, ranks, nodes, got);
        if (memcmp(got, want, sizeof got) != 0)
            fail_msg("%d ranks on %d nodes, trial %d: other bits", ranks, nodes, trial);
    }
}

static void expect(const int *node, int ranks, int nodes, const int *counts, int count)
{
    vj_partials p;
    vj_partials_init(&p, node, ranks, nodes);
    assert_int_equal(p.count, count);
    for (int i = 0; i < count; i++) assert_int_equal(p.item[i].count, counts[i]);
    vj_partials_release(&p);
}

static void nodes_add_up_what_they_can(void **state)
{
    (void)state;
    expect((const int[]){0, 0, 1, 1, 2, 2, 3, 3}, 8, 4, (const int[]){2, 2, 2, 2}, 4);
    expect((const int[]){0, 1, 1, 1}, 4, 2, (const int[]){1, 1, 2}, 3);
    expect((const int[]){0, 0, 0, 0, 0, 1, 1, 1}, 8, 2, (const int[]){4, 1, 1, 2}, 4);
    expect((const int[]){0, 0, 1, 1, 2, 2}, 6, 3, (const int[]){2, 2, 2},
           3); /* not a power of two: one partial sum for each node */
    expect((const int[]){0, 0, 1, 1, 1}, 5, 2, (const int[]){2, 3}, 2);
    expect((const int[]){0, 1, 0}, 3, 2, (const int[]){1, 1, 1}, 3);
}

/* Check that the sums of equal nodes are added at once and not in pairs. */
static void equal_nodes_are_added_at_once(void **state)
{
    (void)state;
    int node[RANKS];
    float out[COUNT];
    for (int r = 0; r < RANKS; r++) node[r] = r / 8;
    assert_int_equal(sum_by_nodes(node, RANKS, 8, out), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_placement_has_the_bits_of_the_tree),
        cmocka_unit_test(nodes_add_up_what_they_can),
        cmocka_unit_test(equal_nodes_are_added_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
