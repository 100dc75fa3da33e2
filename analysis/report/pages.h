/* The kinds of inputs beside runs (inputs.h), and what their pages share. Pages are not collective and print nothing.
 */
#ifndef VJ_REPORT_PAGES_H
#define VJ_REPORT_PAGES_H

#include <hdf5.h>
#include <jansson.h>

#include "base/config.h"
#include "base/csv_table.h"
#include "report/inputs.h"
#include "report/plot.h"

extern const vj_input_kind vj_page_clips;     /* clip stores */
extern const vj_input_kind vj_page_campaigns; /* results of vjepa-probe, and of ridge and kNN probes */
extern const vj_input_kind vj_page_analyses;  /* files of vjepa-spectrum */
extern const vj_input_kind vj_page_benches;   /* JSON of vjepa-bench */
extern const vj_input_kind vj_page_scaling;   /* scaling studies as CSV */

/** The last component of a path, without slashes behind it: a name for people. Free it. */
char *vj_page_name(const char *path);

/** Does a file begin with a text? Reports nothing. */
bool vj_page_begins(const char *path, const char *begin);

/** Is there a file NAME in FOLDER? */
bool vj_page_has(const char *folder, const char *name);

/* ------------------------------------------------------------------------------------------------ pictures */

/** Add a picture u8 RGB [height, width, 3]. */
vj_status vj_page_rgb(vj_document *document, const char *name, const uint8_t *rgb, int height, int width,
                      const char *alt, const char *caption);

/** Add a PNG file that `draw` writes to the path it gets, unless it fails or is larger than `limit` bytes (0: any). */
typedef vj_status vj_page_draw(void *user, const char *path);
vj_status vj_page_drawn(vj_document *document, const char *name, vj_page_draw *draw, void *user, int64_t limit,
                        bool *too_large, const char *alt, const char *caption);

/* ------------------------------------------------------------------------------------------------ JSON */

/**
 * Read a JSON array or object, or an object, from a file of at most `most_bytes`; NULL, with the reason in `why`
 * [bytes], if there is none. json_decref() it.
 */
json_t *vj_page_json(const char *path, int64_t most_bytes, char *why, size_t bytes);
json_t *vj_page_json_object(const char *path, int64_t most_bytes, char *why, size_t bytes);

/**
 * Show what bench/report.h has written: single values as a list, arrays of rows and objects of numbers as tables, whose
 * CSV files are called NAME-KEY.
 */
void vj_page_report(vj_document *document, const json_t *report, const char *name);

/* ------------------------------------------------------------------------------------------------ HDF5 */

/* A dataset as numbers. */
typedef struct {
    int ndim;
    int64_t dim[4];
    double *value; /* owned */
} vj_h5_numbers;

enum { VJ_H5_MOST = 1 << 26 }; /* elements that are read at most */

/** Read a dataset with `ndim` dimensions. free() its values. */
vj_status vj_h5_numbers_read(vj_h5_numbers *numbers, hid_t group, const char *path, const char *name, int ndim);

/**
 * Read a part of a dataset with 3 dimensions: all of [0, dim[0]) x [0, dim[1]) x [0, dim[2]), which must be inside it,
 * as floats. free() what is returned; NULL with a message if that fails.
 */
float *vj_h5_corner_read(hid_t group, const char *path, const char *name, const int64_t dim[3]);

/** Read texts of fixed length: an attribute or dataset [count]. Free with vj_report_free_names() (inside.h). */
vj_status vj_h5_texts_read(hid_t object, const char *path, const char *name, char ***texts, int *count);

#endif
