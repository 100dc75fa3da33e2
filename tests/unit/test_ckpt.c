/* Checkpoints on one rank: round trip, everything a reader must refuse and with which words, newest and prune. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <hdf5.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "../ckpt_sample.h"
#include "h5/h5.h"

typedef struct {
    char dir[VJ_PATH], path[VJ_PATH + 32], log[VJ_PATH + 32];
    sample s, back;
} context;

/* ------------------------------------------------------------------------------------------------ helpers */

/* Standard error goes to a file while `held` >= 0, so that messages can be looked at. */
static int hold_messages(const context *c)
{
    fflush(stderr);
    int held = dup(2), fd = open(c->log, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    dup2(fd, 2);
    close(fd);
    return held;
}

/* 1 if `words` were among them. */
static int release_messages(const context *c, int held, const char *words)
{
    fflush(stderr);
    dup2(held, 2);
    close(held);
    static char text[1 << 20];
    FILE *f = fopen(c->log, "r");
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    fclose(f);
    int found = strstr(text, words) != NULL;
    if (!found) fprintf(stderr, "expected \"%s\" in: %s\n", words, text);
    return found;
}

static int exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static int64_t size_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? info.st_size : -1;
}

static vj_status write_to(context *c, const char *dir, int64_t step)
{
    return sample_write(&c->s, dir, step, false, MPI_COMM_WORLD);
}

static void write_step(context *c, int64_t step)
{
    assert_int_equal(write_to(c, c->dir, step), VJ_OK);
}

static vj_status read_back(context *c)
{
    for (int i = 0; i < SAMPLE_TENSORS; i++)
        memset(c->back.tensors[i].data, 0, (size_t)sample_elements(&c->back.tensors[i]) * 4);
    return vj_ckpt_read(c->path, c->back.tensors, SAMPLE_TENSORS, sample_put, NULL);
}

static void refuse(context *c, const char *words)
{
    int held = hold_messages(c);
    vj_status status = read_back(c);
    assert_true(release_messages(c, held, words));
    assert_int_equal(status, VJ_ERR_FORMAT);
}

static void refuse_to_write(context *c, vj_status want, const char *words)
{
    int held = hold_messages(c);
    vj_status status = write_to(c, c->dir, 12);
    assert_true(release_messages(c, held, words));
    assert_int_equal(status, want);
}

static void flip(const char *path, int64_t at)
{
    unsigned char byte;
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static int64_t data_offset(const char *path, const char *name)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(file, name, H5P_DEFAULT);
    int64_t at = (int64_t)H5Dget_offset(set);
    H5Dclose(set);
    H5Fclose(file);
    return at;
}

static int setup(void **state)
{
    context *c = calloc(1, sizeof *c);
    temporary_folder(c->dir);
    snprintf(c->path, sizeof c->path, "%s/step_00000012.h5", c->dir);
    snprintf(c->log, sizeof c->log, "%s/messages", c->dir);
    sample_init(&c->s, 1, 0);
    sample_init(&c->back, 1, 0);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    context *c = *state;
    sample_release(&c->s);
    sample_release(&c->back);
    remove_folder(c->dir);
    free(c);
    return 0;
}

/* ------------------------------------------------------------------------------------------------ tests */

static void shares_cover_every_block_once(void **state)
{
    (void)state;
    sample s;
    sample_init(&s, 1, 0);
    for (int size = 1; size <= 40; size++) {
        int64_t end[SAMPLE_TENSORS] = {0};
        for (int rank = 0; rank < size; rank++) {
            vj_ckpt_share(s.tensors, SAMPLE_TENSORS, size, rank);
            for (int i = 0; i < SAMPLE_TENSORS; i++) {
                const vj_ckpt_tensor *t = &s.tensors[i];
                int64_t block = vj_ckpt_block_rows(t) * (sample_elements(t) / t->dim[0]);
                assert_int_equal(t->first, end[i]);
                assert_true(t->last >= t->first);
                assert_true(t->last % block == 0 || t->last == sample_elements(t));
                end[i] = t->last;
            }
        }
        for (int i = 0; i < SAMPLE_TENSORS; i++) assert_int_equal(end[i], sample_elements(&s.tensors[i]));
    }
    assert_int_equal(vj_ckpt_block_rows(&s.tensors[0]), (1 << 20) / 2800);
    assert_int_equal(vj_ckpt_block_rows(&s.tensors[1]), 5);
    assert_int_equal(vj_ckpt_block_rows(&s.tensors[3]), 1);
    sample_release(&s);
}

