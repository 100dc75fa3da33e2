/*
 * Finds the k nearest rows of each query, among rows that are offered piece by piece in any order. Local to a rank: no
 * MPI. The result is exact and does not depend on the order or the pieces: every similarity in the result is summed in
 * double in a fixed order, and among equal ones the row with the smaller number is nearer. Products in floats by BLAS,
 * whose order of summation is unknown, only exclude rows that cannot be among the nearest even with the largest
 * possible rounding error.
 */
#ifndef VJ_SPECTRUM_NEIGHBOURS_H
#define VJ_SPECTRUM_NEIGHBOURS_H

#include "base/status.h"
#include "linear/row_sums.h"

typedef enum {
    VJ_COSINE,   /* similarity: x.y / (|x| |y|), 0 where a row is zero */
    VJ_EUCLIDEAN /* similarity: -|x - y|^2 */
} vj_distance;

typedef struct {
    double similarity;
    int64_t row;
} vj_neighbour;

/* Numbers of a query or row x that bound the rounding errors of its products. */
typedef struct {
    double norm;   /* |x| */
    double spread; /* |x - centre|; INFINITY: too large for products of floats */
    double offset; /* centre . x */
} vj_measured;

typedef struct {
    vj_distance distance;
    int D, k;
    const vj_row_loops *loops;  /* for sums in double */
    int lists;                  /* number of neighbour lists of each query: among all rows, or some of them */
    const bool *const *allowed; /* [lists] which rows may be in a list: bool [rows]; NULL: all. Borrowed */
    int64_t room;               /* the most queries at a time */
    int64_t count;              /* queries now */
    int64_t self;               /* query i is row self + i, which is not its own neighbour; negative: not a row */
    float *queries;             /* [room, D] to be filled by the caller */
    vj_measured *measured;      /* [room] of the queries */
    vj_neighbour *list;         /* [lists, room, k] nearest first */
    int *found;                 /* [lists, room] number of rows in a list, at most k */
    double *centre;             /* [D] mean of the queries */
    double centre_norm;
    float *query_tile, *row_tile, *products; /* factors of a product, minus the centre; the product */
    double *row_norms, *row_spreads;         /* of the rows of a tile */
    double *row_limits, *row_scales;         /* see `limits` and `candidate` in neighbours.c */
} vj_search;

/** Return the bytes of each query, and of the tiles of a search. */
int64_t vj_search_query_bytes(int D, int k, int lists);
int64_t vj_search_tile_bytes(int D);

/** Allocate everything except `allowed`. Release it with vj_search_release(), also after a failure. */
vj_status vj_search_create(vj_search *search, vj_distance distance, int D, int k, int lists, int64_t room);
void vj_search_release(vj_search *search);

/** Begin a search for the first `count` of search->queries, with empty lists. */
void vj_search_begin(vj_search *search, int64_t count, int64_t self);
/** Offer rows [first, first + count), x [count, D], all finite. Each row must be offered once. */
void vj_search_offer(vj_search *search, const float *x, int64_t first, int64_t count);

/** Return the neighbours of a query in a list, nearest first, and their number in *found. */
const vj_neighbour *vj_search_result(const vj_search *search, int list, int64_t query, int *found);

#endif
