/*
 * Shared by the tests of checkpoints on one rank and on several: the sample to write, one to read into, a folder for
 * files, and the messages on standard error.
 */
#ifndef CKPT_TEST_H
#define CKPT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <hdf5.h>

#include "ckpt_sample.h"
#include "parallel/parallel.h"

typedef struct {
    int rank, size;
    char dir[VJ_PATH], path[VJ_PATH + 32], log[VJ_PATH + 32]; /* path: the file of step 12 */
    sample s, back;                                           /* s: this rank's share; back: whole tensors */
} context;

static inline int setup(void **state)
{
    context *c = calloc(1, sizeof *c);
    MPI_Comm_rank(MPI_COMM_WORLD, &c->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &c->size);
    temporary_folder(c->dir);
    step_path(c->path, c->dir, 12);
    snprintf(c->log, sizeof c->log, "%s/messages", c->dir);
    sample_init(&c->s, c->size, c->rank);
    sample_init(&c->back, 1, 0);
    *state = c;
    return 0;
}

/* Checks that no HDF5 object stays open, whatever happened in the test. */
static inline int teardown(void **state)
{
    context *c = *state;
    sample_release(&c->s);
    sample_release(&c->back);
    remove_temporary_folder(c->dir);
    free(c);
    assert_int_equal(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
    return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* Redirect standard error to a file until release_messages(), so that messages can be checked. */
static inline int hold_messages(const context *c)
{
    fflush(stderr);
    int held = dup(2), fd = open(c->log, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    dup2(fd, 2);
    close(fd);
    return held;
}

/* End the redirection. Returns 1 if the messages contain `words`. */
static inline int release_messages(const context *c, int held, const char *words)
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

static inline int exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static inline vj_status write_to(context *c, const char *dir, int64_t step)
{
    return sample_write(&c->s, dir, step, false, MPI_COMM_WORLD);
}

static inline void write_step(context *c, int64_t step)
{
    assert_int_equal(write_to(c, c->dir, step), VJ_OK);
}

static inline vj_status read_back(context *c)
{
    for (int i = 0; i < SAMPLE_TENSORS; i++)
        memset(c->back.tensors[i].data, 0, (size_t)sample_elements(&c->back.tensors[i]) * 4);
    return vj_ckpt_read(c->path, c->back.tensors, SAMPLE_TENSORS, sample_put, NULL, VJ_ALONE);
}

static inline void flip(const char *path, int64_t at)
{
    unsigned char byte;
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static inline int64_t data_offset(const char *path, const char *name)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(file, name, H5P_DEFAULT);
    int64_t at = (int64_t)H5Dget_offset(set);
    H5Dclose(set);
    H5Fclose(file);
    return at;
}

#endif
