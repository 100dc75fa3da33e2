/*
 * Checkpoints written by several ranks: the same content as written by one, read back by each; a rank that fails takes
 * all others to the same error and leaves nothing behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../ckpt_sample.h"

typedef struct {
    int rank, size;
    char dir[VJ_PATH], path[VJ_PATH + 32];
    sample s, back;
} context;

static int setup(void **state)
{
    context *c = calloc(1, sizeof *c);
    MPI_Comm_rank(MPI_COMM_WORLD, &c->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &c->size);
    if (c->rank == 0) temporary_folder(c->dir);
    MPI_Bcast(c->dir, VJ_PATH, MPI_CHAR, 0, MPI_COMM_WORLD);
    snprintf(c->path, sizeof c->path, "%s/step_00000012.h5", c->dir);
    sample_init(&c->s, c->size, c->rank);
    sample_init(&c->back, 1, 0);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    context *c = *state;
    sample_release(&c->s);
    sample_release(&c->back);
    MPI_Barrier(MPI_COMM_WORLD);
    if (c->rank == 0) remove_folder(c->dir);
    free(c);
    return 0;
}

/* Even steps are written in the background, odd ones at once. */
static vj_status write_all(context *c, int64_t step)
{
    return sample_write(&c->s, c->dir, step, step % 2 == 0, MPI_COMM_WORLD);
}

/* Every rank reads everything and finds the values of `salt`. */
static void check_content(context *c, uint32_t salt)
{
    sample want;
    sample_init(&want, 1, 0);
    sample_fill(&want, salt);
    sample_fill(&c->back, 99);
    assert_int_equal(vj_ckpt_read(c->path, c->back.tensors, SAMPLE_TENSORS, sample_put, NULL), VJ_OK);
    assert_true(sample_equal(&want, &c->back));
    sample_release(&want);
}

static void shared_by_all(void **state)
{
    context *c = *state;
    assert_int_equal(write_all(c, 12), VJ_OK);
    check_content(c, 1);
    if (c->rank == 0) { /* against one rank's file, block checksums included */
        char other[VJ_PATH + 32], report[4096] = "";
        int64_t different;
        sample_all(&c->s);
        assert_int_equal(sample_write(&c->s, c->dir, 13, false, MPI_COMM_SELF), VJ_OK);
        snprintf(other, sizeof other, "%s/step_00000013.h5", c->dir);
        FILE *out = fmemopen(report, sizeof report, "w");
        assert_int_equal(vj_ckpt_compare(c->path, other, out, &different), VJ_OK);
        fclose(out);
        assert_int_equal(different, 0);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static void only_the_last_rank_writes(void **state)
{
    context *c = *state;
    for (int i = 0; i < SAMPLE_TENSORS; i++) {
        c->s.tensors[i].first = 0;
        c->s.tensors[i].last = c->rank == c->size - 1 ? sample_elements(&c->s.tensors[i]) : 0;
    }
    assert_int_equal(write_all(c, 12), VJ_OK);
    check_content(c, 1);
}

static void two_owners_are_refused(void **state)
{
    context *c = *state;
    if (c->size == 1) return;
    sample_all(&c->s);
    assert_int_equal(write_all(c, 12), VJ_ERR_STATE);
    assert_int_not_equal(access(c->path, F_OK), 0);
}

static void one_failing_rank_fails_all(void **state)
{
    context *c = *state;
    assert_int_equal(write_all(c, 12), VJ_OK);
    for (int culprit = 0; culprit < c->size; culprit++) {
        sample_fill(&c->s, 2);
        const char *name = NULL; /* a tensor of which the culprit writes something */
        for (int i = 0; i < SAMPLE_TENSORS; i++)
            if (c->s.tensors[i].first < c->s.tensors[i].last) name = c->s.tensors[i].name;
        assert_non_null(name);
        c->s.fail_at = c->rank == culprit ? name : NULL;
        assert_int_equal(write_all(c, 12), VJ_ERR_LIBRARY);
        assert_false(has_part(c->dir));
        check_content(c, 1); /* the older file of the same name stands */
    }
    c->s.fail_at = NULL;
    assert_int_equal(write_all(c, 12), VJ_OK);
    check_content(c, 2);
}

static void all_find_the_same_newest(void **state)
{
    context *c = *state;
    char path[VJ_PATH], older[VJ_PATH + 32];
    for (int64_t step = 10; step <= 12; step++) assert_int_equal(write_all(c, step), VJ_OK);
    assert_int_equal(vj_ckpt_prune(c->dir, 1, 0, MPI_COMM_WORLD), VJ_OK);
    assert_int_equal(vj_ckpt_latest(c->dir, path, MPI_COMM_WORLD), VJ_OK);
    assert_string_equal(path, c->path);
    snprintf(older, sizeof older, "%s/step_00000011.h5", c->dir);
    assert_int_not_equal(access(older, F_OK), 0);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(shared_by_all),
        CASE(only_the_last_rank_writes),
        CASE(two_owners_are_refused),
        CASE(one_failing_rank_fails_all),
        CASE(all_find_the_same_newest),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Finalize();
    return failed != 0;
}
