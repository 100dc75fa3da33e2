/* Tests numbers from text, and sorted numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/number.h"
#include "base/sort.h"

static void whole_numbers(void **state)
{
    static const char *const wrong[] = {"", " 1", "1 ", "1x", "x", "1.0", "1e2", "0", "101", "99999999999999999999"};
    int64_t value = 0;
    (void)state;
    assert_true(vj_parse_whole("100", 1, 100, &value) && value == 100);
    assert_true(vj_parse_whole("-9223372036854775808", INT64_MIN, 0, &value) && value == INT64_MIN);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        value = 7;
        if (vj_parse_whole(wrong[i], 1, 100, &value) || value != 7) fail_msg("'%s' was taken", wrong[i]);
    }
}

static void real_numbers(void **state)
{
    static const char *const wrong[] = {"", " 1", "1 ", "1x", "nan", "inf", "1e999", "1,5"};
    double value;
    (void)state;
    assert_true(vj_parse_real("-2.5e-1", &value) && value == -0.25);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        value = 7.0;
        if (vj_parse_real(wrong[i], &value) || value != 7.0) fail_msg("'%s' was taken", wrong[i]);
    }
}

static void lists(void **state)
{
    static const char *const wrong[] = {"", ",", "1,", ",1", "1,,2", "1;2", "1,x", "0", "1,9", "1,2,3,4"};
    int64_t value[3];
    (void)state;
    assert_int_equal(vj_parse_list("5", 1, 8, value, 3), 1);
    assert_int_equal(vj_parse_list("1,2,8", 1, 8, value, 3), 3);
    assert_true(value[0] == 1 && value[1] == 2 && value[2] == 8);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (vj_parse_list(wrong[i], 1, 8, value, 3) != -1) fail_msg("'%s' was taken", wrong[i]);
}

static void options(void **state)
{
    char message[512];
    int64_t count = 3;
    double rate = 0.5;
    (void)state;
    vj_status_divert(message, sizeof message);
    assert_int_equal(vj_option_number("--count", NULL, 1, 9, &count), VJ_OK);
    assert_int_equal(vj_option_positive("--rate", NULL, &rate), VJ_OK);
    assert_true(count == 3 && rate == 0.5);
    assert_int_equal(vj_option_positive("--rate", "0", &rate), VJ_ERR_USAGE);
    assert_non_null(strstr(message, "--rate 0: expected a number above 0"));
    message[0] = '\0';
    assert_int_equal(vj_option_number("--count", "10", 1, 9, &count), VJ_ERR_USAGE);
    assert_non_null(strstr(message, "--count 10: expected a whole number from 1 to 9"));
    vj_status_divert(NULL, 0);
}

static void sorted(void **state)
{
    double real[] = {3.0, -1.0, 2.0, 0.5};
    int64_t whole[] = {9, INT64_MIN, 4, INT64_MAX, 4};
    (void)state;
    vj_sort_doubles(real, 4);
    assert_true(real[0] == -1.0 && real[1] == 0.5 && real[2] == 2.0 && real[3] == 3.0);
    assert_true(vj_sorted_median(real, 4) == 1.25 && vj_sorted_median(real, 3) == 0.5);
    vj_sort_integers(whole, 5);
    assert_true(whole[0] == INT64_MIN && whole[1] == 4 && whole[2] == 4 && whole[3] == 9 && whole[4] == INT64_MAX);
    assert_int_equal(vj_sorted_find(whole, 5, 9), 3);
    assert_int_equal(vj_sorted_find(whole, 5, 5), -1);
    vj_sort_integers(NULL, 0);
    assert_int_equal(vj_sorted_find(NULL, 0, 5), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole_numbers), cmocka_unit_test(real_numbers),
                                       cmocka_unit_test(lists), cmocka_unit_test(options), cmocka_unit_test(sorted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
