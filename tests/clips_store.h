/*
 * Small clip stores for tests. Every pixel, label and place is a function of the clip's number, so results of a reader
 * can be checked without a copy of the data.
 */
#ifndef VJ_TEST_CLIPS_STORE_H
#define VJ_TEST_CLIPS_STORE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "clips/write.h"
#include "folder.h"
#include "parallel/parallel.h"

enum { STORE_FRAMES = 4, STORE_LABELS = 2, STORE_WINDOWS = 2, STORE_LARGEST = STORE_FRAMES * 24 * 32 * 3 };
enum { STORE_SHARD_SOURCES = 3, STORE_SHARD_CLIPS = STORE_SHARD_SOURCES * STORE_WINDOWS };
enum { STORE_PACKED, STORE_REFUSED, STORE_VERDICTS };

/* Make the path FOLDER/NAME. */
static inline void join(char path[VJ_PATH], const char *folder, const char *name)
{
    VJ_ASSERT(snprintf(path, VJ_PATH, "%s/%s", folder, name) < VJ_PATH);
}

static inline vj_strings one_path(const char *path)
{
    vj_strings paths;
    VJ_ASSERT(vj_strings_one(&paths, path) == VJ_OK);
    return paths;
}

/* Set while a store is made: whether the second label depends on the source file; otherwise it depends on the clip. */
static bool store_labels_of_files;

/*
 * Make clip `i` of a store in canonical order. Every third source is wider than high, the others are higher than wide,
 * so there are two geometries. Sources belong to two data sets in turn. The record is raw.
 */
static inline void store_clip(int64_t i, vj_clip *clip, int32_t labels[STORE_LABELS], uint8_t frames[STORE_LARGEST])
{
    int64_t source = i / STORE_WINDOWS;
    int lies = source % 3 == 0;
    *clip = (vj_clip){.source = source,
                      .window = (int32_t)(i % STORE_WINDOWS),
                      .dataset = (int32_t)(source % 2),
                      .pts_s = 0.25 * (double)i,
                      .height = lies ? 24 : 32,
                      .width = lies ? 32 : 24,
                      .labels = labels,
                      .record = frames,
                      .bytes = vj_frames_bytes(STORE_FRAMES, 24, 32),
                      .psnr = INFINITY};
    labels[0] = (int32_t)(source % 5);
    labels[1] = source % 7 == 0 ? -1 : (int32_t)(store_labels_of_files ? source % 2 : i % 2);
    vj_rng rng;
    vj_rng_init(&rng, 11, VJ_RNG_TEST, (uint64_t)i);
    for (int64_t b = 0; b < (int64_t)STORE_FRAMES * clip->height * clip->width * 3; b++)
        frames[b] = (uint8_t)vj_rng_u32(&rng);
}

static inline vj_clips_header store_layout(vj_codec_settings codec)
{
    return (vj_clips_header){.frames = STORE_FRAMES,
                             .label_count = STORE_LABELS,
                             .label_names = {"appearance", "motion"},
                             .dataset_count = 2,
                             .dataset_names = {"even", "odd"},
                             .codec = codec,
                             .config_text = "pack: {frames: 4}\n"};
}

/* Return the number of shards of a store of `clips` clips. */
static inline int64_t store_shards(int64_t clips)
{
    return (clips + STORE_SHARD_CLIPS - 1) / STORE_SHARD_CLIPS;
}

/* Add the clips of one source, from clip `i` on, to a shard of a store of `clips` clips. */
static inline vj_status add_source(vj_shard *shard, vj_coder *coder, vj_codec_settings codec, int64_t i, int64_t clips)
{
    static uint8_t frames[STORE_LARGEST];
    int32_t labels[STORE_LABELS];
    char row[64];
    vj_clip clip;
    vj_clips_file file = {.verdict = STORE_PACKED, .look = {(uint64_t)i, 7}, .look_valid = 3, .row = row};
    for (; i < clips && file.clips < STORE_WINDOWS; i++, file.clips++) {
        double psnr;
        store_clip(i, &clip, labels, frames);
        VJ_TRY(vj_record_encode(coder, &codec, frames, STORE_FRAMES, clip.height, clip.width, &clip.record, &clip.bytes,
                                &psnr));
        clip.psnr = (float)psnr;
        VJ_TRY(vj_shard_add_clip(shard, &clip));
        file.source = clip.source;
        file.dataset = clip.dataset;
    }
    snprintf(row, sizeof row, "%lld,videos/%lld.mp4,ok", (long long)file.source, (long long)file.source);
    return vj_shard_add_file(shard, &file);
}

