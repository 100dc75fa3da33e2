/* Sum over the ranks, norms for clipping, AdamW and EMA, exchange of slices. */
#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>

#include "parallel/tree.h"
#include "train/checkpoint.h"

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

/*
 * Blocks of the flat vector that no slice cuts. Their squares are added in one order, so that norms have the same bits
 * for any number of data ranks, sharded or not.
 */
static vj_status open_blocks(vj_optimizer *o)
{
    const vj_params *ps = o->trained->params;
    for (int pass = 0; pass < 2; pass++) { /* the first counts them */
        o->blocks = 0;
        for (int i = 0; i < ps->count; i++) {
            const vj_param *p = &ps->item[i];
            const int64_t length = vj_checkpoint_block(p);
            for (int64_t at = 0; at < p->count; at += length, o->blocks++)
                if (pass == 1) o->block[o->blocks] = p->offset + at;
        }
        if (pass == 1) break;
        o->block = vj_calloc(o->blocks + 1, sizeof *o->block);
        o->squares = vj_calloc(o->blocks, sizeof *o->squares);
        o->counted = vj_calloc(o->blocks, sizeof *o->counted);
        o->segment = vj_calloc(ps->count, sizeof *o->segment);
        if (!o->block || !o->squares || !o->counted || !o->segment)
            return vj_raise(VJ_ERR_MEMORY, "no memory for the optimizer");
    }
    o->block[o->blocks] = ps->total;
    for (int64_t i = 0; i < o->blocks; i++) {
        int64_t first, last;
        if (o->block[i] < o->first || o->block[i] >= o->last) continue;
        if (vj_params_counted(ps, o->block[i], o->block[i + 1], &first, &last))
            o->counted[i] = (vj_span){first, last - first};
    }
    o->sum = vj_device_alloc(o->trained->be, o->blocks * (int64_t)sizeof *o->sum);
    return o->sum ? VJ_OK : VJ_ERR_MEMORY; /* reported by the device */
}

/* vj_sum_arrays() in the form that the sum of gradients calls. */
static void sum_on_device(void *backend, float *out, const float *const *in, int count, int64_t n)
{
    vj_sum_arrays(backend, out, in, count, n);
}

/* Sums in memory that the ranks of a node share, driven by the host (parallel/gradient_sum.h). */
static void window_made(void *reduction, vj_backend *be, int64_t offset, vj_event *event)
{
    vj_event_wait(be, event);
    vj_gradient_sum_made(reduction, offset);
}
static double window_end(void *reduction)
{
    const double began_s = vj_now();
    vj_gradient_sum_end(reduction);
    return vj_now() - began_s;
}
static void window_close(void *reduction)
{
    vj_gradient_sum_close(reduction);
}
static const vj_gradient_sum_ops window_sum = {window_made, window_end, window_close};

/* The vectors gathered after an update, in the order of weight_gather.h, and this rank's memory of them. */
static vj_status describe_gather(vj_optimizer *o, void *memory[VJ_MAX_GATHERED])
{
    const vj_trainable *t = o->trained;
    const bool rounded = t->rounded_weights != NULL;
    const int flat = t->target ? 2 : 1;
    if (!o->zero) return VJ_OK;
    VJ_TRY(vj_weight_gather_describe(&o->gather, t->params, t->target != NULL, rounded, o->slice, o->size));
    memory[0] = rounded ? (void *)t->rounded_weights : t->weights;
    memory[1] = rounded ? (void *)t->rounded_target : t->target;
    for (int v = flat; v < o->gather.vectors; v++) {
        const int64_t bytes = o->gather.vector[v].n * (int64_t)sizeof(float);
        memory[v] = o->packed[v - flat] = vj_device_alloc(t->be, bytes);
        if (!memory[v]) return VJ_ERR_MEMORY; /* reported by the device */
    }
    return VJ_OK;
}

/* Use devices that read one another's memory, if there are any; otherwise sums go through views on the host. */
static vj_status open_peers(vj_optimizer *o, const vj_config *config, const vj_place *place)
{
    const vj_trainable *t = o->trained;
    void *memory[VJ_MAX_GATHERED] = {NULL};
    VJ_TRY(vj_agree(o->comm, describe_gather(o, memory)));
    const vj_peers_plan plan = {.gradient = t->gradient,
                                .n = t->params->total,
                                .bucket = vj_peers_bucket(config->parallel.bucket_mb, place->nodes),
                                .first = o->zero ? o->slice : NULL,
                                .gathered = o->gather.vector,
                                .memory = memory,
                                .vectors = o->gather.vectors,
                                .node = place->node};
    VJ_TRY(vj_peers_open(&o->peers, t->be, o->comm, &plan));
    if (!o->peers) {
        o->gather.rounded = false; /* floats go through the host */
        return VJ_OK;
    }
    o->sum_over_ranks = o->peers;
    o->sum_ops = &vj_peers_sum;
    o->sums_way = vj_peers_way(o->peers);
    return VJ_OK;
}

