/*
 * Any layout reads any other's checkpoint: written by 1 or all ranks, sharded or not, at once or in the background;
 * read by 1 to all ranks, sharded or not, and written again by these: the same bits in memory and in the file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../ckpt_sample.h"
#include "train/checkpoint.h"
#include "train/step.h"

typedef struct {
    int rank, size;
    char dir[VJ_PATH];
    vj_config config;
} context;

/* The ranks that take part, and what they hold. */
typedef struct {
    MPI_Comm comm;
    vj_config config;
    vj_step *step;
} layout;

static int setup(void **state)
{
    context *c = calloc(1, sizeof *c);
    /* Wide enough for tensors of several blocks; else as small as can be. */
    const char *const settings[] = {
        "model.size=custom",  "model.width=264",      "model.depth=1",      "model.heads=3",     "model.patch=8",
        "model.tubelet=2",    "predictor.width=24",   "predictor.depth=1",  "predictor.heads=3", "data.frames=4",
        "data.crop=32",       "train.batch=12",       "train.microbatch=1", "mask.group=1",      "data.train=[x.clips]",
        "train.products=own", "train.precision=fp32", "run.dir=run"};
    MPI_Comm_rank(MPI_COMM_WORLD, &c->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &c->size);
    vj_config_defaults(&c->config);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        assert_int_equal(vj_config_set(&c->config, settings[i]), VJ_OK);
    assert_int_equal(vj_config_check(&c->config), VJ_OK);
    if (c->rank == 0) temporary_folder(c->dir);
    MPI_Bcast(c->dir, VJ_PATH, MPI_CHAR, 0, MPI_COMM_WORLD);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    context *c = *state;
    MPI_Barrier(MPI_COMM_WORLD);
    if (c->rank == 0) remove_folder(c->dir);
    free(c);
    return 0;
}

/* On the first `size` ranks; 0 on the others. */
static int open_layout(layout *l, const context *c, int size, int zero)
{
    l->config = c->config;
    l->config.parallel.zero = zero;
    MPI_Comm_split(MPI_COMM_WORLD, c->rank < size ? 0 : MPI_UNDEFINED, c->rank, &l->comm);
    if (l->comm == MPI_COMM_NULL) return 0;
    assert_int_equal(vj_step_open(&l->step, &l->config, l->comm), VJ_OK);
    return 1;
}

static void close_layout(layout *l)
{
    vj_step_close(l->step);
    MPI_Comm_free(&l->comm);
}

/* Value `i` of vector `which` of a run: no two are the same. */
static float value(int which, int64_t i)
{
    return (float)which + 1e-7f * (float)i;
}

/* The vectors of a run that this rank holds: where, which of the run's values, how many. */
static int vectors(const layout *l, float *device[4], int64_t first[4], int64_t last[4])
{
    const vj_model *m = l->step->model;
    const vj_optimizer *o = l->step->optimizer;
    float *const all[4] = {m->weights, m->target_weights, o->first_moment, o->second_moment};
    const int64_t from[4] = {0, 0, o->first, o->first};
    const int64_t to[4] = {m->net.params.total, m->net.params.encoder_total, o->last, o->last};
    memcpy(device, all, sizeof all);
    memcpy(first, from, sizeof from);
    memcpy(last, to, sizeof to);
    return 4;
}

static void fill(layout *l)
{
    float *device[4];
    int64_t first[4], last[4];
    for (int v = 0; v < vectors(l, device, first, last); v++) {
        const int64_t n = last[v] - first[v];
        float *host = calloc((size_t)n + 1, sizeof *host);
        for (int64_t i = 0; i < n; i++) host[i] = value(v, first[v] + i);
        vj_upload(l->step->be, device[v], host, n * (int64_t)sizeof *host);
        assert_int_equal(vj_sync(l->step->be), VJ_OK);
        free(host);
    }
}

/* Between tensors of the flat vector there may be room; what is in the tensors is what counts. */
static void check(layout *l)
{
    const vj_params *ps = &l->step->model->net.params;
    float *device[4];
    int64_t first[4], last[4];
    for (int v = 0; v < vectors(l, device, first, last); v++) {
        const int64_t n = last[v] - first[v];
        float *host = calloc((size_t)n + 1, sizeof *host);
        vj_download(l->step->be, host, device[v], n * (int64_t)sizeof *host);
        assert_int_equal(vj_sync(l->step->be), VJ_OK);
        for (int t = 0; t < ps->count; t++)
            for (int64_t i = ps->item[t].offset; i < ps->item[t].offset + ps->item[t].count; i++)
                if (i >= first[v] && i < last[v] && host[i - first[v]] != value(v, i))
                    fail_msg("vector %d, %s, flat element %lld: %.9g, wanted %.9g", v, ps->item[t].name, (long long)i,
                             (double)host[i - first[v]], (double)value(v, i));
        free(host);
    }
}

static void save(layout *l, const char *dir, int64_t step, bool background)
{
    vj_checkpoint *checkpoint;
    const vj_ckpt_state state = sample_state(step);
    assert_int_equal(vj_checkpoint_open(&checkpoint, l->step->optimizer, background, l->step->layout.world), VJ_OK);
    assert_int_equal(vj_checkpoint_begin(checkpoint, dir, &state), VJ_OK);
    assert_int_equal(vj_checkpoint_commit(checkpoint), VJ_OK);
    vj_checkpoint_close(checkpoint);
}

static void read_again(const context *c, int size, int zero, bool background)
{
    layout l;
    char paths[2][VJ_PATH + 32];
    for (int i = 0; i < 2; i++) snprintf(paths[i], sizeof paths[i], "%s/step_%08d.h5", c->dir, 1 + i);
    if (open_layout(&l, c, size, zero)) {
        assert_int_equal(vj_checkpoint_load(paths[0], l.step->optimizer), VJ_OK);
        check(&l);
        save(&l, c->dir, 2, background);
        close_layout(&l);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    if (c->rank == 0) {
        char report[4096] = "";
        int64_t different;
        FILE *out = fmemopen(report, sizeof report, "w");
        assert_int_equal(vj_ckpt_compare(paths[0], paths[1], out, &different), VJ_OK);
        fclose(out);
        if (different > 0) fail_msg("read by %d ranks, zero %d: %s", size, zero, report);
    }
}

static void every_layout_reads_every_other(void **state)
{
    context *c = *state;
    for (int mode = 0; mode < 8; mode++) {
        const int size = mode & 1 ? c->size : 1, zero = mode >> 1 & 1;
        const bool background = mode >> 2 & 1;
        layout l;
        if (open_layout(&l, c, size, zero)) {
            fill(&l);
            save(&l, c->dir, 1, background);
            close_layout(&l);
        }
        MPI_Barrier(MPI_COMM_WORLD);
        for (int readers = 1; readers <= c->size; readers++)
            for (int sharded = 0; sharded < 2; sharded++) read_again(c, readers, sharded, !background);
    }
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_layout_reads_every_other, setup, teardown),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Finalize();
    return failed != 0;
}
