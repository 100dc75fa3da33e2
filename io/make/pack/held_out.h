/*
 * Lists of what must not be packed, by id: one id or file name a line (a label behind a blank is passed over), or a
 * published list: CSV with a column youtube_id, video_id, id or path, JSON objects with an id or a path.
 */
#ifndef VJ_PACK_HELD_OUT_H
#define VJ_PACK_HELD_OUT_H

#include "base/config.h"
#include "pack/hashmap.h"

typedef struct {
    vj_hashmap ids;
    int64_t entries; /* of the lists; an id may be named again */
    uint64_t digest; /* of all entries in their order */
} vj_held_out;

/** Read all lists. Bounded memory: the ids are in a scratch file in `scratch`. Release in any case. Not collective. */
vj_status vj_held_out_read(vj_held_out *held_out, const vj_strings *lists, const char *scratch);
void vj_held_out_release(vj_held_out *held_out);

/** Is a file of this id and path named? */
int vj_held_out_has(const vj_held_out *held_out, const char *id, const char *path);

#endif
