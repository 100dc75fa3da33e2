/*
 * Philox4x32 with ten rounds (Salmon et al. 2011), with the names that base/rng.c uses, for machines without the
 * Random123 library: the same numbers.
 */
#ifndef VJ_TESTS_GPU_PHILOX_H
#define VJ_TESTS_GPU_PHILOX_H

#include <stdint.h>

typedef struct {
    uint32_t v[4];
} philox4x32_ctr_t;
typedef struct {
    uint32_t v[2];
} philox4x32_key_t;

static inline philox4x32_ctr_t philox4x32(philox4x32_ctr_t c, philox4x32_key_t k)
{
    for (int round = 0; round < 10; round++) {
        const uint64_t a = UINT64_C(0xD2511F53) * c.v[0], b = UINT64_C(0xCD9E8D57) * c.v[2];
        c = (philox4x32_ctr_t){
            {(uint32_t)(b >> 32) ^ c.v[1] ^ k.v[0], (uint32_t)b, (uint32_t)(a >> 32) ^ c.v[3] ^ k.v[1], (uint32_t)a}};
        k.v[0] += 0x9E3779B9;
        k.v[1] += 0xBB67AE85;
    }
    return c;
}

#endif
