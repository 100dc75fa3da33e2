/*
 * Products in floats, tile by tile, exclude nearly all rows. The remaining similarities are computed exactly and
 * inserted into the lists. The mean of the queries is subtracted before products, so that floats can distinguish rows
 * that all point in nearly the same direction.
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
           (D + 4 * (int64_t)ROW_TILE) * (int64_t)sizeof(double);
}

vj_status vj_search_create(vj_search *s, vj_distance distance, int D, int k, int lists, int64_t room)
{
    *s = (vj_search){.distance = distance, .D = D, .k = k, .lists = lists, .room = room, .loops = vj_row_loops_here()};
    s->queries = vj_calloc(room * D + 1, sizeof *s->queries);
    s->measured = vj_calloc(room + 1, sizeof *s->measured);
    s->list = vj_calloc(lists * room * k + 1, sizeof *s->list);
    s->found = vj_calloc(lists * room + 1, sizeof *s->found);
    s->centre = vj_calloc(D, sizeof *s->centre);
    s->query_tile = vj_calloc((int64_t)QUERY_TILE * D, sizeof *s->query_tile);
    s->row_tile = vj_calloc((int64_t)ROW_TILE * D, sizeof *s->row_tile);
    s->products = vj_calloc((int64_t)QUERY_TILE * ROW_TILE, sizeof *s->products);
    s->row_norms = vj_calloc(ROW_TILE * 4, sizeof *s->row_norms);
    if (s->queries && s->measured && s->list && s->found && s->centre && s->query_tile && s->row_tile && s->products &&
        s->row_norms) {
        s->row_spreads = s->row_norms + ROW_TILE;
        s->row_limits = s->row_spreads + ROW_TILE;
        s->row_scales = s->row_limits + ROW_TILE;
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

static double similarity(const vj_search *s, const float *x, double x_norm, const float *y, double y_norm)
{
    if (s->distance == VJ_EUCLIDEAN) return -vj_row_squared_distance(s->loops, x, y, s->D);
    return x_norm > 0 && y_norm > 0 ? vj_row_product(s->loops, x, y, s->D) / (x_norm * y_norm) : 0.0;
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

/* Return the least similarity with which a row could still enter one of the lists of a query. */
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

/* to = x - centre, rounded to floats. Returns the numbers that bound the errors of its products. */
static vj_measured centre_row(const vj_search *s, float *to, const float *x)
{
    const double max = 1e18; /* products of two rows that are at most so long are finite as floats, partial sums too */
    const vj_row_sums sums = vj_row_centre(s->loops, to, x, s->centre, s->D);
    const double spread = sqrt(sums.squared_spread);
    return (vj_measured){sqrt(sums.square), spread < max ? spread : INFINITY, sums.offset};
}

/*
 * A query excludes row i if their product in floats is below base + by_norm |y| + row_limits[i] - by_spread |b|. With x
 * the query, y the row, m the centre, a = x - m and b = y - m, this follows from
 *
 *     x.y = a.b + m.x + m.y - m.m              cosine: x.y < least |x| |y|
 *     -|x - y|^2 = 2 a.b - |a|^2 - |b|^2       Euclidean: < least
 *
 * and the largest error of a.b. Rounding a and b to floats and summing D products in any order causes an error of at
 * most (D + 2) u |a| |b|, u = FLT_EPSILON / 2 (Higham 2002, section 3.1, to first order), and numbers below FLT_MIN may
 * become 0. Errors of numbers computed in double are (D + 2) DBL_EPSILON / 2 times (|m| + |x|) (|m| + |y|). At least
 * twice these errors is allowed for. Infinity and NaN exclude nothing.
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

/* Return whether row i of the tile is certainly excluded. */
static bool is_excluded(const vj_search *s, const limits *l, double product, int i)
{
    return product < l->base + l->by_norm * s->row_norms[i] + s->row_limits[i] - l->by_spread * s->row_spreads[i];
}

/* Return whether all rows [first, first + CHUNK) of the tile are excluded. This is the usual case; it needs no branch
 * for each row. */
static bool are_excluded(const vj_search *s, const limits *l, const float *products, int first)
{
    int64_t left = 0;
    for (int i = first; i < first + CHUNK; i++) left |= !is_excluded(s, l, (double)products[i], i);
    return left == 0;
}

/* ------------------------------------------------------------------------------------------------ rows of a tile */

