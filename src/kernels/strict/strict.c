/*
 * The guard of backend "strict": device memory that the host cannot touch between kernels and that starts as NaN. A
 * program that reads a result without vj_download(), or counts on fresh memory being zero, works on "cpu", fails here,
 * and would fail on a GPU.
 */
#include <math.h>
#include <sys/mman.h>

#include "kernels/backend.h"

static void protect(const vj_block *block, int access)
{
    VJ_ASSERT(mprotect(block->memory, (size_t)block->bytes, access) == 0);
}

static void shut(const vj_block *block)
{
    protect(block, PROT_NONE);
}
static void open_block(const vj_block *block)
{
    protect(block, PROT_READ | PROT_WRITE);
}

static void fresh(const vj_block *block)
{
    float *x = block->memory;
    for (int64_t i = 0; i < block->bytes / (int64_t)sizeof *x; i++) x[i] = NAN;
    shut(block);
}

const vj_guard vj_strict_guard = {.fresh = fresh, .open = open_block, .shut = shut};
