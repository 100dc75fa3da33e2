/*
 * From the parameter table to the tensors of a checkpoint, and back. Writing has four steps: list the tensors
 * (list_run), decide which whole blocks of them each rank writes (vj_checkpoint_open), copy those to the host, from all
 * ranks that have a share of them (get), and write them (ckpt/ckpt.h).
 */
#include "train/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parallel/parallel.h"

/* A tensor in device memory: element e of this rank's share is device[e - origin]. */
typedef struct {
    const vj_param *param;
    float *device;
    int64_t origin;
    int64_t first, last; /* elements of the whole tensor that this tensor group writes */
    int rotation;        /* of the group's ranks, so that each tensor begins with another rank */
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

/* List rows of the parameter table as tensors "prefix/name"; element `origin` of the flat vector is at `device`. */
static void add(tensor_list *list, const vj_params *ps, vj_network_part part, const char *prefix, float *device,
                int64_t origin)
{
    for (int i = 0; i < ps->count; i++) {
        const vj_param *p = &ps->item[i];
        if (p->part != part) continue;
        vj_ckpt_tensor *t = &list->tensor[list->count];
        *t = (vj_ckpt_tensor){.ndim = p->ndim, .last = p->whole, .data = &list->home[list->count]};
        snprintf(t->name, sizeof t->name, "%s/%s", prefix, p->name);
        for (int d = 0; d < p->ndim; d++) t->dim[d] = p->dim[d];
        list->home[list->count++] = (tensor_home){.param = p, .device = device, .origin = origin - p->offset};
    }
}

/* Return whether the ranks of the tensor group hold different rows of this tensor. */
static bool rows_divided(const vj_param *p)
{
    return p->shares > 1 && p->runs != p->dim[0];
}

static int64_t block_elements(const vj_ckpt_tensor *t)
{
    const vj_param *p = ((const tensor_home *)t->data)->param;
    return vj_ckpt_block_rows(t) * (p->whole / p->dim[0]);
}

/*
 * Borders of slices fall on borders of checkpoint blocks, so no block is owned by two data ranks: between rows of
 * tensors that are whole or divided by columns, and never inside tensors whose rows are divided. So elements [a, b) of
 * a slice's share are elements [a shares, b shares) of the whole tensor.
 */
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
        for (int i = list.count - 1; i >= 0; i--) {
            const vj_param *p = &ps->item[i];
            const int64_t first = list.tensor[i].first;
            if (first < list.tensor[i].last)
                slice[rank] = p->offset + (rows_divided(p) && first > 0 ? p->count : first / p->shares);
        }
    }
    slice[0] = 0;
    release(&list);
    return VJ_OK;
}

static vj_ckpt_tensor whole_tensor(const vj_param *p, tensor_home *home)
{
    vj_ckpt_tensor t = {.ndim = p->ndim, .last = p->whole, .data = home};
    *home = (tensor_home){.param = p, .last = p->whole};
    for (int d = 0; d < p->ndim; d++) t.dim[d] = p->dim[d];
    return t;
}

int64_t vj_checkpoint_block(const vj_param *p)
{
    tensor_home home;
    const vj_ckpt_tensor t = whole_tensor(p, &home);
    return rows_divided(p) ? p->count : block_elements(&t) / p->shares;
}

/* Restrict tensors to their elements in [first, last) of the flat vector, a slice. */
static void narrow(vj_ckpt_tensor *tensor, int count, const vj_params *ps, int64_t first, int64_t last)
{
    for (int i = 0; i < count; i++) {
        const vj_param *p = &ps->item[i];
        const int64_t begin = (first - p->offset) * p->shares, end = (last - p->offset) * p->shares;
        if (tensor[i].first < begin) tensor[i].first = begin < tensor[i].last ? begin : tensor[i].last;
        if (tensor[i].last > end) tensor[i].last = end > tensor[i].first ? end : tensor[i].first;
    }
}