/* Choose the gradient's memory and what sums it over the ranks. */
static vj_status open_reduction(vj_optimizer *o, const vj_config *config, const vj_place *place)
{
    vj_trainable *t = o->trained;
    const int threads = place->threads;
    VJ_TRY(vj_group_open(&o->group, o->comm, place->node));
    o->sums_way = vj_group_way(o->group);
    vj_group_set_threads(o->group, threads);
    if (o->size == 1) return VJ_OK;
    if (!vj_device_is_host(t->be)) return open_peers(o, config, place);
    const vj_gradient_sum_plan plan = {.alone = t->gradient,
                                       .n = t->params->total,
                                       .bucket = config->parallel.bucket_mb << 18,
                                       .first = o->zero ? o->slice : NULL,
                                       .threads = threads,
                                       .sum = sum_on_device,
                                       .user = t->be,
                                       .node = place->node};
    vj_gradient_sum *reduction;
    const vj_status status = vj_gradient_sum_open(&reduction, o->comm, &plan);
    o->sum_over_ranks = reduction;
    o->sum_ops = &window_sum;
    VJ_TRY(status);
    o->sums_way = vj_gradient_sum_way(reduction);
    float *vector = vj_gradient_sum_vector(reduction);
    o->adopted = t->gradient_is_shared = vector != t->gradient;
    if (!o->adopted) return VJ_OK;
    vj_device_free(t->be, t->gradient);
    t->gradient = vj_device_adopt(t->be, vector, plan.n * (int64_t)sizeof *vector);
    return t->gradient ? VJ_OK : VJ_ERR_MEMORY; /* reported by the device */
}

/* Allocate the gradients for subtree sums; without reproducible, one gradient accumulates all microbatches. */
static vj_status open_sums(vj_optimizer *o, const vj_config *config)
{
    int64_t first, last;
    vj_split(config->train.batch / config->train.microbatch, o->size, o->rank, &first, &last);
    o->terms = last - first;
    o->reproducible = config->parallel.reduction == VJ_REDUCTION_REPRODUCIBLE;
    const int levels = o->reproducible ? vj_tree_levels(o->terms) : 0;
    o->kept = vj_calloc(levels + 1, sizeof *o->kept);
    if (!o->kept) return vj_raise(VJ_ERR_MEMORY, "no memory for the optimizer");
    o->kept[0] = o->trained->gradient;
    const int64_t n = o->trained->params->total;
    for (int i = 1; i <= levels; i++) {
        o->kept[i] = vj_device_alloc(o->trained->be, n * (int64_t)sizeof(float));
        if (!o->kept[i]) return VJ_ERR_MEMORY; /* reported by the device */
        vj_fill(o->trained->be, o->kept[i], 0.0f, n);
    }
    return VJ_OK;
}

/* The gradient hook of the last microbatch: declare what is final to the sum over ranks. */
static void sum_made(void *user, int64_t offset, vj_event *event)
{
    vj_optimizer *o = user;
    const double began_s = vj_now();
    const vj_phase phase = vj_phase_enter(o->trained->be, VJ_PHASE_REDUCE);
    o->sum_ops->made(o->sum_over_ranks, o->trained->be, offset, event);
    vj_phase_enter(o->trained->be, phase);
    const double spent_s = vj_now() - began_s;
    o->comm_s += spent_s;
    o->backward_s += spent_s;
}

bool vj_optimizer_before(vj_optimizer *o)
{
    const bool completes = o->done == o->terms - 1 && (!o->reproducible || o->terms == 1);
    o->trained->gradient = o->kept[o->level];
    if (o->sum_over_ranks && completes) o->trained->hook = (vj_gradient_hook){sum_made, o};
    return !o->reproducible && o->done > 0;
}

void vj_optimizer_after(vj_optimizer *o)
{
    o->trained->gradient = o->kept[0];
    o->trained->hook = (vj_gradient_hook){0};
    const int sums = vj_tree_completes(o->done++, o->terms);
    if (!o->reproducible) return;
    for (int i = 0; i < sums; i++, o->level--)
        vj_add(o->trained->be, o->kept[o->level - 1], o->kept[o->level], o->trained->params->total);
    if (o->done < o->terms) o->level++;
}

