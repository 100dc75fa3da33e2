/* What the readers of manifests share (manifest.c): the list that is being read, and how an entry of it becomes media.
 */
#ifndef VJ_PACK_LISTING_H
#define VJ_PACK_LISTING_H

#include "pack/manifest.h"
#include "pack/register.h"

typedef struct {
    const vj_dataset_settings *settings; /* borrowed, as all but classes */
    const char *label_name;
    vj_media_names *names;
    vj_media_sink *sink;
    void *user;
    vj_register classes;  /* names of settings->labels, if given */
    vj_media media;       /* of the entry: the reader sets start_s, end_s, labels */
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

/** The number of a class in settings->labels. */
vj_status vj_listing_class(const vj_listing *l, const vj_text *text, int64_t line, const char *name, int32_t *label);

/** A label as a text or number; seconds, empty: negative. */
vj_status vj_listing_parse_label(const vj_text *text, int64_t line, const char *value, int32_t *label);
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
