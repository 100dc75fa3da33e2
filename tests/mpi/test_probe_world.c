/* Tests a campaign on any number of ranks: it gives the same table as on one, bit for bit; and refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../folder.h"
#include "../on_ranks.h"
#include "base/rng.h"
#include "features/features.h"
#include "parallel/parallel.h"
#include "probe/campaign.h"

enum { CLIPS = 70, N = 5, D = 12, LABELS = 2 };

static char folder[VJ_PATH];
static vj_probe_encoder encoders[2];
static vj_config config;

/* Write features of noise in which one token has the clip's two labels with the given strength. Some labels are
 * missing. */
static void write_store(const char *path, vj_features_type type, float strength, uint64_t key)
{
    static float features[CLIPS * N * D];
    int32_t labels[CLIPS * LABELS];
    int64_t clips[CLIPS], first, last;
    int rank, size;
    vj_rng rng;
    vj_rng_init(&rng, 3, VJ_RNG_TEST, key);
    for (int i = 0; i < CLIPS * N * D; i++) features[i] = (float)vj_rng_normal(&rng);
    for (int c = 0; c < CLIPS; c++) {
        clips[c] = c;
        labels[c * LABELS] = c % 3;
        labels[c * LABELS + 1] = c % 7 == 0 ? -1 : c / 3 % 2;
        int64_t token = vj_rng_below(&rng, N);
        features[(c * N + token) * D + c % 3] += strength;
        features[(c * N + token) * D + 5 + c / 3 % 2] += strength;
    }
    vj_features_header layout = {.clips = CLIPS,
                                 .tokens = N,
                                 .width = D,
                                 .type = type,
                                 .label_count = LABELS,
                                 .label_names = {"shape", "way"},
                                 .encoder = "test",
                                 .preprocessing = "none",
                                 .config = ""};
    vj_features_writer *writer;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    vj_split(CLIPS, size, rank, &first, &last);
    assert_int_equal(vj_features_create(&writer, path, &layout, MPI_COMM_WORLD), VJ_OK);
    vj_status status = vj_features_write(writer, first, last - first, features + first * N * D, labels + first * LABELS,
                                         clips + first, (const uint64_t *)clips + first);
    assert_int_equal(vj_features_commit(writer, status, 3.5), VJ_OK);
}

static vj_notes notes; /* of all campaigns of this test */

static int setup(void **state)
{
    (void)state;
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0) make_folder(folder);
    MPI_Bcast(folder, sizeof folder, MPI_CHAR, 0, MPI_COMM_WORLD);
    static const char *const names[2] = {"pretrained", "random_fan_in"};
    for (int e = 0; e < 2; e++) {
        char text[3 * VJ_PATH];
        snprintf(text, sizeof text, "%s=%.200s/t%d.h5,%.200s/v%d.h5", names[e], folder, e, folder, e);
        if (vj_probe_encoder_parse(&encoders[e], text) != VJ_OK) return -1;
        write_store(encoders[e].train, e ? VJ_FEATURES_F16 : VJ_FEATURES_F32, e ? 0.0f : 6.0f, (uint64_t)e);
        write_store(encoders[e].validation, e ? VJ_FEATURES_F16 : VJ_FEATURES_F32, e ? 0.0f : 6.0f, 10 + (uint64_t)e);
    }
    vj_config_defaults(&config);
    snprintf(config.model.size, sizeof config.model.size, "custom");
    config.model.width = D;
    config.model.heads = 3;
    config.probe.tasks.count = 0; /* all tasks */
    config.probe.pooling.count = 2;
    strcpy(config.probe.pooling.item[0], "attentive");
    strcpy(config.probe.pooling.item[1], "average");
    config.probe.labels_count = 2;
    config.probe.labels[0] = 100.0;
    config.probe.labels[1] = 40.0;
    config.probe.clips = 60;
    config.probe.seeds = 3;
    config.probe.epochs = 12;
    config.probe.batch = 8;
    config.probe.lr = 1e-2;
    config.probe.init_std = 0.1;
    config.probe.folded = 1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Barrier(MPI_COMM_WORLD);
    static const char *const files[] = {"results.json", "results.csv", "results.md"};
    for (int e = 0; e < 2 && rank == 0; e++) unlink(encoders[e].train), unlink(encoders[e].validation);
    for (size_t i = 0; i < 3 && rank == 0; i++) {
        char path[VJ_PATH + 32];
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    return rank == 0 ? rmdir(folder) : 0;
}

static void any_number_of_ranks_makes_the_same_table(void **state)
{
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        vj_probe_row *alone, *together;
        int64_t alone_count, count;
        config.probe.folded = folded;
        assert_int_equal(vj_campaign_run(&alone, &alone_count, &notes, &config, encoders, 2, NULL, NULL, MPI_COMM_SELF),
                         VJ_OK);
        assert_int_equal(vj_campaign_run(&together, &count, &notes, &config, encoders, 2, NULL, NULL, MPI_COMM_WORLD),
                         VJ_OK);
        assert_int_equal(count, 2 * 2 * 2 * 2);
        assert_int_equal(count, alone_count);
        assert_memory_equal(alone, together, sizeof *alone * (size_t)count);
        free(alone);
        free(together);
    }
}

