/*
 * A map from texts to numbers: held-out ids, class names, files listed before. It is in a scratch file, so millions of
 * entries use no memory of the process. Texts are identified by their 128-bit XXH3; the probability that any two of
 * 10^9 texts collide is about 10^-21.
 */
#ifndef VJ_PACK_HASHMAP_H
#define VJ_PACK_HASHMAP_H

#include "pack/scratch.h"

typedef struct {
    vj_scratch slots; /* owned */
    int64_t room, count;
    const char *folder; /* borrowed */
} vj_hashmap;

/**
 * Create an empty map with its scratch file in `folder`, which is borrowed. Call vj_hashmap_release() also after a
 * failure.
 */
vj_status vj_hashmap_init(vj_hashmap *r, const char *folder);
void vj_hashmap_release(vj_hashmap *r);

/**
 * Enter a text with its number, >= 0. *first: the number under which the text was first entered; `number` if it is new.
 */
vj_status vj_hashmap_put(vj_hashmap *r, const char *text, int64_t number, int64_t *first);

/** Return the number of a text, or -1. */
int64_t vj_hashmap_find(const vj_hashmap *r, const char *text);

#endif
