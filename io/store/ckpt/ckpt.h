/*
 * Checkpoints (docs/design.md, section 6): one HDF5 file per step, DIR/step_00001200.h5, with whole logical tensors
 * under their published names. Each rank writes its part of the tensors, at once or in the background; all read
 * together.
 *
 * The unit of ownership, checksum and I/O is the block: consecutive rows (along the first axis) of one tensor, as many
 * as fit in 1 MiB of fp32, at least one. Each dataset's attribute "xxh3" u64 [blocks] has the checksum of every block
 * (XXH3, 64 bits, of the bytes in the file).
 *
 * Contents of the file, as h5py shows them: / with attributes format, version, config, code, date, hosts, ranks,
 * complete (and origin, in an exported file); /state with attributes step, samples, seed, bad_steps, rollbacks,
 * skipped_samples, usual_loss, store_fingerprint; /architecture with the fields of vj_ckpt_architecture; f4 datasets
 * under the tensors' names. bf16 is stored as an HDF5 float type of two bytes (1 sign, 8 exponent, 7 fraction bits,
 * bias 127), which h5py and h5dump convert to ordinary floats.
 */
#ifndef VJ_CKPT_H
#define VJ_CKPT_H

#include <mpi.h>

#include "base/lease.h"

/* How a tensor is stored in the file; in memory all tensors are fp32. */
typedef enum { VJ_CKPT_F32, VJ_CKPT_BF16 } vj_ckpt_type;

typedef struct {
    char name[128]; /* "model/encoder/blocks.0.attn.qkv.weight" */
    int ndim;
    int64_t dim[5];
    vj_ckpt_type type;   /* type to write; ignored on reading, where the file's type counts */
    int64_t first, last; /* elements this rank writes or reads: whole blocks; first == last: none */
    void *data;          /* passed to vj_ckpt_copy: the caller's pointer to the tensor's first element */
} vj_ckpt_tensor;

enum { VJ_CKPT_COPY_BYTES = 4 << 20 };

/** Copy elements [first, last) of a tensor, at most VJ_CKPT_COPY_BYTES, between the caller's memory and a host buffer.
 */
typedef vj_status (*vj_ckpt_copy)(void *user, const vj_ckpt_tensor *tensor, int64_t first, int64_t last, float *host);

/**
 * Architecture of the encoder in model/encoder and model/target. Names and sizes of the tensors do not determine it
 * completely: the number of heads, for example, cannot be derived from them.
 */
enum { VJ_CKPT_WORD = 16 };
typedef struct {
    char kind[VJ_CKPT_WORD];      /* "vit"; "": not stored, in files written before this field existed */
    char positions[VJ_CKPT_WORD]; /* position encoding: "sincos" (computed), "learned" or "rotary" */
    int64_t width, depth, heads, hidden;
    int64_t patch, tubelet, channels, prefix_tokens;
    int64_t uniform_power;            /* sincos: whether all axes get equal shares of the width */
    double eps;                       /* epsilon of the layer norms */
    int64_t frames, height, width_px; /* clip size in training; others work too unless positions are learned */
} vj_ckpt_architecture;

/**
 * Refuse an encoder whose architecture differs from `want`, naming the first field that differs, the value found in
 * `path` and the value expected. Not collective.
 */
vj_status vj_ckpt_check_architecture(const char *path, const vj_ckpt_architecture *has,
                                     const vj_ckpt_architecture *want);

/** What a checkpoint holds besides its tensors. */
typedef struct {
    int64_t step;    /* updates done */
    int64_t samples; /* place in the data: global samples consumed or skipped */
    int64_t seed;
    int64_t bad_steps;       /* total number of steps skipped because of non-finite numbers */
    int64_t rollbacks;       /* returns to an older checkpoint so far */
    int64_t skipped_samples; /* samples skipped by rollbacks */
    double usual_loss;       /* mean of recent good steps; 0: none yet */
    uint64_t store_fingerprint;
    vj_ckpt_architecture architecture;
    char *config; /* YAML; on reading: allocated, free with vj_ckpt_state_release() */
} vj_ckpt_state;
void vj_ckpt_state_release(vj_ckpt_state *state);

/** Return the number of rows of a tensor in one block. */
int64_t vj_ckpt_block_rows(const vj_ckpt_tensor *tensor);

/**
 * Divide all blocks of `count` tensors evenly (by elements) over `size` ranks, in order: fills first and last for
 * `rank`.
 */
void vj_ckpt_share(vj_ckpt_tensor *tensors, int count, int size, int rank);

/**
 * Create a writer for checkpoints of these tensors; for each checkpoint call begin, optionally poll, and commit. Every
 * element of every tensor must be written by exactly one rank (its first..last); anything else is refused. Tensors and
 * their order are the same on all ranks, except for first, last and data; they are copied.
 *
 * With `background`, a thread writes while the caller goes on, from memory that is allocated here and holds all that
 * this rank writes; the caller must not call HDF5 between begin and commit, because HDF5 is not thread-safe. Otherwise
 * a few MiB of memory suffice. Collective, agreed; comm is borrowed and may be VJ_ALONE.
 */
typedef struct vj_ckpt_writer vj_ckpt_writer;
vj_status vj_ckpt_open(vj_ckpt_writer **writer, const vj_ckpt_tensor *tensors, int count, bool background,
                       MPI_Comm comm);