static void the_table_says_what_is_there(void **state)
{
    (void)state;
    vj_probe_row *rows;
    const vj_differences none = {0};
    int64_t count;
    int rank;
    assert_int_equal(vj_campaign_run(&rows, &count, &notes, &config, encoders, 2, NULL, NULL, MPI_COMM_WORLD), VJ_OK);
    for (int64_t i = 0; i < count; i++) {
        const vj_probe_row *r = &rows[i];
        int shape = strcmp(r->task, "shape") == 0;
        assert_string_equal(r->task, i < count / 2 ? "shape" : "way");
        assert_string_equal(r->encoder, encoders[i % 2].name);
        assert_int_equal(r->validation_clips, shape ? CLIPS : 60);
        assert_true(llabs(r->training_clips - (r->labels == 100.0 ? 60 : 24)) <= 1); /* rounded class by class */
        assert_true(r->effective_rank == 3.5 && r->seeds == 3 && r->width == D);
        /* Features without a signal give the accuracy of chance, 33 or 50 %, within four standard errors of 60 to 70
         * clips. */
        double chance = shape ? 100.0 / 3.0 : 50.0;
        if (i % 2 == 1) assert_true(fabs(r->top1_mean - chance) <= 26.0);
        if (i % 2 == 0 && r->labels == 100.0) assert_true(r->top1_mean > chance + 30.0);
    }
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0) {
        assert_int_equal(vj_report_write(folder, &(vj_report){rows, count, &none, &notes}), VJ_OK);
        char path[VJ_PATH + 32], text[8192] = "";
        snprintf(path, sizeof path, "%s/results.md", folder);
        FILE *in = fopen(path, "r");
        assert_non_null(in);
        assert_true(fread(text, 1, sizeof text - 1, in) > 0);
        fclose(in);
        assert_non_null(strstr(text, "| shape | attentive | 100 % | 61 / 70 |"));
        assert_non_null(strstr(text, "| helps |"));
        assert_non_null(strstr(text, "pretrained 3.5 (12), random_fan_in 3.5 (12)."));
    }
    free(rows);
}

static void only_a_clear_gain_helps(void **state)
{
    (void)state;
    vj_probe_row rows[2] = {{.task = "t",
                             .encoder = "pretrained",
                             .labels = 100.0,
                             .validation_clips = 2048,
                             .seeds = 3,
                             .top1_mean = 52.0,
                             .top1_std = 1.0,
                             .effective_rank = NAN,
                             .width = 4},
                            {.task = "t",
                             .encoder = "random_x",
                             .labels = 100.0,
                             .validation_clips = 2048,
                             .seeds = 3,
                             .top1_mean = 50.0,
                             .top1_std = 1.0,
                             .effective_rank = NAN,
                             .width = 4}};
    static const struct {
        double mean;
        const char *verdict;
    } cases[] = {{52.0, "| no gain |"}, {56.0, "| helps |"}, {44.0, "| worse than random |"}};
    /* sqrt(1/3 + 10^4 / 4 / 2048) = 1.25: two standard errors of a difference are 3.5. */
    assert_true(fabs(vj_probe_row_error(&rows[1]) - 1.2468) < 1e-3);
    for (size_t i = 0; i < 3; i++) {
        char text[4096] = "";
        rows[0].top1_mean = cases[i].mean;
        FILE *out = fmemopen(text, sizeof text - 1, "w");
        assert_non_null(out);
        vj_report_print(out, &(vj_report){rows, 2, &(vj_differences){0}, &notes});
        fclose(out);
        assert_non_null(strstr(text, cases[i].verdict));
    }
}

static void refuses_what_does_not_fit(void **state)
{
    (void)state;
    vj_probe_row *rows;
    int64_t count;
    vj_probe_encoder bad[2] = {encoders[0], encoders[0]};
    vj_config other = config;
    assert_int_equal(vj_campaign_run(&rows, &count, &notes, &config, bad, 2, NULL, NULL, MPI_COMM_WORLD),
                     VJ_ERR_USAGE); /* two encoders have the same name */
    snprintf(bad[1].name, sizeof bad[1].name, "missing");
    strcat(bad[1].validation, "x");
    assert_int_not_equal(vj_campaign_run(&rows, &count, &notes, &config, bad, 2, NULL, NULL, MPI_COMM_WORLD), VJ_OK);
    other.probe.tasks.count = 1;
    snprintf(other.probe.tasks.item[0], VJ_PATH, "colour");
    assert_int_equal(vj_campaign_run(&rows, &count, &notes, &other, encoders, 2, NULL, NULL, MPI_COMM_WORLD),
                     VJ_ERR_USAGE);
    other = config;
    other.model.width = D + 1;
    assert_int_equal(vj_campaign_run(&rows, &count, &notes, &other, encoders, 2, NULL, NULL, MPI_COMM_WORLD),
                     VJ_ERR_USAGE);
    static const char *const texts[] = {"", "a", "a=b", "a=b,", "a=,c", "=b,c"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_int_equal(vj_probe_encoder_parse(&bad[0], texts[i]), VJ_ERR_USAGE);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_ranks_makes_the_same_table),
        cmocka_unit_test(the_table_says_what_is_there),
        cmocka_unit_test(only_a_clear_gain_helps),
        cmocka_unit_test(refuses_what_does_not_fit),
    };
    return end_on_ranks(cmocka_run_group_tests(tests, setup, teardown));
}
