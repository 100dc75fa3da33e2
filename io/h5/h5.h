/*
 * What the HDF5 files we write share (checkpoints and feature stores): attributes "format", "version" and, last,
 * "complete"; written in parallel as PATH.<number>.part and renamed once they are on disk; checked before they are read.
 * HDF5's own structures carry its checksums (1.8 format), the data carry ours.
 *
 * HDF5's error stack is silent inside our functions: each public function that uses HDF5 wraps its work in
 * H5E_BEGIN_TRY, and vj_raise_h5() says what HDF5 had to say.
 */
#ifndef VJ_H5_H
#define VJ_H5_H

#include <hdf5.h>
#include <mpi.h>

#include "base/config.h"

/* ------------------------------------------------------------------------------------------------ writing */

typedef struct {
    hid_t file;              /* open for parallel access until commit */
    char path[VJ_PATH];      /* final name */
    char part[VJ_PATH + 16]; /* name while it is written: path, a number of its own, ".part" */
    MPI_Comm comm;           /* borrowed */
} vj_h5_writer;

/**
 * Create PATH.<number>.part for parallel access, removing what killed writers of PATH left; reserve `bytes` on disk (an
 * estimate of the whole file); write format, version and provenance (code, hosts, ranks, date). Too little space ends
 * here, before anything is written, with the numbers. On failure nothing is left. Collective, agreed.
 */
vj_status vj_h5_create(vj_h5_writer *writer, const char *path, const char *format, int64_t version, int64_t bytes,
                       MPI_Comm comm);

/**
 * End a file: if every rank's `status` is VJ_OK: attribute "complete", close, fsync on every rank (dirty pages belong to
 * the node that wrote them), agree, rename by rank 0, fsync of the folder. Otherwise close and remove the .part. All
 * objects of the file must be closed. Returns what all ranks agreed on. Collective.
 */
vj_status vj_h5_commit(vj_h5_writer *writer, vj_status status);

/**
 * A contiguous dataset, allocated at once and never filled, under `name` (groups are made on the way). Transfers to it
 * may then be independent. Collective; close with H5Dclose() on all ranks.
 */
vj_status vj_h5_dataset(hid_t *dataset, hid_t file, const char *name, hid_t type, int ndim, const hsize_t *dim);

/** Attributes. On a file open for parallel access: collective, with the same content on all ranks. */
vj_status vj_h5_put_text(hid_t object, const char *name, const char *text);
vj_status vj_h5_put_i64(hid_t object, const char *name, int64_t value);
vj_status vj_h5_put_u64(hid_t object, const char *name, uint64_t value);
vj_status vj_h5_put_f64(hid_t object, const char *name, double value);
vj_status vj_h5_put_u64s(hid_t object, const char *name, const uint64_t *values, int64_t count);

/** Folder of a path ("." if it names none); returns the last component, inside `path`. */
const char *vj_h5_split(const char *path, char folder[VJ_PATH]);

/** Flush a file or folder to disk. */
vj_status vj_h5_sync(const char *path);

/* ------------------------------------------------------------------------------------------------ reading */

/**
 * Open read-only, after checking that it is HDF5, not cut short, of this format and version, and complete; the reason is
 * reported otherwise. Close with H5Fclose(). Not collective.
 */
vj_status vj_h5_open(hid_t *file, const char *path, const char *format, int64_t version);

/** The "format" attribute of a file, "" when it is no HDF5 file or has none; never reports. */
void vj_h5_format(const char *path, char *format, int64_t bytes);

/** Attributes; `path` is for the message. A missing one is VJ_ERR_FORMAT. */
vj_status vj_h5_get_i64(hid_t object, const char *path, const char *name, int64_t *value);
vj_status vj_h5_get_u64(hid_t object, const char *path, const char *name, uint64_t *value);
vj_status vj_h5_get_f64(hid_t object, const char *path, const char *name, double *value);
/** Exactly `count` values. */
vj_status vj_h5_get_u64s(hid_t object, const char *path, const char *name, uint64_t *values, int64_t count);
/** *text: allocated, free() it. */
vj_status vj_h5_get_text(hid_t object, const char *path, const char *name, char **text);

/** Print "written DATE by CODE, N ranks on HOSTS". */
vj_status vj_h5_print_provenance(hid_t file, const char *path, FILE *out);

#endif
