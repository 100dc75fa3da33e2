/*
 * Tests the limited cache of open files: threads that read at the same time get the right file, no more descriptors
 * stay open than allowed, and one that failed is not given to another thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <dirent.h>
#include <pthread.h>
#include <sys/resource.h>

#include "../clips_store.h"
#include "clips/open_files.h"
#include "folder.h"

enum { FILES = 40, THREADS = 6, ROUNDS = 3000 };

static void name_file(char path[VJ_PATH], int64_t number)
{
    snprintf(path, VJ_PATH, "%.200s/file-%lld", folder, (long long)number);
}

static void write_file(int64_t number, int64_t content)
{
    char path[VJ_PATH];
    name_file(path, number);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(&content, sizeof content, 1, f), 1);
    assert_int_equal(fclose(f), 0);
}

static int64_t content_of(const vj_open_file *file)
{
    int64_t content = -1;
    return pread(file->fd, &content, sizeof content, 0) == sizeof content ? content : -1;
}

/* Return the number of descriptors of this process whose path contains the text. */
static int count_open(const char *text)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    for (const struct dirent *item; (item = readdir(dir)) != NULL;) {
        char link[VJ_PATH] = "", name[300];
        snprintf(name, sizeof name, "/proc/self/fd/%.255s", item->d_name);
        count += readlink(name, link, sizeof link - 1) > 0 && strstr(link, text) != NULL;
    }
    closedir(dir);
    return count;
}

typedef struct {
    vj_open_files *files;
    uint64_t seed;
    int wrong;
} reader;

static void *read_many(void *argument)
{
    reader *r = argument;
    for (int i = 0; i < ROUNDS; i++) {
        char path[VJ_PATH];
        vj_open_file file;
        r->seed = r->seed * 6364136223846793005U + 1442695040888963407U;
        const int64_t number = (int64_t)(r->seed >> 33) % FILES;
        name_file(path, number);
        if (!vj_open_files_take(r->files, number, path, &file)) {
            r->wrong++;
            continue;
        }
        r->wrong += content_of(&file) != number;
        vj_open_files_give(r->files, &file, i % 50 == 0);
    }
    return NULL;
}

/* Check fewer descriptors than threads, as many, and more. */
static void test_threads(void **state)
{
    (void)state;
    for (int64_t i = 0; i < FILES; i++) write_file(i, i);
    for (int limit = 1; limit <= 16; limit *= 4) {
        pthread_t thread[THREADS];
        reader r[THREADS] = {0};
        vj_open_files *files;
        assert_int_equal(vj_open_files_create(&files, limit), VJ_OK);
        for (int t = 0; t < THREADS; t++) {
            r[t] = (reader){.files = files, .seed = (uint64_t)(17 + t)};
            assert_int_equal(pthread_create(&thread[t], NULL, read_many, &r[t]), 0);
        }
        for (int t = 0; t < THREADS; t++) {
            assert_int_equal(pthread_join(thread[t], NULL), 0);
            assert_int_equal(r[t].wrong, 0);
        }
        assert_in_range(count_open("/file-"), 1, limit);
        vj_open_files_destroy(files);
        assert_int_equal(count_open("/file-"), 0);
    }
}

/* Check that the file that was not used for the longest time is closed, but not one that is in use. */
static void test_eviction(void **state)
{
    (void)state;
    vj_open_files *files;
    vj_open_file held, other, again;
    char path[VJ_PATH];
    for (int64_t i = 0; i < FILES; i++) write_file(i, i);
    assert_int_equal(vj_open_files_create(&files, 2), VJ_OK);
    name_file(path, 0);
    assert_true(vj_open_files_take(files, 0, path, &held));
    for (int64_t i = 1; i < 10; i++) {
        name_file(path, i);
        assert_true(vj_open_files_take(files, i, path, &other));
        assert_int_equal(content_of(&other), i);
        vj_open_files_give(files, &other, false);
        assert_int_equal(count_open("/file-"), 2);
    }
    assert_int_equal(content_of(&held), 0);
    assert_true(vj_open_files_take(files, 0, "not needed: it is open", &again));
    assert_int_equal(again.fd, held.fd);
    vj_open_files_give(files, &again, false);
    vj_open_files_give(files, &held, false);
    vj_open_files_destroy(files);
}

/* Check that after a failure the next user gets the file opened again, while others may go on using the old descriptor.
 */
static void test_failed(void **state)
{
    (void)state;
    vj_open_files *files;
    vj_open_file first, second, fresh;
    char path[VJ_PATH];
    write_file(3, 3);
    name_file(path, 3);
    assert_int_equal(vj_open_files_create(&files, 4), VJ_OK);
    assert_true(vj_open_files_take(files, 3, path, &first) && vj_open_files_take(files, 3, path, &second));
    assert_int_equal(unlink(path), 0);
    write_file(3, 33);
    vj_open_files_give(files, &first, true);
    assert_int_equal(content_of(&second), 3);
    assert_true(vj_open_files_take(files, 3, path, &fresh));
    assert_int_equal(content_of(&fresh), 33);
    vj_open_files_give(files, &second, false);
    assert_int_equal(content_of(&fresh), 33);
    vj_open_files_give(files, &fresh, false);
    assert_int_equal(count_open("/file-"), 1);
    assert_int_equal(unlink(path), 0);
    vj_open_files_destroy(files);
    assert_int_equal(vj_open_files_create(&files, 4), VJ_OK);
    assert_false(vj_open_files_take(files, 3, path, &first));
    vj_open_files_destroy(files);
}

/* Check that a store with more shards than this process may have open files can be read. */
static void test_store(void **state)
{
    (void)state;
    enum { CLIPS = 40 * STORE_SHARD_CLIPS };
    static uint8_t frames[STORE_LARGEST];
    struct rlimit before, few;
    char path[VJ_PATH];
    vj_clips *clips;
    join(path, folder, "many.clips");
    assert_int_equal(pack_store(path, CLIPS, MPI_COMM_SELF), VJ_OK);
    const vj_strings paths = one_path(path);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = (struct rlimit){.rlim_cur = 40, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(vj_clips_open(&clips, &paths, MPI_COMM_SELF), VJ_OK);
    assert_int_equal(vj_clips_shard_count(clips), 40);
    for (int64_t i = 0; i < CLIPS; i++) assert_int_equal(read_clip(clips, i * 7 % CLIPS, frames), VJ_OK);
    assert_in_range(count_open("/shard-"), 2, vj_open_files_limit());
    vj_clips_close(clips);
    assert_int_equal(count_open("/shard-"), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads), cmocka_unit_test(test_eviction),
                                       cmocka_unit_test(test_failed), cmocka_unit_test(test_store)};
    const int failed = cmocka_run_group_tests_name("open_files", tests, set_up_folder, tear_down_folder);
    MPI_Finalize();
    return failed;
}
