/* clang-format off: keep the table below readable */
/*
 * The clip store NAME.clips/: index.h5, ledger.csv, shard-00000.h5 ... in HDF5 (readable by h5py and h5dump). Writing:
 * write.h. Readers read only index.h5, once, on one rank; after that, reading a clip takes one pread and a checksum
 * (and, for jpeg, one decoding), from any thread, without HDF5.
 *
 * Shard file: the clips of a part of the source files, of any geometry (H x W), and what was found about those files.
 *
 *   /clips/HxW/frames  u8 [n, T, H, W, 3]  one for each geometry; chunk = one clip; unfiltered (raw) or with the filter
 *                                          of JPEG records (codec/filter.h)
 *   /clips/source      i64 [n]             one row a clip, in order of files and windows: number of its file
 *   /clips/window      i32 [n]             number of the window inside the video
 *   /clips/dataset     i32 [n]
 *   /clips/label       i32 [n, L]          -1: none
 *   /clips/pts         f64 [n]             seconds
 *   /clips/height      i32 [n]
 *   /clips/width       i32 [n]
 *   /clips/row         i64 [n]             in its geometry's frames
 *   /clips/offset      i64 [n]             byte of the record in this file
 *   /clips/bytes       i64 [n]             length of the record
 *   /clips/xxh3        u64 [n]             of the record's bytes
 *   /clips/psnr        f32 [n]             dB
 *   /files/source      i64 [m]             one row a file, with clips or without
 *   /files/dataset     i32 [m]
 *   /files/verdict     i32 [m]
 *   /files/clips       i32 [m]
 *   /files/look        u64 [m, 8]          perceptual hash (make/video/phash.h)
 *   /files/look_valid  u8  [m]
 *   /files/motion      i8  [v, 512]        motion (phash.h) of the v files with look_valid; may be missing
 *   /files/ledger      text                the files' rows of the ledger, one line a file
 *   attribute shard                        number of the shard
 *
 * index.h5: what training reads.
 *
 *   /clips/...         the same columns, and shard i32, in canonical order: by shard, then row. A clip that was dropped
 *                      as a copy of another stays in its shard and is not listed
 *   /shards/clips      i64 [shards]        clips of the shard that are listed
 *   /shards/bytes      i64 [shards]        of the shard's file
 *   /classes/LABEL     texts [classes]     UTF-8; row n has the name of class n, "" if no class has this number. Only
 *                                          for labels whose numbers stand for names. Attribute xxh3: of their bytes
 *   /passport/files    i64 [datasets, verdicts]
 *   /passport/clips    i64 [datasets, verdicts]
 *   attributes of /passport                verdict_names, duplicates, held_out, manifests, exclusions (digests),
 *                                          summary (text)
 *   attribute fingerprint u64              xxh3 over (xxh3, height, width, dataset, labels) of every clip listed
 *
 * Attributes of all files: format, version, frames, codec, jpeg_quality, jpeg_chroma, label_names, dataset_names,
 * config, code, and complete, which goes in last.
 */
/* clang-format on */
#ifndef VJ_CLIPS_H
#define VJ_CLIPS_H

#include <mpi.h>
#include <stdatomic.h>

#include "base/config.h"
#include "codec/codec.h"

#define VJ_CLIPS_FORMAT "vjepa clips" /* attribute "format" of all files of a store */

enum { VJ_MAX_LABELS = 8, VJ_LABEL_NAME = 64, VJ_MAX_DATASETS = 16, VJ_DATASET_NAME = 64 };
enum { VJ_CLIPS_MAX_SIDE = 65536, VJ_CLIPS_MOTION_BYTES = 512 }; /* pixels; bytes of a file's motion */
enum { VJ_MAX_CLASSES = 1 << 20, VJ_CLASS_NAME = 256 };          /* classes of a label; bytes of a name with its zero */

typedef struct vj_clips vj_clips;