/* Write shard k, which also records one file without clips. */
static inline vj_status make_shard(const char *path, int64_t k, int64_t clips, vj_codec_settings codec)
{
    vj_clips_header layout = store_layout(codec);
    vj_shard *shard;
    vj_coder *coder;
    VJ_TRY(vj_coder_create(&coder));
    vj_status status = vj_shard_create(&shard, path, k, &layout);
    for (int64_t i = k * STORE_SHARD_CLIPS; i < (k + 1) * STORE_SHARD_CLIPS && i < clips && status == VJ_OK;
         i += STORE_WINDOWS)
        status = add_source(shard, coder, codec, i, clips);
    const vj_clips_file refused = {.source = 1000 + k, .verdict = STORE_REFUSED, .row = "no clip"};
    if (status == VJ_OK) status = vj_shard_add_file(shard, &refused);
    vj_coder_destroy(coder);
    if (status == VJ_OK) return vj_shard_publish(&shard);
    vj_shard_abandon(shard);
    return status;
}

static inline vj_status append_shards(vj_clips_index_writer *writer, const char *path, const vj_clips_header *layout,
                                      int64_t shards)
{
    static const char *const verdicts[STORE_VERDICTS] = {"packed", "refused"};
    int64_t files[2 * STORE_VERDICTS] = {0}, clips[2 * STORE_VERDICTS] = {0};
    vj_status status = VJ_OK;
    for (int64_t k = 0; k < shards && status == VJ_OK; k++) {
        vj_shard_tables tables;
        status = vj_shard_tables_read(&tables, path, k, layout);
        for (int64_t f = 0; f < tables.files && status == VJ_OK; f++) {
            const int at = tables.file[f].dataset * STORE_VERDICTS + tables.file[f].verdict;
            files[at]++;
            clips[at] += tables.file[f].clips;
        }
        if (status == VJ_OK) status = vj_clips_index_append(writer, k, &tables, NULL);
        vj_shard_tables_release(&tables);
    }
    const vj_passport passport = {.verdict_count = STORE_VERDICTS,
                                  .verdict_names = verdicts,
                                  .files = files,
                                  .clips = clips,
                                  .manifests = 0x1234,
                                  .summary = "a store for tests"};
    return status == VJ_OK ? vj_clips_index_passport(writer, &passport) : status;
}

static inline vj_status make_index(const char *path, int64_t shards, vj_codec_settings codec)
{
    vj_clips_header layout = store_layout(codec);
    vj_clips_index_writer *writer;
    VJ_TRY(vj_clips_index_create(&writer, path, &layout, shards));
    vj_status status = append_shards(writer, path, &layout, shards);
    if (status == VJ_OK) return vj_clips_index_publish(&writer);
    vj_clips_index_abandon(writer);
    return status;
}

/* Pack clips [0, clips): rank r makes shards r, r + size, ...; the store is the same on any number of ranks.
 * Collective. */
static inline vj_status pack_store_as(const char *path, int64_t clips, vj_codec_settings codec, MPI_Comm comm)
{
    int rank, size;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    VJ_TRY(vj_agree(comm, rank == 0 ? vj_clips_make_folder(path) : VJ_OK));
    vj_status status = VJ_OK;
    for (int64_t k = rank; k < store_shards(clips) && status == VJ_OK; k += size)
        status = make_shard(path, k, clips, codec);
    VJ_TRY(vj_agree(comm, status));
    return vj_agree(comm, rank == 0 ? make_index(path, store_shards(clips), codec) : VJ_OK);
}

static inline vj_status pack_store(const char *path, int64_t clips, MPI_Comm comm)
{
    return pack_store_as(path, clips, (vj_codec_settings){VJ_CODEC_RAW, 0, 0}, comm);
}

/* Call vj_clips_read() with a new coder. */
static inline vj_status read_clip(const vj_clips *clips, int64_t clip, uint8_t *frames)
{
    vj_coder *coder;
    VJ_TRY(vj_coder_create(&coder));
    vj_status status = vj_clips_read(clips, clip, coder, frames);
    vj_coder_destroy(coder);
    return status;
}

/* Return the settings for a loader. */
static inline vj_config loader_config(int64_t batch, int64_t threads)
{
    vj_config config = {0};
    config.run.seed = 234;
    config.train.batch = batch;
    config.data.frames = STORE_FRAMES;
    config.data.crop = 12;
    config.data.crop_scale[0] = 0.3, config.data.crop_scale[1] = 1.0;
    config.data.crop_aspect[0] = 0.75, config.data.crop_aspect[1] = 1.35;
    config.data.flip = 0.5;
    const double mean[3] = {0.485, 0.456, 0.406}, std[3] = {0.229, 0.224, 0.225};
    memcpy(config.data.mean, mean, sizeof mean);
    memcpy(config.data.std, std, sizeof std);
    config.data.threads = threads;
    config.data.read_ahead = 2;
    config.data.verify = 1;
    return config;
}

/* Number of different orders of clips that set_order() sets. */
enum { ORDERS = 4 };
static inline void set_order(vj_config *config, int order)
{
    config->data.shuffle = order % 2 ? VJ_SHUFFLE_BLOCK : VJ_SHUFFLE_GLOBAL;
    config->data.block_shards = 2;
    config->data.weights = order < 2 ? (vj_strings){0} : (vj_strings){2, {"odd=0.7", "even=0.3"}};
}

#endif
