/* Chooses the reader for a list. Has the functions of listing.h, which handle names, labels, paths and ids. */
#include "pack/manifest.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/markup.h"
#include "pack/listing.h"

/* ------------------------------------------------------------------------------------------------ names */

/* Like vj_text_refuse(), but `text` may be NULL: a walked folder. */
static vj_status refuse_at(const vj_text *text, int64_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static vj_status refuse_at(const vj_text *text, int64_t line, const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return text ? vj_text_refuse(text, line, "%s", message) : vj_raise(VJ_ERR_FORMAT, "%s", message);
}

static vj_status refuse_name(const vj_text *text, int64_t line, const char *what)
{
    return refuse_at(text, line, "%s", what);
}

vj_status vj_listing_dataset(vj_listing *l, const vj_text *text, int64_t line, const char *name, int *dataset)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    vj_media_names *names = l->names;
    for (*dataset = 0; *dataset < names->dataset_count; ++*dataset)
        if (strcmp(names->dataset_names[*dataset], name) == 0) return VJ_OK;
    if (*name == '\0' || name[strspn(name, letters)] || strlen(name) >= sizeof names->dataset_names[0])
        return refuse_name(text, line, "letters, digits, . _ and -, at most 63, make the name of a dataset");
    if (names->dataset_count == VJ_MAX_LIST) return refuse_name(text, line, "more than 16 datasets");
    strcpy(names->dataset_names[names->dataset_count++], name);
    return VJ_OK;
}

vj_status vj_listing_label(vj_listing *l, const vj_text *text, int64_t line, const char *name, int *label)
{
    vj_media_names *names = l->names;
    if (strncmp(name, "label_", 6) == 0 && isalpha((unsigned char)name[6])) name += 6;
    for (*label = 0; *label < names->label_count; ++*label)
        if (strcmp(names->label_names[*label], name) == 0) return VJ_OK;
    if (*name == '\0' || strlen(name) >= VJ_LABEL_NAME)
        return refuse_name(
            text, line,
            "a column has no name, or one longer than 63 bytes: each is a label but path, dataset, start, "
            "end and id (pandas writes row numbers into one without a name, unless index=False)");
    if (!vj_utf8_is_name(name))
        return refuse_name(text, line, "a label's name is text in UTF-8, without control characters");
    if (strchr(name, '/') || *name == '.')
        return refuse_name(text, line, "a label's name may not begin with a dot or have a slash in it");
    if (names->label_count == VJ_MAX_LABELS) return refuse_name(text, line, "more than 8 labels");
    strcpy(names->label_names[names->label_count++], name);
    return VJ_OK;
}

