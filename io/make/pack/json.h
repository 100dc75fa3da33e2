/*
 * Reads JSON lists of any length object by object: objects one after another (JSON Lines), the items of one array, or
 * of an array that is a member of the file's one object. Only one object at a time is in memory.
 */
#ifndef VJ_PACK_JSON_H
#define VJ_PACK_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "pack/text.h"

typedef struct {
    enum { VJ_JSON_BEGIN, VJ_JSON_LINES, VJ_JSON_ARRAY, VJ_JSON_END } state;
    int64_t line; /* first line of the object */
    bool member;  /* reading an array of the file's object; what follows the array is ignored */
    char bytes[VJ_RECORD_BYTES];
} vj_json;

/**
 * Read the next object; json_decref() it. NULL: end of the list. Set json->state to VJ_JSON_BEGIN before the first
 * call.
 */
vj_status vj_json_read(vj_json *json, vj_text *text, json_t **object);

/* Takes one object of a list. `line`: its first line. */
typedef vj_status vj_json_entry(void *user, const vj_text *text, int64_t line, json_t *object);

/** Read a whole list and call `entry` with each object, until one fails. VJ_ERR_MEMORY, and the errors of
 * vj_json_read(). */
vj_status vj_json_each(vj_text *text, vj_json_entry *entry, void *user);

/**
 * Call before the first vj_json_read() instead of setting the state: search the file's one object for a member `key`
 * that is an array, whose items vj_json_read() then reads. *found: whether there is one.
 */
vj_status vj_json_find_member(vj_json *json, vj_text *text, const char *key, bool *found);

#endif
