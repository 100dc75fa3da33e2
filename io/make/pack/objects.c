/* Reads lists in JSON: json, ssv2 and coco. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pack/escape.h"
#include "pack/hashmap.h"
#include "pack/json.h"
#include "pack/listing.h"

/* Format a value as JSON, truncated to `bytes`, for messages. */
static const char *shown(const json_t *value, char *text, size_t bytes)
{
    char *all = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    snprintf(text, bytes, "%s", all ? all : "?");
    free(all);
    return text;
}

enum { SHOWN = 100 };

static vj_status text_of(const vj_text *text, int64_t line, const json_t *object, const char *key, const char **value)
{
    char found[SHOWN];
    json_t *item = json_object_get(object, key);
    *value = json_string_value(item);
    if (!item || *value) return VJ_OK;
    return vj_text_refuse(text, line, "%s is %s, not a text", key, shown(item, found, sizeof found));
}

/* Report that an object lacks `wanted`, with the keys that it has. */
static vj_status refuse_keys(const vj_text *text, int64_t line, json_t *object, const char *wanted)
{
    char keys[256] = "none";
    size_t used = 0;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (used < sizeof keys)
            used += (size_t)snprintf(keys + used, sizeof keys - used, "%s%.60s", used ? ", " : "", key);
    }
    return vj_text_refuse(text, line, "the object has no %s; its keys are: %s", wanted, keys);
}

static vj_status seconds_of(const vj_text *text, int64_t line, const json_t *object, const char *key, double *value)
{
    char found[SHOWN];
    json_t *item = json_object_get(object, key);
    *value = -1;
    if (!item || json_is_null(item)) return VJ_OK;
    if (json_is_string(item)) return vj_listing_parse_seconds(text, line, key, json_string_value(item), value);
    *value = json_number_value(item);
    if (json_is_number(item) && *value >= 0 && *value < 1e9) return VJ_OK;
    return vj_text_refuse(text, line, "%s is %s, not a number of seconds from 0 on", key,
                          shown(item, found, sizeof found));
}

static vj_status set_label(vj_listing *l, const vj_text *text, int64_t line, const char *name, const json_t *value)
{
    int label;
    char found[SHOWN];
    if (!json_is_integer(value) && !json_is_string(value))
        return vj_text_refuse(text, line,
                              "label %.60s is %s: a label is a whole number, 0, 1, ..., -1 for none, or the name of a "
                              "class",
                              name, shown(value, found, sizeof found));
    VJ_TRY(vj_listing_label(l, text, line, name, &label));
    VJ_TRY(vj_listing_fix_classes(l, label));
    const char *word = json_string_value(value);
    if (!word) word = shown(value, found, sizeof found);
    return vj_listing_set_label(l, text, line, label, name, word, 1);
}

static vj_status labels_of(vj_listing *l, const vj_text *text, int64_t line, json_t *object)
{
    char found[SHOWN];
    json_t *one = json_object_get(object, "label"), *many = json_object_get(object, "labels"), *value;
    const char *name;
    if (one) VJ_TRY(set_label(l, text, line, "label", one));
    if (many && !json_is_object(many))
        return vj_text_refuse(text, line, "labels is %s, not an object {name: number}",
                              shown(many, found, sizeof found));
    json_object_foreach(many, name, value) VJ_TRY(set_label(l, text, line, name, value));
    return VJ_OK;
}

/* Get the path of an object: its path unchanged, or its path_bytes unescaped into `bytes`. */
static vj_status path_of(const vj_text *text, int64_t line, json_t *object, char bytes[VJ_MEDIA_PATH],
                         const char **path)
{
    const char *escaped;
    VJ_TRY(text_of(text, line, object, "path", path));
    VJ_TRY(text_of(text, line, object, "path_bytes", &escaped));
    if (!*path && !escaped) return refuse_keys(text, line, object, "path");
    if (*path && escaped) return vj_text_refuse(text, line, "one of path and path_bytes must be given");
    if (*path) return VJ_OK;
    *path = bytes;
    if (vj_unescape(escaped, bytes, VJ_MEDIA_PATH)) return VJ_OK;
    return vj_text_refuse(text, line, "path_bytes is too long, or a backslash in it is followed by neither \\ nor xHH");
}

