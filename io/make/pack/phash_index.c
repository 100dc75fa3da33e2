/*
 * For each instant, each quarter of its bits and each value of that quarter, there is a list of the hashes that have
 * this value, in scratch files. A list is a chain of chunks of one cache line each. Its items hold enough bits to
 * reject most hashes without reading them, because with millions of entries a lookup mostly waits for memory.
 */
#include "pack/phash_index.h"

#include <stdlib.h>

#include "pack/scratch.h"

enum { QUARTERS = 4, KEYS = 1 << 16, LISTS = VJ_PHASH_INSTANTS * QUARTERS, ITEMS = 7 };

/* Of 32 other bits of the instant, at most this many may differ, or the hashes are not compared. Nearly all copies
 * pass, and one in twenty of other pairs. */
enum { MAX_DIFFERENT = 11 };

typedef struct {
    vj_phash look;
    int64_t number;
    uint32_t asked; /* number of the last lookup in which it was compared */
} entry;

typedef struct {
    uint32_t next, count; /* next: number of the next chunk, 0: none */
    struct {
        uint32_t entry, others; /* others: bits of the next two quarters */
    } item[ITEMS];
} chunk;

struct vj_phash_index {
    vj_scratch entries, heads, chunks; /* heads: the newest chunk of each list, [LISTS, KEYS]; chunk 0 is not used */
    int64_t limit, count, used;        /* used: number of chunks in use */
    uint32_t question;
};

vj_status vj_phash_index_create(vj_phash_index **looks, int64_t limit, const char *scratch)
{
    vj_phash_index *l = *looks = vj_calloc(1, sizeof *l);
    if (!l) return vj_raise(VJ_ERR_MEMORY, "no memory to compare looks");
    VJ_ASSERT(limit <= (int64_t)(UINT32_MAX / LISTS));
    const int64_t items = limit * LISTS, lists = (int64_t)LISTS * KEYS; /* one chunk of each list may be partly empty */
    const int64_t chunks = items < items / ITEMS + lists ? items : items / ITEMS + lists;
    l->limit = limit;
    l->used = 1;
    VJ_TRY(vj_scratch_create(&l->entries, scratch, limit * (int64_t)sizeof(entry)));
    VJ_TRY(vj_scratch_create(&l->heads, scratch, lists * (int64_t)sizeof(uint32_t)));
    return vj_scratch_create(&l->chunks, scratch, (chunks + 1) * (int64_t)sizeof(chunk));
}

void vj_phash_index_destroy(vj_phash_index *l)
{
    if (!l) return;
    vj_scratch_release(&l->entries);
    vj_scratch_release(&l->heads);
    vj_scratch_release(&l->chunks);
    free(l);
}

/* Return every fourth bit, from bit `quarter` on: 16 frequencies, low and high ones. */
static uint32_t quarter_of(uint64_t bits, int quarter)
{
    bits = bits >> quarter & UINT64_C(0x1111111111111111);
    bits = (bits | bits >> 3) & UINT64_C(0x0303030303030303);
    bits = (bits | bits >> 6) & UINT64_C(0x000f000f000f000f);
    bits = (bits | bits >> 12) & UINT64_C(0x000000ff000000ff);
    return (uint32_t)(bits | bits >> 24) & 0xffff;
}

/* Get a look's key in a list, which stands for an instant and a quarter of its bits, and the other bits to compare.
 * Returns 0 if the look does not have this instant. */
static int keys_of(const vj_phash *look, int list, uint32_t *key, uint32_t *others)
{
    const int instant = list / QUARTERS, quarter = list % QUARTERS;
    const uint64_t bits = look->bits[instant];
    *key = quarter_of(bits, quarter);
    *others = quarter_of(bits, (quarter + 1) % QUARTERS) << 16 | quarter_of(bits, (quarter + 2) % QUARTERS);
    return look->valid >> instant & 1;
}

static uint32_t *head_of(const vj_phash_index *l, int list, uint32_t key)
{
    return (uint32_t *)l->heads.data + (int64_t)list * KEYS + key;
}

void vj_phash_index_add(vj_phash_index *l, int64_t number, const vj_phash *look)
{
    chunk *chunks = l->chunks.data;
    uint32_t key, others;
    if (look->valid == 0) return;
    VJ_ASSERT(l->count < l->limit);
    ((entry *)l->entries.data)[l->count] = (entry){.look = *look, .number = number};
    for (int list = 0; list < LISTS; list++) {
        if (!keys_of(look, list, &key, &others)) continue;
        uint32_t *head = head_of(l, list, key);
        if (*head == 0 || chunks[*head].count == ITEMS) {
            chunks[l->used] = (chunk){.next = *head};
            *head = (uint32_t)l->used++;
        }
        chunk *c = &chunks[*head];
        c->item[c->count].entry = (uint32_t)l->count;
        c->item[c->count++].others = others;
    }
    l->count++;
}

/* Compare with the looks of one list. *found, *doubtful: the entry first added of each kind, so far. */
static void search(vj_phash_index *l, const vj_phash *look, uint32_t head, uint32_t others, int64_t *found,
                   int64_t *doubtful)
{
    const chunk *chunks = l->chunks.data;
    entry *entries = l->entries.data;
    for (; head != 0; head = chunks[head].next)
        for (uint32_t i = 0; i < chunks[head].count; i++) {
            const uint32_t n = chunks[head].item[i].entry;
            if (__builtin_popcount(chunks[head].item[i].others ^ others) > MAX_DIFFERENT || n >= *found) continue;
            if (entries[n].asked == l->question) continue;
            entries[n].asked = l->question;
            const vj_likeness likeness = vj_phash_compare(&entries[n].look, look);
            if (likeness == VJ_PHASH_COPY) *found = n;
            if (likeness == VJ_PHASH_DOUBTFUL && n < *doubtful) *doubtful = n;
        }
}

int64_t vj_phash_index_find(vj_phash_index *l, const vj_phash *look, int64_t *doubtful)
{
    int64_t found = l->limit, perhaps = l->limit;
    const entry *entries = l->entries.data;
    uint32_t key, others;
    l->question++;
    for (int list = 0; list < LISTS; list++)
        if (keys_of(look, list, &key, &others)) search(l, look, *head_of(l, list, key), others, &found, &perhaps);
    *doubtful = found == l->limit && perhaps < l->limit ? entries[perhaps].number : -1;
    return found < l->limit ? entries[found].number : -1;
}
