/*
 * Tiles of products in floats exclude nearly all rows; what is left is computed exactly and put in its place. Products
 * are of rows less the queries' mean, so that floats also tell rows apart that all point in nearly the same direction.
 */
#include "spectrum/neighbours.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "linear/matrix.h"

enum { QUERY_TILE = 512, ROW_TILE = 2048, CHUNK = 32 };

int64_t vj_search_query_bytes(int D, int k, int lists)
{
    return D * (int64_t)sizeof(float) + (int64_t)sizeof(vj_measured) +
           lists * (k * (int64_t)sizeof(vj_neighbour) + (int64_t)sizeof(int));
}

int64_t vj_search_tile_bytes(int D)
{
    return ((QUERY_TILE + ROW_TILE) * (int64_t)D + QUERY_TILE * (int64_t)ROW_TILE) * (int64_t)sizeof(float) +
           (D + 3 * (int64_t)ROW_TILE) * (int64_t)sizeof(double);
}

vj_status vj_search_create(vj_search *s, vj_distance distance, int D, int k, int lists, int64_t room)
{
    *s = (vj_search){.distance = distance, .D = D, .k = k, .lists = lists, .room = room};
    s->queries = vj_calloc(room * D + 1, sizeof *s->queries);
    s->measured = vj_calloc(room + 1, sizeof *s->measured);
    s->list = vj_calloc(lists * room * k + 1, sizeof *s->list);
    s->found = vj_calloc(lists * room + 1, sizeof *s->found);
    s->centre = vj_calloc(D, sizeof *s->centre);
    s->query_tile = vj_calloc((int64_t)QUERY_TILE * D, sizeof *s->query_tile);
    s->row_tile = vj_calloc((int64_t)ROW_TILE * D, sizeof *s->row_tile);
    s->products = vj_calloc((int64_t)QUERY_TILE * ROW_TILE, sizeof *s->products);
    s->row_norms = vj_calloc(ROW_TILE * 3, sizeof *s->row_norms);
    if (s->queries && s->measured && s->list && s->found && s->centre && s->query_tile && s->row_tile && s->products &&
        s->row_norms) {
        s->row_spreads = s->row_norms + ROW_TILE;
        s->row_limits = s->row_spreads + ROW_TILE;
        return VJ_OK;
    }
    return vj_raise(VJ_ERR_MEMORY, "no memory for the %d nearest rows of %lld queries of width %d", k, (long long)room,
                    D);
}

