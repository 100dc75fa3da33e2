/*
 * From the parameter table to the tensors of a checkpoint, and back. Writing has four steps: list the tensors
 * (list_run), decide which whole blocks of them each rank writes (vj_checkpoint_open), copy those to the host (get),
 * and write them (ckpt/ckpt.h).
 */
#include "train/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>

#include "parallel/parallel.h"

/* Where a tensor lives: element e of it is device[e - origin]. */
typedef struct {
    float *device;
    int64_t origin;
} tensor_home;

typedef struct {
    vj_ckpt_tensor *tensor;
    tensor_home *home;
    int count;
} tensor_list;

static void release(tensor_list *list)
{
    free(list->tensor);
    free(list->home);
}

static vj_status create(tensor_list *list, int capacity)
{
    *list = (tensor_list){.tensor = vj_calloc(capacity, sizeof *list->tensor),
                          .home = vj_calloc(capacity, sizeof *list->home)};
    if (list->tensor && list->home) return VJ_OK;
    release(list);
    return vj_raise(VJ_ERR_MEMORY, "no memory for a list of %d tensors", capacity);
}

/* Rows of the table as tensors "prefix/name"; the flat vector's element `origin` is at `device`. */
static void add(tensor_list *list, const vj_params *ps, vj_network_part part, const char *prefix, float *device,
                int64_t origin)
{
    for (int i = 0; i < ps->count; i++) {
        const vj_param *p = &ps->item[i];
        if (p->part != part) continue;
        vj_ckpt_tensor *t = &list->tensor[list->count];
        *t = (vj_ckpt_tensor){.ndim = p->ndim, .last = p->count, .data = &list->home[list->count]};
        snprintf(t->name, sizeof t->name, "%s/%s", prefix, p->name);
        for (int d = 0; d < p->ndim; d++) t->dim[d] = p->dim[d];
        list->home[list->count++] = (tensor_home){device, origin - p->offset};
    }
}

vj_status vj_checkpoint_slices(const vj_params *ps, int size, int64_t *slice)
{
    tensor_list list;
    VJ_TRY(create(&list, ps->count));
    add(&list, ps, VJ_ENCODER, "", NULL, 0);
    add(&list, ps, VJ_PREDICTOR, "", NULL, 0);
    slice[size] = ps->total;
    for (int rank = size - 1; rank >= 0; rank--) {
        vj_ckpt_share(list.tensor, list.count, size, rank);
        slice[rank] = slice[rank + 1];
        for (int i = list.count - 1; i >= 0; i--)
            if (list.tensor[i].first < list.tensor[i].last) slice[rank] = ps->item[i].offset + list.tensor[i].first;
    }
    slice[0] = 0;
    release(&list);
    return VJ_OK;
}

/* Narrow tensors to what lies in elements [first, last) of the flat vector. */
static void narrow(vj_ckpt_tensor *tensor, int count, const vj_params *ps, int64_t first, int64_t last)
{
    for (int i = 0; i < count; i++) {
        const int64_t begin = first - ps->item[i].offset, end = last - ps->item[i].offset;
        if (tensor[i].first < begin) tensor[i].first = begin < tensor[i].last ? begin : tensor[i].last;
        if (tensor[i].last > end) tensor[i].last = end > tensor[i].first ? end : tensor[i].first;
    }
}

