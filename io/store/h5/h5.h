/*
 * Common code for the HDF5 files we write (checkpoints and feature stores): they have the attributes "format",
 * "version" and, added last, "complete"; they are written under a temporary name and renamed once they are on disk; and
 * they are checked before they are read. HDF5's own structures carry its checksums (1.8 format), the data carry ours.
 *
 * A file is written in three phases. Phase 1: rank 0 lays the file out, that is, creates datasets and attributes. Phase
 * 2: all ranks write rows into the datasets with pwrite(2). Phase 3: rank 0 adds what is known only at the end.
 * Datasets follow one another from data_place on, so their offsets are known, and rows can be written, before the
 * datasets exist on disk. HDF5 itself works in memory only, on rank 0: the file is open in its core driver from the
 * first phase to the last, all its structures lie in front of the data, and we write the finished structures ourselves.
 * So HDF5 never sees a failed write, from which it does not recover (1.10.8: after a failed H5Fclose() it crashes in
 * its exit handler, or, on a file of several ranks, leaves the others waiting); any rank and any thread may write rows;
 * and the file cannot be opened before all its data are on disk.
 *
 * HDF5's error stack is not printed inside our functions: each public function that uses HDF5 wraps its work in
 * H5E_BEGIN_TRY, and vj_raise_h5() reports HDF5's message.
 */
#ifndef VJ_H5_H
#define VJ_H5_H

#include <hdf5.h>
#include <mpi.h>

#include "base/file.h"

/* ------------------------------------------------------------------------------------------------ writing */

/* Bytes inside one page of the file that a rank holds back (pages.h). */
typedef struct {
    int64_t at, bytes;
    char *data; /* owned */
} vj_h5_piece;

/* State of a file being written. Must not be moved or copied while the file is written. */
typedef struct {
    hid_t file;              /* on rank 0: the file in memory; closed by vj_h5_publish() */
    char path[VJ_PATH];      /* final name */
    char part[VJ_FILE_PATH]; /* temporary name: path, a unique number, ".part" */
    MPI_Comm comm;           /* borrowed; VJ_ALONE will do */
    int rank;
    int node, nodes;    /* number of this rank's node, number of nodes; ranks of different nodes write no common page */
    vj_h5_piece *piece; /* [pieces] held-back parts of pages that other nodes may share. Owned */
    int64_t pieces, piece_room;
    int fd;          /* the .part, open for writing in phase 2; -1 otherwise */
    vj_file on_disk; /* on rank 0: the .part, open to the end */
    struct {
        int64_t at, bytes;
        uint64_t sum;
    } * edge; /* [edges] checksums of the first and last bytes of each of this rank's writes, for vj_h5_verify() */
    int64_t edges, edge_room;
    int64_t front_bytes;   /* on rank 0: space reserved for HDF5's structures; the data follow */
    int64_t refused_bytes; /* on rank 0: size that HDF5 asked for beyond that and was refused; 0: never */
    int64_t data_place;    /* on rank 0: file offset of the first dataset's data */
    int64_t data_end;      /* on rank 0: end of the data of the datasets created so far */
    struct {
        char *bytes;
        int64_t count;
    } front; /* on rank 0: HDF5's structures */
} vj_h5_writer;

/**
 * Phase 1: create PATH in the memory of rank 0, with format, version and provenance (code, hosts, ranks, date).
 * `structure_bytes` is an upper limit of what HDF5's structures need: VJ_H5_OBJECT_BYTES for each dataset, plus the
 * size of its attributes. Collective, agreed.
 */
vj_status vj_h5_create(vj_h5_writer *writer, const char *path, const char *format, int64_t version,
                       int64_t structure_bytes, MPI_Comm comm);
enum { VJ_H5_OBJECT_BYTES = 2048 };

/**
 * Phase 2: if every rank's `status` is VJ_OK, rank 0 removes .part files of PATH left by killed writers, and creates
 * PATH.<number>.part with all the space that its datasets need; if the disk has too little space, this fails and states
 * the sizes. All ranks open the file. If any rank fails, no file is left. Collective, agreed.
 */
vj_status vj_h5_share(vj_h5_writer *writer, vj_status status);

/**
 * Write `bytes` bytes at `offset` of the file. With several nodes, pages that this write covers only in part are held
 * back and written by vj_h5_verify(), unless other writes of this rank complete them. Phase 2; any thread, one at a
 * time; not collective.
 */
vj_status vj_h5_write(vj_h5_writer *writer, int64_t offset, const void *data, int64_t bytes);

/** Flush this rank's rows to disk and close, when all are written. Phase 2; any thread, once; not collective. */
vj_status vj_h5_flush(vj_h5_writer *writer);

/**
 * Call after vj_h5_gather(): write and flush the pages that were held back, then read the first and last bytes of each
 * of this rank's writes again and compare. On a mismatch (a network file system mixed up writes of several ranks) the
 * file must not be published. Any thread, once; not collective.
 */
vj_status vj_h5_verify(vj_h5_writer *writer);

/**
 * Phase 3: call after all ranks have flushed, and again after all have verified. Sends the held-back parts of each page
 * that nodes share to one rank. If any rank's `status` is a failure, the file is removed. Collective, agreed.
 */
