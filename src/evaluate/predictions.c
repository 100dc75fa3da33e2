/* Writes predictions.h5: the predictions of the chosen heads for each validation sample. */
#include <stdlib.h>

#include "evaluate/heads.h"
#include "evaluate/parts.h"
#include "parallel/parallel.h"
#include "probe/splits.h"

void vj_eval_head_name(const vj_evaluation *e, const vj_eval_head *h, char name[VJ_HEAD_NAME])
{
    if (h->measured) {
        snprintf(name, VJ_HEAD_NAME, "%s", h->measured->facts.name);
        return;
    }
    vj_head_facts facts = {.labels = e->split[h->split].labels, .seed = h->seed};
    snprintf(facts.task, sizeof facts.task, "%.60s", e->tasks.item[h->task]);
    snprintf(facts.encoder, sizeof facts.encoder, "%s", e->encoders.name[h->encoder]);
    vj_eval_kind(h, facts.kind);
    vj_head_name(&facts);
    if (e->sweep > 1)
        snprintf(name, VJ_HEAD_NAME, "%.200s.lr%d.wd%d", facts.name, h->lr, h->wd);
    else
        snprintf(name, VJ_HEAD_NAME, "%s", facts.name);
}

vj_head_facts vj_eval_head_facts(const vj_evaluation *e, const vj_eval_head *h)
{
    const vj_config *c = e->config;
    if (h->measured) {
        vj_head_facts known = h->measured->facts;
        known.store_digest = vj_clips_fingerprint(e->validation.clips);
        vj_eval_kind(h, known.kind);
        return known;
    }
    const vj_eval_split *split = &e->split[h->split];
    vj_head_facts f = {.labels = split->labels,
                       .seed = h->seed,
                       .encoder_digest = e->encoders.digest[h->encoder],
                       .train_digest = vj_clips_fingerprint(e->train.clips),
                       .store_digest = vj_clips_fingerprint(e->validation.clips),
                       .split_digest = split->digest,
                       .training_samples = split->learned,
                       .classes = h->shape.classes};
    f.class_digest = vj_clips_classes_digest(vj_clips_classes_of(e->train.clips, e->train.label[h->task]));
    snprintf(f.task, sizeof f.task, "%.60s", e->tasks.item[h->task]);
    snprintf(f.encoder, sizeof f.encoder, "%s", e->encoders.name[h->encoder]);
    vj_eval_kind(h, f.kind);
    snprintf(f.features, sizeof f.features, "%s", c->probe.features);
    snprintf(f.preset, sizeof f.preset, "%s", c->evaluate.preset == VJ_PRESET_PAPER ? "paper" : "code");
    snprintf(f.precision, sizeof f.precision, "%s", c->train.precision);
    snprintf(f.split, sizeof f.split, "%s",
             c->probe.split_files[0]              ? "files"
             : c->probe.split == VJ_SPLIT_UNIFORM ? "uniform"
                                                  : "class");
    snprintf(f.description, sizeof f.description, "depth %d, %lld epochs of %lld samples, lr %g, weight decay %g",
             h->shape.depth, (long long)split->epochs, (long long)split->learned, h->recipe.lr, h->recipe.weight_decay);
    vj_head_name(&f);
    return f;
}

/* List the chosen heads: their facts, digests and indices. Return their number. */
static int64_t list_chosen(const vj_evaluation *e, const vj_eval_score *scores, const int64_t *labelled,
                           vj_head_facts *facts, uint64_t *digest, int64_t *number)
{
    int64_t n = 0;
    for (int64_t h = 0; h < e->head_count; h++) {
        if (!scores[h].chosen) continue;
        int64_t used;
        facts[n] = vj_eval_head_facts(e, &e->head[h]);
        vj_eval_count_tested(e, e->head[h].task, &used, &facts[n].failed);
        facts[n].counted = labelled[h];
        digest[n] = scores[h].digest;
        number[n++] = h;
    }
    return n;
}

static vj_status write_rows(vj_evaluation *e, vj_predictions_writer *writer, vj_prediction *const *rows,
                            const int64_t *labelled, const int64_t *number, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t h = number[i];
        if (e->head[h].owner != e->rank) continue;
        VJ_TRY(vj_predictions_write(writer, i, 0, labelled[h], rows[h]));
    }
    return VJ_OK;
}

static vj_status write_file(vj_evaluation *e, const vj_head_facts *facts, const int64_t *number, int64_t n,
                            vj_prediction *const *rows, const int64_t *labelled, const uint64_t *digest)
{
    vj_predictions_writer *writer;
    vj_task_classes tasks[VJ_MAX_LABELS];
    char path[VJ_FILE_PATH];
    vj_campaign_predictions_path(path, e->request->dir, e->request->part);
    for (int t = 0; t < e->tasks.count; t++)
        tasks[t] = (vj_task_classes){e->tasks.item[t], vj_clips_classes_of(e->train.clips, e->train.label[t])};
    char *config = vj_config_text(e->config);
    vj_status status = vj_agree(e->comm, config ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a text"));
    if (status == VJ_OK)
        status = vj_predictions_create(&writer, path, facts, n, tasks, e->tasks.count, config, e->comm);
    free(config);
    VJ_TRY(status);
    status = write_rows(e, writer, rows, labelled, number, n);
    return vj_predictions_commit(writer, status, digest);
}

vj_status vj_eval_write_predictions(vj_evaluation *e, const vj_eval_score *scores, vj_prediction *const *rows,
                                    const int64_t *labelled)
{
    vj_head_facts *facts = vj_calloc(e->head_count, sizeof *facts);
    int64_t *number = vj_calloc(e->head_count, sizeof *number);
    uint64_t *digest = vj_calloc(e->head_count, sizeof *digest);
    const bool there = facts && number && digest;
    vj_status status =
        vj_agree(e->comm, there ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to describe the predictions"));
    if (status == VJ_OK) {
        const int64_t n = list_chosen(e, scores, labelled, facts, digest, number);
        status = write_file(e, facts, number, n, rows, labelled, digest);
    }
    free(facts);
    free(number);
    free(digest);
    return status;
}
