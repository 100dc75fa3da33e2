/* The result table of an evaluation, a line for each head, and the splits as files. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/output.h"
#include "evaluate/parts.h"
#include "probe/paper.h"
#include "probe/splits.h"

/* ------------------------------------------------------------------------------------------------ table */

/* One number for those of all seeds; for one seed the number itself. */
static uint64_t chain(uint64_t so_far, uint64_t digest, int64_t number)
{
    return number == 0 ? digest : XXH3_64bits_withSeed(&digest, sizeof digest, so_far);
}

/* The chosen heads of all seeds, which lie side by side from `first` on. Returns the mean over seeds of the best of
 * each sweep by the validation samples. */
static double summarise(vj_probe_row *row, const vj_evaluation *e, const vj_eval_score *scores, int64_t first)
{
    const int64_t seeds = row->seeds;
    double squares = 0.0, best = 0.0, top1[1000]; /* the most that probe.seeds can be */
    row->top5 = row->mean_class = 0.0;
    for (int64_t s = 0; s < seeds; s++) {
        const vj_eval_score *of = scores + first + s * e->sweep, *chosen = of;
        double highest = 0.0;
        for (int k = 0; k < e->sweep; k++) {
            if (of[k].chosen) chosen = &of[k];
            highest = fmax(highest, of[k].top1);
        }
        best += highest / (double)seeds;
        top1[s] = chosen->top1;
        row->top1_mean += chosen->top1 / (double)seeds;
        row->top5 += chosen->top5 / (double)seeds;
        row->mean_class += chosen->mean_class / (double)seeds;
        row->probe_digest = chain(row->probe_digest, chosen->digest, s);
        row->split_digest = chain(row->split_digest, e->split[e->head[first + s * e->sweep].split].digest, s);
    }
    for (int64_t s = 0; s < seeds; s++) squares += pow(top1[s] - row->top1_mean, 2.0);
    row->top1_std = seeds > 1 ? sqrt(squares / (double)(seeds - 1)) : 0.0;
    return best;
}

static double make_row(vj_probe_row *row, const vj_evaluation *e, const vj_eval_score *scores, int64_t first)
{
    const vj_eval_head *head = &e->head[first];
    const vj_head_facts facts = vj_eval_head_facts(e, head);
    *row = (vj_probe_row){VJ_PROBE_ROW_UNKNOWN};
    snprintf(row->task, sizeof row->task, "%s", facts.task);
    snprintf(row->encoder, sizeof row->encoder, "%s", e->encoder_name[head->encoder]);
    snprintf(row->kind, sizeof row->kind, "%s", vj_pooling_name(head->shape.pooling));
    snprintf(row->features, sizeof row->features, "%s", facts.features);
    snprintf(row->preset, sizeof row->preset, "%s", facts.preset);
    snprintf(row->split, sizeof row->split, "%s", facts.split);
    row->labels = facts.labels;
    row->seeds = e->seeds;
    row->width = head->shape.D;
    row->training_clips = facts.training_samples;
    row->classes = facts.classes;
    row->epochs = e->split[head->split].epochs;
    row->encoder_digest = facts.encoder_digest;
    row->train_digest = facts.train_digest;
    row->validation_digest = facts.store_digest;
    row->class_digest = facts.class_digest;
    for (int64_t i = 0; i < e->validation.set.count; i++)
        row->validation_clips += vj_eval_set_label(&e->validation.set, i, e->validation.label[head->task]) >= 0;
    return summarise(row, e, scores, first);
}

static vj_status note_sweep(vj_evaluation *e, const vj_probe_row *row, double best)
{
    VJ_TRY(vj_notes_add(&e->notes,
                        "of %d combinations of learning rate and weight decay the best on held-out training samples is "
                        "in the table; in brackets below: the best by the validation samples, which is too good",
                        e->sweep));
    return vj_notes_add(&e->notes, "%s, %s, %g %%, %s: %.1f (%.1f)", row->task, row->kind, row->labels, row->encoder,
                        row->top1_mean, best);
}

static vj_status make_table(vj_evaluation *e, const vj_eval_score *scores, vj_probe_row *rows, int64_t *count)
{
    const int64_t each = e->seeds * (int64_t)e->sweep;
    vj_paper paper;
    int64_t filled;
    *count = e->head_count / each;
    for (int64_t r = 0; r < *count; r++) {
        const double best = make_row(&rows[r], e, scores, r * each);
        if (e->sweep > 1) VJ_TRY(note_sweep(e, &rows[r], best));
    }
    if (!e->config->probe.paper[0]) return VJ_OK;
    vj_status status = vj_paper_read(&paper, e->config->probe.paper, e->config->probe.paper_table);
    if (status == VJ_OK) status = vj_paper_fill(&filled, &paper, rows, *count, &e->notes);
    vj_paper_release(&paper);
    return status;
}

/* ------------------------------------------------------------------------------------------------ heads */

#define HEADS_BEGIN "head,task,encoder,pooling,depth,labels_percent,seed,lr,weight_decay,"