static vj_status json_entry(void *listing, const vj_text *text, int64_t line, json_t *object)
{
    vj_listing *l = listing;
    const char *path, *dataset, *id;
    vj_listing_begin(l);
    VJ_TRY(path_of(text, line, object, l->expanded, &path));
    VJ_TRY(text_of(text, line, object, "dataset", &dataset));
    VJ_TRY(text_of(text, line, object, "id", &id));
    VJ_TRY(labels_of(l, text, line, object));
    VJ_TRY(seconds_of(text, line, object, "start", &l->media.start_s));
    VJ_TRY(seconds_of(text, line, object, "end", &l->media.end_s));
    if (dataset) VJ_TRY(vj_listing_dataset(l, text, line, dataset, &l->media.dataset));
    return vj_listing_add(l, text, line, path, id);
}

/* Remove the brackets from a template "Holding [something] next to [something]"; the labels are without them. */
static void without_brackets(char *name, size_t bytes, const char *template)
{
    size_t n = 0;
    for (; *template && n + 1 < bytes; template ++)
        if (*template != '[' && *template != ']') name[n++] = *template;
    name[n] = '\0';
}

static vj_status ssv2_entry(void *listing, const vj_text *text, int64_t line, json_t *object)
{
    vj_listing *l = listing;
    char number[32], class[1024];
    const char *id = number, *template;
    const json_t *given = json_object_get(object, "id");
    vj_listing_begin(l);
    if (json_is_integer(given))
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(given));
    else if (!given)
        return refuse_keys(text, line, object, "id");
    else
        VJ_TRY(text_of(text, line, object, "id", &id));
    VJ_TRY(text_of(text, line, object, "template", &template));
    if (template) {
        int label;
        without_brackets(class, sizeof class, template);
        VJ_TRY(vj_listing_label(l, text, line, l->label_name, &label));
        VJ_TRY(vj_listing_fix_classes(l, label));
        VJ_TRY(vj_listing_set_class(l, text, line, label, class));
    }
    return vj_listing_add_id(l, text, line, "{id}.webm", id, "", 0, 0);
}

vj_status vj_listing_json(vj_listing *l, vj_text *text)
{
    return vj_json_each(text, json_entry, l);
}

vj_status vj_listing_ssv2(vj_listing *l, vj_text *text)
{
    return vj_json_each(text, ssv2_entry, l);
}

/* ------------------------------------------------------------------------------------------------ coco */

/* What is known of categories and annotations when images are read. The maps are in scratch files. */
typedef struct {
    vj_listing *l;
    int label;              /* -1: the list has no annotations */
    vj_hashmap category;    /* id of a category -> the class's place */
    vj_hashmap image_class; /* id of an annotated image -> the class's place */
    int64_t images, annotated;
} coco;

typedef vj_status coco_entry(coco *c, const vj_text *text, int64_t line, json_t *object);

/* Get an id as text; it may be a number or a string. */
static vj_status id_of(const vj_text *text, int64_t line, json_t *object, const char *key, char id[SHOWN])
{
    char found[SHOWN];
    const json_t *value = json_object_get(object, key);
    if (!value) return refuse_keys(text, line, object, key);
    if (json_is_integer(value))
        snprintf(id, SHOWN, "%lld", (long long)json_integer_value(value));
    else if (json_is_string(value) && strlen(json_string_value(value)) < SHOWN)
        strcpy(id, json_string_value(value));
    else
        return vj_text_refuse(text, line, "%s is %s, not a number or a short text", key,
                              shown(value, found, sizeof found));
    return VJ_OK;
}

/* Read a category. iNaturalist's folders have names that sort like its categories, so walking its folders gives the
 * same classes. */
static vj_status coco_category(coco *c, const vj_text *text, int64_t line, json_t *object)
{
    char id[SHOWN], *end;
    const char *name, *folder;
    int32_t met;
    int64_t first;
    VJ_TRY(id_of(text, line, object, "id", id));
    VJ_TRY(text_of(text, line, object, "name", &name));
    VJ_TRY(text_of(text, line, object, "image_dir_name", &folder));
    if (folder) name = folder;
    if (!name) return refuse_keys(text, line, object, "name");
    if (*c->l->settings->labels) {
        VJ_TRY(vj_listing_set_class(c->l, text, line, c->label, name));
        met = c->l->media.labels[c->label];
    } else {
        const long long number = strtoll(id, &end, 10);
        if (*end || number < 0)
            return vj_text_refuse(text, line, "category \"%.60s\" has the id %s, not a number from 0 on", name, id);
        VJ_TRY(vj_listing_enter_class(c->l, text, line, c->label, name, number, &met));
    }
    VJ_TRY(vj_hashmap_put(&c->category, id, met, &first));
    return first == met ? VJ_OK : vj_text_refuse(text, line, "two categories have the id %s", id);
}

