/* The kinds of inputs that vjepa-report can show, each with a test and a function that adds its sections. */
#ifndef VJ_INPUTS_H
#define VJ_INPUTS_H

#include "report/document.h"

/* All inputs of the report. A page may use inputs of another kind, such as the masks of a run on clips. */
typedef struct {
    const char *const *paths; /* [count] borrowed */
    int count;
    const char *paper; /* CSV file of published results; NULL: none */
} vj_inputs;

typedef struct {
    const char *name; /* "run folder" */
    /** Return whether `path` is of this kind. Looks only at names and first bytes, and reports no errors. */
    bool (*is)(const char *path);
    /**
     * Add sections for all inputs of this kind, in the given order. What cannot be read becomes a note of the document.
     * Returns the number of inputs that could be shown, at least in part.
     */
    int (*add)(vj_document *document, const char *const *paths, int count, const vj_inputs *all);
} vj_input_kind;

/**
 * Add sections for all inputs, and a note for each path that is of no kind. Returns the number of inputs that could be
 * shown, at least in part.
 */
int vj_inputs_add(vj_document *document, const vj_inputs *all);

#endif
