/*
 * Small clip stores for tests: every pixel, label and place is a function of the clip's number, so a reader's result
 * can be checked without keeping anything. Also temporary folders.
 */
#ifndef VJ_TEST_CLIPS_STORE_H
#define VJ_TEST_CLIPS_STORE_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "clips/clips.h"

enum { STORE_FRAMES = 4, STORE_LABELS = 2, STORE_WINDOWS = 2, STORE_LARGEST = STORE_FRAMES * 24 * 32 * 3 };

/* A new folder below TMPDIR or /tmp. */
static inline void make_folder(char path[VJ_PATH])
{
    const char *base = getenv("TMPDIR");
    snprintf(path, VJ_PATH, "%s/vjepa-test-XXXXXX", base ? base : "/tmp");
    VJ_ASSERT(mkdtemp(path) != NULL);
}

static inline int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

static inline void remove_folder(const char *path)
{
    VJ_ASSERT(nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

/* FOLDER/NAME. */
static inline void join(char path[VJ_PATH], const char *folder, const char *name)
{
    VJ_ASSERT(snprintf(path, VJ_PATH, "%s/%s", folder, name) < VJ_PATH);
}

static inline vj_strings one_path(const char *path)
{
    vj_strings paths = {.count = 1};
    VJ_ASSERT(snprintf(paths.item[0], VJ_PATH, "%s", path) < VJ_PATH);
    return paths;
}

/* Clip `i` of a store in canonical order. Every third source lies, the others stand: two geometries. */
static inline void store_clip(int64_t i, vj_clip *clip, int32_t labels[STORE_LABELS], uint8_t frames[STORE_LARGEST])
{
    int64_t source = i / STORE_WINDOWS;
    int lies = source % 3 == 0;
    *clip = (vj_clip){.source = source,
                      .window = (int32_t)(i % STORE_WINDOWS),
                      .pts_s = 0.25 * (double)i,
                      .height = lies ? 24 : 32,
                      .width = lies ? 32 : 24,
                      .labels = labels,
                      .frames = frames};
    labels[0] = (int32_t)(source % 5);
    labels[1] = source % 7 == 0 ? -1 : (int32_t)(i % 2);
    vj_rng rng;
    vj_rng_init(&rng, 11, VJ_RNG_TEST, (uint64_t)i);
    for (int64_t b = 0; b < (int64_t)STORE_FRAMES * clip->height * clip->width * 3; b++)
        frames[b] = (uint8_t)vj_rng_u32(&rng);
}

static inline vj_clips_layout store_layout(const char *path)
{
    /* Room for three of the larger clips: shards roll after a few. */
    return (vj_clips_layout){.path = path,
                             .frames = STORE_FRAMES,
                             .label_count = STORE_LABELS,
                             .label_names = {"appearance", "motion"},
                             .shard_bytes = 3 * STORE_LARGEST,
                             .config_text = "pack: {frames: 4}\n"};
}

static inline vj_status commit_store(vj_clips_writer *writer, int64_t clips)
{
    int64_t sources = (clips + STORE_WINDOWS - 1) / STORE_WINDOWS;
    char(*names)[32] = vj_calloc(sources, sizeof *names);
    const char **paths = vj_calloc(sources, sizeof *paths);
    VJ_ASSERT(names && paths);
    for (int64_t s = 0; s < sources; s++) {
        snprintf(names[s], sizeof names[s], "videos/%lld.mp4", (long long)s);
        paths[s] = names[s];
    }
    vj_status status = vj_clips_writer_commit(writer, paths, sources);
    free(paths);
    free(names);
    return status;
}

/* Pack clips [0, clips): each rank takes sources whose number leaves its rank, last source first. Collective. */
static inline vj_status pack_store(const char *path, int64_t clips, MPI_Comm comm)
{
    static uint8_t frames[STORE_LARGEST];
    int32_t labels[STORE_LABELS];
    int rank, size;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    vj_clips_layout layout = store_layout(path);
    vj_clips_writer *writer;
    VJ_TRY(vj_clips_writer_open(&writer, &layout, comm));
    vj_status status = VJ_OK;
    for (int64_t i = clips - 1; i >= 0 && status == VJ_OK; i--) {
        if ((i / STORE_WINDOWS) % size != rank) continue;
        vj_clip clip;
        store_clip(i, &clip, labels, frames);
        status = vj_clips_writer_add(writer, &clip);
    }
    if (status == VJ_OK) status = commit_store(writer, clips);
    vj_clips_writer_close(writer);
    return status;
}

/* The settings a loader reads. */
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
    return config;
}

#endif
