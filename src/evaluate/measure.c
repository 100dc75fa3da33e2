/*
 * Measures heads: each rank encodes its share of the samples, rows go to the heads' owners, which keep a prediction for
 * each of their heads and each sample that has a label.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate/parts.h"
#include "parallel/parallel.h"
#include "probe/metrics.h"
#include "probe/probe_file.h"

/* A pass over samples of one side. */
typedef struct {
    vj_evaluation *e;
    const vj_eval_side *side;
    const int64_t *sample; /* [count] borrowed */
    int64_t count;
    int views;
    vj_prediction **prediction; /* [heads][count] on the heads' owners, in the order of samples; clip -1: no label */
    vj_entry *entry;
    float *host;             /* [slots of all ranks, the longest of row and scores] */
    float *rows, *logits;    /* device */
    double *scores, *memory; /* [views, classes], [2, classes] */
} pass;

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ------------------------------------------------------------------------------------------------ memory */

static vj_status open_pass(pass *p)
{
    vj_evaluation *e = p->e;
    const int64_t slots = vj_eval_test_batch(e) * p->views * e->size;
    const int64_t row = e->key_floats;
    int64_t classes = 1;
    for (int t = 0; t < e->tasks.count; t++) classes = larger(classes, e->classes[t]);
    p->entry = vj_calloc(slots * e->head_count / e->frozen.count, sizeof *p->entry);
    p->host = vj_calloc(slots * larger(row, classes), sizeof *p->host);
    p->scores = vj_calloc(p->views * classes, sizeof *p->scores);
    p->memory = vj_calloc(2 * classes, sizeof *p->memory);
    p->prediction = vj_calloc(e->head_count, sizeof(vj_prediction *));
    bool there = p->entry && p->host && p->scores && p->memory && p->prediction;
    for (int64_t h = 0; there && h < e->head_count; h++) {
        if (e->head[h].owner != e->rank) continue;
        p->prediction[h] = vj_calloc(p->count, sizeof(vj_prediction));
        there = p->prediction[h] != NULL;
    }
    if (!there) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld predictions a probe", (long long)p->count);
    p->rows = vj_device_alloc(e->frozen.be, slots * row * (int64_t)sizeof(float));
    p->logits = vj_device_alloc(e->frozen.be, slots * classes * (int64_t)sizeof(float));
    return p->rows && p->logits ? VJ_OK : VJ_ERR_MEMORY;
}

static void close_pass(pass *p)
{
    for (int64_t h = 0; p->prediction && h < p->e->head_count; h++) free(p->prediction[h]);
    free(p->prediction);
    free(p->entry);
    free(p->host);
    free(p->scores);
    free(p->memory);
    vj_device_free(p->e->frozen.be, p->rows);
    vj_device_free(p->e->frozen.be, p->logits);
}

/* ------------------------------------------------------------------------------------------------ scores */

/* This rank's n-th batch, or another rank's: samples [first, last) of the pass. */
static void batch_of(const pass *p, int rank, int64_t n, int64_t *first, int64_t *last)
{
    const int64_t at_once = vj_eval_test_batch(p->e);
    int64_t begin, end;
    vj_split(p->count, p->e->size, rank, &begin, &end);
    *first = begin + n * at_once < end ? begin + n * at_once : end;
    *last = *first + at_once < end ? *first + at_once : end;
}

static int64_t list_entries(pass *p, int encoder, int64_t n)
{
    const vj_evaluation *e = p->e;
    int64_t count = 0, first, last;
    for (int r = 0; r < e->size; r++) {
        batch_of(p, r, n, &first, &last);
        for (int64_t slot = 0; slot < (last - first) * p->views; slot++)
            for (int64_t h = 0; h < e->head_count; h++)
                if (e->head[h].encoder == encoder)
                    p->entry[count++] = (vj_entry){.head = h,
                                                   .sample = first + slot / p->views,
                                                   .row = first * p->views + slot,
                                                   .rank = r,
                                                   .slot = (int)slot};
    }
    return count;
}

/* The scores of a sample's views to its prediction. */
static vj_status predict(pass *p, int64_t head, int64_t sample, const float *logits)
{
    const vj_evaluation *e = p->e;
    const vj_eval_head *h = &e->head[head];
    const int64_t number = p->sample[sample], clip = vj_eval_set_clip(&p->side->set, number, 0, 0);
    vj_prediction *one = &p->prediction[head][sample];
    *one = (vj_prediction){.clip = clip, .content = vj_clips_checksum(p->side->clips, clip)};
    one->label = vj_eval_set_label(&p->side->set, number, p->side->label[h->task]);
    if (one->label < 0) {
        one->clip = -1;
        return VJ_OK;
    }
    for (int i = 0; i < p->views * h->shape.classes; i++) p->scores[i] = logits[i];
    return vj_predict(one, p->memory, p->scores, p->views, h->shape.classes);
}

