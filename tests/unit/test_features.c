/* Tests the feature store: round trips in f32, f16 and bf16, half-precision conversion, and refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <glob.h>
#include <hdf5.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "features/features.h"
#include "h5/half.h"
#include "parallel/parallel.h"

enum { CLIPS = 7, TOKENS = 5, WIDTH = 33, ROW = TOKENS * WIDTH };

typedef struct {
    char dir[64], path[96];
    vj_features_header layout;
    float values[CLIPS * ROW];
    int32_t labels[CLIPS * 2];
    int64_t clips[CLIPS];
} context;

static int setup(void **state)
{
    context *c = calloc(1, sizeof *c);
    strcpy(c->dir, "/tmp/vjepa_test_XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    snprintf(c->path, sizeof c->path, "%s/features.h5", c->dir);
    c->layout = (vj_features_header){.clips = CLIPS,
                                     .tokens = TOKENS,
                                     .width = WIDTH,
                                     .grid = {1, 2, 2},
                                     .label_count = 2,
                                     .label_names = {"appearance", "motion"},
                                     .store_fingerprint = 0xfedcba9876543210u,
                                     .encoder = "random published seed 3",
                                     .preprocessing = "none",
                                     .config = "embed:\n  dtype: f32\n"};
    for (int i = 0; i < CLIPS * ROW; i++) c->values[i] = sinf(0.37f * (float)i) * 3;
    for (int i = 0; i < CLIPS; i++) {
        c->labels[2 * i] = i % 3 - 1;
        c->labels[2 * i + 1] = 100 * i;
        c->clips[i] = 1000 - i;
    }
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    context *c = *state;
    unlink(c->path);
    rmdir(c->dir); /* if a test left a .part file this fails, and the folder stays for inspection */
    free(c);
    return 0;
}

static vj_status write_rows(context *c, int64_t rows)
{
    vj_features_writer *w;
    VJ_TRY(vj_features_create(&w, c->path, &c->layout, MPI_COMM_WORLD));
    vj_status status = VJ_OK;
    for (int64_t first = 0; first < rows && status == VJ_OK; first += 3) {
        int64_t count = first + 3 < rows ? 3 : rows - first;
        status = vj_features_write(w, first, count, c->values + first * ROW,
                                   c->layout.label_count ? c->labels + 2 * first : NULL, c->clips + first,
                                   (const uint64_t *)c->clips + first);
    }
    return vj_features_commit(w, status, 12.5);
}

static int part_exists(const context *c)
{
    char pattern[128];
    glob_t parts;
    snprintf(pattern, sizeof pattern, "%s/*.part", c->dir);
    int found = glob(pattern, 0, NULL, &parts) == 0;
    if (found) globfree(&parts);
    return found;
}

static void round_trip(void **state)
{
    context *c = *state;
    for (int type = VJ_FEATURES_F32; type <= VJ_FEATURES_BF16; type++) {
        vj_features *f;
        float row[ROW];
        c->layout.type = (vj_features_type)type;
        assert_int_equal(write_rows(c, CLIPS), VJ_OK);
        assert_false(part_exists(c));
        assert_int_equal(vj_features_open(&f, c->path, VJ_ALONE), VJ_OK);
        const vj_features_header *got = vj_features_describe(f);
        assert_true(got->clips == CLIPS && got->tokens == TOKENS && got->width == WIDTH && got->label_count == 2);
        assert_int_equal(got->type, type);
        assert_memory_equal(got->grid, c->layout.grid, sizeof got->grid);
        assert_string_equal(got->label_names[0], "appearance");
        assert_string_equal(got->label_names[1], "motion");
        assert_string_equal(got->encoder, c->layout.encoder);
        assert_string_equal(got->config, c->layout.config);
        assert_true(got->store_fingerprint == c->layout.store_fingerprint);
        assert_true(vj_features_effective_rank(f) == 12.5);
        for (int64_t i = 0; i < CLIPS; i++) {
            assert_int_equal(vj_features_read_rows(f, i, 1, row), VJ_OK);
            for (int j = 0; j < ROW; j++) {
                float want = c->values[i * ROW + j];
                if (type == VJ_FEATURES_F16) want = vj_half_to_float(vj_half_from_float(want));
                if (type == VJ_FEATURES_BF16) want = vj_bf16_to_float(vj_bf16_from_float(want));
                if (row[j] != want) fail_msg("row %d, %d: %g, expected %g", (int)i, j, (double)row[j], (double)want);
            }
        }
        for (int64_t first = 0; first < CLIPS; first++) /* all slabs of rows */
            for (int64_t count = 1; first + count <= CLIPS; count++) {
                float rows[CLIPS * ROW];
                assert_int_equal(vj_features_read_rows(f, first, count, rows), VJ_OK);
                for (int64_t i = 0; i < count; i++) {
                    assert_int_equal(vj_features_read_rows(f, first + i, 1, row), VJ_OK);
                    assert_memory_equal(rows + i * ROW, row, sizeof row);
                }
            }
        assert_memory_equal(vj_features_labels(f), c->labels, 2 * CLIPS * sizeof(int32_t));
        assert_memory_equal(vj_features_clips(f), c->clips, CLIPS * sizeof(int64_t));
        assert_memory_equal(vj_features_clip_sums(f), c->clips, CLIPS * sizeof(int64_t));
        vj_features_close(f);
    }
}

