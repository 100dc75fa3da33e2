/* Tests results by class: counts, intervals and confusions, of one probe and of several seeds; many classes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../folder.h"
#include "parallel/parallel.h"
#include "probe/metrics.h"
#include "probe/per_class.h"

static void counts(void **state)
{
    (void)state;
    /* The true class, the predicted class and the number of clips, of two runs together; class 3 has no clips. */
    static const int added[][3] = {{0, 0, 12}, {0, 1, 3}, {0, 2, 5}, {1, 1, 20}, {2, 0, 4}, {0, 1, 4}, {2, 2, 0}};
    vj_per_class p;
    double low, high;
    assert_int_equal(vj_per_class_begin(&p, 4), VJ_OK);
    for (size_t i = 0; i < sizeof added / sizeof added[0]; i++)
        assert_int_equal(vj_per_class_add(&p, added[i][0], added[i][1], added[i][2]), VJ_OK);
    assert_int_equal(vj_per_class_finish(&p, 2), VJ_OK);
    assert_int_equal(p.count, 3);
    assert_int_equal(p.pairs, 3);
    assert_true(p.item[0].class == 2 && p.item[1].class == 0 && p.item[2].class == 1);
    assert_true(p.item[0].top1 == 0.0 && p.item[1].top1 == 50.0 && p.item[2].top1 == 100.0);
    assert_true(p.item[1].clips == 24 && p.item[1].right == 12 && p.item[1].taken_for == 1 && p.item[1].taken == 7);
    assert_true(p.item[0].taken_for == 0 && p.item[2].taken_for == -1);
    vj_wilson_interval(0.5, 12, &low, &high); /* the clips of one run */
    assert_true(fabs(p.item[1].low - 100 * low) < 1e-12 && fabs(p.item[1].high - 100 * high) < 1e-12);
    assert_true(p.pair[0].from == 0 && p.pair[0].to == 1 && p.pair[0].clips == 7);
    assert_true(p.pair[1].to == 2 && p.pair[2].from == 2 && p.pair[2].percent == 100.0);
    vj_per_class_release(&p);
}

/* Check many classes: in each of 40 runs k % 5 of the 5 clips of class k are taken for class k + 1, so pairs are merged
 * many times. */
static void many_classes(void **state)
{
    (void)state;
    enum { CLASSES = 3000, RUNS = 40 };
    vj_per_class p;
    assert_int_equal(vj_per_class_begin(&p, CLASSES), VJ_OK);
    for (int run = 0; run < RUNS; run++)
        for (int k = 0; k < CLASSES; k++)
            for (int clip = 0; clip < 5; clip++)
                assert_int_equal(vj_per_class_add(&p, k, (k + (clip < k % 5)) % CLASSES, 1.0), VJ_OK);
    assert_int_equal(vj_per_class_finish(&p, RUNS), VJ_OK);
    assert_true(p.count == CLASSES && p.pairs == CLASSES / 5 * 4 && p.room <= 4 * CLASSES);
    assert_true(p.item[0].class == 4 && fabs(p.item[0].top1 - 20.0) < 1e-12 && p.item[0].taken_for == 5);
    assert_true(p.item[CLASSES - 1].class == CLASSES - 5 && p.item[CLASSES - 1].top1 == 100.0);
    assert_true(p.pair[0].from == 4 && p.pair[0].to == 5 && p.pair[0].clips == 4 * RUNS);
    vj_per_class_release(&p);
}

static void nothing_at_all(void **state)
{
    (void)state;
    vj_per_class p;
    assert_int_equal(vj_per_class_begin(&p, 5), VJ_OK);
    assert_int_equal(vj_per_class_finish(&p, 1), VJ_OK);
    assert_true(p.count == 0 && p.pairs == 0);
    vj_per_class_release(&p);
}

/* Check a file with two seeds of one probe, of 6 clips and 3 classes; the second seed is right on one clip more. */
static void from_a_file(void **state)
{
    (void)state;
    char folder[VJ_PATH], path[VJ_PATH + 32], *text = NULL;
    size_t bytes = 0;
    vj_head_facts heads[2] = {0};
    vj_predictions_writer *w;
    const vj_clips_classes names = {3, 4, (char[]){"run\0sit\0lie"}};
    const vj_task_classes task = {"pose", &names};
    make_folder(folder);
    snprintf(path, sizeof path, "%s/predictions.h5", folder);
    for (int s = 0; s < 2; s++) {
        heads[s] = (vj_head_facts){.task = "pose",
                                   .encoder = "e",
                                   .kind = "average",
                                   .labels = 10,
                                   .seed = (uint64_t)s,
                                   .counted = 6,
                                   .classes = 3};
        vj_head_name(&heads[s]);
    }
    assert_int_equal(vj_predictions_create(&w, path, heads, 2, &task, 1, "", VJ_ALONE), VJ_OK);
    for (int s = 0; s < 2; s++) {
        vj_prediction rows[6];
        for (int i = 0; i < 6; i++) {
            double scores[3] = {0}, memory[6];
            rows[i] = (vj_prediction){.clip = i, .label = i % 3};
            scores[i == 0 || (i == 3 && s == 0) ? 2 : i % 3] = 1.0; /* "run" is taken for "lie" */
            assert_int_equal(vj_predict(&rows[i], memory, scores, 1, 3), VJ_OK);
        }
        assert_int_equal(vj_predictions_write(w, s, 0, 6, rows), VJ_OK);
    }
    assert_int_equal(vj_predictions_commit(w, VJ_OK, (uint64_t[2]){0}), VJ_OK);
    FILE *out = open_memstream(&text, &bytes);
    assert_int_equal(vj_predictions_print_classes(path, "e", 2, out), VJ_OK);
    assert_int_equal(fclose(out), 0);
    assert_non_null(
        strstr(text, "pose, average, 10 %, e: 3 of 3 classes have clips; accuracies are means over 2 seeds"));
    assert_non_null(strstr(text, "       2   25.0 [   2.7,   80.2]  0 run; 75 % for 2 lie\n"));
    assert_non_null(
        strstr(text, "  and 1 more of higher accuracy\n       3 clips of 0 run (75 %) are taken for 2 lie\n"));
    free(text);
    char why[512];
    vj_status_divert(why, sizeof why);
    assert_int_equal(vj_predictions_print_classes(path, "f", 2, stdout), VJ_ERR_USAGE);
    vj_status_divert(NULL, 0);
    assert_non_null(strstr(why, "has no head and no encoder 'f'"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts),
        cmocka_unit_test(many_classes),
        cmocka_unit_test(nothing_at_all),
        cmocka_unit_test(from_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
