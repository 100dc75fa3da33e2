/* Batches of clips, read, cropped and normalised ahead of time by threads. */
#ifndef VJ_FEED_LOADER_H
#define VJ_FEED_LOADER_H

#include "clips/clips.h"
#include "feed/crop.h"
#include "feed/eval_views.h"
#include "feed/order.h"

typedef struct vj_loader vj_loader;

/** Return whether `damaged` of `all` clips or samples are too many to go on without them: more than 10 and more than 1
 * %. */
static inline bool vj_too_damaged(int64_t damaged, int64_t all)
{
    return damaged > 10 && 100 * damaged > all;
}

/*
 * What to load. The order says which clip a sample is, the view which crop of it is taken. Samples are numbered
 * globally over all ranks; batch b consists of samples [b * batch, (b + 1) * batch), of which this rank loads those at
 * positions [first, last), which may be none.
 *
 * For evaluation `items` and `shown` stand instead of order and view: sample i is items[i], shown as `shown` says. Then
 * a batch always has pixels, whatever the device. Items that follow one another in a batch with the same clip are made
 * by one thread, which reads and decodes that clip once. A damaged clip is not replaced: its items are marked in the
 * batch and their pixels are zero; the caller decides what to do with them.
 */
typedef struct vj_loader_plan {
    vj_order *order;            /* ownership passes to the loader, also if vj_loader_start() fails; NULL with items */
    vj_view view;               /* NULL with items */
    const vj_eval_item *items;  /* [samples] borrowed while the loader runs; NULL: order and view are set */
    const vj_eval_views *shown; /* copied */
    bool marks; /* with an order: a damaged clip is marked as with items, its frames are zero, and none replaces it */
    /* With items: [clips] bool, clips known to be damaged, which are not read again; NULL: none. Borrowed. The caller
     * may set more of them while the loader runs. */
    const uint8_t *damaged;
    vj_backend *be; /* borrowed: batches are in host memory from vj_host_alloc(be); NULL: in plain memory */
    int64_t batch, first, last;
    int64_t start, stop; /* batches [start, stop) */
    int64_t samples; /* number of samples in all, so the last batch may be shorter; 0: unlimited, but of items none */
} vj_loader_plan;

/** This rank's part of one batch, in host memory owned by the loader. Valid until the next vj_loader_next(). */
typedef struct {
    int64_t step;              /* number of the batch, from 0 */
    int64_t first, count;      /* samples [first, first + count) */
    const float *pixels;       /* [count, 3, T, crop, crop]; NULL if the device computes them from frames and views */
    const uint8_t *frames;     /* of all clips, at views[..].at; NULL if pixels is set */
    const vj_clip_view *views; /* [count] */
    const int64_t *clips;      /* [count] clip numbers */
    const int32_t *labels;     /* [count, label_count] labels of these clips */
    const int32_t *source, *window; /* [count] vj_clips_source() and vj_clips_window() of these clips */
    const uint8_t *damaged; /* [count] bool: the clip is damaged, its pixels are zero; NULL without items or `marks` */
    int64_t substituted;    /* damaged clips replaced on this rank since the loader started */
    int64_t cached; /* clips that this rank has read from data.cache so far, including those of batches read ahead */
} vj_batch;

/**
 * Check that the settings of the training order fit the clips (data.weights must name their datasets), and log from
 * which dataset how many samples will be drawn. Not collective; one rank is enough.
 */
vj_status vj_loader_check(const vj_clips *clips, const vj_config *config);

/* Memory use of a loader, in bytes. */
typedef struct {
    int64_t sample; /* host memory per sample in the ring: its pixels, or the frames of the largest clip */
    int64_t thread; /* host memory per thread: the largest compressed record, plus frames if it computes pixels */
    int64_t frames; /* device memory per clip for its frames, if the device computes pixels; else 0 */
} vj_loader_bytes;
/** Return the memory use of a loader of these clips for the backend train.backend. Not collective. */
vj_loader_bytes vj_loader_bytes_of(const vj_clips *clips, const vj_config *config);
/** The same for a loader of items that are shown as `shown` says: it makes pixels for every backend. */
vj_loader_bytes vj_loader_bytes_of_items(const vj_clips *clips, const vj_eval_views *shown);

/**
 * Start a loader: data.threads threads that read at most data.read_ahead batches ahead. The content of a sample depends
 * only on its number, the plan, the settings and run.seed: the order gives the clip, the view gives the crop,
 * data.verify gives the probability that its checksum is compared.
 *
 * A damaged clip (wrong checksum, decoding fails) is replaced by the next clip of the order, counted and reported. It
 * is an error (VJ_ERR_FORMAT from vj_loader_next()) if the order has no replacement, if 64 clips in a row are damaged,
 * or if more than 1 % (and more than 10) of this rank's samples since `start` were replaced. If the file system fails
 * to read a clip, reading is retried for up to data.io_patience_s; after that it is an error, and no other clip is
 * taken instead. With data.cache, clips are copied to the node's disk and later read from there (cache.h).
 *
 * Cropping and normalising: if the device is the host (vj_device_is_host()) or plan->be is NULL, the loader's threads
 * do it, concurrently with the compute threads. It takes 6 ms of a Zen 3 core for 16 frames at 224 px, which a kernel
 * would add to the step. Other devices get the frames as u8, a quarter of the bytes per value, and compute pixels by
 * vj_crop_clips(). vj_host_crop() and vj_crop_clips() give the same bits.
 *
 * All memory is allocated here: vj_loader_bytes.sample * (read_ahead + 1) * (last - first) and vj_loader_bytes.thread *
 * data.threads bytes (libjpeg-turbo also allocates some lines of a picture). HDF5 is not called; a clip is read by one
 * pread(). `clips` is borrowed. Not collective. Stop with vj_loader_stop().
 */
vj_status vj_loader_start(vj_loader **loader, const vj_clips *clips, const vj_config *config,
                          const vj_loader_plan *plan);

/**
 * Start a loader for training: batches [start, stop) of train.batch samples in the order of data.shuffle and
 * data.weights, with random crops; this rank loads samples [first, last) of each batch. The order (order.h) takes 4
 * bytes per clip with weights, and 40 bytes per shard and dataset with block shuffle.
 */
vj_status vj_loader_start_training(vj_loader **loader, const vj_clips *clips, const vj_config *config, vj_backend *be,
                                   int64_t start, int64_t stop, int64_t first, int64_t last);
/** Return the next batch in order, waiting until it is read. *wait_s gets the seconds waited. VJ_ERR_STATE at `stop`;
 * errors of its samples as above. One caller at a time. */
vj_status vj_loader_next(vj_loader *loader, vj_batch *batch, double *wait_s);
/** Stop the threads and free the loader. NULL is allowed. */
void vj_loader_stop(vj_loader *loader);

#endif
