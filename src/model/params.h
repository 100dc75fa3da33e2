/*
 * The parameter table: one row per tensor drives allocation, initialisation, weight decay, checkpoint names and
 * reports. Weights, gradients and moments are flat vectors with the same offsets, the encoder's tensors first, so one
 * AdamW kernel covers them and a reduction walks them in pieces.
 */
#ifndef VJ_MODEL_PARAMS_H
#define VJ_MODEL_PARAMS_H

#include "base/config.h"
#include "kernels/kernels.h"

typedef enum { VJ_ENCODER, VJ_PREDICTOR } vj_network_part;

/* How a tensor starts (spec section 5). */
typedef enum {
    VJ_START_WEIGHT,   /* linear or convolution weight */
    VJ_START_RESIDUAL, /* attn.proj or mlp.fc2: `layer` (1-based) enters the fan-in rule */
    VJ_START_ZERO,     /* biases */
    VJ_START_ONE,      /* norm gains */
    VJ_START_MASK_TOKEN
} vj_start;

typedef struct {
    char name[96]; /* the published name, without network prefix: "blocks.0.attn.qkv.weight" */
    vj_network_part part;
    vj_start start;
    int layer;
    int decay; /* weight decay applies: not for biases and one-dimensional tensors (spec section 7) */
    int ndim;
    int64_t dim[5];
    int64_t offset, count; /* in the flat vector; 64-byte aligned but for mask tokens; gaps stay zero */
} vj_param;

typedef struct {
    vj_param *item; /* owned */
    int count, capacity;
    int64_t total;         /* length of the flat vector, gaps included */
    int64_t encoder_total; /* the encoder's share: [0, encoder_total) */
    int64_t elements;      /* without gaps: what papers count */
} vj_params;

/**
 * Record a tensor; returns its offset. `decay` follows from the dimensions and the name. Encoder tensors must all come
 * before the first predictor tensor. Aborts when out of memory (a few kilobytes at start).
 */
int64_t vj_params_add(vj_params *ps, vj_network_part part, vj_start start, int layer, int ndim, const int64_t *dim,
                      const char *format, ...) __attribute__((format(printf, 7, 8)));
void vj_params_release(vj_params *ps);

/** Row by network part and name; NULL when there is none. */
const vj_param *vj_params_find(const vj_params *ps, vj_network_part part, const char *name);

/**
 * Draw the starting values of all rows of `ps` into the flat device vector `weights` (spec section 5): published N(0,
 * 0.02) for every weight, or fan-in N(0, 1/fan_in) with residual outputs of block l divided by sqrt(2 l) (learnability
 * of small widths). Normals are cut at 5.3 sigma. A function of (seed, tensor number): equal on all ranks. Not
 * collective.
 */
void vj_params_start(const vj_params *ps, vj_backend *be, float *weights, vj_init init, int zero_mask_tokens,
                     int64_t seed);

#endif
