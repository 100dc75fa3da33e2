/*
 * Tests sources of features on any number of ranks: every clip comes once, whole and in order, with the rows of its
 * store or their mean; every pass is the same; what several stores must have in common; rows that are not finite.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../clips_store.h"
#include "../features_store.h"
#include "features/features.h"
#include "kernels/kernels.h"
#include "source/source.h"

enum { CLIPS = 23, N = 5, D = 7, LABELS = 2 };

static char folder[VJ_PATH];
static char paths[3][VJ_PATH];
static const char *const path[3] = {paths[0], paths[1], paths[2]};
static int rank, size;

static int setup(void **state)
{
    (void)state;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (rank == 0) make_folder(folder);
    MPI_Bcast(folder, sizeof folder, MPI_CHAR, 0, MPI_COMM_WORLD);
    join(paths[0], folder, "a.h5");
    join(paths[1], folder, "b.h5");
    join(paths[2], folder, "c.h5");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) remove_folder(folder);
    return 0;
}

/* A good store, which a test may change before it is written. */
typedef struct {
    vj_features_header layout;
    float *x; /* [CLIPS, tokens, width] */
    int64_t numbers[CLIPS + 1];
    uint64_t sums[CLIPS + 1];
    int32_t labels[(CLIPS + 1) * LABELS];
} sample_store;

static sample_store make_sample(int64_t tokens, int64_t width, int seed)
{
    sample_store s = {.layout = {.clips = CLIPS,
                                 .tokens = tokens,
                                 .width = width,
                                 .label_count = LABELS,
                                 .label_names = {"shape", "way"},
                                 .store_fingerprint = 5,
                                 .encoder = seed ? "run/second.h5" : "run/first.h5",
                                 .encoder_digest = 100 + (uint64_t)seed,
                                 .preprocessing = "none",
                                 .config = ""}};
    s.x = vj_calloc(CLIPS * tokens * width, sizeof *s.x);
    assert_non_null(s.x);
    for (int64_t i = 0; i < CLIPS * tokens * width; i++) s.x[i] = (float)((37 * i + 11 * seed) % 1009 - 500);
    for (int c = 0; c <= CLIPS; c++) {
        s.numbers[c] = 10 + 3 * c;
        s.sums[c] = 1000 + (uint64_t)c;
        s.labels[c * LABELS] = c % 4;
        s.labels[c * LABELS + 1] = c % 5 - 1;
    }
    return s;
}

static void write_sample(const char *name, sample_store *s)
{
    write_features(name, &s->layout, s->x, s->labels, s->numbers, s->sums);
    free(s->x);
}

/* Do one pass, and check that this rank's rows are those of `want` and that all ranks together have all rows. */
static void check_pass(vj_source *source, const float *const *want)
{
    int64_t first, last, seen, slabs = 0;
    bool more = true;
    vj_slab slab;
    vj_source_part(source, &first, &last);
    seen = first;
    assert_int_equal(vj_source_begin(source), VJ_OK);
    for (;;) {
        assert_int_equal(vj_source_next(source, &slab, &more), VJ_OK);
        if (!more) break;
        slabs++;
        assert_int_equal(slab.first, seen);
        assert_true(slab.count <= vj_source_slab_clips(source));
        for (int i = 0; i < vj_source_representations(source); i++) {
            const vj_representation *r = vj_source_representation(source, i);
            const int64_t row = r->tokens * r->width;
            assert_memory_equal(slab.x[i], want[i] + slab.first * row, (size_t)(slab.count * row) * sizeof(float));
        }
        seen += slab.count;
    }
    assert_int_equal(seen, last);
    int64_t covered = last - first, most = slabs;
    MPI_Allreduce(MPI_IN_PLACE, &covered, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
    MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_INT64_T, MPI_MAX, MPI_COMM_WORLD);
    assert_int_equal(covered, vj_source_clips(source));
    assert_int_equal(slabs, most); /* all ranks get the same number of slabs */
}

