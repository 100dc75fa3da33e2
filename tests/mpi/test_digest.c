/* Tests that one flipped bit of a weight, the target or a moment on one rank is found; rank and tensor are named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <omp.h>
#include <unistd.h>

#include "../layouts.h"
#include "../on_ranks.h"
#include "train/digest.h"

enum { VECTORS = 4 };

typedef struct {
    vj_step *step;
    vj_digest *digest;
    layout l;
} run;

static void flip(run *r, float *device)
{
    uint32_t bits;
    vj_download(r->step->be, &bits, device, sizeof bits);
    bits ^= 1;
    vj_upload(r->step->be, device, &bits, sizeof bits);
    assert_int_equal(vj_sync(r->step->be), VJ_OK);
}

/* Return an element of tensor `p` in vector `v` that this rank holds; NULL: it holds none. */
static float *element(const run *r, int v, const vj_param *p)
{
    const vj_model *m = r->step->model;
    const vj_optimizer *o = r->step->optimizer;
    const int64_t at = p->offset + p->count - 1;
    if (v == 0) return m->trained.weights + at;
    if (v == 1) return p->part == VJ_ENCODER ? m->trained.target + at : NULL;
    if (at < o->first || at >= o->last) return NULL;
    return (v == 2 ? o->first_moment : o->second_moment) + (at - o->first);
}

/* Run the comparison; `said` gets what it prints on standard error. Checks that the status is the same on all ranks. */
static vj_status compare(run *r, char *said, size_t bytes)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stderr);
    const int standard = dup(STDERR_FILENO);
    assert_true(standard >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    const vj_status status = vj_digest_compare(r->digest, 17);
    fflush(stderr);
    assert_true(dup2(standard, STDERR_FILENO) >= 0);
    close(standard);
    rewind(file);
    said[fread(said, 1, bytes - 1, file)] = '\0';
    fclose(file);
    int all[2] = {(int)status, -(int)status};
    MPI_Allreduce(MPI_IN_PLACE, all, 2, MPI_INT, MPI_MAX, r->step->layout.world);
    assert_int_equal(all[0], -all[1]);
    return status;
}

/* Return whether ranks a and b hold the same elements of a tensor. */
static bool alike(layout l, int a, int b, bool sharded, bool divided)
{
    return (!sharded || a / l.tensor == b / l.tensor) && (!divided || a % l.tensor == b % l.tensor);
}

static void flip_one(run *r, int v, const vj_param *p, int victim)
{
    const layout l = r->l;
    const int me = r->step->layout.rank;
    const bool sharded = v >= 2 && l.zero && l.ranks > l.tensor;
    float *device = element(r, v, p);
    int held = me == victim && device, peers = 0;
    MPI_Allreduce(MPI_IN_PLACE, &held, 1, MPI_INT, MPI_MAX, r->step->layout.world);
    if (!held) return;
    char said[8192], name[160];
    if (me == victim) flip(r, device);
    const vj_status status = compare(r, said, sizeof said);
    if (me == victim) flip(r, device);
    for (int rank = 0; rank < l.ranks; rank++) peers += alike(l, victim, rank, sharded, p->shares > 1);
    if (status != (peers > 1 ? VJ_ERR_STATE : VJ_OK))
        fail_msg(LAYOUT_TEXT ": %s, vector %d, rank %d: status %d", LAYOUT_ARGS(l), p->name, v, victim, (int)status);
    if (me > 0 && said[0]) fail_msg("rank %d speaks too: %s", me, said);
    if (me > 0 || peers == 1) return;
    snprintf(name, sizeof name, "%s of %s/%s is not the same",
             (const char *const[]){"step 17 the weight", "target weight", "first moment", "second moment"}[v],
             p->part == VJ_ENCODER ? "encoder" : "predictor", p->name);
    if (!strstr(said, name)) fail_msg(LAYOUT_TEXT ": no '%s': %s", LAYOUT_ARGS(l), name, said);
    const char *ranks = strstr(said, "without one: ");
    assert_non_null(ranks);
    for (int rank = 0; rank < l.ranks; rank++) {
        snprintf(name, sizeof name, "rank %d on ", rank);
        const bool odd = rank == victim || (peers == 2 && alike(l, victim, rank, sharded, p->shares > 1));
        if ((strstr(ranks, name) != NULL) != odd)
            fail_msg(LAYOUT_TEXT ": rank %d is odd, rank %d %s named: %s", LAYOUT_ARGS(l), victim, rank,
                     odd ? "is not" : "is", said);
    }
}

