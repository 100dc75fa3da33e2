/*
 * What a frozen encoder is shown of a clip when probes are trained and tested on it (docs/method.md, section 12.4):
 * training views are random functions of a key, test views are crops at fixed places. The loader makes them (loader.h);
 * random operations are drawn and applied in augment.h.
 */
#ifndef VJ_FEED_EVAL_VIEWS_H
#define VJ_FEED_EVAL_VIEWS_H

#include <stdbool.h>

#include "base/config.h"

struct vj_clips;

/* One thing to show: a clip, and how. */
typedef struct {
    int64_t clip;
    uint64_t key; /* training: its random draws are a function of (run.seed, key) only; vj_eval_key() makes keys */
    int32_t view; /* test: number of the crop, from 0 */
} vj_eval_item;

/* How all items are shown: the section `evaluate`, with `auto` replaced by what it means for these clips. */
typedef struct {
    bool training;        /* random views; else crops at fixed places */
    bool image;           /* the store has one frame a clip, which is repeated */
    int augment;          /* vj_auto_augment, never VJ_AUGMENT_AUTO */
    double flip, erasing; /* probabilities; 0 in testing */
    int views;            /* of an item's clip: 1 in training, evaluate.views in testing */
    int stored, frames;   /* frames of a stored clip, and of a view */
    int side;             /* of a view, pixels: data.crop */
    int short_side;       /* of a test clip before its one crop, pixels */
    double mean[3], std[3];
    uint64_t seed; /* run.seed */
} vj_eval_views;

/** Settle how clips are shown. VJ_ERR_USAGE if data.frames is not the number of frames shown: that of the store, or
 * evaluate.image_frames if it has one. Not collective. */
vj_status vj_eval_views_init(vj_eval_views *views, const vj_config *config, const struct vj_clips *clips,
                             bool training);

/* Buffers of one thread that makes views. */
typedef struct {
    uint8_t *clip;       /* a clip after its operations: as many bytes as the largest clip; NULL: there are none */
    uint8_t *picture[2]; /* of the size of a view, or of the largest frame if clip is set */
    void *scratch;
} vj_eval_room;

/** Allocate all buffers for views of any of these clips. Release with vj_eval_room_release(), also after a failure. */
vj_status vj_eval_room_init(vj_eval_room *room, const vj_eval_views *views, const struct vj_clips *clips);
void vj_eval_room_release(vj_eval_room *room);
/** Return what vj_eval_room_init() allocates, in bytes. */
int64_t vj_eval_room_bytes(const vj_eval_views *views, const struct vj_clips *clips);

/** Make one view: pixels [3, views->frames, side, side], normalised, of frames u8 [views->stored, height, width, 3].
 * The item's clip is not looked at. Thread-safe if each thread has its own room. */
void vj_eval_show(const vj_eval_views *views, vj_eval_room *room, const vj_eval_item *item, const uint8_t *frames,
                  int height, int width, float *pixels);

/** Return the byte that a normalised value of channel c was made of; what lies outside, such as noise, is cut. */
uint8_t vj_eval_views_byte(const vj_eval_views *views, int c, double value);

/** Describe the views in one line: "16 frames of 224 x 224, randaugment, crop, erasing 0.25". */
void vj_eval_views_describe(const vj_eval_views *views, char *text, size_t bytes);

/** Return the key of the draws of one segment: different for different (epoch, segment, clip); epoch < 2^20, segment <
 * 2^12, clip < 2^32. */
uint64_t vj_eval_key(int64_t epoch, int segment, int64_t clip);

#endif
