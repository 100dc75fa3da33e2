/*
 * The k rows that are nearest to each of some queries, of rows that come piece by piece, in any order. Local to a rank:
 * no MPI. The result is exact and depends neither on the order nor on the pieces: a similarity that is kept is a sum in
 * double in a fixed order, and among equal ones the row with the smaller number is nearer. Products in floats by BLAS,
 * whose order of sums is unknown, only exclude rows that their largest possible error leaves no chance.
 */
#ifndef VJ_SPECTRUM_NEIGHBOURS_H
#define VJ_SPECTRUM_NEIGHBOURS_H

#include "base/status.h"

typedef enum {
    VJ_COSINE,   /* similarity: x.y / (|x| |y|), 0 where a row is zero */
    VJ_EUCLIDEAN /* similarity: -|x - y|^2 */
} vj_distance;

typedef struct {
    double similarity;
    int64_t row;
} vj_neighbour;

/* Of a query or row x: what bounds its products. */
typedef struct {
    double norm;   /* |x| */
    double spread; /* |x - centre|, INFINITY: too large for products of floats */
    double offset; /* centre . x */
} vj_measured;

typedef struct {
    vj_distance distance;
    int D, k;
    int lists;                  /* of each query: the nearest of all rows, or of some */
    const bool *const *allowed; /* [lists] which rows may be in a list [rows]; NULL: all. Borrowed */
    int64_t room;               /* the most queries at a time */
    int64_t count;              /* queries */
    int64_t self;               /* query i is row self + i, which is not its own neighbour; negative: it is none */
    float *queries;             /* [room, D] to be filled by the caller */
    vj_measured *measured;      /* [room] of the queries */
    vj_neighbour *list;         /* [lists, room, k] nearest first */
    int *found;                 /* [lists, room] how many rows a list has, at most k */
    double *centre;             /* [D] the queries' mean */
    double centre_norm;
    float *query_tile, *row_tile, *products; /* of a product: rows less the centre */
    double *row_norms, *row_spreads;         /* of the rows of a tile */
    double *row_limits, *row_scales;         /* see limits and candidate in neighbours.c */
} vj_search;

/** Bytes that a query takes, and those of the tiles of a search. */
int64_t vj_search_query_bytes(int D, int k, int lists);
int64_t vj_search_tile_bytes(int D);

/** Allocate, all but `allowed`. Release with vj_search_release(), also after a failure. */
vj_status vj_search_create(vj_search *search, vj_distance distance, int D, int k, int lists, int64_t room);
void vj_search_release(vj_search *search);

/** Forget all neighbours; the first `count` of search->queries are the queries now. */
void vj_search_begin(vj_search *search, int64_t count, int64_t self);
/** Take in rows [first, first + count), x [count, D], finite. Each row must come once. */
void vj_search_offer(vj_search *search, const float *x, int64_t first, int64_t count);

/** The neighbours of a query in a list, nearest first, and how many they are. */
const vj_neighbour *vj_search_result(const vj_search *search, int list, int64_t query, int *found);

#endif
