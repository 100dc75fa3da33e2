/*
 * Reading settings: YAML through libyaml's document interface, which keeps line numbers. Each value goes through the
 * table (settings.c), whether it is a default, from a file or from --set. config_text.c prints, config_check.c derives.
 */
#include "base/config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "base/settings.h"

enum { ORIGIN_DEFAULT = 0, ORIGIN_SET = -1 };

/* A text that is being read: that of a file, or (file NULL) the value of a --set or a default. */
typedef struct {
    vj_config *config;
    yaml_document_t document;
    const char *file;
} reader;

/* Where a value goes: its row of the table, the name for messages, and the struct that contains the member. */
typedef struct {
    const vj_setting *row;
    const char *name;
    void *base;
} target;

static int line_of(const yaml_node_t *node)
{
    return (int)node->start_mark.line + 1;
}

__attribute__((format(printf, 4, 5))) static vj_status refuse(const reader *r, int line, const char *name,
                                                              const char *format, ...)
{
    char place[VJ_PATH + 16] = "--set ", message[2048];
    if (r->file) snprintf(place, sizeof place, "%s:%d: ", r->file, line);
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return vj_raise(VJ_ERR_USAGE, "%s%s%s%s", place, name, *name ? ": " : "", message);
}

/* ------------------------------------------------------------------------------------------------ values */

/* What the row takes, for messages. */
static const char *wanted(const vj_setting *row, char text[256])
{
    static const char *const forms[] = {[VJ_SET_INTEGER] = "an integer in ",
                                        [VJ_SET_NUMBER] = "a number in ",
                                        [VJ_SET_CHOICE] = "one of ",
                                        [VJ_SET_TEXT] = "one of ",
                                        [VJ_SET_TEXTS] = "a list of ",
                                        [VJ_SET_RANGE] = "[low, high], two numbers in ",
                                        [VJ_SET_VECTOR] = "a list of numbers in ",
                                        [VJ_SET_SHARES] = "a list of numbers in ",
                                        [VJ_SET_GENERATORS] = "a list of maps",
                                        [VJ_SET_DATASETS] = "a list of maps"};
    if (*row->allowed)
        snprintf(text, 256, "%s%s", forms[row->type], row->allowed);
    else
        snprintf(text, 256, "%s",
                 row->type == VJ_SET_TEXT    ? "a text"
                 : row->type == VJ_SET_TEXTS ? "a list of texts, [a, b]"
                                             : forms[row->type]);
    return text;
}

/* The node as the user wrote it, cut to a short line. A text is in quotes without being wrong for that. */
static const char *shown(const vj_setting *row, const yaml_node_t *node, char text[80])
{
    const bool is_text = row->type == VJ_SET_TEXT || row->type == VJ_SET_TEXTS;
    if (node->type != YAML_SCALAR_NODE)
        snprintf(text, 80, "%s", node->type == YAML_MAPPING_NODE ? "a map" : "a list");
    else
        snprintf(text, 80, "%s'%.50s'",
                 is_text || node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? "" : "the quoted text ",
                 (const char *)node->data.scalar.value);
    return text;
}

static vj_status refuse_value(const reader *r, const target *to, const yaml_node_t *node)
{
    char want[256], is[80];
    return refuse(r, line_of(node), to->name, "%s is not allowed; it takes %s", shown(to->row, node, is),
                  wanted(to->row, want));
}

/*
 * Return the text of a scalar that is not quoted and has only these characters, else NULL: neither a quoted text is a
 * number, nor "inf", "0x10" or " 1".
 */
static const char *plain(const yaml_node_t *node, const char *characters)
{
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return NULL;
    const char *text = (const char *)node->data.scalar.value;
    return *text && text[strspn(text, characters)] == '\0' ? text : NULL;
}

static vj_status read_integer(const reader *r, const target *to, const yaml_node_t *node)
{
    const char *text = plain(node, "+-0123456789");
    char *end = NULL;
    errno = 0;
    long long value = text ? strtoll(text, &end, 10) : 0;
    if (!text || *end || errno || !vj_setting_allows(to->row, (double)value)) return refuse_value(r, to, node);
    if (to->row->bytes == sizeof(int))
        *(int *)to->base = (int)value;
    else
        *(int64_t *)to->base = value;
    return VJ_OK;
}

