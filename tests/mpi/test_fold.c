/* Tests that equal reports of many ranks become one line, and a report of one rank stays unchanged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fold.h"
#include "parallel/parallel.h"

static int rank, size, held;
static FILE *heard;

/* Redirect standard error of this rank to a file from now on. */
static void listen(void)
{
    heard = tmpfile();
    assert_non_null(heard);
    fflush(stderr);
    held = dup(STDERR_FILENO);
    assert_true(dup2(fileno(heard), STDERR_FILENO) >= 0);
}

static const char *what_was_said(void)
{
    static char text[65536];
    fflush(stderr);
    dup2(held, STDERR_FILENO);
    close(held);
    rewind(heard);
    text[fread(text, 1, sizeof text - 1, heard)] = '\0';
    fclose(heard);
    return text;
}

static int lines(const char *text)
{
    int n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

static void expect(const char *said, const char *words)
{
    if (!strstr(said, words)) fail_msg("no '%s' in: %s", words, said);
}

/* Check that two lines are printed when 998 of 1000 ranks cannot read a shard and one finds a damaged clip. */
static void a_thousand_ranks_take_a_line(void **state)
{
    (void)state;
    enum { RANKS = 1000 };
    vj_message *messages = calloc(RANKS, sizeof *messages);
    assert_non_null(messages);
    int n = 0;
    for (int r = RANKS - 1; r > 0; r--) { /* the order does not matter */
        vj_message m = {.said = VJ_SAID_WARNING, .rank = r, .kind = r == 7 ? 2 : 1};
        snprintf(m.text, sizeof m.text, r == 7 ? "clip 12 is damaged" : "shard %d cannot be read", r / 100);
        messages[n++] = m;
    }
    listen();
    vj_fold_print(messages, n, 0);
    const char *said = what_was_said();
    free(messages);
    assert_int_equal(lines(said), 2);
    expect(said, "vjepa: warning: rank 1 and 997 others: shard 0 cannot be read (one of 998 such messages");
    expect(said, "vjepa: warning: rank 7: clip 12 is damaged\n");
}

/* Check that when some of 1000 ranks report in every step only a few lines are printed, with the number of reports. */
static void what_is_said_every_step_is_said_less_often(void **state)
{
    (void)state;
    enum { STEPS = 10000, EACH = 7 };
    vj_message messages[EACH];
    char words[80];
    listen();
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < EACH; i++) {
            messages[i] = (vj_message){.said = VJ_SAID_WARNING, .rank = (step + 131 * i) % 1000, .kind = 3};
            snprintf(messages[i].text, sizeof messages[i].text, "clip %d replaces one", step + i);
        }
        vj_fold_print(messages, EACH, 0);
    }
    const char *said = what_was_said();
    int doublings = 0;
    for (int64_t due = 2 * VJ_FOLD_OFTEN * EACH; due <= (int64_t)STEPS * EACH; due *= 2) doublings++;
    assert_int_equal(lines(said), VJ_FOLD_OFTEN + doublings);
    snprintf(words, sizeof words, "(%d such messages so far;", 2 * VJ_FOLD_OFTEN * EACH);
    expect(said, words);
    expect(said, "(57344 such messages so far;");
}

static void errors_are_folded_when_ranks_agree(void **state)
{
    (void)state;
    vj_status_keep(rank > 0);
    listen();
    vj_status status = vj_raise(VJ_ERR_FORMAT, "the same on all");
    status = vj_agree(MPI_COMM_WORLD, status);
    const char *said = what_was_said();
    vj_status_keep(false);
    assert_int_equal(status, VJ_ERR_FORMAT);
    if (rank > 0) assert_string_equal(said, "");
    if (rank > 0) return;
    /* Rank 0 prints at once; with up to three other ranks each prints a line. */
    assert_int_equal(lines(said), size - 1 > VJ_FOLD_FROM ? 2 : size);
    expect(said, "tests/mpi/test_fold.c:");
    if (size == 8) expect(said, "vjepa: rank 1 of 8 on ");
    if (size == 8) expect(said, " and 6 other ranks: ");
}

static void one_rank_warns_a_hundred_times(void **state)
{
    (void)state;
    const int last = size - 1;
    vj_status_keep(rank > 0);
    listen();
    for (int i = 0; rank == last && rank > 0 && i < 100; i++) vj_warn("clip %d is damaged", i);
    assert_int_equal(vj_agree(MPI_COMM_WORLD, VJ_OK), VJ_OK);
    const char *said = what_was_said();
    vj_status_keep(false);
    if (rank > 0 || size == 1) {
        assert_string_equal(said, "");
        return;
    }
    char words[64];
    assert_int_equal(lines(said), 2);
    snprintf(words, sizeof words, "vjepa: warning: rank %d: clip 0 is damaged (one of 32", last);
    expect(said, words);
    expect(said, "68 more messages");
}

static void what_was_kept_is_told_by_a_rank_alone(void **state)
{
    (void)state;
    vj_status_keep(true);
    listen();
    vj_raise(VJ_ERR_STATE, "alone");
    const bool quiet = ftell(stderr) <= 0;
    vj_status_tell();
    for (int i = 0; i < 40; i++) vj_warn("clip %d is damaged", i);
    vj_status_tell();
    const char *said = what_was_said();
    vj_status_keep(false);
    assert_true(quiet);
    assert_int_equal(lines(said), 1 + VJ_TOLD_ALONE);
    expect(said, ": alone\n");
    expect(said, "clip 2 is damaged (and 37 messages more)\n");
    assert_int_equal(vj_status_kept(), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thousand_ranks_take_a_line),
        cmocka_unit_test(what_is_said_every_step_is_said_less_often),
        cmocka_unit_test(errors_are_folded_when_ranks_agree),
        cmocka_unit_test(one_rank_warns_a_hundred_times),
        cmocka_unit_test(what_was_kept_is_told_by_a_rank_alone),
    };
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    vj_status_identity(rank, size);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed != 0;
}