/* Entries of one head, from one rank, whose rows have numbers that follow one another. */
static vj_status score_rows(pass *p, int64_t head, const int64_t *entry, int64_t n)
{
    vj_evaluation *e = p->e;
    vj_eval_head *h = &e->head[head];
    const int64_t row = vj_head_row_floats(&h->shape), classes = h->shape.classes;
    const vj_entry *first = &p->entry[entry[0]];
    for (int64_t i = 0; i < n; i++)
        memcpy(p->host + i * row, vj_exchange_row(e->exchange, entry[i]), sizeof(float) * (size_t)row);
    vj_upload(e->frozen.be, p->rows, p->host, n * row * (int64_t)sizeof(float));
    vj_head_score_from(h->head, p->logits, p->rows, first->row, n);
    vj_download(e->frozen.be, p->host, p->logits, n * classes * (int64_t)sizeof(float));
    VJ_TRY(vj_sync(e->frozen.be));
    for (int64_t i = 0; i < n; i += p->views)
        VJ_TRY(predict(p, head, first->sample + i / p->views, p->host + i * classes));
    return VJ_OK;
}

static vj_status score(pass *p, int64_t entries)
{
    const vj_evaluation *e = p->e;
    int64_t *of = vj_calloc(entries + 1, sizeof *of);
    vj_status status = of ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %lld rows", (long long)entries);
    for (int64_t h = 0; status == VJ_OK && h < e->head_count; h++) {
        int64_t n = 0;
        if (e->head[h].owner != e->rank) continue;
        for (int64_t k = 0; status == VJ_OK && k <= entries; k++) {
            const bool other = k == entries || (n > 0 && p->entry[k].rank != p->entry[of[0]].rank);
            if (other && n > 0) status = score_rows(p, h, of, n);
            if (other) n = 0;
            if (k < entries && p->entry[k].head == h) of[n++] = k;
        }
    }
    free(of);
    return status;
}