/* All tensors of a run. *moments: number of the first moment tensor; the 2 * ps->count from there on are moments. */
static vj_status list_run(tensor_list *list, vj_optimizer *o, int *moments)
{
    vj_model *m = o->model;
    const vj_params *ps = &m->net.params;
    VJ_TRY(create(list, 4 * ps->count));
    add(list, ps, VJ_ENCODER, "model/encoder", m->weights, 0);
    add(list, ps, VJ_PREDICTOR, "model/predictor", m->weights, 0);
    if (m->target_weights) add(list, ps, VJ_ENCODER, "model/target", m->target_weights, 0);
    *moments = list->count;
    const struct {
        const char *encoder, *predictor;
        float *device;
    } moment[2] = {{"optimizer/first_moment/encoder", "optimizer/first_moment/predictor", o->first_moment},
                   {"optimizer/second_moment/encoder", "optimizer/second_moment/predictor", o->second_moment}};
    for (int i = 0; i < 2; i++) {
        add(list, ps, VJ_ENCODER, moment[i].encoder, moment[i].device, o->first);
        add(list, ps, VJ_PREDICTOR, moment[i].predictor, moment[i].device, o->first);
        narrow(list->tensor + list->count - ps->count, ps->count, ps, o->first, o->last);
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ writing */

struct vj_checkpoint {
    vj_optimizer *optimizer; /* borrowed */
    tensor_list list;
    vj_ckpt_writer *writer;
};

vj_status vj_checkpoint_open(vj_checkpoint **checkpoint, vj_optimizer *o, bool background)
{
    int moments = 0;
    vj_checkpoint *c = *checkpoint = vj_calloc(1, sizeof *c);
    vj_status status = c ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to write checkpoints");
    if (status == VJ_OK) status = list_run(&c->list, o, &moments);
    VJ_TRY(vj_agree(o->comm, status));
    c->optimizer = o;
    /* Replicated tensors are divided evenly; sharded moments are written by their owners. */
    vj_ckpt_share(c->list.tensor, o->zero ? moments : c->list.count, o->size, o->rank);
    return vj_ckpt_open(&c->writer, c->list.tensor, c->list.count, background, o->comm);
}

void vj_checkpoint_close(vj_checkpoint *c)
{
    if (!c) return;
    vj_ckpt_close(c->writer);
    release(&c->list);
    free(c);
}

int64_t vj_checkpoint_memory_bytes(const vj_checkpoint *c)
{
    return vj_ckpt_memory_bytes(c->writer);
}

/* Elements of a tensor that this rank writes, to the host; in the order of the list. */
static vj_status get(void *backend, const vj_ckpt_tensor *tensor, int64_t first, int64_t last, float *host)
{
    const tensor_home *home = tensor->data;
    vj_download(backend, host, home->device + (first - home->origin), (last - first) * (int64_t)sizeof *host);
    return vj_sync(backend);
}

vj_status vj_checkpoint_begin(vj_checkpoint *c, const char *dir, const vj_ckpt_state *state)
{
    return vj_ckpt_begin(c->writer, dir, state, get, c->optimizer->model->be);
}

bool vj_checkpoint_written(const vj_checkpoint *c)
{
    return vj_ckpt_written(c->writer);
}

vj_status vj_checkpoint_commit(vj_checkpoint *c)
{
    return vj_ckpt_commit(c->writer);
}

/* ------------------------------------------------------------------------------------------------ reading */

static vj_status put(void *backend, const vj_ckpt_tensor *tensor, int64_t first, int64_t last, float *host)
{
    const tensor_home *home = tensor->data;
    vj_upload(backend, home->device + (first - home->origin), host, (last - first) * (int64_t)sizeof *host);
    return vj_sync(backend);
}

vj_status vj_checkpoint_load(const char *path, vj_optimizer *o)
{
    tensor_list list;
    int moments;
    VJ_TRY(list_run(&list, o, &moments));
    vj_status status = vj_ckpt_read(path, list.tensor, list.count, put, o->model->be);
    release(&list);
    return status;
}

/* Tensors of the right sizes do not make the same network: the checkpoint's own configuration is asked. */
static vj_status check_encoder(const char *path, const vj_shape *want)
{
    vj_ckpt_state state;
    VJ_TRY(vj_ckpt_read_state(path, &state));
    vj_config *stored = vj_calloc(1, sizeof *stored);
    vj_status status = stored ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a configuration");
    if (stored) vj_config_defaults(stored);
    if (status == VJ_OK) status = vj_config_parse(stored, path, state.config);
    if (status == VJ_OK) status = vj_config_check(stored);
    if (status == VJ_OK) {
        const vj_shape has = vj_shape_from(stored);
        const struct {
            const char *key;
            int has, want;
        } row[] = {{"model.width", has.width, want->width},
                   {"model.depth", has.depth, want->depth},
                   {"model.heads", has.heads, want->heads},
                   {"model.patch", has.patch, want->patch},
                   {"model.tubelet", has.tubelet, want->tubelet},
                   {"model.uniform_power", has.uniform_power, want->uniform_power}};
        for (size_t i = 0; i < sizeof row / sizeof row[0] && status == VJ_OK; i++)
            if (row[i].has != row[i].want)
                status = vj_raise(VJ_ERR_FORMAT, "%s holds an encoder with %s %d, the configuration says %d", path,
                                  row[i].key, row[i].has, row[i].want);
    }
    free(stored);
    vj_ckpt_state_release(&state);
    return status;
}

vj_status vj_checkpoint_load_encoder(const char *path, vj_encoder *e)
{
    tensor_list list;
    VJ_TRY(check_encoder(path, &e->net.shape));
    VJ_TRY(create(&list, e->net.params.count));
    const char *prefix = vj_ckpt_has(path, "model/target/norm.weight") ? "model/target" : "model/encoder";
    add(&list, &e->net.params, VJ_ENCODER, prefix, e->weights, 0);
    vj_status status = vj_ckpt_read(path, list.tensor, list.count, put, e->be);
    release(&list);
    return status;
}
