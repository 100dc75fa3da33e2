/* The checksum of everything we store: XXH3, 64 bits, without a seed. */
#ifndef VJ_BASE_CHECKSUM_H
#define VJ_BASE_CHECKSUM_H

#include <stdint.h>

/** XXH3_64bits() of the bytes, with the widest instructions of the processor where the library offers to choose. */
uint64_t vj_checksum(const void *bytes, int64_t count);

#endif
