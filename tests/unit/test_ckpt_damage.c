/* Tests that readers refuse damaged and foreign checkpoints, and with which messages. */
#include <sys/stat.h>

#include "../ckpt_test.h"
#include "h5/h5.h"

static void refuse(context *c, const char *words)
{
    int held = hold_messages(c);
    vj_status status = read_back(c);
    assert_true(release_messages(c, held, words));
    assert_int_equal(status, VJ_ERR_FORMAT);
}

static void one_flipped_bit_of_data_is_found(void **state)
{
    context *c = *state;
    write_step(c, 12);
    int64_t at = data_offset(c->path, "optimizer/first_moment/long") + 19 * 1000 * 1000;
    flip(c->path, at);
    refuse(c, "block 18 of 20 of optimizer/first_moment/long does not fit its checksum");
    int64_t blocks, damaged;
    int held = hold_messages(c);
    vj_status status = vj_ckpt_verify(c->path, &blocks, &damaged);
    assert_true(release_messages(c, held, "is damaged"));
    assert_int_equal(status, VJ_OK);
    assert_int_equal(damaged, 1);
    flip(c->path, at);
    assert_int_equal(read_back(c), VJ_OK);
}

static int64_t size_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? info.st_size : -1;
}

static int byte_of(const char *path, int64_t at)
{
    unsigned char byte;
    int fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    close(fd);
    return byte;
}

/*
 * Change bytes outside the data, and check that the file is refused or reads as before, but is never read as something
 * else. Zeros are not changed, because most of them are space that HDF5 does not use. HDF5 1.10.8 does not free the
 * memory of a header whose checksum is wrong, and says "infinite loop closing library" at the end (HDFGroup/hdf5 issue
 * 3790); teardown() checks that nothing is open then.
 */
static void damaged_structure_is_found(void **state)
{
    context *c = *state;
    write_step(c, 12);
    int64_t begin[SAMPLE_TENSORS], refused = 0, tried = 0;
    for (int i = 0; i < SAMPLE_TENSORS; i++) begin[i] = data_offset(c->path, c->s.tensors[i].name);
    int64_t wrong = 0;
    int held = hold_messages(c);
    for (int64_t at = 0; at < size_of(c->path); at += 13) {
        for (int i = 0; i < SAMPLE_TENSORS; i++) {
            int64_t end = begin[i] + 4 * sample_elements(&c->s.tensors[i]);
            if (at >= begin[i] && at < end) at = end;
        }
        if (at >= size_of(c->path)) break;
        if (byte_of(c->path, at) == 0) continue;
        flip(c->path, at);
        tried++;
        vj_ckpt_state found, want = sample_state(12);
        vj_status status = vj_ckpt_read_state(c->path, &found, VJ_ALONE);
        if (status == VJ_OK) {
            wrong += found.step != want.step || found.samples != want.samples || found.seed != want.seed ||
                     strcmp(found.config, want.config) != 0;
            status = read_back(c);
            wrong += status == VJ_OK && !sample_equal(&c->s, &c->back);
        }
        vj_ckpt_state_release(&found);
        refused += status != VJ_OK;
        flip(c->path, at);
    }
    assert_true(release_messages(c, held, ""));
    assert_int_equal(wrong, 0);
    assert_true(tried > 50 && refused > tried / 4); /* the other bytes are unused space in headers */
    assert_int_equal(read_back(c), VJ_OK);
}

static void truncated(void **state)
{
    context *c = *state;
    write_step(c, 12);
    int64_t size = size_of(c->path), lengths[] = {size - 1, size - 5000, size / 2, 100, 47, 1, 0};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        assert_int_equal(truncate(c->path, lengths[i]), 0);
        refuse(c, "truncated");
        vj_ckpt_state found;
        int held = hold_messages(c);
        vj_status status = vj_ckpt_read_state(c->path, &found, VJ_ALONE);
        assert_true(release_messages(c, held, "truncated"));
        assert_int_equal(status, VJ_ERR_FORMAT);
        assert_null(found.config);
    }
}

