/*
 * Shared by the readers of the manifest formats (manifest.c): the list being read, and functions that turn an entry of
 * it into a vj_media.
 */
#ifndef VJ_PACK_LISTING_H
#define VJ_PACK_LISTING_H

#include "pack/manifest.h"

typedef struct {
    const vj_dataset_settings *settings; /* borrowed, as are all pointers here */
    const char *label_name;
    vj_media_names *names;
    vj_media_sink *sink;
    void *user;
    vj_class_names *classes;
    unsigned words;       /* bits 1 << label: labels of this table that may be names of classes */
    unsigned fixed;       /* bits 1 << label: labels whose class names and numbers are fixed by settings->labels */
    vj_media media;       /* the current entry; the reader sets start_s, end_s, labels */
    char separator;       /* between CSV fields */
    const char *scratch;  /* a folder to skip when folders are walked */
    char folder[VJ_PATH]; /* prefix of relative paths; ends in a slash or is empty */
    char path[VJ_MEDIA_PATH], id[VJ_MEDIA_PATH], expanded[VJ_MEDIA_PATH];
    int64_t count;
} vj_listing;

/**
 * Return the number of a dataset, or of a label, by name; a new name is added. A column label_NAME is the label NAME.
 * `text` and `line` are used in messages.
 */
vj_status vj_listing_dataset(vj_listing *l, const vj_text *text, int64_t line, const char *name, int *dataset);
vj_status vj_listing_label(vj_listing *l, const vj_text *text, int64_t line, const char *name, int *label);

/**
 * Declare the fixed set of labels of a list, as bits 1 << label; refused if earlier lists of the dataset had other
 * labels.
 */
vj_status vj_listing_labels(vj_listing *l, const vj_text *text, int64_t line, unsigned labels);

/** Begin an entry with the defaults: no labels, the whole file, the dataset of the settings. */
void vj_listing_begin(vj_listing *l);

/**
 * Pass the entry to the sink. `id` NULL: the id is derived from the path. `text` NULL: the file comes from a walked
 * folder.
 */
vj_status vj_listing_add(vj_listing *l, const vj_text *text, int64_t line, const char *listed, const char *id);

/** The same for an entry given by id: the path is made from settings->pattern, or from `pattern` if that is empty. */
vj_status vj_listing_add_id(vj_listing *l, const vj_text *text, int64_t line, const char *pattern, const char *id,
                            const char *label, double start_s, double end_s);

/**
 * Read the names and numbers of this label's classes from settings->labels, if that is given (label_file.c). Does
 * nothing when called again for the same label of a list.
 */
vj_status vj_listing_fix_classes(vj_listing *l, int label);

/** Return whether a label of this name may hold class names: if its name contains "label", "class" or "category". */
int vj_listing_takes_words(const char *name);

/**
 * Add a class to a label, with this number or, -1, with one that is left open; *met: its place (class_names.h). Refused
 * if other lists gave the label's classes as numbers, or gave this class another number or this number to another
 * class.
 */
vj_status vj_listing_enter_class(vj_listing *l, const vj_text *text, int64_t line, int label, const char *name,
                                 int64_t number, int32_t *met);

/**
 * Set the entry's label. vj_listing_set_class() sets it to the class called `name`. vj_listing_set_label() sets it to a
 * value from a list: a whole number, -1 for none, or, if `words`, a class name. The values of one label must be all
 * numbers or all names, unless settings->labels defines both. `column` is used in messages. `text` NULL: a walked
 * folder.
 */
vj_status vj_listing_set_class(vj_listing *l, const vj_text *text, int64_t line, int label, const char *name);
vj_status vj_listing_set_label(vj_listing *l, const vj_text *text, int64_t line, int label, const char *column,
                               const char *value, int words);

/**
 * Parse a time given as seconds, mm:ss or hh:mm:ss, each with an optional fraction; an empty value gives a negative
 * time.
 */
vj_status vj_listing_parse_seconds(const vj_text *text, int64_t line, const char *name, const char *value,
                                   double *seconds);

/** The readers, one for each format. Each reads the open list to its end. */
vj_status vj_listing_plain(vj_listing *l, vj_text *text);
vj_status vj_listing_csv(vj_listing *l, vj_text *text);
vj_status vj_listing_kinetics(vj_listing *l, vj_text *text);
vj_status vj_listing_howto100m(vj_listing *l, vj_text *text);
vj_status vj_listing_json(vj_listing *l, vj_text *text);
vj_status vj_listing_ssv2(vj_listing *l, vj_text *text);
vj_status vj_listing_coco(vj_listing *l, vj_text *text);
vj_status vj_listing_walk(vj_listing *l);

#endif
