/* Tests the samples of an evaluation: every video once, its windows in order, spread evenly or drawn by seed, epoch and
 * sample. */
#include "../clips_fixture.h"
#include "feed/eval_set.h"

static vj_config config_of(int segments, int random)
{
    vj_config config = loader_config(4, 1);
    config.evaluate.segments = segments;
    config.evaluate.across_segments = 1;
    config.evaluate.random_windows = random;
    return config;
}

/* Make a set in which sample s has windows[s] windows; clips are numbered from 0. */
static vj_eval_set made_up(const int *windows, int samples, int segments, bool random)
{
    static int64_t first[16];
    static int32_t clips[256];
    vj_eval_set set = {
        .count = samples, .segments = segments, .random = random, .seed = 7, .first = first, .window = clips};
    for (int s = 0; s < samples; s++) first[s + 1] = first[s] + windows[s];
    for (int i = 0; i < 256; i++) clips[i] = i;
    return set;
}

static void test_even(void **state)
{
    (void)state;
    static const int windows[] = {1, 2, 3, 8, 10};
    static const struct {
        int segments;
        int64_t want[5][8]; /* the expected windows of each sample */
    } cases[] = {
        {1, {{0}, {1}, {1}, {4}, {5}}},
        {2, {{0, 0}, {0, 1}, {0, 2}, {2, 6}, {2, 7}}},
        {3, {{0, 0, 0}, {0, 1, 1}, {0, 1, 2}, {1, 4, 6}, {1, 5, 8}}},
        {8,
         {{0}, {0, 0, 0, 0, 1, 1, 1, 1}, {0, 0, 0, 1, 1, 2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7}, {0, 1, 3, 4, 5, 6, 8, 9}}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const vj_eval_set set = made_up(windows, 5, cases[c].segments, false);
        for (int s = 0; s < 5; s++)
            for (int g = 0; g < cases[c].segments; g++)
                for (int64_t epoch = 0; epoch < 3; epoch++)
                    assert_int_equal(vj_eval_set_clip(&set, s, g, epoch) - set.first[s], cases[c].want[s][g]);
    }
}

/* Check that random windows stay in their part of the video, cover it over many epochs, and can be drawn again. */
static void test_random(void **state)
{
    (void)state;
    enum { EPOCHS = 4000 };
    static const int windows[] = {9, 3, 2};
    const vj_eval_set set = made_up(windows, 3, 3, true);
    int64_t seen[3][9] = {{0}};
    int together = 0;
    for (int64_t epoch = 0; epoch < EPOCHS; epoch++) {
        int64_t at[3];
        for (int g = 0; g < 3; g++) {
            at[g] = vj_eval_set_clip(&set, 0, g, epoch);
            assert_int_equal(at[g], vj_eval_set_clip(&set, 0, g, epoch));
            assert_true(at[g] >= 3 * g && at[g] < 3 * g + 3);
            seen[g][at[g]]++;
            assert_int_equal(vj_eval_set_clip(&set, 1, g, epoch), 9 + g); /* there is only one window to choose */
            assert_int_equal(vj_eval_set_clip(&set, 2, g, epoch), 12 + (g > 0));
        }
        together += at[0] == at[1] - 3;
    }
    for (int g = 0; g < 3; g++) /* 1333 expected, standard deviation 30 */
        for (int w = 3 * g; w < 3 * g + 3; w++) assert_in_range(seen[g][w], 1333 - 150, 1333 + 150);
    assert_in_range(together, 1333 - 150, 1333 + 150); /* segments are independent */
}

static void test_store(void **state)
{
    const fixture *f = *state;
    vj_clips *clips;
    vj_eval_set set;
    const vj_config config = config_of(2, VJ_RANDOM_TRAINING);
    assert_int_equal(open_store(&clips, f->store), VJ_OK);
    /* The labels of this store belong to windows: it is refused. */
    assert_int_equal(vj_eval_set_open(&set, clips, &config, true), VJ_ERR_FORMAT);
    vj_eval_set_release(&set);
    vj_eval_set_release(&set);
    vj_clips_close(clips);
}

/* Check a store whose labels belong to files, in which one video has one window and the others have two. */
static void test_grouping(void **state)
{
    const fixture *f = *state;
    char path[VJ_PATH];
    vj_clips *clips;
    vj_eval_set set;
    vj_config config = config_of(2, VJ_RANDOM_TRAINING);
    vj_eval_item items[2 * 3];
    join(path, f->folder, "files.clips");
    store_labels_of_files = true;
    assert_int_equal(pack_store(path, CLIPS - 1, MPI_COMM_SELF), VJ_OK);
    store_labels_of_files = false;
    assert_int_equal(open_store(&clips, path), VJ_OK);
    assert_int_equal(vj_eval_set_open(&set, clips, &config, true), VJ_OK);
    assert_true(set.random);
    assert_int_equal(set.count, 13);
    assert_int_equal(set.repeating, 1);
    for (int64_t s = 0; s < set.count; s++) {
        assert_int_equal(vj_clips_source(clips, set.window[set.first[s]]), s);
        for (int l = 0; l < STORE_LABELS; l++)
            assert_int_equal(vj_eval_set_label(&set, s, l), vj_clips_labels(clips, 2 * s)[l]);
        assert_int_equal(vj_eval_set_clip(&set, s, 0, 5), 2 * s);
        assert_int_equal(vj_eval_set_clip(&set, s, 1, 5), s == 12 ? 24 : 2 * s + 1);
    }
    vj_eval_set_items(&set, 3, 6, 3, items);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(items[i].clip, 6 + i / 3);
        assert_int_equal(items[i].view, i % 3);
        assert_true(items[i].key == vj_eval_key(6, i / 3, items[i].clip));
    }
    vj_eval_set_release(&set);
    config.evaluate.segments = 1;
    assert_int_equal(vj_eval_set_open(&set, clips, &config, false), VJ_OK);
    assert_false(set.random);
    assert_int_equal(set.count, 13);
    assert_int_equal(set.repeating, 0);
    vj_eval_set_release(&set);
    /* With probes on single segments, training shows one segment. */
    config.evaluate.segments = 2;
    config.evaluate.across_segments = 0;
    for (int training = 0; training < 2; training++) {
        assert_int_equal(vj_eval_set_open(&set, clips, &config, training != 0), VJ_OK);
        assert_int_equal(set.segments, training ? 1 : 2);
        vj_eval_set_release(&set);
    }
    vj_clips_close(clips);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even),
        cmocka_unit_test(test_random),
        cmocka_unit_test_setup_teardown(test_store, make_store, remove_store),
        cmocka_unit_test_setup_teardown(test_grouping, make_store, remove_store),
    };
    MPI_Init(&argc, &argv);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
