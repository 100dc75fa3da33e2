/* Loads one sample: finds its clip by the sample's number, reads, decodes and crops it. Private to this folder. */
#ifndef VJ_FEED_SAMPLE_H
#define VJ_FEED_SAMPLE_H

#include <stdatomic.h>

#include "clips/clips.h"
#include "feed/cache.h"
#include "feed/crop.h"
#include "feed/eval_views.h"
#include "feed/order.h"

/* State shared by the loader's threads. */
typedef struct {
    const vj_clips *clips; /* borrowed */
    vj_config config;
    vj_patience patience;
    vj_order *order; /* owned; NULL with items */
    vj_view view;
    bool marks;                /* with the order: damaged clips are marked */
    const vj_eval_item *items; /* borrowed: sample i is items[i]; NULL: the order and the view say what it is */
    const uint8_t *damaged;    /* borrowed: [clips] bool, with items: known to be damaged; NULL: none */
    vj_eval_views shown;       /* how items are shown */
    vj_cache *cache;           /* NULL: none */
    atomic_bool stop;          /* set when the loader is stopped: threads that wait for a file system give up */
} vj_sampler;

/* Buffers of one thread. */
typedef struct {
    vj_coder *coder;
    uint8_t *frames;   /* decoded frames, sized for the largest clip; NULL if frames go directly into the samples */
    int64_t held;      /* with items: the clip whose frames these are; -1: none */
    bool whole;        /* with items: that clip is not damaged */
    vj_eval_room eval; /* with items: for making views */
} vj_sample_room;

/* Output buffers and result of loading one sample; all pointers borrowed. */
typedef struct {
    float *pixels;       /* written: [3, T, crop, crop]; NULL: `frames` is written instead */
    uint8_t *frames;     /* written if pixels is NULL: [T, H, W, 3], sized for the largest clip */
    vj_clip_view *view;  /* written: size of the frames and crop box; its member `at` is kept */
    int64_t *clip;       /* written: number of the clip */
    uint8_t *damaged;    /* written, with items or marks: bool, the clip is damaged and the pixels are zero */
    int64_t substituted; /* written: increased by 1 if another clip replaces a damaged one */
} vj_sample;

struct vj_loader_plan;

/** Initialise for what `plan` says, and open the cache if data.cache is set. Takes ownership of the plan's order.
 * Release with vj_sampler_release(). */
void vj_sampler_init(vj_sampler *sampler, const vj_clips *clips, const vj_config *config,
                     const struct vj_loader_plan *plan);
void vj_sampler_release(vj_sampler *sampler);

/** Allocate all buffers for loading any sample. Release with vj_sample_room_release(), even after a failure. */
vj_status vj_sample_room_init(vj_sample_room *room, const vj_sampler *sampler, bool makes_pixels);
void vj_sample_room_release(vj_sample_room *room);

/**
 * Load sample number `number`. Damaged clips are reported and replaced, or marked (loader.h); VJ_ERR_FORMAT
 * if no other can take its place. If the file system fails to read a clip, reading is retried, and fails after
 * data.io_patience_s. Thread-safe if each thread has its own `room`.
 */
vj_status vj_sample_load(const vj_sampler *sampler, vj_sample_room *room, int64_t number, vj_sample *sample);

#endif
