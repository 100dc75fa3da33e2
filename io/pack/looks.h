/*
 * Which looks (video/look.h) were entered, and which of them another one is a copy of. Comparing all pairs would take
 * hours for millions; here two looks are compared if at one instant they agree in one of four quarters of its bits. Of
 * pairs that differ in 5 % of their bits at random fewer than 1 in 10^6 are missed so, at 10 % 1 in 500 (the test
 * measures it); of the 690 pairs of real copies behind video/look.h, which differ in up to 21 %, none. Other videos
 * agree in a quarter with odds of 10^-5: with 2 million looks entered about 700 are compared.
 */
#ifndef VJ_PACK_LOOKS_H
#define VJ_PACK_LOOKS_H

#include "base/status.h"
#include "video/look.h"

typedef struct vj_looks vj_looks;

/**
 * Room for `most` looks, in scratch files in `scratch` (scratch.h) of about 1 kB each and, when there are few, up
 * to 3 kB each. Destroy it.
 */
vj_status vj_looks_create(vj_looks **looks, int64_t most, const char *scratch);
void vj_looks_destroy(vj_looks *looks);

/** Enter a look under a number; one without enough instants (valid) is passed over. */
void vj_looks_enter(vj_looks *looks, int64_t number, const vj_look *look);

/**
 * The number of the look entered first among those that it is a copy of; -1: none. Then *doubtful is the first of those
 * that it may be a copy of, or -1.
 */
int64_t vj_looks_find(vj_looks *looks, const vj_look *look, int64_t *doubtful);

#endif
