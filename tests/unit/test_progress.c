/* Tests when lines about progress are due. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/progress.h"

static void after_20_seconds_and_every_minute(void **state)
{
    (void)state;
    vj_progress_line line = vj_progress_line_begin();
    static const struct {
        double after_s;
        bool due;
    } asked[] = {{0, false}, {19, false}, {21, true},   {22, false},  {80, false},
                 {82, true}, {83, false}, {1000, true}, {1001, false}};
    const double began_s = line.began_s;
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++)
        assert_int_equal(vj_progress_line_is_due(&line, began_s + asked[i].after_s), asked[i].due);
    assert_true(line.began_s == began_s);
    vj_progress_line_log(&line, "nothing is known yet", 0.0, began_s + 2000);
    assert_true(vj_progress_line_is_due(&line, began_s + 2000)); /* so no line was printed */
}

static void between_batches_after_5(void **state)
{
    (void)state;
    vj_progress_line line = vj_progress_line_begin();
    const double began_s = line.began_s;
    assert_false(vj_progress_line_is_due_in_batch(&line, 0.5, began_s + 6));
    assert_true(vj_progress_line_is_due_in_batch(&line, 0.0, began_s + 6));
    assert_false(vj_progress_line_is_due_in_batch(&line, 0.0, began_s + 10));
    assert_false(vj_progress_line_is_due_in_batch(&line, 0.5, began_s + 60));
    assert_true(vj_progress_line_is_due_in_batch(&line, 0.5, began_s + 67));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(after_20_seconds_and_every_minute),
                                       cmocka_unit_test(between_batches_after_5)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
