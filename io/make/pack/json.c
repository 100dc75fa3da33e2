/* Splits a JSON list into its objects, which jansson then parses. */
#include "pack/json.h"

#include <stdlib.h>
#include <string.h>

static int skip_space(vj_text *text)
{
    int byte;
    while ((byte = vj_text_peek(text)) >= 0 && strchr(" \t\r\n", byte)) vj_text_next(text);
    return byte;
}

/* Move to the beginning of the next object; if there is none, set the state to VJ_JSON_END. */
static vj_status find_object(vj_json *json, vj_text *text)
{
    int byte = skip_space(text), begin = json->state == VJ_JSON_BEGIN, comma = 0;
    if (begin) json->state = byte == '[' ? VJ_JSON_ARRAY : VJ_JSON_LINES;
    int array = json->state == VJ_JSON_ARRAY;
    if (array && !begin && byte == '{') return vj_text_refuse(text, text->line, "a comma is missing");
    if (array && (begin || byte == ',')) {
        comma = !begin;
        vj_text_next(text);
        byte = skip_space(text);
    }
    json->line = text->line;
    if (byte == '{') return VJ_OK;
    if (array && byte == ']' && !comma) {
        vj_text_next(text);
        byte = json->member ? -1 : skip_space(text);
    } else if (array && byte < 0 && text->status == VJ_OK) {
        return vj_text_refuse(text, text->line, "the list ends without its ]");
    }
    if (byte >= 0) return vj_text_refuse(text, text->line, "expected an object, {...}, found '%c'", byte);
    json->state = VJ_JSON_END;
    return text->status;
}

/* Copy one object up to its closing brace; braces inside strings do not count. */
static vj_status cut_object(vj_json *json, vj_text *text, size_t *length)
{
    int depth = 0, in_string = 0, escaped = 0;
    *length = 0;
    do {
        int byte = vj_text_next(text);
        if (byte < 0) {
            VJ_TRY(text->status);
            return vj_text_refuse(text, json->line, "the object that begins here is not closed");
        }
        if (*length == sizeof json->bytes)
            return vj_text_refuse(text, json->line, "the object that begins here is longer than %zu bytes",
                                  sizeof json->bytes);
        json->bytes[(*length)++] = (char)byte;
        if (in_string) {
            in_string = escaped || byte != '"';
            escaped = !escaped && byte == '\\';
        } else {
            in_string = byte == '"';
            depth += (byte == '{') - (byte == '}');
        }
    } while (depth > 0);
    return VJ_OK;
}

vj_status vj_json_read(vj_json *json, vj_text *text, json_t **object)
{
    size_t length;
    json_error_t error;
    *object = NULL;
    VJ_TRY(find_object(json, text));
    if (json->state == VJ_JSON_END) return VJ_OK;
    VJ_TRY(cut_object(json, text, &length));
    *object = json_loadb(json->bytes, length, JSON_REJECT_DUPLICATES, &error);
    if (*object) return VJ_OK;
    return vj_text_refuse(text, json->line + error.line - 1, "this is not JSON: %s", error.text);
}

vj_status vj_json_each(vj_text *text, vj_json_entry *entry, void *user)
{
    json_t *object = NULL;
    vj_json *json = vj_calloc(1, sizeof *json);
    vj_status status = json ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to read %s", text->name);
    while (status == VJ_OK) {
        status = vj_json_read(json, text, &object);
        if (status != VJ_OK || !object) break;
        status = entry(user, text, json->line, object);
        json_decref(object);
    }
    free(json);
    return status;
}

/* ------------------------------------------------------------------------------------------------ a member */

/* Skip a string whose opening quote is next; copy its bytes, still escaped, to `copy`, truncated to `room`. */
static vj_status skip_string(vj_text *text, char *copy, size_t room)
{
    const int64_t line = text->line;
    size_t length = 0;
    int byte = vj_text_next(text), escaped = 0;
    while ((byte = vj_text_next(text)) >= 0 && (escaped || byte != '"')) {
        if (length + 1 < room) copy[length++] = (char)byte;
        escaped = !escaped && byte == '\\';
    }
    if (room > 0) copy[length] = '\0';
    if (byte >= 0) return VJ_OK;
    VJ_TRY(text->status);
    return vj_text_refuse(text, line, "a text has no closing quote");
}

/* Skip a value of any type, up to the comma or bracket after it. */
static vj_status skip_value(vj_text *text)
{
    const int64_t line = text->line;
    int depth = 0, byte;
    while ((byte = vj_text_peek(text)) >= 0) {
        if (depth == 0 && (byte == ',' || byte == '}' || byte == ']')) return VJ_OK;
        depth += (byte == '{' || byte == '[') - (byte == '}' || byte == ']');
        if (byte == '"')
            VJ_TRY(skip_string(text, NULL, 0));
        else
            vj_text_next(text);
    }
    VJ_TRY(text->status);
    return vj_text_refuse(text, line, "the value that begins here does not end");
}

vj_status vj_json_find_member(vj_json *json, vj_text *text, const char *key, bool *found)
{
    enum { KEY = 64 };
    char name[KEY];
    json->state = VJ_JSON_BEGIN;
    json->member = true;
    *found = false;
    if (skip_space(text) != '{') return vj_text_refuse(text, text->line, "expected one object, {...}");
    do {
        vj_text_next(text); /* the brace or a comma */
        if (skip_space(text) == '}') return VJ_OK;
        if (vj_text_peek(text) != '"') break;
        VJ_TRY(skip_string(text, name, sizeof name));
        if (skip_space(text) != ':') break;
        vj_text_next(text);
        *found = skip_space(text) == '[' && strcmp(name, key) == 0;
        if (*found) return VJ_OK;
        VJ_TRY(skip_value(text));
    } while (skip_space(text) == ',');
    if (vj_text_peek(text) == '}') return VJ_OK;
    VJ_TRY(text->status);
    return vj_text_refuse(text, text->line, "this is not JSON: expected \"key\": value, or the end of the object");
}