vj_status vj_listing_labels(vj_listing *l, const vj_text *text, int64_t line, unsigned labels)
{
    vj_media_names *names = l->names;
    int dataset;
    VJ_TRY(vj_listing_dataset(l, text, line, l->settings->name, &dataset));
    if (names->listed[dataset] && names->labels_of[dataset] != labels)
        return refuse_name(text, line, "its labels differ from those of the lists before it in the same dataset");
    names->labels_of[dataset] |= labels;
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ values */

/* Refuse a label that has numbers and names, because it would not be known which class a number means. */
static vj_status agree_on_kind(vj_listing *l, const vj_text *text, int64_t line, int label, const char *column,
                               const char *value, vj_label_kind kind)
{
    vj_label_classes *c = &l->classes->of[label];
    if (c->kind == VJ_LABEL_UNKNOWN) {
        c->kind = kind;
        snprintf(c->place, sizeof c->place, "%.*s:%lld", VJ_PATH, text ? text->name : l->folder, (long long)line);
    }
    if (c->kind == kind) return VJ_OK;
    return vj_text_refuse(text, line,
                          "column %s: \"%.60s\" is a %s, but %.200s has a %s: give all classes of a label as "
                          "numbers, or all as names",
                          column, value, kind == VJ_LABEL_NUMBERS ? "number" : "name", c->place,
                          kind == VJ_LABEL_NUMBERS ? "name" : "number");
}

int vj_listing_takes_words(const char *name)
{
    return strcasestr(name, "label") || strcasestr(name, "class") || strcasestr(name, "category");
}

/* Return the place of a class that a file of labels fixes; -1: there is none. Published files of labels may have
 * "weaving_basket" where the lists have "weaving basket". */
static int32_t find_fixed(const vj_class_names *classes, int label, const char *name)
{
    char other[VJ_CLASS_NAME];
    int32_t met = vj_class_names_find(classes, label, name);
    for (int way = 0; way < 2 && met < 0 && strlen(name) < sizeof other; way++) {
        strcpy(other, name);
        for (char *at = other; *at; at++)
            if (*at == " _"[way]) *at = "_ "[way];
        met = vj_class_names_find(classes, label, other);
    }
    return met;
}

vj_status vj_listing_enter_class(vj_listing *l, const vj_text *text, int64_t line, int label, const char *name,
                                 int64_t number, int32_t *met)
{
    char wrong[512];
    VJ_TRY(agree_on_kind(l, text, line, label, l->names->label_names[label], name, VJ_LABEL_NAMES));
    VJ_TRY(vj_class_names_enter(l->classes, label, name, number, met, wrong));
    return *wrong ? refuse_at(text, line, "label %s: %s", l->names->label_names[label], wrong) : VJ_OK;
}

vj_status vj_listing_set_class(vj_listing *l, const vj_text *text, int64_t line, int label, const char *name)
{
    int32_t *met = &l->media.labels[label];
    if (!(l->fixed & 1U << label)) return vj_listing_enter_class(l, text, line, label, name, -1, met);
    *met = find_fixed(l->classes, label, name);
    if (*met >= 0 && l->classes->of[label].number[*met] >= 0) return VJ_OK;
    return refuse_at(text, line, "class \"%.200s\" is not in the labels %s", name, l->settings->labels);
}

static vj_status set_number(vj_listing *l, const vj_text *text, int64_t line, int label, const char *column,
                            const char *value, long number)
{
    if (number < -1)
        return vj_text_refuse(text, line, "column %s: \"%.60s\" is negative; a label is 0, 1, ..., or -1 for none",
                              column, value);
    if (number > INT32_MAX)
        return vj_text_refuse(text, line,
                              "column %s: \"%.60s\" is more than %d, the largest number of a class; number the classes "
                              "0, 1, ..., or leave the column out if it is no label",
                              column, value, INT32_MAX);
    l->media.labels[label] = (int32_t)number;
    if (number < 0) return VJ_OK;
    if (!(l->fixed & 1U << label)) return agree_on_kind(l, text, line, label, column, value, VJ_LABEL_NUMBERS);
    l->media.labels[label] = vj_class_names_of_number(l->classes, label, number);
    if (l->media.labels[label] >= 0) return VJ_OK;
    return vj_text_refuse(text, line, "column %s: no class has the number %ld in the labels %s", column, number,
                          l->settings->labels);
}

vj_status vj_listing_set_label(vj_listing *l, const vj_text *text, int64_t line, int label, const char *column,
                               const char *value, int words)
{
    char *end;
    errno = 0;
    const long number = strtol(value, &end, 10);
    const int whole = end > value && *end == '\0';
    if (*value == '\0') return vj_text_refuse(text, line, "column %s is empty; -1 stands for no label", column);
    if (l->fixed & 1U << label && vj_class_names_find(l->classes, label, value) >= 0)
        return vj_listing_set_class(l, text, line, label, value);
    if (whole)
        return set_number(l, text, line, label, column, value, errno == ERANGE && number > 0 ? LONG_MAX : number);
    (void)strtod(value, &end);
    if (*end == '\0')
        return vj_text_refuse(text, line,
                              "column %s: \"%.60s\" is not a whole number; a label is 0, 1, ..., or -1 for "
                              "none. Leave the column out if it is no label",
                              column, value);
    if (words) return vj_listing_set_class(l, text, line, label, value);
    return vj_text_refuse(text, line,
                          "column %s: \"%.60s\" is not a number. Each column but path, dataset, start, end and id is a "
                          "label: leave it out, or, if it names classes, call it label_%.40s",
                          column, value, column);
}

/* Parse [[hh:]mm:]ss; the seconds may have a fraction. */
static int parse_time(const char *value, double *seconds)
{
    char *end;
    *seconds = 0;
    for (int part = 0; part < 3; part++) {
        if (!isdigit((unsigned char)*value) && (part > 0 || *value != '.')) return 0;
        const double number = strtod(value, &end);
        if (part > 0 && number >= 60) return 0;
        *seconds = 60 * *seconds + number;
        if (*end == '\0') return *seconds < 1e9;
        if (*end != ':' || memchr(value, '.', (size_t)(end - value))) return 0;
        value = end + 1;
    }
    return 0;
}

vj_status vj_listing_parse_seconds(const vj_text *text, int64_t line, const char *name, const char *value,
                                   double *seconds)
{
    if (*value == '\0') {
        *seconds = -1;
        return VJ_OK;
    }
    if (parse_time(value, seconds)) return VJ_OK;
    return vj_text_refuse(text, line, "column %s: \"%.60s\" is no time: give seconds from 0 on, mm:ss or hh:mm:ss",
                          name, value);
}

/* ------------------------------------------------------------------------------------------------ entries */

void vj_media_id(char id[VJ_MEDIA_PATH], const char *path)
{
    enum { TIMES = 14, EXTENSION = 5 }; /* _000010_000020 */
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    size_t length = strlen(name);
    if (dot && dot > name && dot[1] && dot[2] && strlen(dot + 1) <= EXTENSION) {
        const char *letter = dot + 1;
        while (isalnum((unsigned char)*letter)) letter++;
        if (*letter == '\0') length = (size_t)(dot - name);
    }
    if (length > TIMES) {
        const char *times = name + length - TIMES;
        int fits = 1;
        for (int i = 0; i < TIMES; i++) fits &= i % 7 == 0 ? times[i] == '_' : isdigit((unsigned char)times[i]) != 0;
        if (fits) length -= TIMES;
    }
    if (length >= VJ_MEDIA_PATH) length = VJ_MEDIA_PATH - 1;
    memcpy(id, name, length);
    id[length] = '\0';
}

void vj_listing_begin(vj_listing *l)
{
    l->media = (vj_media){.dataset = -1, .windows = l->settings->windows, .start_s = -1, .end_s = -1};
    for (int i = 0; i < VJ_MAX_LABELS; i++) l->media.labels[i] = -1;
}

static vj_status add(vj_listing *l, const vj_text *text, int64_t line, const char *listed, const char *id,
                     const char *key)
{
    if (l->media.dataset < 0) VJ_TRY(vj_listing_dataset(l, text, line, l->settings->name, &l->media.dataset));
    if (*listed == '\0') return vj_text_refuse(text, line, "the path is empty");
    int length = snprintf(l->path, sizeof l->path, "%s%s", *listed == '/' ? "" : l->folder, listed);
    if (length < 0 || length >= (int)sizeof l->path)
        return text ? vj_text_refuse(text, line, "the path is longer than %d bytes", VJ_MEDIA_PATH - 1)
                    : vj_raise(VJ_ERR_FORMAT, "the path %.80s... is longer than %d bytes", listed, VJ_MEDIA_PATH - 1);
    if (l->media.end_s >= 0 && l->media.end_s <= (l->media.start_s > 0 ? l->media.start_s : 0))
        return vj_text_refuse(text, line, "the end, %.9g s, is not after the start, %.9g s", l->media.end_s,
                              l->media.start_s > 0 ? l->media.start_s : 0.0);
    if (!id) vj_media_id(l->id, listed);
    l->media.path = l->path;
    l->media.listed = listed;
    l->media.id = id ? id : l->id;
    l->media.key = key ? key : l->path;
    l->media.line = line;
    l->count++;
    return l->sink(l->user, &l->media);
}

vj_status vj_listing_add(vj_listing *l, const vj_text *text, int64_t line, const char *listed, const char *id)
{
    return add(l, text, line, listed, id, NULL);
}

/* Make the path of a file from a pattern. */
static vj_status expand(vj_listing *l, const vj_text *text, int64_t line, const char *pattern, const char *id,
                        const char *label, double start_s, double end_s)
{
    char start[16], end[16];
    size_t used = 0;
    snprintf(start, sizeof start, "%06.0f", floor(start_s));
    snprintf(end, sizeof end, "%06.0f", floor(end_s));
    const struct {
        const char *name, *value;
    } fields[] = {{"{id}", id}, {"{label}", label}, {"{start}", start}, {"{end}", end}};
    while (*pattern) {
        const char *piece = pattern;
        size_t taken = 1, length = 1;
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
            if (strncmp(pattern, fields[i].name, strlen(fields[i].name)) != 0) continue;
            piece = fields[i].value;
            length = strlen(piece);
            taken = strlen(fields[i].name);
        }
        if (piece == pattern && *pattern == '{')
            return vj_raise(VJ_ERR_USAGE, "pack.datasets: a pattern takes {id}, {label}, {start}, {end}, not \"%s\"",
                            pattern);
        if (used + length >= sizeof l->expanded)
            return vj_text_refuse(text, line, "the path is longer than %d bytes", VJ_MEDIA_PATH - 1);
        memcpy(l->expanded + used, piece, length);
        used += length;
        pattern += taken;
    }
    l->expanded[used] = '\0';
    return VJ_OK;
}

