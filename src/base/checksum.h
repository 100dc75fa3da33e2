/* The checksum of everything we store: XXH3, 64 bits, without a seed. */
#ifndef VJ_BASE_CHECKSUM_H
#define VJ_BASE_CHECKSUM_H

#include <stdint.h>

/** Return XXH3_64bits() of `count` bytes. Uses the widest vector instructions of the CPU if xxHash's dispatcher is
 * built in. */
uint64_t vj_checksum(const void *bytes, int64_t count);

#endif
