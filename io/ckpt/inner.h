/*
 * What the files of this folder share: the geometry of blocks, and one tensor of an open file as a source of rows. For
 * everybody else ckpt.h is the door.
 */
#ifndef VJ_CKPT_INNER_H
#define VJ_CKPT_INNER_H

#include <hdf5.h>

#include "ckpt/ckpt.h"

enum { VJ_CKPT_VERSION = 1 };

int64_t vj_ckpt_elements(const vj_ckpt_tensor *tensor);
/** Elements of a full block (the last of a tensor may be shorter), and how many there are. */
int64_t vj_ckpt_block_elements(const vj_ckpt_tensor *tensor);
int64_t vj_ckpt_block_count(const vj_ckpt_tensor *tensor);
uint64_t vj_ckpt_checksum(const float *values, int64_t count);

/** Elements [at, next) of a walk over [at, last) with a staging buffer: as many whole blocks as fit. */
int64_t vj_ckpt_next(const vj_ckpt_tensor *tensor, int64_t at, int64_t last);
/** Bytes of a staging buffer that vj_ckpt_next() never exceeds for any of the tensors. */
int64_t vj_ckpt_staging_bytes(const vj_ckpt_tensor *tensors, int count);
/** Call `copy` for [first, last) in pieces it accepts; host holds `first` at its start. */
vj_status vj_ckpt_copy_pieces(vj_ckpt_copy copy, void *user, const vj_ckpt_tensor *tensor, int64_t first, int64_t last,
                              float *host);

/** Select whole rows [first, last) (elements) of a dataset's space; none when they are equal. */
herr_t vj_ckpt_select(hid_t space, const vj_ckpt_tensor *tensor, int64_t first, int64_t last);

/* A tensor of an open file. */
typedef struct {
    const char *path;      /* borrowed, for messages */
    vj_ckpt_tensor tensor; /* name and dimensions as found */
    hid_t dataset, space;
    uint64_t *sums; /* [blocks] */
    int64_t blocks;
} vj_ckpt_source;

/** Open tensor `name`: f4, 1 to 5 dimensions, with checksums. A missing or malformed one is reported. */
vj_status vj_ckpt_source_open(vj_ckpt_source *source, hid_t file, const char *path, const char *name);
void vj_ckpt_source_close(vj_ckpt_source *source);
vj_status vj_ckpt_source_read(const vj_ckpt_source *source, int64_t first, int64_t last, float *host);
/** Check the blocks of [first, last), which `host` holds; reports each bad one and returns their number. */
int64_t vj_ckpt_source_damaged(const vj_ckpt_source *source, int64_t first, int64_t last, const float *host);

/** State of an open file. */
vj_status vj_ckpt_get_state(hid_t file, const char *path, vj_ckpt_state *state);

/** "[384, 3, 2, 16, 16]" */
void vj_ckpt_dims_text(const vj_ckpt_tensor *tensor, char *text, int bytes);

#endif
