/* The table of a head in predictions.h5, shared by the code that writes it and the code that reads it. */
#ifndef VJ_PROBE_PREDICTIONS_TABLE_H
#define VJ_PROBE_PREDICTIONS_TABLE_H

#include "probe/predictions.h"

enum { VJ_PREDICTIONS_VERSION = 1 };

/** Make the type of a row, that of vj_prediction in memory; close it with H5Tclose(). */
hid_t vj_prediction_type(void);

/* An attribute of the table, and its place in vj_head_facts. */
typedef struct {
    const char *name;
    enum { VJ_FACT_TEXT, VJ_FACT_I64, VJ_FACT_U64, VJ_FACT_F64, VJ_FACT_INT } kind;
    size_t offset, bytes; /* bytes: of a text, including its final zero */
} vj_fact;

/* All but "number" (the place among the heads) and "probe_digest", which is written last. Ends with a NULL name. */
extern const vj_fact vj_facts[];

/** Write a fact as an attribute of an object, or read it; `path` is for the message. */
vj_status vj_fact_put(hid_t object, const vj_fact *fact, const vj_head_facts *head);
vj_status vj_fact_get(hid_t object, const char *path, const vj_fact *fact, vj_head_facts *head);

#endif
