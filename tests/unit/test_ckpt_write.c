/* Tests writing checkpoints on one rank: refusals, failures, writing in the background, finding the newest, pruning. */
#include <signal.h>
#include <sys/resource.h>

#include "../ckpt_test.h"

#include "base/config.h"

static void refuse_to_write(context *c, vj_status want, const char *words)
{
    int held = hold_messages(c);
    vj_status status = write_to(c, c->dir, 12);
    assert_true(release_messages(c, held, words));
    assert_int_equal(status, want);
}

static void every_block_needs_one_owner(void **state)
{
    context *c = *state;
    int64_t last = c->s.tensors[3].last;
    const struct {
        int64_t last;
        const char *words;
    } cases[] = {{300000, "block 1 is written by 0 ranks"}, {300001, "are not whole blocks"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        c->s.tensors[3].last = cases[i].last;
        refuse_to_write(c, VJ_ERR_STATE, cases[i].words);
        assert_false(exists(c->path));
    }
    c->s.tensors[3].last = last;
    write_step(c, 12);
}

static void a_failed_write_leaves_the_older_one(void **state)
{
    context *c = *state;
    write_step(c, 12);
    sample_fill(&c->s, 2);
    c->s.fail_at = c->s.tensors[4].name;
    refuse_to_write(c, VJ_ERR_LIBRARY, "made to fail");
    c->s.fail_at = NULL;
    assert_false(has_part(c->dir));

    /* A limit on the size of files makes writes fail as a full disk does. */
    struct rlimit old, small = {1 << 20, RLIM_INFINITY};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    refuse_to_write(c, VJ_ERR_IO, "File too large");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_false(has_part(c->dir));

    sample_fill(&c->s, 1);
    assert_int_equal(read_back(c), VJ_OK);
    assert_true(sample_equal(&c->s, &c->back));
}

static void a_missing_folder_is_an_error(void **state)
{
    context *c = *state;
    int held = hold_messages(c);
    vj_status status = write_to(c, "/nonexistent/run", 1);
    assert_true(release_messages(c, held, "create /nonexistent/run/step_00000001.h5."));
    assert_int_not_equal(status, VJ_OK);
}

static void touch(const context *c, const char *name)
{
    char path[2 * VJ_PATH];
    snprintf(path, sizeof path, "%s/%s", c->dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
}

static int has_file(const context *c, const char *name)
{
    char path[2 * VJ_PATH];
    snprintf(path, sizeof path, "%s/%s", c->dir, name);
    return exists(path);
}

static void a_killed_writers_part_goes(void **state)
{
    context *c = *state;
    touch(c, "step_00000012.h5.12345678.part");
    write_step(c, 12);
    assert_false(has_part(c->dir));
}

static void newest_and_prune(void **state)
{
    context *c = *state;
    char path[VJ_PATH], want[VJ_PATH + 64];
    assert_int_equal(vj_ckpt_latest(c->dir, path, MPI_COMM_WORLD), VJ_OK);
    assert_string_equal(path, "");
    assert_int_equal(vj_ckpt_latest("/nonexistent/run", path, MPI_COMM_WORLD), VJ_OK);
    assert_string_equal(path, "");

    write_step(c, 9);
    write_step(c, 10);
    write_step(c, 99999999);
    write_step(c, 100000000); /* nine digits: steps are compared as numbers, not names */
    touch(c, "step_00000200.h5.part");
    touch(c, "step_00000200.h5.12345678.part");
    touch(c, "step_final.h5");
    touch(c, "step_200000000.h5.old");
    assert_int_equal(vj_ckpt_latest(c->dir, path, MPI_COMM_WORLD), VJ_OK);
    snprintf(want, sizeof want, "%s/step_100000000.h5", c->dir);
    assert_string_equal(path, want);

    touch(c, "step_300000000.h5"); /* it is damaged but the newest, and pruning does not count it */
    assert_int_equal(vj_ckpt_latest(c->dir, path, MPI_COMM_WORLD), VJ_OK);
    snprintf(want, sizeof want, "%s/step_300000000.h5", c->dir);
    assert_string_equal(path, want);
    int held = hold_messages(c);
    vj_status status = vj_ckpt_prune(c->dir, 2, 0, MPI_COMM_WORLD);
    assert_true(release_messages(c, held, "does not count"));
    assert_int_equal(status, VJ_OK);
    assert_true(has_file(c, "step_300000000.h5"));
    assert_true(has_file(c, "step_100000000.h5"));
    assert_true(has_file(c, "step_99999999.h5"));
    assert_false(has_file(c, "step_00000010.h5"));
    assert_false(has_file(c, "step_00000009.h5"));
    assert_false(has_part(c->dir));
    assert_true(has_file(c, "step_final.h5"));
    assert_true(has_file(c, "step_200000000.h5.old"));
}

static void multiples_stay_for_ever(void **state)
{
    context *c = *state;
    const int64_t steps[] = {10, 20, 25, 30, 40, 45, 50};
    const int stays[] = {0, 1, 0, 0, 1, 1, 1};
    for (int i = 0; i < 7; i++) {
        write_step(c, steps[i]);
        assert_int_equal(vj_ckpt_prune(c->dir, 2, 20, MPI_COMM_WORLD), VJ_OK);
    }
    for (int i = 0; i < 7; i++) {
        char path[VJ_PATH + 32];
        step_path(path, c->dir, steps[i]);
        assert_int_equal(exists(path), stays[i]);
    }
}

/* Check that what the caller changes after begin() is not in the file, and that poll() is enough to complete it. */
static void in_the_background(void **state)
{
    context *c = *state;
    vj_ckpt_writer *writer;
    vj_ckpt_state at = sample_state(12);
    assert_int_equal(vj_ckpt_open(&writer, c->s.tensors, SAMPLE_TENSORS, true, MPI_COMM_WORLD), VJ_OK);
    int64_t bytes = 0;
    for (int i = 0; i < SAMPLE_TENSORS; i++) bytes += 4 * sample_elements(&c->s.tensors[i]);
    assert_int_equal(vj_ckpt_memory_bytes(writer), bytes);
    for (uint32_t salt = 1; salt <= 3; salt++) { /* one writer writes several files */
        sample_fill(&c->s, salt);
        assert_int_equal(vj_ckpt_begin(writer, c->dir, &at, sample_get, &c->s), VJ_OK);
        sample_fill(&c->s, 99);
        if (salt == 1) assert_false(exists(c->path));
        assert_true(has_part(c->dir));
        while (!vj_ckpt_poll(writer)) usleep(1000);
        assert_true(exists(c->path));
        assert_false(has_part(c->dir));
        assert_int_equal(vj_ckpt_commit(writer), VJ_OK);
        assert_false(has_part(c->dir));
        sample_fill(&c->s, salt);
        assert_int_equal(read_back(c), VJ_OK);
        assert_true(sample_equal(&c->s, &c->back));
    }
    sample_fill(&c->s, 4); /* this one is begun and given up; the older one stays */
    assert_int_equal(vj_ckpt_begin(writer, c->dir, &at, sample_get, &c->s), VJ_OK);
    vj_ckpt_close(writer);
    assert_false(has_part(c->dir));
    sample_fill(&c->s, 3);
    assert_int_equal(read_back(c), VJ_OK);
    assert_true(sample_equal(&c->s, &c->back));
}

/* Check the longest configuration: HDF5 refuses attributes of 64 KiB or more. */
static void a_long_configuration(void **state)
{
    enum { BYTES = VJ_CONFIG_BYTES };
    context *c = *state;
    vj_ckpt_writer *writer;
    vj_ckpt_state found, at = sample_state(12);
    at.config = malloc(BYTES + 1);
    assert_non_null(at.config);
    memset(at.config, '#', BYTES);
    at.config[BYTES] = '\0';
    assert_int_equal(vj_ckpt_open(&writer, c->s.tensors, SAMPLE_TENSORS, false, MPI_COMM_WORLD), VJ_OK);
    assert_int_equal(vj_ckpt_begin(writer, c->dir, &at, sample_get, &c->s), VJ_OK);
    assert_int_equal(vj_ckpt_commit(writer), VJ_OK);
    vj_ckpt_close(writer);
    assert_int_equal(vj_ckpt_read_state(c->path, &found, VJ_ALONE), VJ_OK);
    assert_string_equal(found.config, at.config);
    vj_ckpt_state_release(&found);
    vj_ckpt_state_release(&at);
    assert_int_equal(read_back(c), VJ_OK);
    assert_true(sample_equal(&c->s, &c->back));
}

/* Check that commit() without a poll() does all the work, and that afterwards only the checkpoints to keep are left. */
static void in_the_background_older_ones_are_removed(void **state)
{
    context *c = *state;
    vj_ckpt_writer *writer;
    assert_int_equal(vj_ckpt_open(&writer, c->s.tensors, SAMPLE_TENSORS, true, MPI_COMM_WORLD), VJ_OK);
    vj_ckpt_keep(writer, 1, 20);
    for (int64_t step = 10; step <= 50; step += 10) {
        const vj_ckpt_state at = sample_state(step);
        assert_int_equal(vj_ckpt_begin(writer, c->dir, &at, sample_get, &c->s), VJ_OK);
        while (step > 20 && !vj_ckpt_poll(writer)) usleep(1000);
        assert_int_equal(vj_ckpt_commit(writer), VJ_OK);
        for (int64_t older = 10; older <= step; older += 10) {
            char path[VJ_PATH + 32];
            step_path(path, c->dir, older);
            assert_int_equal(exists(path), older == step || older % 20 == 0);
        }
    }
    vj_ckpt_close(writer);
}

/* Return values of a tensor, and from now on limit files to 1 MiB, so that writes fail after space was reserved. */
static vj_status get_and_limit(void *user, const vj_ckpt_tensor *t, int64_t first, int64_t last, float *host)
{
    const struct rlimit small = {1 << 20, RLIM_INFINITY};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    return sample_get(user, t, first, last, host);
}

/* Check that commit() reports a failure in the background, and that the writer can be used again. */
static void a_failure_in_the_background(void **state)
{
    context *c = *state;
    vj_ckpt_writer *writer;
    vj_ckpt_state at = sample_state(12);
    struct rlimit old, small = {1 << 20, RLIM_INFINITY};
    assert_int_equal(vj_ckpt_open(&writer, c->s.tensors, SAMPLE_TENSORS, true, MPI_COMM_WORLD), VJ_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int held = hold_messages(c);
    vj_status status = vj_ckpt_begin(writer, c->dir, &at, sample_get, &c->s);
    assert_true(release_messages(c, held, "File too large"));
    assert_int_equal(status, VJ_ERR_IO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_false(has_part(c->dir));

    held = hold_messages(c);
    assert_int_equal(vj_ckpt_begin(writer, c->dir, &at, get_and_limit, &c->s), VJ_OK);
    while (!vj_ckpt_poll(writer)) usleep(1000);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    status = vj_ckpt_commit(writer);
    assert_true(release_messages(c, held, "File too large"));
    assert_int_equal(status, VJ_ERR_IO);
    assert_false(has_part(c->dir));
    assert_false(exists(c->path));

    c->s.fail_at = c->s.tensors[4].name;
    held = hold_messages(c);
    assert_int_equal(vj_ckpt_begin(writer, c->dir, &at, sample_get, &c->s), VJ_OK);
    status = vj_ckpt_commit(writer);
    assert_true(release_messages(c, held, "made to fail"));
    assert_int_equal(status, VJ_ERR_LIBRARY);
    assert_false(has_part(c->dir));
    assert_false(exists(c->path));
    c->s.fail_at = NULL;
    assert_int_equal(vj_ckpt_begin(writer, c->dir, &at, sample_get, &c->s), VJ_OK);
    assert_int_equal(vj_ckpt_commit(writer), VJ_OK);
    assert_int_equal(read_back(c), VJ_OK);
    assert_true(sample_equal(&c->s, &c->back));
    vj_ckpt_close(writer);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        CASE(every_block_needs_one_owner),
        CASE(a_failed_write_leaves_the_older_one),
        CASE(a_missing_folder_is_an_error),
        CASE(a_killed_writers_part_goes),
        CASE(newest_and_prune),
        CASE(multiples_stay_for_ever),
        CASE(in_the_background),
        CASE(a_long_configuration),
        CASE(in_the_background_older_ones_are_removed),
        CASE(a_failure_in_the_background),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
