/*
 * Copies that nobody reads soon. Plain stores first read the memory that they overwrite, and push out of the caches
 * what the step needs; these go past them. Measured for a checkpoint's copy, on two cores at a time: see RESULTS.md.
 */
#include <stdint.h>
#include <string.h>
#ifdef VJ_X86
#include <emmintrin.h>
#endif

#include "kernels/backend.h"

enum {
    LINE = 64,   /* bytes */
    PAGE = 4096, /* what the processor reads ahead in */
    PAGES = 4,   /* in turns: as many streams are read ahead at a time */
    UNIT = PAGES * PAGE
};

#ifdef VJ_X86
static void copy_line(char *to, const char *from)
{
    __m128i part[LINE / 16];
    for (int i = 0; i < LINE / 16; i++) part[i] = _mm_loadu_si128((const __m128i *)(const void *)(from + 16 * i));
    for (int i = 0; i < LINE / 16; i++) _mm_stream_si128((__m128i *)(void *)(to + 16 * i), part[i]);
}

static void fence(void)
{
    _mm_sfence();
}
#else
static void copy_line(char *to, const char *from)
{
    memcpy(to, from, LINE);
}

static void fence(void) {}
#endif

static void copy_unit(char *to, const char *from)
{
    for (int at = 0; at < PAGE; at += LINE)
        for (int page = 0; page < PAGES; page++) copy_line(to + page * PAGE + at, from + page * PAGE + at);
}

void vj_stream_copy(void *to, const void *from, int64_t bytes, int threads)
{
    int64_t head = (LINE - (int64_t)((uintptr_t)to % LINE)) % LINE;
    if (head > bytes) head = bytes;
    const int64_t units = (bytes - head) / UNIT, tail = head + units * UNIT;
    char *out = to;
    const char *in = from;
    memcpy(out, in, (size_t)head);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp for schedule(static) nowait
        for (int64_t i = 0; i < units; i++) copy_unit(out + head + i * UNIT, in + head + i * UNIT);
        fence(); /* such stores are not in order with others */
    }
    memcpy(out + tail, in + tail, (size_t)(bytes - tail));
}
