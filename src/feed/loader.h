/* Batches of clips, read, cropped and normalised ahead of time by threads. */
#ifndef VJ_FEED_LOADER_H
#define VJ_FEED_LOADER_H

#include "clips/clips.h"
#include "feed/crop.h"

typedef struct vj_loader vj_loader;

/** One rank's part of one global batch, host memory owned by the loader, valid until the next vj_loader_next(). */
typedef struct {
    int64_t step;         /* 0-based */
    int64_t first, count; /* global sample numbers [first, first + count) */
    const float *pixels;  /* [count, 3, T, crop, crop] */
    const int64_t *clips; /* [count] clip numbers */
    int64_t substituted;  /* damaged clips replaced so far on this rank */
    int64_t cached;       /* clips read so far from data.cache on this rank, those of later batches among them */
} vj_batch;

/**
 * Do the settings of the order fit the clips (data.weights names their datasets)? Says what will be drawn from where.
 * Local; ask one rank.
 */
vj_status vj_loader_check(const vj_clips *clips, const vj_config *config);

/** Memory of one loader thread: the largest clip's frames and, of compressed stores, the largest record. */
int64_t vj_loader_thread_bytes(const vj_clips *clips);

/**
 * Read ahead with data.threads threads from step `start` up to `stop`, at most data.read_ahead batches. What global
 * sample s = step * batch + j is follows from s and run.seed alone: which clip by data.shuffle and data.weights
 * (order.h), which crop by vj_crop_draw(), whether its checksum is compared by data.verify. This rank gets samples
 * [first, last) of each batch (from the microbatch split; may be empty).
 *
 * A clip that is damaged (checksum, decoding) is replaced by the next of its epoch's order (with weights, of its
 * dataset), counted and reported; more than 1 % (and more than 10) of this rank's samples since `start`, or a row of
 * 64, is an error. A clip that the file system does not give is waited for, up to data.io_patience_s; then that is an
 * error, and nothing is replaced. With data.cache clips are copied to the node's disk and read from there later
 * (cache.h).
 *
 * All memory is allocated here: (read_ahead + 1) * (last - first) samples of 12 T crop^2 bytes, data.threads times
 * vj_loader_thread_bytes() (and a picture's lines inside libjpeg-turbo), and the order's tables (order.h): 4 bytes a
 * clip with weights, 40 bytes a shard and dataset with blocks. No call of HDF5; a clip is one pread. `clips` is
 * borrowed. Local.
 */
vj_status vj_loader_start(vj_loader **loader, const vj_clips *clips, const vj_config *config, int64_t start,
                          int64_t stop, int64_t first, int64_t last);
/** The next batch in order; waits for it. *wait_s: seconds waited. Past `stop`: VJ_ERR_STATE. One caller at a time. */
vj_status vj_loader_next(vj_loader *loader, vj_batch *batch, double *wait_s);
void vj_loader_stop(vj_loader *loader);

#endif
