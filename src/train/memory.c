/* The sum of what a rank allocates: sizes come from a sketch of the model, rows from the masks of the first steps. */
#include "train/memory.h"

#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "parallel/gradient_sum.h"
#include "parallel/parallel.h"
#include "parallel/tree.h"
#include "train/checkpoint.h"
#include "train/peers.h"
#include "train/precision.h"

enum {
    LOOK_STEPS = 4,          /* whose masks are drawn, */
    LOOK_MICROBATCHES = 128, /* of so many microbatches: the most of them is near that of thousands */
    BLOCK = 4 << 20,         /* of a rank's share that group.c exchanges between nodes at a time */
    WINDOW = 6 << 20,        /* of a group's windows what a rank touches, its own and of its neighbours' */
    PROGRAM_LATER = 7 << 20  /* what libraries take in the course of a run; measured 5 to 10 MiB */
};

static int64_t lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Activations of the microbatches of rank 0. */
static vj_status look_at_masks(vj_model *m, const vj_config *c, int data_ranks)
{
    vj_mask_lists lists;
    int64_t first, last;
    vj_split(c->train.batch / c->train.microbatch, data_ranks, 0, &first, &last);
    last = lesser(last, LOOK_MICROBATCHES);
    VJ_TRY(vj_mask_lists_create(&lists, c->mask.count, c->train.microbatch, m->net.tokens));
    vj_status status = VJ_OK;
    for (int64_t step = 0; step < LOOK_STEPS; step++)
        for (int64_t at = first; at < last && status == VJ_OK; at++) {
            status = vj_masks_sample(&lists, c, m->net.grid, step, step * c->train.batch + at * c->train.microbatch,
                                     c->train.microbatch);
            if (status == VJ_OK) vj_model_activations(m, &lists);
        }
    vj_mask_lists_release(&lists);
    return status;
}

/* The largest slice of the moments. */
static vj_status largest_slice(const vj_config *c, const vj_params *ps, int data_ranks, int64_t *floats)
{
    *floats = ps->total;
    if (!c->parallel.zero || data_ranks == 1) return VJ_OK;
    int64_t *slice = vj_calloc(data_ranks + 1, sizeof *slice);
    if (!slice) return vj_raise(VJ_ERR_MEMORY, "no memory for %d slices", data_ranks);
    vj_status status = vj_checkpoint_slices(ps, data_ranks, slice);
    *floats = 0;
    for (int i = 0; i < data_ranks; i++)
        if (slice[i + 1] - slice[i] > *floats) *floats = slice[i + 1] - slice[i];
    free(slice);
    return status;
}

/* Kernels pack the smaller operand of a product, at most so deep at a time, six bytes a value; and some MiB a thread.
 */
static int64_t packed_bytes(const vj_model *m, const vj_ragged_bounds *b, int threads)
{
    enum { DEPTH = 1280, VALUE = 6, THREAD = 2 << 20 };
    const int64_t rows = b->clips * m->net.tokens, width = m->net.encoder.share_hidden;
    return lesser(rows, width) * lesser(m->net.shape.width > width ? m->net.shape.width : width, DEPTH) * VALUE +
           (int64_t)threads * THREAD;
}

/* Its sums, on the way to the eigenvalues those of all ranks, and those that a tree keeps. */
static int64_t spectrum_bytes(const vj_model *m, int kept)
{
    const int64_t cells = (int64_t)m->net.shape.width * m->net.shape.width, width = (int64_t)sizeof(double);
    if (m->net.shape.objective != VJ_OBJECTIVE_FEATURE) return 0;
    return cells * ((int64_t)sizeof(float) + width + kept * width);
}

/* Data ranks divide a checkpoint evenly, tensor ranks each tensor by blocks. In the background it is copied first. */
static int64_t checkpoint_bytes(const vj_params *ps, const vj_config *c, bool target, int data_ranks)
{
    int64_t elements = 0;
    if (!c->checkpoint.async) return 0;
    for (int i = 0; i < ps->count; i++) {
        const vj_param *p = &ps->item[i];
        elements += vj_checkpoint_first_share(p, (int)c->parallel.tensor) * (target && p->part == VJ_ENCODER ? 4 : 3);
    }
    return elements / data_ranks * (int64_t)sizeof(float);
}

/* The in-run watch (probe/watch.h): features of all its clips on rank 0, a pass of the encoder, batches read ahead. */
static int64_t watch_bytes(const vj_model *m, const vj_config *c, vj_loader_bytes loader)
{
    const int64_t word = (int64_t)sizeof(float), clips = 2 * c->watch.clips, width = m->net.shape.width;
    if (c->watch.every == 0) return 0;
    const bool rounds = strcmp(c->train.precision, "bf16") == 0;
    int64_t values = clips * width;
    if (c->watch.epochs > 0) values += (clips + c->probe.batch) * m->net.tokens * width;
    const int64_t unit = clips * width * (int64_t)sizeof(double); /* mean tokens of length 1, for the neighbours */
    return values * word + unit + vj_encoder_bytes(&m->net.shape, c->train.microbatch, rounds ? VJ_BF16 : VJ_FP32) +
           (rounds && !vj_backend_is_host(c->train.backend) ? m->net.params.encoder_total * (int64_t)sizeof(uint16_t)
                                                            : 0) +
           2 * c->train.microbatch * loader.sample + c->data.threads * loader.thread +
           c->train.microbatch * loader.frames;
}

