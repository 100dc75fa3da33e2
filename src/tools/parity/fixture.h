/*
 * One fixture file while it is checked: reading, comparing, counting. Memory from these functions is freed when the
 * file is closed. Fixtures are small, so the program aborts when it runs out of memory. Reading a dataset or attribute
 * that the file does not have counts as a failure.
 */
#ifndef VJ_PARITY_FIXTURE_H
#define VJ_PARITY_FIXTURE_H

#include <hdf5.h>

#include "base/config.h"
#include "kernels/kernels.h"
#include "parity/tolerance.h"

enum { VJ_FIXTURE_DIMS = 8, VJ_FIXTURE_NAME = 192 };

typedef struct {
    const char *path; /* borrowed */
    hid_t file;
    vj_backend *be; /* borrowed */
    struct vj_fixture_block *memory;
    int passed, failed;
} vj_fixture;

/** Open a file to read it. Close it with vj_fixture_close(), also after a failure. */
vj_status vj_fixture_open(vj_fixture *f, const char *path, vj_backend *be);
void vj_fixture_close(vj_fixture *f);

/** Return `bytes` zeroed bytes, freed by vj_fixture_close(). */
void *vj_fixture_take(vj_fixture *f, int64_t bytes);

/* ------------------------------------------------------------------------------------------------ reading */

/* A dataset as doubles (floats and 32-bit integers are exact). */
typedef struct {
    char name[VJ_FIXTURE_NAME]; /* its path in the file */
    int ndim;
    int64_t dim[VJ_FIXTURE_DIMS], count;
    double *value;
    double deviation; /* of a run in float arithmetic from these values, from the file; 0: not in the file */
} vj_values;

/** Return whether the file has a group or dataset. If the first part of the path is "*", it stands for any group of the
 * root. */
bool vj_fixture_has(const vj_fixture *f, const char *name);
bool vj_fixture_has_attribute(const vj_fixture *f, const char *object, const char *name);

/** Read a dataset. NULL if it is missing or holds a NaN or infinity, which is counted as a failure. */
const vj_values *vj_fixture_array(vj_fixture *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Return whether a dataset is [dim 0, dim 1, ...], or has `count` values of any shape. False if not, which is counted
 * with what was found and expected; and if `array` is NULL, which is counted already. */
bool vj_fixture_expect(vj_fixture *f, const vj_values *array, int ndim, const int64_t *dim);
bool vj_fixture_expect_count(vj_fixture *f, const vj_values *array, int64_t count);

/** Copy a text attribute of the root. False, not counted, if there is none. */
bool vj_fixture_text(const vj_fixture *f, const char *name, char text[VJ_FIXTURE_NAME]);

/** Read an attribute of exactly `count` numbers of a group or dataset. False if it is missing, which is counted. */
bool vj_fixture_numbers(vj_fixture *f, const char *object, const char *name, double *values, int count);
bool vj_fixture_ints(vj_fixture *f, const char *object, const char *name, int *values, int count);

/** Read an attribute of one number of `least` to `most`. False if it is missing or another, which is counted. */
bool vj_fixture_number_within(vj_fixture *f, const char *object, const char *name, double *value, double least,
                              double most);

/* The names in a group, in order. */
typedef struct {
    int count;
    char (*name)[VJ_FIXTURE_NAME]; /* [count] owned by the fixture */
} vj_names;
/** Return the names in a group. There are none if it is missing, which counts as a failure. */
vj_names vj_fixture_children(vj_fixture *f, const char *group);

/** Copy a dataset in the types that kernels take: to the host, and to device memory. Freed by vj_fixture_close(). */
float *vj_fixture_floats(vj_fixture *f, const vj_values *array);
int32_t *vj_fixture_int32s(vj_fixture *f, const vj_values *array);
float *vj_fixture_upload(vj_fixture *f, const vj_values *array);
/** Return `count` floats of device memory, not initialised, freed by vj_fixture_close(). */
float *vj_fixture_device(vj_fixture *f, int64_t count);
/** The same for arrays that training stores as bf16 if products are in bf16 (values are rounded when copied), else as
 * floats. */
vj_array vj_fixture_upload_operand(vj_fixture *f, const float *values, int64_t count);
vj_array vj_fixture_operand(vj_fixture *f, int64_t count);
int32_t *vj_fixture_upload_int32s(vj_fixture *f, const int32_t *values, int64_t count);

/** Return device floats, doubles, or an operand as host doubles. */
double *vj_fixture_download(vj_fixture *f, const float *device, int64_t count);
double *vj_fixture_download_doubles(vj_fixture *f, const double *device, int64_t count);
double *vj_fixture_download_operand(vj_fixture *f, vj_array device, int64_t count);
/** Return host floats as doubles. */
double *vj_fixture_widen(vj_fixture *f, const float *values, int64_t count);

/* ------------------------------------------------------------------------------------------------ comparing */

/** Compare `count` values with an array of as many values, print a line and count the result. Does nothing if `want` is
 * NULL, because a missing dataset is counted already. */
void vj_fixture_compare(vj_fixture *f, const char *name, const double *got, int64_t count, const vj_values *want,
                        vj_tolerance tolerance);

/** Return vj_tolerance_of() for the precision of the fixture's backend. */
vj_tolerance vj_fixture_tolerance(const vj_fixture *f, vj_quantity quantity);

/** Compare one number with an expected number, likewise. */
void vj_fixture_compare_number(vj_fixture *f, const char *name, double got, double want, double tolerance);

/** Count and print a failure that is not a comparison of numbers. */
void vj_fixture_fail(vj_fixture *f, const char *name, const char *reason);

#endif
