/*
 * Tests clips and encoders as a source, on any number of ranks: the last layer equals the output of vjepa-embed bit for
 * bit, other layers differ; several encoders at once give the same as each alone; every pass is the same; refusals.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include "../clips_store.h"
#include "probe/embed.h"
#include "source/source.h"

enum { CLIPS = 11, LIMIT = 9, WIDTH = 24, DEPTH = 3, TOKENS = 2 * 2 * 2 };

static char folder[VJ_PATH], store[VJ_PATH], features[VJ_PATH];
static vj_config config;
static int rank;

static int setup(void **state)
{
    (void)state;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0) make_folder(folder);
    MPI_Bcast(folder, sizeof folder, MPI_CHAR, 0, MPI_COMM_WORLD);
    join(store, folder, "a.clips");
    join(features, folder, "features.h5");
    vj_log_mute(true);
    vj_config_defaults(&config);
    config.run.seed = 7;
    config.data.frames = STORE_FRAMES;
    config.data.crop = 16;
    config.data.threads = 1;
    config.model.width = WIDTH;
    config.model.depth = DEPTH;
    config.model.heads = 3;
    config.model.mlp_ratio = 4;
    config.model.patch = 8;
    config.model.tubelet = 2;
    config.predictor.width = WIDTH;
    config.predictor.depth = 1;
    config.predictor.heads = 3;
    strcpy(config.train.backend, "cpu");
    strcpy(config.train.products, "own");
    strcpy(config.train.precision, "fp32");
    strcpy(config.embed.dtype, "f32");
    config.embed.batch = 2;
    config.embed.limit = LIMIT;
    if (pack_store(store, CLIPS, MPI_COMM_WORLD) != VJ_OK) return -1;
    const vj_embed_request all = {
        .encoder = "random:fan_in:5", .stores = store, .out = features, .keep = VJ_POOL_ATTENTIVE};
    return vj_embed(&config, &all, MPI_COMM_WORLD) == VJ_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) remove_folder(folder);
    return 0;
}

/* Read this rank's rows of representation i in one pass, [clips of this rank, tokens, width]. Free them with free(). */
static float *read_part(vj_source *source, int i)
{
    const vj_representation *r = vj_source_representation(source, i);
    const int64_t row = r->tokens * r->width;
    int64_t first, last, seen = 0;
    vj_slab slab;
    bool more;
    vj_source_part(source, &first, &last);
    float *all = vj_calloc((last - first) * row + 1, sizeof *all);
    assert_non_null(all);
    assert_int_equal(vj_source_begin(source), VJ_OK);
    for (;;) {
        assert_int_equal(vj_source_next(source, &slab, &more), VJ_OK);
        if (!more) break;
        assert_int_equal(slab.first, first + seen);
        memcpy(all + seen * row, slab.x[i], (size_t)(slab.count * row) * sizeof *all);
        seen += slab.count;
    }
    assert_int_equal(seen, last - first);
    return all;
}

static int64_t part_bytes(const vj_source *source, int i)
{
    const vj_representation *r = vj_source_representation(source, i);
    int64_t first, last;
    vj_source_part(source, &first, &last);
    return (last - first) * r->tokens * r->width * (int64_t)sizeof(float);
}

static vj_source *open_encoders(const char *encoders, const char *layers, bool average)
{
    vj_source *source;
    const vj_source_request request = {encoders, store, layers, average};
    assert_int_equal(vj_source_open_encoder(&source, &config, &request, MPI_COMM_WORLD), VJ_OK);
    return source;
}

