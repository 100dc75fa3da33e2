/*
 * Tests sums and gathers of a group against double. All ranks have the same bits, and on 2^k ranks those of one tree,
 * for all placements of the ranks on nodes (placements.h).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../on_ranks.h"
#include "../placements.h"
#include "base/rng.h"
#include "parallel/group.h"
#include "parallel/parallel.h"
#include "parallel/tree.h"

enum { MOST = 1100003 }; /* several rounds through a window, and more than a block between nodes */

static int rank, size;
static float *x, *all; /* [MOST] this rank's values; [size][MOST] the values of every rank */

/* Draw the values of all ranks; each element depends only on its index and rank, so every rank can compute all of them.
 */
static void draw(void)
{
    for (int r = 0; r < size; r++) {
        vj_rng rng;
        vj_rng_init(&rng, 1, VJ_RNG_TEST, (uint64_t)r);
        for (int64_t i = 0; i < MOST; i++) all[r * (int64_t)MOST + i] = (float)vj_rng_normal(&rng);
    }
}

/* Copy the first n values of this rank to x. */
static void take(int64_t n)
{
    memcpy(x, all + rank * (int64_t)MOST, (size_t)n * sizeof *x);
}

static void check_sums(const float *got, int64_t first, int64_t last)
{
    for (int64_t i = first; i < last; i++) {
        double want = 0, scale = 0;
        for (int r = 0; r < size; r++) {
            want += (double)all[r * (int64_t)MOST + i];
            scale += fabs((double)all[r * (int64_t)MOST + i]);
        }
        /* There are `size` - 1 sums of floats, each with a rounding error of at most half a unit of 2^-23. */
        if (!(fabs(got[i] - want) <= size * 6e-8 * scale))
            fail_msg("element %lld: %g, want %g", (long long)i, got[i], want);
    }
}

/* Check that all ranks have the same bytes. */
static void check_equal(const float *values, int64_t n)
{
    float *other = malloc((size_t)n * sizeof *other + 1);
    memcpy(other, values, (size_t)n * sizeof *other);
    MPI_Bcast(other, (int)n, MPI_FLOAT, 0, MPI_COMM_WORLD);
    assert_memory_equal(values, other, (size_t)n * sizeof *other);
    free(other);
}

static void with_groups(void (*check)(vj_group *group, int placement))
{
    for (int placement = 0; placement < PLACEMENTS; placement++) {
        vj_group *group;
        assert_int_equal(vj_group_open(&group, MPI_COMM_WORLD, placements[placement][rank]), VJ_OK);
        vj_group_set_threads(group, 1 + placement % 2);
        check(group, placement);
        vj_group_close(group);
    }
}

static const int64_t lengths[] = {0, 1, 3, 16, 17, 63, 1000, 4099, MOST};
enum { LENGTHS = sizeof lengths / sizeof lengths[0] };

static void check_sum(vj_group *group, int placement)
{
    for (int l = 0; l < LENGTHS; l++) {
        const int64_t n = lengths[l];
        take(n);
        x[n] = 4711;
        vj_group_allreduce(group, x, n);
        check_sums(x, 0, n);
        check_equal(x, n);
        assert_true(x[n] == 4711);
        /* For powers of two the result must have the bits of the tree sum, wherever the ranks are. */
        const float *in[16];
        float *want = malloc((size_t)n * sizeof *want + 1);
        for (int r = 0; r < size; r++) in[r] = all + r * (int64_t)MOST;
        vj_tree_sum(want, in, size, n, 1);
        if (placement == 0 || (size & (size - 1)) == 0) assert_memory_equal(x, want, (size_t)n * sizeof *want);
        free(want);
    }
}

/* Set the borders of parts: even ones, none for the first rank, or all for the last. */
static void cut(int64_t *first, int64_t n, int kind)
{
    for (int r = 0; r <= size; r++)
        first[r] = kind == 0 ? n * r / size : kind == 1 ? n * (r > 1 ? r : r / 2) / size : 0;
    first[size] = n;
}

static void check_parts(vj_group *group, int placement)
{
    int64_t first[17];
    (void)placement;
    for (int l = 0; l < LENGTHS; l++)
        for (int kind = 0; kind < 3; kind++) {
            const int64_t n = lengths[l];
            take(n);
            cut(first, n, kind);
            vj_group_reduce_scatter(group, x, first);
            check_sums(x, first[rank], first[rank + 1]);
            vj_group_allgather(group, x, first);
            check_sums(x, 0, n);
            check_equal(x, n);
        }
}