static void all_tokens_and_means(void **state)
{
    (void)state;
    sample_store a = make_sample(N, D, 0), b = make_sample(1, 3 * D, 1), again = make_sample(N, D, 0),
                 pooled = make_sample(1, 3 * D, 1);
    float *means = vj_calloc(CLIPS * D, sizeof *means);
    assert_non_null(means);
    vj_host_mean_tokens(means, again.x, CLIPS, N, D);
    write_sample(path[0], &a);
    write_sample(path[1], &b);
    for (int average = 0; average <= 1; average++) {
        vj_source *source;
        assert_int_equal(vj_source_open_features(&source, path, 2, average, MPI_COMM_WORLD), VJ_OK);
        assert_int_equal(vj_source_representations(source), 2);
        const vj_representation *r = vj_source_representation(source, 0);
        assert_string_equal(r->name, "a");
        assert_string_equal(vj_source_representation(source, 1)->name, "b");
        assert_string_equal(r->origin, path[0]);
        assert_int_equal(r->tokens, average ? 1 : N);
        assert_int_equal(r->width, D);
        assert_int_equal(r->digest, 100);
        assert_int_equal(vj_source_clips(source), CLIPS);
        assert_memory_equal(vj_source_clip_numbers(source), again.numbers, CLIPS * sizeof(int64_t));
        assert_memory_equal(vj_source_clip_sums(source), again.sums, CLIPS * sizeof(uint64_t));
        assert_memory_equal(vj_source_labels(source), again.labels, CLIPS * LABELS * sizeof(int32_t));
        assert_int_equal(vj_source_label_count(source), LABELS);
        assert_string_equal(vj_source_label_name(source, 1), "way");
        const float *const want[2] = {average ? means : again.x, pooled.x};
        for (int pass = 0; pass < 2; pass++) check_pass(source, want);
        vj_source_close(source);
    }
    free(means);
    free(again.x);
    free(pooled.x);
}

/* Check clips of 9 MiB: a slab has one clip, so ranks with fewer clips get an empty slab. */
static void large_clips(void **state)
{
    (void)state;
    enum { WIDTH = 3 << 10, TOKENS = 3 << 8, FEW = 6 };
    sample_store a = make_sample(TOKENS, WIDTH, 0), again = make_sample(TOKENS, WIDTH, 0);
    a.layout.clips = FEW;
    write_sample(path[0], &a);
    vj_source *source;
    assert_int_equal(vj_source_open_features(&source, path, 1, false, MPI_COMM_WORLD), VJ_OK);
    assert_int_equal(vj_source_slab_clips(source), 1);
    check_pass(source, (const float *const[]){again.x});
    vj_source_close(source);
    free(again.x);
}

static void names(void **state)
{
    (void)state;
    char other[VJ_PATH], same[VJ_PATH];
    vj_source *source;
    join(other, folder, "sub");
    if (rank == 0) assert_int_equal(mkdir(other, 0700), 0);
    MPI_Barrier(MPI_COMM_WORLD);
    join(other, folder, "sub/a.h5");
    join(same, folder, "sub/../a.h5");
    sample_store a = make_sample(1, D, 0), b = make_sample(1, D, 1);
    write_sample(path[0], &a);
    write_sample(other, &b);
    assert_int_equal(
        vj_source_open_features(&source, (const char *const[]){path[0], other, same}, 3, true, MPI_COMM_WORLD), VJ_OK);
    assert_string_equal(vj_source_representation(source, 0)->name, "run:first.h5");
    assert_string_equal(vj_source_representation(source, 1)->name, "run:second.h5");
    assert_string_equal(vj_source_representation(source, 2)->name, "run:first.h5 (2)");
    vj_source_close(source);
}

enum { OTHER_NUMBER, OTHER_ORDER, OTHER_CONTENT, OTHER_LABEL, OTHER_NAME, FEWER, CHANGES };

