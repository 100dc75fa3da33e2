/*
 * make_store OUT.clips COUNT FRAMES HEIGHT WIDTH [FIRST [QUALITY [WINDOWS]]]: a small clip store without video files,
 * for tests of what comes after packing; with a QUALITY other than 0 its codec is jpeg. Each WINDOWS clips (1, 2, 4 ...
 * 32; default 1) are of one file. A square of the file's own colour moves over noise; label "colour" says which of 4,
 * "motion" which of 2.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "clips/write.h"
#include "parallel/parallel.h"

static void draw(uint8_t *frames, int T, int H, int W, int64_t file, int64_t window)
{
    vj_rng rng;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, (uint64_t)(window << 32 | file));
    for (int i = 0; i < T * H * W * 3; i++) frames[i] = (uint8_t)(96 + vj_rng_u32(&rng) % 32);
    const int side = H / 3, top = (int)vj_rng_below(&rng, H - side + 1), colour = (int)(file % 4);
    const int right = (int)(file / 4 % 2);
    for (int t = 0; t < T; t++) {
        const int shift = (W - side) * t / (T > 1 ? T - 1 : 1), left = right ? shift : W - side - shift;
        for (int y = top; y < top + side; y++)
            for (int x = left; x < left + side; x++)
                for (int c = 0; c < 3; c++)
                    frames[((t * H + y) * W + x) * 3 + c] = (uint8_t)(colour == c || colour == 3 ? 230 : 20);
    }
}

enum { SHARD_CLIPS = 32 };

typedef struct {
    const char *path;
    int64_t count, first, windows;
    int T, H, W;
    vj_clips_header layout;
} plan;

static vj_status add(const plan *p, vj_shard *shard, vj_coder *coder, uint8_t *frames, int64_t i)
{
    const int64_t source = i / p->windows, window = i % p->windows;
    const int32_t labels[2] = {(int32_t)((p->first + source) % 4), (int32_t)((p->first + source) / 4 % 2)};
    vj_clip clip = {.source = source, .window = (int)window, .height = p->H, .width = p->W, .labels = labels};
    double psnr;
    draw(frames, p->T, p->H, p->W, p->first + source, window);
    VJ_TRY(vj_record_encode(coder, &p->layout.codec, frames, p->T, p->H, p->W, &clip.record, &clip.bytes, &psnr));
    clip.psnr = (float)psnr;
    VJ_TRY(vj_shard_add_clip(shard, &clip));
    if (window + 1 < p->windows && i + 1 < p->count) return VJ_OK;
    const vj_clips_file file = {.source = source, .clips = window + 1, .row = "made"};
    return vj_shard_add_file(shard, &file);
}

static vj_status make_shard(const plan *p, int64_t number)
{
    vj_shard *shard;
    vj_coder *coder;
    uint8_t *frames = malloc((size_t)vj_frames_bytes(p->T, p->H, p->W));
    if (!frames) return vj_raise(VJ_ERR_MEMORY, "no memory for a clip");
    VJ_TRY(vj_coder_create(&coder));
    VJ_TRY(vj_shard_create(&shard, p->path, number, &p->layout));
    for (int64_t i = number * SHARD_CLIPS; i < (number + 1) * SHARD_CLIPS && i < p->count; i++)
        VJ_TRY(add(p, shard, coder, frames, i));
    vj_coder_destroy(coder);
    free(frames);
    return vj_shard_publish(&shard);
}

static vj_status make_index(const plan *p, int64_t shards)
{
    vj_clips_index_writer *writer;
    VJ_TRY(vj_clips_index_create(&writer, p->path, &p->layout, shards));
    for (int64_t k = 0; k < shards; k++) {
        vj_shard_tables tables;
        VJ_TRY(vj_shard_tables_read(&tables, p->path, k, &p->layout));
        VJ_TRY(vj_clips_index_append(writer, k, &tables, NULL));
        vj_shard_tables_release(&tables);
    }
    return vj_clips_index_publish(&writer);
}

/* Make the shards r, r + size, ... on rank r. The first failure ends the program. */
static vj_status make(const plan *p)
{
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    const int64_t shards = (p->count + SHARD_CLIPS - 1) / SHARD_CLIPS;
    VJ_TRY(vj_agree(MPI_COMM_WORLD, rank == 0 ? vj_clips_make_folder(p->path) : VJ_OK));
    for (int64_t k = rank; k < shards; k += size) VJ_TRY(make_shard(p, k));
    MPI_Barrier(MPI_COMM_WORLD);
    return rank == 0 ? make_index(p, shards) : VJ_OK;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    if (argc < 6) {
        fprintf(stderr, "make_store OUT.clips COUNT FRAMES HEIGHT WIDTH [FIRST [QUALITY [WINDOWS]]]\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    plan p = {
        .path = argv[1],
        .count = atoll(argv[2]),
        .first = argc > 6 ? atoll(argv[6]) : 0,
        .windows = argc > 8 ? atoll(argv[8]) : 1,
        .T = atoi(argv[3]),
        .H = atoi(argv[4]),
        .W = atoi(argv[5]),
        .layout = {
            .label_count = 2, .label_names = {"colour", "motion"}, .dataset_count = 1, .dataset_names = {"made"}}};
    p.layout.frames = p.T;
    if (argc > 7 && atoi(argv[7]) > 0) p.layout.codec = (vj_codec_settings){VJ_CODEC_JPEG, atoi(argv[7]), 420};
    if (make(&p) != VJ_OK) MPI_Abort(MPI_COMM_WORLD, 1);
    MPI_Finalize();
    return 0;
}
