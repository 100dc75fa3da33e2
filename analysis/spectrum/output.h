/*
 * The HDF5 output file of a command. All datasets are declared, in the same way on all ranks, before the file is begun.
 * Then any rank may write any part of them while it computes, so results need not be kept until the end. Numbers and
 * texts about datasets are attributes. The file has a temporary name until all data are on disk (h5/h5.h). Without
 * --out these functions do nothing.
 */
#ifndef VJ_SPECTRUM_OUTPUT_H
#define VJ_SPECTRUM_OUTPUT_H

#include <hdf5.h>

#include "spectrum/commands.h"

typedef struct vj_analysis_file vj_analysis_file;

/**
 * Check that `out` does not exist or is an output file of vjepa-spectrum; otherwise VJ_ERR_USAGE. NULL is allowed. Not
 * collective.
 */
vj_status vj_analysis_file_may_replace(const char *out);

/** Create an output without datasets for analysis->out; `command` becomes an attribute. Free it with
 * vj_analysis_file_commit(). Collective, agreed. */
vj_status vj_analysis_file_open(vj_analysis_file **output, const vj_analysis *analysis, const char *command);

/**
 * Declare a dataset and return its number. The type is copied. The name is a path such as "representations/%s/mean",
 * whose groups are created. Not collective, but must be called in the same way on all ranks.
 */
int vj_analysis_file_dataset(vj_analysis_file *output, hid_t type, int ndim, const int64_t *dim, const char *name, ...)
    __attribute__((format(printf, 5, 6)));

/** Declare a dataset of `count` texts of at most bytes - 1 bytes each, likewise. */
int vj_analysis_file_texts(vj_analysis_file *output, int64_t count, int64_t bytes, const char *name, ...)
    __attribute__((format(printf, 4, 5)));

/**
 * Create the file with the declared datasets and, if the analysis has a source, /clip, /clip_xxh3, /label and /classes
 * of its clips. After a failure only vj_analysis_file_commit() may be called. Collective, agreed.
 */
vj_status vj_analysis_file_begin(vj_analysis_file *output);

/** Write `count` values of a dataset, from value `first` on. Any rank may call it; not collective. */
vj_status vj_analysis_file_write(vj_analysis_file *output, int dataset, int64_t first, int64_t count,
                                 const void *values);

/** Set an attribute of an object of the file ("/" or a path). It is written at the end, with the values of rank 0. */
void vj_analysis_file_number(vj_analysis_file *output, const char *object, const char *name, double value);
void vj_analysis_file_count(vj_analysis_file *output, const char *object, const char *name, int64_t value);
void vj_analysis_file_digest(vj_analysis_file *output, const char *object, const char *name, uint64_t value);
/** Set an attribute that is an array of `count` numbers, at most 4. */
void vj_analysis_file_u64s(vj_analysis_file *output, const char *object, const char *name, const uint64_t *values,
                           int count);
void vj_analysis_file_text(vj_analysis_file *output, const char *object, const char *name, const char *value);

/** Finish the file, or remove it if any rank's status is a failure, and free the output. Collective, agreed. */
vj_status vj_analysis_file_commit(vj_analysis_file *output, vj_status status);

#endif
