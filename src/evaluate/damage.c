/*
 * Keeps track of clips whose bytes are damaged. Between rounds the marks are the same on all ranks, and marks are never
 * removed. So whether a sample is left out depends only on the sample and the epoch, not on which rank read it or which
 * samples were in its batch.
 */
#include <stdlib.h>

#include "evaluate/parts.h"
#include "parallel/parallel.h"

vj_status vj_eval_damage_open(vj_eval_side *side)
{
    side->damaged = vj_calloc(vj_clips_count(side->clips) + 1, sizeof *side->damaged);
    return side->damaged ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for marks of damaged clips");
}

bool vj_eval_is_lost(const vj_eval_side *side, int64_t sample, int64_t epoch)
{
    for (int s = 0; s < side->set.segments; s++)
        if (side->damaged[vj_eval_set_clip(&side->set, sample, s, epoch)]) return true;
    return false;
}

bool vj_eval_lost_in_training(const vj_evaluation *e, int64_t sample)
{
    const int64_t copy = e->stored.copies > 0 ? e->stream.epoch % e->stored.copies : e->stream.epoch;
    return vj_eval_is_lost(&e->train, sample, e->stored.centre ? 0 : copy);
}

/* Return whether any clip of the sample is damaged, even if no view shows it. */
static bool has_damage(const vj_eval_side *side, int64_t sample)
{
    for (int64_t i = side->set.first[sample]; i < side->set.first[sample + 1]; i++)
        if (side->damaged[side->set.window[i]]) return true;
    return false;
}

void vj_eval_count_tested(const vj_evaluation *e, int task, int64_t *used, int64_t *lost)
{
    const vj_eval_side *side = &e->validation;
    *used = *lost = 0;
    for (int64_t i = 0; i < side->set.count; i++) {
        if (vj_eval_set_label(&side->set, i, side->label[task]) < 0) continue;
        ++*(vj_eval_is_lost(side, i, 0) ? lost : used);
    }
}

int64_t vj_eval_damaged_samples(const vj_eval_side *side)
{
    int64_t n = 0;
    for (int64_t i = 0; i < side->set.count; i++) n += has_damage(side, i);
    return n;
}

int64_t vj_eval_damaged_in_split(const vj_evaluation *e, const vj_eval_split *split)
{
    int64_t n = 0;
    for (int64_t i = 0; split->member && i < split->count; i++)
        n += split->member[split->sample[i]] && has_damage(&e->train, split->sample[i]);
    return n;
}

/* List the damaged clips of this rank's batch that are not marked yet, at most batch->count. Items of the same clip are
 * neighbours in a batch. */
static int64_t list_new(const vj_eval_side *side, const vj_batch *batch, int64_t *list)
{
    int64_t n = 0;
    for (int64_t j = 0; batch && j < batch->count; j++) {
        const int64_t clip = batch->clips[j];
        if (!batch->damaged[j] || side->damaged[clip] || (n > 0 && list[n - 1] == clip)) continue;
        list[n++] = clip;
    }
    return n;
}

/* Fail if no undamaged sample of some split is left to learn from. */
static vj_status check_splits(const vj_evaluation *e)
{
    for (int s = 0; !e->request->probes && s < e->split_count; s++) {
        const vj_eval_split *split = &e->split[s];
        int64_t i = 0;
        while (i < split->count && (!split->member[split->sample[i]] || has_damage(&e->train, split->sample[i]))) i++;
        if (i == split->count)
            return vj_raise(VJ_ERR_FORMAT,
                            "%s: all samples that %g %% of the labels of '%s' leave to learn from are damaged",
                            e->train.paths, split->labels, e->tasks.item[split->task]);
    }
    return VJ_OK;
}

static vj_status mark(const vj_evaluation *e, vj_eval_side *side, const int64_t *clip, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        side->damaged[clip[i]] = 1;
        if (e->rank == 0)
            vj_warn("%s: clip %lld is damaged: the sample it is of, file number %d, is left out", side->paths,
                    (long long)clip[i], vj_clips_source(side->clips, clip[i]));
    }
    const int64_t lost = vj_eval_damaged_samples(side);
    vj_status status = VJ_OK;
    if (vj_too_damaged(lost, side->wanted) && e->rank == 0)
        status = vj_raise(VJ_ERR_FORMAT,
                          "%s: %lld of %lld samples cannot be used since clips of theirs are damaged; more than 10 and "
                          "more than 1 %% are too many: vjepa-inspect --verify lists what is damaged; pack it again",
                          side->paths, (long long)lost, (long long)side->wanted);
    if (status == VJ_OK && e->rank == 0) status = check_splits(e);
    return vj_agree(e->comm, status);
}

vj_status vj_eval_note_damage(vj_evaluation *e, vj_eval_side *side, const vj_batch *batch)
{
    int64_t *mine = vj_calloc(batch ? batch->count + 1 : 1, sizeof *mine), *all = NULL, n;
    vj_status status = vj_agree(e->comm, mine ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for damaged clips"));
    if (status == VJ_OK) status = vj_gather_numbers(&all, &n, mine, list_new(side, batch, mine), e->comm);
    if (status == VJ_OK && n > 0) status = mark(e, side, all, n);
    free(mine);
    free(all);
    return status;
}
