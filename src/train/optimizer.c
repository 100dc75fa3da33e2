/* Reduction, clipping norms, AdamW + EMA, slices. */
#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>

#include "parallel/parallel.h"
#include "parallel/tree.h"
#include "train/checkpoint.h"

/* One large all-reduce was measured 15 times slower than pieces of this size (page faults of MPI's own temporaries). */
enum { PIECE = 1 << 20 }; /* floats */

/* Call body with each piece [at, at + n) of [first, last), mapped to the host. */
#define FOR_PIECES(be, device, first, last, mode, view, at, n)                                                         \
    for (int64_t at = (first), n; n = (last)-at < PIECE ? (last)-at : PIECE, at < (last); at += n)                     \
        for (float *view = vj_map(be, (device) + at, n * (int64_t)sizeof(float), mode); view;                          \
             vj_unmap(be, view), view = NULL)

/*
 * Blocks of the flat vector that no slice cuts. Their squares are added in one order, so that norms have the same bits
 * for any number of data ranks, sharded or not.
 */
static vj_status open_blocks(vj_optimizer *o)
{
    const vj_params *ps = &o->model->net.params;
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
        if (!o->block || !o->squares) return vj_raise(VJ_ERR_MEMORY, "no memory for the optimizer");
    }
    o->block[o->blocks] = ps->total;
    o->sum = vj_device_alloc(o->model->be, o->blocks * (int64_t)sizeof *o->sum);
    return o->sum ? VJ_OK : VJ_ERR_MEMORY; /* reported by the device */
}

/* Gradients of sums that wait; without them, one gradient into which all microbatches are accumulated. */
static vj_status open_sums(vj_optimizer *o, const vj_config *config)
{
    int64_t first, last;
    vj_split(config->train.batch / config->train.microbatch, o->size, o->rank, &first, &last);
    o->terms = last - first;
    o->reproducible = config->parallel.reduction == VJ_REDUCTION_REPRODUCIBLE;
    const int levels = o->reproducible ? vj_tree_levels(o->terms) : 0;
    o->kept = vj_calloc(levels + 1, sizeof *o->kept);
    if (!o->kept) return vj_raise(VJ_ERR_MEMORY, "no memory for the optimizer");
    o->kept[0] = o->model->gradient;
    const int64_t n = o->model->net.params.total;
    for (int i = 1; i <= levels; i++) {
        o->kept[i] = vj_device_alloc(o->model->be, n * (int64_t)sizeof(float));
        if (!o->kept[i]) return VJ_ERR_MEMORY; /* reported by the device */
        vj_fill(o->model->be, o->kept[i], 0.0f, n);
    }
    VJ_TRY(vj_group_open(&o->group, o->comm));
    vj_group_set_threads(o->group, vj_threads(o->comm));
    return VJ_OK;
}

bool vj_optimizer_before(vj_optimizer *o)
{
    o->model->gradient = o->kept[o->level];
    return !o->reproducible && o->done > 0;
}

void vj_optimizer_after(vj_optimizer *o)
{
    o->model->gradient = o->kept[0];
    const int sums = vj_tree_completes(o->done++, o->terms);
    if (!o->reproducible) return;
    for (int i = 0; i < sums; i++, o->level--)
        vj_add(o->model->be, o->kept[o->level - 1], o->kept[o->level], o->model->net.params.total);
    if (o->done < o->terms) o->level++;
}

vj_status vj_optimizer_open(vj_optimizer **optimizer, vj_model *model, const vj_config *config, MPI_Comm comm)
{
    vj_optimizer *o = *optimizer = vj_calloc(1, sizeof *o);
    if (!o) return vj_raise(VJ_ERR_MEMORY, "no memory for the optimizer");
    o->model = model;
    o->comm = comm;
    MPI_Comm_rank(comm, &o->rank);
    MPI_Comm_size(comm, &o->size);
    o->zero = config->parallel.zero && o->size > 1;
    o->beta1 = config->optimizer.beta1;
    o->beta2 = config->optimizer.beta2;
    o->eps = config->optimizer.eps;
    o->predictor_lr_scale = config->optimizer.predictor_lr_scale;
    o->slice = vj_calloc(o->size + 1, sizeof *o->slice);
    if (!o->slice) return vj_raise(VJ_ERR_MEMORY, "no memory for the optimizer");
    VJ_TRY(vj_checkpoint_slices(&model->net.params, o->size, o->slice));
    o->first = o->zero ? o->slice[o->rank] : 0;
    o->last = o->zero ? o->slice[o->rank + 1] : model->net.params.total;
    const int64_t n = o->last - o->first;
    o->first_moment = vj_device_alloc(model->be, n * (int64_t)sizeof(float));
    o->second_moment = vj_device_alloc(model->be, n * (int64_t)sizeof(float));
    if (!o->first_moment || !o->second_moment) return VJ_ERR_MEMORY; /* reported by the device */
    vj_fill(model->be, o->first_moment, 0.0f, n);
    vj_fill(model->be, o->second_moment, 0.0f, n);
    VJ_TRY(open_blocks(o));
    return open_sums(o, config);
}

