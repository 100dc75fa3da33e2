/* Batches of clips, read, cropped and normalised ahead of time by threads. */
#ifndef VJ_FEED_LOADER_H
#define VJ_FEED_LOADER_H

#include "clips/clips.h"
#include "feed/crop.h"
#include "feed/order.h"

typedef struct vj_loader vj_loader;

/*
 * What is loaded: sample s of an order, seen through a view. Samples are numbered over all ranks; a batch has `batch`
 * of them, and this rank gets those at [first, last) of each (which may be none).
 */
typedef struct {
    vj_order *order; /* taken over: vj_loader_start() and vj_loader_stop() destroy it */
    vj_view view;
    vj_backend *be; /* borrowed: batches are in host memory of its, ready to be uploaded; NULL: in the system's */
    int64_t batch, first, last;
    int64_t start, stop; /* batches [start, stop) */
    int64_t samples;     /* there are no more than these, so that the last batch may be a shorter one; 0: no end */
} vj_loader_plan;

/** One rank's part of one batch, host memory owned by the loader, valid until the next vj_loader_next(). */
typedef struct {
    int64_t step;                   /* number of the batch, from 0 */
    int64_t first, count;           /* samples [first, first + count) */
    const float *pixels;            /* [count, 3, T, crop, crop]; NULL where the device makes them, and then: */
    const uint8_t *frames;          /* of all clips, where the views say */
    const vj_clip_view *views;      /* [count] */
    const int64_t *clips;           /* [count] clip numbers, and of these clips: */
    const int32_t *labels;          /* [count, label_count] */
    const int32_t *source, *window; /* [count] as vj_clips_source() and vj_clips_window() */
    int64_t substituted;            /* damaged clips replaced so far on this rank */
    int64_t cached; /* clips read so far from data.cache on this rank, those of later batches among them */
} vj_batch;

/**
 * Do the settings of the order fit the clips (data.weights names their datasets)? Says what will be drawn from where.
 * Local; ask one rank.
 */
vj_status vj_loader_check(const vj_clips *clips, const vj_config *config);

/* Memory of a loader. */
typedef struct {
    int64_t sample; /* host memory of each that is read ahead: pixels, or the frames of the largest clip */
    int64_t thread; /* the largest record of compressed stores, and frames, if pixels are made of them there */
    int64_t frames; /* device memory for the frames of a clip, where pixels are made of them there; else 0 */
} vj_loader_bytes;
/** For clips that train.backend of the configuration works on. */
vj_loader_bytes vj_loader_bytes_of(const vj_clips *clips, const vj_config *config);

/**
 * Read ahead with data.threads threads, at most data.read_ahead batches. What a sample is follows from its number, the
 * plan and run.seed alone: which clip by the order, what of it by the view, whether its checksum is compared by
 * data.verify.
 *
 * A clip that is damaged (checksum, decoding) is replaced by the next one that the order has for it, counted and
 * reported; if it has none, or a row of 64 is damaged, or more than 1 % (and more than 10) of this rank's samples since
 * `start` were replaced, that is an error. A clip that the file system does not give is waited for, up to
 * data.io_patience_s; then that is an error, and nothing is replaced. With data.cache clips are copied to the node's
 * disk and read from there later (cache.h).
 *
 * Who makes the pixels: where the device is the host (vj_device_is_host()), or there is none, the loader's threads do,
 * beside the threads that compute: 6 ms of a Zen 3 core for 16 frames at 224 px, which as a kernel would be a part of
 * the step. Other devices get the frames as they are, a quarter of the bytes a value, and make the pixels by
 * vj_crop_clips(). Both are the same code, vj_host_crop(), and give the same bits.
 *
 * All memory is allocated here: (read_ahead + 1) * (last - first) samples and data.threads threads of vj_loader_bytes
 * (and a picture's lines inside libjpeg-turbo). No call of HDF5; a clip is one pread. `clips`
 * is borrowed. Local.
 */
vj_status vj_loader_start(vj_loader **loader, const vj_clips *clips, const vj_config *config,
                          const vj_loader_plan *plan);

/**
 * The same for training: batches of train.batch samples in the order of data.shuffle and data.weights (order.h, whose
 * tables take 4 bytes a clip with weights and 40 bytes a shard and dataset with blocks), each seen through its random
 * crop.
 */
vj_status vj_loader_start_training(vj_loader **loader, const vj_clips *clips, const vj_config *config, vj_backend *be,
                                   int64_t start, int64_t stop, int64_t first, int64_t last);
/** The next batch in order; waits for it. *wait_s: seconds waited. Past `stop`: VJ_ERR_STATE. One caller at a time. */
vj_status vj_loader_next(vj_loader *loader, vj_batch *batch, double *wait_s);
void vj_loader_stop(vj_loader *loader);

#endif