static void round_trip(void **state)
{
    context *c = *state;
    write_step(c, 12);
    assert_int_equal(read_back(c), VJ_OK);
    assert_true(sample_equal(&c->s, &c->back));

    vj_ckpt_state found, want = sample_state(12);
    assert_int_equal(vj_ckpt_read_state(c->path, &found), VJ_OK);
    assert_int_equal(found.step, want.step);
    assert_int_equal(found.samples, want.samples);
    assert_int_equal(found.seed, want.seed);
    assert_int_equal(found.bad_steps, want.bad_steps);
    assert_int_equal(found.rollbacks, want.rollbacks);
    assert_int_equal(found.skipped_samples, want.skipped_samples);
    assert_true(found.usual_loss == want.usual_loss);
    assert_true(found.store_fingerprint == want.store_fingerprint);
    assert_string_equal(found.config, want.config);
    vj_ckpt_state_release(&found);
    vj_ckpt_state_release(&found);

    assert_true(vj_ckpt_has(c->path, "optimizer/first_moment/wide"));
    assert_false(vj_ckpt_has(c->path, "optimizer/first_moment/narrow"));
    assert_false(vj_ckpt_has(c->path, "nowhere/wide"));
    assert_false(vj_ckpt_has(c->dir, "model"));

    int64_t blocks, damaged;
    assert_int_equal(vj_ckpt_verify(c->path, &blocks, &damaged), VJ_OK);
    assert_int_equal(blocks, 3 + 1 + 1 + 3 + 20); /* 5000 rows at 262 a block */
    assert_int_equal(damaged, 0);
}

/* Files that were written before there were roll-backs lack three attributes. */
static void older_state_reads_as_zeros(void **state)
{
    context *c = *state;
    write_step(c, 12);
    hid_t file = H5Fopen(c->path, H5F_ACC_RDWR, H5P_DEFAULT), group = H5Gopen2(file, "state", H5P_DEFAULT);
    assert_true(H5Adelete(group, "rollbacks") >= 0 && H5Adelete(group, "skipped_samples") >= 0 &&
                H5Adelete(group, "usual_loss") >= 0);
    H5Gclose(group);
    H5Fclose(file);
    vj_ckpt_state found;
    assert_int_equal(vj_ckpt_read_state(c->path, &found), VJ_OK);
    assert_int_equal(found.bad_steps, sample_state(12).bad_steps);
    assert_int_equal(found.rollbacks, 0);
    assert_int_equal(found.skipped_samples, 0);
    assert_true(found.usual_loss == 0.0);
    vj_ckpt_state_release(&found);
}

