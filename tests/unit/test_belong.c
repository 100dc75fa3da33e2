/* Tests the check that feature files belong together: refusals, notes, and classes matched by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <hdf5.h>
#include <mpi.h>
#include <string.h>
#include <unistd.h>

#include "folder.h"
#include "parallel/parallel.h"
#include "probe/belong.h"

enum { CLIPS = 6, WIDTH = 3 };

/* The training or validation file of a pair. What a test does not set is equal in both. */
typedef struct {
    int32_t labels[CLIPS];
    const char *classes[4]; /* names of the classes, then NULL */
    uint64_t digest, first_clip;
    const char *preprocessing;
} side;

static const side plain = {.labels = {0, 1, 2, 0, 1, 2}, .digest = 7, .first_clip = 100, .preprocessing = "crop 224"};

static void open_side(vj_samples *samples, vj_feature_side *as, const char *name, const side *s)
{
    static char paths[2][96];
    char *path = paths[name[0] == 'v'], names[4 * 8] = "";
    float features[CLIPS * WIDTH] = {0};
    int64_t clips[CLIPS];
    uint64_t sums[CLIPS];
    snprintf(path, sizeof paths[0], "%s/%s.h5", folder, name);
    vj_features_header layout = {.clips = CLIPS,
                                 .tokens = 1,
                                 .width = WIDTH,
                                 .label_count = 1,
                                 .label_names = {"kind"},
                                 .encoder = "test",
                                 .encoder_digest = s->digest,
                                 .preprocessing = s->preprocessing,
                                 .config = ""};
    for (int i = 0; i < CLIPS; i++) {
        clips[i] = i;
        sums[i] = s->first_clip + (uint64_t)i;
    }
    layout.classes[0] = (vj_clips_classes){.bytes = 8, .names = names};
    while (layout.classes[0].count < 4 && s->classes[layout.classes[0].count]) {
        strcpy(names + 8 * layout.classes[0].count, s->classes[layout.classes[0].count]);
        layout.classes[0].count++;
    }
    vj_features_writer *writer;
    assert_int_equal(vj_features_create(&writer, path, &layout, MPI_COMM_SELF), VJ_OK);
    vj_status status = vj_features_write(writer, 0, CLIPS, features, s->labels, clips, sums);
    assert_int_equal(vj_features_commit(writer, status, 1.0), VJ_OK);
    assert_int_equal(vj_samples_open(samples, path, VJ_ALONE), VJ_OK);
    *as = (vj_feature_side){samples, path};
}

/* Check a pair and return the status. `text` gets the notes, joined, and `labels` the validation labels as they are
 * afterwards. */
static vj_status judge(const side *train, const side *validation, char *text, size_t bytes, int32_t *labels)
{
    vj_samples samples[2];
    vj_feature_side sides[2];
    vj_notes notes = {0};
    open_side(&samples[0], &sides[0], "train", train);
    open_side(&samples[1], &sides[1], "validation", validation);
    vj_status status = vj_belong_check_pair(&notes, &sides[0], &sides[1]);
    if (status == VJ_OK) status = vj_belong_check_task(&notes, "kind", &sides[0], &sides[1]);
    *text = '\0';
    for (int i = 0; i < notes.count; i++) {
        strncat(text, notes.text[i], bytes - strlen(text) - 2);
        strcat(text, "\n");
    }
    if (labels) memcpy(labels, samples[1].labels, sizeof plain.labels);
    vj_notes_release(&notes);
    for (int i = 0; i < 2; i++) {
        vj_samples_release(&samples[i]);
        unlink(sides[i].path);
    }
    return status;
}

static void assert_noted(const side *train, const side *validation, const char *words)
{
    char text[4096];
    assert_int_equal(judge(train, validation, text, sizeof text, NULL), VJ_OK);
    if (words ? !strstr(text, words) : *text != '\0') fail_msg("\"%s\" expected in: %s", words ? words : "", text);
}

static void assert_refused(const side *train, const side *validation)
{
    char text[4096];
    assert_int_equal(judge(train, validation, text, sizeof text, NULL), VJ_ERR_USAGE);
}

