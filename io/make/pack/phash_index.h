/*
 * An index of perceptual hashes (video/phash.h; called looks in the code) that finds, for a given hash, the entered
 * ones that it is a copy of. Comparing all pairs would take hours for millions of files; here two hashes are compared
 * only if at some instant they agree in all bits of one of its four quarters. Of pairs that differ in 5 % of their bits
 * at random, fewer than 1 in 10^6 are missed this way, at 10 % 1 in 500 (measured by the test); of the 690 pairs of
 * real copies behind video/phash.h, which differ in up to 21 %, none. Unrelated videos agree in a quarter with
 * probability 10^-5: with 2 million hashes entered, about 700 are compared.
 */
#ifndef VJ_PACK_PHASH_INDEX_H
#define VJ_PACK_PHASH_INDEX_H

#include "base/status.h"
#include "video/phash.h"

typedef struct vj_phash_index vj_phash_index;

/**
 * Create an index for at most `limit` hashes, in scratch files (scratch.h) in the folder `scratch`, of about 1 kB for
 * each hash and, when there are few, up to 3 kB each. Free with vj_phash_index_destroy().
 */
vj_status vj_phash_index_create(vj_phash_index **looks, int64_t limit, const char *scratch);
void vj_phash_index_destroy(vj_phash_index *looks);

/** Add a hash under a number; a hash with too few valid instants is ignored. */
void vj_phash_index_add(vj_phash_index *looks, int64_t number, const vj_phash *look);

/**
 * Return the number of the hash entered first among those that `look` is a copy of. If there is none, return -1 and set
 * *doubtful to the first of those that it may be a copy of, or -1.
 */
int64_t vj_phash_index_find(vj_phash_index *looks, const vj_phash *look, int64_t *doubtful);

#endif
