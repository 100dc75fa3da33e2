/* Tiles of products exclude; what is left is computed exactly and put in its place. */
#include "spectrum/neighbours.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "linear/matrix.h"

enum { QUERY_TILE = 512, ROW_TILE = 1024 };

int64_t vj_search_query_bytes(int D, int k, int lists)
{
    return D * (int64_t)sizeof(float) + (int64_t)sizeof(double) +
           lists * (k * (int64_t)sizeof(vj_neighbour) + (int64_t)sizeof(int));
}

int64_t vj_search_tile_bytes(int D)
{
    return ((QUERY_TILE + ROW_TILE) * (int64_t)D + (QUERY_TILE + 1) * (int64_t)ROW_TILE) * (int64_t)sizeof(double);
}

vj_status vj_search_create(vj_search *s, vj_distance distance, int D, int k, int lists, int64_t room)
{
    *s = (vj_search){.distance = distance, .D = D, .k = k, .lists = lists, .room = room};
    s->queries = vj_calloc(room * D + 1, sizeof *s->queries);
    s->norms = vj_calloc(room + 1, sizeof *s->norms);
    s->list = vj_calloc(lists * room * k + 1, sizeof *s->list);
    s->found = vj_calloc(lists * room + 1, sizeof *s->found);
    s->query_tile = vj_calloc((int64_t)QUERY_TILE * D, sizeof *s->query_tile);
    s->row_tile = vj_calloc((int64_t)ROW_TILE * D, sizeof *s->row_tile);
    s->products = vj_calloc((int64_t)QUERY_TILE * ROW_TILE, sizeof *s->products);
    s->row_norms = vj_calloc(ROW_TILE, sizeof *s->row_norms);
    if (s->queries && s->norms && s->list && s->found && s->query_tile && s->row_tile && s->products && s->row_norms)
        return VJ_OK;
    return vj_raise(VJ_ERR_MEMORY, "no memory for the %d nearest rows of %lld queries of width %d", k, (long long)room,
                    D);
}

void vj_search_release(vj_search *s)
{
    free(s->queries);
    free(s->norms);
    free(s->list);
    free(s->found);
    free(s->query_tile);
    free(s->row_tile);
    free(s->products);
    free(s->row_norms);
    *s = (vj_search){0};
}

/* ------------------------------------------------------------------------------------------------ exact values */

