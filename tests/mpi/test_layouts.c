/*
 * Tests that checkpoints do not depend on the layout: each layout of all ranks writes the same files as one rank, and
 * reads files of one rank to the same bits. So any layout, on any number of ranks, can read files of any other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../ckpt_sample.h"
#include "../layouts.h"
#include "../on_ranks.h"
#include "train/checkpoint.h"

/* The matrices of the hidden layer have two checkpoint blocks, whose border lies inside the share of a rank. */
enum { MLP_RATIO = 32, LAYOUTS = 13 };

/* All others are compared with the first. */
static const layout layouts[LAYOUTS] = {{1, 1, 0, 0}, {2, 1, 0, 0}, {2, 1, 0, 1}, {2, 2, 1, 0}, {3, 1, 0, 0},
                                        {3, 1, 0, 1}, {3, 3, 0, 0}, {4, 1, 0, 1}, {4, 2, 0, 0}, {4, 2, 1, 1},
                                        {4, 4, 0, 0}, {8, 1, 0, 1}, {8, 4, 1, 1}};

typedef struct {
    int rank, size;
    char dir[VJ_PATH];
} context;

static int setup(void **state)
{
    context *c = calloc(1, sizeof *c);
    MPI_Comm_rank(MPI_COMM_WORLD, &c->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &c->size);
    temporary_folder(c->dir);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    context *c = *state;
    remove_temporary_folder(c->dir);
    free(c);
    return 0;
}

static void save(const context *c, vj_step *s, int64_t step, bool background)
{
    vj_checkpoint *checkpoint;
    const vj_ckpt_state state = sample_state(step);
    assert_int_equal(vj_checkpoint_open(&checkpoint, s->optimizer, background, s->layout.world), VJ_OK);
    assert_int_equal(vj_checkpoint_begin(checkpoint, c->dir, &state), VJ_OK);
    assert_int_equal(vj_checkpoint_commit(checkpoint), VJ_OK);
    vj_checkpoint_close(checkpoint);
}

static void same_files(const context *c, layout l, int64_t a, int64_t b)
{
    char path[2][VJ_PATH + 32], report[8192] = "";
    if (c->rank != 0) return;
    step_path(path[0], c->dir, a);
    step_path(path[1], c->dir, b);
    if (differences(path[0], path[1], report, sizeof report) != 0)
        fail_msg(LAYOUT_TEXT ", files %lld and %lld: %s", LAYOUT_ARGS(l), (long long)a, (long long)b, report);
}

/* Numbers of files: the initial state, the state after a step, and a file that must be equal to one of them. */
enum { STARTED = 1, TRAINED = 2, SCRATCH = 3 };

/* Open layout i on its ranks. Returns false on the others, and if the layout does not use all ranks. */
static bool open_layout(const context *c, int i, vj_config *config, vj_step **s, MPI_Comm *comm)
{
    *s = NULL;
    *comm = MPI_COMM_NULL;
    if (i > 0 && layouts[i].ranks != c->size) return false;
    *comm = layout_comm(layouts[i]);
    if (*comm == MPI_COMM_NULL) return false;
    layout_config(config, layouts[i], 1, MLP_RATIO);
    assert_int_equal(vj_step_open(s, config, *comm), VJ_OK);
    return true;
}

static void close_layout(vj_step *s, MPI_Comm *comm)
{
    vj_step_close(s);
    if (*comm != MPI_COMM_NULL) MPI_Comm_free(comm);
    MPI_Barrier(MPI_COMM_WORLD);
}

/* Write the present state of a layout, at once and in the background, and compare the files. */
static void writes_the_same(const context *c, vj_step *s, layout l, int64_t file)
{
    for (int background = 0; background < 2; background++) {
        save(c, s, SCRATCH, background);
        same_files(c, l, file, SCRATCH);
    }
}

static void every_layout_reads_every_other(void **state)
{
    const context *c = *state;
    static vj_config config;
    vj_step *s;
    MPI_Comm comm;
    vj_step_report report;
    char path[VJ_PATH + 32];
    step_path(path, c->dir, TRAINED);
    for (int i = 0; i < LAYOUTS; i++) {
        if (open_layout(c, i, &config, &s, &comm)) {
            vj_model_init_weights(s->model, (vj_init)config.model.init, 0, config.run.seed);
            if (i == 0) {
                save(c, s, STARTED, false);
                assert_int_equal(layout_step(s, 0, &report), VJ_OK);
                save(c, s, TRAINED, false);
            } else {
                writes_the_same(c, s, layouts[i], STARTED);
            }
            assert_int_equal(vj_checkpoint_load(path, s->optimizer, s->layout.world), VJ_OK);
            writes_the_same(c, s, layouts[i], TRAINED);
        }
        close_layout(s, &comm);
    }
}

/* Check that training continues in another layout as it would have in the first. */
static void training_goes_on_in_another_layout(void **state)
{
    const context *c = *state;
    static vj_config config;
    double loss[LAYOUTS] = {0};
    vj_step *s;
    MPI_Comm comm;
    vj_step_report report;
    char path[VJ_PATH + 32];
    step_path(path, c->dir, TRAINED);
    for (int i = 0; i < LAYOUTS; i++) {
        if (open_layout(c, i, &config, &s, &comm)) {
            if (i == 0) {
                vj_model_init_weights(s->model, (vj_init)config.model.init, 0, config.run.seed);
                assert_int_equal(layout_step(s, 0, &report), VJ_OK);
                save(c, s, TRAINED, false);
            } else {
                assert_int_equal(vj_checkpoint_load(path, s->optimizer, s->layout.world), VJ_OK);
            }
            for (int k = 1; k < 3; k++) assert_int_equal(layout_step(s, k, &report), VJ_OK);
            loss[i] = report.loss;
            if (c->rank == 0 && !(loss[i] <= (1 + 1e-5) * loss[0] && loss[i] >= (1 - 1e-5) * loss[0]))
                fail_msg(LAYOUT_TEXT ": loss %.9g, where it began %.9g", LAYOUT_ARGS(layouts[i]), loss[i], loss[0]);
        }
        close_layout(s, &comm);
    }
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(every_layout_reads_every_other),
        CASE(training_goes_on_in_another_layout),
    };
    return end_on_ranks(cmocka_run_group_tests(tests, NULL, NULL));
}