static void sums(void **state)
{
    (void)state;
    with_groups(check_sum);
}

static void parts_and_gathers(void **state)
{
    (void)state;
    with_groups(check_parts);
}

/* Check with ranks of different speed in many calls that no rank reads what is not yet written, or overwrites what is
 * still being read. */
static void ranks_that_lag(void **state)
{
    (void)state;
    vj_group *group;
    assert_int_equal(vj_group_open(&group, MPI_COMM_WORLD, 0), VJ_OK);
    int64_t first[17];
    cut(first, 5000, 0);
    for (int i = 0; i < 60; i++) {
        for (volatile int wait = 0; wait < 200000 * ((rank + i) % size);) wait = wait + 1;
        for (int k = 0; k < 5000; k++) x[k] = (float)(i + rank);
        if (i % 2) {
            vj_group_allreduce(group, x, 5000);
        } else {
            vj_group_reduce_scatter(group, x, first);
            vj_group_allgather(group, x, first);
        }
        for (int k = 0; k < 5000; k++) assert_true(x[k] == (float)(i * size + size * (size - 1) / 2));
    }
    vj_group_close(group);
}

/* Check that sums of doubles over 2^k ranks, each of 24 / 2^k terms, have the bits of one rank's sum. */
static void doubles_in_one_tree(void **state)
{
    (void)state;
    enum { TERMS = 24, COUNT = 5 };
    double want[COUNT];
    vj_tree whole, mine;
    if (TERMS % size != 0 || (size & (size - 1)) != 0) skip();
    assert_int_equal(vj_tree_init(&whole, COUNT, TERMS), VJ_OK);
    assert_int_equal(vj_tree_init(&mine, COUNT, TERMS / size), VJ_OK);
    for (int again = 0; again < 2; again++) {
        vj_rng rng;
        vj_rng_init(&rng, 1, VJ_RNG_TEST, (uint64_t)again);
        for (int i = 0; i < TERMS; i++) {
            double *term = vj_tree_next(&whole);
            for (int k = 0; k < COUNT; k++) term[k] = vj_rng_normal(&rng);
            if (i / (TERMS / size) == rank) memcpy(vj_tree_next(&mine), term, COUNT * sizeof *term);
            vj_tree_add(&whole);
            if (i / (TERMS / size) == rank) vj_tree_add(&mine);
        }
        memcpy(want, vj_tree_total(&whole), sizeof want);
        double *got = vj_tree_total(&mine);
        vj_sum_doubles(MPI_COMM_WORLD, got, COUNT);
        assert_memory_equal(got, want, sizeof want);
    }
    vj_tree_release(&whole);
    vj_tree_release(&mine);
}

/* Check gathers of a different number of values from each rank, of no values, and on one rank. */
static void numbers_of_all(void **state)
{
    (void)state;
    int64_t mine[] = {10 * rank, 10 * rank + 1, 10 * rank + 2}, *got, n, at = 0;
    assert_int_equal(vj_gather_numbers(&got, &n, mine, (rank + 2) % 4, MPI_COMM_WORLD), VJ_OK);
    for (int r = 0; r < size; r++)
        for (int64_t i = 0; i < (r + 2) % 4; i++) {
            assert_true(at < n);
            assert_int_equal(got[at++], 10 * r + i);
        }
    assert_int_equal(at, n);
    free(got);
    assert_int_equal(vj_gather_numbers(&got, &n, mine, 0, MPI_COMM_WORLD), VJ_OK);
    assert_true(!got && n == 0);
    assert_int_equal(vj_gather_numbers(&got, &n, mine, 2, VJ_ALONE), VJ_OK);
    assert_int_equal(n, 2);
    assert_memory_equal(got, mine, 2 * sizeof *mine);
    free(got);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    x = malloc((MOST + 1) * sizeof *x);
    all = malloc((size_t)size * MOST * sizeof *all);
    draw();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums),           cmocka_unit_test(parts_and_gathers),
        cmocka_unit_test(ranks_that_lag), cmocka_unit_test(doubles_in_one_tree),
        cmocka_unit_test(numbers_of_all),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(x);
    free(all);
    return end_on_ranks(failed);
}
