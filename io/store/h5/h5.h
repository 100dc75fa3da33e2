/*
 * What the HDF5 files we write share (checkpoints and feature stores): attributes "format", "version" and, last,
 * "complete"; written beside their final name and renamed once they are on disk; checked before they are read. HDF5's
 * own structures carry its checksums (1.8 format), the data carry ours.
 *
 * A file is written in three phases. Rank 0 lays it out: datasets and attributes. All ranks write rows to the places of
 * its datasets, with pwrite(2). Rank 0 adds what is known at the end. Datasets follow one another from data_place on,
 * so that their places are known, and rows can be written, before they are made. HDF5 itself only ever works in memory,
 * on rank 0: the file is open in its core driver from the first phase to the last, its structures all lie in front of
 * the data, and the finished structures are written by us. So HDF5 never sees a write that fails, from which it does
 * not recover (1.10.8: after a failed H5Fclose() it crashes in its exit handler, or, on a file of several ranks, leaves
 * the others waiting); any rank and any thread may write rows; and a file cannot be opened before all of its data are
 * on disk.
 *
 * HDF5's error stack is silent inside our functions: each public function that uses HDF5 wraps its work in
 * H5E_BEGIN_TRY, and vj_raise_h5() says what HDF5 had to say.
 */
#ifndef VJ_H5_H
#define VJ_H5_H

#include <hdf5.h>
#include <mpi.h>

#include "base/file.h"

/* ------------------------------------------------------------------------------------------------ writing */

/* Bytes of a page of the file that a rank holds back (pages.h). */
typedef struct {
    int64_t at, bytes;
    char *data; /* owned */
} vj_h5_piece;

/* Not to be moved or copied while a file is written. */
typedef struct {
    hid_t file;              /* on rank 0, in memory; closed by the end */
    char path[VJ_PATH];      /* final name */
    char part[VJ_FILE_PATH]; /* name while it is written: path, a number of its own, ".part" */
    MPI_Comm comm;           /* borrowed; VJ_ALONE will do */
    int rank;
    int node, nodes;    /* of this rank, of all: ranks of different nodes share no page of the file */
    vj_h5_piece *piece; /* [pieces] of pages that may be shared. Owned */
    int64_t pieces, piece_room;
    int fd;          /* the .part, open for writing in phase 2; -1 otherwise */
    vj_file on_disk; /* on rank 0: the .part, open to the end */
    struct {
        int64_t at, bytes;
        uint64_t sum;
    } * edge; /* [edges] the first and last bytes of each of this rank's writes, to be read again */
    int64_t edges, edge_room;
    int64_t front_bytes;   /* on rank 0: reserved for HDF5's structures; the data lie behind */
    int64_t refused_bytes; /* on rank 0: more than that, which HDF5 asked for; 0: it never did */
    int64_t data_place;    /* on rank 0: of the first dataset's data in the file */
    int64_t data_end;      /* on rank 0: of the data of the datasets made so far */
    struct {
        char *bytes;
        int64_t count;
    } front; /* on rank 0: what HDF5 wrote into it */
} vj_h5_writer;

/**
 * Phase 1: create PATH in the memory of rank 0, with format, version and provenance (code, hosts, ranks, date).
 * `structure_bytes` is the most that HDF5's structures can need: VJ_H5_OBJECT_BYTES for each dataset, and what its
 * attributes hold. Collective, agreed.
 */
vj_status vj_h5_create(vj_h5_writer *writer, const char *path, const char *format, int64_t version,
                       int64_t structure_bytes, MPI_Comm comm);
enum { VJ_H5_OBJECT_BYTES = 2048 };

/**
 * Phase 2: if every rank's `status` is VJ_OK, rank 0 removes what killed writers of PATH left, and makes
 * PATH.<number>.part with all the space that its datasets need: too little on disk ends here, with the numbers. All
 * ranks open it. On any rank's failure nothing is left. Collective, agreed.
 */
vj_status vj_h5_share(vj_h5_writer *writer, vj_status status);

/**
 * Write `bytes` at `offset` of the file. Of several nodes, pages that are not wholly in it are written by
 * vj_h5_verify(), unless other writes of this rank complete them. Phase 2, any thread, one at a time; not collective.
 */