vj_status vj_h5_gather(vj_h5_writer *writer, vj_status status);

/**
 * On rank 0: add "complete", close, write HDF5's structures to disk, rename, flush the folder. The last step of phase
 * 3; any thread, while no other thread is inside HDF5. Not collective.
 */
vj_status vj_h5_publish(vj_h5_writer *writer);

/**
 * Finish: rank 0's `status` is the result of vj_h5_publish(), or of what failed before. If any rank failed, the .part
 * is removed; if the failure was in flushing the folder, the complete file may already have its final name. Collective,
 * agreed.
 */
vj_status vj_h5_commit(vj_h5_writer *writer, vj_status status);

/**
 * Dry run that replaces phases 2 and 3, on rank 0, where the file may have been laid out with VJ_ALONE: add "complete"
 * and close, in memory only, and refuse a version of HDF5 that places structures where this code needs the data. So a
 * program that will compute for hours fails before it starts. Releases the writer. Not collective.
 */
vj_status vj_h5_rehearse(vj_h5_writer *writer);

/** Abandon the file, in any phase: close it; rank 0 removes the .part. Harmless if nothing is open. Not collective. */
void vj_h5_abandon(vj_h5_writer *writer);

/**
 * On rank 0: create a contiguous dataset without fill values under `name`; missing groups are created. *offset: file
 * offset of its data; datasets follow one another without gaps in the order of creation. A version of HDF5 that places
 * one elsewhere is refused. Phases 1 and 3.
 */
vj_status vj_h5_dataset(vj_h5_writer *writer, const char *name, hid_t type, int ndim, const hsize_t *dim,
                        int64_t *offset);

/**
 * Create the HDF5 type of a little-endian float of two bytes with `exponent_bits` bits of exponent: 5 is IEEE half
 * precision, 8 is bf16. H5Tclose() it; negative: HDF5 failed.
 */
hid_t vj_h5_short_float(int exponent_bits);

/** Write an attribute, on rank 0. Phases 1 and 3. */
vj_status vj_h5_put_text(hid_t object, const char *name, const char *text);
vj_status vj_h5_put_i64(hid_t object, const char *name, int64_t value);
vj_status vj_h5_put_u64(hid_t object, const char *name, uint64_t value);
vj_status vj_h5_put_f64(hid_t object, const char *name, double value);
vj_status vj_h5_put_u64s(hid_t object, const char *name, const uint64_t *values, int64_t count);

/** Return the version of the loaded HDF5 library, such as "1.10.8". */
typedef struct {
    char text[32];
} vj_h5_version;
vj_h5_version vj_h5_library(void);

/* ------------------------------------------------------------------------------------------------ reading */

/**
 * vj_h5_open_file(): open read-only without any checks and without file locks, because published files never change and
 * some network file systems have no locks. Negative if HDF5 cannot open the file.
 *
 * vj_h5_open(): the same, after checking that the file is HDF5, not cut short, of this format and version, complete,
 * and without links to other files; reports the reason otherwise. Close with H5Fclose(). Not collective.
 */
hid_t vj_h5_open_file(const char *path);
vj_status vj_h5_open(hid_t *file, const char *path, const char *format, int64_t version);

/**
 * Refuse a dataset whose elements are not all stored plainly in this file: never written, compressed, or kept in
 * another file. Then the memory needed to read it is bounded by the file's size: call this before allocating. Not for
 * datasets of clips.
 */
vj_status vj_h5_check_stored(hid_t dataset, const char *path, const char *name);

/** Read all of dataset `name`, which must have `want` values of this type, into `values`. VJ_ERR_FORMAT otherwise. */
vj_status vj_h5_read_array(hid_t file, const char *path, const char *name, hid_t type, int64_t want, void *values);

/** Return whether `path` is a regular file. Anything else must not be opened: a FIFO without a writer would block. */
int vj_h5_is_file(const char *path);

/** Read the "format" attribute of a file; "" if it is not an HDF5 file or has none. Reports no errors. */
void vj_h5_format(const char *path, char *format, int64_t bytes);

/** Return VJ_OK if PATH does not exist or is a file of this format; else VJ_ERR_USAGE, "PATH is no WHAT, ...". */
vj_status vj_h5_may_replace(const char *path, const char *format, const char *what);

/** Read an attribute; `path` is for the message. VJ_ERR_FORMAT if it is missing. */
vj_status vj_h5_get_i64(hid_t object, const char *path, const char *name, int64_t *value);
vj_status vj_h5_get_u64(hid_t object, const char *path, const char *name, uint64_t *value);
vj_status vj_h5_get_f64(hid_t object, const char *path, const char *name, double *value);
/** Read an attribute of exactly `count` values. */
vj_status vj_h5_get_u64s(hid_t object, const char *path, const char *name, uint64_t *values, int64_t count);
/** Read a text attribute that is safe to print. *text: allocated, free() it. */
vj_status vj_h5_get_text(hid_t object, const char *path, const char *name, char **text);

/** Print "written DATE by CODE, N ranks on HOSTS". */
vj_status vj_h5_print_provenance(hid_t file, const char *path, FILE *out);

#endif