static vj_status coco_annotation(coco *c, const vj_text *text, int64_t line, json_t *object)
{
    char image[SHOWN], category[SHOWN];
    int64_t first;
    VJ_TRY(id_of(text, line, object, "image_id", image));
    VJ_TRY(id_of(text, line, object, "category_id", category));
    const int64_t met = vj_hashmap_find(&c->category, category);
    if (met < 0) return vj_text_refuse(text, line, "category_id is %s, which is none of the categories", category);
    VJ_TRY(vj_hashmap_put(&c->image_class, image, met, &first));
    if (first == met) return VJ_OK;
    return vj_text_refuse(text, line, "image %s has annotations of two classes, so it has no label to be classified by",
                          image);
}

static vj_status coco_image(coco *c, const vj_text *text, int64_t line, json_t *object)
{
    char id[SHOWN];
    const char *name;
    VJ_TRY(id_of(text, line, object, "id", id));
    VJ_TRY(text_of(text, line, object, "file_name", &name));
    if (!name) return refuse_keys(text, line, object, "file_name");
    c->images++;
    if (c->label >= 0) {
        c->l->media.labels[c->label] = (int32_t)vj_hashmap_find(&c->image_class, id);
        c->annotated += c->l->media.labels[c->label] >= 0;
    }
    return vj_listing_add(c->l, text, line, name, NULL);
}

/* Read one array of the list. The file is read again for each array, so that only one object is in memory. *found:
 * whether the list has the array. */
static vj_status coco_array(coco *c, const char *path, const char *key, coco_entry *entry, bool *found)
{
    vj_text text;
    json_t *object = NULL;
    vj_json *json = vj_calloc(1, sizeof *json);
    if (!json) return vj_raise(VJ_ERR_MEMORY, "no memory to read %s", path);
    vj_status status = vj_text_open(&text, path, "media list");
    if (status == VJ_OK) status = vj_json_find_member(json, &text, key, found);
    while (status == VJ_OK && *found) {
        status = vj_json_read(json, &text, &object);
        if (status != VJ_OK || !object) break;
        vj_listing_begin(c->l);
        status = entry(c, &text, json->line, object);
        json_decref(object);
    }
    vj_text_close(&text);
    free(json);
    return status;
}

static vj_status coco_labels(coco *c, const vj_text *text)
{
    bool annotations, categories = false;
    vj_json *json = vj_calloc(1, sizeof *json);
    vj_text again;
    if (!json) return vj_raise(VJ_ERR_MEMORY, "no memory to read %s", text->name);
    vj_status status = vj_text_open(&again, text->name, "media list");
    if (status == VJ_OK) status = vj_json_find_member(json, &again, "annotations", &annotations);
    vj_text_close(&again);
    free(json);
    VJ_TRY(status);
    if (!annotations) return VJ_OK;
    VJ_TRY(vj_listing_label(c->l, text, 1, c->l->label_name, &c->label));
    VJ_TRY(vj_listing_fix_classes(c->l, c->label));
    VJ_TRY(coco_array(c, text->name, "categories", coco_category, &categories));
    if (!categories) return vj_text_refuse(text, 1, "the list has annotations, but no array \"categories\"");
    return coco_array(c, text->name, "annotations", coco_annotation, &annotations);
}

static vj_status coco_list(coco *c, const vj_text *text)
{
    bool found = false;
    VJ_TRY(coco_labels(c, text));
    VJ_TRY(coco_array(c, text->name, "images", coco_image, &found));
    if (!found) return vj_text_refuse(text, 1, "the list has no array \"images\"");
    if (c->label >= 0 && c->annotated < c->images)
        vj_warn("%s: %lld of %lld images have no annotation, so no label", text->name,
                (long long)(c->images - c->annotated), (long long)c->images);
    if (c->image_class.count > c->annotated)
        vj_warn("%s: %lld annotated images are not among its images", text->name,
                (long long)(c->image_class.count - c->annotated));
    return VJ_OK;
}

vj_status vj_listing_coco(vj_listing *l, vj_text *text)
{
    coco c = {.l = l, .label = -1};
    vj_status status = vj_hashmap_init(&c.category, l->scratch);
    if (status == VJ_OK) status = vj_hashmap_init(&c.image_class, l->scratch);
    if (status == VJ_OK) status = coco_list(&c, text);
    vj_hashmap_release(&c.category);
    vj_hashmap_release(&c.image_class);
    return status;
}
