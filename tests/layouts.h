/*
 * Training steps of a small model on made-up clips, for the tests of layouts: in any layout, on the first ranks of the
 * world. Heads and hidden layer of the encoder can be divided over up to 8 ranks, those of the predictor over 2 and 4
 * only.
 */
#ifndef LAYOUTS_H
#define LAYOUTS_H

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "feed/loader.h"
#include "train/step.h"

typedef struct {
    int ranks, tensor, sequence, zero;
} layout;

#define LAYOUT_TEXT    "%d data x %d tensor%s%s"
#define LAYOUT_ARGS(l) (l).ranks / (l).tensor, (l).tensor, (l).sequence ? ", sequence" : "", (l).zero ? ", zero" : ""

static inline void layout_config(vj_config *c, layout l, int depth, double mlp_ratio)
{
    static const char text[] =
        "run: {seed: 7}\n"
        "data: {frames: 4, crop: 32}\n"
        "model: {size: custom, width: 96, heads: 24, patch: 8, tubelet: 2, init: fan_in}\n"
        "predictor: {width: 24, depth: 1, heads: 4}\n"
        "objective: {loss_exp: 2}\n"
        "mask:\n"
        "  group: 8\n"
        "  generators:\n"
        "    - {kind: multiblock, blocks: 2, spatial_scale: [0.3, 0.3], temporal_scale: [0.5, 1.0]}\n"
        "    - {kind: multiblock, blocks: 1, spatial_scale: [0.6, 0.6], temporal_scale: [1.0, 1.0]}\n"
        "train: {batch: 16, microbatch: 2, steps_per_epoch: 8, epochs: 1}\n"
        "optimizer: {start_lr: 0.001, lr: 0.001, warmup_epochs: 0, ema: [0.9, 1.0], clip_grad: 0.2,"
        " clip_from_epoch: 0}\n"
        "log: {rank_every: 2}\n";
    vj_config_defaults(c);
    if (vj_config_parse(c, "layouts.h", text) != VJ_OK) abort();
    c->model.depth = depth;
    c->model.mlp_ratio = mlp_ratio;
    c->parallel.tensor = l.tensor;
    c->parallel.tensor_sequence = l.sequence;
    c->parallel.zero = l.zero;
    if (vj_config_check(c) != VJ_OK) abort();
}

/* Return a communicator of the ranks of `l`, which are the first of the world; MPI_COMM_NULL on the others. Free it
 * with MPI_Comm_free(). Collective. */
static inline MPI_Comm layout_comm(layout l)
{
    int rank;
    MPI_Comm comm;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_split(MPI_COMM_WORLD, rank < l.ranks ? 0 : MPI_UNDEFINED, rank, &comm);
    return comm;
}

/* Do one step on clips that are a function of the sample's number. */
static inline vj_status layout_step(vj_step *s, int64_t number, vj_step_report *report)
{
    const int64_t clips = s->last - s->first, values = s->model->net.tokens * (int64_t)s->model->net.patch_values;
    const int64_t first = number * s->config->train.batch + s->first;
    float *pixels = vj_calloc(clips * values, sizeof *pixels);
    if (!pixels) return VJ_ERR_MEMORY;
    for (int64_t i = 0; i < clips; i++) {
        vj_rng rng;
        vj_rng_init(&rng, 3, VJ_RNG_TEST, (uint64_t)(first + i));
        for (int64_t j = 0; j < values; j++) pixels[i * values + j] = (float)vj_rng_normal(&rng);
    }
    const vj_batch batch = {.step = number, .first = first, .count = clips, .pixels = pixels};
    *report = (vj_step_report){0};
    vj_status status = vj_step_run(s, number, number + 1, &batch, report);
    free(pixels);
    return status;
}

#endif
