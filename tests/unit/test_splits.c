/* Tests splits: the uniform rule, round trips of files, and files that are refused. (The class rule: test_probe.c.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../folder.h"
#include "probe/splits.h"

enum { N = 1000 };

static char folder[VJ_PATH], path[VJ_SPLIT_PATH];
static int32_t labels[N];
static int64_t id[N];
static vj_split_samples samples = {.id = id, .labels = labels, .count = N, .fingerprint = 77, .name = "my.clips"};

static int prepare(void **state)
{
    (void)state;
    make_folder(folder);
    for (int i = 0; i < N; i++) {
        labels[i] = i % 10 == 9 ? -1 : i % 3;
        id[i] = 5 * i + 2;
    }
    return 0;
}

static int clean(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void uniform_takes_a_share_of_all(void **state)
{
    (void)state;
    int64_t half[N], few[N], one[N], other[N], m, k, n;
    assert_int_equal(vj_split_choose(half, &m, VJ_SPLIT_UNIFORM, labels, N, 3, 0, 50.0, 5), VJ_OK);
    assert_int_equal(vj_split_choose(few, &k, VJ_SPLIT_UNIFORM, labels, N, 3, 0, 5.0, 5), VJ_OK);
    assert_int_equal(vj_split_choose(one, &n, VJ_SPLIT_UNIFORM, labels, N, 3, 0, 0.01, 5), VJ_OK);
    assert_int_equal(m, 450);
    assert_int_equal(k, 45);
    assert_int_equal(n, 1);
    int by_class[3] = {0};
    for (int64_t i = 0, at = 0; i < k; i++) { /* the smaller share is part of the larger */
        while (at < m && half[at] != few[i]) at++;
        assert_true(at < m && labels[few[i]] >= 0);
        by_class[labels[few[i]]]++;
    }
    assert_false(by_class[0] == 15 && by_class[1] == 15); /* the clips are not drawn class by class */
    assert_int_equal(vj_split_choose(other, &n, VJ_SPLIT_UNIFORM, labels, N, 3, 0, 50.0, 6), VJ_OK);
    assert_memory_not_equal(other, half, sizeof half[0] * 450);
    assert_int_equal(vj_split_choose(other, &n, VJ_SPLIT_UNIFORM, labels, N, 3, 90, 50.0, 5), VJ_OK);
    assert_int_equal(n, 45); /* half of 90 clips */
}

static void a_file_comes_back(void **state)
{
    (void)state;
    int64_t chosen[N], again[N], n, m;
    for (vj_split_rule rule = VJ_SPLIT_CLASS; rule <= VJ_SPLIT_UNIFORM; rule++) {
        assert_int_equal(vj_split_choose(chosen, &n, rule, labels, N, 3, 0, 100.0 / 3.0, 9), VJ_OK);
        vj_split_path(path, folder, "my/task 1", rule, 100.0 / 3.0, 9);
        assert_non_null(strstr(path, rule == VJ_SPLIT_CLASS ? "/my%2Ftask%201_class_33.3333_9.split"
                                                            : "/my%2Ftask%201_uniform_33.3333_9.split"));
        assert_int_equal(vj_split_write(path, &samples, chosen, n, 100.0 / 3.0, 9), VJ_OK);
        assert_int_equal(vj_split_read(again, &m, path, &samples, 100.0 / 3.0, 9), VJ_OK);
        assert_int_equal(n, m);
        assert_memory_equal(chosen, again, sizeof chosen[0] * (size_t)n);
        unlink(path);
    }
}

/* The parts of a campaign write the same splits at the same time: none may remove what another is writing. */
static void two_writers_do_not_meet(void **state)
{
    (void)state;
    int64_t chosen[N], n;
    vj_file other;
    assert_int_equal(vj_split_choose(chosen, &n, VJ_SPLIT_CLASS, labels, N, 3, 0, 5.0, 9), VJ_OK);
    vj_split_path(path, folder, "task", VJ_SPLIT_CLASS, 5.0, 9);
    assert_int_equal(vj_file_begin_text(&other, path), VJ_OK);
    assert_int_equal(vj_split_write(path, &samples, chosen, n, 5.0, 9), VJ_OK);
    assert_int_equal(vj_file_commit(&other), VJ_OK);
    unlink(path);
}

/* Read a file of this text as the split of 5 % with seed 9; `why` gets the message. */
static vj_status read_text(const char *text, int64_t *n, char *why, size_t bytes)
{
    int64_t chosen[N];
    snprintf(path, sizeof path, "%s/hand.split", folder);
    assert_int_equal(vj_file_put_text(path, text), VJ_OK);
    vj_status_divert(why, bytes);
    const vj_status status = vj_split_read(chosen, n, path, &samples, 5.0, 9);
    vj_status_divert(NULL, 0);
    return status;
}

static void wrong_files_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"", "a split file begins with"},
        {"# 5 9\n2\n", "a split file begins with"},
        {"# 5 9 - more\n2\n", "a split file begins with"},
        {"# 10 9 -\n2\n", "the split of 10 % with seed 9, not of 5 % with seed 9"},
        {"# 5 8 -\n2\n", "with seed 8"},
        {"# 5 9 -\n2\n3\n", "line 3: sample 3 is not in my.clips"},
        {"# 5 9 -\n-3\n", "line 2: sample -3 is not in my.clips"},
        {"# 5 9 -\n2\n47\n", "sample 47 of my.clips has no label"},
        {"# 5 9 -\n7\n2\n", "line 3: numbers must ascend"},
        {"# 5 9 -\n7\n7\n", "must ascend"},
        {"# 5 9 -\n7 7\n", "is not the number of a sample"},
        {"# 5 9 -\n7", "is not the number of a sample"},
        {"# 5 9 -\n\n", "is not the number of a sample"},
        {"# 5 9 -\n99999999999999999999999\n", "is not the number of a sample"},
        {"# 5 9 -\n", "no sample follows"},
        {"# 5 9 0123456789abcdef\n2\n7\n", "made for another store, or changed"},
    };
    char why[1024];
    int64_t n;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(read_text(wrong[i].text, &n, why, sizeof why), VJ_ERR_FORMAT);
        if (!strstr(why, wrong[i].says)) fail_msg("'%s' gives: %s", wrong[i].text, why);
    }
    assert_int_equal(read_text("# 5 9 -\n2\r\n7 \n", &n, why, sizeof why), VJ_OK);
    assert_int_equal(n, 2);
}

static void another_store_is_refused(void **state)
{
    (void)state;
    int64_t chosen[N], n;
    char why[1024];
    vj_split_samples other = samples;
    other.fingerprint = 78;
    assert_int_equal(vj_split_choose(chosen, &n, VJ_SPLIT_CLASS, labels, N, 3, 0, 5.0, 9), VJ_OK);
    snprintf(path, sizeof path, "%s/hand.split", folder);
    assert_int_equal(vj_split_write(path, &samples, chosen, n, 5.0, 9), VJ_OK);
    vj_status_divert(why, sizeof why);
    assert_int_equal(vj_split_read(chosen, &n, path, &other, 5.0, 9), VJ_ERR_FORMAT);
    vj_status_divert(NULL, 0);
    assert_non_null(strstr(why, "another store"));
}

#define FRESH(test) cmocka_unit_test_setup_teardown(test, prepare, clean)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(uniform_takes_a_share_of_all), FRESH(a_file_comes_back),        FRESH(two_writers_do_not_meet),
        FRESH(wrong_files_are_refused),      FRESH(another_store_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
