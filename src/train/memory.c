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
#include "train/weight_gather.h"

enum {
    SAMPLED_STEPS = 4, /* steps whose masks are drawn */
    SAMPLED_MICROBATCHES =
        128,          /* microbatches drawn at most: the largest of so many is close to the largest of thousands */
    BLOCK = 4 << 20,  /* bytes of a rank's share that group.c exchanges between nodes at a time */
    WINDOW = 6 << 20, /* bytes of a group's windows that a rank touches, its own and those of its neighbours */
    PROGRAM_LATER = 10 << 20, /* bytes that libraries allocate during a run; measured 5 to 17 MiB */
    /*
     * On a device: the tables of a lane (src/kernels/cuda/cuda.h) and the workspace of cuBLASLt (products.c). On the
     * host: the staging buffer of a lane, as large as its tables.
     */
    TABLES = 16 << 20,
    WORKSPACE = 32 << 20,
    TIMED_VALUES =
        2 * 16384 * 1024 + 1024 * 1024, /* operands of products that are timed at the start (candidates.c), */
    TIMED_GRADIENT = 1024 * 1024        /* and the floats of their gradient */
};

static int64_t lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Place the activations of rank 0's microbatches of the first steps, which sets m->bytes.used to the largest. */
static vj_status sample_masks(vj_model *m, const vj_config *c, int data_ranks)
{
    vj_mask_lists lists;
    int64_t first, last;
    vj_split(c->train.batch / c->train.microbatch, data_ranks, 0, &first, &last);
    last = lesser(last, SAMPLED_MICROBATCHES);
    const bool accumulates = c->parallel.reduction != VJ_REDUCTION_REPRODUCIBLE;
    VJ_TRY(vj_mask_lists_create(&lists, c->mask.count, c->train.microbatch, m->net.tokens));
    vj_status status = VJ_OK;
    for (int64_t step = 0; step < SAMPLED_STEPS; step++)
        for (int64_t at = first; at < last && status == VJ_OK; at++) {
            status = vj_masks_sample(&lists, c, m->net.grid, step, step * c->train.batch + at * c->train.microbatch,
                                     c->train.microbatch);
            if (status == VJ_OK) vj_model_activations(m, &lists, accumulates && at > first);
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

/*
 * Bytes of packed operands: kernels pack the smaller operand of a product in pieces at most DEPTH values deep, with
 * VALUE bytes a value, and need some MiB per thread besides.
 */
static int64_t packed_bytes(const vj_model *m, const vj_ragged_bounds *b, int threads)
{
    enum { DEPTH = 1280, VALUE = 6, THREAD = 2 << 20 };
    const int64_t rows = b->clips * m->net.tokens, width = m->net.encoder.share_hidden;
    return lesser(rows, width) * lesser(m->net.shape.width > width ? m->net.shape.width : width, DEPTH) * VALUE +
           (int64_t)threads * THREAD;
}

/* Bytes of vj_spectrum: its own sums, the sums over all ranks for the eigenvalues, and the sums that a tree keeps. */
static int64_t spectrum_bytes(const vj_model *m, int kept)
{
    const int64_t cells = (int64_t)m->net.shape.width * m->net.shape.width, width = (int64_t)sizeof(double);
    if (m->net.shape.objective != VJ_OBJECTIVE_FEATURE) return 0;
    return cells * ((int64_t)sizeof(float) + width + kept * width);
}

/*
 * Bytes of the copy that a background checkpoint is written from. Data ranks divide it evenly, tensor ranks divide each
 * tensor by blocks. With parallel.zero the first rank writes what it updates, `slice` elements of the flat vector.
 */
static int64_t checkpoint_bytes(const vj_params *ps, const vj_config *c, bool target, int data_ranks, int64_t slice)
{
    double elements = 0;
    if (!c->checkpoint.async) return 0;
    for (int i = 0; i < ps->count; i++) {
        const vj_param *p = &ps->item[i];
        const double vectors = target && p->part == VJ_ENCODER ? 4 : 3;
        const int64_t left = slice - p->offset, of_slice = left < 0 ? 0 : lesser(left, p->count);
        const double part = c->parallel.zero ? (double)of_slice / (double)p->count : 1.0 / data_ranks;
        elements += vectors * part * (double)vj_checkpoint_first_share(p, (int)c->parallel.tensor);
    }
    return (int64_t)elements * (int64_t)sizeof(float);
}

/*
 * Bytes of the in-run watch (probe/watch.h) in host memory: on rank 0 the features of all its clips, and batches read
 * ahead.
 */
static int64_t watch_bytes(const vj_model *m, const vj_config *c, vj_loader_bytes loader)
{
    const int64_t word = (int64_t)sizeof(float), clips = 2 * c->watch.clips, width = m->net.shape.width;
    if (c->watch.every == 0) return 0;
    const int64_t values = clips * width * (c->watch.epochs > 0 ? 1 + m->net.tokens : 1);
    const int64_t unit = clips * width * (int64_t)sizeof(double); /* mean tokens of length 1, for the neighbours */
    return values * word + unit + 2 * c->train.microbatch * loader.sample + c->data.threads * loader.thread;
}

/* The same in the memory of the device that computes: its encoder, batches of features, positions, frames. */
static int64_t watch_pass_bytes(const vj_model *m, const vj_config *c, vj_loader_bytes loader)
{
    const bool feature = m->net.shape.objective == VJ_OBJECTIVE_FEATURE;
    const bool host = vj_backend_is_host(c->train.backend);
    const int64_t clip = m->net.tokens * m->net.shape.width * (int64_t)sizeof(float);
    if (c->watch.every == 0) return 0;
    const bool copies = feature && vj_model_copies_are_brief(m); /* of a block of the target's weights */
    const int64_t copy = copies ? vj_stack_block_elements(&m->net.encoder) * (int64_t)sizeof(uint16_t) : 0;
    return vj_encoder_bytes(&m->net.shape, c->train.microbatch, vj_precision_of(c)) + copy +
           (c->watch.epochs > 0 ? c->probe.batch * clip : 0) + (host ? 0 : clip /* positions */) +
           VJ_FRAME_BUFFERS * c->train.microbatch * loader.frames;
}

/*
 * Between nodes: the buckets of the gradient in flight (parallel/gradient_sum.c) and the block of parallel/group.c. A
 * device needs as much, and then twice as much is needed on the host, which messages may go through.
 */
static int64_t on_the_way_bytes(const vj_config *c, int64_t nodes, int64_t beside)
{
    const int64_t mb = c->parallel.bucket_mb;
    const int64_t bucket = vj_backend_is_host(c->train.backend) ? mb << 18 : vj_peers_bucket(mb, (int)nodes);
    return nodes > 1 ? VJ_SUM_SLOTS * (bucket / beside) * (int64_t)sizeof(float) : 0;
}

/*
 * Bytes of the scratch memory of a device's kernels. In bf16 the patch embedding needs most of it: bf16 copies of the
 * gradient of its output, or forward of its weights if there is none yet, and of the patches if they are targets too,
 * because all these are floats. In fp32 sums over rows need most; they have at most 1024 parts.
 */
static int64_t scratch_bytes(const vj_model *m, const vj_config *c)
{
    const int64_t rows = m->bounds.clips * m->net.grid_tokens, width = m->net.shape.width;
    const int64_t patches = m->net.shape.objective == VJ_OBJECTIVE_PIXEL ? m->net.patch_values : 0;
    const int64_t weights = vj_model_copies_are_brief(m) ? m->net.patch_values : 0;
    const int64_t copies = (rows * patches + width * (rows > weights ? rows : weights)) * (int64_t)sizeof(uint16_t);
    const int64_t parts = 3 * lesser((rows + 31) / 32, 1024) * width * (int64_t)sizeof(float);
    return vj_precision_of(c) == VJ_BF16 && copies > parts ? copies : parts;
}

/* Bytes of other buffers of a device that is not the host. A second lane is used for sums over data ranks. */
static int64_t device_buffers(const vj_model *m, const vj_config *c, int data_ranks, vj_loader_bytes loader)
{
    const vj_params *ps = &m->net.params;
    const bool feature = m->net.shape.objective == VJ_OBJECTIVE_FEATURE;
    const int64_t cells = feature ? (int64_t)m->net.shape.width * m->net.shape.width : 0;
    const bool rounded = c->parallel.zero && data_ranks > 1 && m->rounds;
    return vj_model_rounded_weights(m) * (int64_t)sizeof(uint16_t) +
           vj_weight_gather_packed(ps, feature, rounded) * (int64_t)sizeof(float) +
           (m->by_rows.count + cells) * (int64_t)sizeof(float) +
           vj_model_frame_buffers(m) * c->train.microbatch * loader.frames + scratch_bytes(m, c) +
           (c->parallel.tensor > 1 ? VJ_TENSOR_ROOM_BYTES : 0) + (data_ranks > 1 ? 2 : 1) * (int64_t)TABLES + WORKSPACE;
}

/* Memory while products are timed, before the model is allocated; a small model needs less than this. */
static int64_t timing_bytes(const vj_config *c)
{
    const int64_t word = vj_precision_of(c) == VJ_BF16 ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(float);
    return TIMED_VALUES * word + TIMED_GRADIENT * (int64_t)sizeof(float) + WORKSPACE;
}

/* Host memory if a device computes: staging buffers of the lanes, views, and the covariance twice. */
static int64_t beside_device_bytes(const vj_model *m, int data_ranks, int kept)
{
    const int64_t lanes = (data_ranks > 1 ? 2 : 1) * (int64_t)TABLES;
    return lanes + VJ_MAP_BYTES + spectrum_bytes(m, kept);
}

static vj_status add_up(vj_memory *n, vj_model *m, const vj_config *c, int data_ranks, int node_ranks,
                        vj_loader_bytes loader)
{
    const int64_t word = (int64_t)sizeof(float), tokens = m->net.tokens;
    const vj_params *ps = &m->net.params;
    int64_t slice, first, last;
    const int64_t beside = lesser(data_ranks, node_ranks / c->parallel.tensor),
                  nodes = (data_ranks + beside - 1) / beside;
    m->trained.gradient_is_shared = vj_backend_is_host(c->train.backend) && beside > 1;
    VJ_TRY(sample_masks(m, c, data_ranks));
    VJ_TRY(largest_slice(c, ps, data_ranks, &slice));
    vj_split(c->train.batch / c->train.microbatch, data_ranks, 0, &first, &last);
    const int groups = (data_ranks > 1) + (c->parallel.tensor > 1);
    const bool feature = m->net.shape.objective == VJ_OBJECTIVE_FEATURE, host = vj_backend_is_host(c->train.backend);
    const int kept = c->parallel.reduction == VJ_REDUCTION_REPRODUCIBLE ? vj_tree_levels(last - first) + 1 : 0;
    n->weights = ps->total * word;
    n->gradient = (kept > 0 ? kept : 1) * n->weights;
    n->moments = 2 * slice * word;
    n->target = feature ? ps->encoder_total * word : 0;
    n->activations = m->bytes.fixed + (host ? m->bytes.used : vj_model_reserved(m, m->bytes.used));
    n->reserve = m->bytes.used;
    n->reserved = m->bytes.fixed + m->bytes.largest;
    n->tables = tokens * (m->net.shape.width + m->net.shape.predictor_width) * word;
    const int64_t on_the_way = on_the_way_bytes(c, nodes, beside);
    const int64_t of_device = host ? 0 : device_buffers(m, c, data_ranks, loader) + on_the_way;
    const int64_t pass = watch_pass_bytes(m, c, loader);
    n->buffers = groups * (int64_t)WINDOW +
                 (host ? m->by_rows.count * word + packed_bytes(m, &m->bounds, 1) + spectrum_bytes(m, kept)
                       : of_device + beside_device_bytes(m, data_ranks, kept));
    n->messages = nodes > 1 ? BLOCK + (host ? 1 : 2) * on_the_way : 0;
    if (!host && c->parallel.zero) n->messages += on_the_way + on_the_way / nodes; /* parallel/device_gather.c */
    /*
     * Each rank of a node sums its part of the gradient, and so touches the gradients of all others
     * (parallel/gradient_sum.h).
     */
    n->neighbours = host && beside > 1 ? n->weights / beside * (beside - 1) : 0;
    n->checkpoint = checkpoint_bytes(ps, c, feature, data_ranks, slice);
    n->watch = watch_bytes(m, c, loader) + pass;
    n->batches = (c->data.read_ahead + 1) * (last - first) * c->train.microbatch * loader.sample +
                 c->data.threads * loader.thread;
    const int64_t of_run =
        n->weights + n->gradient + n->moments + n->target + n->activations + n->tables + of_device + pass;
    if (!host) n->device = of_run > timing_bytes(c) ? of_run : timing_bytes(c);
    if (!host) n->buffers += n->device - of_run;
    n->all = n->weights + n->gradient + n->moments + n->target + n->activations + n->tables + n->buffers + n->batches +
             n->messages + n->neighbours + n->checkpoint + n->watch + n->program;
    return VJ_OK;
}

vj_status vj_memory_predict(vj_memory *n, const vj_config *c, int ranks, int node_ranks, vj_loader_bytes loader,
                            int64_t program)
{
    const int tensor_ranks = (int)c->parallel.tensor;
    const vj_shape shape = vj_shape_from(c);
    const int data_ranks = ranks / tensor_ranks;
    int64_t first, last;
    vj_split(c->train.batch / c->train.microbatch, data_ranks, 0, &first, &last);
    const vj_objective_settings settings = vj_objective_from(c, data_ranks, last - first);
    const vj_ragged_bounds bounds = vj_ragged_bounds_from(c, vj_shape_grid(&shape), c->train.microbatch);
    vj_tensor tensor = {.size = tensor_ranks, .sequence = c->parallel.tensor_sequence};
    vj_model *m;
    *n = (vj_memory){.program = program + PROGRAM_LATER};
    vj_status status = vj_model_sketch(&m, &shape, &settings, &bounds, tensor_ranks > 1 ? &tensor : NULL,
                                       vj_backend_is_host(c->train.backend), vj_precision_of(c));
    if (status == VJ_OK) status = add_up(n, m, c, data_ranks, node_ranks, loader);
    vj_model_destroy(m);
    return status;
}

void vj_memory_log(const vj_memory *n, int64_t room)
{
    const double mib = 1048576.0;
    vj_log("memory a rank: %.0f MiB = weights %.0f + gradient %.0f + moments %.0f + target %.0f + activations %.0f (of "
           "%.0f reserved) + tables %.0f + buffers %.0f + %.0f for batches read ahead + checkpoint %.0f + neighbours' "
           "gradients %.0f + messages %.0f + watch %.0f + program %.0f",
           (double)n->all / mib, (double)n->weights / mib, (double)n->gradient / mib, (double)n->moments / mib,
           (double)n->target / mib, (double)n->activations / mib, (double)n->reserved / mib, (double)n->tables / mib,
           (double)n->buffers / mib, (double)n->batches / mib, (double)n->checkpoint / mib, (double)n->neighbours / mib,
           (double)n->messages / mib, (double)n->watch / mib, (double)n->program / mib);
    if (n->device > 0) vj_log("memory of a rank's GPU: %.1f MiB of these", (double)n->device / mib);
    const double host = (double)(n->all - n->device - n->neighbours); /* which count as gradients of the neighbours */
    if (host > (double)room)
        vj_warn(
            "a rank needs about %.0f MiB of its node's memory, and %.0f MiB are free there for each: the system will "
            "probably end the job. Fewer ranks on a node, a smaller train.microbatch, data.read_ahead or watch.clips, "
            "train.recompute=block and parallel.zero=1 need less",
            host / mib, (double)room / mib);
}
