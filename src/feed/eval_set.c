/* Groups clips into samples, and chooses the windows of a sample. */
#include "feed/eval_set.h"

#include <stdlib.h>

#include "base/rng.h"

/* ------------------------------------------------------------------------------------------------ groups */

/* A clip and its place among the others. */
typedef struct {
    int32_t source, window, clip;
} place;

static int compare_places(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->source != y->source) return x->source < y->source ? -1 : 1;
    if (x->window != y->window) return x->window < y->window ? -1 : 1;
    return (x->clip > y->clip) - (x->clip < y->clip);
}

static vj_status check_labels(const vj_clips *clips, int64_t first, int64_t clip)
{
    for (int l = 0; l < vj_clips_label_count(clips); l++) {
        const int32_t one = vj_clips_labels(clips, first)[l], other = vj_clips_labels(clips, clip)[l];
        if (one != other)
            return vj_raise(VJ_ERR_FORMAT,
                            "clips %lld and %lld are windows of one file, but %s is %d of the one and %d of the other: "
                            "a sample must have one label; list parts of a video as files of their own",
                            (long long)first, (long long)clip, vj_clips_label_name(clips, l), one, other);
    }
    return VJ_OK;
}

/* `order` is sorted. */
static vj_status group(vj_eval_set *set, const place *order, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        set->window[i] = order[i].clip;
        if (i == 0 || order[i].source != order[i - 1].source)
            set->first[set->count++] = i;
        else
            VJ_TRY(check_labels(set->clips, set->window[set->first[set->count - 1]], order[i].clip));
    }
    set->first[set->count] = n;
    for (int64_t s = 0; s < set->count; s++) set->repeating += set->first[s + 1] - set->first[s] < set->segments;
    return VJ_OK;
}

vj_status vj_eval_set_open(vj_eval_set *set, const vj_clips *clips, const vj_config *config, bool training)
{
    const int64_t n = vj_clips_count(clips);
    const int random = config->evaluate.random_windows;
    const bool one = vj_clips_frames(clips) == 1 || (training && !config->evaluate.across_segments);
    *set = (vj_eval_set){.clips = clips,
                         .segments = one ? 1 : (int)config->evaluate.segments,
                         .random = random == VJ_RANDOM_ALWAYS || (random == VJ_RANDOM_TRAINING && training),
                         .seed = (uint64_t)config->run.seed};
    place *order = vj_calloc(n + 1, sizeof *order);
    set->first = vj_calloc(n + 1, sizeof *set->first);
    set->window = vj_calloc(n + 1, sizeof *set->window);
    vj_status status = VJ_OK;
    if (!order || !set->first || !set->window)
        status = vj_raise(VJ_ERR_MEMORY, "no memory for the samples of %lld clips", (long long)n);
    for (int64_t i = 0; i < n && status == VJ_OK; i++)
        order[i] = (place){vj_clips_source(clips, i), vj_clips_window(clips, i), (int32_t)i};
    if (status == VJ_OK) {
        qsort(order, (size_t)n, sizeof *order, compare_places);
        status = group(set, order, n);
    }
    free(order);
    if (status == VJ_OK) { /* one place a sample is enough */
        int64_t *first = realloc(set->first, (size_t)(set->count + 1) * sizeof *first);
        if (first) set->first = first;
    }
    return status;
}

void vj_eval_set_release(vj_eval_set *set)
{
    free(set->first);
    free(set->window);
    *set = (vj_eval_set){0};
}

int32_t vj_eval_set_label(const vj_eval_set *set, int64_t sample, int task)
{
    return vj_clips_labels(set->clips, set->window[set->first[sample]])[task];
}

void vj_eval_set_log(const vj_eval_set *set, const char *name)
{
    vj_log("%s: %lld clips are %lld samples of %d segment%s, %s windows", name, (long long)set->first[set->count],
           (long long)set->count, set->segments, set->segments > 1 ? "s" : "",
           set->random ? "random" : "evenly spaced");
    if (set->repeating > 0)
        vj_warn("%s: %lld of %lld samples have fewer than %d windows, so some of theirs are shown more than once", name,
                (long long)set->repeating, (long long)set->count, set->segments);
}

/* ------------------------------------------------------------------------------------------------ windows */

/* Every sample has a stream of its own, and every segment a draw of it. */
static int64_t draw(const vj_eval_set *set, int64_t sample, int segment, int64_t epoch, int64_t n)
{
    vj_rng rng;
    vj_rng_init(&rng, set->seed, VJ_RNG_SEGMENT, (uint64_t)epoch << 32 | (uint64_t)sample);
    double at = 0;
    for (int s = 0; s <= segment; s++) at = vj_rng_uniform(&rng);
    return (int64_t)(at * (double)n);
}

int64_t vj_eval_set_clip(const vj_eval_set *set, int64_t sample, int segment, int64_t epoch)
{
    VJ_ASSERT(sample >= 0 && sample < set->count && segment >= 0 && segment < set->segments && epoch >= 0);
    const int64_t begin = set->first[sample], W = set->first[sample + 1] - begin, S = set->segments;
    const int64_t from = segment * W / S, to = (segment + 1) * W / S; /* the segment's part of the video */
    if (set->random && to - from > 1) return set->window[begin + from + draw(set, sample, segment, epoch, to - from)];
    return set->window[begin + (2 * segment + 1) * W / (2 * S)];
}

void vj_eval_set_items(const vj_eval_set *set, int64_t sample, int64_t epoch, int views, vj_eval_item *items)
{
    for (int s = 0; s < set->segments; s++) {
        const int64_t clip = vj_eval_set_clip(set, sample, s, epoch);
        for (int v = 0; v < views; v++)
            items[s * views + v] = (vj_eval_item){.clip = clip, .key = vj_eval_key(epoch, s, clip), .view = v};
    }
}
