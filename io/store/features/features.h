/*
 * The feature store NAME.h5: the output of a frozen encoder for the clips of a store, written by vjepa-embed and read
 * by the probes and analyses. One HDF5 file, named .part until it is on disk; in the types below, the number is the
 * size in bytes:
 *
 *   /features  f4, f2 or bf16 [n, N, D]  tokens; N = 1 when pooled. Contiguous, uncompressed; bf16 is a float type of
 *                                   two bytes: 1 sign, 8 exponent and 7 fraction bits
 *   /label     i4 [n, L]            -1: none; attribute "names": the label names, one a line
 *   /clip      i8 [n]               number of the clip in its store
 *   /clip_xxh3 u8 [n]               checksum of the clip in its store: equal on clips of equal content
 *   /xxh3      u8 [n]               XXH3-64 of the row's features (as stored), labels and clip number, in this order
 *   /classes/LABEL  S [classes]     names of the classes of a label, where the clip store has them: row k is class k
 *
 * Attributes of /: format, version, config, encoder, encoder_digest, preprocessing, store_fingerprint, effective_rank,
 * code, date, hosts, ranks, complete; grid (u8 [3]) if rows have tokens; failed (u8 [L]) if clips were damaged: the
 * number of damaged clips with each label. Damaged clips have no row. Older files have no encoder_digest,
 * preprocessing, grid and /clip_xxh3.
 */
#ifndef VJ_FEATURES_H
#define VJ_FEATURES_H

#include <mpi.h>

#include "base/config.h"
#include "clips/classes.h"
#include "clips/clips.h"

/** The value of the attribute "format". */
#define VJ_FEATURES_FORMAT "vjepa-features"

typedef enum { VJ_FEATURES_F32, VJ_FEATURES_F16, VJ_FEATURES_BF16 } vj_features_type;

/** Convert a type to its name in embed.dtype ("f32", "f16" or "bf16") and back; return the size of a value in bytes. */
const char *vj_features_type_name(vj_features_type type);
vj_features_type vj_features_type_of(const char *name);
int64_t vj_features_type_bytes(vj_features_type type);

typedef struct {
    int64_t clips, tokens, width; /* n, N, D, each at least 1 */
    uint64_t grid[3];             /* size of the token grid: time, rows, columns. Cell t, y, x is token
                                     (t * rows + y) * columns + x of the grid, which is the end of a clip's N tokens.
                                     Zeros: not known, or the rows are means of tokens */
    vj_features_type type;
    int label_count; /* 0 to VJ_MAX_LABELS */
    char label_names[VJ_MAX_LABELS][VJ_LABEL_NAME];
    uint64_t store_fingerprint;
    vj_clips_classes classes[VJ_MAX_LABELS]; /* names of each label's classes; borrowed */
    const char *encoder;                     /* "run/step_00001200.h5", or "random published seed 3" */
    uint64_t encoder_digest; /* digest of the encoder's weights and shape; 0: not known, in files written before this
                                attribute existed */
    uint64_t failed[VJ_MAX_LABELS]; /* damaged clips with this label, which have no row */
    const char *preprocessing;      /* what was done to a clip before the encoder saw it, one line; "": not known */
    const char *config;             /* YAML */
} vj_features_header;

/* ------------------------------------------------------------------------------------------------ writing */

/**
 * Check that features of this layout may be written to PATH: VJ_OK if nothing is there, or features of the same encoder
 * and clips; anything else is refused and described. Not collective.
 */
vj_status vj_features_may_replace(const char *path, const vj_features_header *layout);

typedef struct vj_features_writer vj_features_writer;

/**
 * Create PATH.<number>.part. The layout is the same on all ranks; `comm` is borrowed until commit. Collective, agreed.
 */
vj_status vj_features_create(vj_features_writer **writer, const char *path, const vj_features_header *layout,
                             MPI_Comm comm);

/**
 * Write rows [first, first + count): features [count, N, D], labels [count, L] (NULL when L is 0), numbers of the clips
 * in their store [count] and their checksums there [count]. Each row is written once, by any rank. A finite value that
 * overflows f2 (beyond 65504) is an error. Not collective.
 */
vj_status vj_features_write(vj_features_writer *writer, int64_t first, int64_t count, const float *features,
                            const int32_t *labels, const int64_t *clips, const uint64_t *clip_sums);

/**
 * Finish the file. Every row must have been written exactly once and `status` be VJ_OK on every rank; otherwise no file
 * is left (but see vj_h5_commit()). effective_rank: rank 0's value is stored. Frees the writer in any case. Collective,
 * agreed.
 */
vj_status vj_features_commit(vj_features_writer *writer, vj_status status, double effective_rank);

/** Give up: rank 0 removes the .part. Harmless with NULL. Not collective. */
void vj_features_abandon(vj_features_writer *writer);

/* ------------------------------------------------------------------------------------------------ reading */

typedef struct vj_features vj_features;

/**
 * Open a feature store; refuses a file that is not one, is cut short or incomplete. Rank 0 reads header and columns for
 * all: columns lie in memory that the ranks of a node share (24 bytes a clip, and 4 for each label). Rows are read by
 * each rank when they are asked for. Collective, agreed; comm may be VJ_ALONE. Free with vj_features_close(), which is
 * not collective.
 */
vj_status vj_features_open(vj_features **features, const char *path, MPI_Comm comm);
void vj_features_close(vj_features *features);

/** Return the header of the store; owned by `features`, as are encoder, preprocessing and config. */
const vj_features_header *vj_features_describe(const vj_features *features);
double vj_features_effective_rank(const vj_features *features);
/**
 * Read rows [first, first + count) as f32 [count, N, D], verifying each row's checksum; rows that are adjacent in the
 * file are read with one call. Like all functions here that read, thread-safe, without HDF5 and MPI.
 */
vj_status vj_features_read_rows(const vj_features *features, int64_t first, int64_t count, float *out);

/** Return how many rows to read at a time when all are read: 8 MiB of fp32, at least one row. */
int64_t vj_features_slab(const vj_features *features);

/**
 * Return columns, owned by `features`: labels [n, L], the clips' numbers in their store [n], and their checksums there
 * [n], NULL in older files. Labels and numbers are verified by vj_features_read_rows() only.
 */
const int32_t *vj_features_labels(const vj_features *features);
const int64_t *vj_features_clips(const vj_features *features);
const uint64_t *vj_features_clip_sums(const vj_features *features);

/** Verify the checksum of every row; *damaged counts mismatches, each reported. */
vj_status vj_features_verify(const char *path, int64_t *rows, int64_t *damaged);

/**
 * Compare two feature stores row by row and print the differences: number of rows, clips (numbers, and content by
 * checksum), labels, class names, features and by how much; then "N rows equal, M different". *different counts rows,
 * plus differences that concern all rows. Encoder, input, configuration and the stored type are printed and not
 * counted.
 */
vj_status vj_features_compare(const char *a, const char *b, FILE *out, int64_t *different);

/** Print the contents of a feature store. */
vj_status vj_features_print(const char *path, FILE *out);

#endif