/* List all tensors of a run; of the moments, those that this rank has. */
static vj_status list_run(tensor_list *list, vj_optimizer *o)
{
    const vj_trainable *t = o->trained;
    const vj_params *ps = t->params;
    VJ_TRY(create(list, 4 * ps->count));
    add(list, ps, VJ_ENCODER, "model/encoder", t->weights, 0);
    add(list, ps, VJ_PREDICTOR, "model/predictor", t->weights, 0);
    if (t->target) add(list, ps, VJ_ENCODER, "model/target", t->target, 0);
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

/*
 * Choose what a rank writes: an even part of the tensors that all data ranks have alike. With parallel.zero it writes
 * what it updates, because moments, and with bf16 copies (weight_gather.h) also weights, exist nowhere else.
 */
static void share_over_ranks(tensor_list *list, const vj_optimizer *o)
{
    const vj_params *ps = o->trained->params;
    if (!o->zero) {
        vj_ckpt_share(list->tensor, list->count, o->size, o->rank);
        return;
    }
    narrow(list->tensor, ps->count, ps, o->first, o->last);
    if (o->trained->target) narrow(list->tensor + ps->count, list->count - 3 * ps->count, ps, o->first, o->last);
}

/* ------------------------------------------------------------------------------------------------ writing */

/* A block of a divided tensor on its way to the rank that writes it; {.last = -1} is before the first. */
typedef struct {
    int tensor, owner;
    int64_t first, last;
} turn;

struct vj_checkpoint {
    vj_optimizer *optimizer; /* borrowed */
    tensor_list list;
    vj_ckpt_writer *writer;
    turn turn;   /* of the checkpoint under way */
    float *work; /* [VJ_ASSEMBLE_WORK + VJ_ASSEMBLE_MAX] with a tensor group, else NULL */
    /*
     * For background checkpoints on a device that is not the host: memory of vj_host_alloc() that everything is copied
     * to, and an event after the copies. Else NULL.
     */
    void *snapshot;
    vj_event *copied; /* of the backend */
};

/*
 * Choose which of the blocks that the group writes rank `rank` of the group writes. Ranks take turns at being the
 * first, because many tensors have only one block.
 */
static void share_blocks(const vj_ckpt_tensor *t, int size, int rank, int64_t *first, int64_t *last)
{
    const tensor_home *home = t->data;
    const int64_t block = block_elements(t);
    vj_split((home->last - home->first + block - 1) / block, size, (rank + home->rotation) % size, first, last);
    *first = home->first + *first * block;
    *last = home->first + *last * block;
    if (*first > home->last) *first = home->last;
    if (*last > home->last) *last = home->last;
}

int64_t vj_checkpoint_first_share(const vj_param *p, int ranks)
{
    int64_t first, last;
    tensor_home home;
    const vj_ckpt_tensor t = whole_tensor(p, &home);
    share_blocks(&t, ranks, 0, &first, &last);
    return last;
}

/* Divide what a data rank writes over its tensor group. */
static void share_in_group(tensor_list *list, const vj_tensor *t)
{
    for (int i = 0; i < list->count; i++) {
        vj_ckpt_tensor *tensor = &list->tensor[i];
        list->home[i].first = tensor->first;
        list->home[i].last = tensor->last;
        list->home[i].rotation = i % t->size;
        share_blocks(tensor, t->size, t->rank, &tensor->first, &tensor->last);
    }
}

/* The next block of a divided tensor, and who writes it; false: that was the last. */
static bool next_turn(const tensor_list *list, int size, turn *t)
{
    for (; t->tensor < list->count; t->tensor++, t->owner = 0) {
        const vj_ckpt_tensor *tensor = &list->tensor[t->tensor];
        if (list->home[t->tensor].param->shares == 1) continue;
        for (; t->owner < size; t->owner++, t->last = -1) {
            int64_t first, last;
            const int64_t block = block_elements(tensor);
            share_blocks(tensor, size, t->owner, &first, &last);
            t->first = t->last < 0 ? first : t->last;
            if (t->first == last) continue;
            t->last = last - t->first < block ? last : t->first + block;
            return true;
        }
    }
    return false;
}

/*
 * Go on to this rank's next block and assemble it in `whole`; on the way, send this rank's part of the blocks that
 * other ranks write. With `whole` NULL, go on to the end of all blocks, dropping this rank's own. All ranks of the
 * group go through all blocks in the same order, each at the speed at which it writes. Returns false if there was no
 * block left.
 */
static bool assemble_next(vj_checkpoint *c, float *whole)
{
    vj_backend *be = c->optimizer->trained->be;
    vj_tensor *t = c->optimizer->trained->tensor;
    while (next_turn(&c->list, t->size, &c->turn)) {
        const tensor_home *home = &c->list.home[c->turn.tensor];
        float *to = whole ? whole : c->work + VJ_ASSEMBLE_WORK;
        vj_wait_for_ranks(true);
        vj_tensor_assemble(t, be, home->param, home->device - home->origin, c->turn.first, c->turn.last, c->turn.owner,
                           to, c->work);
        vj_wait_for_ranks(false);
        if (whole && c->turn.owner == t->rank) return true;
    }
    return false;
}

static bool is_copied(void *checkpoint, bool wait)
{
    const vj_checkpoint *c = checkpoint;
    if (wait) vj_event_wait(c->optimizer->trained->be, c->copied);
    return vj_event_done(c->optimizer->trained->be, c->copied);
}

/* On a device, begin to copy the state of the run; the copies run during the next step. */
static vj_status lend_snapshot(vj_checkpoint *c)
{
    vj_optimizer *o = c->optimizer;
    c->snapshot = vj_host_alloc(o->trained->be, vj_ckpt_memory_bytes(c->writer));
    if (!c->snapshot) return VJ_ERR_MEMORY; /* reported by the device */
    c->copied = o->snapshot = vj_event_create(o->trained->be);
    vj_ckpt_lend(c->writer, c->snapshot, is_copied, c);
    return vj_sync(o->trained->be);
}

vj_status vj_checkpoint_open(vj_checkpoint **checkpoint, vj_optimizer *o, bool background, MPI_Comm world)
{
    vj_checkpoint *c = *checkpoint = vj_calloc(1, sizeof *c);
    vj_status status = c ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to write checkpoints");
    if (status == VJ_OK) status = list_run(&c->list, o);
    if (status == VJ_OK) {
        c->optimizer = o;
        share_over_ranks(&c->list, o);
    }
    if (status == VJ_OK && o->trained->tensor) {
        share_in_group(&c->list, o->trained->tensor);
        c->work = vj_calloc(VJ_ASSEMBLE_WORK + VJ_ASSEMBLE_MAX, sizeof *c->work);
        if (!c->work) status = vj_raise(VJ_ERR_MEMORY, "no memory to assemble the tensors of a checkpoint");
    }
    VJ_TRY(vj_agree(world, status));
    VJ_TRY(vj_ckpt_open(&c->writer, c->list.tensor, c->list.count, background, world));
    return vj_agree(world, background && !vj_device_is_host(o->trained->be) ? lend_snapshot(c) : VJ_OK);
}

void vj_checkpoint_close(vj_checkpoint *c)
{
    if (!c) return;
    vj_ckpt_close(c->writer);
    if (c->snapshot) {
        vj_event_wait(c->optimizer->trained->be, c->copied);
        vj_host_free(c->optimizer->trained->be, c->snapshot);
        c->optimizer->snapshot = NULL;
    }
    release(&c->list);
    free(c->work);
    free(c);
}

void vj_checkpoint_keep(vj_checkpoint *c, int64_t keep, int64_t keep_every)
{
    vj_ckpt_keep(c->writer, keep, keep_every);
}

void vj_checkpoint_set_lease(vj_checkpoint *c, const vj_lease_seal *lease)
{
    vj_ckpt_set_lease(c->writer, lease);
}

int64_t vj_checkpoint_memory_bytes(const vj_checkpoint *c)
{
    return vj_ckpt_memory_bytes(c->writer);
}

/*
 * Copy the whole blocks of a tensor that this rank writes to the host, in the order of the list. Copies to a snapshot
 * are only begun, in the lane that was entered last; blocks that a tensor group assembles are waited for.
 */
static vj_status get(void *checkpoint, const vj_ckpt_tensor *tensor, int64_t first, int64_t last, float *host)
{
    vj_checkpoint *c = checkpoint;
    vj_backend *be = c->optimizer->trained->be;
    const tensor_home *home = tensor->data;
    if (home->param->shares == 1 && c->snapshot) {
        vj_download_begin(be, host, home->device + (first - home->origin), (last - first) * (int64_t)sizeof *host);
        return VJ_OK;
    }
    if (home->param->shares == 1) {
        vj_download(be, host, home->device + (first - home->origin), (last - first) * (int64_t)sizeof *host);
    } else {
        for (int64_t at = first; at < last; at = c->turn.last) {
            const bool found = assemble_next(c, host + (at - first));
            VJ_ASSERT(found && c->turn.first == at);
        }
    }
    return vj_sync(be);
}

vj_status vj_checkpoint_begin(vj_checkpoint *c, const char *dir, const vj_ckpt_state *state)
{
    vj_backend *be = c->optimizer->trained->be;
    vj_event *now = vj_event_record(be);
    const vj_lane lane = vj_lane_enter(be, c->snapshot ? VJ_LANE_SNAPSHOT : VJ_LANE_COMPUTE);
    if (c->snapshot) vj_event_follow(be, now);
    c->turn = (turn){.last = -1};
    const vj_status status = vj_ckpt_begin(c->writer, dir, state, get, c);
    if (status == VJ_OK && c->work) assemble_next(c, NULL); /* other ranks may still need parts of this one */
    vj_event_record_again(be, c->copied);
    vj_lane_enter(be, lane);
    return status;
}

bool vj_checkpoint_poll(vj_checkpoint *c)
{
    return vj_ckpt_poll(c->writer);
}

vj_status vj_checkpoint_commit(vj_checkpoint *c)
{
    return vj_ckpt_commit(c->writer);
}

/* ------------------------------------------------------------------------------------------------ reading */

/* Restrict a tensor to the blocks from the first to the last in which this rank has a share. */
static void narrow_to_share(vj_ckpt_tensor *t)
{
    const vj_param *p = ((const tensor_home *)t->data)->param;
    const int64_t block = block_elements(t);
    int64_t first = t->last, last = t->last;
    for (int64_t at = t->first, end; at < t->last; at = end) {
        end = t->last - at < block ? t->last : at + block;
        if (vj_param_before(p, p->share, at) == vj_param_before(p, p->share, end)) continue;
        if (first == t->last) first = at;
        last = end;
    }
    t->first = first;
    t->last = last;
}

static vj_status put(void *backend, const vj_ckpt_tensor *tensor, int64_t first, int64_t last, float *host)
{
    const tensor_home *home = tensor->data;
    const vj_param *p = home->param;
    const int64_t begin = vj_param_before(p, p->share, first), end = vj_param_before(p, p->share, last);
    vj_param_cut(p, p->share, first, last, host, host);
    vj_upload(backend, home->device + (begin - home->origin), host, (end - begin) * (int64_t)sizeof *host);
    return vj_sync(backend);
}

vj_status vj_checkpoint_load(const char *path, vj_optimizer *o, MPI_Comm world)
{
    tensor_list list = {0};
    vj_status status = vj_agree(world, list_run(&list, o));
    for (int i = 0; i < list.count && status == VJ_OK; i++) narrow_to_share(&list.tensor[i]);
    if (status == VJ_OK) status = vj_ckpt_read(path, list.tensor, list.count, put, o->trained->be, world);
    release(&list);
    o->trained->copies_updated = false;
    return status;
}

/* ------------------------------------------------------------------------------------------------ architecture */

vj_ckpt_architecture vj_checkpoint_architecture(const vj_shape *s)
{
    static const char positions[][VJ_CKPT_WORD] = {
        [VJ_POSITIONS_SINCOS] = "sincos", [VJ_POSITIONS_LEARNED] = "learned", [VJ_POSITIONS_ROTARY] = "rotary"};
    vj_ckpt_architecture a = {.kind = "vit",
                              .width = s->width,
                              .depth = s->depth,
                              .heads = s->heads,
                              .hidden = s->hidden,
                              .patch = s->patch,
                              .tubelet = s->tubelet,
                              .channels = s->channels,
                              .prefix_tokens = s->prefix_tokens,
                              .uniform_power = s->uniform_power,
                              .eps = (double)s->eps,
                              .frames = s->frames,
                              .height = s->height,
                              .width_px = s->width_px};
    memcpy(a.positions, positions[s->positions], VJ_CKPT_WORD);
    return a;
}

/* Derive the architecture from the configuration in the checkpoint, for files that do not store the architecture. */
static vj_status architecture_by_config(const char *path, const char *text, vj_ckpt_architecture *a)
{
    vj_config *stored = vj_calloc(1, sizeof *stored);
    if (!stored) return vj_raise(VJ_ERR_MEMORY, "no memory for a configuration");
    vj_config_defaults(stored);
    vj_status status = vj_config_parse(stored, path, text);
    if (status == VJ_OK) status = vj_config_check(stored);
    if (status == VJ_OK) {
        const vj_shape shape = vj_shape_from(stored);
        *a = vj_checkpoint_architecture(&shape);
    }
    free(stored);
    return status;
}

vj_status vj_checkpoint_check_encoder(const char *path, const vj_ckpt_state *state, const vj_shape *shape)
{
    const vj_ckpt_architecture want = vj_checkpoint_architecture(shape);
    vj_ckpt_architecture has = state->architecture;
    if (!*has.kind) VJ_TRY(architecture_by_config(path, state->config, &has));
    return vj_ckpt_check_architecture(path, &has, &want);
}

vj_status vj_checkpoint_load_encoder(const char *path, vj_encoder *e, MPI_Comm comm)
{
    const bool first = vj_comm_rank(comm) == 0;
    tensor_list list = {0};
    vj_ckpt_state state;
    VJ_TRY(vj_ckpt_read_state(path, &state, comm));
    vj_status status = first ? vj_checkpoint_check_encoder(path, &state, &e->net.shape) : VJ_OK;
    vj_ckpt_state_release(&state);
    VJ_TRY(vj_agree(comm, status));
    int has_target = first && vj_ckpt_has(path, "model/target/norm.weight");
    vj_broadcast(&has_target, sizeof has_target, comm);
    status = vj_agree(comm, create(&list, e->net.params.count));
    if (status == VJ_OK) {
        add(&list, &e->net.params, VJ_ENCODER, has_target ? "model/target" : "model/encoder", e->weights, 0);
        status = vj_ckpt_read(path, list.tensor, list.count, put, e->be, comm);
    }
    release(&list);
    return status;
}
