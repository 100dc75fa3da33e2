/*
 * The order of clips: turns weights into samples per cycle, a sample into a draw from a pool, and a draw into a clip.
 * Read vj_order_clip() first.
 */
#include "feed/order.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "base/rng.h"
#include "clips/clips.h" /* VJ_MAX_DATASETS */

enum { OF_CLIPS, OF_SHARDS, PERMUTATIONS }; /* permutations of each pool, each with its own keys */

/* The shards of a pool, in the order of one epoch. */
typedef struct {
    int64_t epoch;   /* -1: none yet */
    int64_t *shard;  /* [shards] */
    int64_t *before; /* [shards + 1] clips in the shards before */
} table;

typedef struct {
    const char *name; /* name of the dataset; borrowed */
    int64_t quota;    /* samples of this pool in a cycle */
    int64_t count;    /* clips in this pool */
    int32_t *clip;    /* [count] owned, ascending; NULL: place i is clip i */
    /* for data.shuffle block: */
    int64_t shards; /* shards that hold clips of this pool */
    int64_t *first; /* [shards + 1] owned: the places where they begin */
    /* Tables of an even and an odd epoch: threads read samples near one another, which may be of two epochs. */
    table even_odd[2];
} pool;

struct vj_order {
    uint64_t seed;
    int pools;
    pool pool[VJ_MAX_DATASETS];
    int64_t cycle;        /* the sum of quotas */
    int64_t window;       /* shards; 0: global */
    pthread_mutex_t lock; /* guards the tables */
    const int64_t *once;  /* [once_count] borrowed; NULL: this is a training order */
    int64_t once_count;
};

/* ------------------------------------------------------------------------------------------------ weights */

static int find_dataset(const vj_order_clips *clips, const char *name, size_t length)
{
    int d = 0;
    while (d < clips->datasets &&
           (strlen(clips->dataset_name[d]) != length || strncmp(clips->dataset_name[d], name, length) != 0))
        d++;
    return d;
}

/* "name=share"; *units of 1/100000. */
static vj_status parse_weight(const char *text, const vj_order_clips *clips, int *dataset, int64_t *units)
{
    const char *equals = strrchr(text, '=');
    double share;
    if (!equals || !vj_parse_real(equals + 1, &share) || !(share >= 0.0 && share <= 1e6))
        return vj_raise(VJ_ERR_USAGE, "data.weights: '%s' is not DATASET=SHARE with a share in [0, 1000000]", text);
    *dataset = find_dataset(clips, text, (size_t)(equals - text));
    *units = llround(1e5 * share);
    if (*dataset == clips->datasets)
        return vj_raise(VJ_ERR_USAGE, "data.weights: '%s': the clip stores have no such dataset", text);
    if (share > 0.0 && *units == 0)
        return vj_raise(VJ_ERR_USAGE, "data.weights: '%s': shares are multiples of 0.00001", text);
    return VJ_OK;
}

/* Parse all weights into units[dataset], -1 for a dataset that is not named. */
static vj_status parse_weights(const vj_strings *weights, const vj_order_clips *clips, int64_t units[])
{
    for (int d = 0; d < clips->datasets; d++) units[d] = -1;
    for (int w = 0; w < weights->count; w++) {
        int dataset = 0;
        int64_t share = 0;
        VJ_TRY(parse_weight(weights->item[w], clips, &dataset, &share));
        if (units[dataset] >= 0)
            return vj_raise(VJ_ERR_USAGE, "data.weights: dataset '%s' is given twice", clips->dataset_name[dataset]);
        units[dataset] = share;
    }
    for (int d = 0; d < clips->datasets; d++)
        if (units[d] < 0)
            return vj_raise(VJ_ERR_USAGE, "data.weights: dataset '%s' is not named; %s=0 leaves it out",
                            clips->dataset_name[d], clips->dataset_name[d]);
    return VJ_OK;
}

static int64_t common_factor(int64_t a, int64_t b)
{
    return b == 0 ? a : common_factor(b, a % b);
}

/* Set the quotas of the pools: the smallest whole numbers that have the ratios of the weights. */
static vj_status set_quotas(vj_order *order, const vj_order_clips *clips, const int64_t units[])
{
    int64_t factor = 0;
    for (int d = 0; d < clips->datasets; d++) factor = common_factor(factor, units[d]);
    if (factor == 0) return vj_raise(VJ_ERR_USAGE, "data.weights: all shares are 0");
    for (int d = 0; d < clips->datasets; d++) {
        if (units[d] == 0) continue;
        order->pool[order->pools++] = (pool){.name = clips->dataset_name[d], .quota = units[d] / factor};
        order->cycle += units[d] / factor;
    }
    if (order->cycle > INT32_MAX)
        return vj_raise(VJ_ERR_USAGE,
                        "data.weights: %lld samples would be needed to hold these shares exactly; give them with fewer "
                        "digits, five decimals of numbers below 1",
                        (long long)order->cycle);
    return VJ_OK;
}