vj_status vj_h5_write(vj_h5_writer *writer, int64_t offset, const void *data, int64_t bytes);

/** This rank's rows are written: flush them to disk and close. Phase 2, any thread, once; not collective. */
vj_status vj_h5_flush(vj_h5_writer *writer);

/**
 * After vj_h5_gather(): write and flush the pages that were held back, then read again where this rank's writes began
 * and ended, and compare. If a network file system mixed up writes of several ranks, nothing may be published. Any
 * thread, once; not collective.
 */
vj_status vj_h5_verify(vj_h5_writer *writer);

/**
 * Phase 3: all ranks have flushed, or verified. What they hold of pages that nodes share goes to one rank each. On any
 * rank's failure the file is removed. Collective, agreed.
 */
vj_status vj_h5_gather(vj_h5_writer *writer, vj_status status);

/**
 * On rank 0: add "complete", close, write HDF5's structures to disk, rename, flush the folder. Phase 3, the last of it;
 * any thread, while no other is inside HDF5. Not collective.
 */
vj_status vj_h5_publish(vj_h5_writer *writer);

/**
 * The end: rank 0's `status` is vj_h5_publish()'s, or that of what failed before. On any rank's failure the .part is
 * removed; when it was flushing the folder that failed, the file, whole, may already stand under its final name.
 * Collective, agreed.
 */
vj_status vj_h5_commit(vj_h5_writer *writer, vj_status status);

/**
 * Instead of phases 2 and 3, on rank 0, which may have laid the file out with VJ_ALONE: add "complete" and close, in
 * memory alone, and refuse an HDF5 that puts structures where this needs the data. So that a program that will compute
 * for hours finds out before. The writer is given up. Not collective.
 */
vj_status vj_h5_rehearse(vj_h5_writer *writer);

/** Give up, in any phase: close; rank 0 removes the .part. Harmless when there is nothing to give up. Not collective.
 */
void vj_h5_abandon(vj_h5_writer *writer);

/**
 * On rank 0: a contiguous dataset that is never filled, under `name` (groups are made on the way). *offset: where in
 * the file its data are; datasets follow one another without gaps in the order in which they are made. An HDF5 that
 * puts one elsewhere is refused. Phases 1 and 3.
 */
vj_status vj_h5_dataset(vj_h5_writer *writer, const char *name, hid_t type, int ndim, const hsize_t *dim,
                        int64_t *offset);

/** Attributes, on rank 0. Phases 1 and 3. */
vj_status vj_h5_put_text(hid_t object, const char *name, const char *text);
vj_status vj_h5_put_i64(hid_t object, const char *name, int64_t value);
vj_status vj_h5_put_u64(hid_t object, const char *name, uint64_t value);
vj_status vj_h5_put_f64(hid_t object, const char *name, double value);
vj_status vj_h5_put_u64s(hid_t object, const char *name, const uint64_t *values, int64_t count);

/** "1.10.8": the version of the HDF5 library that is loaded. */
typedef struct {
    char text[32];
} vj_h5_version;
vj_h5_version vj_h5_library(void);

/* ------------------------------------------------------------------------------------------------ reading */

/**
 * Open read-only without any checks and without file locks: what is published never changes, and some network file
 * systems have no locks. Negative when HDF5 cannot. vj_h5_open(): after checking that it is HDF5, not cut short, of
 * this format and version, complete, and without links to other places; the reason is reported otherwise. Close with
 * H5Fclose(). Not collective.
 */
hid_t vj_h5_open_file(const char *path);
vj_status vj_h5_open(hid_t *file, const char *path, const char *format, int64_t version);

/**
 * Refuse a dataset whose elements are not all in the file as they are: never written, compressed, or kept in another
 * file. So what it takes to read it is bounded by the file's size: to be asked before memory is allocated. Not for
 * datasets of clips.
 */
vj_status vj_h5_check_stored(hid_t dataset, const char *path, const char *name);

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
/** A text that may be printed. *text: allocated, free() it. */
vj_status vj_h5_get_text(hid_t object, const char *path, const char *name, char **text);

/** Print "written DATE by CODE, N ranks on HOSTS". */
vj_status vj_h5_print_provenance(hid_t file, const char *path, FILE *out);

#endif
