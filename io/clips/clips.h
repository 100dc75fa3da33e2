/*
 * The clip store NAME.clips/ (design section 5): index.h5, ledger.csv, shard-00000.h5 ... in HDF5, chunk = one clip.
 * Readers list chunk addresses once at open; reading a clip is one pread and a checksum, from any thread, without HDF5.
 *
 * Shard file:  /clips/frames  u8 [n, T, H, W, 3], chunk [1, T, H, W, 3], unfiltered (codec raw)
 *              /clips/label   i32 [n, L]   /clips/source i64 [n]   /clips/window i32 [n]   /clips/pts f64 [n] (s)
 *              /clips/xxh3    u64 [n]      checksum of the clip's bytes
 * index.h5:    /clips/{shard i32, row i64, height i32, width i32, label, source, window, pts, xxh3} in canonical order,
 *              that is by (source, window), so a clip's number does not depend on the ranks that packed it;
 *              /shards/{height, width, clips, bytes} i64, one row a shard; /sources/path strings [sources];
 *              attribute fingerprint u64: xxh3 over (checksum, labels) of every clip in canonical order.
 * Attributes of both: format, version, frames, label_names, config, code, and complete, which goes in last.
 */
#ifndef VJ_CLIPS_H
#define VJ_CLIPS_H

#include <mpi.h>

#include "base/config.h"

enum { VJ_MAX_LABELS = 8, VJ_LABEL_NAME = 64 };

/* ------------------------------------------------------------------------------------------------ reading */

typedef struct vj_clips vj_clips;

/**
 * Open one or several stores as one: clips are numbered through the stores in the order given. All must hold the same
 * number of frames a clip and the same label names. Checks format, version, completeness, shard sizes and chunk
 * addresses; refuses a truncated store, naming the file, what was found and what was expected.
 * Collective: rank 0 reads the indices, all ranks get them. Free with vj_clips_close().
 */
vj_status vj_clips_open(vj_clips **clips, const vj_strings *paths, MPI_Comm comm);
void vj_clips_close(vj_clips *clips);

int64_t vj_clips_count(const vj_clips *clips);
int vj_clips_frames(const vj_clips *clips);
/** Height and width of clip `clip` in pixels. */
void vj_clips_geometry(const vj_clips *clips, int64_t clip, int *height, int *width);
/** Bytes of the largest clip. */
int64_t vj_clips_largest_bytes(const vj_clips *clips);
int vj_clips_label_count(const vj_clips *clips);
const char *vj_clips_label_name(const vj_clips *clips, int label);
/** Labels of a clip, [label_count]; -1: none. Borrowed. */
const int32_t *vj_clips_labels(const vj_clips *clips, int64_t clip);
/** Of all stores together; goes into checkpoints. */
uint64_t vj_clips_fingerprint(const vj_clips *clips);

/** Frames of a clip, u8 [T, H, W, 3], checksum verified. Thread-safe, no HDF5, no MPI. Not collective. */
vj_status vj_clips_read(const vj_clips *clips, int64_t clip, uint8_t *frames);
/** The same without the checksum: the bare read, to compare with. */
vj_status vj_clips_fetch(const vj_clips *clips, int64_t clip, uint8_t *frames);

/**
 * Read every clip of one store and compare its checksum. *damaged: clips that could not be read or differ, each of
 * which was reported. Fails only if the store as a whole is refused. Not collective.
 */
vj_status vj_clips_verify(const char *path, int64_t *damaged);

/** Print what a store holds: counts, geometries, a histogram of each label, fingerprint, provenance. Not collective. */
vj_status vj_clips_print(const char *path, FILE *out);

/* ------------------------------------------------------------------------------------------------ writing */

typedef struct vj_clips_writer vj_clips_writer;

/** One clip as packed. */
typedef struct {
    int64_t source; /* number of its file in the list */
    int32_t window; /* number of the window inside the video */
    double pts_s;   /* presentation time of its first frame */
    int height, width;
    const int32_t *labels;
    const uint8_t *frames; /* [T, height, width, 3] */
} vj_clip;

