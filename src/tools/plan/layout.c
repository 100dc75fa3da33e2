/* Computes the time of a step in one layout, and the memory that it needs. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plan/forecast.h"
#include "train/layout.h"

/* Memory of a rank before training allocates any: code, libraries, MPI. Measured, 27 to 30 MiB; not that of the process
 * that plans, which is smaller and never quite the same. */
enum { PROGRAM_BYTES = 28 << 20 };

/*
 * Bytes that an update reads and writes for each parameter: the norms read the gradient; AdamW with EMA reads the
 * weight, gradient, moments and target and writes all of them except the gradient. The measured rate of products
 * already includes what these read and write.
 */
static const double update_bytes = 40, update_bytes_without_target = 32;

/* Bytes that are moved in a GPU's own memory for each byte that a tensor group sums: it is read and written to a
 * buffer, read from there, and the sum is written (model/tensor_device.c). */
static const double tensor_room_bytes = 4;

static int64_t ceiling(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
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

double vj_tensor_byte_s(const vj_machine *machine, int tensor)
{
    if (!machine->gpus) return 1 / machine->tensor_bytes_s;
    return 2 * (tensor - 1.0) / tensor / machine->gpu_link_bytes_s + tensor_room_bytes / machine->gpu_bytes_s;
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
    l->memory_s = updated * (w->feature ? update_bytes : update_bytes_without_target) / bytes_s;
    if (l->tensor > 1) l->tensor_s = clips * w->tensor_sum_bytes * vj_tensor_byte_s(machine, l->tensor);
    vj_train_layout_time_sums(l, c, w, machine);
    l->read_s = (double)c->train.batch * w->clip_bytes / machine->filesystem_bytes_s;
    l->step_s = fmax(l->read_s, l->compute_s + l->memory_s + l->tensor_s + l->sum_s);
    return true;
}

vj_status vj_train_layout_weigh(vj_train_layout *l, vj_config *c, const vj_train_work *w, const vj_machine *machine)
{
    c->train.microbatch = l->microbatch;
    c->parallel.tensor = l->tensor;
    c->parallel.zero = l->zero;
    /* Auto is what the machine of the plan has, not the one that plans. */
    if (machine->gpus || strcmp(c->train.backend, "auto") == 0)
        snprintf(c->train.backend, sizeof c->train.backend, machine->gpus ? "cuda" : "cpu");
    /* A thread of the loader holds a clip, and if the clip is compressed also its record. */
    const double thread = w->raw_clip_bytes + (w->clip_bytes < w->raw_clip_bytes ? w->clip_bytes : 0);
    const int64_t pixels = 3 * c->data.frames * c->data.crop * c->data.crop * (int64_t)sizeof(float);
    const int64_t frames = (int64_t)w->raw_clip_bytes; /* the GPU itself converts them to pixels */
    const vj_loader_bytes loader = machine->gpus
                                       ? (vj_loader_bytes){.sample = frames, .thread = frames, .frames = frames}
                                       : (vj_loader_bytes){.sample = pixels, .thread = (int64_t)thread};
    VJ_TRY(vj_memory_predict(&l->memory, c, l->nodes * l->node_ranks, l->node_ranks, loader, PROGRAM_BYTES));
    const vj_memory *m = &l->memory;
    l->gpu_bytes = (double)m->device;
    /* A neighbour's gradient is in memory once, though it is counted in each process that maps it to sum it. */
    l->node_bytes = (double)l->node_ranks * (double)(m->all - m->neighbours - m->device);
    return VJ_OK;
}
