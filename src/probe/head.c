/*
 * Heads (head.h): the token part is one kernel. The row part is a probe (parts.h) whose rows are written to their
 * places in the batch and computed in groups of VJ_HEAD_GROUP neighbours. A group is computed whole whenever one of its
 * rows arrives: a row always has the same place in its group, and the others, present or not, do not affect it.
 */
#include "probe/head.h"

#include <stdlib.h>
#include <string.h>

#include "probe/parts.h"

struct vj_head {
    vj_backend *be; /* borrowed */
    vj_head_shape shape;
    vj_probe *probe; /* its batch: that of the shape in whole groups, and one more group for measuring */
    int64_t groups;  /* of a batch */
    float *rows;     /* in the probe: [batch, row floats]; drows: their gradients */
    float *drows;
    double *row_loss; /* device, [VJ_HEAD_GROUP] */
    int32_t *labels;  /* [groups, VJ_HEAD_GROUP] */
    double *loss;     /* [groups, VJ_HEAD_GROUP] */
    char *there;      /* [groups, VJ_HEAD_GROUP] bool: has arrived since the last update */
    char *empty;      /* [groups, VJ_HEAD_GROUP] bool: has no label and adds no gradient */
    char *touched;    /* [groups] bool: to be computed */
    int folded;       /* bool: the key is that of the present weights */
};

/* ------------------------------------------------------------------------------------------------ token part */

static bool attentive(const vj_head_shape *shape)
{
    return shape->pooling == VJ_POOL_ATTENTIVE;
}

int64_t vj_head_key_floats(const vj_head_shape *shape)
{
    return attentive(shape) ? (int64_t)shape->heads * shape->D : 0;
}

int64_t vj_head_row_floats(const vj_head_shape *shape)
{
    return attentive(shape) ? (int64_t)shape->heads * shape->D : shape->D;
}

void vj_head_pool(vj_backend *be, const vj_head_shape *shape, float *row, float *prob, const float *key,
                  const float *tokens)
{
    vj_head_pool_many(be, shape, 1, row, prob, key, tokens);
}

void vj_head_pool_many(vj_backend *be, const vj_head_shape *shape, int count, float *rows, float *prob,
                       const float *keys, const float *tokens)
{
    if (attentive(shape))
        vj_pool_forward(be, rows, prob, tokens, keys, 1, shape->tokens, shape->D, count * shape->heads);
    else {
        VJ_ASSERT(count == 1);
        vj_mean_tokens(be, rows, tokens, 1, shape->tokens, shape->D);
    }
}

void vj_head_pool_backward_many(vj_backend *be, const vj_head_shape *shape, int count, float *dkeys, const float *drows,
                                const float *rows, const float *prob, const float *tokens)
{
    VJ_ASSERT(attentive(shape));
    vj_pool_backward(be, dkeys, drows, rows, prob, tokens, 1, shape->tokens, shape->D, count * shape->heads);
}

/* ------------------------------------------------------------------------------------------------ memory */

static int64_t groups_of(int64_t rows)
{
    return (rows + VJ_HEAD_GROUP - 1) / VJ_HEAD_GROUP;
}

static vj_probe_shape probe_shape(const vj_head_shape *shape)
{
    return (vj_probe_shape){.pooling = shape->pooling,
                            .D = shape->D,
                            .heads = shape->heads,
                            .classes = shape->classes,
                            .tokens = shape->tokens,
                            .batch = shape->batch < 1 ? 0 : (groups_of(shape->batch) + 1) * VJ_HEAD_GROUP,
                            .folded = attentive(shape),
                            .blocks = shape->depth - 1,
                            .norm_last = shape->norm_last};
}

int64_t vj_head_bytes(const vj_head_shape *shape)
{
    const vj_probe_shape of_rows = probe_shape(shape);
    return vj_probe_parts_bytes(&of_rows, VJ_PARTS_ROWS) + VJ_HEAD_GROUP * (int64_t)sizeof(double);
}