/*
 * Between nodes: buckets of the gradient that are on their way (parallel/gradient_sum.c), and the block of
 * parallel/group.c. A device has as much, and twice that is of the host, through which messages may go.
 */
static void add_messages(vj_memory *n, const vj_config *c, int64_t nodes, int64_t beside)
{
    const bool host = vj_backend_is_host(c->train.backend);
    const int64_t mb = c->parallel.bucket_mb, bucket = host ? mb << 18 : vj_peers_bucket(mb, (int)nodes);
    const int64_t on_the_way = VJ_SUM_SLOTS * (bucket / beside) * (int64_t)sizeof(float);
    if (nodes == 1) return;
    n->messages = BLOCK + (host ? 1 : 2) * on_the_way;
    if (!host) n->buffers += on_the_way;
}

static vj_status add_up(vj_memory *n, vj_model *m, const vj_config *c, int data_ranks, int node_ranks,
                        vj_loader_bytes loader)
{
    const int64_t word = (int64_t)sizeof(float), tokens = m->net.tokens;
    const vj_params *ps = &m->net.params;
    int64_t slice, first, last;
    VJ_TRY(look_at_masks(m, c, data_ranks));
    VJ_TRY(largest_slice(c, ps, data_ranks, &slice));
    vj_split(c->train.batch / c->train.microbatch, data_ranks, 0, &first, &last);
    const int groups = (data_ranks > 1) + (c->parallel.tensor > 1);
    const bool feature = m->net.shape.objective == VJ_OBJECTIVE_FEATURE;
    const int kept = c->parallel.reduction == VJ_REDUCTION_REPRODUCIBLE ? vj_tree_levels(last - first) + 1 : 0;
    n->weights = ps->total * word;
    n->gradient = (kept > 0 ? kept : 1) * n->weights;
    n->moments = 2 * slice * word;
    n->target = feature ? ps->encoder_total * word : 0;
    n->activations = m->used_bytes;
    n->reserved = m->arena_bytes;
    n->tables = tokens * (m->net.shape.width + m->net.shape.predictor_width) * word;
    /* Copies of weights and target for products (model/params.h). */
    const int64_t rounded = vj_backend_is_host(c->train.backend) || vj_precision_of(c) == VJ_FP32
                                ? 0
                                : (ps->total + (feature ? ps->encoder_total : 0)) * (int64_t)sizeof(uint16_t);
    n->buffers = rounded + m->by_rows_count * word + packed_bytes(m, &m->bounds, 1) + groups * (int64_t)WINDOW +
                 spectrum_bytes(m, kept);
    /* Each sums its part of the gradient over the window of them all (parallel/gradient_sum.h). */
    const int64_t beside = lesser(data_ranks, node_ranks / c->parallel.tensor);
    add_messages(n, c, (data_ranks + beside - 1) / beside, beside);
    n->neighbours = beside > 1 ? n->weights / beside * (beside - 1) : 0;
    n->checkpoint = checkpoint_bytes(ps, c, feature, data_ranks);
    n->watch = watch_bytes(m, c, loader);
    n->batches = (c->data.read_ahead + 1) * (last - first) * c->train.microbatch * loader.sample +
                 c->data.threads * loader.thread + c->train.microbatch * loader.frames;
    n->all = n->weights + n->gradient + n->moments + n->target + n->activations + n->tables + n->buffers + n->batches +
             n->messages + n->neighbours + n->checkpoint + n->watch + n->program;
    return VJ_OK;
}

vj_status vj_memory_predict(vj_memory *n, const vj_config *c, int ranks, int node_ranks, vj_loader_bytes loader)
{
    const int tensor_ranks = (int)c->parallel.tensor;
    const vj_shape shape = vj_shape_from(c);
    const vj_objective_settings settings = vj_objective_from(c);
    const vj_ragged_bounds bounds = vj_ragged_bounds_from(c, vj_shape_grid(&shape), c->train.microbatch);
    vj_tensor tensor = {.size = tensor_ranks, .sequence = c->parallel.tensor_sequence};
    vj_model *m;
    *n = (vj_memory){.program = vj_resident_bytes() + PROGRAM_LATER};
    vj_status status =
        vj_model_sketch(&m, &shape, &settings, &bounds, tensor_ranks > 1 ? &tensor : NULL, vj_precision_of(c));
    if (status == VJ_OK) status = add_up(n, m, c, ranks / tensor_ranks, node_ranks, loader);
    vj_model_destroy(m);
    return status;
}

void vj_memory_say(const vj_memory *n)
{
    const double mib = 1048576.0;
    vj_log("memory a rank: %.0f MiB = weights %.0f + gradient %.0f + moments %.0f + target %.0f + activations %.0f (of "
           "%.0f reserved) + tables %.0f + buffers %.0f + %.0f for batches read ahead + checkpoint %.0f + neighbours' "
           "gradients %.0f + messages %.0f + watch %.0f + program %.0f",
           (double)n->all / mib, (double)n->weights / mib, (double)n->gradient / mib, (double)n->moments / mib,
           (double)n->target / mib, (double)n->activations / mib, (double)n->reserved / mib, (double)n->tables / mib,
           (double)n->buffers / mib, (double)n->batches / mib, (double)n->checkpoint / mib, (double)n->neighbours / mib,
           (double)n->messages / mib, (double)n->watch / mib, (double)n->program / mib);
}