vj_status vj_listing_add_id(vj_listing *l, const vj_text *text, int64_t line, const char *pattern, const char *id,
                            const char *label, double start_s, double end_s)
{
    if (*id == '\0') return vj_text_refuse(text, line, "the id is empty");
    if (*l->settings->pattern) pattern = l->settings->pattern;
    VJ_TRY(expand(l, text, line, pattern, id, label, start_s, end_s));
    /* Lists of a dataset may overlap and have different roots, so the name identifies the file. */
    char key[VJ_MEDIA_PATH + 80];
    const char *slash = strrchr(l->expanded, '/');
    snprintf(key, sizeof key, "%s:%s", l->settings->name, slash ? slash + 1 : l->expanded);
    return add(l, text, line, l->expanded, id, key);
}

/* ------------------------------------------------------------------------------------------------ formats */

/* Return the separator with which the first line has a field `word`; 0: it has none. */
static char separator_of(const vj_text *text, const char *word)
{
    for (const char *separator = ",\t; "; *separator; separator++)
        if (vj_text_first_line_has(text, word, *separator)) return *separator;
    return '\0';
}

/* Return whether a list that begins with { is one object in the style of COCO, by its first key. */
static int begins_like_coco(const char *begin, size_t bytes)
{
    static const char *const keys[] = {"images", "annotations", "categories", "licenses", "info"};
    size_t at = 1;
    while (at < bytes && strchr(" \t\r\n", begin[at])) at++;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && at < bytes && begin[at] == '"'; i++) {
        const size_t length = strlen(keys[i]), end = at + 1 + length;
        if (end < bytes && begin[end] == '"' && memcmp(begin + at + 1, keys[i], length) == 0) return 1;
    }
    return 0;
}

