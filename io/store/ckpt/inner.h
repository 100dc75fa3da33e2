/*
 * Shared by the files of this folder only: how tensors are divided into blocks, and reading rows of one tensor of an
 * open file. The public header is ckpt.h.
 */
#ifndef VJ_CKPT_INNER_H
#define VJ_CKPT_INNER_H

#include <hdf5.h>

#include "ckpt/ckpt.h"
#include "h5/h5.h"

enum { VJ_CKPT_VERSION = 1 };

int64_t vj_ckpt_elements(const vj_ckpt_tensor *tensor);
/** Elements of a full block (the last of a tensor may be shorter), and the number of blocks. */
int64_t vj_ckpt_block_elements(const vj_ckpt_tensor *tensor);
int64_t vj_ckpt_block_count(const vj_ckpt_tensor *tensor);
uint64_t vj_ckpt_checksum(const void *bytes, int64_t count);

int64_t vj_ckpt_element_bytes(vj_ckpt_type type);
/** Return the HDF5 datatype of a type; H5Tclose() it. Negative on failure. */
hid_t vj_ckpt_file_type(vj_ckpt_type type);
/** Convert `count` numbers at the start of the memory from fp32 to bf16 (narrow) or back (widen), in place. */
void vj_ckpt_narrow(float *values, int64_t count);
void vj_ckpt_widen(float *values, int64_t count);

/**
 * For a loop over [at, last) with a staging buffer: return the end of the piece that starts at `at`, as many whole
 * blocks as fit in the buffer.
 */
int64_t vj_ckpt_next(const vj_ckpt_tensor *tensor, int64_t at, int64_t last);
/** Return the size of a staging buffer that holds any piece of vj_ckpt_next() for any of the tensors. */
int64_t vj_ckpt_staging_bytes(const vj_ckpt_tensor *tensors, int count);
/** Call `copy` for [first, last) in pieces of at most VJ_CKPT_COPY_BYTES; host[0] is element `first`. */
vj_status vj_ckpt_copy_pieces(vj_ckpt_copy copy, void *user, const vj_ckpt_tensor *tensor, int64_t first, int64_t last,
                              float *host);

/** vj_ckpt_begin() for a file of any name; `origin` is the text of the attribute "origin", or "" for none. */
vj_status vj_ckpt_begin_file(vj_ckpt_writer *writer, const char *path, const vj_ckpt_state *state, const char *origin,
                             vj_ckpt_copy get, void *user);

/** The part of vj_ckpt_prune() that rank 0 does. */
vj_status vj_ckpt_remove(const char *dir, int64_t keep, int64_t keep_every);

/* A tensor of an open file. */
typedef struct {
    const char *path;      /* borrowed, for messages */
    int fd;                /* borrowed: the file, to read from */
    vj_ckpt_tensor tensor; /* name, dimensions and type as found */
    int64_t place;         /* offset of its first byte in the file */
    uint64_t *sums;        /* [blocks] */
    int64_t blocks;
} vj_ckpt_source;

/**
 * Find tensor `name` in an HDF5 file that is also open as `fd`: fp32 or bf16, 1 to 5 dimensions, in one piece, with
 * checksums. A missing or malformed one is reported.
 */
vj_status vj_ckpt_source_open(vj_ckpt_source *source, hid_t file, int fd, const char *path, const char *name);
void vj_ckpt_source_close(vj_ckpt_source *source);
/** Read whole blocks [first, last) as fp32. Checksum mismatches are reported and added to *damaged. */
vj_status vj_ckpt_source_read(const vj_ckpt_source *source, int64_t first, int64_t last, float *host, int64_t *damaged);

/* An open checkpoint with the sorted names of its tensors. */
typedef struct {
    const char *path; /* borrowed */
    hid_t file;
    int fd; /* the same file */
    char **names;
    int count;
    float *staging; /* buffer for vj_ckpt_next() pieces of the tensors opened with vj_ckpt_view_tensor() */
    int64_t staging_bytes;
} vj_ckpt_view;

vj_status vj_ckpt_view_open(vj_ckpt_view *view, const char *path);
void vj_ckpt_view_close(vj_ckpt_view *view);
vj_status vj_ckpt_view_tensor(vj_ckpt_view *view, const char *name, vj_ckpt_source *source);

/** Read the state of an open file. */
vj_status vj_ckpt_get_state(hid_t file, const char *path, vj_ckpt_state *state);

/**
 * Write or read the architecture of an open file. If its kind is "", nothing is written; if the file has none, all
 * fields are read as zero.
 */
vj_status vj_ckpt_put_architecture(hid_t file, const char *path, const vj_ckpt_architecture *architecture);
vj_status vj_ckpt_get_architecture(hid_t file, const char *path, vj_ckpt_architecture *architecture);
/** Print an architecture in one line; compare two and print a line for each field that differs. */
void vj_ckpt_print_architecture(const vj_ckpt_architecture *architecture, FILE *out);
void vj_ckpt_compare_architectures(const vj_ckpt_architecture *a, const vj_ckpt_architecture *b, FILE *out);

/** Format a tensor's dimensions as "[384, 3, 2, 16, 16]". */
void vj_ckpt_dims_text(const vj_ckpt_tensor *tensor, char *text, int bytes);

#endif
