/*
 * Counter-based random numbers (Philox4x32-10, Salmon et al. 2011, from Random123): a draw is a function of
 * (seed, purpose, index, position), never of rank, thread or time (design invariant 1). Also the Mersenne twister,
 * which is needed only because it defines the published draw of block sizes (docs/method.md, section 9.1 b).
 */
#ifndef VJ_BASE_RNG_H
#define VJ_BASE_RNG_H

#include <stdint.h>

/** Purpose of a stream. Part of the key, so streams of different purposes are independent. Never change a number: draws
 * of existing runs depend on it. */
typedef enum {
    VJ_RNG_INIT = 1,    /* index: tensor number */
    VJ_RNG_SHUFFLE = 2, /* index: epoch */
    VJ_RNG_CROP = 3,    /* index: global sample */
    VJ_RNG_MASK = 4,    /* index: global sample * 64 + generator */
    VJ_RNG_WINDOW = 5,  /* index: source file of a store */
    VJ_RNG_PROBE = 6,   /* index: tensor number of a probe */
    VJ_RNG_DEMO = 7,    /* index: demonstration video */
    VJ_RNG_TEST = 8,
    VJ_RNG_MIXTURE = 9,  /* index: first global sample of an interval * 64 + its level of bisection (feed/order.h) */
    VJ_RNG_VERIFY = 10,  /* index: global sample */
    VJ_RNG_AUGMENT = 11, /* index: key of an item (feed/eval_set.h) */
    VJ_RNG_ERASE = 12,   /* index: the same; the noise of an erased box */
    VJ_RNG_SEGMENT = 13, /* index: epoch * 2^32 + sample */
    VJ_RNG_RESAMPLE = 16 /* index: number of the resample of a bootstrap */
} vj_rng_purpose;

typedef struct {
    uint32_t key[2], counter[4], block[4];
    int used;     /* words of `block` already returned */
    double spare; /* second normal of a Box-Muller pair */
    int has_spare;
} vj_rng;

/** Start the stream (seed, purpose, index), which is independent of every other stream. */
void vj_rng_init(vj_rng *rng, uint64_t seed, vj_rng_purpose purpose, uint64_t index);

/** Return 32 random bits. */
uint32_t vj_rng_u32(vj_rng *rng);

/** Return a uniform number in [0, 1) with 53 bits. */
double vj_rng_uniform(vj_rng *rng);

/** Return a uniform integer in [0, n), n >= 1, without bias (rejection sampling). */
int64_t vj_rng_below(vj_rng *rng, int64_t n);

/** Return a standard normal number (Box-Muller in double). */
double vj_rng_normal(vj_rng *rng);

/** Go to the place in the stream where n >= 0 normal numbers, and nothing else, have been drawn since vj_rng_init(). */
void vj_rng_go_to_normal(vj_rng *rng, int64_t n);

/**
 * Return element `i` of the pseudo-random permutation of [0, n) keyed by (seed, epoch). A Feistel network with cycle
 * walking: O(1) memory (docs/design.md, section 5).
 */
int64_t vj_permute(uint64_t seed, uint64_t epoch, int64_t n, int64_t i);

/** MT19937 (Matsumoto, Nishimura 1998). */
typedef struct {
    uint32_t state[624];
    int at;
} vj_twister;
void vj_twister_init(vj_twister *t, uint32_t seed);
uint32_t vj_twister_u32(vj_twister *t);
/** Return the low 24 bits of one output / 2^24, the uniform number of the published draw. */
double vj_twister_unit(vj_twister *t);

#endif