vj_status vj_head_create(vj_head **head, vj_backend *be, const vj_head_shape *shape)
{
    const vj_probe_shape of_rows = probe_shape(shape);
    const int64_t groups = groups_of(shape->batch), rows = groups * VJ_HEAD_GROUP;
    *head = NULL;
    if (shape->depth < 1) return vj_raise(VJ_ERR_USAGE, "a head has a depth of 1 or more, not %d", shape->depth);
    vj_head *h = vj_calloc(1, sizeof *h);
    if (!h) return vj_raise(VJ_ERR_MEMORY, "no memory for a head");
    *h = (vj_head){.be = be, .shape = *shape, .groups = groups};
    vj_status status = vj_probe_create_parts(&h->probe, be, &of_rows, VJ_PARTS_ROWS);
    if (status == VJ_OK) {
        h->rows = attentive(shape) ? h->probe->mix : h->probe->pooled;
        h->drows = attentive(shape) ? h->probe->dmix : h->probe->dpooled;
        h->labels = vj_calloc(rows, sizeof *h->labels);
        h->loss = vj_calloc(rows, sizeof *h->loss);
        h->there = vj_calloc(rows, sizeof *h->there);
        h->empty = vj_calloc(rows, sizeof *h->empty);
        h->touched = vj_calloc(groups, sizeof *h->touched);
        h->row_loss = vj_device_alloc(be, VJ_HEAD_GROUP * (int64_t)sizeof *h->row_loss);
        if (!h->labels || !h->loss || !h->there || !h->empty || !h->touched)
            status = vj_raise(VJ_ERR_MEMORY, "no memory for a head's batch of %lld", (long long)shape->batch);
        else if (!h->row_loss)
            status = VJ_ERR_MEMORY; /* reported by the device */
    }
    if (status != VJ_OK) {
        vj_head_destroy(h);
        return status;
    }
    *head = h;
    return VJ_OK;
}

void vj_head_destroy(vj_head *h)
{
    if (!h) return;
    vj_probe_destroy(h->probe);
    if (h->row_loss) vj_device_free(h->be, h->row_loss);
    free(h->labels);
    free(h->loss);
    free(h->there);
    free(h->empty);
    free(h->touched);
    free(h);
}

vj_status vj_head_init(vj_head *h, uint64_t seed, double std)
{
    h->folded = 0;
    return vj_probe_init(h->probe, seed, std);
}

int vj_head_tensor_count(const vj_head *h)
{
    return vj_probe_tensor_count(h->probe);
}

vj_probe_tensor *vj_head_tensor_at(vj_head *h, int i)
{
    return vj_probe_tensor_at(h->probe, i);
}

float *vj_head_state(vj_head *h, int64_t *count)
{
    *count = h->probe->size;
    return h->probe->weights;
}

void vj_head_weights_changed(vj_head *h)
{
    h->folded = 0;
}

/* ------------------------------------------------------------------------------------------------ rows */

const float *vj_head_key(vj_head *h)
{
    if (!attentive(&h->shape)) return NULL;
    if (!h->folded) vj_probe_fold(h->probe);
    h->folded = 1;
    return h->probe->fold;
}

static void put_row(vj_head *h, int64_t place, const float *row)
{
    const int64_t floats = vj_head_row_floats(&h->shape);
    vj_copy(h->be, h->rows + place * floats, row, floats);
}

/* Compute the logits of one group. */
static void group_forward(vj_head *h, int64_t group)
{
    const int64_t first = group * VJ_HEAD_GROUP;
    if (attentive(&h->shape)) {
        vj_probe_project(h->probe, first, VJ_HEAD_GROUP);
        vj_probe_stages(h->probe, first, VJ_HEAD_GROUP);
    }
    vj_probe_classify(h->probe, first, VJ_HEAD_GROUP);
}

/* Compute logits, losses and the gradients of the rows of one group. Each row has its own loss, whose gradient is then
 * divided by the number of rows of the batch. */
