/*
 * Tests the order of clips: every clip once an epoch, exact mixtures, local blocks, the same order from any sample on,
 * and how similar the clips of a batch are if neighbours in the store are similar.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "feed/order.h"

enum { SHARDS = 41, CLIPS = 3000, DATASETS = 3, SEED = 234 };

/* Shards of unequal size, one of them empty, and datasets of 70, 27 and 3 % distributed over them. */
static int64_t shard_clips[SHARDS];
static uint8_t dataset[CLIPS];
static int64_t of_dataset[DATASETS];
static const char *const names[DATASETS] = {"k400", "ssv2", "how=to"};
static int shard_of[CLIPS];

static vj_order_clips layout(void)
{
    return (vj_order_clips){
        .shards = SHARDS, .shard_clips = shard_clips, .datasets = DATASETS, .dataset_name = names, .dataset = dataset};
}

static int make_layout(void **state)
{
    (void)state;
    for (int64_t i = 0; i < CLIPS; i++) {
        const int64_t x = vj_permute(1, 0, CLIPS, i);
        dataset[i] = (uint8_t)(x < 2100 ? 0 : x < 2910 ? 1 : 2);
        of_dataset[dataset[i]]++;
        shard_of[i] = (int)((i * i / CLIPS + i) * (SHARDS - 1) / (2 * CLIPS));
        shard_of[i] += shard_of[i] >= 7; /* shard 7 stays empty */
        shard_clips[shard_of[i]]++;
    }
    assert_int_equal(shard_clips[7], 0);
    return 0;
}

static vj_config *settings(vj_shuffle shuffle, int64_t window, const char *a, const char *b, const char *c)
{
    static vj_config config;
    const char *const weights[] = {a, b, c};
    memset(&config, 0, sizeof config);
    config.run.seed = SEED;
    config.data.shuffle = shuffle;
    config.data.block_shards = window;
    for (int i = 0; i < 3; i++)
        if (weights[i]) strcpy(config.data.weights.item[config.data.weights.count++], weights[i]);
    return &config;
}

static vj_order *make(vj_shuffle shuffle, int64_t window, const char *a, const char *b, const char *c)
{
    vj_order_clips clips = layout();
    vj_order *order;
    assert_int_equal(vj_order_create(&order, &clips, settings(shuffle, window, a, b, c)), VJ_OK);
    return order;
}

/* ------------------------------------------------------------------------------------------------ epochs */

static void is_the_permutation(void **state)
{
    (void)state;
    vj_order *order = make(VJ_SHUFFLE_GLOBAL, 1, NULL, NULL, NULL);
    for (int64_t s = 0; s < 3 * CLIPS; s++)
        assert_int_equal(vj_order_clip(order, s, 0), vj_permute(SEED, (uint64_t)(s / CLIPS), CLIPS, s % CLIPS));
    vj_order_destroy(order);
}

/* Check that each epoch of each pool has every clip once, and that two epochs differ. */
static void every_clip_once(vj_order *order, bool mixed, int epochs, int64_t samples)
{
    static int64_t at[DATASETS];
    static int32_t visits[CLIPS], first_epoch[DATASETS][CLIPS];
    int64_t same[DATASETS] = {0};
    memset(at, 0, sizeof at);
    memset(visits, 0, sizeof visits);
    for (int64_t s = 0; s < samples; s++) {
        const int64_t clip = vj_order_clip(order, s, 0);
        assert_in_range(clip, 0, CLIPS - 1);
        const int d = mixed ? dataset[clip] : 0;
        const int64_t n = mixed ? of_dataset[d] : CLIPS, epoch = at[d] / n;
        assert_int_equal(visits[clip]++, epoch);
        if (epoch == 0) first_epoch[d][at[d]] = (int32_t)clip;
        if (epoch == 1) same[d] += first_epoch[d][at[d] % n] == clip;
        at[d]++;
    }
    for (int d = 0; d < (mixed ? DATASETS : 1); d++) {
        const int64_t n = mixed ? of_dataset[d] : CLIPS;
        if (at[d] == 0) continue;
        assert_true(at[d] >= epochs * n);
        assert_true(same[d] < 10); /* two random orders have one place in common on average */
    }
}