/* Guess the format of a list from its first bytes. A plain list whose first file is called "path" must be declared
 * plain by the user. */
static vj_list_format recognise(const vj_text *text)
{
    size_t bytes;
    const char *begin = vj_text_begin(text, &bytes);
    size_t blank = 0;
    while (blank < bytes && strchr(" \t\r\n", begin[blank])) blank++;
    if (blank < bytes && begin[blank] == '{')
        return begins_like_coco(begin + blank, bytes - blank) ? VJ_LIST_COCO : VJ_LIST_JSON;
    if (blank < bytes && begin[blank] == '[')
        return memmem(begin, bytes, "\"path", 5) || !memmem(begin, bytes, "\"id\"", 4) ? VJ_LIST_JSON : VJ_LIST_SSV2;
    if (separator_of(text, "youtube_id")) return VJ_LIST_KINETICS;
    if (separator_of(text, "video_id") && !separator_of(text, "path")) return VJ_LIST_HOWTO100M;
    return separator_of(text, "path") ? VJ_LIST_CSV : VJ_LIST_PLAIN;
}

static vj_status read_list(vj_listing *l, vj_text *text)
{
    typedef vj_status reader(vj_listing *, vj_text *);
    static reader *const readers[] = {
        [VJ_LIST_CSV] = vj_listing_csv,     [VJ_LIST_JSON] = vj_listing_json,
        [VJ_LIST_PLAIN] = vj_listing_plain, [VJ_LIST_KINETICS] = vj_listing_kinetics,
        [VJ_LIST_SSV2] = vj_listing_ssv2,   [VJ_LIST_HOWTO100M] = vj_listing_howto100m,
        [VJ_LIST_COCO] = vj_listing_coco,
    };
    vj_list_format format = (vj_list_format)l->settings->format;
    if (format == VJ_LIST_AUTO) format = recognise(text);
    l->separator = ',';
    static const char *const known[] = {"youtube_id", "video_id", "path"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (separator_of(text, known[i])) l->separator = separator_of(text, known[i]);
    if (*l->settings->labels && format == VJ_LIST_HOWTO100M)
        return vj_raise(VJ_ERR_USAGE, "%s: its format names no classes, so labels %s has no meaning", text->name,
                        l->settings->labels);
    return readers[format](l, text);
}

/* Return whether a path named as a list is a folder, which is then walked. */
static int is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Set the prefix of relative paths: `root`, or the list's folder; it ends in a slash or is empty. */
static vj_status set_folder(vj_listing *l, const char *root)
{
    const char *list = l->settings->list, *slash = strrchr(list, '/');
    int length = *root ? snprintf(l->folder, sizeof l->folder, "%s/", root)
                       : snprintf(l->folder, sizeof l->folder, "%.*s", slash ? (int)(slash - list) + 1 : 0, list);
    if (length < (int)sizeof l->folder) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE, "the folder %.80s... has a path of more than %d bytes", root, VJ_PATH - 1);
}

