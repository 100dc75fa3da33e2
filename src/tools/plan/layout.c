/* The time of a step on one layout, and the memory it needs. */
#include <math.h>
#include <stdio.h>

#include "plan/forecast.h"
#include "train/layout.h"
#include "train/peers.h"

enum { MPI_BYTES = 6 << 20 }; /* that MPI and HDF5 take in a rank before training asks for memory; measured */

/*
 * Bytes that a parameter moves through memory: AdamW with EMA reads weight, gradient, moments and target and writes all
 * but the gradient; a microbatch reads the weights in three passes and writes their gradient.
 */
static const double update_bytes = 36, update_bytes_without_target = 28, microbatch_bytes = 16;

static int64_t ceiling(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/*
 * GPUs (train/peers.h): gradients from GPU to GPU on a node, each rank's share of them through the host's memory to the
 * other nodes, all beside the last backward pass. Weights that come back from other nodes go through the host's memory
 * in views.
 */
static double gpu_sums_s(const vj_train_layout *l, const vj_config *c, const vj_machine *machine, double vector,
                         double back)
{
    const int beside = l->node_ranks / l->tensor;
    const double mine = vector / l->tensor, link = machine->gpu_link_bytes_s, host = machine->gpu_host_bytes_s;
    const bool waits = c->parallel.reduction == VJ_REDUCTION_REPRODUCIBLE && l->microbatches > 1;
    const double others = (double)(l->nodes - 1) / l->nodes;
    const double ways = l->zero ? 1 : 2; /* what a rank owns comes to it alone */
    double sums = ways * mine * (beside - 1) / beside / link, backs = 0;
    if (l->nodes > 1) {
        sums += 2 * mine / beside / host + ways * others * vector / machine->network_bytes_s;
        sums += 2.0 * (l->nodes - 1) * machine->message_s * ceil(mine / sizeof(float) / (double)l->bucket_floats);
        backs = 2 * back / l->tensor / host + (beside > 1 ? back / machine->sum_bytes_s : 0) +
                others * back / machine->network_bytes_s;
    } else {
        backs = back / l->tensor * (beside - 1) / beside / link;
    }
    const double backward = l->compute_s / (double)l->microbatches * 2 / 3;
    return (waits ? sums : fmax(0, sums - backward)) + backs;
}

/* Gradients summed over the data ranks, and with zero = 1 the weights that come back. */
static void time_sums(vj_train_layout *l, const vj_config *c, const vj_train_work *w, const vj_machine *machine)
{
    const double word = sizeof(float), floats = (double)w->weight_floats[l->tensor];
    const double target = w->feature ? (double)w->encoder_floats[l->tensor] : 0;
    const double vector = l->tensor * floats * word, back = l->zero ? l->tensor * (floats + target) * word : 0;
    const int64_t mb = c->parallel.bucket_mb;
    l->bucket_floats = machine->gpus ? vj_peers_bucket(mb, l->nodes) : mb << 18;
    if (l->data_ranks == 1) return;
    const int beside = l->node_ranks / l->tensor;
    if (l->nodes > 1) {
        /* Each node sums its part for all, and each gives the others what it summed, or updated. */
        l->network_bytes = (l->nodes - 1.0) / l->nodes * (vector + (l->zero ? back : vector));
        l->messages = 2.0 * (l->nodes - 1) * ceil(floats / (double)l->bucket_floats);
    }
    if (machine->gpus) {
        l->sum_s = gpu_sums_s(l, c, machine, vector, back);
        return;
    }
    if (beside > 1) l->sum_s = (vector + back) / machine->sum_bytes_s;
    l->sum_s += l->network_bytes / machine->network_bytes_s + l->messages * machine->message_s;
}

static bool has_place(const vj_train_layout *l, const vj_machine *machine, char *reason, size_t bytes)
{
    if (machine->gpus && l->node_ranks <= machine->gpus) return true;
    if (machine->gpus) {
        snprintf(reason, bytes, "%d ranks a node, but %d GPUs", l->node_ranks, machine->gpus);
        return false;
    }
    const int domain = machine->cores / machine->numa;
    if (machine->cores % l->node_ranks == 0 && domain % (machine->cores / l->node_ranks) == 0) return true;
    snprintf(reason, bytes, "%d ranks a node do not divide %d cores in %d memory domains", l->node_ranks,
             machine->cores, machine->numa);
    return false;
}

bool vj_train_layout_time(vj_train_layout *l, vj_config *c, const vj_train_work *w, const vj_machine *machine,
                          char *reason, size_t bytes)
{
    c->train.microbatch = l->microbatch;
    c->parallel.tensor = l->tensor;
    c->parallel.zero = l->zero;
    if (l->node_ranks % l->tensor != 0) {
        snprintf(reason, bytes, "%d ranks a node do not make tensor groups of %d", l->node_ranks, l->tensor);
        return false;
    }
    if (!has_place(l, machine, reason, bytes)) return false;
    if (vj_layout_cannot(c, l->nodes * l->node_ranks, l->tensor, reason, bytes)) return false;
    *l = (vj_train_layout){.nodes = l->nodes,
                           .node_ranks = l->node_ranks,
                           .tensor = l->tensor,
                           .zero = l->zero,
                           .microbatch = l->microbatch,
                           .threads = machine->cores > l->node_ranks ? machine->cores / l->node_ranks : 1,
                           .data_ranks = l->nodes * l->node_ranks / l->tensor};
    l->microbatches = ceiling(c->train.batch / l->microbatch, l->data_ranks);
    const double clips = (double)(l->microbatches * l->microbatch), floats = (double)w->weight_floats[l->tensor];
    const double updated = l->zero ? ceil(floats / l->data_ranks) : floats;
    l->weight_bytes = floats * sizeof(float);
    const double flops = machine->gpus ? machine->gpu_flops : l->threads * machine->flops_core; /* of a rank */
    const double bytes_s = machine->gpus ? machine->gpu_bytes_s : machine->memory_bytes_s / l->node_ranks;
    l->compute_s = clips * w->clip_work_flops / (l->tensor * flops);
    l->memory_s = (updated * (w->feature ? update_bytes : update_bytes_without_target) +
                   floats * microbatch_bytes * (double)l->microbatches) /
                  bytes_s;
    /* Through the host's memory, there and back, where GPUs compute (model/tensor.c). */
    const double there_s = machine->gpus ? 2 / machine->gpu_host_bytes_s : 0;
    if (l->tensor > 1) l->tensor_s = clips * w->tensor_sum_bytes * (1 / machine->tensor_bytes_s + there_s);
    time_sums(l, c, w, machine);
    l->read_s = (double)c->train.batch * w->clip_bytes / machine->filesystem_bytes_s;
    l->step_s = fmax(l->read_s, l->compute_s + l->memory_s + l->tensor_s + l->sum_s);
    return true;
}

vj_status vj_train_layout_weigh(vj_train_layout *l, vj_config *c, const vj_train_work *w, const vj_machine *machine)
{
    c->train.microbatch = l->microbatch;
    c->parallel.tensor = l->tensor;
    c->parallel.zero = l->zero;
    if (machine->gpus) snprintf(c->train.backend, sizeof c->train.backend, "cuda");
    /* A thread of the loader holds a clip, and its record where that is another thing. */
    const double thread = w->raw_clip_bytes + (w->clip_bytes < w->raw_clip_bytes ? w->clip_bytes : 0);
    const vj_loader_bytes loader = {.sample = 3 * c->data.frames * c->data.crop * c->data.crop * (int64_t)sizeof(float),
                                    .thread = (int64_t)thread};
    VJ_TRY(vj_memory_predict(&l->memory, c, l->nodes * l->node_ranks, l->node_ranks, loader));
    l->memory.program += MPI_BYTES; /* this process has not started MPI */
    l->memory.all += MPI_BYTES;
    const vj_memory *m = &l->memory;
    const int64_t device = m->weights + m->gradient + m->moments + m->target + m->activations + m->tables + m->buffers;
    l->gpu_bytes = machine->gpus ? (double)device : 0;
    /* A neighbour's gradient exists once, though each process that sums it shows it. */
    l->node_bytes = (double)l->node_ranks * (double)(m->all - m->neighbours - (machine->gpus ? device : 0));
    return VJ_OK;
}