vj_status vj_optimizer_open(vj_optimizer **optimizer, vj_trainable *trained, const vj_config *config,
                            const vj_layout *layout)
{
    vj_optimizer *o = *optimizer = vj_calloc(1, sizeof *o);
    if (!o) return vj_raise(VJ_ERR_MEMORY, "no memory for the optimizer");
    o->trained = trained;
    o->comm = layout->data;
    o->rank = layout->data_rank;
    o->size = layout->data_size;
    o->zero = config->parallel.zero && o->size > 1;
    o->beta1 = config->optimizer.beta1;
    o->beta2 = config->optimizer.beta2;
    o->eps = config->optimizer.eps;
    for (int i = 0; i < trained->params->count; i++)
        if (trained->params->item[i].part == VJ_PREDICTOR)
            trained->params->item[i].lr_scale = config->optimizer.predictor_lr_scale;
    o->slice = vj_calloc(o->size + 1, sizeof *o->slice);
    o->part = vj_calloc(o->size + 1, sizeof *o->part);
    if (!o->slice || !o->part) return vj_raise(VJ_ERR_MEMORY, "no memory for the optimizer");
    VJ_TRY(vj_checkpoint_slices(trained->params, o->size, o->slice));
    o->first = o->zero ? o->slice[o->rank] : 0;
    o->last = o->zero ? o->slice[o->rank + 1] : trained->params->total;
    const int64_t n = o->last - o->first;
    o->first_moment = vj_device_alloc(trained->be, n * (int64_t)sizeof(float));
    o->second_moment = vj_device_alloc(trained->be, n * (int64_t)sizeof(float));
    if (!o->first_moment || !o->second_moment) return VJ_ERR_MEMORY; /* reported by the device */
    vj_fill(trained->be, o->first_moment, 0.0f, n);
    vj_fill(trained->be, o->second_moment, 0.0f, n);
    VJ_TRY(open_blocks(o));
    VJ_TRY(open_reduction(o, config, &layout->place));
    return open_sums(o, config);
}

void vj_optimizer_close(vj_optimizer *o)
{
    if (!o) return;
    vj_device_free(o->trained->be, o->first_moment);
    vj_device_free(o->trained->be, o->second_moment);
    vj_device_free(o->trained->be, o->sum);
    for (int i = 1; o->kept && i <= (o->reproducible ? vj_tree_levels(o->terms) : 0); i++)
        vj_device_free(o->trained->be, o->kept[i]);
    if (o->adopted) {
        vj_device_free(o->trained->be, o->trained->gradient);
        o->trained->gradient = NULL;
    }
    if (o->sum_over_ranks) o->sum_ops->close(o->sum_over_ranks);
    for (int v = 0; v < 2; v++) vj_device_free(o->trained->be, o->packed[v]);
    vj_weight_gather_release(&o->gather);
    vj_group_close(o->group);
    free(o->block);
    free(o->squares);
    free(o->counted);
    free(o->segment);
    free(o->kept);
    free(o->slice);
    free(o->part);
    free(o);
}

/*
 * Let the group sum or gather the slices of x [n], in host views of the largest possible length. `what` NULL: all ranks
 * get the whole sum.
 */
static void exchange(vj_optimizer *o, void (*what)(vj_group *group, float *x, const int64_t *first), float *x,
                     int64_t n)
{
    vj_backend *be = o->trained->be;
    const int64_t most = vj_device_is_host(be) ? n : VJ_MAP_BYTES / (int64_t)sizeof *x;
    for (int64_t at = 0; at < n; at += most) {
        const int64_t here = n - at < most ? n - at : most;
        for (int r = 0; r <= o->size; r++) o->part[r] = clamp(o->slice[r] - at, 0, here);
        float *view = vj_map(be, x + at, here * (int64_t)sizeof *x, VJ_MAP_READ | VJ_MAP_WRITE);
        if (what)
            what(o->group, view, o->part);
        else
            vj_group_allreduce(o->group, view, here);
        vj_unmap(be, view);
    }
}

void vj_optimizer_reduce(vj_optimizer *o)
{
    o->done = 0;
    if (o->size == 1) return;
    vj_trainable *t = o->trained;
    if (o->sum_over_ranks) {
        o->comm_s += o->sum_ops->end(o->sum_over_ranks);
        return;
    }
    const double begin = vj_now();
    exchange(o, o->zero ? vj_group_reduce_scatter : NULL, t->gradient, t->params->total);
    o->comm_s += vj_now() - begin;
}

void vj_optimizer_download_norms(vj_optimizer *o)
{
    vj_backend *be = o->trained->be;
    vj_sum_squares_many(be, o->sum, o->trained->gradient, o->counted, o->blocks);
    vj_download_later(be, o->squares, o->sum, o->blocks * (int64_t)sizeof *o->squares);
}

