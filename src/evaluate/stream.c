/* The stream: the order in which training samples are encoded in one epoch. */

#include "base/rng.h"
#include "evaluate/parts.h"

/* The permutations of epochs are keyed apart from those that draw splits. */
#define EPOCH_KEY UINT64_C(0x200000000)

bool vj_eval_learns(const vj_evaluation *e, const vj_eval_split *split)
{
    return e->stream.epoch < split->epochs;
}

static bool is_needed(const vj_evaluation *e, int64_t sample)
{
    for (int s = 0; s < e->split_count; s++)
        if (vj_eval_learns(e, &e->split[s]) && e->split[s].member[sample]) return true;
    return false;
}

/* Return whether all splits have already used the sample at the stream's place; if so, count it in split->seen. */
static bool is_used(vj_evaluation *e, int64_t sample)
{
    for (int s = 0; s < e->split_count; s++) {
        const vj_eval_split *split = &e->split[s];
        if (vj_eval_learns(e, split) && split->member[sample] && split->seen >= split->done) return false;
    }
    for (int s = 0; s < e->split_count; s++)
        if (vj_eval_learns(e, &e->split[s])) e->split[s].seen += e->split[s].member[sample];
    return true;
}

vj_status vj_eval_stream_begin(vj_evaluation *e)
{
    const int64_t n = e->train.set.count;
    if (!e->stream.sample) e->stream.sample = vj_calloc(n + 1, sizeof *e->stream.sample);
    if (!e->stream.sample) return vj_raise(VJ_ERR_MEMORY, "no memory for the order of %lld samples", (long long)n);
    e->stream.count = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t sample = vj_permute((uint64_t)e->config->run.seed, EPOCH_KEY + (uint64_t)e->stream.epoch, n, i);
        if (is_needed(e, sample)) e->stream.sample[e->stream.count++] = sample;
    }
    for (int s = 0; s < e->split_count; s++) e->split[s].seen = 0;
    e->stream.place = 0;
    while (e->stream.place < e->stream.count && is_used(e, e->stream.sample[e->stream.place])) e->stream.place++;
    return VJ_OK;
}

void vj_eval_stream_end(vj_evaluation *e)
{
    for (int s = 0; s < e->split_count; s++) {
        vj_eval_split *split = &e->split[s];
        if (vj_eval_learns(e, split)) VJ_ASSERT(split->done == split->learned);
        split->done = 0;
    }
}
