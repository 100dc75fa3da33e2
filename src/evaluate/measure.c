/*
 * Measures heads in rounds. In a round each rank encodes some of the next samples and sends rows to the owners of
 * heads. An owner stores a prediction for each of its heads and each sample with a label.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/sort.h"
#include "evaluate/exchange.h"
#include "evaluate/heads.h"
#include "evaluate/partial.h"
#include "evaluate/parts.h"
#include "parallel/parallel.h"
#include "probe/metrics.h"

/* A pass over samples of one side. */
typedef struct {
    vj_evaluation *e;
    vj_eval_measured list;
    bool kept; /* predictions are written to checkpoints (partial.c) */
    int views;
    int64_t from, present; /* the sample where this run began; samples of all ranks in the present round */
    vj_progress_line line;
    double waited_s; /* spent waiting for clips */
    vj_entry *entry;
    float *host;             /* [slots of all ranks, the longer of row and class scores] */
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
    p->list.prediction = vj_calloc(e->head_count, sizeof(vj_prediction *));
    bool there = p->entry && p->host && p->scores && p->memory && p->list.prediction;
    for (int64_t h = 0; there && h < e->head_count; h++) {
        if (e->head[h].owner != e->rank) continue;
        p->list.prediction[h] = vj_calloc(p->list.count, sizeof(vj_prediction));
        there = p->list.prediction[h] != NULL;
    }
    if (!there) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld predictions a probe", (long long)p->list.count);
    p->rows = vj_device_alloc(e->frozen.be, slots * row * (int64_t)sizeof(float));
    p->logits = vj_device_alloc(e->frozen.be, slots * classes * (int64_t)sizeof(float));
    return p->rows && p->logits ? VJ_OK : VJ_ERR_MEMORY;
}

static void close_pass(pass *p)
{
    for (int64_t h = 0; p->list.prediction && h < p->e->head_count; h++) free(p->list.prediction[h]);
    free(p->list.prediction);
    free(p->entry);
    free(p->host);
    free(p->scores);
    free(p->memory);
    vj_device_free(p->e->frozen.be, p->rows);
    vj_device_free(p->e->frozen.be, p->logits);
}

/* ------------------------------------------------------------------------------------------------ scores */

/* Compute what a rank encodes in the current round: samples [first, last) of the pass. */
static void batch_of(const pass *p, int rank, int64_t *first, int64_t *last)
{
    const int64_t at_once = vj_eval_test_batch(p->e), begin = p->list.place + rank * at_once, end = p->list.count;
    *first = begin < end ? begin : end;
    *last = *first + at_once < end ? *first + at_once : end;
}

