/*
 * Collects the class names found in manifests, separately for each label of the store, and numbers them. While lists
 * are read, a class is identified by its place: its index in the order in which names were first read. When all lists
 * are read, vj_class_names_number() assigns the numbers stored in the clip store: those fixed by a file of labels, or
 * else 0, 1, 2 ... in the byte order of the names. So the numbers do not depend on the order of files or lists. The
 * names are held in memory, at most VJ_MAX_CLASSES a label.
 */
#ifndef VJ_PACK_CLASS_NAMES_H
#define VJ_PACK_CLASS_NAMES_H

#include "clips/clips.h"
#include "pack/hashmap.h"

typedef enum { VJ_LABEL_UNKNOWN, VJ_LABEL_NUMBERS, VJ_LABEL_NAMES } vj_label_kind;

typedef struct {
    vj_label_kind kind;
    char place[VJ_PATH + 32]; /* LIST:LINE of the entry that set `kind` */
    int64_t count, room, numbers;
    char **name;        /* [count] in the order of their places; owned */
    int32_t *number;    /* [count] number fixed by a file of labels, or -1; after settling, the store's number. Owned */
    int32_t *of_number; /* [numbers] place of the class with this number, or -1. Owned */
    int has_register;
    vj_hashmap known; /* name -> index in `name`; initialised if has_register */
} vj_label_classes;

typedef struct {
    const char *scratch; /* borrowed: folder for scratch files */
    vj_label_classes of[VJ_MAX_LABELS];
} vj_class_names;

/** Start with no classes. Call vj_class_names_release() also after a failure. */
void vj_class_names_init(vj_class_names *names, const char *scratch);
void vj_class_names_release(vj_class_names *names);

/**
 * Add a class name to a label, if it is new, and set *met to its place. `number` >= 0 fixes the class's number; -1
 * leaves it open. An invalid name or number is described in `wrong` ("" if all is well) and still returns VJ_OK; fails
 * only when memory or the scratch file does.
 */
vj_status vj_class_names_enter(vj_class_names *names, int label, const char *name, int64_t number, int32_t *met,
                               char wrong[512]);

/** Return the place of the class with this name, or with this fixed number; -1: there is none. */
int32_t vj_class_names_find(const vj_class_names *names, int label, const char *name);
int32_t vj_class_names_of_number(const vj_class_names *names, int label, int64_t number);

/** Assign the final numbers to all classes; afterwards `of_number` is complete. `label_names` are used in messages. */
vj_status vj_class_names_number(vj_class_names *names, char label_names[][VJ_LABEL_NAME]);

/** Return whether, for all labels, every class's number equals its place. */
int vj_class_names_are_in_order(const vj_class_names *names);

/** Return the name of the class with this number, "" if there is none. Only after vj_class_names_number(). */
const char *vj_class_names_name(const vj_class_names *names, int label, int64_t number);

/**
 * Return the classes of a label as one line, "3 classes: 0 ant, 1 bee, 2 cow"; of many classes only the first ones are
 * listed. free() it; NULL: no memory.
 */
char *vj_class_names_text(const vj_class_names *names, int label);

#endif