static vj_status read_all(vj_listing *l)
{
    const vj_dataset_settings *s = l->settings;
    vj_text text;
    int instead = s->format == VJ_LIST_AUTO && is_folder(s->list);
    VJ_TRY(set_folder(l, instead ? s->list : s->root));
    if (*s->labels && (instead || s->format == VJ_LIST_FOLDER))
        return vj_raise(VJ_ERR_USAGE,
                        "%s: format folder knows no classes, so labels %s has no meaning (imagenet: a "
                        "class is a folder)",
                        l->folder, s->labels);
    if (instead || s->format == VJ_LIST_FOLDER || s->format == VJ_LIST_IMAGENET) return vj_listing_walk(l);
    vj_status status = vj_text_open(&text, s->list, "media list");
    if (status == VJ_OK) status = read_list(l, &text);
    vj_text_close(&text);
    return status;
}

vj_status vj_manifest_read(vj_media_names *names, vj_class_names *classes, const vj_dataset_settings *dataset,
                           const char *label_name, const char *scratch, vj_media_sink *sink, void *user)
{
    const char *shown = *dataset->list ? dataset->list : dataset->root;
    vj_listing *l = vj_calloc(1, sizeof *l);
    if (!l) return vj_raise(VJ_ERR_MEMORY, "no memory to read %s", shown);
    l->settings = dataset;
    l->label_name = label_name;
    l->names = names;
    l->sink = sink;
    l->user = user;
    l->classes = classes;
    l->scratch = scratch;
    vj_status status = read_all(l);
    if (status == VJ_OK && l->count == 0) status = vj_raise(VJ_ERR_FORMAT, "%s names no media file", shown);
    for (int i = 0; i < names->dataset_count; i++)
        if (strcmp(names->dataset_names[i], dataset->name) == 0) names->listed[i] = 1;
    free(l);
    return status;
}