void vj_search_release(vj_search *s)
{
    free(s->queries);
    free(s->measured);
    free(s->list);
    free(s->found);
    free(s->centre);
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

/* ------------------------------------------------------------------------------------------------ exclusion */

/* to = x - centre, rounded to floats, and what bounds its products. */
static vj_measured centre_row(const vj_search *s, float *to, const float *x)
{
    const double most = 1e18; /* of two rows: their product, and all its partial sums, are finite as floats */
    double square[8] = {0}, product[8] = {0}, squares = 0.0, products = 0.0;
    for (int i = 0; i < s->D; i += 8)
        for (int j = 0; j < 8 && i + j < s->D; j++) {
            const double difference = (double)x[i + j] - s->centre[i + j];
            to[i + j] = (float)difference;
            square[j] += difference * difference;
            product[j] += s->centre[i + j] * (double)x[i + j];
        }
    for (int j = 0; j < 8; j++) squares += square[j], products += product[j];
    const double spread = sqrt(squares);
    return (vj_measured){sqrt(dot(x, x, s->D)), spread < most ? spread : INFINITY, products};
}

/*
 * A query excludes row i if their product in floats is below base + by_norm |y| + row_limits[i] - by_spread |b|. With
 * x the query, y the row, m the centre, a = x - m and b = y - m this is what follows from
 *
 *     x.y = a.b + m.x + m.y - m.m              cosine: x.y < least |x| |y|
 *     -|x - y|^2 = 2 a.b - |a|^2 - |b|^2       Euclidean: < least
 *
 * and the largest error of a.b: rounding a and b to floats and summing D products in any order is off by at most
 * (D + 2) u |a| |b|, u = FLT_EPSILON / 2 (Higham 2002, section 3.1, to first order), and numbers below FLT_MIN may have
 * become 0. Errors of what is computed in double are (D + 2) DBL_EPSILON / 2 of |m| + |x| times |m| + |y|. Twice as
 * much and more is allowed for. What is infinite or no number excludes nothing.
 */
typedef struct {
    double base, by_norm, by_spread;
} limits;

static double error_of_doubles(const vj_search *s)
{
    return 4.0 * (s->D + 16.0) * DBL_EPSILON;
}

static limits limits_of(const vj_search *s, const vj_measured *query, double least)
{
    const double tiny = s->D * (double)FLT_MIN * (1.0 + query->spread), of_doubles = error_of_doubles(s);
    const double by_spread = (s->D + 16.0) * FLT_EPSILON * query->spread + tiny;
    if (s->distance == VJ_EUCLIDEAN)
        return (limits){0.5 * least + (0.5 - of_doubles) * query->spread * query->spread - tiny, 0.0, by_spread};
    const double size = of_doubles * (s->centre_norm + query->norm);
    return (limits){s->centre_norm * (s->centre_norm - size) - query->offset - tiny, least * query->norm - size,
                    by_spread};
}

static double limit_of_row(const vj_search *s, const vj_measured *row)
{
    if (s->distance == VJ_EUCLIDEAN) return (0.5 - error_of_doubles(s)) * row->spread * row->spread;
    return -row->offset;
}

/* Is row i of the tile excluded for certain? */
static bool is_excluded(const vj_search *s, const limits *l, double product, int i)
{
    return product < l->base + l->by_norm * s->row_norms[i] + s->row_limits[i] - l->by_spread * s->row_spreads[i];
}

/* All rows [first, first + CHUNK) of the tile: the usual case, without a branch for each. */
static bool are_excluded(const vj_search *s, const limits *l, const float *products, int first)
{
    int64_t left = 0;
    for (int i = first; i < first + CHUNK; i++) left |= !is_excluded(s, l, (double)products[i], i);
    return left == 0;
}

/* One query and a tile of rows x, whose products with it are given. */
static void take_rows(vj_search *s, int64_t query, const float *products, const float *x, int64_t first, int count)
{
    const float *q = s->queries + query * s->D;
    const vj_measured *measured = &s->measured[query];
    limits l = limits_of(s, measured, least_similarity(s, query));
    for (int i = 0; i < count; i++) {
        while (i % CHUNK == 0 && i + CHUNK <= count && are_excluded(s, &l, products, i)) i += CHUNK;
        if (i == count) return;
        if (is_excluded(s, &l, (double)products[i], i)) continue;
        if (s->self >= 0 && first + i == s->self + query) continue;
        const vj_neighbour new = {similarity(s, q, measured->norm, x + (int64_t)i * s->D, s->row_norms[i]), first + i};
        for (int list = 0; list < s->lists; list++)
            if (!s->allowed || !s->allowed[list] || s->allowed[list][new.row]) insert(s, list, query, new);
        l = limits_of(s, measured, least_similarity(s, query));
    }
}

/* ------------------------------------------------------------------------------------------------ tiles */

/* The mean of the queries. */
static void find_centre(vj_search *s)
{
    memset(s->centre, 0, (size_t)s->D * sizeof *s->centre);
    for (int64_t i = 0; i < s->count; i++)
        for (int j = 0; j < s->D; j++) s->centre[j] += (double)s->queries[i * s->D + j];
    double square = 0.0;
    for (int j = 0; j < s->D; j++) {
        s->centre[j] /= s->count > 0 ? (double)s->count : 1.0;
        square += s->centre[j] * s->centre[j];
    }
    s->centre_norm = sqrt(square);
}

void vj_search_begin(vj_search *s, int64_t count, int64_t self)
{
    VJ_ASSERT(count <= s->room);
    s->count = count;
    s->self = self;
    memset(s->found, 0, (size_t)(s->lists * s->room) * sizeof *s->found);
    find_centre(s);
    for (int64_t i = 0; i < count; i++) s->measured[i] = centre_row(s, s->query_tile, s->queries + i * s->D);
}

static void take_query_tile(vj_search *s, int64_t first, int count)
{
#pragma omp parallel for schedule(static)
    for (int i = 0; i < count; i++)
        (void)centre_row(s, s->query_tile + (int64_t)i * s->D, s->queries + (first + i) * s->D);
}

static void take_row_tile(vj_search *s, const float *x, int count)
{
#pragma omp parallel for schedule(static)
    for (int i = 0; i < count; i++) {
        const vj_measured row = centre_row(s, s->row_tile + (int64_t)i * s->D, x + (int64_t)i * s->D);
        s->row_norms[i] = row.norm;
        s->row_spreads[i] = row.spread;
        s->row_limits[i] = limit_of_row(s, &row);
    }
}

void vj_search_offer(vj_search *s, const float *x, int64_t first, int64_t count)
{
    for (int64_t at = 0; at < count; at += ROW_TILE) {
        const int rows = count - at < ROW_TILE ? (int)(count - at) : ROW_TILE;
        take_row_tile(s, x + at * s->D, rows);
        for (int64_t query = 0; query < s->count; query += QUERY_TILE) {
            const int queries = s->count - query < QUERY_TILE ? (int)(s->count - query) : QUERY_TILE;
            take_query_tile(s, query, queries);
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