static void epochs(void **state)
{
    (void)state;
    for (int block = 0; block < 2; block++) {
        const vj_shuffle shuffle = block ? VJ_SHUFFLE_BLOCK : VJ_SHUFFLE_GLOBAL;
        for (int64_t window = 1; window <= (block ? 64 : 1); window *= 4) {
            vj_order *order = make(shuffle, window, NULL, NULL, NULL);
            every_clip_once(order, false, 3, 3 * CLIPS + 17);
            vj_order_destroy(order);
            order = make(shuffle, window, "ssv2=0.35", "k400=0.4", "how=to=0.25");
            every_clip_once(order, true, 3, 20000);
            vj_order_destroy(order);
            order = make(shuffle, window, "ssv2=0.3333", "k400=0.66667", "how=to=0");
            every_clip_once(order, true, 3, 20000);
            vj_order_destroy(order);
        }
    }
}

/* Check that a sample that is asked for alone, in any order, is the one of the sequence. */
static void from_any_sample(void **state)
{
    (void)state;
    enum { SAMPLES = 9000, LATE = 1000000007 };
    static int64_t clip[SAMPLES];
    for (int block = 0; block < 2; block++) {
        const vj_shuffle shuffle = block ? VJ_SHUFFLE_BLOCK : VJ_SHUFFLE_GLOBAL;
        vj_order *order = make(shuffle, 5, "k400=3", "ssv2=2", "how=to=1");
        for (int64_t s = 0; s < SAMPLES; s++) clip[s] = vj_order_clip(order, s, 0);
        const int64_t late = vj_order_clip(order, LATE, 0);
        for (int64_t i = 0; i < SAMPLES; i++) {
            const int64_t s = vj_permute(3, 0, SAMPLES, i);
            assert_int_equal(vj_order_clip(order, s, 0), clip[s]);
        }
        vj_order_destroy(order);
        for (int64_t s = 0; s < SAMPLES; s += 997) {
            order = make(shuffle, 5, "k400=3", "ssv2=2", "how=to=1");
            assert_int_equal(vj_order_clip(order, s, 0), clip[s]);
            assert_int_equal(vj_order_clip(order, LATE, 0), late);
            vj_order_destroy(order);
        }
    }
}

/* ------------------------------------------------------------------------------------------------ mixtures */

/* Check that the counts of each dataset are exact in every cycle. Returns the largest difference from the weight in any
 * range of samples. */
static double check_counts(const char *weights[3], const int64_t quota[3], int64_t samples)
{
    vj_order *order = make(VJ_SHUFFLE_GLOBAL, 1, weights[0], weights[1], weights[2]);
    const int64_t cycle = quota[0] + quota[1] + quota[2];
    int64_t count[DATASETS] = {0};
    double least[DATASETS] = {0}, most[DATASETS] = {0}, widest = 0;
    for (int64_t s = 0; s < samples; s++) {
        count[dataset[vj_order_clip(order, s, 0)]]++;
        for (int d = 0; d < DATASETS; d++) {
            const double off = (double)count[d] - (double)quota[d] * (double)(s + 1) / (double)cycle;
            if (off < least[d]) least[d] = off;
            if (off > most[d]) most[d] = off;
            if ((s + 1) % cycle == 0) assert_int_equal(count[d], (s + 1) / cycle * quota[d]);
        }
    }
    for (int d = 0; d < DATASETS; d++) {
        if (quota[d] == 0) assert_int_equal(count[d], 0);
        if (most[d] - least[d] > widest) widest = most[d] - least[d]; /* of the range between the two extremes */
    }
    vj_order_destroy(order);
    double levels = 1;
    for (int64_t length = 1; length < cycle; length *= 2) levels++;
    assert_true(widest <= 2 * levels);
    return widest;
}

