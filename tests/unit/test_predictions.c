/* Tests predictions: made from scores, written, read back, and files that are refused. */
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
#include "h5/h5.h"
#include "parallel/parallel.h"
#include "probe/predictions.h"

enum { HEADS = 120, N = 7, CLASSES = 6 };

static char folder[VJ_PATH], path[VJ_PATH + 32];

static int prepare(void **state)
{
    (void)state;
    make_folder(folder);
    snprintf(path, sizeof path, "%s/predictions.h5", folder);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void made_of_scores(void **state)
{
    (void)state;
    double memory[2 * 7];
    const double scores[] = {0, 2, 2, -1, 5, 2, 1};
    static const int32_t want[] = {4, 1, 2, 5, 6}, rank[] = {5, 1, 2, 6, 0, 3, 4};
    vj_prediction p = {.clip = 3};
    for (p.label = 0; p.label < 7; p.label++) {
        assert_int_equal(vj_predict(&p, memory, scores, 1, 7), VJ_OK);
        assert_int_equal(p.rank, rank[p.label]);
        assert_memory_equal(p.top, want, sizeof want);
    }
    double sum = 0.0;
    for (int c = 0; c < 7; c++) sum += exp(scores[c]);
    assert_true(fabs(p.chance[0] - exp(5.0) / sum) < 1e-6 && fabs(p.chance[4] - exp(1.0) / sum) < 1e-6);

    /* With few classes some places stay empty. Of two views the probabilities are averaged: (0.9 + 0.3) / 2 against
     * (0.1 + 0.7) / 2. */
    const double two[] = {log(9.0), 0.0, 0.0, log(7.0 / 3.0)};
    p.label = 1;
    assert_int_equal(vj_predict(&p, memory, two, 2, 2), VJ_OK);
    assert_true(p.rank == 1 && p.views == 2 && p.top[0] == 0 && p.top[1] == 1 && p.top[2] == -1 && p.chance[2] == 0.0f);
    assert_true(fabs(p.chance[0] - 0.6) < 1e-6);
}

static void bad_scores_are_named(void **state)
{
    (void)state;
    double memory[4];
    char why[512];
    vj_prediction p = {.clip = 42};
    static const struct {
        double score;
        int32_t label;
        const char *says;
    } cases[] = {{NAN, 0, "class 1 of clip 42 is not a finite number"},
                 {INFINITY, 0, "class 1 of clip 42"},
                 {0, 2, "clip 42 has label 2; there are classes 0 to 1"},
                 {0, -1, "clip 42 has label -1"}};
    for (int i = 0; i < 4; i++) {
        p.label = cases[i].label;
        vj_status_divert(why, sizeof why);
        assert_true(vj_predict(&p, memory, (const double[]){0.0, cases[i].score}, 1, 2) != VJ_OK);
        vj_status_divert(NULL, 0);
        assert_non_null(strstr(why, cases[i].says));
    }
}

static void fill(vj_prediction *rows, int head)
{
    double memory[2 * CLASSES], scores[CLASSES];
    for (int i = 0; i < N; i++) {
        for (int c = 0; c < CLASSES; c++) scores[c] = (i * 7 + c * 5 + head) % 11;
        rows[i] = (vj_prediction){.clip = 10 * i, .content = 1000u + (unsigned)i, .label = i % CLASSES};
        assert_int_equal(vj_predict(&rows[i], memory, scores, 1, CLASSES), VJ_OK);
    }
}

static vj_head_facts *make_heads(void)
{
    vj_head_facts *heads = calloc(HEADS, sizeof *heads);
    for (int i = 0; i < HEADS; i++) {
        vj_head_facts *h = &heads[i];
        *h = (vj_head_facts){.task = "a/b",
                             .encoder = "pretrained",
                             .kind = "attentive",
                             .features = "stored",
                             .preset = "code",
                             .precision = "fp32",
                             .split = "class",
                             .description = "20 epochs",
                             .labels = 12.5,
                             .seed = (uint64_t)(HEADS - i),
                             .encoder_digest = 1,
                             .train_digest = 2,
                             .store_digest = 3,
                             .split_digest = 4,
                             .class_digest = UINT64_MAX,
                             .training_samples = 5,
                             .counted = i == 3 ? 0 : N,
                             .failed = 2,
                             .classes = CLASSES};
        vj_head_name(h);
    }
    return heads;
}

static vj_status write_all(const vj_head_facts *heads, int leave_out)
{
    vj_predictions_writer *w;
    vj_prediction rows[N];
    uint64_t digest[HEADS];
    char names[CLASSES * 4] = "a\0\0\0b\0\0\0c\0\0\0d\0\0\0e\0\0\0f";
    const vj_clips_classes classes = {.count = CLASSES, .bytes = 4, .names = names};
    const vj_task_classes task = {"a/b", &classes};
    assert_int_equal(vj_predictions_create(&w, path, heads, HEADS, &task, 1, "run:\n", VJ_ALONE), VJ_OK);
    for (int i = 0; i < HEADS; i++) {
        digest[i] = 77u + (unsigned)i;
        fill(rows, i);
        if (i == leave_out || heads[i].counted == 0) continue;
        assert_int_equal(vj_predictions_write(w, i, 4, N - 4, rows + 4), VJ_OK);
        assert_int_equal(vj_predictions_write(w, i, 0, 4, rows), VJ_OK);
    }
    return vj_predictions_commit(w, VJ_OK, digest);
}

static void a_file_comes_back(void **state)
{
    (void)state;
    vj_head_facts *heads = make_heads();
    vj_predictions p;
    vj_prediction want[N], *rows;
    vj_clips_classes classes;
    assert_int_equal(write_all(heads, -1), VJ_OK);
    assert_int_equal(vj_predictions_open(&p, path), VJ_OK);
    assert_int_equal(p.count, HEADS);
    for (int i = 0; i < HEADS; i++) {
        heads[i].probe_digest = 77u + (unsigned)i;
        assert_string_equal(p.head[i].name, heads[i].name);
        assert_memory_equal(&p.head[i].labels, &heads[i].labels,
                            sizeof p.head[i] - offsetof(vj_head_facts, labels) - sizeof(int) * 2);
        assert_int_equal(p.head[i].classes, CLASSES);
    }
    assert_string_equal(p.head[0].name, "a|b.attentive.12.5.pretrained.120");
    assert_string_equal(p.head[0].task, "a/b");
    for (int i = 0; i < HEADS; i += HEADS - 1) {
        fill(want, i);
        assert_int_equal(vj_predictions_read(&p, i, &rows), VJ_OK);
        assert_memory_equal(rows, want, sizeof want);
        free(rows);
    }
    assert_int_equal(vj_predictions_find(&p, heads[5].name), 5);
    assert_int_equal(vj_predictions_find(&p, "no"), -1);
    assert_int_equal(vj_predictions_classes(&p, "a/b", &classes), VJ_OK);
    assert_int_equal(classes.count, CLASSES);
    assert_string_equal(vj_clips_classes_name(&classes, 5), "f");
    vj_clips_classes_release(&classes);
    assert_int_equal(vj_predictions_classes(&p, "other", &classes), VJ_OK);
    assert_int_equal(classes.count, 0);
    vj_predictions_release(&p);
    assert_int_equal(vj_predictions_may_replace(path), VJ_OK);
    free(heads);
}

/* Check that a file with missing rows is not published: they would be read as predictions of class 0. */
static void missing_rows_leave_no_file(void **state)
{
    (void)state;
    vj_head_facts *heads = make_heads();
    char why[512];
    vj_status_divert(why, sizeof why);
    assert_int_equal(write_all(heads, 9), VJ_ERR_STATE);
    vj_status_divert(NULL, 0);
    assert_int_not_equal(access(path, F_OK), 0);
    free(heads);
}

/* Change a row without HDF5, and check that the file is refused. */
static void damaged_rows_are_refused(void **state)
{
    (void)state;
    vj_head_facts *heads = make_heads();
    vj_predictions p;
    vj_prediction *rows, row[N];
    char why[512];
    assert_int_equal(write_all(heads, -1), VJ_OK);
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    char name[VJ_HEAD_NAME + 8];
    snprintf(name, sizeof name, "heads/%s", heads[0].name);
    const hid_t table = H5Dopen2(file, name, H5P_DEFAULT);
    const haddr_t at = H5Dget_offset(table);
    H5Dclose(table);
    H5Fclose(file);
    fill(row, 0);
    FILE *out = fopen(path, "r+");
    row[0].rank = CLASSES;
    assert_true(fseek(out, (long)at, SEEK_SET) == 0 && fwrite(row, sizeof row[0], 1, out) == 1 && fclose(out) == 0);
    assert_int_equal(vj_predictions_open(&p, path), VJ_OK);
    vj_status_divert(why, sizeof why);
    assert_int_equal(vj_predictions_read(&p, 0, &rows), VJ_ERR_FORMAT);
    vj_status_divert(NULL, 0);
    assert_non_null(strstr(why, "row 0 of a|b.attentive"));
    assert_int_equal(vj_predictions_read(&p, 1, &rows), VJ_OK);
    free(rows);
    vj_predictions_release(&p);
    free(heads);
}

static void other_files_stay(void **state)
{
    (void)state;
    vj_predictions p;
    char why[512];
    assert_int_equal(vj_predictions_may_replace(path), VJ_OK);
    assert_int_equal(vj_file_put_text(path, "mine\n"), VJ_OK);
    vj_status_divert(why, sizeof why);
    assert_int_equal(vj_predictions_may_replace(path), VJ_ERR_USAGE);
    assert_true(vj_predictions_open(&p, path) != VJ_OK);
    vj_status_divert(NULL, 0);
    vj_predictions_release(&p);
}

#define FRESH(test) cmocka_unit_test_setup_teardown(test, prepare, clean)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_of_scores),  cmocka_unit_test(bad_scores_are_named), FRESH(a_file_comes_back),
        FRESH(missing_rows_leave_no_file), FRESH(damaged_rows_are_refused),        FRESH(other_files_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