static void group_train(vj_head *h, int64_t group, int64_t batch_count)
{
    vj_probe *p = h->probe;
    const int64_t first = group * VJ_HEAD_GROUP, classes = p->shape.classes;
    group_forward(h, group);
    vj_upload(h->be, p->labels + first, h->labels + first, VJ_HEAD_GROUP * (int64_t)sizeof *h->labels);
    for (int64_t i = 0; i < VJ_HEAD_GROUP; i++) {
        const int64_t at = (first + i) * classes;
        vj_softmax_loss(h->be, h->row_loss + i, p->dlogits + at, p->logits + at, p->labels + first + i, 1,
                        p->shape.classes);
        if (!h->empty[first + i]) continue;
        vj_fill(h->be, p->dlogits + at, 0.0f, classes);
    }
    vj_scale(h->be, p->dlogits + first * classes, 1.0f / (float)batch_count, VJ_HEAD_GROUP * classes);
    vj_download(h->be, h->loss + first, h->row_loss, VJ_HEAD_GROUP * (int64_t)sizeof *h->loss);
    vj_probe_classify_backward(p, first, VJ_HEAD_GROUP);
    if (!attentive(&h->shape)) return;
    vj_probe_stages_backward(p, first, VJ_HEAD_GROUP);
    vj_probe_project_backward(p, first, VJ_HEAD_GROUP);
}

vj_status vj_head_rows(vj_head *h, float *drows, double *loss, const float *rows, const int64_t *places,
                       const int32_t *labels, int64_t count, int64_t batch_count)
{
    const int64_t floats = vj_head_row_floats(&h->shape);
    VJ_ASSERT(batch_count >= 1 && batch_count <= h->shape.batch);
    for (int64_t i = 0; i < count; i++) {
        const int64_t place = places[i];
        VJ_ASSERT(place >= 0 && place < batch_count && !h->there[place]);
        VJ_ASSERT(labels[i] >= -1 && labels[i] < h->shape.classes);
        put_row(h, place, rows + i * floats);
        h->empty[place] = labels[i] < 0;
        h->labels[place] = labels[i] < 0 ? 0 : labels[i];
        h->there[place] = 1;
        h->touched[place / VJ_HEAD_GROUP] = 1;
    }
    for (int64_t group = 0; group < h->groups; group++) {
        if (h->touched[group]) group_train(h, group, batch_count);
        h->touched[group] = 0;
    }
    for (int64_t i = 0; i < count; i++) {
        loss[i] = labels[i] < 0 ? 0.0 : h->loss[places[i]];
        if (drows) vj_copy(h->be, drows + i * floats, h->drows + places[i] * floats, floats);
    }
    return vj_sync(h->be);
}

void vj_head_score(vj_head *h, float *logits, const float *rows, int64_t first, int64_t count)
{
    const int64_t floats = vj_head_row_floats(&h->shape), classes = h->shape.classes;
    const int64_t spare = h->groups * VJ_HEAD_GROUP; /* the group that no batch uses */
    for (int64_t i = 0; i < count;) {
        const int64_t slot = (first + i) % VJ_HEAD_GROUP, left = VJ_HEAD_GROUP - slot;
        const int64_t n = count - i < left ? count - i : left;
        for (int64_t k = 0; k < n; k++) put_row(h, spare + slot + k, rows + (i + k) * floats);
        group_forward(h, h->groups);
        vj_copy(h->be, logits + i * classes, h->probe->logits + (spare + slot) * classes, n * classes);
        i += n;
    }
}

/* ------------------------------------------------------------------------------------------------ update */

vj_status vj_head_update(vj_head *h, const float *dkeys, int64_t batch_count, const vj_head_step *step)
{
    vj_probe *p = h->probe;
    for (int64_t place = 0; place < batch_count; place++) VJ_ASSERT(h->there[place]);
    memset(h->there, 0, (size_t)(h->groups * VJ_HEAD_GROUP));
    vj_probe_classify_gradients(p, batch_count);
    if (attentive(&h->shape)) {
        /* The sum of the samples' gradients, in double, as the mean times their number. */
        const int floats = (int)vj_head_key_floats(&h->shape);
        vj_mean_tokens(h->be, p->dfold, dkeys, 1, batch_count, floats);
        vj_scale(h->be, p->dfold, (float)batch_count, floats);
        (void)vj_head_key(h); /* its parts are needed, even if the key was not requested */
        vj_probe_stages_gradients(p, batch_count);
        vj_probe_project_gradients(p, batch_count);
        vj_probe_fold_gradients(p, batch_count);
    }
    vj_probe_update_parts(p, step->update, step->lr, step->weight_decay, step->clip, step->decay_all);
    h->folded = 0;
    return vj_sync(h->be);
}