static vj_status run_pass(pass *p)
{
    vj_evaluation *e = p->e;
    const int64_t at_once = vj_eval_test_batch(e);
    int64_t begin, end, first, last;
    vj_split(p->count, e->size, e->rank, &begin, &end);
    const int64_t batches = ((p->count + e->size - 1) / e->size + at_once - 1) / at_once;
    VJ_TRY(vj_agree(e->comm, vj_eval_load(e, p->side, p->sample + begin, end - begin, at_once, p->views)));
    for (int64_t n = 0; n < batches; n++) {
        vj_batch clips;
        double wait_s;
        batch_of(p, e->rank, n, &first, &last);
        VJ_TRY(vj_agree(e->comm, last > first ? vj_loader_next(e->loader, &clips, &wait_s) : VJ_OK));
        for (int i = 0; i < e->frozen.count; i++) {
            if (last > first) vj_eval_encode(e, i, &clips, last - first, p->views);
            const int64_t entries = list_entries(p, i, n);
            VJ_TRY(vj_exchange_rows(e, i, p->entry, entries));
            VJ_TRY(vj_agree(e->comm, score(p, entries)));
        }
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ results */

/* The labelled ones first, in order; how many. */
static int64_t compact(vj_prediction *rows, int64_t count)
{
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++)
        if (rows[i].clip >= 0) rows[n++] = rows[i];
    return n;
}

static vj_status summarise(vj_eval_score *score, const vj_prediction *rows, int64_t n, int classes)
{
    int32_t *rank = vj_calloc(n + 1, sizeof *rank), *label = vj_calloc(n + 1, sizeof *label);
    vj_status status = rank && label ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %lld ranks", (long long)n);
    if (status == VJ_OK) {
        for (int64_t i = 0; i < n; i++) {
            rank[i] = rows[i].rank;
            label[i] = rows[i].label;
        }
        score->top1 = vj_metrics_top(rank, n, 1);
        score->top5 = vj_metrics_top(rank, n, 5);
        score->mean_class = vj_metrics_mean_class(rank, label, n, classes);
    }
    free(rank);
    free(label);
    return status;
}

static int compare_numbers(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The accuracy of a head on the samples that its split holds out. */
static double held_accuracy(const pass *p, const vj_eval_split *split, const vj_prediction *rows)
{
    int64_t right = 0, n = 0;
    for (int64_t i = 0; i < p->count; i++) {
        if (!bsearch(&p->sample[i], split->held, (size_t)split->held_count, sizeof *split->held, compare_numbers))
            continue;
        n++;
        right += rows[i].rank == 0;
    }
    return n > 0 ? 100.0 * (double)right / (double)n : NAN;
}

/* Every head's score is on its owner: told to all. */
static void share_scores(const vj_evaluation *e, vj_eval_score *scores)
{
    for (int64_t h = 0; h < e->head_count; h++)
        MPI_Bcast(&scores[h], (int)sizeof scores[h], MPI_BYTE, e->head[h].owner, e->comm);
}

static vj_status measure_held(vj_evaluation *e, vj_eval_score *scores)
{
    vj_eval_side held = e->train;
    int64_t *list = vj_calloc(e->train.set.count + 1, sizeof *list), n = 0;
    vj_status status = list ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a list of samples");
    if (status == VJ_OK) status = vj_eval_views_init(&held.views, e->config, e->train.clips, false);
    for (int64_t i = 0; status == VJ_OK && i < e->train.set.count; i++) {
        bool wanted = false;
        for (int s = 0; s < e->split_count && !wanted; s++)
            wanted = bsearch(&i, e->split[s].held, (size_t)e->split[s].held_count, sizeof i, compare_numbers) != NULL;
        if (wanted) list[n++] = i;
    }
    pass p = {.e = e, .side = &held, .sample = list, .count = n, .views = held.views.views};
    if (status == VJ_OK) status = open_pass(&p);
    status = vj_agree(e->comm, status);
    if (status == VJ_OK) status = run_pass(&p);
    for (int64_t h = 0; status == VJ_OK && h < e->head_count; h++)
        if (e->head[h].owner == e->rank)
            scores[h].held_top1 = held_accuracy(&p, &e->split[e->head[h].split], p.prediction[h]);
    close_pass(&p);
    free(list);
    return status;
}

/* Of the heads that differ in learning rate and weight decay alone, the best on what was held out; the first of
 * equals. */
static void choose(const vj_evaluation *e, vj_eval_score *scores)
{
    for (int64_t first = 0; first < e->head_count; first += e->sweep) {
        int64_t best = first;
        for (int64_t h = first + 1; h < first + e->sweep; h++)
            if (scores[h].held_top1 > scores[best].held_top1) best = h;
        scores[best].chosen = 1;
    }
}

static vj_status measure_validation(vj_evaluation *e, pass *p, vj_eval_score *scores, bool write)
{
    int64_t *labelled = vj_calloc(e->head_count, sizeof *labelled);
    vj_status status = labelled ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for scores");
    VJ_TRY(vj_agree(e->comm, status));
    status = run_pass(p);
    for (int64_t h = 0; status == VJ_OK && h < e->head_count; h++) {
        if (e->head[h].owner != e->rank) continue;
        labelled[h] = compact(p->prediction[h], p->count);
        status = summarise(&scores[h], p->prediction[h], labelled[h], e->head[h].shape.classes);
        if (status == VJ_OK) status = vj_head_digest(&scores[h].digest, e->frozen.be, e->head[h].head);
    }
    status = vj_agree(e->comm, status);
    if (status == VJ_OK) {
        share_scores(e, scores);
        choose(e, scores);
        MPI_Allreduce(MPI_IN_PLACE, labelled, (int)e->head_count, MPI_INT64_T, MPI_SUM, e->comm);
    }
    if (status == VJ_OK && write) status = vj_eval_write_predictions(e, scores, p->prediction, labelled);
    free(labelled);
    return status;
}

vj_status vj_eval_measure(vj_evaluation *e, vj_eval_score *scores, bool write)
{
    int64_t *all = vj_calloc(e->validation.set.count + 1, sizeof *all);
    pass p = {.e = e, .side = &e->validation, .count = e->validation.set.count, .views = e->validation.views.views};
    memset(scores, 0, sizeof *scores * (size_t)e->head_count);
    if (e->sweep > 1) VJ_TRY(measure_held(e, scores));
    vj_status status = all ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a list of samples");
    for (int64_t i = 0; all && i < p.count; i++) all[i] = i;
    p.sample = all;
    if (status == VJ_OK) status = open_pass(&p);
    status = vj_agree(e->comm, status);
    if (status == VJ_OK) status = measure_validation(e, &p, scores, write);
    close_pass(&p);
    free(all);
    return status;
}