static void a_share_reads_only_its_rows(void **state)
{
    context *c = *state;
    write_step(c, 12);
    vj_ckpt_share(c->back.tensors, SAMPLE_TENSORS, 3, 1);
    assert_int_equal(read_back(c), VJ_OK);
    for (int i = 0; i < SAMPLE_TENSORS; i++) {
        const vj_ckpt_tensor *t = &c->back.tensors[i];
        const float *got = t->data, *want = c->s.tensors[i].data;
        for (int64_t j = 0; j < sample_elements(t); j++) {
            float expected = j >= t->first && j < t->last ? want[j] : 0.0f;
            if (memcmp(&got[j], &expected, 4) != 0) fail_msg("%s[%lld]", t->name, (long long)j);
        }
    }
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

static int byte_of(const char *path, int64_t at)
{
    unsigned char byte;
    int fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    close(fd);
    return byte;
}

/*
 * Some bytes outside the data: the file is refused or reads as it was, it is never read as something else. Zeros are
 * left out: most of them are room that HDF5 did not need.
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
        vj_status status = vj_ckpt_read_state(c->path, &found);
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
    assert_true(tried > 50 && refused > tried / 4); /* the rest is unused space of headers */
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
        vj_status status = vj_ckpt_read_state(c->path, &found);
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
    vj_status status = vj_ckpt_read_state(c->path, &found);
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

static void every_block_needs_one_owner(void **state)
{
    context *c = *state;
    int64_t last = c->s.tensors[3].last;
    const struct {
        int64_t last;
        const char *words;
    } cases[] = {{300000, "block 1 is written by 0 ranks"}, {300001, "are not whole blocks"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        c->s.tensors[3].last = cases[i].last;
        refuse_to_write(c, VJ_ERR_STATE, cases[i].words);
        assert_false(exists(c->path));
    }
    c->s.tensors[3].last = last;
    write_step(c, 12);
}

static void a_failed_write_leaves_the_older_one(void **state)
{
    context *c = *state;
    write_step(c, 12);
    sample_fill(&c->s, 2);
    c->s.fail_at = c->s.tensors[4].name;
    refuse_to_write(c, VJ_ERR_LIBRARY, "made to fail");
    c->s.fail_at = NULL;
    assert_false(has_part(c->dir));

    /* No space: a limit on the size of files does to a writer what a full disk does. */
    struct rlimit old, small = {1 << 20, RLIM_INFINITY};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    refuse_to_write(c, VJ_ERR_IO, "File too large");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_false(has_part(c->dir));

    sample_fill(&c->s, 1);
    assert_int_equal(read_back(c), VJ_OK);
    assert_true(sample_equal(&c->s, &c->back));
}

static void a_missing_folder_is_an_error(void **state)
{
    context *c = *state;
    int held = hold_messages(c);
    vj_status status = write_to(c, "/nonexistent/run", 1);
    assert_true(release_messages(c, held, "create /nonexistent/run/step_00000001.h5."));
    assert_int_not_equal(status, VJ_OK);
}

static void touch(const context *c, const char *name)
{
    char path[2 * VJ_PATH];
    snprintf(path, sizeof path, "%s/%s", c->dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
}

static int has_file(const context *c, const char *name)
{
    char path[2 * VJ_PATH];
    snprintf(path, sizeof path, "%s/%s", c->dir, name);
    return exists(path);
}

static void newest_and_prune(void **state)
{
    context *c = *state;
    char path[VJ_PATH], want[VJ_PATH + 64];
    assert_int_equal(vj_ckpt_latest(c->dir, path, MPI_COMM_WORLD), VJ_OK);
    assert_string_equal(path, "");
    assert_int_equal(vj_ckpt_latest("/nonexistent/run", path, MPI_COMM_WORLD), VJ_OK);
    assert_string_equal(path, "");

    write_step(c, 9);
    write_step(c, 10);
    write_step(c, 99999999);
    write_step(c, 100000000); /* nine digits: by number, not by name */
    touch(c, "step_00000200.h5.part");
    touch(c, "step_00000200.h5.12345678.part");
    touch(c, "step_final.h5");
    touch(c, "step_200000000.h5.old");
    assert_int_equal(vj_ckpt_latest(c->dir, path, MPI_COMM_WORLD), VJ_OK);
    snprintf(want, sizeof want, "%s/step_100000000.h5", c->dir);
    assert_string_equal(path, want);

    touch(c, "step_300000000.h5"); /* damaged: still the newest, and prune does not count it */
    assert_int_equal(vj_ckpt_latest(c->dir, path, MPI_COMM_WORLD), VJ_OK);
    snprintf(want, sizeof want, "%s/step_300000000.h5", c->dir);
    assert_string_equal(path, want);
    int held = hold_messages(c);
    vj_status status = vj_ckpt_prune(c->dir, 2, 0, MPI_COMM_WORLD);
    assert_true(release_messages(c, held, "does not count"));
    assert_int_equal(status, VJ_OK);
    assert_true(has_file(c, "step_300000000.h5"));
    assert_true(has_file(c, "step_100000000.h5"));
    assert_true(has_file(c, "step_99999999.h5"));
    assert_false(has_file(c, "step_00000010.h5"));
    assert_false(has_file(c, "step_00000009.h5"));
    assert_false(has_part(c->dir));
    assert_true(has_file(c, "step_final.h5"));
    assert_true(has_file(c, "step_200000000.h5.old"));
}

static void multiples_stay_for_ever(void **state)
{
    context *c = *state;
    const int64_t steps[] = {10, 20, 25, 30, 40, 45, 50};
    const int stays[] = {0, 1, 0, 0, 1, 1, 1};
    for (int i = 0; i < 7; i++) {
        write_step(c, steps[i]);
        assert_int_equal(vj_ckpt_prune(c->dir, 2, 20, MPI_COMM_WORLD), VJ_OK);
    }
    for (int i = 0; i < 7; i++) {
        char name[64];
        snprintf(name, sizeof name, "step_%08lld.h5", (long long)steps[i]);
        assert_int_equal(has_file(c, name), stays[i]);
    }
}

/* What the caller changes after begin() is not in the file, and nothing has its name before commit(). */
static void in_the_background(void **state)
{
    context *c = *state;
    vj_ckpt_writer *writer;
    vj_ckpt_state at = sample_state(12);
    assert_int_equal(vj_ckpt_open(&writer, c->s.tensors, SAMPLE_TENSORS, true, MPI_COMM_WORLD), VJ_OK);
    int64_t bytes = 0;
    for (int i = 0; i < SAMPLE_TENSORS; i++) bytes += 4 * sample_elements(&c->s.tensors[i]);
    assert_int_equal(vj_ckpt_memory_bytes(writer), bytes);
    for (uint32_t salt = 1; salt <= 3; salt++) { /* a writer writes many */
        sample_fill(&c->s, salt);
        assert_int_equal(vj_ckpt_begin(writer, c->dir, &at, sample_get, &c->s), VJ_OK);
        sample_fill(&c->s, 99);
        if (salt == 1) assert_false(exists(c->path));
        while (!vj_ckpt_written(writer)) usleep(1000);
        if (salt == 1) assert_false(exists(c->path));
        assert_true(has_part(c->dir));
        assert_int_equal(vj_ckpt_commit(writer), VJ_OK);
        assert_false(has_part(c->dir));
        sample_fill(&c->s, salt);
        assert_int_equal(read_back(c), VJ_OK);
        assert_true(sample_equal(&c->s, &c->back));
    }
    sample_fill(&c->s, 4); /* begun and given up: the older one stands */
    assert_int_equal(vj_ckpt_begin(writer, c->dir, &at, sample_get, &c->s), VJ_OK);
    vj_ckpt_close(writer);
    assert_false(has_part(c->dir));
    sample_fill(&c->s, 3);
    assert_int_equal(read_back(c), VJ_OK);
    assert_true(sample_equal(&c->s, &c->back));
}

/* Space was reserved; then no file may grow beyond 1 MiB, nor be written behind it. */
static vj_status get_and_limit(void *user, const vj_ckpt_tensor *t, int64_t first, int64_t last, float *host)
{
    const struct rlimit small = {1 << 20, RLIM_INFINITY};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    return sample_get(user, t, first, last, host);
}

/* A failure in the background is met at the commit; the writer goes on. */
static void a_failure_in_the_background(void **state)
{
    context *c = *state;
    vj_ckpt_writer *writer;
    vj_ckpt_state at = sample_state(12);
    struct rlimit old, small = {1 << 20, RLIM_INFINITY};
    assert_int_equal(vj_ckpt_open(&writer, c->s.tensors, SAMPLE_TENSORS, true, MPI_COMM_WORLD), VJ_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int held = hold_messages(c);
    vj_status status = vj_ckpt_begin(writer, c->dir, &at, sample_get, &c->s);
    assert_true(release_messages(c, held, "File too large"));
    assert_int_equal(status, VJ_ERR_IO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_false(has_part(c->dir));

    held = hold_messages(c);
    assert_int_equal(vj_ckpt_begin(writer, c->dir, &at, get_and_limit, &c->s), VJ_OK);
    while (!vj_ckpt_written(writer)) usleep(1000);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    status = vj_ckpt_commit(writer);
    assert_true(release_messages(c, held, "File too large"));
    assert_int_equal(status, VJ_ERR_IO);
    assert_false(has_part(c->dir));
    assert_false(exists(c->path));

    c->s.fail_at = c->s.tensors[4].name;
    held = hold_messages(c);
    assert_int_equal(vj_ckpt_begin(writer, c->dir, &at, sample_get, &c->s), VJ_OK);
    status = vj_ckpt_commit(writer);
    assert_true(release_messages(c, held, "made to fail"));
    assert_int_equal(status, VJ_ERR_LIBRARY);
    assert_false(has_part(c->dir));
    assert_false(exists(c->path));
    c->s.fail_at = NULL;
    assert_int_equal(vj_ckpt_begin(writer, c->dir, &at, sample_get, &c->s), VJ_OK);
    assert_int_equal(vj_ckpt_commit(writer), VJ_OK);
    assert_int_equal(read_back(c), VJ_OK);
    assert_true(sample_equal(&c->s, &c->back));
    vj_ckpt_close(writer);
}

/* The nearest of the two bf16 numbers around x; of two equally near the one with an even last bit. */
static float nearest_bf16(float x)
{
    uint32_t bits;
    float low, high;
    memcpy(&bits, &x, 4);
    uint32_t down = bits & 0xffff0000u, up = down + 0x10000u;
    memcpy(&low, &down, 4);
    memcpy(&high, &up, 4);
    if (!isfinite(x)) return x;
    double to_low = fabs((double)x - (double)low), to_high = fabs((double)high - (double)x);
    if (to_low != to_high) return to_low < to_high ? low : high;
    return down >> 16 & 1 ? high : low;
}

static void export_to(context *c, const char *to, vj_ckpt_type type)
{
    assert_int_equal(vj_ckpt_export(c->path, to, type), VJ_OK);
    assert_true(vj_ckpt_has(to, "model/encoder/norm.bias"));
    assert_false(vj_ckpt_has(to, "model/predictor/patch_embed.proj.weight"));
    assert_false(vj_ckpt_has(to, "optimizer/first_moment/wide"));
    int64_t blocks, damaged;
    assert_int_equal(vj_ckpt_verify(to, &blocks, &damaged), VJ_OK);
    assert_int_equal(blocks, 3 + 1);
    assert_int_equal(damaged, 0);
    vj_ckpt_state found;
    assert_int_equal(vj_ckpt_read_state(to, &found), VJ_OK);
    assert_int_equal(found.step, 12);
    vj_ckpt_state_release(&found);
    for (int i = 0; i < 2; i++) memset(c->back.tensors[i].data, 0, (size_t)sample_elements(&c->back.tensors[i]) * 4);
    assert_int_equal(vj_ckpt_read(to, c->back.tensors, 2, sample_put, NULL), VJ_OK);
}

static void encoders_are_exported(void **state)
{
    context *c = *state;
    char to[VJ_PATH + 32];
    snprintf(to, sizeof to, "%s/encoder.h5", c->dir);
    float *values = c->s.tensors[0].data; /* halfway between two, even below and above; overflow; not finite; tiny */
    const uint32_t special[] = {0x3f808000u, 0x3f818000u, 0x7f7fffffu, 0xff800000u, 0x00000001u, 0x7f800001u};
    memcpy(values + 10, special, sizeof special);
    write_step(c, 12);
    export_to(c, to, VJ_CKPT_F32);
    for (int i = 0; i < 2; i++)
        assert_memory_equal(c->back.tensors[i].data, c->s.tensors[i].data,
                            (size_t)sample_elements(&c->s.tensors[i]) * 4);
    int held = hold_messages(c);
    vj_status status = vj_ckpt_export(c->path, to, VJ_CKPT_BF16);
    assert_true(release_messages(c, held, "encoder.h5 exists"));
    assert_int_equal(status, VJ_ERR_USAGE);

    unlink(to);
    export_to(c, to, VJ_CKPT_BF16);
    for (int i = 0; i < 2; i++)
        for (int64_t j = 0; j < sample_elements(&c->s.tensors[i]); j++) {
            float got = ((float *)c->back.tensors[i].data)[j], x = ((float *)c->s.tensors[i].data)[j];
            float want = i == 0 && j == 12 ? INFINITY : nearest_bf16(x);
            if (!(got == want) && !(isnan(got) && isnan(want)))
                fail_msg("tensor %d, %lld: %a became %a, not %a", i, (long long)j, (double)x, (double)got,
                         (double)want);
        }
    /* HDF5's own conversion, which h5py and h5dump use, reads the same numbers. */
    hid_t file = H5Fopen(to, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(file, c->s.tensors[1].name, H5P_DEFAULT);
    float five[5];
    assert_true(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, five) >= 0);
    assert_memory_equal(five, c->back.tensors[1].data, sizeof five);
    H5Dclose(set);
    H5Fclose(file);

    unlink(to);
    flip(c->path, data_offset(c->path, c->s.tensors[0].name) + 1000); /* what is damaged is not passed on */
    held = hold_messages(c);
    status = vj_ckpt_export(c->path, to, VJ_CKPT_BF16);
    assert_true(release_messages(c, held, "is damaged"));
    assert_int_equal(status, VJ_ERR_FORMAT);
    assert_false(exists(to));
    assert_false(has_part(c->dir));
}

static void a_killed_writers_part_goes(void **state)
{
    context *c = *state;
    touch(c, "step_00000012.h5.12345678.part");
    write_step(c, 12);
    assert_false(has_part(c->dir));
}

static void compared(void **state)
{
    context *c = *state;
    char other[VJ_PATH + 32], report[4096] = "";
    int64_t different;
    snprintf(other, sizeof other, "%s/step_00000013.h5", c->dir);
    write_step(c, 12);
    ((float *)c->s.tensors[4].data)[4999999] += 0.25f;
    c->s.tensors[2].ndim = 4; /* [7, 3, 2, 4] */
    c->s.tensors[2].last = 168;
    strcpy(c->s.tensors[1].name, "model/encoder/norm-bias");
    write_step(c, 13);

    FILE *out = fmemopen(report, sizeof report, "w");
    assert_int_equal(vj_ckpt_compare(c->path, c->path, out, &different), VJ_OK);
    fclose(out);
    assert_int_equal(different, 0);
    assert_string_equal(report, "5 tensors equal, 0 different\n");

    out = fmemopen(report, sizeof report, "w");
    assert_int_equal(vj_ckpt_compare(c->path, other, out, &different), VJ_OK);
    fclose(out);
    assert_int_equal(different, 4);
    const char *const words[] = {"state step: 12, 13\n",
                                 "state samples: 288, 312\n",
                                 "model/encoder/norm.bias: only in",
                                 "model/encoder/norm-bias: only in",
                                 "dimensions [7, 3, 2, 4, 4], [7, 3, 2, 4]\n",
                                 "optimizer/first_moment/long: 1 of 5000000 elements differ, by at most 0.25\n",
                                 "2 tensors equal, 4 different\n"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!strstr(report, words[i])) fail_msg("no \"%s\" in: %s", words[i], report);

    out = fmemopen(report, sizeof report, "w");
    assert_int_equal(vj_ckpt_print(other, out), VJ_OK);
    fclose(out);
    assert_non_null(strstr(report, "step       13\n"));
    assert_non_null(strstr(report, "[5000, 1000]\n"));
}

/* NaN first, a small difference after it: the NaN stays the largest. */
static void a_nan_is_the_largest_difference(void **state)
{
    context *c = *state;
    char other[VJ_PATH + 32], report[4096] = "";
    int64_t different;
    snprintf(other, sizeof other, "%s/step_00000013.h5", c->dir);
    write_step(c, 12);
    float *values = c->s.tensors[4].data;
    values[17] = NAN;
    values[4999999] += 0.25f;
    write_step(c, 13);
    FILE *out = fmemopen(report, sizeof report, "w");
    assert_int_equal(vj_ckpt_compare(c->path, other, out, &different), VJ_OK);
    fclose(out);
    assert_int_equal(different, 1);
    assert_non_null(strstr(report, "2 of 5000000 elements differ, by at most nan\n"));
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_cover_every_block_once),
        CASE(round_trip),
        CASE(older_state_reads_as_zeros),
        CASE(a_share_reads_only_its_rows),
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
        CASE(every_block_needs_one_owner),
        CASE(a_failed_write_leaves_the_older_one),
        CASE(a_missing_folder_is_an_error),
        CASE(newest_and_prune),
        CASE(multiples_stay_for_ever),
        CASE(in_the_background),
        CASE(a_failure_in_the_background),
        CASE(encoders_are_exported),
        CASE(a_killed_writers_part_goes),
        CASE(compared),
        CASE(a_nan_is_the_largest_difference),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
