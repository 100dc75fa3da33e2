/*
 * Which texts were entered, and each one's number: ids that are held out, class names, files that were listed before.
 * They are in a scratch file, so millions of them take no memory of the process. Texts are known by their 128 bit XXH3:
 * that two of 10^9 texts meet has odds of 10^-21.
 */
#ifndef VJ_PACK_HASHMAP_H
#define VJ_PACK_HASHMAP_H

#include "pack/scratch.h"

typedef struct {
    vj_scratch slots; /* owned */
    int64_t room, count;
    const char *folder; /* borrowed */
} vj_hashmap;

/** Empty; `folder` takes the scratch file and is borrowed. Release in any case. */
vj_status vj_hashmap_init(vj_hashmap *r, const char *folder);
void vj_hashmap_release(vj_hashmap *r);

/** Enter a text with its number, >= 0; *first gets the number it was first entered with, its own if it is new. */
vj_status vj_hashmap_put(vj_hashmap *r, const char *text, int64_t number, int64_t *first);

/** Its number, or -1. */
int64_t vj_hashmap_find(const vj_hashmap *r, const char *text);

#endif