/* A row that is not excluded, and its approximate similarity (larger is nearer), which only decides the order of work.
 */
typedef struct {
    double about;
    int row; /* of the tile */
    bool taken;
} candidate;

/* One query and a tile of rows. */
typedef struct {
    vj_search *search;
    int64_t query;
    const float *products, *x; /* [count] of the query and each row; [count, D] the rows */
    int64_t first;             /* number of the first row */
    limits limits;             /* by what is in the lists so far */
    int count;                 /* of candidates */
    candidate candidates[ROW_TILE];
} meeting;

static void update_limits(meeting *m)
{
    m->limits = limits_of(m->search, &m->search->measured[m->query], least_similarity(m->search, m->query));
}

static void find_candidates(meeting *m, int rows)
{
    const vj_search *s = m->search;
    const double common = s->distance == VJ_COSINE ? s->measured[m->query].offset - s->centre_norm * s->centre_norm
                                                   : 0.0; /* x.y - a.b - m.y */
    for (int i = 0; i < rows; i++) {
        while (i % CHUNK == 0 && i + CHUNK <= rows && are_excluded(s, &m->limits, m->products, i)) i += CHUNK;
        if (i == rows) return;
        const double product = (double)m->products[i];
        if (is_excluded(s, &m->limits, product, i) || (s->self >= 0 && m->first + i == s->self + m->query)) continue;
        const double about = (product - s->row_limits[i] + common) * s->row_scales[i];
        m->candidates[m->count++] = (candidate){.about = about, .row = i};
    }
}

static bool is_allowed(const vj_search *s, int list, int64_t row)
{
    return !s->allowed || !s->allowed[list] || s->allowed[list][row];
}

/* Insert a candidate into the lists, unless it is excluded by now. */
static void take(meeting *m, candidate *c)
{
    vj_search *s = m->search;
    if (c->taken || is_excluded(s, &m->limits, (double)m->products[c->row], c->row)) return;
    const float *q = s->queries + m->query * s->D, *x = m->x + (int64_t)c->row * s->D;
    const vj_neighbour new = {similarity(s, q, s->measured[m->query].norm, x, s->row_norms[c->row]), m->first + c->row};
    for (int list = 0; list < s->lists; list++)
        if (is_allowed(s, list, new.row)) insert(s, list, m->query, new);
    c->taken = true;
    update_limits(m);
}

/* Restore the heap of the first `count` entries, whose root is the least near candidate, after entry `at` has changed.
 */
static void sink(const candidate *candidates, int *heap, int count, int at)
{
    for (int child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && candidates[heap[child + 1]].about < candidates[heap[child]].about) child++;
        if (!(candidates[heap[child]].about < candidates[heap[at]].about)) return;
        const int other = heap[at];
        heap[at] = heap[child];
        heap[child] = other;
        at = child;
    }
}

/* First insert the k candidates of a list that seem nearest; then the limits exclude most of the others. */
static void take_nearest(meeting *m, int list)
{
    const vj_search *s = m->search;
    int heap[ROW_TILE], count = 0;
    for (int i = 0; i < m->count; i++) {
        if (!is_allowed(s, list, m->first + m->candidates[i].row)) continue;
        if (count < s->k) {
            heap[count++] = i;
            for (int at = s->k / 2 - 1; count == s->k && at >= 0; at--) sink(m->candidates, heap, count, at);
        } else if (m->candidates[i].about > m->candidates[heap[0]].about) {
            heap[0] = i;
            sink(m->candidates, heap, count, 0);
        }
    }
    for (int i = 0; i < count; i++) take(m, &m->candidates[heap[i]]);
}

static void take_rows(vj_search *s, int64_t query, const float *products, const float *x, int64_t first, int count)
{
    meeting m; /* not {0}: only the used candidates are written */
    m.search = s;
    m.query = query;
    m.products = products;
    m.x = x;
    m.first = first;
    m.count = 0;
    update_limits(&m);
    find_candidates(&m, count);
    for (int list = 0; list < s->lists && m.count > s->k; list++) take_nearest(&m, list);
    for (int i = 0; i < m.count; i++) take(&m, &m.candidates[i]);
}

/* ------------------------------------------------------------------------------------------------ tiles */

/* Compute the mean of the queries. */
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
        s->row_scales[i] = s->distance == VJ_COSINE && row.norm > 0.0 ? 1.0 / row.norm : 1.0;
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
