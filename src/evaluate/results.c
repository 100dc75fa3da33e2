/* Writes the result table of an evaluation, heads.csv with one line for each head, and the splits. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/csv_table.h"
#include "base/file.h"
#include "base/output.h"
#include "evaluate/heads.h"
#include "evaluate/parts.h"
#include "evaluate/store.h"
#include "probe/attention_file.h"
#include "probe/paper.h"
#include "probe/part.h"
#include "probe/splits.h"

/* ------------------------------------------------------------------------------------------------ table */

/* Summarise the chosen heads of all seeds of a row. Its heads are neighbours from `first` on. Returns the mean over
 * seeds of the top-1 that would be the best of each sweep on the validation samples. */
static double summarise(vj_probe_row *row, const vj_evaluation *e, const vj_eval_score *scores, int64_t first)
{
    vj_probe_seed seed[VJ_MAX_SEEDS];
    double best = 0.0;
    for (int64_t s = 0; s < e->seeds; s++) {
        const vj_eval_score *of = scores + first + s * e->sweep, *chosen = of;
        double highest = 0.0;
        for (int k = 0; k < e->sweep; k++) {
            if (of[k].chosen) chosen = &of[k];
            highest = fmax(highest, of[k].on_validation.top1);
        }
        best += highest / (double)e->seeds;
        seed[s] = (vj_probe_seed){.accuracies = chosen->on_validation,
                                  .probe_digest = chosen->digest,
                                  .split_digest = e->split[e->head[first + s * e->sweep].split].digest};
    }
    vj_probe_row_summarise(row, seed, e->seeds);
    return best;
}

static double make_row(vj_probe_row *row, const vj_evaluation *e, const vj_eval_score *scores, int64_t first)
{
    const vj_eval_head *head = &e->head[first];
    const vj_head_facts facts = vj_eval_head_facts(e, head);
    *row = vj_probe_row_of(&facts);
    snprintf(row->encoder, sizeof row->encoder, "%s", e->encoders.name[head->encoder]);
    row->width = head->shape.D;
    row->effective_rank = vj_eval_store_rank(e, head->encoder);
    row->epochs = e->split[head->split].epochs;
    vj_probe_row_views(row, e->config->data.frames, e->validation.set.segments, e->validation.views.views);
    if (e->config->evaluate.average == VJ_AVERAGE_LOGITS) strcat(row->views, " logits");
    vj_eval_count_tested(e, head->task, &row->validation_clips, &row->failed);
    row->training_failed = vj_eval_damaged_in_split(e, &e->split[head->split]);
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
        if (e->sweep > 1 && e->split[e->head[r * each].split].held_count == 0)
            VJ_TRY(
                vj_notes_add(&e->notes,
                             "%s, %g %%: a split of one sample has none to hold out; the first combination is in the "
                             "table, not the best",
                             rows[r].task, rows[r].labels));
    }
    const int64_t lost = vj_eval_damaged_samples(&e->train);
    if (lost > 0)
        VJ_TRY(vj_notes_add(&e->notes,
                            "%lld of %lld training samples have damaged clips: nothing was learned from them",
                            (long long)lost, (long long)e->train.wanted));
    if (!e->config->probe.paper[0]) return VJ_OK;
    vj_status status = vj_paper_read(&paper, e->config->probe.paper, e->config->probe.paper_table);
    if (status == VJ_OK) status = vj_paper_fill(&filled, &paper, rows, *count, &e->notes);
    vj_paper_release(&paper);
    return status;
}

/* ------------------------------------------------------------------------------------------------ heads */

#define HEADS_BEGIN "head,task,encoder,pooling,depth,labels_percent,seed,lr,weight_decay,"

static void write_head(FILE *out, const vj_evaluation *e, const vj_eval_head *h, const vj_eval_score *score)
{
    const vj_eval_split *split = &e->split[h->split];
    char name[VJ_HEAD_NAME], kind[VJ_HEAD_WORD];
    int64_t counted, failed;
    vj_eval_count_tested(e, h->task, &counted, &failed);
    vj_eval_head_name(e, h, name);
    vj_csv_put_text(out, name);
    fputc(',', out);
    vj_csv_put_text(out, e->tasks.item[h->task]);
    fputc(',', out);
    vj_csv_put_text(out, e->encoders.name[h->encoder]);
    fprintf(out, ",%s,%d,%g,%llu,%g,%g,%lld,%lld,", vj_eval_kind(h, kind), h->shape.depth, split->labels,
            (unsigned long long)h->seed, h->recipe.lr, h->recipe.weight_decay, (long long)split->learned,
            (long long)split->update);
    fprintf(out, "%.17g,%.17g,%.17g,%lld,%lld,", score->on_validation.top1, score->on_validation.top5,
            score->on_validation.mean_class, (long long)counted, (long long)failed);
    if (split->held_count > 0) fprintf(out, "%.17g", score->held_top1);
    fprintf(out, ",%d\n", score->chosen);
}