static side other_clips(void)
{
    side s = plain;
    s.first_clip = 200;
    return s;
}

static void test_pairs(void **state)
{
    (void)state;
    side validation = other_clips();
    assert_noted(&plain, &validation, NULL);
    validation.digest = 8;
    assert_refused(&plain, &validation);
    validation.digest = 0;
    assert_noted(&plain, &validation, "does not say which weights");
    validation = other_clips();
    validation.preprocessing = "crop 384";
    assert_refused(&plain, &validation);
    validation = other_clips();
    validation.first_clip = plain.first_clip + 4; /* so the last two training clips are its first two */
    assert_noted(&plain, &validation, "2 of the 6 validation clips");
}

static void test_labels(void **state)
{
    (void)state;
    side validation = other_clips(), train = plain;
    memcpy(validation.labels, (int32_t[]){0, 1, 2, 0, 5, 5}, sizeof validation.labels);
    assert_noted(&plain, &validation, "2 of 6 validation clips");
    memcpy(validation.labels, (int32_t[]){1, 2, 3, 1, 2, 3}, sizeof validation.labels);
    assert_noted(&plain, &validation, "each larger by one");
    memcpy(train.labels, (int32_t[]){1, 2, 3, 1, 2, 3}, sizeof train.labels);
    assert_noted(&train, &plain, "each smaller by one");
    memcpy(validation.labels, (int32_t[]){7, 8, 9, 7, 8, 9}, sizeof validation.labels);
    assert_refused(&plain, &validation);
    memset(validation.labels, -1, sizeof validation.labels);
    assert_refused(&plain, &validation);
    assert_refused(&validation, &plain);
    memset(validation.labels, 0, sizeof validation.labels);
    memset(train.labels, 0, sizeof train.labels);
    train.first_clip = 300;
    assert_noted(&train, &validation, "single class");
}

static void test_names(void **state)
{
    (void)state;
    side train = plain, validation = other_clips();
    char text[4096];
    int32_t labels[CLIPS];
    memcpy(train.classes, (const char *[4]){"ant", "bee", "cow"}, sizeof train.classes);
    memcpy(validation.classes, train.classes, sizeof train.classes);
    assert_noted(&train, &validation, NULL);
    memcpy(validation.classes, (const char *[4]){"cow", "ant", "dog"}, sizeof validation.classes);
    assert_int_equal(judge(&train, &validation, text, sizeof text, labels), VJ_OK);
    assert_memory_equal(labels, ((int32_t[]){2, 0, 3, 2, 0, 3}), sizeof labels);
    assert_non_null(strstr(text, "matched by name"));
    assert_non_null(strstr(text, "no training clip has"));
    memcpy(validation.classes, (const char *[4]){"red", "green", "blue"}, sizeof validation.classes);
    assert_refused(&train, &validation);
    memset(validation.classes, 0, sizeof validation.classes);
    assert_noted(&train, &validation, "numbers alone");
    /* The numbers of the training classes do not change if one of these classes has no name. */
    memcpy(train.classes, (const char *[4]){"ant", "", "cow"}, sizeof train.classes);
    memcpy(train.labels, ((int32_t[]){0, 2, 0, 2, 0, 2}), sizeof train.labels);
    memcpy(validation.classes, (const char *[4]){"cow", "ant"}, sizeof validation.classes);
    memcpy(validation.labels, ((int32_t[]){0, 1, 0, 1, 0, 1}), sizeof validation.labels);
    assert_int_equal(judge(&train, &validation, text, sizeof text, labels), VJ_OK);
    assert_memory_equal(labels, ((int32_t[]){2, 0, 2, 0, 2, 0}), sizeof labels);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pairs), cmocka_unit_test(test_labels),
                                       cmocka_unit_test(test_names)};
    MPI_Init(&argc, &argv);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    const int failed = cmocka_run_group_tests(tests, set_up_folder, tear_down_empty_folder);
    MPI_Finalize();
    return failed;
}
