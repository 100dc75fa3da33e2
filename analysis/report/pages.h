/* The kinds of inputs other than runs (inputs.h), and functions that their pages share. They are not collective and
 * print nothing. */
#ifndef VJ_REPORT_PAGES_H
#define VJ_REPORT_PAGES_H

#include <hdf5.h>
#include <jansson.h>

#include "base/config.h"
#include "base/csv_table.h"
#include "report/inputs.h"
#include "report/plot.h"
#include "sheet/canvas.h"

extern const vj_input_kind vj_page_clips;     /* clip stores */
extern const vj_input_kind vj_page_campaigns; /* results of vjepa-probe, and of ridge and kNN probes */
extern const vj_input_kind vj_page_analyses;  /* files of vjepa-spectrum */
extern const vj_input_kind vj_page_benches;   /* JSON of vjepa-bench */
extern const vj_input_kind vj_page_scaling;   /* scaling studies as CSV */

/**
 * Return as many last components of an input's path, without trailing slashes, as distinguish it from all other inputs:
 * a name to show. Free it with free().
 */
char *vj_page_name(const char *path, const vj_inputs *all);

/** Return whether a file begins with a text. Reports no errors. */
bool vj_page_begins(const char *path, const char *begin);

/** Return whether the file FOLDER/NAME exists. */
bool vj_page_has(const char *folder, const char *name);

/* ------------------------------------------------------------------------------------------------ pictures */

/**
 * Add a picture as JPEG, of a quality at which no difference to the canvas is seen: pictures of frames take a third to
 * two thirds of the bytes that they have as PNG. Nothing is added if it has more than `limit` bytes (0: no limit),
 * which sets *too_large.
 */
vj_status vj_page_picture(vj_document *document, const char *name, const vj_canvas *canvas, int64_t limit,
                          bool *too_large, const char *alt, const char *caption);

/* ------------------------------------------------------------------------------------------------ JSON */

/**
 * Read a JSON array or object from a file of at most `max_bytes` bytes; vj_page_json_object() accepts only an object.
 * Returns NULL, with the reason in `why` [bytes], if there is none. Free it with json_decref().
 */
json_t *vj_page_json(const char *path, int64_t max_bytes, char *why, size_t bytes);
json_t *vj_page_json_object(const char *path, int64_t max_bytes, char *why, size_t bytes);

/**
 * Show a report written by bench/report.h: single values as a list; arrays of rows and objects of numbers as tables,
 * whose CSV files are called NAME-KEY.
 */
void vj_page_report(vj_document *document, const json_t *report, const char *name);

/* ------------------------------------------------------------------------------------------------ HDF5 */

/* A dataset as numbers. */
typedef struct {
    int ndim;
    int64_t dim[4];
    double *value; /* owned */
} vj_h5_numbers;

enum { VJ_H5_MAX = 1 << 26 }; /* larger datasets are not read */

/** Read a dataset with `ndim` dimensions. Free its values with free(). */
vj_status vj_h5_numbers_read(vj_h5_numbers *numbers, hid_t group, const char *path, const char *name, int ndim);

/**
 * Read the part [0, dim[0]) x [0, dim[1]) x [0, dim[2]) of a dataset with 3 dimensions, which must be inside it.
 * Returns it as floats, to be freed with free(); NULL after an error message if that fails.
 */
float *vj_h5_corner_read(hid_t group, const char *path, const char *name, const int64_t dim[3]);

/** Read an attribute or dataset [count] of texts of fixed length. Free them with vj_report_free_names() (inside.h). */
vj_status vj_h5_texts_read(hid_t object, const char *path, const char *name, char ***texts, int *count);

#endif
