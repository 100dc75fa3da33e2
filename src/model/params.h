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

/* How a tensor is initialised (docs/method.md, section 5). */
typedef enum {
    VJ_START_WEIGHT,   /* linear or convolution weight */
    VJ_START_RESIDUAL, /* attn.proj or mlp.fc2: `layer` (1-based) enters the fan-in rule */
    VJ_START_ZERO,     /* biases */
    VJ_START_ONE,      /* norm gains */
    VJ_START_MASK_TOKEN
} vj_start;

/* How a tensor is divided over the ranks of a tensor group; its first dimension are rows, all others columns. */
typedef enum {
    VJ_SHARE_WHOLE,  /* all ranks hold all of it */
    VJ_SHARE_ROWS,   /* rank r holds the r-th share of the rows */
    VJ_SHARE_THIRDS, /* rank r holds the r-th share of each third of the rows: q | k | v by heads */
    VJ_SHARE_COLUMNS /* rank r holds the r-th share of each row */
} vj_share;

typedef struct {
    char name[96]; /* the published name, without network prefix: "blocks.0.attn.qkv.weight" */
    vj_network_part part;
    vj_start start;
    int layer;
    double lr_scale; /* multiplies the scheduled learning rate: 1, unless the table's owner sets something else */
    double decay;    /* multiplies the scheduled weight decay: 0 for biases and one-dimensional tensors, else 1
                        (docs/method.md, section 7) */
    int by_rows;     /* the gradient is a partial sum over this rank's rows; it must be summed over the tensor group
                        (stack.h) */
    int ndim;
    int64_t dim[5]; /* of the whole tensor */
    int64_t whole;  /* its elements */
    /*
     * This rank's share: of the whole tensor, seen as [runs, shares, run], it holds [runs, run] at `share`, in this
     * order. Not divided: one run, share 0 of 1.
     */
    int share, shares;
    int64_t runs;
    int64_t offset, count; /* of the share, in the flat vector; 64-byte aligned but for mask tokens; gaps stay zero */
} vj_param;

typedef struct {
    vj_param *item; /* owned */
    int count, capacity;
    int share, shares;     /* this rank's share number and the number of shares of divided tensors; 0 of 0 = 0 of 1 */
    int64_t total;         /* length of the flat vector, gaps included */
    int64_t encoder_total; /* the encoder's share: [0, encoder_total) */
    int64_t elements;      /* of all whole tensors, without gaps: the parameter count that papers give */
} vj_params;

/**
 * Record a tensor of dimensions `dim`, or this rank's share of it; returns its offset. A divided dimension must be a
 * multiple of ps->shares. `decay` follows from the dimensions and the name. Encoder tensors must all come before the
 * first predictor tensor. Aborts when out of memory (a few kilobytes at start).
 */
int64_t vj_params_add(vj_params *ps, vj_network_part part, vj_start start, int layer, vj_share share, int ndim,
                      const int64_t *dim, const char *format, ...) __attribute__((format(printf, 8, 9)));
void vj_params_release(vj_params *ps);

/*
 * A flat vector of weights on the device. If products read weights as bf16, there are copies in bf16, so that weights
 * need not be rounded in each product: `rounded` of all weights, or `block`, to which a pass through a stack rounds the
 * weights of each block before the block's products. Products with weights outside of blocks then round them. All is
 * borrowed.
 */
typedef struct {
    const float *exact;
    const uint16_t *rounded; /* copy of the elements from `first` on; NULL: none */
    uint16_t *block;         /* memory for the copy of one block; NULL: none */
    int64_t first;
} vj_weights;

/** Return whether the tensor is a matrix that kernels use as an operand of products, through vj_weight_matrix(). All
 * other tensors are read as floats. */
bool vj_param_is_operand(const vj_param *p);

/** Return the matrix at flat offset `offset` as an operand of products: the bf16 copy if there is one. */
static inline vj_array vj_weight_matrix(vj_weights weights, int64_t offset)
{
    if (!weights.rounded) return vj_f32(weights.exact + offset);
    return (vj_array){(void *)(uintptr_t)(weights.rounded + (offset - weights.first)), VJ_TYPE_BF16};
}

/** Return whether products read bf16 copies of the weights: in VJ_BF16, on a device that is not the host. */
bool vj_weights_are_rounded(bool host, vj_precision precision);

/** Allocate memory for a bf16 copy of `n` weights if vj_weights_are_rounded(), else set *rounded to NULL. Free with
 * vj_device_free(). */
vj_status vj_weights_rounded_alloc(vj_backend *be, int64_t n, uint16_t **rounded);

/**
 * Count the elements of share number `share` that lie before element `at` of the whole tensor. Elements [first, last)
 * of the whole tensor that are in the share are its elements [before(first), before(last)).
 */
int64_t vj_param_before(const vj_param *p, int share, int64_t at);

/**
 * Copy between `whole`, which has elements [first, last) of the whole tensor, and `held`, which has those of them that
 * are in share number `share`, packed. Cut copies from whole to held (in place if held == whole), paste from held to
 * whole. Host memory.
 */
void vj_param_cut(const vj_param *p, int share, int64_t first, int64_t last, const float *whole, float *held);
void vj_param_paste(const vj_param *p, int share, int64_t first, int64_t last, float *whole, const float *held);

/**
 * Find the first range inside [at, end) that this rank must include in a sum over the whole model: its own shards of
 * divided tensors always, replicated tensors only on tensor rank 0. Sets [*first, *last); false when there is none.
 */
bool vj_params_counted(const vj_params *ps, int64_t at, int64_t end, int64_t *first, int64_t *last);

/**
 * Draw the starting values of all rows of `ps` into the flat device vector `weights` (docs/method.md, section 5):
 * published N(0, 0.02) for every weight, or fan-in N(0, 1/fan_in) with residual outputs of block l divided by sqrt(2 l)
 * (learnability of small widths). Normals are cut at 5.3 sigma. A function of (seed, tensor number): whole tensors are
 * drawn and cut, so every layout starts alike. Not collective.
 */
void vj_params_init_weights(const vj_params *ps, vj_backend *be, float *weights, vj_init init, int zero_mask_tokens,
                            int64_t seed);

#endif