static void mixtures(void **state)
{
    (void)state;
    static const struct {
        const char *weights[3];
        int64_t quota[3];
    } cases[] = {{{"k400=0.4", "ssv2=0.35", "how=to=0.25"}, {8, 7, 5}},
                 {{"k400=1", "ssv2=1", "how=to=1"}, {1, 1, 1}},
                 {{"k400=240", "ssv2=170", "how=to=1"}, {240, 170, 1}},
                 {{"k400=0.5", "ssv2=0", "how=to=0.25"}, {2, 0, 1}},
                 {{"k400=0.33333", "ssv2=0.66666", "how=to=0.00001"}, {33333, 66666, 1}},
                 {{"k400=0.71828", "ssv2=0.14159", "how=to=0.14013"}, {71828, 14159, 14013}}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *w[3] = {cases[i].weights[0], cases[i].weights[1], cases[i].weights[2]};
        const double widest = check_counts(w, cases[i].quota, 300000);
        print_message("%s %s %s: any stretch of samples holds its weights to within %.2f samples\n", w[0], w[1], w[2],
                      widest);
    }
}

/* Check that no place of a cycle prefers a dataset: over many cycles each place has each dataset as often as its weight
 * says, within 5 standard deviations. */
static void places_are_alike(void **state)
{
    (void)state;
    enum { CYCLE = 10, CYCLES = 20000 };
    static const double share[DATASETS] = {0.5, 0.3, 0.2};
    int64_t count[CYCLE][DATASETS] = {{0}};
    vj_order *order = make(VJ_SHUFFLE_GLOBAL, 1, "k400=5", "ssv2=3", "how=to=2");
    for (int64_t s = 0; s < (int64_t)CYCLE * CYCLES; s++) count[s % CYCLE][dataset[vj_order_clip(order, s, 0)]]++;
    for (int i = 0; i < CYCLE; i++)
        for (int d = 0; d < DATASETS; d++)
            assert_true(labs((long)(count[i][d] - (int64_t)(share[d] * CYCLES))) < 350); /* 5 * sqrt(20000 / 4) */
    vj_order_destroy(order);
}

static char message[4096];

static vj_status refused(const char *a, const char *b, const char *c)
{
    char path[] = "/tmp/vjepa_order_XXXXXX";
    vj_order_clips clips = layout();
    vj_order *order;
    const int fd = mkstemp(path), saved = dup(STDERR_FILENO);
    assert_true(fd >= 0 && saved >= 0);
    fflush(stderr);
    dup2(fd, STDERR_FILENO);
    const vj_status status = vj_order_create(&order, &clips, settings(VJ_SHUFFLE_GLOBAL, 1, a, b, c));
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    const ssize_t bytes = pread(fd, message, sizeof message - 1, 0);
    assert_true(bytes >= 0);
    message[bytes] = '\0';
    close(fd);
    close(saved);
    unlink(path);
    assert_null(order);
    return status;
}

static void mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *weights[3], *says;
    } cases[] = {{{"k400=1", "ssv2=1", NULL}, "'how=to' is not named"},
                 {{"k400=1", "ssv2=1", "howto=1"}, "'howto=1': the clip stores have no such dataset"},
                 {{"k400=1", "k400=1", "ssv2=1"}, "'k400' is given twice"},
                 {{"k400=1", "ssv2=1", "how=to"}, "'how=to' is not DATASET=SHARE"},
                 {{"k400=1", "ssv2", "how=to=1"}, "'ssv2' is not DATASET=SHARE"},
                 {{"k400=1", "ssv2=-1", "how=to=1"}, "'ssv2=-1' is not DATASET=SHARE"},
                 {{"k400=1", "ssv2=nan", "how=to=1"}, "'ssv2=nan' is not DATASET=SHARE"},
                 {{"k400=1", "ssv2=1x", "how=to=1"}, "'ssv2=1x' is not DATASET=SHARE"},
                 {{"k400=1", "ssv2=0.000001", "how=to=1"}, "multiples of 0.00001"},
                 {{"k400=0", "ssv2=0", "how=to=0"}, "all shares are 0"},
                 {{"k400=999999.99999", "ssv2=1", "how=to=1"}, "with fewer digits"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(refused(cases[i].weights[0], cases[i].weights[1], cases[i].weights[2]), VJ_ERR_USAGE);
        if (!strstr(message, cases[i].says)) fail_msg("the message lacks \"%s\":\n%s", cases[i].says, message);
    }
    refused("k400=1", "ssv2=1", "howto=1");
    assert_non_null(strstr(message, "k400, ssv2, how=to")); /* the message lists the datasets */
}