void vj_optimizer_close(vj_optimizer *o)
{
    if (!o) return;
    vj_device_free(o->model->be, o->first_moment);
    vj_device_free(o->model->be, o->second_moment);
    vj_device_free(o->model->be, o->sum);
    for (int i = 1; o->kept && i <= (o->reproducible ? vj_tree_levels(o->terms) : 0); i++)
        vj_device_free(o->model->be, o->kept[i]);
    vj_group_close(o->group);
    free(o->block);
    free(o->squares);
    free(o->kept);
    free(o->slice);
    free(o);
}

void vj_optimizer_reduce(vj_optimizer *o)
{
    o->done = 0;
    if (o->size == 1) return;
    vj_model *m = o->model;
    const double begin = vj_now();
    if (o->zero && vj_device_is_host(m->be)) {
        vj_group_sum_part(o->group, m->gradient, o->slice);
    } else {
        FOR_PIECES(m->be, m->gradient, 0, m->net.params.total, VJ_MAP_READ | VJ_MAP_WRITE, g, at, n)
        vj_group_sum(o->group, g, n);
    }
    o->comm_s += vj_now() - begin;
}

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

void vj_optimizer_norms(vj_optimizer *o, double norm[2])
{
    const vj_model *m = o->model;
    const vj_params *ps = &m->net.params;
    vj_fill(m->be, (float *)o->sum, 0.0f, 2 * o->blocks); /* a double is two floats */
    for (int64_t i = 0; i < o->blocks; i++) {
        int64_t first, last;
        if (o->block[i] < o->first || o->block[i] >= o->last) continue;
        if (vj_params_counted(ps, o->block[i], o->block[i + 1], &first, &last))
            vj_sum_squares(m->be, o->sum + i, m->gradient + first, last - first);
    }
    vj_download(m->be, o->squares, o->sum, o->blocks * (int64_t)sizeof *o->squares);
    if (o->zero) vj_sum_doubles(o->comm, o->squares, (int)o->blocks); /* all but one rank's are zero: exact */
    norm[VJ_ENCODER] = norm[VJ_PREDICTOR] = 0.0;
    for (int64_t i = 0; i < o->blocks; i++)
        norm[o->block[i] < ps->encoder_total ? VJ_ENCODER : VJ_PREDICTOR] += o->squares[i];
    if (m->net.tensor) vj_sum_doubles(m->net.tensor->comm, norm, 2);
    for (int part = 0; part < 2; part++) norm[part] = sqrt(norm[part]);
}

/* Every rank gets the slices that others updated. */
static void exchange(vj_optimizer *o)
{
    vj_model *m = o->model;
    const double begin = vj_now();
    for (int owner = 0; owner < o->size; owner++) {
        const int mode = owner == o->rank ? VJ_MAP_READ : VJ_MAP_WRITE;
        FOR_PIECES(m->be, m->weights, o->slice[owner], o->slice[owner + 1], mode, w, at, n)
        MPI_Bcast(w, (int)n, MPI_FLOAT, owner, o->comm);
        if (!m->target_weights) continue;
        const int64_t end = m->net.params.encoder_total;
        FOR_PIECES(m->be, m->target_weights, clamp(o->slice[owner], 0, end), clamp(o->slice[owner + 1], 0, end), mode,
                   w, at, n)
        MPI_Bcast(w, (int)n, MPI_FLOAT, owner, o->comm);
    }
    o->comm_s += vj_now() - begin;
}

void vj_optimizer_update(vj_optimizer *o, const vj_update *u)
{
    vj_model *m = o->model;
    const vj_params *ps = &m->net.params;
    for (int i = 0; i < ps->count; i++) {
        const vj_param *p = &ps->item[i];
        const int64_t first = clamp(p->offset, o->first, o->last),
                      last = clamp(p->offset + p->count, o->first, o->last);
        if (first == last) continue;
        const vj_adamw_step step = {.lr = u->lr * (p->part == VJ_PREDICTOR ? o->predictor_lr_scale : 1.0),
                                    .weight_decay = p->decay ? u->weight_decay : 0.0,
                                    .beta1 = o->beta1,
                                    .beta2 = o->beta2,
                                    .eps = o->eps,
                                    .correction1 = 1.0 - pow(o->beta1, (double)u->update),
                                    .correction2 = 1.0 - pow(o->beta2, (double)u->update),
                                    .gradient_scale = u->clip[p->part],
                                    .ema = u->ema};
        float *target = m->target_weights && p->part == VJ_ENCODER ? m->target_weights + first : NULL;
        vj_adamw(m->be, m->weights + first, o->first_moment + (first - o->first), o->second_moment + (first - o->first),
                 target, m->gradient + first, last - first, &step);
    }
    if (o->zero) exchange(o);
}
