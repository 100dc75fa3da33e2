/* A made-up model for the tests of checkpoints, with tensors of one block, several blocks, short and long blocks; and
 * helpers for files. */
#ifndef CKPT_SAMPLE_H
#define CKPT_SAMPLE_H

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt/ckpt.h"
#include "folder.h"

enum { SAMPLE_TENSORS = 5 };

typedef struct {
    vj_ckpt_tensor tensors[SAMPLE_TENSORS];
    const char *fail_at; /* name of the tensor at which get fails, or NULL */
} sample;

static inline int64_t sample_elements(const vj_ckpt_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++) n *= t->dim[i];
    return n;
}

/* Fill the tensors with values that depend on tensor, element and `salt`. One is a NaN with a payload, which must be
 * preserved too. */
static inline void sample_fill(sample *s, uint32_t salt)
{
    for (int i = 0; i < SAMPLE_TENSORS; i++) {
        vj_ckpt_tensor *t = &s->tensors[i];
        uint32_t x = salt * 2654435761u + (uint32_t)i * 40503u + 1;
        for (int64_t j = 0; j < sample_elements(t); j++) {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            ((float *)t->data)[j] = (float)x / 4294967296.0f - 0.5f;
        }
    }
    memcpy((float *)s->tensors[0].data + 3, &(uint32_t){0x7fc12345u}, 4);
}

static inline void sample_init(sample *s, int size, int rank)
{
    *s = (sample){.tensors = {
                      {.name = "model/encoder/blocks.0.attn.qkv.weight", .ndim = 2, .dim = {900, 700}}, /* 3 blocks */
                      {.name = "model/encoder/norm.bias", .ndim = 1, .dim = {5}},
                      {.name = "model/predictor/patch_embed.proj.weight", .ndim = 5, .dim = {7, 3, 2, 4, 4}},
                      {.name = "optimizer/first_moment/wide", .ndim = 2, .dim = {3, 300000}},  /* each row is a block */
                      {.name = "optimizer/first_moment/long", .ndim = 2, .dim = {5000, 1000}}, /* many pieces */
                  }};
    for (int i = 0; i < SAMPLE_TENSORS; i++)
        s->tensors[i].data = vj_calloc(sample_elements(&s->tensors[i]), sizeof(float));
    vj_ckpt_share(s->tensors, SAMPLE_TENSORS, size, rank);
    sample_fill(s, 1);
}

static inline void sample_all(sample *s)
{
    for (int i = 0; i < SAMPLE_TENSORS; i++) {
        s->tensors[i].first = 0;
        s->tensors[i].last = sample_elements(&s->tensors[i]);
    }
}

static inline void sample_release(sample *s)
{
    for (int i = 0; i < SAMPLE_TENSORS; i++) free(s->tensors[i].data);
}

static inline vj_status sample_get(void *user, const vj_ckpt_tensor *t, int64_t first, int64_t last, float *host)
{
    const sample *s = user;
    if (s->fail_at && strcmp(s->fail_at, t->name) == 0) return vj_raise(VJ_ERR_LIBRARY, "made to fail at %s", t->name);
    if ((last - first) * 4 > VJ_CKPT_COPY_BYTES) return vj_raise(VJ_ERR_STATE, "a piece that is too large");
    memcpy(host, (float *)t->data + first, (size_t)(last - first) * sizeof(float));
    return VJ_OK;
}

static inline vj_status sample_put(void *user, const vj_ckpt_tensor *t, int64_t first, int64_t last, float *host)
{
    (void)user;
    if ((last - first) * 4 > VJ_CKPT_COPY_BYTES) return vj_raise(VJ_ERR_STATE, "a piece that is too large");
    memcpy((float *)t->data + first, host, (size_t)(last - first) * sizeof(float));
    return VJ_OK;
}

/* Return 1 if two samples have the same bits. */
static inline int sample_equal(const sample *a, const sample *b)
{
    for (int i = 0; i < SAMPLE_TENSORS; i++)
        if (memcmp(a->tensors[i].data, b->tensors[i].data, (size_t)sample_elements(&a->tensors[i]) * 4) != 0) return 0;
    return 1;
}

static inline vj_ckpt_state sample_state(int64_t step)
{
    return (vj_ckpt_state){.step = step,
                           .samples = 24 * step,
                           .seed = 7,
                           .bad_steps = 2,
                           .rollbacks = 1,
                           .skipped_samples = 48,
                           .usual_loss = 0.7,
                           .store_fingerprint = 0xfedcba9876543210u,
                           .config = (char *)"run:\n  seed: 7\n"};
}

/* Write this rank's part of the sample to DIR/step_<step>.h5, at once or in the background. */
static inline vj_status sample_write(sample *s, const char *dir, int64_t step, bool background, MPI_Comm comm)
{
    vj_ckpt_state state = sample_state(step);
    vj_ckpt_writer *writer;
    vj_status status = vj_ckpt_open(&writer, s->tensors, SAMPLE_TENSORS, background, comm);
    if (status != VJ_OK) return status;
    status = vj_ckpt_begin(writer, dir, &state, sample_get, s);
    if (status == VJ_OK) status = vj_ckpt_commit(writer);
    vj_ckpt_close(writer);
    return status;
}

/* Return 1 if the folder has an unfinished file. */
static inline int has_part(const char *dir)
{
    char pattern[VJ_PATH + 16];
    glob_t parts;
    snprintf(pattern, sizeof pattern, "%s/*.part", dir);
    int found = glob(pattern, 0, NULL, &parts) == 0;
    if (found) globfree(&parts);
    return found;
}

/* DIR/step_<step>.h5 */
static inline void step_path(char path[VJ_PATH + 32], const char *dir, int64_t step)
{
    snprintf(path, VJ_PATH + 32, "%s/step_%08lld.h5", dir, (long long)step);
}

/* Return how many tensors and values of the state differ between two files, and list them in `report`; -1: the files
 * cannot be compared. */
static inline int64_t differences(const char *a, const char *b, char *report, size_t bytes)
{
    int64_t different;
    FILE *out = fmemopen(report, bytes, "w");
    if (!out) return -1;
    vj_status status = vj_ckpt_compare(a, b, out, &different);
    fclose(out);
    return status == VJ_OK ? different : -1;
}

/* Make a new folder below rank 0's $TMPDIR. Collective over all ranks. */
static inline void temporary_folder(char path[VJ_PATH])
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0) {
        make_folder(path);
    }
    MPI_Bcast(path, VJ_PATH, MPI_CHAR, 0, MPI_COMM_WORLD);
}

/* Remove a folder when all ranks are done with it. Collective over all ranks. */
static inline void remove_temporary_folder(const char *path)
{
    int rank;
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank != 0) return;
    if (remove_folder(path) != 0) fprintf(stderr, "%s stays\n", path);
}

#endif
