/* clang-format off: the table is to be read */
/*
 * The clip store NAME.clips/: index.h5, ledger.csv, shard-00000.h5 ... in HDF5 (readable by h5py and h5dump). Writing:
 * write.h. Readers read index.h5 alone, once, on one rank; after that a clip is one pread and a checksum (and, jpeg,
 * one decoding), from any thread, without HDF5.
 *
 * Shard file: everything that became of a part of the source files, whatever their geometry.
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
 *   /files/motion      i8  [v, 512]        what moves, of the v files with look_valid, in their order; may be missing
 *   /files/ledger      text                a line a file
 *   attribute shard                        its number
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

enum { VJ_MAX_LABELS = 8, VJ_LABEL_NAME = 64, VJ_MAX_DATASETS = 16, VJ_DATASET_NAME = 64 };
enum { VJ_CLIPS_MAX_SIDE = 65536, VJ_CLIPS_MOTION_BYTES = 512 }; /* pixels; of a file's movement */
enum { VJ_MAX_CLASSES = 1 << 20, VJ_CLASS_NAME = 256 }; /* of a label, and bytes of each one's name with its zero */

/* ------------------------------------------------------------------------------------------------ reading */

typedef struct vj_clips vj_clips;

/**
 * Open one or several stores as one: clips are numbered through the stores in the order given, data sets and classes
 * by their names: where stores number the same class names differently, labels get the numbers of the first store, and
 * names that only later stores have get numbers after those. A store named twice is refused. All must hold the same
 * number of frames a clip and the same label names. Checks format, version, completeness, every number of the index
 * against what it may be, the fingerprint, the shards' sizes on disk; refuses what does not fit, naming the file, what
 * was found and what was expected.
 *
 * Every node holds 37 + 4 L bytes a clip (L labels) in shared memory, 82 MB for 2 million clips with one (each rank, if
 * /dev/shm has no room for that, which is said), every rank the class names; rank 0 as much again and 8 bytes more
 * while it reads. VJ_ALONE will do. Collective: rank 0 reads the indices, all ranks get them. Free with
 * vj_clips_close(), which is not.
 */
vj_status vj_clips_open(vj_clips **clips, const vj_strings *paths, MPI_Comm comm);
void vj_clips_close(vj_clips *clips);

int64_t vj_clips_count(const vj_clips *clips);
int vj_clips_frames(const vj_clips *clips);
/** Height and width of clip `clip` in pixels. */
void vj_clips_geometry(const vj_clips *clips, int64_t clip, int *height, int *width);
/** Bytes of the largest clip's frames, and of the largest record. */
int64_t vj_clips_largest_bytes(const vj_clips *clips);
int64_t vj_clips_largest_record(const vj_clips *clips);
/** Bytes of the largest record that must be decoded; 0 if all are raw. */
int64_t vj_clips_largest_coded(const vj_clips *clips);
/** The shard of a clip, numbered through the stores; clips of a shard stand together, shards ascend. */
int64_t vj_clips_shard(const vj_clips *clips, int64_t clip);
int64_t vj_clips_shard_count(const vj_clips *clips);
/** The data set of a clip, a number below vj_clips_dataset_count(). */
int vj_clips_dataset(const vj_clips *clips, int64_t clip);
/** Of all clips, [count]. Borrowed. */
const uint8_t *vj_clips_datasets(const vj_clips *clips);
int vj_clips_dataset_count(const vj_clips *clips);
const char *vj_clips_dataset_name(const vj_clips *clips, int dataset);
int vj_clips_label_count(const vj_clips *clips);
const char *vj_clips_label_name(const vj_clips *clips, int label);
/**
 * How many numbers of a label have names: class n, below this count, is called vj_clips_class_name(). 0: the label's
 * numbers have no names, only the user knows what they mean.
 */
