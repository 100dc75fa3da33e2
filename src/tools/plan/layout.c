/* The time of a step on one layout, and the memory it needs. */
#include <math.h>
#include <stdio.h>

#include "plan/forecast.h"
#include "train/layout.h"

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

/* Gradients summed over the data ranks, and with zero = 1 the weights that come back. */
static void time_sums(vj_train_layout *l, const vj_config *c, const vj_train_work *w, const vj_machine *machine)
{
    const double word = sizeof(float), floats = (double)w->weight_floats[l->tensor];
    const double target = w->feature ? (double)w->encoder_floats[l->tensor] : 0;
    const double vector = l->tensor * floats * word, back = l->zero ? l->tensor * (floats + target) * word : 0;
    if (l->data_ranks == 1) return;
    const int beside = l->node_ranks / l->tensor;
    const bool peers = machine->gpus && l->nodes == 1; /* train/peers.h; else the host's memory holds what is summed */
    if (machine->gpus && !peers) l->sum_s += 2 * (vector + back) / l->tensor / machine->gpu_host_bytes_s;
    if (beside > 1 && peers) /* each reads the others' parts of its share, and writes the sum to all */
        l->sum_s +=
            (l->zero ? vector + back : 2 * vector) / l->tensor * (beside - 1) / beside / machine->gpu_link_bytes_s;
    else if (beside > 1)
        l->sum_s += (vector + back) / machine->sum_bytes_s;
    if (l->nodes == 1) return;
    /* Each node sums its part for all, and each gives the others what it summed, or updated. */
    const double others = (double)(l->nodes - 1) / l->nodes,
                 bucket = machine->gpus ? VJ_MAP_BYTES : 1048576.0 * (double)c->parallel.bucket_mb;
    l->network_bytes = others * (vector + (l->zero ? back : vector));
    l->messages = 2.0 * (l->nodes - 1) * ceil(floats * word / bucket);
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