static vj_status list_datasets(vj_status status, const vj_order_clips *clips)
{
    char names[1024];
    size_t used = 0;
    for (int d = 0; status != VJ_OK && d < clips->datasets && used < sizeof names; d++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", d ? ", " : "", clips->dataset_name[d]);
    return status == VJ_OK ? VJ_OK : vj_raise(status, "data.weights names each dataset of the stores once: %s", names);
}

/* ------------------------------------------------------------------------------------------------ pools */

/* List the clips of the pool's dataset in ascending order, which is also the order of shards. */
static vj_status list_clips(pool *p, const vj_order_clips *clips, int dataset, int64_t all)
{
    for (int64_t i = 0; i < all; i++) p->count += clips->dataset[i] == dataset;
    if (p->count == 0) return vj_raise(VJ_ERR_USAGE, "data.weights: dataset '%s' has no clip; give it 0", p->name);
    p->clip = vj_calloc(p->count, sizeof *p->clip);
    if (!p->clip) return vj_raise(VJ_ERR_MEMORY, "no memory to list %lld clips", (long long)p->count);
    for (int64_t i = 0, at = 0; i < all; i++)
        if (clips->dataset[i] == dataset) p->clip[at++] = (int32_t)i;
    return VJ_OK;
}

/* List where each shard begins among the pool's clips. Shards without any clip of the pool are left out. */
static vj_status list_shards(pool *p, const vj_order_clips *clips)
{
    p->first = vj_calloc(clips->shards + 1, sizeof *p->first);
    if (!p->first) return vj_raise(VJ_ERR_MEMORY, "no memory to list %lld shards", (long long)clips->shards);
    for (int64_t s = 0, end = 0, place = 0; s < clips->shards; s++) {
        const int64_t begin = place;
        end += clips->shard_clips[s];
        if (p->clip)
            while (place < p->count && p->clip[place] < end) place++;
        else
            place = end;
        if (place > begin) p->first[++p->shards] = place;
    }
    for (int t = 0; t < 2; t++) {
        p->even_odd[t].epoch = -1;
        p->even_odd[t].shard = vj_calloc(p->shards, sizeof(int64_t));
        p->even_odd[t].before = vj_calloc(p->shards + 1, sizeof(int64_t));
        if (!p->even_odd[t].shard || !p->even_odd[t].before)
            return vj_raise(VJ_ERR_MEMORY, "no memory to order %lld shards", (long long)p->shards);
    }
    return VJ_OK;
}

/* Make one pool of all clips, or a pool for each dataset that has a weight. */
static vj_status make_pools(vj_order *order, const vj_order_clips *clips, const vj_strings *weights)
{
    int64_t all = 0, units[VJ_MAX_DATASETS];
    for (int64_t s = 0; s < clips->shards; s++) all += clips->shard_clips[s];
    VJ_ASSERT(all >= 1 && all <= INT32_MAX && clips->datasets >= 1 && clips->datasets <= VJ_MAX_DATASETS);
    if (weights->count == 0) {
        order->pools = 1;
        order->cycle = 1;
        order->pool[0] = (pool){.name = "all", .quota = 1, .count = all};
        return VJ_OK;
    }
    VJ_TRY(list_datasets(parse_weights(weights, clips, units), clips));
    VJ_TRY(set_quotas(order, clips, units));
    for (int i = 0; i < order->pools; i++) {
        pool *p = &order->pool[i];
        VJ_TRY(list_clips(p, clips, find_dataset(clips, p->name, strlen(p->name)), all));
    }
    return VJ_OK;
}

vj_status vj_order_create(vj_order **order, const vj_order_clips *clips, const vj_config *config)
{
    vj_order *o = *order = vj_calloc(1, sizeof *o);
    if (!o) return vj_raise(VJ_ERR_MEMORY, "no memory for the order of clips");
    o->seed = (uint64_t)config->run.seed;
    o->window = config->data.shuffle == VJ_SHUFFLE_BLOCK ? config->data.block_shards : 0;
    pthread_mutex_init(&o->lock, NULL);
    vj_status status = make_pools(o, clips, &config->data.weights);
    for (int i = 0; i < o->pools && o->window > 0 && status == VJ_OK; i++) status = list_shards(&o->pool[i], clips);
    if (status == VJ_OK) return VJ_OK;
    vj_order_destroy(o);
    *order = NULL;
    return status;
}

vj_status vj_order_create_once(vj_order **order, const int64_t *list, int64_t count)
{
    VJ_ASSERT(list && count >= 0);
    vj_order *o = *order = vj_calloc(1, sizeof *o);
    if (!o) return vj_raise(VJ_ERR_MEMORY, "no memory for the order of clips");
    pthread_mutex_init(&o->lock, NULL);
    o->once = list;
    o->once_count = count;
    return VJ_OK;
}

void vj_order_destroy(vj_order *order)
{
    if (!order) return;
    for (int i = 0; i < order->pools; i++) {
        pool *p = &order->pool[i];
        for (int t = 0; t < 2; t++) {
            free(p->even_odd[t].before);
            free(p->even_odd[t].shard);
        }
        free(p->first);
        free(p->clip);
    }
    pthread_mutex_destroy(&order->lock);
    free(order);
}

void vj_order_log(const vj_order *order)
{
    for (int i = 0; i < order->pools && order->cycle > 1; i++) {
        const pool *p = &order->pool[i];
        vj_log("dataset %s: %lld of %lld samples (%.3f %%), an epoch of its %lld clips every %.0f samples", p->name,
               (long long)p->quota, (long long)order->cycle, 100.0 * (double)p->quota / (double)order->cycle,
               (long long)p->count, (double)p->count * (double)order->cycle / (double)p->quota);
    }
    if (order->window > 0) vj_log("clips are shuffled among %lld shards at a time", (long long)order->window);
}

/* ------------------------------------------------------------------------------------------------ mixture */

/*
 * Divide an interval of `length` samples, which holds count[i] samples of pool i, into halves: left[i] is the number in
 * the first half. Exact shares are rounded down or up by systematic sampling: one uniform draw decides all roundings,
 * so each pool is rounded up with the probability of its fraction, and the sum is exact.
 */
static void halve(const vj_order *order, int64_t start, int level, int64_t length, const int64_t count[],
                  int64_t left[])
{
    vj_rng rng;
    vj_rng_init(&rng, order->seed, VJ_RNG_MIXTURE, (uint64_t)start * 64 + (uint64_t)level);
    int64_t at = vj_rng_below(&rng, length);
    for (int i = 0; i < order->pools; i++) {
        const int64_t exact = count[i] * (length / 2), next = at + exact % length;
        left[i] = exact / length + (next >= length);
        at = next % length;
    }
}

/* Return the pool of a sample, and set *draw to the number of samples of that pool before it. */
static int deal(const vj_order *order, int64_t sample, int64_t *draw)
{
    int64_t count[VJ_MAX_DATASETS], left[VJ_MAX_DATASETS], before[VJ_MAX_DATASETS];
    int64_t start = sample - sample % order->cycle, length = order->cycle;
    for (int i = 0; i < order->pools; i++) {
        count[i] = order->pool[i].quota;
        before[i] = sample / order->cycle * count[i];
    }
    for (int level = 0; length > 1; level++) {
        halve(order, start, level, length, count, left);
        const int64_t half = length / 2;
        const bool first = sample < start + half;
        for (int i = 0; i < order->pools; i++) {
            if (!first) before[i] += left[i];
            count[i] = first ? left[i] : count[i] - left[i];
        }
        start += first ? 0 : half;
        length = first ? half : length - half;
    }
    int which = 0;
    while (count[which] == 0) which++;
    *draw = before[which];
    return which;
}

/* ------------------------------------------------------------------------------------------------ places */

/*
 * Each pool and purpose needs a permutation of its own, so they are put into the high bits of the key, which seeds do
 * not use.
 */
static int64_t permute(const vj_order *order, const pool *p, int purpose, int64_t epoch, int64_t n, int64_t i)
{
    const uint64_t stream = (uint64_t)((p - order->pool) * PERMUTATIONS + purpose);
    return vj_permute(order->seed ^ stream << 56, (uint64_t)epoch, n, i);
}

static void fill(const vj_order *order, const pool *p, table *t, int64_t epoch)
{
    t->epoch = epoch;
    for (int64_t k = 0; k < p->shards; k++) {
        const int64_t s = permute(order, p, OF_SHARDS, epoch, p->shards, k);
        t->shard[k] = s;
        t->before[k + 1] = t->before[k] + p->first[s + 1] - p->first[s];
    }
}

/* Return the index in the table of the shard that contains place i, by bisection. */
static int64_t shard_at(const pool *p, const table *t, int64_t i)
{
    int64_t low = 0, high = p->shards; /* before[low] <= i < before[high] */
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (t->before[middle] <= i)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static int64_t place_in_blocks(vj_order *order, pool *p, int64_t epoch, int64_t i)
{
    table *t = &p->even_odd[epoch % 2];
    pthread_mutex_lock(&order->lock);
    if (t->epoch != epoch) fill(order, p, t, epoch);
    const int64_t windows = (p->shards + order->window - 1) / order->window, w = shard_at(p, t, i) / order->window;
    const int64_t last = (w + 1) * order->window < p->shards ? (w + 1) * order->window : p->shards;
    const int64_t begin = t->before[w * order->window], end = t->before[last];
    const int64_t at = begin + permute(order, p, OF_CLIPS, epoch * windows + w, end - begin, i - begin);
    const int64_t k = shard_at(p, t, at), place = p->first[t->shard[k]] + at - t->before[k];
    pthread_mutex_unlock(&order->lock);
    return place;
}

int64_t vj_order_clip(vj_order *order, int64_t sample, int64_t spare)
{
    int64_t draw;
    if (order->once) return spare == 0 && sample < order->once_count ? order->once[sample] : -1;
    pool *p = &order->pool[deal(order, sample, &draw)];
    if (spare >= p->count) return -1;
    const int64_t epoch = draw / p->count, i = (draw % p->count + spare) % p->count;
    const int64_t place =
        order->window > 0 ? place_in_blocks(order, p, epoch, i) : permute(order, p, OF_CLIPS, epoch, p->count, i);
    return p->clip ? p->clip[place] : place;
}
