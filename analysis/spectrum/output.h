/*
 * The HDF5 file of a command. Datasets are declared, alike on all ranks, before the file is begun; then any rank writes
 * any part of them while it computes, so nothing need be kept for the end; numbers and texts about them are attributes.
 * The file is written under a temporary name until all is on disk (h5/h5.h). Without --out all of this does nothing.
 */
#ifndef VJ_SPECTRUM_OUTPUT_H
#define VJ_SPECTRUM_OUTPUT_H

#include <hdf5.h>

#include "spectrum/commands.h"

typedef struct vj_analysis_file vj_analysis_file;

/**
 * Refuse an --out that exists and is not a file of a command of vjepa-spectrum. VJ_ERR_USAGE. NULL is allowed. Not
 * collective.
 */
vj_status vj_analysis_file_may_replace(const char *out);

/** An output without datasets for analysis->out; `command` becomes an attribute. Collective, agreed. */
vj_status vj_analysis_file_open(vj_analysis_file **output, const vj_analysis *analysis, const char *command);

/**
 * Declare a dataset and return its number. The type is copied. The name is a path, such as
 * "representations/%s/mean"; its groups are made. Not collective, but alike on all ranks.
 */
int vj_analysis_file_dataset(vj_analysis_file *output, hid_t type, int ndim, const int64_t *dim, const char *name, ...)
    __attribute__((format(printf, 5, 6)));

/** Declare `count` texts of at most bytes - 1 bytes each. */
int vj_analysis_file_texts(vj_analysis_file *output, int64_t count, int64_t bytes, const char *name, ...)
    __attribute__((format(printf, 4, 5)));

/**
 * Create the file with what was declared and, if the analysis has a source, /clip, /clip_xxh3, /label and /classes of
 * its clips. Collective, agreed. After a failure only vj_analysis_file_commit() may follow.
 */
vj_status vj_analysis_file_begin(vj_analysis_file *output);

/** Write `count` values of a dataset from its value number `first` on. Any rank; not collective. */
vj_status vj_analysis_file_write(vj_analysis_file *output, int dataset, int64_t first, int64_t count,
                                 const void *values);

/** An attribute of an object of the file ("/" or a path), which is written at the end. Rank 0's count. */
void vj_analysis_file_number(vj_analysis_file *output, const char *object, const char *name, double value);
void vj_analysis_file_count(vj_analysis_file *output, const char *object, const char *name, int64_t value);
void vj_analysis_file_digest(vj_analysis_file *output, const char *object, const char *name, uint64_t value);
/** An array of `count` numbers, at most 4. */
void vj_analysis_file_u64s(vj_analysis_file *output, const char *object, const char *name, const uint64_t *values,
                           int count);
void vj_analysis_file_text(vj_analysis_file *output, const char *object, const char *name, const char *value);

/** Finish the file, or leave none if any rank's status is a failure; frees the output. Collective, agreed. */
vj_status vj_analysis_file_commit(vj_analysis_file *output, vj_status status);

#endif
