/*
 * One round of training: all ranks encode consecutive samples of the stream, and the heads learn from them in waves. In
 * a wave each head learns from the samples of its current batch that are in this round. If its batch is then complete,
 * the head is updated, and continues with its next batch in the next wave.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate/exchange.h"
#include "evaluate/heads.h"
#include "evaluate/parts.h"
#include "parallel/parallel.h"

/* The samples of this round that belong to a split. */
typedef struct {
    int32_t *at; /* [taken] indices of its samples in the round */
    int64_t taken, next;
    int64_t done, filled, update; /* as in vj_eval_split; filled: samples of the current batch already passed */
    int64_t wave, batch;          /* number of its samples in this wave, and in the batch that they belong to */
    int64_t next_row, row;        /* index in the batch of its next sample; of the current sample (-1: not in it) */
} part;

typedef struct {
    vj_evaluation *e;
    int64_t count;         /* samples of the round */
    const int64_t *sample; /* [count] borrowed */
    part *part;            /* [splits] */
    vj_entry *entry;       /* [count * heads of an encoder] */
    int64_t entries;
    int64_t *place; /* [count] */
    int32_t *label;
    double *loss;
    float *host;         /* [count, row floats] */
    float *rows, *drows; /* device, the same */
    int64_t *head;       /* [heads] the heads whose keys are sent */
} work;

/* ------------------------------------------------------------------------------------------------ memory */

static vj_status open_work(work *w, vj_evaluation *e)
{
    const int64_t limit = e->config->evaluate.batch * e->size;
    const int64_t row = e->key_floats;
    *w = (work){.e = e, .sample = e->stream.sample + e->stream.place};
    w->count = e->stream.count - e->stream.place < limit ? e->stream.count - e->stream.place : limit;
    w->part = vj_calloc(e->split_count, sizeof *w->part);
    w->entry = vj_calloc(w->count * e->head_count / e->frozen.count, sizeof *w->entry);
    w->place = vj_calloc(w->count, sizeof *w->place);
    w->label = vj_calloc(w->count, sizeof *w->label);
    w->loss = vj_calloc(w->count, sizeof *w->loss);
    w->host = vj_calloc(w->count * row, sizeof *w->host);
    w->head = vj_calloc(e->head_count, sizeof *w->head);
    bool there = w->part && w->entry && w->place && w->label && w->loss && w->host && w->head;
    for (int s = 0; there && s < e->split_count; s++) {
        w->part[s].at = vj_calloc(w->count, sizeof(int32_t));
        there = w->part[s].at != NULL;
    }
    if (!there) return vj_raise(VJ_ERR_MEMORY, "no memory for a round; a smaller evaluate.batch?");
    w->rows = vj_device_alloc(e->frozen.be, w->count * row * (int64_t)sizeof(float));
    w->drows = vj_device_alloc(e->frozen.be, w->count * row * (int64_t)sizeof(float));
    return w->rows && w->drows ? VJ_OK : VJ_ERR_MEMORY;
}

static void close_work(work *w)
{
    for (int s = 0; w->part && s < w->e->split_count; s++) free(w->part[s].at);
    free(w->part);
    free(w->entry);
    free(w->place);
    free(w->label);
    free(w->loss);
    free(w->host);
    free(w->head);
    vj_device_free(w->e->frozen.be, w->rows);
    vj_device_free(w->e->frozen.be, w->drows);
}

/* ------------------------------------------------------------------------------------------------ waves */

static void list_samples(work *w)
{
    const vj_evaluation *e = w->e;
    for (int s = 0; s < e->split_count; s++) {
        const vj_eval_split *split = &e->split[s];
        part *p = &w->part[s];
        int64_t seen = split->seen;
        p->taken = 0;
        for (int64_t i = 0; vj_eval_learns(e, split) && i < w->count; i++)
            if (split->member[w->sample[i]] && seen++ >= split->done) p->at[p->taken++] = (int32_t)i;
    }
}

/* Go back to the beginning of the round, where the heads of each encoder start. */
static void rewind_parts(work *w)
{
    for (int s = 0; s < w->e->split_count; s++) {
        const vj_eval_split *split = &w->e->split[s];
        part *p = &w->part[s];
        p->next = 0;
        p->done = split->done;
        p->filled = split->seen > split->done ? split->seen - split->done : 0;
        p->update = split->update;
    }
}

static bool next_wave(work *w)
{
    bool any = false;
    for (int s = 0; s < w->e->split_count; s++) {
        part *p = &w->part[s];
        const int64_t left = w->e->split[s].learned - p->done, batch = w->e->config->probe.batch;
        p->batch = left < batch ? left : batch;
        p->wave = p->taken - p->next < p->batch - p->filled ? p->taken - p->next : p->batch - p->filled;
        any |= p->wave > 0;
    }
    return any;
}

/* Set part->row for each split: the index in its batch of sample i of the round, or -1 if it does not use this sample
 * in this wave. */
