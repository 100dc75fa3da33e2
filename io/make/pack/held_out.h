/*
 * Reads lists of ids of files that must not be packed. A list has either one id or file name a line (a label after it
 * is ignored), or a published form: CSV with a column youtube_id, video_id, id or path, or JSON objects with an id or a
 * path.
 */
#ifndef VJ_PACK_HELD_OUT_H
#define VJ_PACK_HELD_OUT_H

#include "base/config.h"
#include "pack/hashmap.h"

typedef struct {
    vj_hashmap ids;
    int64_t entries; /* entries in all lists, repeated ids included */
    uint64_t digest; /* of all entries in their order */
} vj_held_out;

/**
 * Read all lists. Memory is bounded: the ids are in a scratch file in the folder `scratch`. Call vj_held_out_release()
 * also after a failure. Not collective.
 */
vj_status vj_held_out_read(vj_held_out *held_out, const vj_strings *lists, const char *scratch);
void vj_held_out_release(vj_held_out *held_out);

/** Return whether the lists name a file by this id or path. */
int vj_held_out_has(const vj_held_out *held_out, const char *id, const char *path);

#endif
