/* One sample of the loader, from its number to its pixels. Private to this folder. */
#ifndef VJ_FEED_SAMPLE_H
#define VJ_FEED_SAMPLE_H

#include <stdatomic.h>

#include "clips/clips.h"
#include "feed/cache.h"
#include "feed/crop.h"
#include "feed/order.h"

/* Shared by threads. */
typedef struct {
    const vj_clips *clips; /* borrowed */
    vj_config config;
    vj_patience patience;
    vj_order *order; /* owned */
    vj_view view;
    vj_cache *cache;  /* NULL: none */
    atomic_bool stop; /* set when the loader is stopped: threads that wait for a file system give up */
} vj_sampler;

/* One thread's own. */
typedef struct {
    vj_coder *coder;
    uint8_t *frames; /* the largest clip; NULL: samples are frames */
} vj_sample_room;

/* Where a sample goes, and what it is. */
typedef struct {
    float *pixels;       /* f32 [3, T, crop, crop] to be written, or NULL: frames are wanted, */
    uint8_t *frames;     /* u8 [T, H, W, 3], at most the largest clip */
    vj_clip_view *view;  /* written: what of the frames is seen; `at` is left alone */
    int64_t *clip;       /* written: which it is */
    int64_t substituted; /* 1: it is a spare, taken for a clip that is damaged */
} vj_sample;

/** `order` is taken over; the cache is opened too. Release it. */
void vj_sampler_init(vj_sampler *sampler, const vj_clips *clips, const vj_config *config, vj_order *order,
                     vj_view view);
void vj_sampler_release(vj_sampler *sampler);

/** All that loading any sample takes. Release in any case. */
vj_status vj_sample_room_init(vj_sample_room *room, const vj_clips *clips, bool makes_pixels);
void vj_sample_room_release(vj_sample_room *room);

/**
 * Load a sample. Each damaged clip was reported. A clip that the file system does not give is waited for, and is a
 * failure when data.io_patience_s are over. Thread-safe with a room for each thread.
 */
vj_status vj_sample_load(const vj_sampler *sampler, vj_sample_room *room, int64_t number, vj_sample *sample);

#endif