void vj_optimizer_norms(vj_optimizer *o, double norm[2])
{
    const vj_trainable *t = o->trained;
    const vj_params *ps = t->params;
    if (o->zero) vj_sum_doubles(o->comm, o->squares, (int)o->blocks); /* all but one rank's are zero: exact */
    norm[VJ_ENCODER] = norm[VJ_PREDICTOR] = 0.0;
    for (int64_t i = 0; i < o->blocks; i++)
        norm[o->block[i] < ps->encoder_total ? VJ_ENCODER : VJ_PREDICTOR] += o->squares[i];
    if (t->tensor) vj_sum_doubles(t->tensor->comm, norm, 2);
    for (int part = 0; part < 2; part++) norm[part] = sqrt(norm[part]);
}

/* Pack the tensors of this rank's slice that kernels read as floats, for the gather; and unpack those of all ranks. */
static void pack_slice(const vj_optimizer *o)
{
    const vj_weight_gather *g = &o->gather;
    float *const flat[2] = {o->trained->weights, o->trained->target};
    for (int v = 0; v < 2 && g->rounded; v++) {
        const int64_t all = v == 0 ? g->spans : g->encoder_spans, first = clamp(g->first_span[o->rank], 0, all);
        if (o->packed[v])
            vj_pack_spans(o->trained->be, o->packed[v] + g->packed[o->rank], flat[v], g->span + first,
                          clamp(g->first_span[o->rank + 1], 0, all) - first);
    }
}
static void unpack_all(const vj_optimizer *o)
{
    const vj_weight_gather *g = &o->gather;
    float *const flat[2] = {o->trained->weights, o->trained->target};
    for (int v = 0; v < 2 && g->rounded; v++)
        if (o->packed[v])
            vj_unpack_spans(o->trained->be, flat[v], o->packed[v], g->span, v == 0 ? g->spans : g->encoder_spans);
}

/* Give every rank the slices that the others updated. */
static void exchange_weights(vj_optimizer *o)
{
    vj_trainable *t = o->trained;
    const double begin = vj_now();
    if (o->peers) {
        pack_slice(o);
        vj_peers_gather(o->peers);
        unpack_all(o);
    } else {
        exchange(o, vj_group_allgather, t->weights, t->params->total);
        if (t->target) exchange(o, vj_group_allgather, t->target, t->params->encoder_total);
    }
    o->comm_s += vj_now() - begin;
}

/* Update the tensors of the encoder or of the predictor that this rank updates, in one launch. */
static void update_part(vj_optimizer *o, const vj_update *u, vj_network_part part)
{
    vj_trainable *t = o->trained;
    const vj_params *ps = t->params;
    int count = 0;
    for (int i = 0; i < ps->count; i++) {
        const vj_param *p = &ps->item[i];
        const int64_t first = clamp(p->offset, o->first, o->last),
                      last = clamp(p->offset + p->count, o->first, o->last);
        if (p->part != part || first == last) continue;
        o->segment[count++] = (vj_segment){.offset = first - o->first,
                                           .count = last - first,
                                           .lr = u->lr * p->lr_scale,
                                           .weight_decay = u->weight_decay * p->decay};
    }
    if (count == 0) return;
    const vj_adamw_step step = {.beta1 = o->beta1,
                                .beta2 = o->beta2,
                                .eps = o->eps,
                                .correction1 = 1.0 - pow(o->beta1, (double)u->update),
                                .correction2 = 1.0 - pow(o->beta2, (double)u->update),
                                .gradient_scale = u->clip[part],
                                .ema = u->ema};
    const bool target = t->target && part == VJ_ENCODER;
    const vj_adamw_vectors vectors = {.w = t->weights + o->first,
                                      .first_moment = o->first_moment,
                                      .second_moment = o->second_moment,
                                      .gradient = t->gradient + o->first,
                                      .target = target ? t->target + o->first : NULL,
                                      .rounded_w = t->rounded_weights ? t->rounded_weights + o->first : NULL,
                                      .rounded_target =
                                          target && t->rounded_target ? t->rounded_target + o->first : NULL};
    vj_adamw(t->be, &vectors, o->segment, count, &step);
}

void vj_optimizer_update(vj_optimizer *o, const vj_update *u)
{
    vj_event_follow(o->trained->be, o->snapshot);
    update_part(o, u, VJ_ENCODER);
    update_part(o, u, VJ_PREDICTOR);
    if (o->zero) exchange_weights(o);
    /* Floats that came through the host are rounded for the next step. */
    o->trained->copies_updated = o->trained->rounded_weights && (!o->zero || o->peers);
}
