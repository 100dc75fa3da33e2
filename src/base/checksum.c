/*
 * xxHash's plain function uses only the instructions it was compiled for; its x86 dispatcher, if built in, picks wider
 * ones at run time and takes half the time.
 */
#include "base/checksum.h"

#ifdef VJ_XXH_DISPATCH
#include <xxh_x86dispatch.h> /* defines XXH3_64bits anew */
#else
#include <xxhash.h>
#endif

uint64_t vj_checksum(const void *bytes, int64_t count)
{
    return XXH3_64bits(bytes, (size_t)count);
}