/**
 * Open one or several stores as one. Clips are numbered consecutively through the stores in the order given. Data sets
 * and classes are matched by name: where stores number the same class names differently, labels get the numbers of the
 * first store, and names that only later stores have get numbers after those. A store named twice is refused. All
 * stores must have the same number of frames a clip and the same label names. Checks format, version, completeness, the
 * range of every number in the index, the fingerprint, and the shards' sizes on disk; on a mismatch refuses the store,
 * naming the file, what was found and what was expected.
 *
 * Memory: every node holds 37 + 4 L bytes a clip (L labels) in shared memory, 82 MB for 2 million clips with one label;
 * if /dev/shm has no room for that, each rank holds its own copy, which is logged. Every rank holds the class names.
 * While rank 0 reads, it needs the same amount again and 8 + 4 L bytes a clip more. comm may be VJ_ALONE. Collective:
 * rank 0 reads the indices, all ranks get them. Free with vj_clips_close(), which is not collective.
 */
vj_status vj_clips_open(vj_clips **clips, const vj_strings *paths, MPI_Comm comm);
/**
 * Open stores for training, which needs no labels. A store with one frame a clip holds images; its clips are read as
 * `frames` equal frames, so that it can be opened together with stores of videos. If the stores do not all have the
 * same label names, all labels are dropped.
 */
vj_status vj_clips_open_training(vj_clips **clips, const vj_strings *paths, int frames, MPI_Comm comm);
void vj_clips_close(vj_clips *clips);

int64_t vj_clips_count(const vj_clips *clips);
/** Return the number of frames of every clip as it is read. */
int vj_clips_frames(const vj_clips *clips);
/** Get the height and width of a clip in pixels. */
void vj_clips_geometry(const vj_clips *clips, int64_t clip, int *height, int *width);
/** Return the size in bytes of the largest clip's frames, and of the largest record. */
int64_t vj_clips_largest_bytes(const vj_clips *clips);
int64_t vj_clips_largest_record(const vj_clips *clips);
/** Return the size in bytes of the largest record that must be decoded; 0 if all are raw. */
int64_t vj_clips_largest_coded(const vj_clips *clips);
/**
 * Return the shard of a clip, numbered through the stores. The clips of a shard are consecutive; shard numbers ascend.
 */
int64_t vj_clips_shard(const vj_clips *clips, int64_t clip);
int64_t vj_clips_shard_count(const vj_clips *clips);
/** Return the data set of a clip, a number below vj_clips_dataset_count(). */
int vj_clips_dataset(const vj_clips *clips, int64_t clip);
/** Return the data set of every clip, [count]. Borrowed. */
const uint8_t *vj_clips_datasets(const vj_clips *clips);
int vj_clips_dataset_count(const vj_clips *clips);
const char *vj_clips_dataset_name(const vj_clips *clips, int dataset);
int vj_clips_label_count(const vj_clips *clips);
const char *vj_clips_label_name(const vj_clips *clips, int label);
/**
 * Return n such that classes 0 to n - 1 of a label may have names, given by vj_clips_class_name(). 0: the label's
 * numbers have no names; only the user knows what they mean.
 */
int64_t vj_clips_class_count(const vj_clips *clips, int label);
/** Return all class names of a label, borrowed. */
const struct vj_clips_classes *vj_clips_classes_of(const vj_clips *clips, int label);
/** Return the name of a class, borrowed; "" if this number has none (also for -1, and from the count on). */
const char *vj_clips_class_name(const vj_clips *clips, int label, int64_t number);
/** Return the labels of a clip, [label_count]; -1: none. Borrowed. */
const int32_t *vj_clips_labels(const vj_clips *clips, int64_t clip);
/**
 * Return the source file of a clip, as its number in the store's manifests (vj_clips_origins() gives its path). The
 * numbers of the second store follow those of the first, and so on. Clips with equal numbers are from the same video.
 */
int32_t vj_clips_source(const vj_clips *clips, int64_t clip);
/** Return the number of the clip's window in its video. */
int32_t vj_clips_window(const vj_clips *clips, int64_t clip);
/** Return the checksum of a clip's record. Clips with equal records have equal checksums. */
uint64_t vj_clips_checksum(const vj_clips *clips, int64_t clip);
/** Return the fingerprint of all stores together, which is stored in checkpoints. */
uint64_t vj_clips_fingerprint(const vj_clips *clips);

/**
 * Read the frames of a clip, u8 [T, H, W, 3]: fetch the record, retrying for 0.2 s, verify its checksum and decode it.
 * Thread-safe if each thread has its own coder; no HDF5, no MPI. Not collective.
 */
