/*
 * Which texts were entered, and each one's number: ids that are held out, class names, files that were listed before.
 * What grows with the entries lies in an unlinked file that is mapped (scratch), so millions of them take disk and page
 * cache, not memory of the process. Texts are known by their 128 bit XXH3: two of 10^9 texts meet with odds of 10^-21.
 */
#ifndef VJ_PACK_REGISTER_H
#define VJ_PACK_REGISTER_H

#include "base/status.h"

/* Zeroed room of any size in an unlinked file. */
typedef struct {
    void *data;
    int64_t bytes;
} vj_scratch;

/** The disk space is taken at once: a full disk is an error here, and not a signal later. Release in any case. */
vj_status vj_scratch_create(vj_scratch *scratch, const char *folder, int64_t bytes);
void vj_scratch_release(vj_scratch *scratch);

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
