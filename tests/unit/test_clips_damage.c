/* Tests that every kind of damage to a store is refused or found, also in forged files. */
#include "../clips_fixture.h"

#include <fcntl.h>
#include <hdf5.h>
#include <sys/stat.h>

#include "clips/format.h"

/* ------------------------------------------------------------------------------------------------ damage */

/* Return the byte offset of the first chunk in a shard's file; it has data of a clip. */
static off_t first_chunk(const char *path)
{
    hsize_t at[5], bytes;
    unsigned filters;
    haddr_t where;
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT),
          dataset = H5Dopen2(file, "/clips/24x32/frames", H5P_DEFAULT);
    hid_t space = H5Dget_space(dataset);
    assert_true(H5Dget_chunk_info(dataset, space, 0, at, &filters, &where, &bytes) >= 0);
    H5Sclose(space);
    H5Dclose(dataset);
    H5Fclose(file);
    return (off_t)where;
}

static void flip_byte(const char *path, off_t at)
{
    unsigned char byte;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    assert_int_equal(close(fd), 0);
}

static void test_flipped_byte(void **state)
{
    const fixture *f = *state;
    char path[VJ_PATH];
    int64_t damaged = -1;
    assert_int_equal(vj_clips_verify(f->store, &damaged), VJ_OK);
    assert_int_equal(damaged, 0);
    join(path, f->store, "shard-00000.h5");
    flip_byte(path, first_chunk(path) + 1234);
    assert_int_equal(vj_clips_verify(f->store, &damaged), VJ_OK);
    assert_int_equal(damaged, 1);

    static uint8_t frames[STORE_LARGEST];
    vj_clips *clips;
    assert_int_equal(open_store(&clips, f->store), VJ_OK);
    int bad = 0;
    for (int64_t i = 0; i < CLIPS; i++) {
        vj_status status = read_clip(clips, i, frames);
        assert_true(status == VJ_OK || status == VJ_ERR_FORMAT);
        bad += status != VJ_OK;
    }
    assert_int_equal(bad, 1);
    vj_clips_close(clips);
}

static void test_truncated_shard(void **state)
{
    const fixture *f = *state;
    char path[VJ_PATH];
    struct stat whole;
    vj_clips *clips;
    join(path, f->store, "shard-00002.h5");
    assert_int_equal(stat(path, &whole), 0);
    assert_int_equal(truncate(path, whole.st_size - 1), 0);
    assert_int_equal(open_store(&clips, f->store), VJ_ERR_FORMAT);
    assert_null(clips);
    assert_int_equal(truncate(path, 100), 0);
    assert_int_equal(open_store(&clips, f->store), VJ_ERR_FORMAT);
}

/* Check that reading reports a file that was cut while it was open. */
static void test_truncated_later(void **state)
{
    const fixture *f = *state;
    static uint8_t frames[STORE_LARGEST];
    char path[VJ_PATH];
    vj_clips *clips;
    assert_int_equal(open_store(&clips, f->store), VJ_OK);
    join(path, f->store, "shard-00000.h5");
    assert_int_equal(truncate(path, first_chunk(path) + 10), 0);
    int bad = 0;
    for (int64_t i = 0; i < CLIPS; i++) bad += read_clip(clips, i, frames) != VJ_OK;
    assert_int_equal(bad, STORE_SHARD_CLIPS);
    vj_clips_close(clips);
}

static void test_missing(void **state)
{
    const fixture *f = *state;
    char path[VJ_PATH];
    vj_clips *clips;
    join(path, f->store, "shard-00001.h5");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(open_store(&clips, f->store), VJ_ERR_IO);
    assert_int_equal(open_store(&clips, "/nowhere/at.clips"), VJ_ERR_IO);
    assert_int_equal(open_store(&clips, f->folder), VJ_ERR_FORMAT); /* a folder, but no store */
}

static void test_foreign(void **state)
{
    const fixture *f = *state;
    char path[VJ_PATH], shard[VJ_PATH];
    vj_clips *clips;
    join(path, f->store, "index.h5");
    join(shard, f->store, "shard-00000.h5");
    assert_int_equal(unlink(path), 0);
    write_text(f->store, "index.h5");
    assert_int_equal(open_store(&clips, f->store), VJ_ERR_FORMAT);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT); /* an HDF5 file that is not ours */
    assert_true(file >= 0 && H5Fclose(file) >= 0);
    assert_int_equal(open_store(&clips, f->store), VJ_ERR_FORMAT);
}

