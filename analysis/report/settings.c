/* Converts YAML to a flat list, event by event. */
#include "report/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/number.h"
#include "report/inside.h"

enum { DEPTH_MAX = 16, KEY_BYTES = 256, NODES_MAX = 20000, FILE_BYTES = 1 << 20 };

typedef struct {
    vj_flat_settings *settings;
    yaml_parser_t parser;
    const char *name;
    vj_problems *problems;
    int nodes;
} reader;

static void put(vj_flat_settings *s, const char *key, char *value)
{
    s->keys = vj_report_room(s->keys, s->count, sizeof *s->keys);
    s->values = vj_report_room(s->values, s->count, sizeof *s->values);
    s->keys[s->count] = vj_report_copy(key);
    s->values[s->count++] = value;
}

static bool next(reader *r, yaml_event_t *event)
{
    if (yaml_parser_parse(&r->parser, event)) return true;
    vj_problems_add(r->problems, "%s:%zu: not YAML: %s.", r->name, r->parser.problem_mark.line + 1,
                    r->parser.problem ? r->parser.problem : "it cannot be read");
    return false;
}

static bool refuse(reader *r, const yaml_event_t *event, const char *what)
{
    vj_problems_add(r->problems, "%s:%zu: %s.", r->name, event->start_mark.line + 1, what);
    return false;
}

/* Write the value that begins with `event` to `out`; maps inside a list are written as {key: value, ...}. */
static bool put_inline(reader *r, yaml_event_t *event, FILE *out, int depth)
{
    const bool map = event->type == YAML_MAPPING_START_EVENT;
    if (depth > DEPTH_MAX || ++r->nodes > NODES_MAX) return refuse(r, event, "too deep or too long for settings");
    if (event->type == YAML_SCALAR_EVENT) {
        fputs((const char *)event->data.scalar.value, out);
        return true;
    }
    if (!map && event->type != YAML_SEQUENCE_START_EVENT) return refuse(r, event, "an alias is no setting");
    putc(map ? '{' : '[', out);
    for (int i = 0;; i++) {
        yaml_event_t item;
        if (!next(r, &item)) return false;
        const bool end = item.type == YAML_MAPPING_END_EVENT || item.type == YAML_SEQUENCE_END_EVENT;
        if (i && !end) fputs(map && i % 2 ? ": " : ", ", out);
        const bool good = end || put_inline(r, &item, out, depth + 1);
        yaml_event_delete(&item);
        if (!good) return false;
        if (end) break;
    }
    putc(map ? '}' : ']', out);
    return true;
}

static bool read_map(reader *r, const char *prefix, int depth);

static bool read_value(reader *r, const char *key, int depth)
{
    yaml_event_t event;
    bool good;
    if (!next(r, &event)) return false;
    if (event.type == YAML_MAPPING_START_EVENT) {
        good = depth < DEPTH_MAX ? read_map(r, key, depth + 1) : refuse(r, &event, "too deep for settings");
    } else {
        char *value = NULL;
        size_t bytes;
        FILE *out = open_memstream(&value, &bytes);
        VJ_ASSERT(out);
        good = put_inline(r, &event, out, depth);
        VJ_ASSERT(fclose(out) == 0);
        if (good)
            put(r->settings, key, value);
        else
            free(value);
    }
    yaml_event_delete(&event);
    return good;
}

/* Read the pairs of a map whose start was read. */
static bool read_map(reader *r, const char *prefix, int depth)
{
    for (;;) {
        yaml_event_t event;
        char key[KEY_BYTES];
        if (!next(r, &event)) return false;
        const bool end = event.type == YAML_MAPPING_END_EVENT;
        bool good = end || event.type == YAML_SCALAR_EVENT || refuse(r, &event, "a key is no text");
        if (++r->nodes > NODES_MAX) good = refuse(r, &event, "too long for settings");
        if (good && !end)
            snprintf(key, sizeof key, "%s%s%s", prefix, *prefix ? "." : "", (const char *)event.data.scalar.value);
        yaml_event_delete(&event);
        if (!good || end) return good;
        if (!read_value(r, key, depth)) return false;
    }
}

bool vj_flat_settings_parse(vj_flat_settings *settings, const char *text, const char *name, vj_problems *problems)
{
    reader r = {.settings = settings, .name = name, .problems = problems};
    yaml_event_t event;
    *settings = (vj_flat_settings){0};
    VJ_ASSERT(yaml_parser_initialize(&r.parser));
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, strlen(text));
    bool good = true, begun = false;
    while (good && !begun) { /* start of the stream and of the document */
        good = next(&r, &event);
        if (!good) break;
        begun = event.type == YAML_MAPPING_START_EVENT;
        if (!begun && event.type != YAML_STREAM_START_EVENT && event.type != YAML_DOCUMENT_START_EVENT)
            good = refuse(&r, &event, "not a map of settings");
        yaml_event_delete(&event);
    }
    good = good && read_map(&r, "", 0);
    yaml_parser_delete(&r.parser);
    return good;
}

bool vj_flat_settings_read(vj_flat_settings *settings, const char *path, vj_problems *problems)
{
    int64_t bytes;
    *settings = (vj_flat_settings){0};
    char *text = vj_report_load(path, FILE_BYTES, &bytes, problems);
    const bool good = text && vj_flat_settings_parse(settings, text, path, problems);
    free(text);
    return good;
}

void vj_flat_settings_release(vj_flat_settings *settings)
{
    vj_report_free_names(settings->keys, settings->count);
    vj_report_free_names(settings->values, settings->count);
    *settings = (vj_flat_settings){0};
}

const char *vj_flat_settings_find(const vj_flat_settings *settings, const char *key)
{
    for (int i = 0; i < settings->count; i++)
        if (strcmp(settings->keys[i], key) == 0) return settings->values[i];
    return NULL;
}

double vj_flat_settings_number(const vj_flat_settings *settings, const char *key, double fallback)
{
    const char *text = vj_flat_settings_find(settings, key);
    double value = fallback;
    if (text) (void)vj_parse_real(text, &value);
    return value;
}
