/*
 * Tests that the parity program can fail: a small schedules fixture written here passes, and fails once a number, a
 * NaN, a dataset or an attribute is wrong or missing.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <hdf5.h>

#include "../folder.h"
#include "parity/parity.h"

enum { STEPS = 5 };

static char folder[VJ_PATH], path[VJ_PATH + 32];

static void put_attribute(hid_t group, const char *name, double value)
{
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate2(group, name, H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(attribute, H5T_NATIVE_DOUBLE, &value) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
}

static void put_dataset(hid_t group, const char *name, const double *values)
{
    const hsize_t count = STEPS;
    const hid_t space = H5Screate_simple(1, &count, NULL);
    const hid_t dataset = H5Dcreate2(group, name, H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
}

/* Write a fixture without warm-up and with constant rates, so that the right values need no formula. */
static int write_fixture(void **state)
{
    (void)state;
    make_folder(folder);
    snprintf(path, sizeof path, "%s/fixture.h5", folder);
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t group = H5Gcreate2(file, "flat", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    static const struct {
        const char *name;
        double value;
    } attributes[] = {{"ipe", 5},         {"epochs", 1},       {"scale", 1},       {"warmup", 0},
                      {"start_lr", 0},    {"lr", 0.25},        {"final_lr", 0.25}, {"wd", 0.5},
                      {"final_wd", 0.5},  {"ema_start", 0.75}, {"ema_end", 0.75},  {"ema_span", 5},
                      {"total_steps", 5}, {"warmup_steps", 0}};
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
        put_attribute(group, attributes[i].name, attributes[i].value);
    put_dataset(group, "step", (double[]){1, 2, 3, 4, 5});
    put_dataset(group, "lr", (double[]){0.25, 0.25, 0.25, 0.25, 0.25});
    put_dataset(group, "weight_decay", (double[]){0.5, 0.5, 0.5, 0.5, 0.5});
    put_dataset(group, "ema", (double[]){0.75, 0.75, 0.75, 0.75, 0.75});
    H5Gclose(group);
    return H5Fclose(file) < 0;
}

static int remove_fixture(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static hid_t open_group(hid_t *file)
{
    *file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(*file >= 0);
    return H5Gopen2(*file, "flat", H5P_DEFAULT);
}

static void close_group(hid_t group, hid_t file)
{
    assert_true(H5Gclose(group) >= 0 && H5Fclose(file) >= 0);
}

static void expect(int want_passed, int want_failed)
{
    int passed = 0, failed = 0;
    assert_int_equal(vj_parity_run(path, NULL, &passed, &failed), VJ_OK);
    assert_int_equal(passed, want_passed);
    assert_int_equal(failed, want_failed);
}

static void test_right_numbers_pass(void **state)
{
    (void)state;
    expect(6, 0); /* three derived numbers, three curves */
}

static void overwrite(const char *name, double last)
{
    hid_t file;
    const hid_t group = open_group(&file), dataset = H5Dopen2(group, name, H5P_DEFAULT);
    double values[STEPS];
    assert_true(H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    values[STEPS - 1] = last;
    assert_true(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(dataset);
    close_group(group, file);
}

static void test_wrong_number_fails(void **state)
{
    (void)state;
    overwrite("ema", 0.75 + 2e-12);
    expect(5, 1);
}

static void test_nan_fails(void **state)
{
    (void)state;
    overwrite("weight_decay", NAN);
    expect(5, 1);
}

static void test_missing_dataset_fails(void **state)
{
    (void)state;
    hid_t file;
    const hid_t group = open_group(&file);
    assert_true(H5Ldelete(group, "lr", H5P_DEFAULT) >= 0);
    close_group(group, file);
    expect(5, 1);
}

static void test_missing_attribute_fails(void **state)
{
    (void)state;
    hid_t file;
    const hid_t group = open_group(&file);
    assert_true(H5Adelete(group, "total_steps") >= 0);
    close_group(group, file);
    expect(5, 1);
}

static void test_unknown_content_is_an_error(void **state)
{
    (void)state;
    hid_t file;
    const hid_t group = open_group(&file);
    assert_true(H5Ldelete(file, "flat", H5P_DEFAULT) >= 0);
    close_group(group, file);
    int passed = 0, failed = 0;
    assert_int_equal(vj_parity_run(path, NULL, &passed, &failed), VJ_ERR_FORMAT);
    assert_true(vj_parity_run("no/such/file.h5", NULL, &passed, &failed) != VJ_OK);
    assert_int_equal(passed + failed, 0);
}

static void put_text(hid_t file, const char *name, const char *text)
{
    const hid_t space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_C_S1);
    assert_true(H5Tset_size(type, H5T_VARIABLE) >= 0);
    const hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(attribute, type, &text) >= 0);
    H5Aclose(attribute);
    H5Tclose(type);
    H5Sclose(space);
}

/* The contents tell schedules, but the attribute decides. */
static void test_kind_decides(void **state)
{
    (void)state;
    hid_t file;
    hid_t group = open_group(&file);
    put_text(file, "kind", "schedules");
    close_group(group, file);
    expect(6, 0);

    group = open_group(&file);
    assert_true(H5Adelete(file, "kind") >= 0);
    put_text(file, "kind", "roi_align");
    close_group(group, file);
    int passed = 0, failed = 0;
    assert_int_equal(vj_parity_run(path, NULL, &passed, &failed), VJ_ERR_FORMAT);
    assert_int_equal(passed + failed, 0);
}

/* Run on a damaged file and return what was printed. */
static const char *printed(void)
{
    static char text[4096];
    char log[sizeof path + 8];
    snprintf(log, sizeof log, "%s.txt", path);
    fflush(stdout);
    const int saved = dup(STDOUT_FILENO);
    assert_non_null(freopen(log, "w", stdout));
    int passed = 0, failed = 0;
    assert_int_equal(vj_parity_run(path, NULL, &passed, &failed), VJ_OK);
    fflush(stdout);
    assert_true(dup2(saved, STDOUT_FILENO) >= 0);
    close(saved);
    FILE *file = fopen(log, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    unlink(log);
    return text;
}

static void test_message_tells_what_was_found(void **state)
{
    (void)state;
    overwrite("lr", NAN);
    hid_t file;
    const hid_t group = open_group(&file);
    assert_true(H5Ldelete(group, "ema", H5P_DEFAULT) >= 0);
    assert_true(H5Ldelete(group, "weight_decay", H5P_DEFAULT) >= 0);
    const hsize_t count = 2;
    const hid_t space = H5Screate_simple(1, &count, NULL);
    const hid_t dataset =
        H5Dcreate2(group, "weight_decay", H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dclose(dataset);
    H5Sclose(space);
    close_group(group, file);
    const char *text = printed();
    assert_non_null(strstr(text, "flat/lr "));
    assert_non_null(strstr(text, "found nan at value 4, expected finite numbers, in "));
    assert_non_null(strstr(text, "found nothing of this name, expected a dataset of numbers, in "));
    assert_non_null(strstr(text, "found [2], expected 5 values, in "));
    assert_non_null(strstr(text, path));
}

#define FRESH(test) cmocka_unit_test_setup_teardown(test, write_fixture, remove_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(test_right_numbers_pass),
        FRESH(test_wrong_number_fails),
        FRESH(test_nan_fails),
        FRESH(test_missing_dataset_fails),
        FRESH(test_missing_attribute_fails),
        FRESH(test_unknown_content_is_an_error),
        FRESH(test_kind_decides),
        FRESH(test_message_tells_what_was_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
