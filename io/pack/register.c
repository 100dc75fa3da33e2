/* Scratch files, and a hash table in one. */
#include "pack/register.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/config.h"

vj_status vj_scratch_create(vj_scratch *scratch, const char *folder, int64_t bytes)
{
    char path[VJ_PATH + 32];
    *scratch = (vj_scratch){.bytes = bytes > 0 ? bytes : 1};
    snprintf(path, sizeof path, "%s/scratch-XXXXXX", folder);
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) return vj_raise(VJ_ERR_IO, "create %s", path);
    vj_status status = unlink(path) == 0 ? VJ_OK : vj_raise(VJ_ERR_IO, "unlink %s", path);
    if (status == VJ_OK && (errno = posix_fallocate(fd, 0, scratch->bytes)) != 0)
        status = vj_raise(VJ_ERR_IO, "take %lld MB of scratch space in %s", (long long)(scratch->bytes / 1000000 + 1),
                          folder);
    if (status == VJ_OK) {
        void *data = mmap(NULL, (size_t)scratch->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
            status = vj_raise(VJ_ERR_IO, "map %lld bytes of %s", (long long)scratch->bytes, path);
        else
            scratch->data = data;
    }
    (void)close(fd); /* the mapping keeps it; nothing of it must last */
    return status;
}

void vj_scratch_release(vj_scratch *scratch)
{
    if (scratch->data) (void)munmap(scratch->data, (size_t)scratch->bytes);
    *scratch = (vj_scratch){0};
}

/* ------------------------------------------------------------------------------------------------ register */

typedef struct {
    XXH128_hash_t digest;
    int64_t number; /* of the text, plus 1; 0: empty */
} slot;

static slot *find_slot(slot *slots, int64_t room, XXH128_hash_t digest)
{
    uint64_t at = digest.low64 & (uint64_t)(room - 1);
    while (slots[at].number != 0 && !XXH128_isEqual(slots[at].digest, digest)) at = (at + 1) & (uint64_t)(room - 1);
    return &slots[at];
}

/* Twice the room, so that at most half of it is taken. */
static vj_status grow(vj_register *r)
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

vj_status vj_register_init(vj_register *r, const char *folder)
{
    *r = (vj_register){.folder = folder};
    return grow(r);
}

void vj_register_release(vj_register *r)
{
    vj_scratch_release(&r->slots);
    *r = (vj_register){0};
}

vj_status vj_register_enter(vj_register *r, const char *text, int64_t number, int64_t *first)
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

int64_t vj_register_find(const vj_register *r, const char *text)
{
    return find_slot(r->slots.data, r->room, XXH3_128bits(text, strlen(text)))->number - 1;
}
