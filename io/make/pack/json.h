/*
 * JSON lists of any length, object by object: one after another (JSON Lines), or as the items of one array. Only one
 * object at a time is in memory.
 */
#ifndef VJ_PACK_JSON_H
#define VJ_PACK_JSON_H

#include <jansson.h>

#include "pack/text.h"

typedef struct {
    enum { VJ_JSON_BEGIN, VJ_JSON_LINES, VJ_JSON_ARRAY, VJ_JSON_END } state;
    int64_t line; /* the first of the object */
    char bytes[VJ_RECORD_BYTES];
} vj_json;

/** Take the next object, json_decref() it; NULL: there is none. Starts with state VJ_JSON_BEGIN. */
vj_status vj_json_read(vj_json *json, vj_text *text, json_t **object);

#endif
