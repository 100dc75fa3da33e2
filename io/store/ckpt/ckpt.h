/*
 * Checkpoints (docs/design.md, section 6): one HDF5 file per step, DIR/step_00001200.h5: whole logical tensors under
 * their published names. Each rank writes its part of them, at once or in the background, and reads what it needs.
 *
 * The unit of ownership, checksum and I/O is the block: consecutive rows (along the first axis) of one tensor, as
 * many as fit in 1 MiB of fp32, at least one. Dataset attribute "xxh3" u64 [blocks] has one checksum a block (XXH3, 64
 * bits, of the bytes in the file).
 *
 * What the file holds, as h5py shows it: / with attributes format, version, config, code, date, hosts, ranks, complete
 * (and origin, in an exported one); /state with attributes step, samples, seed, bad_steps, rollbacks, skipped_samples,
 * usual_loss, store_fingerprint; /architecture with the fields of vj_ckpt_architecture; f4 datasets under the tensors'
 * names. bf16 is stored as an HDF5 float type of two bytes (1 sign, 8 exponent, 7 fraction bits, bias 127), which h5py
 * and h5dump show as the numbers that it stands for.
 */
#ifndef VJ_CKPT_H
#define VJ_CKPT_H

#include <mpi.h>

#include "base/lease.h"

/* How a tensor is stored; in memory all are fp32. */
typedef enum { VJ_CKPT_F32, VJ_CKPT_BF16 } vj_ckpt_type;

typedef struct {
    char name[128]; /* "model/encoder/blocks.0.attn.qkv.weight" */
    int ndim;
    int64_t dim[5];
    vj_ckpt_type type;   /* when it is written; on reading what the file has is taken */
    int64_t first, last; /* elements this rank writes or reads: whole blocks; first == last: none */
    void *data;          /* for get and put: the caller's own handle of the tensor's first element */
} vj_ckpt_tensor;

enum { VJ_CKPT_COPY_BYTES = 4 << 20 };

/** Copy elements [first, last) of a tensor, at most VJ_CKPT_COPY_BYTES, between the caller's memory and a host buffer.
 */
typedef vj_status (*vj_ckpt_copy)(void *user, const vj_ckpt_tensor *tensor, int64_t first, int64_t last, float *host);

/**
 * What encoder the tensors of model/encoder and model/target make up. Their names and sizes do not tell all of it: the
 * number of heads, for one.
 */
enum { VJ_CKPT_WORD = 16 };
typedef struct {
    char kind[VJ_CKPT_WORD];      /* "vit"; "": not said, the file is older than this */
    char positions[VJ_CKPT_WORD]; /* how tokens learn where they are: "sincos" (computed), "learned" or "rotary" */
    int64_t width, depth, heads, hidden;
    int64_t patch, tubelet, channels, prefix_tokens;
    int64_t uniform_power;            /* of sincos: axes get equal shares of the width */
    double eps;                       /* of the norms */
    int64_t frames, height, width_px; /* a clip as it was trained; other clips will do unless positions are learned */
} vj_ckpt_architecture;

/**
 * Refuse an encoder that is not the wanted one, naming the first field that differs, what was found in `path`, and what
 * was expected. Not collective.
 */
vj_status vj_ckpt_check_architecture(const char *path, const vj_ckpt_architecture *has,
                                     const vj_ckpt_architecture *want);

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
    vj_ckpt_architecture architecture;
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
 * A writer of checkpoints of these tensors: begin, poll if there is something else to do, commit. Every element of
 * every tensor is written by exactly one rank (its first..last); anything else is refused. Tensors and their order are
 * the same on all ranks, but for first, last and data; they are copied. In the background, writing goes on beside the
 * caller's work, from memory that takes all that this rank writes and is allocated here; otherwise a few MiB do.
 * Between begin and commit the caller then leaves HDF5 alone, which is not made for two threads. Collective, agreed;
 * comm is borrowed, VJ_ALONE will do.
 */
typedef struct vj_ckpt_writer vj_ckpt_writer;
vj_status vj_ckpt_open(vj_ckpt_writer **writer, const vj_ckpt_tensor *tensors, int count, bool background,
                       MPI_Comm comm);
