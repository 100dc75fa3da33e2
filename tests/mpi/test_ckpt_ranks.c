/*
 * Tests checkpoints written by several ranks: they have the same content as from one rank and are read back by each; if
 * one rank fails, all return the same error and no file is left.
 */
#include "../ckpt_test.h"
#include "../on_ranks.h"

/* Write a checkpoint: of even steps in the background, of odd ones at once. */
static vj_status write_all(context *c, int64_t step)
{
    return sample_write(&c->s, c->dir, step, step % 2 == 0, MPI_COMM_WORLD);
}

/* Check that every rank can read all tensors and finds the values of `salt`. */
static void check_content(context *c, uint32_t salt)
{
    sample want;
    sample_init(&want, 1, 0);
    sample_fill(&want, salt);
    assert_int_equal(read_back(c), VJ_OK);
    assert_true(sample_equal(&want, &c->back));
    sample_release(&want);
}

static void shared_by_all(void **state)
{
    context *c = *state;
    assert_int_equal(write_all(c, 12), VJ_OK);
    check_content(c, 1);
    if (c->rank == 0) { /* compare with a file written by one rank, including the checksums of blocks */
        char other[VJ_PATH + 32], report[4096] = "";
        sample_all(&c->s);
        assert_int_equal(sample_write(&c->s, c->dir, 13, false, MPI_COMM_SELF), VJ_OK);
        step_path(other, c->dir, 13);
        assert_int_equal(differences(c->path, other, report, sizeof report), 0);
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
    if (c->size == 1) skip();
    sample_all(&c->s);
    assert_int_equal(write_all(c, 12), VJ_ERR_STATE);
    assert_false(exists(c->path));
}

static void one_failing_rank_fails_all(void **state)
{
    context *c = *state;
    assert_int_equal(write_all(c, 12), VJ_OK);
    for (int culprit = 0; culprit < c->size; culprit++) {
        sample_fill(&c->s, 2);
        const char *name = NULL; /* a tensor of which the rank that fails writes a part */
        for (int i = 0; i < SAMPLE_TENSORS; i++)
            if (c->s.tensors[i].first < c->s.tensors[i].last) name = c->s.tensors[i].name;
        assert_non_null(name);
        c->s.fail_at = c->rank == culprit ? name : NULL;
        assert_int_equal(write_all(c, 12), VJ_ERR_LIBRARY);
        assert_false(has_part(c->dir));
        check_content(c, 1); /* the older file of the same name is still there */
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
    step_path(older, c->dir, 11);
    assert_false(exists(older));
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        CASE(shared_by_all),
        CASE(only_the_last_rank_writes),
        CASE(two_owners_are_refused),
        CASE(one_failing_rank_fails_all),
        CASE(all_find_the_same_newest),
    };
    return end_on_ranks(cmocka_run_group_tests(tests, NULL, NULL));
}