/* Change one attribute of a file of the store. */
static void set_attribute(const char *path, const char *name, int value)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(file >= 0);
    hid_t a = H5Aopen(file, name, H5P_DEFAULT);
    assert_true(a >= 0 && H5Awrite(a, H5T_NATIVE_INT, &value) >= 0);
    H5Aclose(a);
    assert_true(H5Fclose(file) >= 0);
}

static void test_header(void **state)
{
    const fixture *f = *state;
    char path[VJ_PATH];
    vj_clips *clips;
    join(path, f->store, "index.h5");
    for (int version = 1; version <= 3; version++) {
        set_attribute(path, "version", version);
        assert_int_equal(open_store(&clips, f->store), version == 2 ? VJ_OK : VJ_ERR_FORMAT);
        vj_clips_close(clips);
    }
    set_attribute(path, "version", 2);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(file >= 0 && H5Adelete(file, "complete") >= 0 && H5Fclose(file) >= 0);
    assert_int_equal(open_store(&clips, f->store), VJ_ERR_FORMAT);
}

/* Check that the fingerprint shows a changed label in the index. */
static void test_changed_label(void **state)
{
    const fixture *f = *state;
    char path[VJ_PATH];
    int32_t labels[CLIPS * STORE_LABELS];
    join(path, f->store, "index.h5");
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), d = H5Dopen2(file, "/clips/label", H5P_DEFAULT);
    assert_true(H5Dread(d, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, labels) >= 0);
    labels[7]++;
    assert_true(H5Dwrite(d, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, labels) >= 0);
    H5Dclose(d);
    H5Fclose(file);
    vj_clips *clips;
    assert_int_equal(open_store(&clips, f->store), VJ_ERR_FORMAT);
}

/* ------------------------------------------------------------------------------------------------ a forged index */

/* From now on write standard error to a file without a name. Returns the old descriptor. */
static int capture_errors(void)
{
    FILE *said = tmpfile();
    assert_non_null(said);
    const int before = dup(STDERR_FILENO);
    assert_true(before >= 0 && dup2(fileno(said), STDERR_FILENO) >= 0);
    fclose(said); /* the duplicate of its descriptor stays open */
    return before;
}

static void captured_errors(int before, char *text, size_t bytes)
{
    const ssize_t got = pread(STDERR_FILENO, text, bytes - 1, 0);
    assert_true(got >= 0 && dup2(before, STDERR_FILENO) >= 0 && close(before) == 0);
    text[got] = '\0';
}