static void last_layer_is_what_embed_writes(void **state)
{
    (void)state;
    for (int average = 0; average <= 1; average++) {
        const char *const path = features;
        vj_source *written, *live = open_encoders("random:fan_in:5", average ? "last" : NULL, average);
        assert_int_equal(vj_source_open_features(&written, &path, 1, average, MPI_COMM_WORLD), VJ_OK);
        assert_int_equal(vj_source_clips(live), LIMIT);
        assert_int_equal(vj_source_match(written, live), VJ_OK); /* encoder, preprocessing and labels are the same */
        assert_string_equal(vj_source_representation(live, 0)->name, "random fan_in seed 5");
        assert_int_equal(vj_source_representation(live, 0)->tokens, average ? 1 : TOKENS);
        const vj_representation *is[2] = {vj_source_representation(live, 0), vj_source_representation(written, 0)};
        assert_memory_equal(is[0]->grid, is[1]->grid, sizeof is[0]->grid);
        assert_int_equal(is[0]->grid[0] * is[0]->grid[1] * is[0]->grid[2], average ? 0 : TOKENS);
        assert_true(vj_source_representation(live, 0)->digest == vj_source_representation(written, 0)->digest);
        assert_memory_equal(vj_source_clip_numbers(live), vj_source_clip_numbers(written), LIMIT * sizeof(int64_t));
        assert_memory_equal(vj_source_clip_sums(live), vj_source_clip_sums(written), LIMIT * sizeof(uint64_t));
        assert_memory_equal(vj_source_labels(live), vj_source_labels(written), LIMIT * STORE_LABELS * sizeof(int32_t));
        float *want = read_part(written, 0);
        for (int pass = 0; pass < 2; pass++) {
            float *got = read_part(live, 0);
            assert_memory_equal(got, want, (size_t)part_bytes(live, 0));
            free(got);
        }
        free(want);
        vj_source_close(written);
        vj_source_close(live);
    }
}

static void layers_and_encoders_side_by_side(void **state)
{
    (void)state;
    static const char *const names[] = {
        "random fan_in seed 5 layer 1",    "random fan_in seed 5 layer 2",    "random fan_in seed 5",
        "random published seed 6 layer 1", "random published seed 6 layer 2", "random published seed 6"};
    vj_source *both = open_encoders("random:fan_in:5,random:published:6", "all", false);
    assert_int_equal(vj_source_representations(both), 2 * DEPTH);
    assert_string_equal(vj_source_representation(both, 1)->name, names[1]);
    for (int encoder = 0; encoder < 2; encoder++) {
        vj_source *alone = open_encoders(encoder ? "random:published:6" : "random:fan_in:5", "3,1", false);
        for (int j = 0; j < 2; j++) {
            const int i = DEPTH * encoder + (j ? 2 : 0); /* here the layers are in another order */
            const size_t bytes = (size_t)part_bytes(both, i);
            float *want = read_part(alone, 1 - j), *got = read_part(both, i),
                  *other = read_part(both, (i + 1) % (2 * DEPTH));
            assert_string_equal(vj_source_representation(both, i)->name, names[i]);
            assert_true(vj_source_representation(both, i)->digest == vj_source_representation(alone, 1 - j)->digest);
            assert_memory_equal(got, want, bytes);
            assert_memory_not_equal(other, want, bytes);
            free(got), free(want), free(other);
        }
        vj_source_close(alone);
    }
    vj_source_close(both);
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *encoders, *layers;
    } wrong[] = {{"random:fan_in:5", "0"},  {"random:fan_in:5", "4"},     {"random:fan_in:5", "1,1"},
                 {"random:fan_in:5", "1,"}, {"random:fan_in:5", "first"}, {"random:fan_in:5", ""},
                 {"random:nothing", NULL},  {",random:fan_in:5", NULL}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        vj_source *source;
        const vj_source_request request = {wrong[i].encoders, store, wrong[i].layers, true};
        assert_int_equal(vj_source_open_encoder(&source, &config, &request, MPI_COMM_WORLD), VJ_ERR_USAGE);
        vj_source_close(source);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_layer_is_what_embed_writes),
        cmocka_unit_test(layers_and_encoders_side_by_side),
        cmocka_unit_test(refused),
    };
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    int failed = cmocka_run_group_tests(tests, setup, teardown);
    MPI_Finalize();
    return failed != 0;
}