static void refused_pairs(void **state)
{
    (void)state;
    sample_store a = make_sample(1, D, 0);
    write_sample(path[0], &a);
    for (int change = 0; change < CHANGES; change++) {
        vj_source *source;
        sample_store b = make_sample(1, D, 1);
        if (change == OTHER_NUMBER) b.numbers[CLIPS - 1]++;
        if (change == OTHER_ORDER) b.numbers[3] = a.numbers[4], b.numbers[4] = a.numbers[3];
        if (change == OTHER_CONTENT) b.sums[7]++;
        if (change == OTHER_LABEL) b.labels[9] = 77;
        if (change == OTHER_NAME) strcpy(b.layout.label_names[1], "weigh");
        if (change == FEWER) b.layout.clips--;
        write_sample(path[1], &b);
        assert_int_equal(vj_source_open_features(&source, path, 2, true, MPI_COMM_WORLD), VJ_ERR_FORMAT);
        vj_source_close(source);
        assert_int_equal(vj_source_open_features(&source, path + 1, 1, true, MPI_COMM_WORLD), VJ_OK);
        vj_source_close(source);
    }
    vj_source *source;
    const char *const missing[] = {path[0], "/nowhere/x.h5"};
    assert_int_equal(vj_source_open_features(&source, missing, 2, true, MPI_COMM_WORLD), VJ_ERR_IO);
    vj_source_close(source);
}

/* Check that validation classes get the numbers that their names have in training. */
static void training_and_validation(void **state)
{
    (void)state;
    char a_names[4][8] = {"cat", "", "dog", "emu"}, b_names[3][8] = {"dog", "fox", "cat"};
    const int32_t number[3] = {2, 4, 0};
    vj_source *training, *validation;
    sample_store a = make_sample(1, D, 0), b = make_sample(1, D, 0), other = make_sample(1, D, 1);
    a.layout.classes[0] = (vj_clips_classes){4, 8, a_names[0]};
    b.layout.classes[0] = (vj_clips_classes){3, 8, b_names[0]};
    for (int c = 0; c < CLIPS; c++) {
        if (a.labels[c * LABELS] == 1) a.labels[c * LABELS] = -1; /* no class has this number */
        b.labels[c * LABELS] = c % 3;
    }
    write_sample(path[0], &a);
    write_sample(path[1], &b);
    write_sample(path[2], &other);
    assert_int_equal(vj_source_open_features(&training, path, 1, true, MPI_COMM_WORLD), VJ_OK);
    assert_int_equal(vj_source_open_features(&validation, path + 1, 1, true, MPI_COMM_WORLD), VJ_OK);
    assert_int_equal(vj_source_match(training, validation), VJ_OK);
    const int32_t *labels = vj_source_labels(validation);
    for (int c = 0; c < CLIPS; c++) assert_int_equal(labels[c * LABELS], number[c % 3]);
    assert_int_equal(vj_source_classes(validation, 0)->count, 5);
    assert_string_equal(vj_clips_classes_name(vj_source_classes(validation, 0), 4), "fox");
    vj_source_close(validation);
    assert_int_equal(vj_source_open_features(&validation, path + 2, 1, true, MPI_COMM_WORLD), VJ_OK);
    assert_int_equal(vj_source_match(training, validation), VJ_ERR_USAGE); /* another encoder */
    vj_source_close(validation);
    vj_source_close(training);
}

/* Check that a clip with values that are not finite, in the last rank's part, makes the pass fail on all ranks. */
static void not_finite(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        vj_source *source;
        vj_slab slab;
        bool more;
        sample_store a = make_sample(N, D, 0);
        a.x[((CLIPS - 1) * N + i) * D + i] = bad[i];
        write_sample(path[0], &a);
        for (int average = 0; average <= 1; average++) {
            assert_int_equal(vj_source_open_features(&source, path, 1, average, MPI_COMM_WORLD), VJ_OK);
            assert_int_equal(vj_source_begin(source), VJ_OK);
            assert_int_equal(vj_source_next(source, &slab, &more), VJ_ERR_FORMAT);
            vj_source_close(source);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_tokens_and_means),
        cmocka_unit_test(large_clips),
        cmocka_unit_test(names),
        cmocka_unit_test(refused_pairs),
        cmocka_unit_test(training_and_validation),
        cmocka_unit_test(not_finite),
    };
    MPI_Init(&argc, &argv);
    int failed = cmocka_run_group_tests(tests, setup, teardown);
    MPI_Finalize();
    return failed != 0;
}
