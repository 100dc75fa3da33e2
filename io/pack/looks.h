/*
 * Which looks (video/look.h) were entered, and which of them another one is like. Comparing all pairs would take hours
 * for millions; here two looks are compared if at one instant they agree in one of six parts of its bits. Of pairs that
 * differ in 5 % of their bits fewer than 1 in 10,000 are missed so, at 10 % about 1 in 100 (measured by the test).
 */
#ifndef VJ_PACK_LOOKS_H
#define VJ_PACK_LOOKS_H

#include "base/status.h"
#include "video/look.h"

/* Share of the bits of two looks that differ, up to which they are alike. */
#define VJ_LOOK_SAME 0.15

typedef struct vj_looks vj_looks;

/** Room for `most` looks, about 450 bytes each in scratch files in `scratch` (scratch.h). Destroy it. */
vj_status vj_looks_create(vj_looks **looks, int64_t most, const char *scratch);
void vj_looks_destroy(vj_looks *looks);

/** Enter a look under a number; one without enough instants (valid) is passed over. */
void vj_looks_enter(vj_looks *looks, int64_t number, const vj_look *look);

/** The number of the look entered first among those that are alike; -1: none. */
int64_t vj_looks_find(vj_looks *looks, const vj_look *look);

#endif
