/*
 * The names of classes that manifests give, for each label of the store. While lists are read a class has the number in
 * which it was first met; when all are read, settling gives the numbers that the store gets: those that a file of
 * labels fixed, or else, 0 and on, those of the names in the order of their bytes. So the numbers do not depend on the
 * order of files or lists. Names are in memory, at most VJ_MAX_CLASSES a label.
 */
#ifndef VJ_PACK_CLASS_NAMES_H
#define VJ_PACK_CLASS_NAMES_H

#include "clips/clips.h"
#include "pack/hashmap.h"

typedef enum { VJ_LABEL_UNKNOWN, VJ_LABEL_NUMBERS, VJ_LABEL_NAMES } vj_label_kind;

typedef struct {
    vj_label_kind kind;
    char place[VJ_PATH + 32]; /* LIST:LINE that decided on the kind */
    int64_t count, room, numbers;
    char **name;        /* [count] in the order met; owned */
    int32_t *number;    /* [count] fixed by a file, or -1; after settling the store's number. Owned */
    int32_t *of_number; /* [numbers] the class that has this number, or -1. Owned */
    int has_register;
    vj_hashmap known; /* name -> place in `name` */
} vj_label_classes;

typedef struct {
    const char *scratch; /* borrowed: folder for scratch files */
    vj_label_classes of[VJ_MAX_LABELS];
} vj_class_names;

/** None yet. Release in any case. */
void vj_class_names_init(vj_class_names *names, const char *scratch);
void vj_class_names_release(vj_class_names *names);

/**
 * *met gets the place of a class among those of the label, which is made if it is new; `number` fixes its number, -1
 * leaves it open. Reports what is wrong with the name as a text in `wrong` (empty: nothing) and fails only for lack of
 * memory.
 */
vj_status vj_class_names_enter(vj_class_names *names, int label, const char *name, int64_t number, int32_t *met,
                               char wrong[512]);

/** The place of a class that is known by its name, or by its fixed number; -1: there is none. */
int32_t vj_class_names_find(const vj_class_names *names, int label, const char *name);
int32_t vj_class_names_of_number(const vj_class_names *names, int label, int64_t number);

/** Give all classes their numbers; after this `of_number` is complete. `label_names` stand in messages. */
vj_status vj_class_names_settle(vj_class_names *names, char label_names[][VJ_LABEL_NAME]);

/** Have all classes, of all labels, the number of the place where they were met? */
int vj_class_names_are_in_order(const vj_class_names *names);

/** The name of the class with this number, "" if there is none; of a label that is settled. */
const char *vj_class_names_name(const vj_class_names *names, int label, int64_t number);

/** All classes of a label as one line, "3 classes: 0 ant, 1 bee, 2 cow", of many the first; NULL: no memory. free(). */
char *vj_class_names_text(const vj_class_names *names, int label);

#endif
