/* A hash table of parts of looks, in scratch files. */
#include "pack/looks.h"

#include <stdlib.h>

#include "pack/scratch.h"

/* A part is every fourth bit of an instant: 16 frequencies, low and high. */
enum { PARTS = 4, NODES = VJ_LOOK_INSTANTS * PARTS };
static const uint64_t every_fourth = UINT64_C(0x1111111111111111);

typedef struct {
    vj_look look;
    int64_t number;
    uint32_t asked; /* the last question for which it was compared */
} entry;

struct vj_looks {
    vj_scratch entries, heads, nexts; /* heads, nexts: node + 1, entry * NODES + part; 0: none */
    int64_t most, count, room;        /* room: heads, a power of 2 */
    uint32_t question;
};

vj_status vj_looks_create(vj_looks **looks, int64_t most, const char *scratch)
{
    vj_looks *l = *looks = vj_calloc(1, sizeof *l);
    if (!l) return vj_raise(VJ_ERR_MEMORY, "no memory to compare looks");
    l->most = most;
    VJ_ASSERT(most <= (int64_t)(UINT32_MAX / NODES));
    for (l->room = 64; l->room < most * NODES / 2;) l->room *= 2;
    VJ_TRY(vj_scratch_create(&l->entries, scratch, most * (int64_t)sizeof(entry)));
    VJ_TRY(vj_scratch_create(&l->heads, scratch, l->room * (int64_t)sizeof(uint32_t)));
    return vj_scratch_create(&l->nexts, scratch, most * NODES * (int64_t)sizeof(uint32_t));
}

void vj_looks_destroy(vj_looks *l)
{
    if (!l) return;
    vj_scratch_release(&l->entries);
    vj_scratch_release(&l->heads);
    vj_scratch_release(&l->nexts);
    free(l);
}

static int has_instant(const vj_look *look, int node)
{
    return look->valid >> node / PARTS & 1;
}

static uint64_t part_of(const vj_look *look, int node)
{
    return look->bits[node / PARTS] & every_fourth << node % PARTS;
}

static uint32_t *head_of(const vj_looks *l, const vj_look *look, int node)
{
    uint64_t h = part_of(look, node) + (uint64_t)node * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ h >> 31) * UINT64_C(0xd6e8feb86659fd93);
    h ^= h >> 32;
    return (uint32_t *)l->heads.data + (h & (uint64_t)(l->room - 1));
}

void vj_looks_enter(vj_looks *l, int64_t number, const vj_look *look)
{
    uint32_t *nexts = l->nexts.data;
    if (look->valid == 0) return;
    VJ_ASSERT(l->count < l->most);
    ((entry *)l->entries.data)[l->count] = (entry){.look = *look, .number = number};
    for (int node = 0; node < NODES; node++) {
        if (!has_instant(look, node)) continue;
        uint32_t *head = head_of(l, look, node), at = (uint32_t)(l->count * NODES + node);
        nexts[at] = *head;
        *head = at + 1;
    }
    l->count++;
}

int64_t vj_looks_find(vj_looks *l, const vj_look *look)
{
    const uint32_t *nexts = l->nexts.data;
    entry *entries = l->entries.data;
    int64_t found = l->most;
    l->question++;
    for (int node = 0; node < NODES; node++) {
        if (!has_instant(look, node)) continue;
        for (uint32_t at = *head_of(l, look, node); at != 0; at = nexts[at - 1]) {
            int64_t n = (at - 1) / NODES;
            if ((int)((at - 1) % NODES) != node || n >= found || entries[n].asked == l->question) continue;
            if (part_of(&entries[n].look, node) != part_of(look, node)) continue;
            entries[n].asked = l->question;
            if (vj_look_same(&entries[n].look, look)) found = n;
        }
    }
    return found < l->most ? entries[found].number : -1;
}