/** Close the writer; a checkpoint that was begun and not committed is discarded. Not collective. */
void vj_ckpt_close(vj_ckpt_writer *writer);
/** Return the size of the writer's buffer. */
int64_t vj_ckpt_memory_bytes(const vj_ckpt_writer *writer);
/**
 * Write from `memory` [vj_ckpt_memory_bytes()], borrowed, in place of the writer's own. Then get() may return before
 * its copy is complete. copied() returns whether all copies that were begun are complete; with `wait` it waits until
 * they are. Poll and commit call it; nothing reads the memory before it returned true. Only with `background`, before
 * the first begin, for tensors that are stored as VJ_CKPT_F32. Not collective.
 */
typedef bool (*vj_ckpt_copied)(void *user, bool wait);
void vj_ckpt_lend(vj_ckpt_writer *writer, void *memory, vj_ckpt_copied copied, void *user);
/**
 * From now on, prune the folder as vj_ckpt_prune() does after each checkpoint; files that cannot be removed cause a
 * warning.
 */
void vj_ckpt_keep(vj_ckpt_writer *writer, int64_t keep, int64_t keep_every);
/** From now on, check that this lease of the folder is still held before a checkpoint is published. */
void vj_ckpt_set_lease(vj_ckpt_writer *writer, const vj_lease_seal *lease);

/**
 * Begin DIR/step_<state->step>.h5. `dir` must exist; the state is the same on all ranks. get() is called on the calling
 * thread, for this rank's elements in the order of the tensors, and never after this function has returned: in the
 * background mode it is called for all elements before the writing starts. An error (for example, too little space)
 * leaves no file, and the writer can begin again; later failures, including those of get(), are returned by
 * vj_ckpt_commit(). Collective, agreed.
 */
vj_status vj_ckpt_begin(vj_ckpt_writer *writer, const char *dir, const vj_ckpt_state *state, vj_ckpt_copy get,
                        void *user);

/**
 * Advance the background write without waiting. Returns true when vj_ckpt_commit() will not wait either: the file then
 * has its final name, or has failed. Only between begin and commit. Collective, cheap.
 */
bool vj_ckpt_poll(vj_ckpt_writer *writer);

/**
 * Wait for the checkpoint that was begun, and commit it. On VJ_OK the file is on disk under its final name. If any rank
 * fails, all return an error, older checkpoints remain and the .part is removed; if the failure was in flushing the
 * folder, the complete new file may already have its final name. The writer can begin again. Collective.
 */
vj_status vj_ckpt_commit(vj_ckpt_writer *writer);

/**
 * Remove stale .part files and all checkpoints older than the newest `keep` (at least 1) complete ones, except steps
 * that are multiples of `keep_every` (0: no exception). Damaged or incomplete files do not count, and stay as long as
 * they are newer than those. No checkpoint may be in progress. Rank 0 removes the files; collective.
 */
vj_status vj_ckpt_prune(const char *dir, int64_t keep, int64_t keep_every, MPI_Comm comm);

/**
 * Find the newest checkpoint in DIR by step, without opening it; "" if there is none. All ranks get rank 0's answer;
 * comm may be VJ_ALONE. Collective. If the newest checkpoint is damaged, the caller gets an error when it reads that
 * file; an older one is never used silently.
 */
vj_status vj_ckpt_latest(const char *dir, char path[VJ_PATH], MPI_Comm comm);

/**
 * Find the newest checkpoint of an earlier step in the folder of checkpoint `path`, without opening either; "" if there
 * is none. Not collective.
 */
void vj_ckpt_before(const char *path, char older[VJ_PATH]);

/**
 * Read only the state, after checking format, version and `complete`. Rank 0 reads, all get it. Collective, agreed;
 * comm may be VJ_ALONE.
 */
vj_status vj_ckpt_read_state(const char *path, vj_ckpt_state *state, MPI_Comm comm);

/**
 * Read elements first..last (whole blocks) of every tensor given, verify their checksums, and pass them to put(). A
 * missing tensor, different dimensions, a damaged block or an incomplete file is refused; the rank that found it
 * reports the reason. Names, dimensions and order of the tensors are the same on all ranks; first and last may differ.
 *
 * Each byte of the file is read once, however many ranks want it: rank 0 looks up where the tensors are, and the first
 * ranks of the nodes take turns at reading blocks and broadcasting them. Collective, agreed; comm may be VJ_ALONE.
 */
vj_status vj_ckpt_read(const char *path, const vj_ckpt_tensor *tensors, int count, vj_ckpt_copy put, void *user,
                       MPI_Comm comm);

/** Return whether the file holds a tensor of that name; reports the reason if the file is not a checkpoint. */
int vj_ckpt_has(const char *path, const char *tensor);

/** The value of the attribute "format". */
#define VJ_CKPT_FORMAT "vjepa-checkpoint"

/**
 * Verify every checksum of a checkpoint. *blocks: number of checksums; *damaged: number of mismatches, each reported.
 * Not collective.
 */
vj_status vj_ckpt_verify(const char *path, int64_t *blocks, int64_t *damaged);

/**
 * Write the encoder of a checkpoint to a separate file, which vjepa-embed reads like any checkpoint: the tensors of
 * model/target, or of model/encoder if there is no target (pixel), with state, configuration and their origin.
 * VJ_CKPT_BF16 rounds to nearest even. Checksums are verified on reading; an existing `to` is refused. Not collective.
 */
vj_status vj_ckpt_export(const char *from, const char *to, vj_ckpt_type type);

/** Print the contents of a checkpoint: state, provenance, tensors, configuration. */
vj_status vj_ckpt_print(const char *path, FILE *out);

/**
 * Compare two checkpoints tensor by tensor and print the differences, then "N tensors equal, M different". *different
 * counts tensors that differ in any bit, in dimensions, or are in one file only. Differences of state and configuration
 * are printed and not counted; provenance is not compared.
 */
vj_status vj_ckpt_compare(const char *a, const char *b, FILE *out, int64_t *different);

#endif