static void get_column(hid_t file, const char *name, hid_t type, void *values)
{
    hid_t d = H5Dopen2(file, name, H5P_DEFAULT);
    assert_true(d >= 0 && H5Dread(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(d);
}

/* Set the fingerprint to the one of the changed columns, so that only the checks of the columns can find the change. */
static void forge_fingerprint(hid_t file)
{
    uint64_t xxh3[CLIPS];
    int32_t height[CLIPS], width[CLIPS], dataset[CLIPS], labels[CLIPS * STORE_LABELS];
    get_column(file, "/clips/xxh3", H5T_NATIVE_UINT64, xxh3);
    get_column(file, "/clips/height", H5T_NATIVE_INT32, height);
    get_column(file, "/clips/width", H5T_NATIVE_INT32, width);
    get_column(file, "/clips/dataset", H5T_NATIVE_INT32, dataset);
    get_column(file, "/clips/label", H5T_NATIVE_INT32, labels);
    XXH3_state_t *state = XXH3_createState();
    XXH3_64bits_reset(state);
    for (int i = 0; i < CLIPS; i++)
        vj_clips_fingerprint_add(state, xxh3[i], height[i], width[i], dataset[i], labels + i * STORE_LABELS,
                                 STORE_LABELS);
    const uint64_t fingerprint = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    hid_t a = H5Aopen(file, "fingerprint", H5P_DEFAULT);
    assert_true(a >= 0 && H5Awrite(a, H5T_NATIVE_UINT64, &fingerprint) >= 0);
    H5Aclose(a);
}

/* Set element `at` of a column, and return its previous value. */
static int64_t set_element(const char *store, const char *name, hsize_t at, int64_t value)
{
    char path[VJ_PATH];
    int64_t before;
    const hsize_t one = 1;
    join(path, store, "index.h5");
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), d = H5Dopen2(file, name, H5P_DEFAULT);
    hid_t space = H5Dget_space(d), memory = H5Screate_simple(1, &one, NULL);
    assert_true(H5Sselect_hyperslab(space, H5S_SELECT_SET, &at, NULL, &one, NULL) >= 0);
    assert_true(H5Dread(d, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, &before) >= 0);
    assert_true(H5Dwrite(d, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, &value) >= 0);
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(d);
    forge_fingerprint(file);
    H5Fclose(file);
    return before;
}

/* Check that every number of the index is compared with its permitted range. */
static void test_forged_numbers(void **state)
{
    const fixture *f = *state;
    const int64_t clip = vj_frames_bytes(STORE_FRAMES, 24, 32);
    struct stat info;
    char path[VJ_PATH];
    vj_clips *clips;
    join(path, f->store, "shard-00001.h5"); /* the shard of clip 7 */
    assert_int_equal(stat(path, &info), 0);
    const struct {
        const char *column;
        int64_t value;
    } bad[] = {
        {"/clips/shard", -1},
        {"/clips/shard", 5},
        {"/clips/shard", 0}, /* after clip 6, which is in shard 1 */
        {"/clips/shard", 2}, /* before clip 8, likewise */
        {"/clips/shard", INT32_MAX},
        {"/clips/height", 0},
        {"/clips/height", -24},
        {"/clips/height", 65537},
        {"/clips/height", 65536}, /* permitted, but does not fit the number of bytes */
        {"/clips/height", 31},
        {"/clips/width", 0},
        {"/clips/width", INT32_MIN},
        {"/clips/width", 65537},
        {"/clips/width", 48},
        {"/clips/dataset", -1},
        {"/clips/dataset", 2},
        {"/clips/dataset", 256}, /* this is 0 in 8 bits */
        {"/clips/bytes", 0},
        {"/clips/bytes", -1},
        {"/clips/bytes", clip - 1},
        {"/clips/bytes", clip + 1},
        {"/clips/bytes", clip + (INT64_C(1) << 32)}, /* this is `clip` in 32 bits */
        {"/clips/bytes", INT64_MAX},
        {"/clips/offset", -1},
        {"/clips/offset", INT64_MIN},
        {"/clips/offset", info.st_size - clip + 1},
        {"/clips/offset", INT64_MAX - clip + 1},
        {"/clips/offset", INT64_MAX},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const int64_t before = set_element(f->store, bad[i].column, 7, bad[i].value);
        assert_int_equal(open_store(&clips, f->store), VJ_ERR_FORMAT);
        assert_null(clips);
        assert_int_equal(set_element(f->store, bad[i].column, 7, before), bad[i].value);
    }
    static const int64_t sizes[] = {-1, 0, 1000, INT64_MAX}; /* wrong sizes of shard 1 */
    for (int i = 0; i < 4; i++) {
        const int64_t before = set_element(f->store, "/shards/bytes", 1, sizes[i]);
        assert_int_equal(open_store(&clips, f->store), VJ_ERR_FORMAT);
        set_element(f->store, "/shards/bytes", 1, before);
    }
    /* An address inside the file is permitted, but the bytes there are not the clip. */
    const int64_t before = set_element(f->store, "/clips/offset", 7, info.st_size - clip);
    static uint8_t frames[STORE_LARGEST];
    int64_t damaged;
    assert_int_equal(open_store(&clips, f->store), VJ_OK);
    assert_int_equal(read_clip(clips, 7, frames), VJ_ERR_FORMAT);
    vj_clips_close(clips);
    assert_int_equal(vj_clips_verify(f->store, &damaged), VJ_OK);
    assert_int_equal(damaged, 2); /* a row that the shard does not have, and a checksum */
    set_element(f->store, "/clips/offset", 7, before);
    assert_int_equal(vj_clips_verify(f->store, &damaged), VJ_OK); /* every change was undone */
    assert_int_equal(damaged, 0);
}

typedef enum { REMOVED, SHORTER, WIDER, WIDE_INTEGERS, TEXT } forgery;

/* Put another dataset in the place of a column. */
static void replace_column(const char *store, const char *name, forgery how)
{
    char path[VJ_PATH];
    int64_t values[2 * CLIPS];
    const hsize_t dims[2] = {how == SHORTER ? CLIPS - 1 : CLIPS, 2};
    join(path, store, "index.h5");
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    for (int i = 0; i < 2 * CLIPS; i++) values[i] = 24 + (how == WIDE_INTEGERS) * (INT64_C(1) << 32);
    assert_true(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
    if (how != REMOVED) {
        hid_t text = H5Tcopy(H5T_C_S1), type = how == TEXT ? text : H5T_NATIVE_INT64;
        hid_t space = H5Screate_simple(how == WIDER ? 2 : 1, dims, NULL);
        hid_t d = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        assert_true(d >= 0 && H5Dwrite(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
        H5Dclose(d);
        H5Sclose(space);
        H5Tclose(text);
    }
    H5Fclose(file);
}

static void test_forged_columns(void **state)
{
    const fixture *f = *state;
    static const char *const names[] = {"/clips/shard", "/clips/height", "/clips/width", "/clips/dataset",
                                        "/clips/bytes", "/clips/offset", "/clips/xxh3",  "/clips/label"};
    char index[VJ_PATH], copy[VJ_PATH];
    vj_clips *clips;
    join(index, f->store, "index.h5");
    join(copy, f->folder, "index.h5");
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++)
        for (int how = REMOVED; how <= TEXT; how++) {
            char command[4 * VJ_PATH];
            snprintf(command, sizeof command, "cp '%s' '%s'", index, copy);
            assert_int_equal(system(command), 0);
            replace_column(f->store, names[n], (forgery)how);
            assert_int_equal(open_store(&clips, f->store), VJ_ERR_FORMAT);
            assert_int_equal(rename(copy, index), 0);
        }
    assert_int_equal(open_store(&clips, f->store), VJ_OK);
    vj_clips_close(clips);
}

static void set_text(const char *path, const char *name, const char *text)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(file >= 0 && H5Adelete(file, name) >= 0);
    assert_int_equal(vj_h5_put_text(file, name, text), VJ_OK);
    assert_true(H5Fclose(file) >= 0);
}

static void test_forged_attributes(void **state)
{
    const fixture *f = *state;
    static const int frames[] = {0, -4, 70000, 8};
    char path[VJ_PATH];
    vj_clips *clips;
    join(path, f->store, "index.h5");
    for (int i = 0; i < 4; i++) {
        set_attribute(path, "frames", frames[i]);
        assert_int_equal(open_store(&clips, f->store), VJ_ERR_FORMAT);
    }
    set_attribute(path, "frames", STORE_FRAMES);
    set_text(path, "codec", "png");
    assert_int_equal(open_store(&clips, f->store), VJ_ERR_FORMAT);
    set_text(path, "codec", "jpeg"); /* quality 0 does not exist */
    assert_int_equal(open_store(&clips, f->store), VJ_ERR_FORMAT);
    set_attribute(path, "jpeg_quality", 95);
    set_attribute(path, "jpeg_chroma", 420);
    static uint8_t record[STORE_LARGEST];
    assert_int_equal(open_store(&clips, f->store),
                     VJ_OK); /* this is permitted; that the records are no JPEG is found when they are read */
    assert_int_equal(read_clip(clips, 0, record), VJ_ERR_FORMAT);
    vj_clips_close(clips);
    set_text(path, "codec", "raw");
    set_text(path, "format", "vjepa features");
    assert_int_equal(open_store(&clips, f->store), VJ_ERR_FORMAT);
    set_text(path, "format", "vjepa clips");
    set_text(path, "label_names", "appearance");
    assert_int_equal(open_store(&clips, f->store), VJ_ERR_FORMAT);
}

/* Check stores of version 1, which had texts of variable length and no table of the shapes of clips. */
static void test_version_1(void **state)
{
    const fixture *f = *state;
    char path[VJ_PATH];
    const char *format = "vjepa clips";
    const int32_t one = 1;
    join(path, f->store, "index.h5");
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), text = H5Tcopy(H5T_C_S1);
    hid_t scalar = H5Screate(H5S_SCALAR);
    H5Tset_size(text, H5T_VARIABLE);
    hid_t a = H5Acreate2(file, "format", text, scalar, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(a, text, &format) >= 0);
    H5Aclose(a);
    static const char *const names[] = {"version", "complete"};
    for (int i = 0; i < 2; i++) {
        a = H5Acreate2(file, names[i], H5T_NATIVE_INT32, scalar, H5P_DEFAULT, H5P_DEFAULT);
        assert_true(H5Awrite(a, H5T_NATIVE_INT32, &one) >= 0);
        H5Aclose(a);
    }
    hid_t group = H5Gcreate2(file, "clips", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Gclose(group);
    H5Sclose(scalar);
    H5Tclose(text);
    H5Fclose(file);
    vj_clips *clips;
    char said[4096] = "";
    const int errors = capture_errors();
    assert_int_equal(open_store(&clips, f->store), VJ_ERR_FORMAT);
    captured_errors(errors, said, sizeof said);
    assert_non_null(strstr(said, "is of version 1 of the clip store, this program reads version 2: pack again"));
}

/* ------------------------------------------------------------------------------------------------ a forged shard */

/* Check that the tables of a shard, from which the index is made, are checked for consistency. */
static void test_damaged_tables(void **state)
{
    const fixture *f = *state;
    const vj_clips_header layout = store_layout(raw);
    static const struct {
        const char *column;
        int at, value;
    } bad[] = {
        {"/clips/source", 2, 99},     {"/clips/window", 1, 0},   {"/clips/dataset", 3, 1},  {"/clips/height", 0, 0},
        {"/clips/width", 5, 1000000}, {"/clips/offset", 4, -1},  {"/clips/bytes", 1, 17},   {"/clips/row", 2, -1},
        {"/files/clips", 0, 3},       {"/files/clips", 2, 1},    {"/files/clips", 1, -2},   {"/files/source", 1, 77},
        {"/files/dataset", 0, 9},     {"/files/verdict", 0, 64}, {"/files/verdict", 3, -1},
    };
    char path[VJ_PATH], copy[VJ_PATH], command[4 * VJ_PATH];
    join(path, f->store, "shard-00001.h5");
    join(copy, f->folder, "copy.h5");
    snprintf(command, sizeof command, "cp '%s' '%s'", path, copy);
    assert_int_equal(system(command), 0);
    vj_shard_tables tables;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int32_t values[64];
        hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), d = H5Dopen2(file, bad[i].column, H5P_DEFAULT);
        assert_true(H5Dread(d, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
        const int32_t before = values[bad[i].at];
        values[bad[i].at] = bad[i].value;
        assert_true(H5Dwrite(d, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
        H5Fflush(file, H5F_SCOPE_GLOBAL);
        assert_int_equal(vj_shard_tables_read(&tables, f->store, 1, &layout), VJ_ERR_FORMAT);
        vj_shard_tables_release(&tables);
        values[bad[i].at] = before;
        assert_true(H5Dwrite(d, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
        H5Dclose(d);
        H5Fclose(file);
    }
    assert_int_equal(vj_shard_tables_read(&tables, f->store, 1, &layout), VJ_OK); /* every change was undone */
    vj_shard_tables_release(&tables);
    char other[VJ_PATH];
    join(other, f->store, "shard-00000.h5");
    assert_int_equal(rename(copy, other), 0); /* a shard under the number of another */
    assert_int_equal(vj_shard_tables_read(&tables, f->store, 0, &layout), VJ_ERR_FORMAT);
    vj_shard_tables_release(&tables);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_store, remove_store)
    const struct CMUnitTest tests[] = {
        TEST(test_flipped_byte),      TEST(test_truncated_shard), TEST(test_truncated_later),
        TEST(test_missing),           TEST(test_foreign),         TEST(test_header),
        TEST(test_changed_label),     TEST(test_forged_numbers),  TEST(test_forged_columns),
        TEST(test_forged_attributes), TEST(test_version_1),       TEST(test_damaged_tables),
    };
    int failed = cmocka_run_group_tests_name("clips_damage", tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
