/*
 * Which looks (video/phash.h) were entered, and which of them another one is a copy of. Comparing all pairs would take
 * hours for millions; here two looks are compared if at one instant they agree in one of four quarters of its bits. Of
 * pairs that differ in 5 % of their bits at random fewer than 1 in 10^6 are missed so, at 10 % 1 in 500 (the test
 * measures it); of the 690 pairs of real copies behind video/phash.h, which differ in up to 21 %, none. Other videos
 * agree in a quarter with odds of 10^-5: with 2 million looks entered about 700 are compared.
 */
#ifndef VJ_PACK_PHASH_INDEX_H
#define VJ_PACK_PHASH_INDEX_H

#include "base/status.h"
#include "video/phash.h"

typedef struct vj_phash_index vj_phash_index;

/**
 * Room for `most` looks, in scratch files in `scratch` (scratch.h) of about 1 kB each and, when there are few, up
 * to 3 kB each. Destroy it.
 */
vj_status vj_phash_index_create(vj_phash_index **looks, int64_t most, const char *scratch);
void vj_phash_index_destroy(vj_phash_index *looks);

/** Enter a look under a number; one without enough instants (valid) is passed over. */
void vj_phash_index_add(vj_phash_index *looks, int64_t number, const vj_phash *look);

/**
 * The number of the look entered first among those that it is a copy of; -1: none. Then *doubtful is the first of those
 * that it may be a copy of, or -1.
 */
int64_t vj_phash_index_find(vj_phash_index *looks, const vj_phash *look, int64_t *doubtful);

#endif
