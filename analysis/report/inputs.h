/* What vjepa-report can show: a list of kinds of inputs, each with a test and a function that adds its sections. */
#ifndef VJ_INPUTS_H
#define VJ_INPUTS_H

#include "report/document.h"

/* All that was given to the report: a page may use another input beside its own, such as a run's masks on clips. */
typedef struct {
    const char *const *paths; /* [count] borrowed */
    int count;
    const char *paper; /* CSV file of published results; NULL: none */
} vj_inputs;

typedef struct {
    const char *name; /* "run folder" */
    /** Is `path` of this kind? Looks at names and first bytes only, and reports nothing. */
    bool (*is)(const char *path);
    /**
     * Add sections for all inputs of the kind, in the order in which they were given. What cannot be read becomes a
     * note of the document. Returns how many of the inputs could be shown, at least in part.
     */
    int (*add)(vj_document *document, const char *const *paths, int count, const vj_inputs *all);
} vj_input_kind;

/* The kinds, in the order of their sections; a path belongs to the first that accepts it. Ends with NULL. */
extern const vj_input_kind *const vj_input_kinds[];

/**
 * Add sections for all inputs, and a note for each path that is of no kind. Returns how many could be shown, at least
 * in part.
 */
int vj_inputs_add(vj_document *document, const vj_inputs *all);

#endif
