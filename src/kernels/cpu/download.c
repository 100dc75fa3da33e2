/*
 * Copies of data that are not read again soon. Plain stores first read the memory that they overwrite, and evict from
 * the caches data that the step needs; the stores here bypass the caches. If the last-level cache is large, memcpy()
 * does so only from some hundred MiB on; for pieces of 4 MiB it takes 1.4 times as long.
 */
#include "cpu.h"
#include "vector.h"

enum {
    PAGE = 1024, /* floats of a memory page, the range in which the processor prefetches */
    PAGES = 4,   /* read in turn, so that several streams are prefetched; 2 are slower, 8 no faster */
    UNIT = PAGES * PAGE
};

/* Copy UNIT floats; `to` is the start of a cache line. */
static void copy_unit(float *to, const float *from)
{
    for (int line = 0; line < PAGE; line += LINE)
        for (int at = line; at < UNIT; at += PAGE)
            for (int i = at; i < at + LINE; i += LANES) vstream_to(to, VJ_TYPE_F32, i, vload(from + i));
}

void VJ_CPU(download)(vj_backend *be, float *host, const float *device, int64_t n)
{
    const int64_t to_line = (LINE - (int64_t)((uintptr_t)host / sizeof *host % LINE)) % LINE;
    const int64_t head = to_line < n ? to_line : n, units = (n - head) / UNIT, tail = head + units * UNIT;
    memcpy(host, device, (size_t)head * sizeof *host);
#pragma omp parallel num_threads(be->threads) if (be->threads > 1)
    {
#pragma omp for schedule(static) nowait
        for (int64_t i = 0; i < units; i++) copy_unit(host + head + i * UNIT, device + head + i * UNIT);
        vstreamed();
    }
    memcpy(host + tail, device + tail, (size_t)(n - tail) * sizeof *host);
}