static void find_rows(work *w, int64_t i)
{
    for (int s = 0; s < w->e->split_count; s++) {
        part *p = &w->part[s];
        const int64_t k = p->next + p->next_row - p->filled;
        const bool takes = k < p->next + p->wave && p->at[k] == i;
        p->row = takes ? p->next_row : -1;
        p->next_row += takes;
    }
}

/* List the entries in the order that vj_exchange_rows() needs: by sample, and thereby by rank, then by head. */
static void list_entries(work *w, int encoder)
{
    const vj_evaluation *e = w->e;
    const int64_t batch = e->config->evaluate.batch;
    w->entries = 0;
    for (int s = 0; s < e->split_count; s++) w->part[s].next_row = w->part[s].filled;
    for (int64_t i = 0; i < w->count; i++) {
        find_rows(w, i);
        for (int64_t h = 0; h < e->head_count; h++) {
            const int64_t row = w->part[e->head[h].split].row;
            if (e->head[h].encoder != encoder || e->head[h].on_tokens || row < 0) continue;
            w->entry[w->entries++] = (vj_entry){
                .head = h, .sample = w->sample[i], .row = row, .rank = (int)(i / batch), .slot = (int)(i % batch)};
        }
    }
}

/* ------------------------------------------------------------------------------------------------ learning */

static vj_status check_loss(const work *w, const vj_eval_head *h, int64_t n)
{
    const vj_evaluation *e = w->e;
    char kind[VJ_HEAD_WORD];
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(w->loss[i]))
            return vj_raise(VJ_ERR_STATE,
                            "the loss of an %s probe of '%s' on %s is %g after %lld updates with learning rate %g: %s",
                            vj_eval_kind(h, kind), e->tasks.item[h->task], e->encoders.name[h->encoder], w->loss[i],
                            (long long)w->part[h->split].update, h->recipe.lr,
                            w->part[h->split].update > 0 ? "a lower probe.lr?" : "are the encoder's weights finite?");
    return VJ_OK;
}

/* Give the rows of one head to it in order, and put their gradients into the exchange. */
static vj_status learn_rows(work *w, int64_t number)
{
    vj_evaluation *e = w->e;
    vj_eval_head *h = &e->head[number];
    const int64_t row = vj_head_row_floats(&h->shape), bytes = row * (int64_t)sizeof(float);
    int64_t n = 0;
    for (int64_t k = 0; k < w->entries; k++) {
        if (w->entry[k].head != number) continue;
        memcpy(w->host + n * row, vj_exchange_row(e->exchange, k), (size_t)bytes);
        w->place[n] = w->entry[k].row;
        w->label[n++] = vj_eval_lost_in_training(e, w->entry[k].sample)
                            ? -1 /* its place in the batch stays empty */
                            : vj_eval_set_label(&e->train.set, w->entry[k].sample, e->train.label[h->task]);
    }
    if (n == 0) return VJ_OK;
    vj_upload(e->frozen.be, w->rows, w->host, n * bytes);
    VJ_TRY(vj_head_rows(h->head, h->key_at >= 0 ? w->drows : NULL, w->loss, w->rows, w->place, w->label, n,
                        w->part[h->split].batch));
    VJ_TRY(check_loss(w, h, n));
    if (h->key_at < 0) return VJ_OK;
    vj_download(e->frozen.be, w->host, w->drows, n * bytes);
    VJ_TRY(vj_sync(e->frozen.be));
    n = 0;
    for (int64_t k = 0; k < w->entries; k++)
        if (w->entry[k].head == number) memcpy(vj_exchange_drow(e->exchange, k), w->host + n++ * row, (size_t)bytes);
    return VJ_OK;
}

/* Let a head with on_tokens learn from this rank's samples of the wave, one by one. */
static vj_status learn_tokens(work *w, vj_eval_head *h)
{
    vj_evaluation *e = w->e;
    const part *p = &w->part[h->split];
    const int64_t batch = e->config->evaluate.batch;
    for (int64_t k = p->next; k < p->next + p->wave; k++) {
        const int64_t i = p->at[k], sample = w->sample[i];
        if (i / batch != e->rank || vj_eval_lost_in_training(e, sample)) continue;
        const int32_t label = vj_eval_set_label(&e->train.set, sample, e->train.label[h->task]);
        const vj_status status = vj_eval_token_learn(e, h, i % batch, label, p->batch, w->loss);
        VJ_TRY(check_loss(w, h, 1));
        VJ_TRY(status);
    }
    return VJ_OK;
}

static vj_status learn(work *w, int encoder)
{
    const vj_evaluation *e = w->e;
    for (int64_t i = 0; i < e->head_count; i++) {
        vj_eval_head *h = &e->head[i];
        if (h->encoder != encoder) continue;
        if (h->on_tokens)
            VJ_TRY(learn_tokens(w, h));
        else if (h->owner == e->rank)
            VJ_TRY(learn_rows(w, i));
    }
    return VJ_OK;
}