/* Check a grid that is not known, and one with more cells than there are tokens. */
static void grids(void **state)
{
    context *c = *state;
    vj_features *f;
    memset(c->layout.grid, 0, sizeof c->layout.grid);
    assert_int_equal(write_rows(c, CLIPS), VJ_OK);
    assert_int_equal(vj_features_open(&f, c->path, VJ_ALONE), VJ_OK);
    assert_memory_equal(vj_features_describe(f)->grid, c->layout.grid, sizeof c->layout.grid);
    vj_features_close(f);
    static const uint64_t bad[][3] = {{2, 3, 1}, {1, UINT64_MAX, 2}, {5, 0, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        unlink(c->path);
        memcpy(c->layout.grid, bad[i], sizeof bad[i]);
        assert_int_equal(write_rows(c, CLIPS), VJ_OK);
        assert_int_equal(vj_features_open(&f, c->path, VJ_ALONE), VJ_ERR_FORMAT);
    }
}

static void without_labels(void **state)
{
    context *c = *state;
    vj_features *f;
    float row[ROW];
    c->layout.label_count = 0;
    assert_int_equal(write_rows(c, CLIPS), VJ_OK);
    assert_int_equal(vj_features_open(&f, c->path, VJ_ALONE), VJ_OK);
    assert_int_equal(vj_features_describe(f)->label_count, 0);
    assert_int_equal(vj_features_read_rows(f, 6, 1, row), VJ_OK);
    assert_memory_equal(row, c->values + 6 * ROW, sizeof row);
    vj_features_close(f);
}

/* Check the stored f2 and bf16 numbers by HDF5's conversion, which reads the format independently. */
static void hdf5_reads_the_halves(void **state)
{
    context *c = *state;
    static float all[CLIPS * ROW];
    for (vj_features_type type = VJ_FEATURES_F16; type <= VJ_FEATURES_BF16; type++) {
        c->layout.type = type;
        assert_int_equal(write_rows(c, CLIPS), VJ_OK);
        hid_t file = H5Fopen(c->path, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(file, "features", H5P_DEFAULT);
        assert_true(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, all) >= 0);
        H5Dclose(set);
        H5Fclose(file);
        for (int i = 0; i < CLIPS * ROW; i++)
            assert_true(all[i] == (type == VJ_FEATURES_F16 ? vj_half_to_float(vj_half_from_float(c->values[i]))
                                                           : vj_bf16_to_float(vj_bf16_from_float(c->values[i]))));
    }
}

/* Check all bf16 numbers against the definition, and that numbers between two are rounded to the nearer one, or from
 * the middle to the even one. */
static void bf16(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000u; h++) {
        const int exponent = (int)(h >> 7 & 255), fraction = (int)(h & 127);
        const float f = vj_bf16_to_float((uint16_t)h), sign = h & 0x8000u ? -1.0f : 1.0f;
        if (exponent == 255 && fraction != 0) {
            assert_true(isnan(f) && isnan(vj_bf16_to_float(vj_bf16_from_float(f))));
            continue;
        }
        const float want = exponent == 255 ? INFINITY
                           : exponent == 0 ? ldexpf((float)fraction, -133)
                                           : ldexpf((float)(128 + fraction), exponent - 134);
        assert_true(f == sign * want && signbit(f) == signbit(sign));
        assert_int_equal(vj_bf16_from_float(f), h);
    }
    for (uint16_t h = 0x80; h < 0x7f7fu; h++) {
        const float a = vj_bf16_to_float(h), b = vj_bf16_to_float(h + 1), middle = a + 0.5f * (b - a);
        assert_int_equal(vj_bf16_from_float(middle), h % 2 == 0 ? h : h + 1);
        assert_int_equal(vj_bf16_from_float(nextafterf(middle, a)), h);
        assert_int_equal(vj_bf16_from_float(nextafterf(middle, b)), h + 1);
    }
}