typedef struct {
    const char *path; /* NAME.clips; made if absent, its parent is not; a folder with an index.h5 is refused */
    int frames, label_count;
    char label_names[VJ_MAX_LABELS][VJ_LABEL_NAME];
    int64_t shard_bytes; /* a shard is closed before it would hold more (one clip at least), or as the oldest of 32 */
    const char *config_text;
} vj_clips_layout;

/** Create the folder, remove what an unfinished pack left in it. Each rank then writes its own shards. Collective. */
vj_status vj_clips_writer_open(vj_clips_writer **writer, const vj_clips_layout *layout, MPI_Comm comm);
/** Append a clip to this rank's shard for its geometry; a side is at most VJ_VIDEO_MAX_SIDE. Not collective. */
vj_status vj_clips_writer_add(vj_clips_writer *writer, const vj_clip *clip);
/**
 * Finish all shards (each was written as .part), number them by rank and age, rename them, gather the index, write
 * index.h5 as .part, fsync, rename: from then on the store exists. Two clips of one (source, window), or a source
 * beyond `sources`, are an error. source_paths: on rank 0, the path of each source number, [sources]. Collective.
 */
vj_status vj_clips_writer_commit(vj_clips_writer *writer, const char *const *source_paths, int64_t sources);
/** Free; without a commit before it, also remove this rank's unfinished shards. Local; NULL is harmless. */
void vj_clips_writer_close(vj_clips_writer *writer);

/* ------------------------------------------------------------------------------------------------ transform */

typedef struct {
    int top, left, height, width; /* box in the source frame */
    int flip;
} vj_crop;

/** The random resized crop of spec 10.3 for global sample `sample`: a function of (seed, sample) and the geometry
 * alone. */
vj_crop vj_crop_draw(const vj_config *config, uint64_t seed, int64_t sample, int height, int width);
/** The evaluation crop: the largest centred square. */
vj_crop vj_crop_centre(int height, int width);

/**
 * Crop, bilinear resize to size x size (half-pixel centres, no antialias), mirror, normalise (x - 255 mean)/(255 std):
 * out f32 [3, T, size, size] from frames u8 [T, height, width, 3]. Spec 10.3; exact arithmetic as the data fixture.
 */
void vj_crop_apply(float *out, const uint8_t *frames, int T, int height, int width, const vj_crop *crop, int size,
                   const double mean[3], const double std[3]);

/**
 * Frame numbers of spec 10.2, indices [segments, F], of a video of `available` frames. `starts` [segments] is the
 * window's offset inside each segment, used where the segment is longer than F*step (NULL: 0); `overlap` selects the
 * evaluation rule.
 */
void vj_clip_frames(int64_t *indices, int64_t available, int F, int step, int segments, int overlap,
                    const int64_t *starts);

/* ------------------------------------------------------------------------------------------------ loader */

typedef struct vj_loader vj_loader;

/** One rank's part of one global batch, host memory owned by the loader, valid until the next vj_loader_next(). */
typedef struct {
    int64_t step;         /* 0-based */
    int64_t first, count; /* global sample numbers [first, first + count) */
    const float *pixels;  /* [count, 3, T, crop, crop] */
    const int64_t *clips; /* [count] clip numbers */
    int64_t substituted;  /* unreadable clips replaced so far on this rank */
} vj_batch;

/**
 * Read ahead with data.threads threads from step `start` up to `stop`, at most data.read_ahead batches: global sample
 * s = step*batch + j is clip vj_permute(seed, s / n, n, s % n), cropped by vj_crop_draw(). This rank gets samples
 * [first, last) of each batch (from the microbatch split; may be empty). An unreadable clip is replaced by the next of
 * the permutation, counted and reported; more than 1 % (and more than 10) of this rank's samples since `start`, or a
 * row of 64 unreadable clips, is an error. Allocates everything here. `clips` is borrowed. Local.
 */
vj_status vj_loader_start(vj_loader **loader, const vj_clips *clips, const vj_config *config, int64_t start,
                          int64_t stop, int64_t first, int64_t last);
/** The next batch in order; waits for it. *wait_s: seconds waited. Past `stop`: VJ_ERR_STATE. One caller at a time. */
vj_status vj_loader_next(vj_loader *loader, vj_batch *batch, double *wait_s);
void vj_loader_stop(vj_loader *loader);

#endif
