/*
 * Checkpoints (design section 6): one parallel HDF5 file per step, DIR/step_00001200.h5, laid out by rank 0 and
 * written by all through MPI-IO: whole logical tensors under their published names, checksums, a `complete` attribute
 * last; .part, fsync, rename, fsync.
 *
 * The unit of ownership, checksum and I/O is the block: consecutive rows (along the first axis) of one tensor, as
 * many as fit in 1 MiB, at least one. Dataset attribute "xxh3" u64 [blocks] has one checksum a block (XXH3, 64 bits).
 *
 * What the file holds, as h5py shows it: / with attributes format, version, config, code, date, hosts, ranks, complete;
 * /state with attributes step, samples, seed, bad_steps, rollbacks, skipped_samples, usual_loss, store_fingerprint; f4
 * datasets under the tensors' names.
 */
#ifndef VJ_CKPT_H
#define VJ_CKPT_H

#include <mpi.h>

#include "base/config.h"

typedef struct {
    char name[128]; /* "model/encoder/blocks.0.attn.qkv.weight" */
    int ndim;
    int64_t dim[5];
    int64_t first, last; /* elements this rank writes or reads: whole blocks; first == last: none */
    void *data;          /* for get and put: the caller's own handle of the tensor's first element */
} vj_ckpt_tensor;

enum { VJ_CKPT_COPY_BYTES = 16 << 20 };

/** Copy elements [first, last) of a tensor, at most VJ_CKPT_COPY_BYTES, between the caller's memory and a host buffer.
 */
typedef vj_status (*vj_ckpt_copy)(void *user, const vj_ckpt_tensor *tensor, int64_t first, int64_t last, float *host);

/** What a checkpoint says beside its tensors. */
typedef struct {
    int64_t step;    /* updates done */
    int64_t samples; /* place in the data: global samples consumed or skipped */
    int64_t seed;
    int64_t bad_steps;       /* skipped for non-finite numbers, in all */
    int64_t rollbacks;       /* returns to an older checkpoint so far */
    int64_t skipped_samples; /* jumped over by them */
    double usual_loss;       /* mean of recent good steps; 0: none yet */
    uint64_t store_fingerprint;
    char *config; /* YAML; on reading: allocated, free with vj_ckpt_state_release() */
} vj_ckpt_state;
void vj_ckpt_state_release(vj_ckpt_state *state);

/** Rows of a tensor in one block. */
int64_t vj_ckpt_block_rows(const vj_ckpt_tensor *tensor);

/**
 * Divide all blocks of `count` tensors evenly (by elements) over `size` ranks, in order: fills first and last for
 * `rank`.
 */
void vj_ckpt_share(vj_ckpt_tensor *tensors, int count, int size, int rank);

/**
 * Write DIR/step_<step>.h5. Every element of every tensor is written by exactly one rank (its first..last); anything
 * else is refused. `dir` exists; tensors, state and their order are the same on all ranks, but for first, last and
 * data. When it returns VJ_OK the file is on disk under its final name. On failure, also of one rank's `get`, all ranks
 * return an error, older checkpoints stand and the .part is removed; when it was flushing the folder that failed, the
 * new file, whole, may already stand under its final name. Collective.
 */
vj_status vj_ckpt_write(const char *dir, const vj_ckpt_tensor *tensors, int count, const vj_ckpt_state *state,
                        vj_ckpt_copy get, void *user, MPI_Comm comm);

/**
 * Remove stale .part files and everything older than the newest `keep` (1 at least) complete checkpoints. Files that
 * are damaged or incomplete do not count and stay as long as they are newer than those. Rank 0 acts; collective.
 */
vj_status vj_ckpt_prune(const char *dir, int64_t keep, MPI_Comm comm);

/**
 * Path of the newest checkpoint in DIR by step, without opening it; "" when there is none. All ranks get rank 0's
 * answer. Collective. A damaged newest checkpoint is for the caller to meet (an error, never a silent older one).
 */
vj_status vj_ckpt_latest(const char *dir, char path[VJ_PATH], MPI_Comm comm);

/** Read the state alone, after checking format, version and `complete`. Not collective. */
vj_status vj_ckpt_read_state(const char *path, vj_ckpt_state *state);

/**
 * Read elements first..last (whole blocks) of every tensor given, verify their checksums, and put() them. A missing
 * tensor, other dimensions, a damaged block or an incomplete file is refused with the reason. Each rank reads what it
 * wants; not collective (each opens the file by itself, read-only).
 */
vj_status vj_ckpt_read(const char *path, const vj_ckpt_tensor *tensors, int count, vj_ckpt_copy put, void *user);

/** True if the file holds a tensor of that name. */
int vj_ckpt_has(const char *path, const char *tensor);

/** The value of the attribute "format". */
#define VJ_CKPT_FORMAT "vjepa-checkpoint"

/** Verify every checksum of a checkpoint: *blocks of them, *damaged bad ones, each reported. Not collective. */
vj_status vj_ckpt_verify(const char *path, int64_t *blocks, int64_t *damaged);

/** Print what it holds: state, provenance, tensors, configuration. */
vj_status vj_ckpt_print(const char *path, FILE *out);

/**
 * Compare two, tensor by tensor, and print what differs, then "N tensors equal, M different". *different counts tensors
 * that differ in any bit, in dimensions, or are in one file only. Differences of state and configuration are printed
 * and not counted; provenance is not looked at.
 */
vj_status vj_ckpt_compare(const char *a, const char *b, FILE *out, int64_t *different);

#endif