int64_t vj_clips_class_count(const vj_clips *clips, int label);
/** All of them, borrowed. */
const struct vj_clips_classes *vj_clips_classes_of(const vj_clips *clips, int label);
/** The name of a class, borrowed; "" if this number has none (-1 and numbers from the count on too). */
const char *vj_clips_class_name(const vj_clips *clips, int label, int64_t number);
/** Labels of a clip, [label_count]; -1: none. Borrowed. */
const int32_t *vj_clips_labels(const vj_clips *clips, int64_t clip);
/**
 * The file that a clip was cut from: its number in the store's manifests (vj_clips_origins() knows the file), those of
 * the second store behind those of the first, and so on. Clips of one number show one video.
 */
int32_t vj_clips_source(const vj_clips *clips, int64_t clip);
/** Number of the window in the video. */
int32_t vj_clips_window(const vj_clips *clips, int64_t clip);
/** Checksum of a clip's record: equal on clips that were packed with equal content. */
uint64_t vj_clips_checksum(const vj_clips *clips, int64_t clip);
/** Of all stores together; goes into checkpoints. */
uint64_t vj_clips_fingerprint(const vj_clips *clips);

/**
 * Frames of a clip, u8 [T, H, W, 3], checksum verified: fetch with a fifth of a second's patience, check and decode.
 * Thread-safe if each thread has its coder; no HDF5, no MPI. Not collective.
 */
vj_status vj_clips_read(const vj_clips *clips, int64_t clip, vj_coder *coder, uint8_t *frames);

/** Where a record is, for those who read it by other means; `path` is borrowed. */
typedef struct {
    const char *path;
    int64_t offset, bytes;
    vj_codec codec;
} vj_clips_place;
vj_clips_place vj_clips_find(const vj_clips *clips, int64_t clip);

/** Length of a clip's record. */
int64_t vj_clips_record_bytes(const vj_clips *clips, int64_t clip);

/* How long reading waits for a file system that is in trouble. */
typedef struct {
    double limit_s;          /* 0: the first failure is final */
    const char *setting;     /* that it is from, for messages; NULL: none. Borrowed */
    const atomic_bool *stop; /* once true, waiting ends at once; NULL: never. Borrowed */
} vj_patience;

/**
 * The record as it is on disk. Its address is in the index: one pread.
 *
 * A shard that cannot be opened or read, or that ends before the record does, which it did not when the store was
 * opened, is trouble of its file system: its descriptor is closed, and it is opened and read again, after growing
 * pauses, until `patience` is over (NULL: at once). That threads wait is said once for all who wait at the same time.
 * VJ_ERR_IO: it was given up. VJ_ERR_STATE: it was stopped, about which nothing is said. At most VJ_OPEN_FILES
 * (open_files.h) shards are open in a process. Thread-safe.
 */
vj_status vj_clips_fetch(const vj_clips *clips, int64_t clip, const vj_patience *patience, uint8_t *record);
/** Compare its checksum. */
vj_status vj_clips_check(const vj_clips *clips, int64_t clip, const uint8_t *record);
/** Frames of a record, which may hold anything; raw: they may be the same memory. */
vj_status vj_clips_decode(const vj_clips *clips, int64_t clip, vj_coder *coder, const uint8_t *record, uint8_t *frames);

/**
 * Check one store wholly: every shard's tables against the index, the addresses of all records against those that HDF5
 * gives, every checksum, every decoding. *damaged: clips that cannot be used, each of which was reported, as are shards
 * that differ. Fails only if the store as a whole is refused. Not collective.
 */
vj_status vj_clips_verify(const char *path, int64_t *damaged);

/** Print what a store holds: counts, geometries, labels, passport, fingerprint, provenance. Not collective. */
vj_status vj_clips_print(const char *path, FILE *out);

/* Where a clip is from. */
typedef struct {
    int64_t source, window; /* number of the file in the manifests, of the window in the file */
    double pts_s;           /* of the first frame */
    char *ledger_row;       /* of the file; owned */
} vj_clip_origin;

/** Of clips [first, first + count) of one store. vj_clips_origins_release() frees the texts. Not collective. */
vj_status vj_clips_origins(const char *path, int64_t first, int64_t count, vj_clip_origin *origins);
void vj_clips_origins_release(vj_clip_origin *origins, int64_t count);

#endif