static int64_t list_entries(pass *p, int encoder)
{
    const vj_evaluation *e = p->e;
    int64_t count = 0, first, last;
    for (int r = 0; r < e->size; r++) {
        batch_of(p, r, &first, &last);
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

/* Compute the prediction of a sample from the class scores of its views. */
static vj_status predict(pass *p, int64_t head, int64_t sample, const float *logits)
{
    const vj_evaluation *e = p->e;
    const vj_eval_head *h = &e->head[head];
    const int64_t number = p->list.sample[sample], clip = vj_eval_set_clip(&p->list.side->set, number, 0, 0);
    vj_prediction *one = &p->list.prediction[head][sample];
    *one = (vj_prediction){.clip = clip, .content = vj_clips_checksum(p->list.side->clips, clip)};
    one->label = vj_eval_set_label(&p->list.side->set, number, p->list.side->label[h->task]);
    if (one->label < 0 || vj_eval_is_lost(p->list.side, number, 0)) {
        one->clip = -1;
        return VJ_OK;
    }
    for (int i = 0; i < p->views * h->shape.classes; i++) p->scores[i] = logits[i];
    if (e->config->evaluate.average == VJ_AVERAGE_SOFTMAX)
        return vj_predict(one, p->memory, p->scores, p->views, h->shape.classes);
    vj_metrics_mean_scores(p->scores, p->scores, p->views, h->shape.classes);
    VJ_TRY(vj_predict(one, p->memory, p->scores, 1, h->shape.classes));
    one->views = p->views;
    return VJ_OK;
}

/* Score entries `entry` [n] of one head, all from one rank and with consecutive row numbers, and make the predictions
 * of their samples. */
static vj_status score_rows(pass *p, int64_t head, const int64_t *entry, int64_t n)
{
    vj_evaluation *e = p->e;
    vj_eval_head *h = &e->head[head];
    const int64_t row = vj_eval_row_floats(h), classes = h->shape.classes;
    const vj_entry *first = &p->entry[entry[0]];
    for (int64_t i = 0; i < n; i++)
        memcpy(p->host + i * row, vj_exchange_row(e->exchange, entry[i]), sizeof(float) * (size_t)row);
    if (!h->on_tokens) { /* else the rows are the scores */
        vj_upload(e->frozen.be, p->rows, p->host, n * row * (int64_t)sizeof(float));
        vj_head_score(h->head, p->logits, p->rows, first->row, n);
        vj_download(e->frozen.be, p->host, p->logits, n * classes * (int64_t)sizeof(float));
        VJ_TRY(vj_sync(e->frozen.be));
    }
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

/* Start to load what this rank encodes in the rounds to come. */
static vj_status load(pass *p)
{
    vj_evaluation *e = p->e;
    const int64_t at_once = vj_eval_test_batch(e), left = p->list.count - p->list.place;
    int64_t *mine = vj_calloc(left + 1, sizeof *mine), n = 0;
    if (!mine) return vj_raise(VJ_ERR_MEMORY, "no memory for a list of %lld samples", (long long)left);
    for (int64_t i = 0; i < left; i++)
        if (i / at_once % e->size == e->rank) mine[n++] = p->list.sample[p->list.place + i];
    vj_status status = vj_eval_load(e, p->list.side, mine, n, at_once, p->list.side->views.views, 0);
    free(mine);
    return status;
}

/* For vj_work_begin(): `share` of the present round is done. */
static void log_progress(void *user, double share, double now_s)
{
    pass *p = user;
    const double done = (double)p->list.place + share * (double)p->present;
    const double rate = (done - (double)p->from) / (now_s - p->line.began_s);
    char left[32];
    if (rate <= 0.0 || !vj_progress_line_is_due_in_batch(&p->line, share, now_s)) return;
    vj_log("evaluate: measured %3.0f %% of %lld %s samples, %.5g samples/s, %s left",
           100.0 * done / (double)p->list.count, (long long)p->list.count, p->list.name, rate,
           vj_duration(((double)p->list.count - done) / rate, left));
}

static vj_status run_round(pass *p)
{
    vj_evaluation *e = p->e;
    vj_batch clips;
    double wait_s = 0.0;
    int64_t first, last, end;
    batch_of(p, e->size - 1, &first, &end);
    p->present = end - p->list.place;
    batch_of(p, e->rank, &first, &last);
    VJ_TRY(vj_agree(e->comm, last > first ? vj_loader_next(e->loader, &clips, &wait_s) : VJ_OK));
    p->waited_s += wait_s;
    VJ_TRY(vj_eval_note_damage(e, p->list.side, last > first ? &clips : NULL));
    vj_work_begin(e->frozen.be, (double)(last - first) * e->progress.test_flops, log_progress, p);
    for (int i = 0; i < e->frozen.count; i++) {
        VJ_TRY(vj_agree(e->comm, last > first ? vj_eval_encode(e, i, &clips, last - first, p->views) : VJ_OK));
        const int64_t entries = list_entries(p, i);
        VJ_TRY(vj_exchange_rows(e, i, p->entry, entries));
        VJ_TRY(vj_agree(e->comm, score(p, entries)));
    }
    vj_work_end(e->frozen.be);
    p->list.place = end;
    p->present = 0;
    return VJ_OK;
}

static void log_done(const pass *p)
{
    const double spent_s = vj_now() - p->line.began_s;
    const int64_t measured = p->list.place - p->from;
    if (measured == 0) return;
    vj_log("evaluate: %lld %s samples measured in %.1f s, %.1f samples/s, %.1f %% of the time waiting for clips",
           (long long)measured, p->list.name, spent_s, (double)measured / spent_s, 100.0 * p->waited_s / spent_s);
    vj_eval_log_wait(p->waited_s, spent_s);
}

/* Run a pass, from where its checkpoint ends if there is one. If the pass is complete, *stop stays 0. */
static vj_status run_pass(pass *p, int *stop)
{
    vj_evaluation *e = p->e;
    p->line = vj_progress_line_begin();
    if (p->kept) VJ_TRY(vj_eval_find_measured(e, &p->list));
    if (p->list.place > 0)
        vj_log("evaluate: %lld of %lld %s samples were measured before", (long long)p->list.place,
               (long long)p->list.count, p->list.name);
    p->from = p->list.place;
    VJ_TRY(vj_agree(e->comm, load(p)));
    for (int64_t rounds = 1; p->list.place < p->list.count && !*stop; rounds++) {
        const double round_begin = vj_now();
        bool write;
        VJ_TRY(run_round(p));
        vj_stop_record_step(&e->stop, vj_now() - round_begin);
        log_progress(p, 0.0, vj_now());
        vj_eval_poll(e, rounds, stop, &write);
        if (p->list.place == p->list.count)
            *stop = 0;
        else if (write)
            VJ_TRY(vj_eval_tolerate(e, p->kept ? vj_eval_save_measured(e, &p->list) : vj_eval_save(e), *stop));
    }
    if (!*stop) log_done(p);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ results */

/* Move the predictions that count to the front, in order, and return their number. */
static int64_t compact(vj_prediction *rows, int64_t count)
{
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++)
        if (rows[i].clip >= 0) rows[n++] = rows[i];
    return n;
}

static bool holds_out(const vj_eval_split *split, int64_t sample)
{
    return vj_sorted_find(split->held, split->held_count, sample) >= 0;
}

/* Return the accuracy of a head, in percent, on the samples that its split holds out; NaN: none could be used. */
static double held_accuracy(const pass *p, const vj_eval_split *split, const vj_prediction *rows)
{
    int64_t right = 0, n = 0;
    for (int64_t i = 0; i < p->list.count; i++) {
        if (rows[i].clip < 0 || !holds_out(split, p->list.sample[i])) continue;
        n++;
        right += rows[i].rank == 0;
    }
    return n > 0 ? 100.0 * (double)right / (double)n : NAN;
}

/* Send the score of each head from its owner to all ranks. */
static void share_scores(const vj_evaluation *e, vj_eval_score *scores)
{
    for (int64_t h = 0; h < e->head_count; h++)
        MPI_Bcast(&scores[h], (int)sizeof scores[h], MPI_BYTE, e->head[h].owner, e->comm);
}

static vj_status measure_held(vj_evaluation *e, vj_eval_score *scores, bool kept, int *stop)
{
    vj_eval_side held = e->train;
    int64_t *list = vj_calloc(e->train.set.count + 1, sizeof *list), n = 0;
    vj_status status = list ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a list of samples");
    if (status == VJ_OK) status = vj_eval_views_init(&held.views, e->config, e->train.clips, false);
    held.set.segments = e->validation.set.segments; /* as in testing */
    for (int64_t i = 0; status == VJ_OK && i < e->train.set.count; i++) {
        bool wanted = false;
        for (int s = 0; s < e->split_count && !wanted; s++) wanted = holds_out(&e->split[s], i);
        if (wanted) list[n++] = i;
    }
    pass p = {.e = e,
              .list = {.name = VJ_PASS_HELD_OUT, .side = &held, .sample = list, .count = n},
              .kept = kept,
              .views = vj_eval_test_views(e)};
    if (status == VJ_OK) status = open_pass(&p);
    status = vj_agree(e->comm, status);
    if (status == VJ_OK) status = run_pass(&p, stop);
    if (status == VJ_OK && kept && !*stop) status = vj_eval_save_measured(e, &p.list);
    for (int64_t h = 0; status == VJ_OK && !*stop && h < e->head_count; h++)
        if (e->head[h].owner == e->rank)
            scores[h].held_top1 = held_accuracy(&p, &e->split[e->head[h].split], p.list.prediction[h]);
    close_pass(&p);
    free(list);
    return status;
}

/* Among the heads that differ only in learning rate and weight decay, choose the one that is best on the held-out
 * samples; the first of equals. */
static void choose(const vj_evaluation *e, vj_eval_score *scores)
{
    for (int64_t first = 0; first < e->head_count; first += e->sweep) {
        int64_t best = first;
        for (int64_t h = first + 1; h < first + e->sweep; h++)
            if (scores[h].held_top1 > scores[best].held_top1) best = h;
        scores[best].chosen = 1;
    }
}

static vj_status measure_validation(vj_evaluation *e, pass *p, vj_eval_score *scores, int *stop)
{
    int64_t *labelled = vj_calloc(e->head_count, sizeof *labelled);
    vj_status status = labelled ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for scores");
    status = vj_agree(e->comm, status);
    if (status == VJ_OK) status = run_pass(p, stop);
    if (status != VJ_OK || *stop) {
        free(labelled);
        return status;
    }
    for (int64_t h = 0; status == VJ_OK && h < e->head_count; h++) {
        if (e->head[h].owner != e->rank) continue;
        labelled[h] = compact(p->list.prediction[h], p->list.count);
        if (labelled[h] == 0)
            status = vj_raise(VJ_ERR_FORMAT, "%s: no sample with a label '%s' can be used: their clips are damaged",
                              p->list.side->paths, e->tasks.item[e->head[h].task]);
        else
            status = vj_predictions_accuracies(&scores[h].on_validation, e->config, p->list.prediction[h], labelled[h],
                                               e->head[h].shape.classes);
        if (status == VJ_OK) status = vj_eval_head_digest(&scores[h].digest, e, &e->head[h]);
    }
    status = vj_agree(e->comm, status);
    if (status == VJ_OK) {
        share_scores(e, scores);
        choose(e, scores);
        MPI_Allreduce(MPI_IN_PLACE, labelled, (int)e->head_count, MPI_INT64_T, MPI_SUM, e->comm);
    }
    if (status == VJ_OK && p->kept) status = vj_eval_write_predictions(e, scores, p->list.prediction, labelled);
    free(labelled);
    return status;
}

vj_status vj_eval_measure(vj_evaluation *e, vj_eval_score *scores, bool final, int *stop)
{
    const int64_t n = e->validation.set.count;
    memset(scores, 0, sizeof *scores * (size_t)e->head_count);
    if (e->sweep > 1) VJ_TRY(measure_held(e, scores, final, stop));
    if (*stop) return VJ_OK;
    int64_t *all = vj_calloc(n + 1, sizeof *all);
    pass p = {.e = e,
              .list = {.name = VJ_PASS_VALIDATION, .side = &e->validation, .sample = all, .count = n},
              .kept = final,
              .views = vj_eval_test_views(e)};
    vj_status status = all ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a list of samples");
    for (int64_t i = 0; all && i < n; i++) all[i] = i;
    if (status == VJ_OK) status = open_pass(&p);
    status = vj_agree(e->comm, status);
    if (status == VJ_OK) status = measure_validation(e, &p, scores, stop);
    close_pass(&p);
    free(all);
    return status;
}
