/*
 * Tests the search for the nearest rows of queries: the same bits for any pieces and order of the rows, with rows that
 * are nearly equally near and many copies; the same result as brute force; lists of only some rows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <mpi.h>
#include <string.h>

#include "../each_isa.h"
#include "base/rng.h"
#include "spectrum/neighbours.h"

enum { ROWS = 2100, QUERIES = 530, D = 50, K = 7, SELF = 100 }; /* more than a tile of each */

static float rows[ROWS * D];
static bool third[ROWS];
static const bool *const allowed[2] = {NULL, third};

/* Make features, which with little noise have nearly the same direction. The second half copies the first. */
static void fill(float noise, float scale)
{
    vj_rng rng;
    vj_rng_init(&rng, 5, VJ_RNG_TEST, 1);
    for (int64_t i = 0; i < ROWS; i++) {
        for (int d = 0; d < D; d++) {
            const float direction = 1.0f + 0.01f * (float)d;
            rows[i * D + d] = scale * (direction + noise * (float)vj_rng_normal(&rng));
        }
        if (i >= ROWS / 2) memcpy(rows + i * D, rows + (i - ROWS / 2) * D, D * sizeof(float));
        third[i] = i % (ROWS / 2) % 3 == 1;
    }
}

/* Search among all rows with rows SELF and following as queries. The rows come in pieces of at most `most`, beginning
 * at row `from`. */
static void search(vj_search *s, vj_distance distance, int64_t most, int64_t from)
{
    assert_int_equal(vj_search_create(s, distance, D, K, 2, QUERIES), VJ_OK);
    s->allowed = allowed;
    memcpy(s->queries, rows + SELF * D, sizeof(float) * QUERIES * D);
    vj_search_begin(s, QUERIES, SELF);
    for (int64_t first = from; first < ROWS; first += most)
        vj_search_offer(s, rows + first * D, first, ROWS - first < most ? ROWS - first : most);
    for (int64_t first = 0; first < from; first += most)
        vj_search_offer(s, rows + first * D, first, from - first < most ? from - first : most);
}

/* Check that, up to rounding, no row which is not in the list is nearer than the last one in it. */
static void check_brute_force(const vj_search *s, int list, double scale)
{
    for (int64_t q = 0; q < QUERIES; q += 3) {
        int found;
        bool in[ROWS] = {false};
        const vj_neighbour *n = vj_search_result(s, list, q, &found);
        assert_int_equal(found, K);
        for (int i = 0; i < K; i++) {
            assert_true(n[i].row != SELF + q && !in[n[i].row] && (list == 0 || third[n[i].row]));
            in[n[i].row] = true;
        }
        for (int64_t r = 0; r < ROWS; r++) {
            if (in[r] || r == SELF + q || (list == 1 && !third[r])) continue;
            double product = 0, x = 0, y = 0, distance = 0;
            for (int d = 0; d < D; d++) {
                const double a = rows[(SELF + q) * D + d], b = rows[r * D + d];
                product += a * b, x += a * a, y += b * b, distance += (a - b) * (a - b);
            }
            const double similarity = s->distance == VJ_COSINE ? product / sqrt(x * y) : -distance;
            assert_true(similarity <= n[K - 1].similarity + (s->distance == VJ_COSINE ? 1e-13 : 1e-13 * scale * scale));
        }
    }
}

static void the_same_in_any_order(void **state)
{
    (void)state;
    static const float noise[] = {1e-6f, 0.5f};
    for (int n = 0; n < 2; n++)
        for (int distance = VJ_COSINE; distance <= VJ_EUCLIDEAN; distance++) {
            vj_search one, other;
            fill(noise[n], 1.0f);
            search(&one, (vj_distance)distance, ROWS, 0);
            for (int list = 0; list < 2; list++) check_brute_force(&one, list, 1.0);
            for (int64_t most = 31; most <= ROWS; most *= 7) {
                search(&other, (vj_distance)distance, most, ROWS / 2 + 3 * most % ROWS / 2);
                assert_memory_equal(one.list, other.list, sizeof *one.list * 2 * QUERIES * K);
                vj_search_release(&other);
            }
            vj_search_release(&one);
        }
}

/* Check features whose float products overflow or underflow: no row is excluded by these, and results are as exact. */
static void of_any_size(void **state)
{
    (void)state;
    static const float scale[] = {1e25f, 1e-25f};
    for (int n = 0; n < 2; n++)
        for (int distance = VJ_COSINE; distance <= VJ_EUCLIDEAN; distance++) {
            vj_search s;
            fill(0.5f, scale[n]);
            search(&s, (vj_distance)distance, ROWS, 0);
            for (int list = 0; list < 2; list++) check_brute_force(&s, list, (double)scale[n]);
            vj_search_release(&s);
        }
}

/* What the loops of one instruction set give for one number of components. */
typedef struct {
    vj_row_sums sums;
    double product, distance;
    float to[D];
} sums_of_length;

static sums_of_length first_isa[D + 1]; /* of each number of components */

/* Check sums in double of any number of components, and the floats that are computed with them. */
static void check_sums(void)
{
    const vj_row_loops *loops = vj_row_loops_here();
    for (int n = 1; n <= D; n++) {
        const float *x = rows, *y = rows + D;
        double product = 0, distance = 0, centre[D], spread = 0, offset = 0;
        float to[D + 1];
        to[n] = 42.0f;
        for (int i = 0; i < n; i++) {
            const double difference = (double)x[i] - y[i];
            centre[i] = 0.1 * i;
            product += (double)x[i] * y[i];
            distance += difference * difference;
            spread += (x[i] - centre[i]) * (x[i] - centre[i]);
            offset += centre[i] * x[i];
        }
        sums_of_length got = {.sums = vj_row_centre(loops, to, x, centre, n),
                              .product = vj_row_product(loops, x, y, n),
                              .distance = vj_row_squared_distance(loops, x, y, n)};
        memcpy(got.to, to, (size_t)n * sizeof *to);
        assert_true(fabs(got.product - product) <= 1e-13 * fabs(product));
        assert_true(fabs(got.distance - distance) <= 1e-13 * fabs(distance));
        assert_true(fabs(got.sums.squared_spread - spread) <= 1e-13 * fabs(spread));
        assert_true(fabs(got.sums.offset - offset) <= 1e-13 * fabs(offset));
        assert_true(got.sums.square == vj_row_product(loops, x, x, n)); /* the same bits */
        for (int i = 0; i < n; i++) assert_true(to[i] == (float)(x[i] - centre[i]));
        assert_true(to[n] == 42.0f);
        if (first_isa[n].product == 0.0) first_isa[n] = got;
        assert_memory_equal(&got, &first_isa[n], sizeof got); /* the same bits with any instruction set */
    }
}

static void sums_of_rows(void **state)
{
    (void)state;
    fill(0.5f, 3.0f);
    on_each_isa(check_sums);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_same_in_any_order), cmocka_unit_test(of_any_size),
                                       cmocka_unit_test(sums_of_rows)};
    MPI_Init(&argc, &argv);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed != 0;
}
