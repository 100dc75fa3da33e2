/*
 * The attention weights of attentive probes in some samples: attention.h5 (docs/formats.md), written by vjepa-evaluate
 * and drawn by vjepa-report. Not collective: one rank writes.
 */
#ifndef VJ_PROBE_ATTENTION_FILE_H
#define VJ_PROBE_ATTENTION_FILE_H

#include "probe/predictions.h"

/** The value of the attribute "format". */
#define VJ_ATTENTION_FORMAT "vjepa-attention"

/* The attention of one probe. */
typedef struct {
    char name[VJ_HEAD_NAME]; /* of the probe, as in predictions.h5 */
    int64_t heads;
    float *weight; /* [samples, heads, segments, t, y, x] owned; the weights of a head in a sample add up to 1, less
                      those of tokens that belong to no cell of the grid */
} vj_attention_map;

typedef struct {
    int64_t samples, segments; /* segments: clips of a sample */
    int64_t side;              /* pixels of a frame */
    int64_t t, y, x;           /* cells of a segment's tokens */
    int64_t *clip;             /* [samples] number of the first clip of each in its store; owned */
    uint8_t *frames; /* [samples, segments, t, side, side, 3] as the encoder saw them, the first frame of each cell in
                        time; owned */
    vj_attention_map *map; /* [count] owned */
    int64_t count;
} vj_attention;

/** Return the number of weights of one head in one sample: segments * t * y * x. */
int64_t vj_attention_cells(const vj_attention *attention);

/** Allocate frames, clips and `count` maps, whose weights the caller allocates; the sizes must be set before.
 * VJ_ERR_MEMORY. */
vj_status vj_attention_allocate(vj_attention *attention, int64_t count);
void vj_attention_release(vj_attention *attention);

/** Return VJ_OK if PATH does not exist or is a file of attention, else VJ_ERR_USAGE. */
vj_status vj_attention_may_replace(const char *path);
/** Write a file, first under a temporary name. */
vj_status vj_attention_write(const vj_attention *attention, const char *path);
/** Read a file. VJ_ERR_FORMAT for impossible contents, and for weights that are not numbers from 0 to 1. Release also
 * after a failure. */
vj_status vj_attention_read(vj_attention *attention, const char *path);

#endif
