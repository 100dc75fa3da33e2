/*
 * dump_store STORE.clips: the frames of all clips in canonical order, u8 [T, H, W, 3] each, to standard output: what
 * another reader of the store must find.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#include "clips/clips.h"

static vj_status dump(const vj_clips *clips, vj_coder *coder, uint8_t *frames)
{
    for (int64_t i = 0; i < vj_clips_count(clips); i++) {
        int height, width;
        vj_clips_geometry(clips, i, &height, &width);
        VJ_TRY(vj_clips_read(clips, i, coder, frames));
        const size_t bytes = (size_t)vj_frames_bytes(vj_clips_frames(clips), height, width);
        if (fwrite(frames, 1, bytes, stdout) != bytes) return vj_raise(VJ_ERR_IO, "write clip %lld", (long long)i);
    }
    return fflush(stdout) == 0 ? VJ_OK : vj_raise(VJ_ERR_IO, "write the last clip");
}

static vj_status dump_store(const char *path)
{
    vj_strings paths;
    vj_clips *clips;
    vj_coder *coder;
    VJ_TRY(vj_strings_one(&paths, path));
    VJ_TRY(vj_clips_open(&clips, &paths, MPI_COMM_SELF));
    VJ_TRY(vj_coder_create(&coder));
    uint8_t *frames = malloc((size_t)vj_clips_largest_bytes(clips) + 1);
    vj_status status = frames ? dump(clips, coder, frames) : vj_raise(VJ_ERR_MEMORY, "no memory for a clip");
    free(frames);
    vj_coder_destroy(coder);
    vj_clips_close(clips);
    return status;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    vj_status status = argc == 2 ? dump_store(argv[1]) : vj_raise(VJ_ERR_USAGE, "dump_store STORE.clips");
    MPI_Finalize();
    return status == VJ_OK ? 0 : 1;
}