static void halves(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000u; h++) { /* all half-precision numbers, against the definition */
        int exponent = (int)(h >> 10 & 31), fraction = (int)(h & 1023);
        float f = vj_half_to_float((uint16_t)h), sign = h & 0x8000u ? -1.0f : 1.0f;
        if (exponent == 31 && fraction != 0) {
            assert_true(isnan(f));
            assert_true(isnan(vj_half_to_float(vj_half_from_float(f))));
            continue;
        }
        float want = exponent == 31  ? INFINITY
                     : exponent == 0 ? ldexpf((float)fraction, -24)
                                     : ldexpf((float)(1024 + fraction), exponent - 25);
        assert_true(f == sign * want && signbit(f) == signbit(sign));
        assert_int_equal(vj_half_from_float(f), h);
    }
    for (uint16_t h = 0; h < 0x7bffu;
         h++) { /* numbers between two are rounded to the nearer one, or from the middle to the even one */
        float a = vj_half_to_float(h), b = vj_half_to_float(h + 1), middle = 0.5f * (a + b);
        assert_int_equal(vj_half_from_float(middle), h % 2 == 0 ? h : h + 1);
        assert_int_equal(vj_half_from_float(nextafterf(middle, a)), h);
        assert_int_equal(vj_half_from_float(nextafterf(middle, b)), h + 1);
    }
    assert_int_equal(vj_half_from_float(65519.996f), 0x7bff);
    assert_int_equal(vj_half_from_float(-65520.0f), 0xfc00);
    assert_int_equal(vj_half_from_float(1e-30f), 0);
}

static void overflow_is_an_error(void **state)
{
    context *c = *state;
    c->values[200] = 1e5f;
    assert_int_equal(write_rows(c, CLIPS), VJ_OK);
    unlink(c->path);
    c->layout.type = VJ_FEATURES_F16;
    assert_int_equal(write_rows(c, CLIPS), VJ_ERR_STATE);
    assert_false(part_exists(c));
    assert_int_not_equal(access(c->path, F_OK), 0);
    c->layout.type = VJ_FEATURES_BF16;
    assert_int_equal(write_rows(c, CLIPS), VJ_OK);
}

static void missing_rows_are_an_error(void **state)
{
    context *c = *state;
    assert_int_equal(write_rows(c, CLIPS - 1), VJ_ERR_STATE);
    assert_false(part_exists(c));
    assert_int_not_equal(access(c->path, F_OK), 0);
}

static void flip(const char *path, int64_t at)
{
    FILE *f = fopen(path, "r+");
    fseek(f, at, SEEK_SET);
    int byte = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(byte ^ 1, f);
    fclose(f);
}

