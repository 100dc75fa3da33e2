/*
 * Structure-aware inputs for readers of HDF5 files: a valid file, written by our own writer, and an input that is a
 * list of edits to its attributes, datasets, groups and links, made through HDF5. So what the reader meets is always a
 * sound HDF5 file whose contents are wrong: HDF5's own parser is not what is looked for here (see README.md).
 */
#ifndef VJ_FUZZ_EDITS_H
#define VJ_FUZZ_EDITS_H

#include "fuzz.h"

enum { VJ_FUZZ_ITEMS = 96 };

/* An attribute, or (attribute "") an object. */
typedef struct {
    char object[160], attribute[64];
    bool is_dataset;
} vj_fuzz_item;

typedef struct {
    uint8_t *image; /* the valid file; owned, for ever */
    size_t bytes;
    vj_fuzz_item item[VJ_FUZZ_ITEMS];
    int items;
} vj_fuzz_file;

/** Take a file as the valid one. */
void vj_fuzz_file_load(vj_fuzz_file *file, const char *path);

/** Write the file with the edits of the input to `path`; an input that has ended is no edit. */
void vj_fuzz_file_edit(const vj_fuzz_file *file, vj_fuzz_bytes *input, const char *path);

/** The same with single bytes overwritten, and cut short: for HDF5's own parser. */
void vj_fuzz_file_damage(const vj_fuzz_file *file, vj_fuzz_bytes *input, const char *path);

/** Every edit once for every item, each with a few numbers; `head` stands before it. */
void vj_fuzz_file_seeds(const vj_fuzz_file *file, uint8_t head, void (*seed)(const uint8_t *data, size_t size));

#endif
