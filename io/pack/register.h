/*
 * Which texts were entered, and each one's number: ids that are held out, class names, files that were listed before.
 * They are in a scratch file, so millions of them take no memory of the process. Texts are known by their 128 bit XXH3:
 * that two of 10^9 texts meet has odds of 10^-21.
 */
#ifndef VJ_PACK_REGISTER_H
#define VJ_PACK_REGISTER_H

#include "pack/scratch.h"

typedef struct {
    vj_scratch slots; /* owned */
    int64_t room, count;
    const char *folder; /* borrowed */
} vj_register;

/** Empty; `folder` takes the scratch file and is borrowed. Release in any case. */
vj_status vj_register_init(vj_register *r, const char *folder);
void vj_register_release(vj_register *r);

/** Enter a text with its number, >= 0; *first gets the number it was first entered with, its own if it is new. */
vj_status vj_register_enter(vj_register *r, const char *text, int64_t number, int64_t *first);

/** Its number, or -1. */
int64_t vj_register_find(const vj_register *r, const char *text);

#endif