static void damage_is_found(void **state)
{
    context *c = *state;
    const char *const names[] = {"features", "label", "clip", "xxh3"};
    const int row_bytes[] = {ROW * 4, 8, 8, 8};
    for (int i = 0; i < 4; i++) {
        vj_features *f;
        float rows[CLIPS * ROW];
        assert_int_equal(write_rows(c, CLIPS), VJ_OK);
        hid_t file = H5Fopen(c->path, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(file, names[i], H5P_DEFAULT);
        int64_t at = (int64_t)H5Dget_offset(set) + 3 * row_bytes[i] + 5; /* row 3 */
        H5Dclose(set);
        H5Fclose(file);
        flip(c->path, at);
        assert_int_equal(vj_features_open(&f, c->path, VJ_ALONE), VJ_OK);
        assert_int_equal(vj_features_read_rows(f, 2, 1, rows), VJ_OK);
        assert_int_equal(vj_features_read_rows(f, 3, 1, rows), VJ_ERR_FORMAT);
        assert_int_equal(vj_features_read_rows(f, 0, 3, rows), VJ_OK);
        assert_int_equal(vj_features_read_rows(f, 0, CLIPS, rows), VJ_ERR_FORMAT);
        vj_features_close(f);
        int64_t found, damaged;
        assert_int_equal(vj_features_verify(c->path, &found, &damaged), VJ_OK);
        assert_int_equal(found, CLIPS);
        assert_int_equal(damaged, 1);
    }
}

static void unfinished_files_are_refused(void **state)
{
    context *c = *state;
    vj_features *f;
    assert_int_equal(write_rows(c, CLIPS), VJ_OK);
    hid_t file = H5Fopen(c->path, H5F_ACC_RDWR, H5P_DEFAULT);
    H5Adelete(file, "complete");
    H5Fclose(file);
    assert_int_equal(vj_features_open(&f, c->path, VJ_ALONE), VJ_ERR_FORMAT);
    assert_null(f);
    assert_int_equal(write_rows(c, CLIPS), VJ_OK);
    assert_int_equal(truncate(c->path, 3000), 0);
    assert_int_equal(vj_features_open(&f, c->path, VJ_ALONE), VJ_ERR_FORMAT);
    unlink(c->path);
    assert_int_equal(vj_features_open(&f, c->path, VJ_ALONE), VJ_ERR_IO);
}

/* Check that writing row 0 twice instead of the last row is an error. */
static void rows_written_twice_are_an_error(void **state)
{
    context *c = *state;
    vj_features_writer *w;
    assert_int_equal(vj_features_create(&w, c->path, &c->layout, MPI_COMM_WORLD), VJ_OK);
    assert_int_equal(vj_features_write(w, 0, CLIPS - 1, c->values, c->labels, c->clips, (const uint64_t *)c->clips),
                     VJ_OK);
    assert_int_equal(vj_features_write(w, 0, 1, c->values, c->labels, c->clips, (const uint64_t *)c->clips), VJ_OK);
    assert_int_equal(vj_features_commit(w, VJ_OK, 1.0), VJ_ERR_STATE);
    assert_false(part_exists(c));
    assert_int_not_equal(access(c->path, F_OK), 0);
}

/* Check impossible sizes. The last dataset has 2^62 elements, more than a file can have bytes; HDF5 permits it because
 * no element is written. */
static void impossible_features_are_refused(void **state)
{
    context *c = *state;
    const hsize_t dims[][3] = {
        {0, TOKENS, WIDTH}, {CLIPS, 0, WIDTH}, {CLIPS, TOKENS, 0}, {(hsize_t)1 << 31, 1 << 16, 1 << 15}};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        vj_features *f;
        char message[1024] = "";
        assert_int_equal(write_rows(c, CLIPS), VJ_OK);
        hid_t file = H5Fopen(c->path, H5F_ACC_RDWR, H5P_DEFAULT), create = H5Pcreate(H5P_DATASET_CREATE);
        const hsize_t chunk[3] = {1, 1, 1}, most[3] = {H5S_UNLIMITED, H5S_UNLIMITED, H5S_UNLIMITED};
        hid_t space = H5Screate_simple(3, dims[i], most);
        H5Pset_chunk(create, 3, chunk);
        assert_true(H5Ldelete(file, "features", H5P_DEFAULT) >= 0);
        hid_t set = H5Dcreate2(file, "features", H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
        assert_true(set >= 0);
        H5Dclose(set);
        H5Pclose(create);
        H5Sclose(space);
        H5Fclose(file);

        FILE *log = tmpfile();
        int held = dup(2);
        dup2(fileno(log), 2);
        vj_status status = vj_features_open(&f, c->path, VJ_ALONE);
        dup2(held, 2);
        close(held);
        rewind(log);
        assert_non_null(fgets(message, sizeof message, log));
        fclose(log);
        assert_int_equal(status, VJ_ERR_FORMAT);
        assert_non_null(strstr(message, "impossible features"));
    }
}

static void printed(void **state)
{
    context *c = *state;
    char report[4096] = "";
    assert_int_equal(write_rows(c, CLIPS), VJ_OK);
    FILE *out = fmemopen(report, sizeof report, "w");
    assert_int_equal(vj_features_print(c->path, out), VJ_OK);
    fclose(out);
    assert_non_null(strstr(report, "5 tokens of width 33, f32"));
    assert_non_null(strstr(report, " appearance motion\n"));
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(round_trip),
        CASE(grids),
        CASE(without_labels),
        CASE(hdf5_reads_the_halves),
        cmocka_unit_test(halves),
        cmocka_unit_test(bf16),
        CASE(overflow_is_an_error),
        CASE(missing_rows_are_an_error),
        CASE(damage_is_found),
        CASE(unfinished_files_are_refused),
        CASE(rows_written_twice_are_an_error),
        CASE(impossible_features_are_refused),
        CASE(printed),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