/* Store the gradients of keys in h->dkeys, each at the index of its sample in the batch. */
static void keep_dkeys(work *w)
{
    vj_evaluation *e = w->e;
    for (int64_t k = 0; k < w->entries; k++) {
        const vj_eval_head *h = &e->head[w->entry[k].head];
        const int64_t key = vj_head_key_floats(&h->shape);
        if (h->owner != e->rank || key == 0) continue;
        vj_upload(e->frozen.be, h->dkeys + w->entry[k].row * key, vj_exchange_dkey(e->exchange, k),
                  key * (int64_t)sizeof(float));
    }
}

/* Update one head: on its owner, with on_tokens on all ranks. */
static vj_status update_head(const work *w, vj_eval_head *h)
{
    const vj_config *c = w->e->config;
    const vj_eval_split *split = &w->e->split[h->split];
    const part *p = &w->part[h->split];
    const int64_t updates = (split->learned + h->shape.batch - 1) / h->shape.batch;
    const vj_schedule schedule = vj_recipe_schedule(&h->recipe, c, split->epochs, updates);
    const vj_head_step step = vj_recipe_step(&h->recipe, c, &schedule, p->update + 1);
    return h->on_tokens ? vj_eval_token_update(w->e, h, p->batch, &step)
                        : vj_head_update(h->head, h->dkeys, p->batch, &step);
}

/* Update the heads whose batch is complete, and send their new keys to all ranks. */
static vj_status update(work *w, int encoder)
{
    vj_evaluation *e = w->e;
    vj_status status = VJ_OK;
    int64_t changed = 0;
    for (int64_t i = 0; i < e->head_count; i++) {
        vj_eval_head *h = &e->head[i];
        const part *p = &w->part[h->split];
        if (h->encoder != encoder || p->wave == 0 || p->filled + p->wave < p->batch) continue;
        /* With on_tokens the update is collective, so all ranks take part even if one has failed. */
        if (vj_eval_has_weights(e, h) && (status == VJ_OK || h->on_tokens)) {
            const vj_status of_head = update_head(w, h);
            if (status == VJ_OK) status = of_head;
        }
        if (h->key_at >= 0) w->head[changed++] = i;
    }
    VJ_TRY(vj_agree(e->comm, status));
    VJ_TRY(vj_exchange_keys(e, encoder, w->head, changed));
    for (int s = 0; s < e->split_count; s++) {
        part *p = &w->part[s];
        p->next += p->wave;
        p->filled += p->wave;
        if (p->wave == 0 || p->filled < p->batch) continue;
        p->done += p->batch;
        p->filled = 0;
        p->update++;
    }
    return VJ_OK;
}

static vj_status run_waves(work *w, int encoder)
{
    vj_evaluation *e = w->e;
    rewind_parts(w);
    while (next_wave(w)) {
        list_entries(w, encoder);
        VJ_TRY(vj_exchange_rows(e, encoder, w->entry, w->entries));
        VJ_TRY(vj_agree(e->comm, learn(w, encoder)));
        VJ_TRY(vj_exchange_back(e));
        keep_dkeys(w);
        VJ_TRY(update(w, encoder));
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ the round */

static vj_status run(work *w)
{
    vj_evaluation *e = w->e;
    const int64_t batch = e->config->evaluate.batch, first = e->rank * batch;
    const int64_t mine = first >= w->count ? 0 : w->count - first < batch ? w->count - first : batch;
    vj_batch clips;
    VJ_TRY(vj_agree(e->comm, mine > 0 ? vj_eval_next(e, &clips) : VJ_OK));
    if (e->stored.copies == 0) VJ_TRY(vj_eval_note_damage(e, &e->train, mine > 0 ? &clips : NULL));
    list_samples(w);
    e->progress.round = w->count;
    vj_work_begin(e->frozen.be, (double)mine * e->progress.train_flops, vj_eval_log_progress, e);
    for (int i = 0; i < e->frozen.count; i++) {
        VJ_TRY(vj_agree(e->comm, mine > 0 ? vj_eval_tokens(e, i, &clips, mine) : VJ_OK));
        VJ_TRY(run_waves(w, i));
    }
    vj_work_end(e->frozen.be);
    for (int s = 0; s < e->split_count; s++) {
        vj_eval_split *split = &e->split[s];
        for (int64_t i = 0; vj_eval_learns(e, split) && i < w->count; i++) split->seen += split->member[w->sample[i]];
        split->done = w->part[s].done;
        split->update = w->part[s].update;
    }
    e->stream.place += w->count;
    e->progress.encoded += w->count;
    e->progress.round = 0;
    return VJ_OK;
}

vj_status vj_eval_round(vj_evaluation *e)
{
    work w;
    vj_status status = vj_agree(e->comm, open_work(&w, e));
    if (status == VJ_OK) status = run(&w);
    close_work(&w);
    return status;
}
