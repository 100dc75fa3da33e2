/* Whether a store is still what was packed. */
#include <stdlib.h>

#include "clips/store.h"

static vj_status verify_all(const vj_clips *clips, vj_coder *coder, int64_t *damaged)
{
    uint8_t *frames = vj_calloc(1, vj_clips_largest_bytes(clips));
    if (!frames) return vj_raise(VJ_ERR_MEMORY, "no memory for one clip");
    for (int64_t i = 0; i < vj_clips_count(clips); i++) *damaged += vj_clips_read(clips, i, coder, frames) != VJ_OK;
    free(frames);
    return VJ_OK;
}

vj_status vj_clips_verify(const char *path, int64_t *damaged)
{
    vj_strings paths = {.count = 1};
    vj_clips *clips;
    vj_coder *coder;
    *damaged = 0;
    if (snprintf(paths.item[0], VJ_PATH, "%s", path) >= VJ_PATH)
        return vj_raise(VJ_ERR_USAGE, "a store's path may have %d characters: %s", VJ_PATH - 1, path);
    VJ_TRY(vj_clips_open(&clips, &paths, MPI_COMM_SELF));
    vj_status status = vj_coder_create(&coder);
    if (status == VJ_OK) status = verify_all(clips, coder, damaged);
    vj_coder_destroy(coder);
    vj_clips_close(clips);
    return status;
}
