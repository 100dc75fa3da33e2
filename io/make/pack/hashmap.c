/* A hash table in a scratch file. */
#include "pack/hashmap.h"

#include <string.h>
#include <xxhash.h>

typedef struct {
    XXH128_hash_t digest;
    int64_t number; /* number of the text plus 1; 0: empty slot */
} slot;

static slot *find_slot(slot *slots, int64_t room, XXH128_hash_t digest)
{
    uint64_t at = digest.low64 & (uint64_t)(room - 1);
    while (slots[at].number != 0 && !XXH128_isEqual(slots[at].digest, digest)) at = (at + 1) & (uint64_t)(room - 1);
    return &slots[at];
}

/* Double the table, so that at most half of its slots are used. */
static vj_status grow(vj_hashmap *r)
{
    vj_scratch larger;
    int64_t room = r->room > 0 ? 2 * r->room : 4096;
    vj_status status = vj_scratch_create(&larger, r->folder, room * (int64_t)sizeof(slot));
    if (status != VJ_OK) {
        vj_scratch_release(&larger);
        return status;
    }
    const slot *old = r->slots.data;
    for (int64_t i = 0; i < r->room; i++)
        if (old[i].number != 0) *find_slot(larger.data, room, old[i].digest) = old[i];
    vj_scratch_release(&r->slots);
    r->slots = larger;
    r->room = room;
    return VJ_OK;
}

vj_status vj_hashmap_init(vj_hashmap *r, const char *folder)
{
    *r = (vj_hashmap){.folder = folder};
    return grow(r);
}

void vj_hashmap_release(vj_hashmap *r)
{
    vj_scratch_release(&r->slots);
    *r = (vj_hashmap){0};
}

vj_status vj_hashmap_put(vj_hashmap *r, const char *text, int64_t number, int64_t *first)
{
    if (2 * r->count >= r->room) VJ_TRY(grow(r));
    XXH128_hash_t digest = XXH3_128bits(text, strlen(text));
    slot *s = find_slot(r->slots.data, r->room, digest);
    if (s->number == 0) {
        *s = (slot){digest, number + 1};
        r->count++;
    }
    *first = s->number - 1;
    return VJ_OK;
}

int64_t vj_hashmap_find(const vj_hashmap *r, const char *text)
{
    return find_slot(r->slots.data, r->room, XXH3_128bits(text, strlen(text)))->number - 1;
}
