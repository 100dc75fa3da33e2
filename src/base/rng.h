/*
 * Counter-based random numbers (Philox4x32-10, Salmon et al. 2011, from Random123): a draw is a function of
 * (seed, purpose, index, position), never of rank, thread or time (design invariant 1). And the Mersenne twister,
 * only because the published block-size draw is defined by it (docs/method.md, section 9.1 b).
 */
#ifndef VJ_BASE_RNG_H
#define VJ_BASE_RNG_H

#include <stdint.h>

/** What a stream is for; part of the key, so streams of different purpose never meet. Numbers are for ever. */
typedef enum {
    VJ_RNG_INIT = 1,    /* index: tensor number */
    VJ_RNG_SHUFFLE = 2, /* index: epoch */
    VJ_RNG_CROP = 3,    /* index: global sample */
    VJ_RNG_MASK = 4,    /* index: global sample * 64 + generator */
    VJ_RNG_WINDOW = 5,  /* index: source file of a store */
    VJ_RNG_PROBE = 6,   /* index: the probe's choice */
    VJ_RNG_DEMO = 7,    /* index: demonstration video */
    VJ_RNG_TEST = 8,
    VJ_RNG_MIXTURE = 9, /* index: first global sample of a stretch * 64 + how often it was halved */
    VJ_RNG_VERIFY = 10  /* index: global sample */
} vj_rng_purpose;

typedef struct {
    uint32_t key[2], counter[4], block[4];
    int used;     /* words of block already given out */
    double spare; /* second normal of a pair */
    int has_spare;
} vj_rng;

/** Start the stream (seed, purpose, index). Independent of every other stream. */
void vj_rng_init(vj_rng *rng, uint64_t seed, vj_rng_purpose purpose, uint64_t index);

/** 32 random bits. */
uint32_t vj_rng_u32(vj_rng *rng);

/** Uniform in [0, 1) with 53 bits. */
double vj_rng_uniform(vj_rng *rng);

/** Uniform integer in [0, n), n >= 1, without bias (rejection). */
int64_t vj_rng_below(vj_rng *rng, int64_t n);

/** Standard normal (Box-Muller in double). */
double vj_rng_normal(vj_rng *rng);

/**
 * Position `i` of the keyed permutation of [0, n) for (seed, epoch): a Feistel network with cycle walking, O(1) memory
 * (docs/design.md, section 5). Each i in [0, n) gives another value of [0, n).
 */
int64_t vj_permute(uint64_t seed, uint64_t epoch, int64_t n, int64_t i);

/** MT19937 (Matsumoto, Nishimura 1998). */
typedef struct {
    uint32_t state[624];
    int at;
} vj_twister;
void vj_twister_init(vj_twister *t, uint32_t seed);
uint32_t vj_twister_u32(vj_twister *t);
/** Low 24 bits of one output / 2^24: the published uniform. */
double vj_twister_unit(vj_twister *t);

#endif