static vj_status write_heads(const vj_evaluation *e, const vj_eval_score *scores)
{
    char path[VJ_PATH + 32];
    vj_file file;
    snprintf(path, sizeof path, "%s/heads.csv", e->dir);
    VJ_TRY(vj_file_begin_anew(&file, path));
    fprintf(file.stream, HEADS_BEGIN "training_samples,updates,top1_percent,top5_percent,mean_class_percent,"
                                     "validation_samples,validation_failed,held_out_top1_percent,chosen\n");
    for (int64_t i = 0; i < e->head_count; i++) write_head(file.stream, e, &e->head[i], &scores[i]);
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
    snprintf(dir, sizeof dir, "%.*s/splits", VJ_PATH - 1, e->request->dir);
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

static vj_status read_differences(vj_evaluation *e, vj_differences *differences)
{
    char path[VJ_FILE_PATH];
    vj_campaign_predictions_path(path, e->request->dir, e->request->part);
    return vj_differences_read(differences, path, &e->notes);
}

/* Write the rows of a part for vj_evaluate_merge(). This file is written last. */
static vj_status write_part(vj_evaluation *e, const vj_probe_row *rows, int64_t count, const vj_notes *notes)
{
    vj_campaign_part *part = e->request->part;
    part->total = e->row_total;
    part->number = vj_calloc(count + 1, sizeof *part->number);
    part->campaign = vj_eval_describe_campaign(e);
    if (!part->number || !part->campaign) return vj_raise(VJ_ERR_MEMORY, "no memory for a part of the table");
    for (int64_t r = 0; r < count; r++) part->number[r] = e->row[r].number;
    return vj_part_write(e->request->dir, part, rows, count, notes);
}

vj_status vj_eval_report_nothing(vj_evaluation *e)
{
    return write_part(e, NULL, 0, &e->notes);
}

vj_status vj_eval_report(vj_evaluation *e, const vj_eval_score *scores)
{
    vj_probe_row *rows = vj_calloc(e->head_count, sizeof *rows);
    vj_differences differences = {0};
    int64_t count;
    if (!rows) return vj_raise(VJ_ERR_MEMORY, "no memory for %lld results", (long long)e->head_count);
    vj_status status = make_table(e, scores, rows, &count);
    vj_notes notes = e->notes; /* without notes on differences, which merging computes again */
    if (status == VJ_OK) status = read_differences(e, &differences);
    const vj_report report = {rows, count, &differences, &e->notes};
    if (status == VJ_OK) status = vj_report_write(e->dir, &report);
    if (status == VJ_OK) status = write_heads(e, scores);
    if (status == VJ_OK && !e->request->probes) status = write_splits(e);
    if (status == VJ_OK) {
        fputc('\n', stdout);
        vj_report_print(stdout, &report);
    }
    notes.text = e->notes.text;
    if (status == VJ_OK && e->request->part) status = write_part(e, rows, count, &notes);
    vj_differences_release(&differences);
    free(rows);
    return status;
}

/* Refuse to write results into the folder of a pretraining, because the file `complete` would then say that the
 * pretraining is complete. */
static vj_status check_owner(const char *dir)
{
    char path[VJ_PATH + 32];
    snprintf(path, sizeof path, "%s/metrics.csv", dir);
    if (access(path, F_OK) != 0) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE, "%s is of a pretraining: results have a folder of their own, give it by --out", dir);
}

/* Check now that published results can be read, not only at the end. */
static vj_status check_paper(const vj_config *config)
{
    vj_paper paper;
    if (!config->probe.paper[0]) return VJ_OK;
    const vj_status status = vj_paper_read(&paper, config->probe.paper, config->probe.paper_table);
    vj_paper_release(&paper);
    return status;
}

vj_status vj_eval_report_check(const vj_evaluation *e)
{
    char path[VJ_FILE_PATH];
    VJ_TRY(check_paper(e->config));
    VJ_TRY(check_owner(e->request->dir));
    VJ_TRY(vj_report_check("--out", e->request->dir));
    snprintf(path, sizeof path, "%s/" VJ_EVALUATION_FILE, e->dir);
    if (e->request->probes && access(path, F_OK) == 0)
        return vj_raise(VJ_ERR_USAGE, "%s holds the results of a campaign: give another --out to --probe", e->dir);
    snprintf(path, sizeof path, "%s/heads.csv", e->dir);
    VJ_TRY(vj_output_check_text(path, HEADS_BEGIN));
    snprintf(path, sizeof path, "%s/" VJ_ATTENTION_FILE, e->dir);
    VJ_TRY(vj_attention_may_replace(path));
    vj_campaign_predictions_path(path, e->request->dir, e->request->part);
    return access(path, F_OK) == 0 ? vj_predictions_may_replace(path) : VJ_OK;
}
