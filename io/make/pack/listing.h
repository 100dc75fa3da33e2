/* What the readers of manifests share (manifest.c): the list that is being read, and how an entry of it becomes media.
 */
#ifndef VJ_PACK_LISTING_H
#define VJ_PACK_LISTING_H

#include "pack/manifest.h"

typedef struct {
    const vj_dataset_settings *settings; /* borrowed, as all that is pointed to */
    const char *label_name;
    vj_media_names *names;
    vj_media_sink *sink;
    void *user;
    vj_class_names *classes;
    unsigned fixed;       /* 1 << label: labels whose names and numbers settings->labels gives */
    vj_media media;       /* of the entry: the reader sets start_s, end_s, labels */
    char separator;       /* of the fields of CSV */
    const char *scratch;  /* a folder that is not walked */
    char folder[VJ_PATH]; /* stands before relative paths; ends in a slash or is empty */
    char path[VJ_MEDIA_PATH], id[VJ_MEDIA_PATH], expanded[VJ_MEDIA_PATH];
    int64_t count;
} vj_listing;

/** The number of a dataset, of a label; made if new. `text` and `line` stand in messages. */
vj_status vj_listing_dataset(vj_listing *l, const vj_text *text, int64_t line, const char *name, int *dataset);
vj_status vj_listing_label(vj_listing *l, const vj_text *text, int64_t line, const char *name, int *label);

/** The labels of a list with a fixed set of them, 1 << label: refused if the dataset's lists before it had others. */
vj_status vj_listing_labels(vj_listing *l, const vj_text *text, int64_t line, unsigned labels);

/** Begin an entry: no labels, the whole file, the settings' dataset. */
void vj_listing_begin(vj_listing *l);

/** Hand on the entry. `id` NULL: from the path. `text` NULL: a walked file. */
vj_status vj_listing_add(vj_listing *l, const vj_text *text, int64_t line, const char *listed, const char *id);

/** The same for a file of a list of ids: its place is made by settings->pattern, or `pattern` if that is empty. */
vj_status vj_listing_add_id(vj_listing *l, const vj_text *text, int64_t line, const char *pattern, const char *id,
                            const char *label, double start_s, double end_s);

/** If settings->labels is given, it says what the classes of this label are called and numbered. Once a list. */
vj_status vj_listing_fix_classes(vj_listing *l, int label);

/** May a label of this name hold words, the names of classes? If it has "label", "class" or "category" in it. */
int vj_listing_takes_words(const char *name);

/**
 * Set the entry's label to a class by its name, or to what a list says: a whole number, -1 for none, or, if `words`,
 * the name of a class. All of a label are numbers or all are names, unless settings->labels says what is what. `column`
 * stands in messages. `text` NULL: a walked folder.
 */
vj_status vj_listing_set_class(vj_listing *l, const vj_text *text, int64_t line, int label, const char *name);
vj_status vj_listing_set_label(vj_listing *l, const vj_text *text, int64_t line, int label, const char *column,
                               const char *value, int words);

/** Seconds, mm:ss or hh:mm:ss, each with a fraction if wanted; empty: negative. */
vj_status vj_listing_parse_seconds(const vj_text *text, int64_t line, const char *name, const char *value,
                                   double *seconds);

/** The formats. Each reads the open list to its end. */
vj_status vj_listing_plain(vj_listing *l, vj_text *text);
vj_status vj_listing_csv(vj_listing *l, vj_text *text);
vj_status vj_listing_kinetics(vj_listing *l, vj_text *text);
vj_status vj_listing_howto100m(vj_listing *l, vj_text *text);
vj_status vj_listing_json(vj_listing *l, vj_text *text);
vj_status vj_listing_ssv2(vj_listing *l, vj_text *text);
vj_status vj_listing_walk(vj_listing *l);

#endif
