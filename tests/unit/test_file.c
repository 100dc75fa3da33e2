/* Tests that a file gets its final name only if it is complete and is the one that its writer wrote. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "folder.h"

static char path[64];

static void put(const char *name, const char *text)
{
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static const char *text_of(const char *name)
{
    static char text[64];
    FILE *f = fopen(name, "r");
    if (!f) return "(none)";
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

static int files(void)
{
    int count = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e; e = readdir(d)) count += e->d_name[0] != '.';
    closedir(d);
    return count;
}

static int begin(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "%s/table", folder);
    return 0;
}
static int clean(void **state)
{
    (void)state;
    char name[512];
    DIR *d = opendir(folder);
    for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
        snprintf(name, sizeof name, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.') unlink(name);
    }
    closedir(d);
    return 0;
}
static void whole_or_not_there(void **state)
{
    (void)state;
    vj_file a, b;
    assert_int_equal(vj_file_begin_text(&a, path), VJ_OK);
    assert_int_equal(vj_file_begin(&b, path), VJ_OK);
    assert_string_not_equal(a.part, b.part); /* two writers of one file use different temporary names */
    fputs("of a", a.stream);
    assert_true(vj_write_at(b.fd, "of b", 4, 0));
    assert_string_equal(text_of(path), "(none)");
    assert_int_equal(vj_file_commit(&a), VJ_OK);
    assert_string_equal(text_of(path), "of a");
    assert_int_equal(vj_file_commit(&b), VJ_OK);
    assert_string_equal(text_of(path), "of b");
    vj_file_rollback(&a); /* after a commit this does nothing */
    assert_int_equal(files(), 1);
    assert_int_equal(vj_file_begin_text(&a, path), VJ_OK);
    fputs("half", a.stream);
    vj_file_rollback(&a);
    assert_string_equal(text_of(path), "of b");
    assert_int_equal(files(), 1);
}

/* Check that if another process replaced the temporary file by its own this one is neither published nor removed. */
static void not_somebody_elses(void **state)
{
    (void)state;
    vj_file a;
    char part[VJ_FILE_PATH];
    assert_int_equal(vj_file_begin_text(&a, path), VJ_OK);
    fputs("mine", a.stream);
    strcpy(part, a.part);
    assert_int_equal(unlink(part), 0);
    put(part, "half of another's");
    assert_int_equal(vj_file_commit(&a), VJ_ERR_IO);
    assert_string_equal(text_of(path), "(none)");
    assert_string_equal(text_of(part), "half of another's");
}

static void a_full_disk(void **state)
{
    (void)state;
    vj_file a;
    assert_int_equal(vj_file_begin_text(&a, path), VJ_OK);
    const int full = open("/dev/full", O_WRONLY);
    assert_true(full >= 0 && dup2(full, fileno(a.stream)) >= 0);
    fputs("text", a.stream);
    assert_int_equal(vj_file_commit(&a), VJ_ERR_IO);
    close(full);
    assert_int_equal(files(), 0);
}

static void parts_of_killed_writers(void **state)
{
    (void)state;
    static const char *const names[] = {"table.part", "table.1234abcd.part", "table.x.part", "table2.part", "table"};
    char name[128];
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "%s/%s", folder, names[i]);
        put(name, "x");
    }
    vj_file_remove_parts(folder, "table");
    assert_int_equal(files(), 3);
    snprintf(name, sizeof name, "%s/table.x.part", folder);
    assert_string_equal(text_of(name), "x");
    vj_file a;
    snprintf(name, sizeof name, "%s/table.5678abcd.part", folder);
    put(name, "x");
    snprintf(name, sizeof name, "%s/table", folder);
    assert_int_equal(vj_file_begin_anew(&a, name), VJ_OK);
    assert_int_equal(files(), 4); /* the part is gone, and there is that of this writer */
    fputs("new", a.stream);
    assert_int_equal(vj_file_commit(&a), VJ_OK);
    assert_int_equal(files(), 3);
    assert_string_equal(text_of(name), "new");
}

static void to_the_end_of_a_file(void **state)
{
    (void)state;
    char bytes[8];
    put(path, "12345");
    const int fd = open(path, O_RDONLY);
    assert_int_equal(vj_read_at(fd, bytes, 8, 2), 3);
    assert_int_equal(vj_read_at(fd, bytes, 8, 9), 0);
    assert_false(vj_write_at(fd, "x", 1, 0));
    assert_int_equal(errno, EBADF);
    close(fd);
    assert_int_equal(vj_read_at(-1, bytes, 8, 0), -1);
    assert_int_equal(vj_folder_sync("/proc"), VJ_OK); /* a folder that cannot be flushed (EINVAL) is no error */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_or_not_there, begin, clean),
        cmocka_unit_test_setup_teardown(not_somebody_elses, begin, clean),
        cmocka_unit_test_setup_teardown(a_full_disk, begin, clean),
        cmocka_unit_test_setup_teardown(parts_of_killed_writers, begin, clean),
        cmocka_unit_test_setup_teardown(to_the_end_of_a_file, begin, clean),
    };
    return cmocka_run_group_tests(tests, set_up_folder, tear_down_empty_folder);
}