/* Products of two floats are exact in double; eight sums, then their sum, always in this order. */
static double dot(const float *x, const float *y, int D)
{
    double sum[8] = {0};
    int i = 0;
    for (; i + 8 <= D; i += 8)
        for (int j = 0; j < 8; j++) sum[j] += (double)x[i + j] * (double)y[i + j];
    for (int j = 0; i < D; i++, j++) sum[j] += (double)x[i] * (double)y[i];
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

static double squared_distance(const float *x, const float *y, int D)
{
    double sum[8] = {0};
    for (int i = 0; i < D; i++) {
        const double difference = (double)x[i] - (double)y[i];
        sum[i % 8] += difference * difference;
    }
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

static double similarity(const vj_search *s, const float *x, double x_norm, const float *y, double y_norm)
{
    if (s->distance == VJ_EUCLIDEAN) return -squared_distance(x, y, s->D);
    return x_norm > 0 && y_norm > 0 ? dot(x, y, s->D) / (x_norm * y_norm) : 0.0;
}

/*
 * Is the similarity below `least` for certain, by a product x.y of BLAS? In any order a sum of D products is off by at
 * most D u |x| |y|, u = DBL_EPSILON / 2 (Higham 2002, section 3.1, to first order); norms and distances likewise. Twice
 * what two such values can differ by is allowed for, to be on the safe side. Of a row of zeros nothing is certain.
 */
static bool is_below(const vj_search *s, double product, double x_norm, double y_norm, double least)
{
    const double relative = 4.0 * (s->D + 16.0) * DBL_EPSILON, sum = x_norm + y_norm;
    if (s->distance == VJ_COSINE) return product < (least - relative) * (x_norm * y_norm);
    return 2.0 * product - x_norm * x_norm - y_norm * y_norm + relative * sum * sum < least;
}

/* ------------------------------------------------------------------------------------------------ lists */

static bool is_nearer(vj_neighbour a, vj_neighbour b)
{
    return a.similarity > b.similarity || (a.similarity == b.similarity && a.row < b.row);
}

static void insert(vj_search *s, int list, int64_t query, vj_neighbour new)
{
    int *found = &s->found[list * s->room + query];
    vj_neighbour *all = s->list + (list * s->room + query) * s->k;
    if (*found == s->k && !is_nearer(new, all[s->k - 1])) return;
    int at = *found < s->k ? (*found)++ : s->k - 1;
    for (; at > 0 && is_nearer(new, all[at - 1]); at--) all[at] = all[at - 1];
    all[at] = new;
}

/* The least similarity with which a row could still come into one of the lists of a query. */
static double least_similarity(const vj_search *s, int64_t query)
{
    double least = INFINITY;
    for (int list = 0; list < s->lists; list++) {
        const bool full = s->found[list * s->room + query] == s->k;
        const double of_list = full ? s->list[(list * s->room + query + 1) * s->k - 1].similarity : -INFINITY;
        if (of_list < least) least = of_list;
    }
    return least;
}

/* One query and a tile of rows, whose products with it are given. */
static void take_rows(vj_search *s, int64_t query, const double *products, const float *x, int64_t first, int count)
{
    const float *q = s->queries + query * s->D;
    const double norm = s->norms[query];
    double least = least_similarity(s, query);
    for (int i = 0; i < count; i++) {
        const double x_norm = s->row_norms[i];
        if (is_below(s, products[i], norm, x_norm, least)) continue;
        if (s->self >= 0 && first + i == s->self + query) continue;
        const vj_neighbour new = {similarity(s, q, norm, x + (int64_t)i * s->D, x_norm), first + i};
        for (int list = 0; list < s->lists; list++)
            if (!s->allowed || !s->allowed[list] || s->allowed[list][new.row]) insert(s, list, query, new);
        least = least_similarity(s, query);
    }
}

/* ------------------------------------------------------------------------------------------------ tiles */

void vj_search_begin(vj_search *s, int64_t count, int64_t self)
{
    VJ_ASSERT(count <= s->room);
    s->count = count;
    s->self = self;
    memset(s->found, 0, (size_t)(s->lists * s->room) * sizeof *s->found);
    for (int64_t i = 0; i < count; i++) s->norms[i] = sqrt(dot(s->queries + i * s->D, s->queries + i * s->D, s->D));
}

static void widen(double *to, const float *x, int64_t count)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++) to[i] = (double)x[i];
}

static void take_tile(vj_search *s, const float *x, int count)
{
    widen(s->row_tile, x, (int64_t)count * s->D);
#pragma omp parallel for schedule(static)
    for (int i = 0; i < count; i++) {
        const float *row = x + (int64_t)i * s->D;
        s->row_norms[i] = sqrt(dot(row, row, s->D));
    }
}

void vj_search_offer(vj_search *s, const float *x, int64_t first, int64_t count)
{
    for (int64_t at = 0; at < count; at += ROW_TILE) {
        const int rows = count - at < ROW_TILE ? (int)(count - at) : ROW_TILE;
        take_tile(s, x + at * s->D, rows);
        for (int64_t query = 0; query < s->count; query += QUERY_TILE) {
            const int queries = s->count - query < QUERY_TILE ? (int)(s->count - query) : QUERY_TILE;
            widen(s->query_tile, s->queries + query * s->D, (int64_t)queries * s->D);
            vj_rows_by_rows(s->products, s->query_tile, queries, s->D, s->row_tile, rows);
#pragma omp parallel for schedule(static)
            for (int i = 0; i < queries; i++)
                take_rows(s, query + i, s->products + (int64_t)i * rows, x + at * s->D, first + at, rows);
        }
    }
}

const vj_neighbour *vj_search_result(const vj_search *s, int list, int64_t query, int *found)
{
    *found = s->found[list * s->room + query];
    return s->list + (list * s->room + query) * s->k;
}
