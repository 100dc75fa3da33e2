/*
 * make_store OUT.clips COUNT FRAMES HEIGHT WIDTH [FIRST]: a small clip store without video files, for tests of what
 * comes after packing. A square of the clip's own colour moves over noise; label "colour" says which of 4, "motion"
 * which of 2.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "clips/clips.h"
#include "parallel/parallel.h"

static void draw(uint8_t *frames, int T, int H, int W, int64_t clip)
{
    vj_rng rng;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, (uint64_t)clip);
    for (int i = 0; i < T * H * W * 3; i++) frames[i] = (uint8_t)(96 + vj_rng_u32(&rng) % 32);
    const int side = H / 3, top = (int)vj_rng_below(&rng, H - side + 1), colour = (int)(clip % 4);
    const int right = (int)(clip / 4 % 2);
    for (int t = 0; t < T; t++) {
        const int shift = (W - side) * t / (T > 1 ? T - 1 : 1), left = right ? shift : W - side - shift;
        for (int y = top; y < top + side; y++)
            for (int x = left; x < left + side; x++)
                for (int c = 0; c < 3; c++)
                    frames[((t * H + y) * W + x) * 3 + c] = (uint8_t)(colour == c || colour == 3 ? 230 : 20);
    }
}

static vj_status make(const char *path, int64_t count, int T, int H, int W, int64_t first)
{
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    vj_clips_layout layout = {.path = path, .frames = T, .label_count = 2, .shard_bytes = 1 << 20, .config_text = ""};
    snprintf(layout.label_names[0], VJ_LABEL_NAME, "colour");
    snprintf(layout.label_names[1], VJ_LABEL_NAME, "motion");
    vj_clips_writer *writer = NULL;
    VJ_TRY(vj_clips_writer_open(&writer, &layout, MPI_COMM_WORLD));
    uint8_t *frames = malloc((size_t)T * (size_t)H * (size_t)W * 3);
    const char **paths = calloc((size_t)count, sizeof *paths);
    if (!frames || !paths) return vj_raise(VJ_ERR_MEMORY, "no memory for a clip");
    int64_t begin, end;
    vj_split(count, size, rank, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const int32_t labels[2] = {(int32_t)((first + i) % 4), (int32_t)((first + i) / 4 % 2)};
        draw(frames, T, H, W, first + i);
        const vj_clip clip = {.source = i, .height = H, .width = W, .labels = labels, .frames = frames};
        VJ_TRY(vj_clips_writer_add(writer, &clip));
    }
    for (int64_t i = 0; i < count; i++) paths[i] = "made";
    VJ_TRY(vj_clips_writer_commit(writer, paths, count));
    vj_clips_writer_close(writer);
    free(frames);
    free(paths);
    return VJ_OK;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    if (argc < 6) {
        fprintf(stderr, "make_store OUT.clips COUNT FRAMES HEIGHT WIDTH [FIRST]\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    vj_status status =
        make(argv[1], atoll(argv[2]), atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), argc > 6 ? atoll(argv[6]) : 0);
    if (status != VJ_OK) MPI_Abort(MPI_COMM_WORLD, 1);
    MPI_Finalize();
    return 0;
}
