/* Streams over Random123's Philox, the keyed permutation, and MT19937. */
#include "base/rng.h"

#include <Random123/philox.h>
#include <math.h>

#include "base/status.h"

void vj_rng_init(vj_rng *rng, uint64_t seed, vj_rng_purpose purpose, uint64_t index)
{
    *rng = (vj_rng){.key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
                    .counter = {0, (uint32_t)purpose, (uint32_t)index, (uint32_t)(index >> 32)},
                    .used = 4};
}

uint32_t vj_rng_u32(vj_rng *rng)
{
    if (rng->used == 4) {
        philox4x32_ctr_t c = {{rng->counter[0], rng->counter[1], rng->counter[2], rng->counter[3]}};
        philox4x32_key_t k = {{rng->key[0], rng->key[1]}};
        philox4x32_ctr_t r = philox4x32(c, k);
        for (int i = 0; i < 4; i++) rng->block[i] = r.v[i];
        rng->counter[0]++;
        rng->used = 0;
    }
    return rng->block[rng->used++];
}

double vj_rng_uniform(vj_rng *rng)
{
    uint64_t high = vj_rng_u32(rng) >> 5, low = vj_rng_u32(rng) >> 6;
    return ((double)high * 67108864.0 + (double)low) / 9007199254740992.0;
}

int64_t vj_rng_below(vj_rng *rng, int64_t n)
{
    VJ_ASSERT(n >= 1);
    uint64_t limit = UINT64_MAX - UINT64_MAX % (uint64_t)n, x;
    do {
        x = (uint64_t)vj_rng_u32(rng) << 32;
        x |= vj_rng_u32(rng);
    } while (x >= limit);
    return (int64_t)(x % (uint64_t)n);
}

double vj_rng_normal(vj_rng *rng)
{
    if (rng->has_spare) {
        rng->has_spare = 0;
        return rng->spare;
    }
    double radius = sqrt(-2.0 * log(1.0 - vj_rng_uniform(rng))), angle = 6.283185307179586 * vj_rng_uniform(rng);
    rng->spare = radius * sin(angle);
    rng->has_spare = 1;
    return radius * cos(angle);
}

/* The two numbers of a pair are made of the four words of one block. */
void vj_rng_go_to_normal(vj_rng *rng, int64_t n)
{
    VJ_ASSERT(n >= 0 && n / 2 <= UINT32_MAX);
    rng->counter[0] = (uint32_t)(n / 2);
    rng->used = 4;
    rng->has_spare = 0;
    if (n % 2) (void)vj_rng_normal(rng); /* the first of its pair */
}

/* One pass of a balanced Feistel network over 2 * half bits: a bijection of [0, 2^(2 half)). */
static uint64_t feistel(uint64_t seed, uint64_t epoch, int half, uint64_t x)
{
    uint64_t mask = (UINT64_C(1) << half) - 1, left = x >> half, right = x & mask;
    for (uint32_t round = 0; round < 6; round++) {
        philox4x32_ctr_t c = {{(uint32_t)right, (uint32_t)(right >> 32), (uint32_t)epoch,
                               (uint32_t)VJ_RNG_SHUFFLE << 24 | round << 16 | (uint32_t)(epoch >> 32 & 0xffff)}};
        philox4x32_key_t k = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
        philox4x32_ctr_t r = philox4x32(c, k);
        uint64_t mixed = ((uint64_t)r.v[1] << 32 | r.v[0]) & mask, next = left ^ mixed;
        left = right;
        right = next;
    }
    return left << half | right;
}

int64_t vj_permute(uint64_t seed, uint64_t epoch, int64_t n, int64_t i)
{
    VJ_ASSERT(n >= 1 && i >= 0 && i < n);
    int half = 1;
    while (half < 31 && (INT64_C(1) << (2 * half)) < n) half++;
    uint64_t x = (uint64_t)i;
    do x = feistel(seed, epoch, half, x);
    while (x >= (uint64_t)n);
    return (int64_t)x;
}

void vj_twister_init(vj_twister *t, uint32_t seed)
{
    t->state[0] = seed;
    for (uint32_t i = 1; i < 624; i++) t->state[i] = 1812433253u * (t->state[i - 1] ^ t->state[i - 1] >> 30) + i;
    t->at = 624;
}

uint32_t vj_twister_u32(vj_twister *t)
{
    if (t->at == 624) {
        for (int i = 0; i < 624; i++) {
            uint32_t y = (t->state[i] & 0x80000000u) | (t->state[(i + 1) % 624] & 0x7fffffffu);
            t->state[i] = t->state[(i + 397) % 624] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        t->at = 0;
    }
    uint32_t y = t->state[t->at++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

double vj_twister_unit(vj_twister *t)
{
    return (vj_twister_u32(t) & 0xffffffu) / 16777216.0;
}