/** Close; a checkpoint that was begun and not committed is given up. Not collective. */
void vj_ckpt_close(vj_ckpt_writer *writer);
/** Memory that the writer holds to write from. */
int64_t vj_ckpt_memory_bytes(const vj_ckpt_writer *writer);
/** From now on, prune the folder as vj_ckpt_prune() when a checkpoint is done; what cannot be removed is warned of. */
void vj_ckpt_keep(vj_ckpt_writer *writer, int64_t keep, int64_t keep_every);
/** From now on, look before a checkpoint is published whether this lease of its folder still holds. */
void vj_ckpt_guard(vj_ckpt_writer *writer, const vj_lease_seal *lease);

/**
 * Begin DIR/step_<state->step>.h5; `dir` exists, the state is the same on all ranks. get() is called on the calling
 * thread, for this rank's elements in the order of the tensors, and not after the return: in the background all is
 * copied first, then the caller may go on. An error (agreed: too little space, among others) leaves nothing, and the
 * writer can begin again; what fails from then on, also in get(), vj_ckpt_commit() tells. Collective.
 */
vj_status vj_ckpt_begin(vj_ckpt_writer *writer, const char *dir, const vj_ckpt_state *state, vj_ckpt_copy get,
                        void *user);

/**
 * Go on with what is in the background, without waiting; true when vj_ckpt_commit() will not wait either: the file then
 * has its final name, or has failed. Between begin and commit. Collective, cheap.
 */
bool vj_ckpt_poll(vj_ckpt_writer *writer);

/**
 * Commit what was begun, waiting for it. When it returns VJ_OK the file is on disk under its final name. On failure of
 * any rank all return an error, older checkpoints stand and the .part is removed; when it was flushing the folder that
 * failed, the new file, whole, may already stand under its final name. The writer can begin again. Collective.
 */
vj_status vj_ckpt_commit(vj_ckpt_writer *writer);

/**
 * Remove stale .part files and everything older than the newest `keep` (1 at least) complete checkpoints, but for steps
 * that are multiples of `keep_every` (0: none). Files that are damaged or incomplete do not count and stay as long as
 * they are newer than those. Nothing must be under way. Rank 0 acts; collective.
 */
vj_status vj_ckpt_prune(const char *dir, int64_t keep, int64_t keep_every, MPI_Comm comm);

/**
 * Path of the newest checkpoint in DIR by step, without opening it; "" when there is none. All ranks get rank 0's
 * answer. VJ_ALONE will do. Collective. A damaged newest checkpoint is for the caller to meet (an error, never a silent
 * older one).
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

/** True if the file holds a tensor of that name; why it is no checkpoint is reported. */
int vj_ckpt_has(const char *path, const char *tensor);

/** The value of the attribute "format". */
#define VJ_CKPT_FORMAT "vjepa-checkpoint"

/** Verify every checksum of a checkpoint: *blocks of them, *damaged bad ones, each reported. Not collective. */
vj_status vj_ckpt_verify(const char *path, int64_t *blocks, int64_t *damaged);

/**
 * Write the encoder of a checkpoint to a file of its own, which vjepa-embed reads like any other: the tensors of
 * model/target, or of model/encoder where there is no target (pixel), with state and configuration, and where they come
 * from. VJ_CKPT_BF16 rounds to nearest even. What is read is verified; an existing `to` is refused. Not collective.
 */
vj_status vj_ckpt_export(const char *from, const char *to, vj_ckpt_type type);

/** Print what it holds: state, provenance, tensors, configuration. */
vj_status vj_ckpt_print(const char *path, FILE *out);

/**
 * Compare two, tensor by tensor, and print what differs, then "N tensors equal, M different". *different counts tensors
 * that differ in any bit, in dimensions, or are in one file only. Differences of state and configuration are printed
 * and not counted; provenance is not looked at.
 */
vj_status vj_ckpt_compare(const char *a, const char *b, FILE *out, int64_t *different);

#endif