static const vj_param *find(const vj_params *ps, const char *name)
{
    for (int i = 0; i < ps->count; i++)
        if (ps->item[i].part == VJ_ENCODER && strcmp(ps->item[i].name, name) == 0) return &ps->item[i];
    fail_msg("there is no %s", name);
    return NULL;
}

static void check_layout(layout l)
{
    static vj_config config;
    static const char *const tensor[] = {"blocks.0.norm1.weight", "blocks.0.attn.qkv.weight", "norm.bias"};
    char said[8192];
    run r = {.l = l};
    MPI_Comm comm = layout_comm(l);
    if (comm == MPI_COMM_NULL) return;
    vj_step_report report;
    layout_config(&config, l, 1, 4);
    assert_int_equal(vj_step_open(&r.step, &config, comm), VJ_OK);
    assert_int_equal(vj_digest_open(&r.digest, &config, r.step->optimizer, &r.step->layout), VJ_OK);
    vj_model_init_weights(r.step->model, (vj_init)config.model.init, 0, config.run.seed);
    assert_int_equal(layout_step(r.step, 0, &report), VJ_OK);
    assert_int_equal(compare(&r, said, sizeof said), VJ_OK);
    for (int v = 0; v < VECTORS; v++)
        for (size_t i = 0; i < sizeof tensor / sizeof tensor[0]; i++)
            for (int victim = 0; victim < l.ranks; victim++) {
                flip_one(&r, v, find(&r.step->model->net.params, tensor[i]), victim);
            }
    assert_int_equal(compare(&r, said, sizeof said), VJ_OK); /* every change was undone */
    vj_digest_close(r.digest);
    vj_step_close(r.step);
    MPI_Comm_free(&comm);
}

static void a_flipped_bit_is_found(void **state)
{
    (void)state;
    static const layout layouts[] = {{2, 1, 0, 0}, {2, 2, 0, 0}, {3, 1, 0, 0}, {3, 1, 0, 1},
                                     {4, 1, 0, 0}, {4, 2, 1, 0}, {4, 2, 0, 1}, {8, 2, 0, 1}};
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (size == 1) skip(); /* there is no other rank to compare with */
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        if (layouts[i].ranks <= size) check_layout(layouts[i]);
        MPI_Barrier(MPI_COMM_WORLD);
    }
}

/* Check that a tensor of many chunks has the same digest for any number of threads. */
static void threads_do_not_show(void **state)
{
    (void)state;
    static vj_config config;
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (size == 1) skip();
    run r = {.l = {size, 1, 0, 0}};
    layout_config(&config, r.l, 1, 32);
    omp_set_num_threads(1 + rank); /* OMP_NUM_THREADS, which is set in all tests, permits this */
    assert_int_equal(vj_step_open(&r.step, &config, MPI_COMM_WORLD), VJ_OK);
    vj_model_init_weights(r.step->model, (vj_init)config.model.init, 0, config.run.seed);
    assert_int_equal(vj_digest_open(&r.digest, &config, r.step->optimizer, &r.step->layout), VJ_OK);
    assert_int_equal(vj_digest_compare(r.digest, 0), VJ_OK);
    vj_digest_close(r.digest);
    vj_step_close(r.step);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flipped_bit_is_found),
        cmocka_unit_test(threads_do_not_show),
    };
    return end_on_ranks(cmocka_run_group_tests(tests, NULL, NULL));
}