/* ------------------------------------------------------------------------------------------------ blocks */

/* Check that samples come window by window, each of so many shards, and that no shard is in two windows. */
static void blocks_are_local(void **state)
{
    (void)state;
    for (int64_t window = 1; window <= 64; window *= 2) {
        vj_order *order = make(VJ_SHUFFLE_BLOCK, window, NULL, NULL, NULL);
        for (int64_t epoch = 0; epoch < 2; epoch++) {
            int64_t seen_in[SHARDS], left = 0, in_window = 0, number = -1, neighbours = 0;
            memset(seen_in, -1, sizeof seen_in);
            int64_t todo[SHARDS];
            memcpy(todo, shard_clips, sizeof todo);
            for (int64_t i = 0; i < CLIPS; i++) {
                const int64_t clip = vj_order_clip(order, epoch * CLIPS + i, 0);
                const int shard = shard_of[clip];
                if (left == 0) number++, in_window = 0; /* all shards of the window are used up */
                if (seen_in[shard] < 0) {
                    seen_in[shard] = number;
                    left += todo[shard];
                    in_window++;
                }
                assert_int_equal(seen_in[shard], number);
                assert_true(in_window <= window);
                left--;
                neighbours += i > 0 && clip == vj_order_clip(order, epoch * CLIPS + i - 1, 0) + 1;
            }
            assert_int_equal(left, 0);
            assert_int_equal(number + 1, (SHARDS - 1 + window - 1) / window);
            assert_true(neighbours < CLIPS / 10); /* clips of a window are shuffled */
        }
        vj_order_destroy(order);
    }
}

/* ------------------------------------------------------------------------------------------------ spares */

/* Check that the spare of a sample is the next clip of its pool in its epoch, and that all spares together are the
 * pool. */
static void spares(void **state)
{
    (void)state;
    for (int block = 0; block < 2; block++) {
        vj_order *order = make(block ? VJ_SHUFFLE_BLOCK : VJ_SHUFFLE_GLOBAL, 3, "k400=2", "ssv2=1", "how=to=1");
        int64_t next[DATASETS];
        for (int d = 0; d < DATASETS; d++) next[d] = -1;
        for (int64_t s = 3999; s >= 0; s--) { /* backwards, so that the next sample is known */
            const int64_t clip = vj_order_clip(order, s, 0), spare = vj_order_clip(order, s, 1);
            const int d = dataset[clip];
            assert_int_equal(dataset[spare], d);
            if (next[d] >= 0 && d != 2 && s < 500) assert_int_equal(spare, next[d]); /* no epoch ends in this range */
            next[d] = clip;
        }
        uint8_t seen[CLIPS] = {0};
        int64_t small = 0, spare = 0, clip;
        while (dataset[vj_order_clip(order, small, 0)] != 2) small++;
        for (; (clip = vj_order_clip(order, small, spare)) >= 0; spare++) {
            assert_int_equal(dataset[clip], 2);
            assert_int_equal(seen[clip]++, 0);
        }
        assert_int_equal(spare, of_dataset[2]);
        vj_order_destroy(order);
    }
}

/* ------------------------------------------------------------------------------------------------ clumps */

/* Return the number of pairs of clips of the same source in a batch, relative to batches drawn at random. In the store
 * the clips of a source are neighbours. */
static double clumping(vj_order *order, int64_t batch)
{
    enum { WINDOWS = 10 }; /* clips of a source */
    int64_t pairs = 0, batches = CLIPS / batch;
    for (int64_t b = 0; b < batches; b++) {
        int of_source[CLIPS / WINDOWS] = {0};
        for (int64_t j = 0; j < batch; j++)
            pairs += of_source[(order ? vj_order_clip(order, b * batch + j, 0) : b * batch + j) / WINDOWS]++;
    }
    const double all = (double)batches * (double)batch * (double)(batch - 1) / 2;
    return (double)pairs / (all * (WINDOWS - 1) / (CLIPS - 1));
}