static vj_status write_heads(const vj_evaluation *e, const vj_eval_score *scores)
{
    char path[VJ_PATH + 32], name[VJ_HEAD_NAME];
    vj_file file;
    snprintf(path, sizeof path, "%s/heads.csv", e->request->dir);
    VJ_TRY(vj_file_begin_text(&file, path));
    fprintf(file.stream, HEADS_BEGIN "training_samples,updates,top1_percent,top5_percent,mean_class_percent,"
                                     "held_out_top1_percent,chosen\n");
    for (int64_t i = 0; i < e->head_count; i++) {
        const vj_eval_head *h = &e->head[i];
        const vj_eval_split *split = &e->split[h->split];
        vj_eval_head_name(e, h, name);
        fprintf(file.stream, "%s,%s,%s,%s,%d,%g,%llu,%g,%g,%lld,%lld,%.17g,%.17g,%.17g,", name, e->tasks.item[h->task],
                e->encoder_name[h->encoder], vj_pooling_name(h->shape.pooling), h->shape.depth, split->labels,
                (unsigned long long)h->seed, h->recipe.lr, h->recipe.weight_decay, (long long)split->learned,
                (long long)split->update, scores[i].top1, scores[i].top5, scores[i].mean_class);
        if (split->held_count > 0) fprintf(file.stream, "%.17g", scores[i].held_top1);
        fprintf(file.stream, ",%d\n", scores[i].chosen);
    }
    vj_status status = vj_file_commit(&file);
    vj_file_rollback(&file);
    return status;
}

/* ------------------------------------------------------------------------------------------------ splits */

static vj_status write_splits(const vj_evaluation *e)
{
    const int64_t n = e->train.set.count;
    char dir[VJ_PATH + 16], path[VJ_SPLIT_PATH];
    int32_t *labels = vj_calloc(n + 1, sizeof *labels);
    vj_split_samples samples = {
        .labels = labels, .count = n, .fingerprint = vj_clips_fingerprint(e->train.clips), .name = e->train.paths};
    vj_status status = labels ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %lld labels", (long long)n);
    snprintf(dir, sizeof dir, "%s/splits", e->request->dir);
    if (status == VJ_OK && mkdir(dir, 0777) != 0 && errno != EEXIST)
        status = vj_raise(VJ_ERR_IO, "make the folder %s", dir);
    for (int i = 0; status == VJ_OK && i < e->split_count; i++) {
        const vj_eval_split *s = &e->split[i];
        const double share = s->labels;
        for (int64_t k = 0; k < n; k++) labels[k] = vj_eval_set_label(&e->train.set, k, e->train.label[s->task]);
        vj_split_path(path, dir, e->tasks.item[s->task], (vj_split_rule)e->config->probe.split, share, s->seed);
        status = vj_split_write(path, &samples, s->sample, s->count, share, s->seed);
    }
    free(labels);
    return status;
}

/* ------------------------------------------------------------------------------------------------ all */

vj_status vj_eval_report(vj_evaluation *e, const vj_eval_score *scores)
{
    vj_probe_row *rows = vj_calloc(e->head_count, sizeof *rows);
    int64_t count;
    if (!rows) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld results", (long long)e->head_count);
    vj_status status = make_table(e, scores, rows, &count);
    if (status == VJ_OK) status = vj_report_write(e->request->dir, rows, count, &e->notes);
    if (status == VJ_OK) status = write_heads(e, scores);
    if (status == VJ_OK && !e->request->probes) status = write_splits(e);
    if (status == VJ_OK) {
        fputc('\n', stdout);
        vj_report_print(stdout, rows, count, &e->notes);
    }
    free(rows);
    return status;
}

/* A clip store and a pretraining's folder are no place for results: the file `complete` would say that the run is. */
static vj_status check_owner(const char *dir)
{
    static const char *const marks[][2] = {{"index.h5", "is a clip store"}, {"metrics.csv", "is of a pretraining"}};
    char path[VJ_PATH + 32];
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, marks[i][0]);
        if (access(path, F_OK) == 0)
            return vj_raise(VJ_ERR_USAGE, "%s %s: results have a folder of their own, give it by --out", dir,
                            marks[i][1]);
    }
    return VJ_OK;
}

vj_status vj_eval_report_check(const vj_evaluation *e)
{
    char path[VJ_PATH + 32];
    VJ_TRY(check_owner(e->request->dir));
    VJ_TRY(vj_report_check("--out", e->request->dir));
    snprintf(path, sizeof path, "%s/" VJ_EVALUATION_FILE, e->request->dir);
    if (e->request->probes && access(path, F_OK) == 0)
        return vj_raise(VJ_ERR_USAGE, "%s holds the results of a campaign: give another --out to --probe",
                        e->request->dir);
    snprintf(path, sizeof path, "%s/heads.csv", e->request->dir);
    VJ_TRY(vj_output_check_text(path, HEADS_BEGIN));
    snprintf(path, sizeof path, "%s/predictions.h5", e->request->dir);
    return access(path, F_OK) == 0 ? vj_predictions_may_replace(path) : VJ_OK;
}