vj_status vj_clips_read(const vj_clips *clips, int64_t clip, vj_coder *coder, uint8_t *frames);

/** Location of a record, for callers that read it by other means; `path` is borrowed. */
typedef struct {
    const char *path;
    int64_t offset, bytes;
    vj_codec codec;
} vj_clips_place;
vj_clips_place vj_clips_find(const vj_clips *clips, int64_t clip);

/** Return the length of a clip's record in bytes. */
int64_t vj_clips_record_bytes(const vj_clips *clips, int64_t clip);

/* How long a read is retried when the file system fails. */
typedef struct {
    double limit_s;          /* 0: the first failure is final */
    const char *setting;     /* name of the setting that gives limit_s, for messages; NULL: none. Borrowed */
    const atomic_bool *stop; /* once true, waiting ends at once; NULL: never. Borrowed */
} vj_patience;

/**
 * Read a clip's record as it is on disk, with one pread at the offset in the index.
 *
 * If a shard cannot be opened or read, or ends before the record does, the cause is taken to be the file system,
 * because the shard's size was right when the store was opened. Its descriptor is closed, and it is opened and read
 * again after pauses of increasing length, until the time limit of `patience` has passed (NULL: no retry). One message
 * is logged for all threads that wait at the same time. Returns VJ_ERR_IO if it gave up; VJ_ERR_STATE, without a
 * message, if it was stopped. At most VJ_OPEN_FILES (open_files.h) shards are open in a process. Thread-safe.
 */
vj_status vj_clips_fetch(const vj_clips *clips, int64_t clip, const vj_patience *patience, uint8_t *record);
/** Verify the checksum of a clip's record. */
vj_status vj_clips_check(const vj_clips *clips, int64_t clip, const uint8_t *record);
/** Decode a record, which is untrusted, to frames; if raw, both may be the same memory. An image's frame is repeated.
 */
vj_status vj_clips_decode(const vj_clips *clips, int64_t clip, vj_coder *coder, const uint8_t *record, uint8_t *frames);

/**
 * Check one whole store: every shard's tables against the index, the offsets of all records against those that HDF5
 * gives, every checksum, every decoding. *damaged: number of unusable clips, each reported, as are shards that differ
 * from the index. Fails only if the store as a whole is refused. Not collective.
 */
vj_status vj_clips_verify(const char *path, int64_t *damaged);

/**
 * Print the contents of a store: counts, geometries, labels, passport (vj_passport), fingerprint, provenance. Not
 * collective.
 */
vj_status vj_clips_print(const char *path, FILE *out);

/**
 * Compare two stores clip by clip, in order, and print the differences: number of clips, sizes, pixels (decoded where
 * records differ), labels, class names, data sets; then "N clips equal, M different". *different counts clips, plus
 * differences that concern all clips. Fingerprints and configurations are printed and not counted. Not collective.
 */
vj_status vj_clips_compare(const char *a, const char *b, FILE *out, int64_t *different);

/** A line that pack.yaml of a store has (pack/recipe.h), and a configuration file of that name has not. */
#define VJ_CLIPS_RECIPE_LINE "lists: # files, xxh3 of their entries\n"

/** Return whether a folder is a clip store, finished or not. */
bool vj_clips_is_store(const char *folder);

/**
 * Refuse to write the file or folder `path` into a clip store, which holds what vjepa-pack wrote and nothing else, or
 * in its place. `option` names the path in the message. VJ_ERR_USAGE; not collective.
 */
vj_status vj_clips_check_output(const char *option, const char *path);

/* Origin of a clip. */
typedef struct {
    int64_t source, window; /* number of the source file in the manifests, number of the window in it */
    double pts_s;           /* of the first frame */
    char *ledger_row;       /* the source file's row of the ledger; owned */
} vj_clip_origin;

/**
 * Get the origins of clips [first, first + count) of one store; free their texts with vj_clips_origins_release(). Not
 * collective.
 */
vj_status vj_clips_origins(const char *path, int64_t first, int64_t count, vj_clip_origin *origins);
void vj_clips_origins_release(vj_clip_origin *origins, int64_t count);

#endif
