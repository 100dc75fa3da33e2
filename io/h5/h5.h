/*
 * What the HDF5 files we write share (checkpoints and feature stores): attributes "format", "version" and, last,
 * "complete"; written beside their final name and renamed once they are on disk; checked before they are read. HDF5's
 * own structures carry its checksums (1.8 format), the data carry ours.
 *
 * A file is written in three phases. Rank 0 alone lays it out: datasets and attributes. All ranks open it through
 * MPI-IO and send rows to its datasets. Rank 0 alone adds what is known at the end. So whatever changes HDF5's
 * structures is plain serial I/O on one rank, which can fail and be agreed on: a write of them that fails on one rank
 * of a parallel file leaves the others waiting inside HDF5 (seen with 1.10.8 on Open MPI 4.1.4). What is left of that
 * in phase 2 is the superblock, 48 bytes that the parallel close writes again in place.
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
    hid_t file;              /* phases 1 and 3: open on rank 0 only; phase 2: open for parallel access on all */
    char path[VJ_PATH];      /* final name */
    char part[VJ_PATH + 16]; /* name while it is written: path, a number of its own, ".part" */
    MPI_Comm comm;           /* borrowed */
    int rank;
} vj_h5_writer;

/**
 * Phase 1: create PATH.<number>.part on rank 0, removing what killed writers of PATH left, with format, version and
 * provenance (code, hosts, ranks, date). `bytes` estimates the whole file: too little space on disk ends here, with the
 * numbers. On failure nothing is left. Collective, agreed.
 */
vj_status vj_h5_create(vj_h5_writer *writer, const char *path, const char *format, int64_t version, int64_t bytes,
                       MPI_Comm comm);

/**
 * Phase 2: if every rank's `status` is VJ_OK, close on rank 0, take the space on disk and open for parallel access.
 * Otherwise the file is removed. Collective, agreed.
 */
vj_status vj_h5_share(vj_h5_writer *writer, vj_status status);

/**
 * Phase 3: all ranks close the file (its objects must be closed) and flush it to disk (dirty pages belong to the node
 * that wrote them); rank 0 opens it again. On any rank's failure the file is removed. Collective, agreed.
 */
vj_status vj_h5_gather(vj_h5_writer *writer, vj_status status);

/**
 * The end: rank 0 adds "complete", closes, flushes, renames, flushes the folder. On any rank's failure the .part is
 * removed; when it was flushing the folder that failed, the file, whole, may already stand under its final name.
 * Collective, agreed.
 */
vj_status vj_h5_commit(vj_h5_writer *writer, vj_status status);

/**
 * A contiguous dataset, its space allocated at once and never filled, under `name` (groups are made on the way).
 * Phase 1. Close with H5Dclose().
 */
vj_status vj_h5_dataset(hid_t *dataset, hid_t file, const char *name, hid_t type, int ndim, const hsize_t *dim);

/** Attributes. Phases 1 and 3. */
vj_status vj_h5_put_text(hid_t object, const char *name, const char *text);
vj_status vj_h5_put_i64(hid_t object, const char *name, int64_t value);
vj_status vj_h5_put_u64(hid_t object, const char *name, uint64_t value);
vj_status vj_h5_put_f64(hid_t object, const char *name, double value);
vj_status vj_h5_put_u64s(hid_t object, const char *name, const uint64_t *values, int64_t count);

/* ------------------------------------------------------------------------------------------------ reading */

/**
 * Open read-only, after checking that it is HDF5, not cut short, of this format and version, and complete; the reason
 * is reported otherwise. Close with H5Fclose(). Not collective.
 */
vj_status vj_h5_open(hid_t *file, const char *path, const char *format, int64_t version);

/** True for a regular file. Anything else is not to be opened: a FIFO without a writer would block. */
int vj_h5_is_file(const char *path);

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