static void foreign_files_are_refused(void **state)
{
    context *c = *state;
    vj_ckpt_state found;
    int held = hold_messages(c);
    vj_status status = vj_ckpt_read_state(c->path, &found, VJ_ALONE);
    assert_true(release_messages(c, held, "No such file"));
    assert_int_equal(status, VJ_ERR_IO);

    FILE *f = fopen(c->path, "w");
    for (int i = 0; i < 100; i++) fputs("not HDF5\n", f);
    fclose(f);
    refuse(c, "is not an HDF5 file");

    hid_t file = H5Fcreate(c->path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(file);
    refuse(c, "was not written by vjepa");

    write_step(c, 12);
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, sizeof VJ_CKPT_FORMAT);
    H5Tset_cset(type, H5T_CSET_UTF8);
    file = H5Fopen(c->path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t attribute = H5Aopen(file, "format", H5P_DEFAULT);
    assert_true(H5Awrite(attribute, type, "vjepa-features\0\0") >= 0);
    H5Aclose(attribute);
    H5Tclose(type);
    H5Fclose(file);
    refuse(c, "is a vjepa-features, expected a vjepa-checkpoint");

    write_step(c, 12);
    int64_t next = 2;
    file = H5Fopen(c->path, H5F_ACC_RDWR, H5P_DEFAULT);
    attribute = H5Aopen(file, "version", H5P_DEFAULT);
    assert_true(H5Awrite(attribute, H5T_NATIVE_INT64, &next) >= 0);
    H5Aclose(attribute);
    H5Fclose(file);
    refuse(c, "has version 2 of vjepa-checkpoint, this program reads version 1");

    write_step(c, 12);
    file = H5Fopen(c->path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(H5Adelete(file, "complete") >= 0);
    H5Fclose(file);
    refuse(c, "is incomplete");
}

static void other_models_are_refused(void **state)
{
    context *c = *state;
    write_step(c, 12);
    strcpy(c->back.tensors[1].name, "model/encoder/norm.weight");
    refuse(c, "no tensor model/encoder/norm.weight");
    strcpy(c->back.tensors[1].name, c->s.tensors[1].name);
    c->back.tensors[0].dim[0] = 700;
    c->back.tensors[0].dim[1] = 900;
    refuse(c, "blocks.0.attn.qkv.weight is [900, 700], expected [700, 900]");
}

/* Attribute "format" as `count` texts of 300 bytes each. */
static void replace_format(const context *c, hsize_t count)
{
    static char texts[64 * 300];
    memset(texts, 'x', sizeof texts);
    hid_t file = H5Fopen(c->path, H5F_ACC_RDWR, H5P_DEFAULT), type = H5Tcopy(H5T_C_S1);
    hid_t space = H5Screate_simple(1, &count, NULL);
    H5Tset_size(type, 300);
    assert_true(H5Adelete(file, "format") >= 0);
    hid_t attribute = H5Acreate2(file, "format", type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(attribute, type, texts) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
    H5Fclose(file);
}

/* A reader that trusts the length of one would write far behind its buffer. */
static void several_texts_are_refused(void **state)
{
    context *c = *state;
    char format[512] = "";
    write_step(c, 12);
    vj_h5_format(c->path, format, sizeof format);
    assert_string_equal(format, VJ_CKPT_FORMAT);
    replace_format(c, 64);
    refuse(c, "attribute format is not one fixed-length text");
    vj_h5_format(c->path, format, sizeof format);
    assert_string_equal(format, "");
}

static void a_fifo_does_not_block(void **state)
{
    context *c = *state;
    char format[64];
    assert_int_equal(mkfifo(c->path, 0600), 0);
    alarm(10);
    refuse(c, "is not a regular file");
    vj_h5_format(c->path, format, sizeof format);
    assert_string_equal(format, "");
    assert_false(vj_ckpt_has(c->path, "model"));
    alarm(0);
}

/* The product of the dimensions is 1 modulo 2^64, so a careless row has 0 elements; then one of 2^62 elements. */
static void impossible_dimensions_are_refused(void **state)
{
    context *c = *state;
    const hsize_t dims[][2] = {{0x6DB6DB6DB6DB6DB7, 7}, {(hsize_t)1 << 31, (hsize_t)1 << 31}, {0, 7}};
    const char *const words[] = {"has impossible dimensions", "has impossible dimensions", "is empty"};
    const char *name = c->s.tensors[1].name;
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        const hsize_t chunk[2] = {1, 7}, most[2] = {H5S_UNLIMITED, H5S_UNLIMITED};
        write_step(c, 12);
        hid_t file = H5Fopen(c->path, H5F_ACC_RDWR, H5P_DEFAULT), space = H5Screate_simple(2, dims[i], most);
        hid_t create = H5Pcreate(H5P_DATASET_CREATE); /* chunks need no space before they are written */
        H5Pset_chunk(create, 2, chunk);
        assert_true(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
        hid_t set = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
        assert_true(set >= 0);
        H5Dclose(set);
        H5Pclose(create);
        H5Sclose(space);
        H5Fclose(file);
        refuse(c, words[i]);
    }
}

/* HDF5 would open what the link names, and wait for the writer of a FIFO. */
static void links_are_refused(void **state)
{
    context *c = *state;
    const char *name = c->s.tensors[1].name;
    for (int external = 0; external < 2; external++) {
        write_step(c, 12);
        hid_t file = H5Fopen(c->path, H5F_ACC_RDWR, H5P_DEFAULT);
        assert_true(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
        const herr_t made = external ? H5Lcreate_external("other.h5", "/", file, name, H5P_DEFAULT, H5P_DEFAULT)
                                     : H5Lcreate_soft("/model", file, name, H5P_DEFAULT, H5P_DEFAULT);
        assert_true(made >= 0);
        H5Fclose(file);
        refuse(c, "is a link to another place or file");
    }
}

/* Dimensions cost nothing to claim: what is read must be in the file, as it is. */
static void data_elsewhere_are_refused(void **state)
{
    context *c = *state;
    enum { NEVER_WRITTEN, COMPRESSED, ANOTHER_FILE, KINDS };
    const hsize_t dims[2] = {1 << 20, 1024}, small[2] = {7, 7}, chunk[2] = {7, 7};
    const char *name = c->s.tensors[1].name;
    float values[49] = {0};
    for (int kind = 0; kind < KINDS; kind++) {
        write_step(c, 12);
        hid_t file = H5Fopen(c->path, H5F_ACC_RDWR, H5P_DEFAULT), create = H5Pcreate(H5P_DATASET_CREATE);
        hid_t space = H5Screate_simple(2, kind == NEVER_WRITTEN ? dims : small, NULL);
        if (kind == COMPRESSED) assert_true(H5Pset_chunk(create, 2, chunk) >= 0 && H5Pset_deflate(create, 9) >= 0);
        if (kind == ANOTHER_FILE) assert_true(H5Pset_external(create, "/dev/zero", 0, sizeof values) >= 0);
        assert_true(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
        hid_t set = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
        assert_true(set >= 0);
        if (kind == COMPRESSED)
            assert_true(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
        H5Dclose(set);
        H5Pclose(create);
        H5Sclose(space);
        H5Fclose(file);
        refuse(c, "is in the file");
    }
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        CASE(one_flipped_bit_of_data_is_found),
        CASE(damaged_structure_is_found),
        CASE(truncated),
        CASE(foreign_files_are_refused),
        CASE(other_models_are_refused),
        CASE(several_texts_are_refused),
        CASE(a_fifo_does_not_block),
        CASE(impossible_dimensions_are_refused),
        CASE(links_are_refused),
        CASE(data_elsewhere_are_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