static vj_status read_number(const reader *r, const target *to, const yaml_node_t *node, double *value)
{
    const char *text = plain(node, "+-.eE0123456789");
    char *end = NULL;
    if (vj_setting_has_auto(to->row) && node->type == YAML_SCALAR_NODE &&
        strcmp((const char *)node->data.scalar.value, "auto") == 0) {
        *value = VJ_AUTO;
        return VJ_OK;
    }
    *value = text ? strtod(text, &end) : 0;
    if (!text || *end || !vj_setting_allows(to->row, *value)) return refuse_value(r, to, node);
    return VJ_OK;
}

static vj_status read_choice(const reader *r, const target *to, const yaml_node_t *node)
{
    int position = -1;
    if (node->type == YAML_SCALAR_NODE)
        position = vj_choice_find(to->row->allowed, (const char *)node->data.scalar.value);
    if (position < 0) return refuse_value(r, to, node);
    *(int *)to->base = position;
    return VJ_OK;
}

/* YAML's words for "no value". In quotes they are texts as any other. */
static bool is_null(const yaml_node_t *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    bool found = false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        found |= strcmp((const char *)node->data.scalar.value, words[i]) == 0;
    return found && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static vj_status read_text(const reader *r, const target *to, const yaml_node_t *node, char *text, size_t bytes)
{
    if (node->type != YAML_SCALAR_NODE) return refuse_value(r, to, node);
    const char *value = (const char *)node->data.scalar.value;
    if (is_null(node)) return refuse(r, line_of(node), to->name, "has no value; the empty text is \"\"");
    if (strlen(value) != node->data.scalar.length || strlen(value) >= bytes)
        return refuse(r, line_of(node), to->name, "is too long (%zu bytes, at most %zu) or holds a zero byte",
                      node->data.scalar.length, bytes - 1);
    if (*to->row->allowed && vj_choice_find(to->row->allowed, value) < 0) return refuse_value(r, to, node);
    memset(text, 0, bytes);
    strcpy(text, value);
    return VJ_OK;
}

/* Return the number of items of a list, or -1 after a message if it is not from `low` to `high`. */
static int list_length(reader *r, const target *to, const yaml_node_t *node, int low, int high)
{
    if (node->type != YAML_SEQUENCE_NODE) {
        refuse_value(r, to, node);
        return -1;
    }
    int n = (int)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (n >= low && n <= high) return n;
    refuse(r, line_of(node), to->name, low == high ? "has %d items, it takes %d" : "has %d items, at most %d fit", n,
           high);
    return -1;
}

vj_status vj_strings_one(vj_strings *list, const char *path)
{
    *list = (vj_strings){.count = 1};
    if (snprintf(list->item[0], sizeof list->item[0], "%s", path) >= (int)sizeof list->item[0])
        return vj_raise(VJ_ERR_USAGE, "a path may have %zu characters, this one has %zu: %s", sizeof list->item[0] - 1,
                        strlen(path), path);
    return VJ_OK;
}

static yaml_node_t *list_item(reader *r, const yaml_node_t *list, int i)
{
    return yaml_document_get_node(&r->document, list->data.sequence.items.start[i]);
}

static vj_status read_texts(reader *r, const target *to, const yaml_node_t *node)
{
    vj_strings *list = to->base, read = {0};
    read.count = list_length(r, to, node, 0, VJ_MAX_LIST);
    if (read.count < 0) return VJ_ERR_USAGE;
    for (int i = 0; i < read.count; i++)
        VJ_TRY(read_text(r, to, list_item(r, node, i), read.item[i], sizeof read.item[i]));
    *list = read;
    return VJ_OK;
}

static vj_status read_numbers(reader *r, const target *to, const yaml_node_t *node, int low, int high, int *count)
{
    double *list = to->base;
    *count = list_length(r, to, node, low, high);
    if (*count < 0) return VJ_ERR_USAGE;
    for (int i = 0; i < *count; i++) VJ_TRY(read_number(r, to, list_item(r, node, i), &list[i]));
    for (int i = *count; i < high; i++) list[i] = 0;
    return VJ_OK;
}

static vj_status read_maps(reader *r, const target *to, const yaml_node_t *node);

static vj_status read_value(reader *r, const target *to, const yaml_node_t *node)
{
    int count;
    switch (to->row->type) {
    case VJ_SET_INTEGER:
        return read_integer(r, to, node);
    case VJ_SET_NUMBER:
        return read_number(r, to, node, to->base);
    case VJ_SET_CHOICE:
        return read_choice(r, to, node);
    case VJ_SET_TEXT:
        return read_text(r, to, node, to->base, to->row->bytes);
    case VJ_SET_TEXTS:
        return read_texts(r, to, node);
    case VJ_SET_VECTOR:
        count = (int)(to->row->bytes / sizeof(double));
        return read_numbers(r, to, node, count, count, &count);
    case VJ_SET_SHARES:
        return read_numbers(r, to, node, 0, VJ_MAX_MASKS, (int *)((double *)to->base + VJ_MAX_MASKS));
    case VJ_SET_RANGE:
        VJ_TRY(read_numbers(r, to, node, 2, 2, &count));
        if (((double *)to->base)[0] <= ((double *)to->base)[1]) return VJ_OK;
        return refuse(r, line_of(node), to->name, "the first number is above the second; it takes [low, high]");
    case VJ_SET_GENERATORS:
    case VJ_SET_DATASETS:
        break;
    }
    return read_maps(r, to, node);
}

/* ------------------------------------------------------------------------------------------------ maps */

/* Get pair i of a map: its key as text, and its value. Refuses keys that are no text or are given twice. */
static vj_status map_pair(reader *r, const yaml_node_t *map, int i, const char *name, const char **key,
                          yaml_node_t **key_node, yaml_node_t **value)
{
    const yaml_node_pair_t *pairs = map->data.mapping.pairs.start;
    *key_node = yaml_document_get_node(&r->document, pairs[i].key);
    *value = yaml_document_get_node(&r->document, pairs[i].value);
    if ((*key_node)->type != YAML_SCALAR_NODE) return refuse(r, line_of(*key_node), name, "a key must be a word");
    *key = (const char *)(*key_node)->data.scalar.value;
    for (int j = 0; j < i; j++) {
        const yaml_node_t *other = yaml_document_get_node(&r->document, pairs[j].key);
        if (strcmp((const char *)other->data.scalar.value, *key) == 0)
            return refuse(r, line_of(*key_node), name, "%s is given twice; the first is in line %d", *key,
                          line_of(other));
    }
    return VJ_OK;
}

static int map_size(const yaml_node_t *map)
{
    return (int)(map->data.mapping.pairs.top - map->data.mapping.pairs.start);
}

static const vj_setting *row_of(const vj_maps *maps, const char *key)
{
    for (int i = 0; i < maps->count; i++)
        if (strcmp(maps->rows[i].key, key) == 0) return &maps->rows[i];
    return NULL;
}

static vj_status map_key_unknown(reader *r, const vj_maps *maps, int line, const char *name, const char *key)
{
    char list[512] = "";
    size_t used = 0;
    vj_guess guess;
    vj_guess_init(&guess, key);
    for (int i = 0; i < maps->count; i++) {
        vj_guess_consider(&guess, maps->rows[i].key);
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", maps->rows[i].key);
    }
    if (guess.best) return refuse(r, line, name, "%s: unknown key; did you mean %s?", key, guess.best);
    return refuse(r, line, name, "%s: unknown key; a %s has %s", key, maps->what, list);
}

/* Set a key of a map to the default in its table. */
static vj_status default_value(vj_config *config, const vj_setting *row, void *base);

/* Refuse keys that items of this kind do not have. */
static vj_status check_kind(reader *r, const vj_maps *maps, const char *name, const yaml_node_t *map, const void *item)
{
    const vj_setting *choice = &maps->rows[maps->kind];
    int kind = *(const int *)((const char *)item + choice->at), length;
    for (int i = 0; i < map_size(map); i++) {
        const char *key, *word;
        yaml_node_t *key_node, *value;
        VJ_TRY(map_pair(r, map, i, name, &key, &key_node, &value));
        if (row_of(maps, key)->kinds & 1U << kind) continue;
        word = vj_choice_word(choice->allowed, kind, &length);
        return refuse(r, line_of(key_node), name, "%s means nothing to %s %.*s", key, choice->key, length, word);
    }
    return VJ_OK;
}

static vj_status read_map(reader *r, const vj_maps *maps, const char *name, const yaml_node_t *map, void *item)
{
    char full[128], want[256];
    const char *key;
    yaml_node_t *key_node, *value;
    bool has_first = false;

    if (map->type != YAML_MAPPING_NODE) return refuse(r, line_of(map), name, "is not a map, %s", maps->example);
    for (int i = 0; i < maps->count; i++) VJ_TRY(default_value(r->config, &maps->rows[i], item));
    for (int i = 0; i < map_size(map); i++) {
        VJ_TRY(map_pair(r, map, i, name, &key, &key_node, &value));
        const vj_setting *row = row_of(maps, key);
        if (!row) return map_key_unknown(r, maps, line_of(key_node), name, key);
        snprintf(full, sizeof full, "%s.%s", name, key);
        VJ_TRY(read_value(r, &(target){row, full, (char *)item + row->at}, value));
        if (row == maps->rows) has_first = true;
    }
    if (!has_first)
        return refuse(r, line_of(map), name, "%s is missing; it is %s", maps->rows[0].key,
                      wanted(&maps->rows[0], want));
    return check_kind(r, maps, name, map, item);
}

static vj_status read_maps(reader *r, const target *to, const yaml_node_t *node)
{
    char name[64];
    const vj_maps *maps = vj_maps_of(to->row);
    char *config = (char *)r->config;
    int count = list_length(r, to, node, 0, maps->max_items);
    if (count < 0) return VJ_ERR_USAGE;
    char *items = vj_calloc(maps->max_items, (int64_t)maps->bytes);
    vj_status status = items ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to read %s", to->name);
    for (int i = 0; i < count && status == VJ_OK; i++) {
        const yaml_node_t *item = list_item(r, node, i);
        snprintf(name, sizeof name, "%s[%d]", to->name, i);
        status = read_map(r, maps, name, item, items + (size_t)i * maps->bytes);
        ((int *)(config + maps->lines_at))[i] = r->file ? line_of(item) : ORIGIN_SET;
    }
    if (status == VJ_OK) {
        *(int *)(config + maps->count_at) = count;
        memcpy(config + to->row->at, items, (size_t)maps->max_items * maps->bytes);
    }
    free(items);
    return status;
}

/* ------------------------------------------------------------------------------------------------ files */

static vj_status key_unknown(const reader *r, int line, const char *key)
{
    char list[1024] = "";
    size_t used = 0, section = strcspn(key, ".") + 1;
    vj_guess guess;
    vj_guess_init(&guess, key);
    for (int i = 0; i < vj_settings_count; i++) {
        const char *candidate = vj_settings[i].key;
        vj_guess_consider(&guess, candidate);
        if (strncmp(candidate, key, section) == 0 && used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", candidate + section);
    }
    if (guess.best) return refuse(r, line, key, "unknown key; did you mean %s?", guess.best);
    for (int i = 0; i < vj_settings_count; i++)
        if (key[section - 1] && strcmp(strchr(vj_settings[i].key, '.') + 1, key + section) == 0)
            return refuse(r, line, key, "unknown key; did you mean %s?", vj_settings[i].key);
    if (used) return refuse(r, line, key, "unknown key; the section has %s", list);
    return refuse(r, line, key, "unknown key; it takes section.key, --help lists them");
}

static vj_status section_unknown(const reader *r, int line, const char *section)
{
    enum { SECTIONS = 32, NAME = 32 };
    char list[1024] = "", names[SECTIONS][NAME];
    size_t used = 0;
    int count = 0;
    vj_guess guess;
    if (vj_setting_find(section))
        return refuse(r, line, section,
                      "unknown section; a setting stands below its section, as in {%.*s: {%s: VALUE}}",
                      (int)strcspn(section, "."), section, strchr(section, '.') + 1);
    vj_guess_init(&guess, section);
    for (int i = 0; i < vj_settings_count; i++) {
        const char *key = vj_settings[i].key;
        size_t length = strcspn(key, ".") + 1;
        if (i > 0 && strncmp(vj_settings[i - 1].key, key, length) == 0) continue;
        VJ_ASSERT(count < SECTIONS && length <= NAME);
        snprintf(names[count], NAME, "%.*s", (int)length - 1, key);
        vj_guess_consider(&guess, names[count]);
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", names[count++]);
    }
    if (guess.best) return refuse(r, line, section, "unknown section; did you mean %s?", guess.best);
    return refuse(r, line, section, "unknown section; there are %s", list);
}

static bool section_known(const char *section)
{
    size_t length = strlen(section);
    for (int i = 0; i < vj_settings_count; i++)
        if (strncmp(vj_settings[i].key, section, length) == 0 && vj_settings[i].key[length] == '.') return true;
    return false;
}

static vj_status read_section(reader *r, const char *section, const yaml_node_t *map)
{
    const char *key;
    yaml_node_t *key_node, *value;
    if (map->type == YAML_SCALAR_NODE && map->data.scalar.length == 0) return VJ_OK; /* all its keys commented out */
    if (map->type != YAML_MAPPING_NODE)
        return refuse(r, line_of(map), section, "is a section; its settings follow, one \"key: value\" a line");
    for (int i = 0; i < map_size(map); i++) {
        char name[128];
        VJ_TRY(map_pair(r, map, i, section, &key, &key_node, &value));
        snprintf(name, sizeof name, "%s.%s", section, key);
        const vj_setting *row = vj_setting_find(name);
        if (!row) return key_unknown(r, line_of(key_node), name);
        VJ_TRY(read_value(r, &(target){row, row->key, (char *)r->config + row->at}, value));
        r->config->origin.line[row - vj_settings] = line_of(key_node);
    }
    return VJ_OK;
}

static vj_status read_root(reader *r, const yaml_node_t *root)
{
    const char *section;
    yaml_node_t *key_node, *value;
    if (root->type == YAML_SCALAR_NODE && root->data.scalar.length == 0) return VJ_OK;
    if (root->type != YAML_MAPPING_NODE) return refuse(r, line_of(root), "", "not a map of sections");
    for (int i = 0; i < map_size(root); i++) {
        VJ_TRY(map_pair(r, root, i, "", &section, &key_node, &value));
        if (!section_known(section)) return section_unknown(r, line_of(key_node), section);
        VJ_TRY(read_section(r, section, value));
    }
    return VJ_OK;
}

/* Return whether the indentation of a line (from 1) has a tab. libyaml does not name this mistake. */
static bool indented_by_tab(const char *text, int line)
{
    for (; line > 1 && *text; text++) line -= *text == '\n';
    return text[strspn(text, " ")] == '\t';
}

/* For a byte that is not UTF-8 libyaml gives an offset but no line. */
static int error_line(const yaml_parser_t *parser, const char *text)
{
    int line = 1;
    if (parser->error != YAML_READER_ERROR) return (int)parser->problem_mark.line + 1;
    for (size_t i = 0; i < parser->problem_offset; i++) line += text[i] == '\n';
    return line;
}

/* Settings nest at most this deep: a map of sections, a section, a list of maps, a map, a list; some more for the rest.
 */
enum { MAX_DEPTH = 16 };

/*
 * Return the line in which lists and maps nest deeper than settings do, or 0. libyaml's time grows with the square of
 * the depth: 100,000 brackets would keep it busy for half a minute.
 */
static int line_too_deep(const char *text, size_t bytes)
{
    yaml_parser_t parser;
    yaml_event_t event;
    int depth = 0, line = 0;
    if (!yaml_parser_initialize(&parser)) return 0; /* no memory, and load() is the next to say so */
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    for (bool more = true; more && !line;) {
        if (!yaml_parser_parse(&parser, &event)) break; /* load() finds the same error and says where */
        if (event.type == YAML_SEQUENCE_START_EVENT || event.type == YAML_MAPPING_START_EVENT) depth++;
        if (event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT) depth--;
        if (depth > MAX_DEPTH) line = (int)event.start_mark.line + 1;
        more = event.type != YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return line;
}

/*
 * Load the one document of a text; *root is NULL if it is empty. The caller must delete the document, also after a
 * failure.
 */
static vj_status load(reader *r, const char *name, const char *text, size_t bytes, yaml_node_t **root)
{
    yaml_parser_t parser;
    yaml_document_t second;
    vj_status status = VJ_OK;

    memset(&r->document, 0, sizeof r->document);
    *root = NULL;
    const int deep = line_too_deep(text, bytes);
    if (deep)
        return refuse(r, deep, name, "lists and maps are nested more than %d deep, that is no setting", MAX_DEPTH);
    if (!yaml_parser_initialize(&parser)) return vj_raise(VJ_ERR_MEMORY, "no memory to read settings");
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    bool fine = yaml_parser_load(&parser, &r->document);
    if (fine) {
        *root = yaml_document_get_root_node(&r->document);
        if (*root && (fine = yaml_parser_load(&parser, &second))) {
            yaml_node_t *more = yaml_document_get_root_node(&second);
            if (more) status = refuse(r, line_of(more), name, "a second YAML document begins; one is allowed");
            yaml_document_delete(&second);
        }
    }
    if (!fine) {
        const int line = error_line(&parser, text);
        status = refuse(r, line, name, "this is not YAML: %s%s%s%s", parser.context ? parser.context : "",
                        parser.context ? ", " : "", parser.problem ? parser.problem : "unreadable",
                        indented_by_tab(text, line) ? "; the line begins with a tab: indent by blanks" : "");
    }
    yaml_parser_delete(&parser);
    return status;
}

/* The whole file as one text, at most 1 MB, into a buffer of that size and one byte more. */
enum { MAX_BYTES = 1 << 20 };

/* Return whether a pipe can be read, or has lost its writer, within this time. */
static bool becomes_ready(int fd, int ms)
{
    struct pollfd pipe = {.fd = fd, .events = POLLIN};
    int ready;
    do ready = poll(&pipe, 1, ms);
    while (ready < 0 && errno == EINTR);
    if (ready == 0) errno = ETIMEDOUT;
    return ready > 0;
}

/* Wait until somebody writes to a pipe, and say so: without a limit a forgotten writer would be waited for for ever. */
static bool wait_for_writer(int fd, const char *path)
{
    enum { SPEAK_MS = 2000, LIMIT_MS = 120000 };
    if (becomes_ready(fd, SPEAK_MS)) return true;
    vj_warn("configuration %s is a pipe, and nobody has written to it yet: waiting up to %d s", path, LIMIT_MS / 1000);
    return becomes_ready(fd, LIMIT_MS);
}

/* Open a configuration. Opening a pipe without O_NONBLOCK waits for its writer; reading from it may then block. */
static FILE *open_config(const char *path)
{
    struct stat info;
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return NULL;
    FILE *file = NULL;
    if (fstat(fd, &info) == 0 && (!S_ISFIFO(info.st_mode) || wait_for_writer(fd, path)) &&
        fcntl(fd, F_SETFL, O_RDONLY) == 0)
        file = fdopen(fd, "rb");
    const int error = errno;
    if (!file) (void)close(fd); /* only read */
    errno = error;
    return file;
}

static vj_status slurp(const char *path, char *text)
{
    FILE *file = open_config(path);
    size_t bytes = file ? fread(text, 1, MAX_BYTES + 1, file) : 0;
    bool fine = file && !ferror(file);
    if (!fine) vj_raise(VJ_ERR_USAGE, "configuration %s: %s", path, strerror(errno));
    if (file) fclose(file); /* read only: nothing can be lost */
    if (!fine) return VJ_ERR_USAGE;
    if (bytes > MAX_BYTES)
        return vj_raise(VJ_ERR_USAGE, "configuration %s: larger than 1 MB, that is no configuration", path);
    text[bytes] = '\0';
    if (strlen(text) != bytes)
        return vj_raise(VJ_ERR_USAGE, "configuration %s: this is not YAML: it holds a byte 0", path);
    return VJ_OK;
}

vj_status vj_config_parse(vj_config *config, const char *name, const char *text)
{
    reader r = {.config = config, .file = name};
    yaml_node_t *root;

    /* or line numbers of an earlier file would be taken for line numbers of this one */
    for (int i = 0; i < VJ_MAX_SETTINGS; i++)
        if (config->origin.line[i] > 0) config->origin.line[i] = ORIGIN_DEFAULT;
    snprintf(config->origin.file, sizeof config->origin.file, "%s", name);
    vj_status status = load(&r, "", text, strlen(text), &root);
    if (status == VJ_OK && root) status = read_root(&r, root);
    yaml_document_delete(&r.document);
    return status;
}

vj_status vj_config_read(vj_config *config, const char *path)
{
    char *text = malloc(MAX_BYTES + 1);
    if (!text) return vj_raise(VJ_ERR_MEMORY, "no memory to read %s", path);
    vj_status status = slurp(path, text);
    if (status == VJ_OK) status = vj_config_parse(config, path, text);
    free(text);
    return status;
}

/* ------------------------------------------------------------------------------------------------ single values */

/*
 * Return the value as YAML, to be freed with free(). A text is quoted, so that --set run.dir=... takes any path as it
 * is.
 */
static char *value_as_yaml(const vj_setting *row, const char *value)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    if (row->type == VJ_SET_TEXT)
        vj_text_quote(out, value);
    else
        fputs(value, out);
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

static vj_status set_value(vj_config *config, const vj_setting *row, void *base, const char *value)
{
    reader r = {.config = config, .file = NULL};
    yaml_node_t *root;
    char *text = value_as_yaml(row, value);
    if (!text) return vj_raise(VJ_ERR_MEMORY, "no memory to set %s", row->key);
    vj_status status = load(&r, row->key, text, strlen(text), &root);
    if (status == VJ_OK && !root) status = refuse(&r, 0, row->key, "has no value");
    if (status == VJ_OK) status = read_value(&r, &(target){row, row->key, (char *)base + row->at}, root);
    yaml_document_delete(&r.document);
    free(text);
    return status;
}

static vj_status default_value(vj_config *config, const vj_setting *row, void *base)
{
    return set_value(config, row, base, row->initial);
}

vj_status vj_config_set(vj_config *config, const char *assignment)
{
    const reader r = {.config = config, .file = NULL};
    char key[128];
    size_t length = strcspn(assignment, "=");
    if (!assignment[length] || length >= sizeof key)
        return refuse(&r, 0, "", "'%.100s': it takes section.key=value", assignment);
    snprintf(key, sizeof key, "%.*s", (int)length, assignment);
    const vj_setting *row = vj_setting_find(key);
    if (!row && !strchr(key, '.')) {
        char names[512];
        if (vj_setting_find_bare(key, &row, names, sizeof names) > 1)
            return refuse(&r, 0, key, "stands in several sections: %s", names);
    }
    if (!row) return key_unknown(&r, 0, key);
    VJ_TRY(set_value(config, row, config, assignment + length + 1));
    config->origin.line[row - vj_settings] = ORIGIN_SET;
    return VJ_OK;
}

void vj_config_defaults(vj_config *config)
{
    memset(config, 0, sizeof *config);
    for (int i = 0; i < vj_settings_count; i++) {
        vj_status status = default_value(config, &vj_settings[i], config);
        VJ_ASSERT(status == VJ_OK); /* a slip in the table; the tests see it */
    }
    memset(&config->origin, 0, sizeof config->origin);
}