static void clumps(void **state)
{
    (void)state;
    enum { BATCH = 100 };
    print_message("clips of one source in a batch of %d, as a multiple of what chance gives (%d clips, 10 of a source "
                  "side by side, 40 shards):\n  not shuffled %.1f\n",
                  BATCH, CLIPS, clumping(NULL, BATCH));
    vj_order *order = make(VJ_SHUFFLE_GLOBAL, 1, NULL, NULL, NULL);
    const double global = clumping(order, BATCH);
    print_message("  global %.2f\n", global);
    assert_true(global > 0.8 && global < 1.2);
    vj_order_destroy(order);
    double before = clumping(NULL, BATCH);
    for (int64_t window = 2; window <= 64; window *= 2) {
        order = make(VJ_SHUFFLE_BLOCK, window, NULL, NULL, NULL);
        const double ratio = clumping(order, BATCH);
        print_message("  block of %lld shards %.2f\n", (long long)window, ratio);
        assert_true(ratio < 1.1 * before && ratio > 0.8);
        if (window < SHARDS)
            assert_true(ratio < 1.7 * SHARDS / (double)window); /* a batch only has clips of one window */
        if (window >= SHARDS) assert_true(ratio < 1.2);
        before = ratio;
        vj_order_destroy(order);
    }
}

/* ------------------------------------------------------------------------------------------------ size */

/* Check two million clips in 5,000 shards: no table of clips is made in each epoch, and finding a clip is quick. */
static void two_million(void **state)
{
    (void)state;
    enum { MANY = 2000000, MANY_SHARDS = 5000, DRAWN = 400000 };
    int64_t *shards = calloc(MANY_SHARDS, sizeof *shards);
    uint8_t *of = calloc(MANY, 1), *seen = calloc(MANY, 1);
    assert_true(shards && of && seen);
    for (int s = 0; s < MANY_SHARDS; s++) shards[s] = MANY / MANY_SHARDS;
    for (int64_t i = 0; i < MANY; i++) of[i] = (uint8_t)(i % 3);
    const vj_order_clips clips = {
        .shards = MANY_SHARDS, .shard_clips = shards, .datasets = 3, .dataset_name = names, .dataset = of};
    static const char *const says[2][2] = {{"global", "global, weights"}, {"block", "block, weights"}};
    for (int kind = 0; kind < 4; kind++) {
        const bool block = kind / 2, mixed = kind % 2;
        vj_order *order;
        assert_int_equal(
            vj_order_create(&order, &clips,
                            settings(block ? VJ_SHUFFLE_BLOCK : VJ_SHUFFLE_GLOBAL, 64, mixed ? "k400=0.4" : NULL,
                                     mixed ? "ssv2=0.35" : NULL, mixed ? "how=to=0.25" : NULL)),
            VJ_OK);
        memset(seen, 0, MANY);
        const double begin = vj_now();
        for (int64_t s = 0; s < DRAWN; s++) assert_int_equal(seen[vj_order_clip(order, s, 0)]++, 0);
        print_message("2,000,000 clips, %s: %.2f us a sample\n", says[block][mixed], 1e6 * (vj_now() - begin) / DRAWN);
        vj_order_destroy(order);
    }
    free(seen);
    free(of);
    free(shards);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_the_permutation), cmocka_unit_test(epochs),           cmocka_unit_test(from_any_sample),
        cmocka_unit_test(mixtures),           cmocka_unit_test(places_are_alike), cmocka_unit_test(mistakes),
        cmocka_unit_test(blocks_are_local),   cmocka_unit_test(spares),           cmocka_unit_test(clumps),
        cmocka_unit_test(two_million),
    };
    return cmocka_run_group_tests_name("order", tests, make_layout, NULL);
}
