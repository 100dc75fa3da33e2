/*
 * One fixture file while it is checked: reading, comparing, counting. Memory taken here lives until the file is closed;
 * a fixture is small, so running out of memory aborts. Reading a dataset or attribute that the file lacks counts as a
 * failure.
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

/** Open read-only. Close with vj_fixture_close(), also after a failure. */
vj_status vj_fixture_open(vj_fixture *f, const char *path, vj_backend *be);
void vj_fixture_close(vj_fixture *f);

/** `bytes` zeroed, freed by close. */
void *vj_fixture_take(vj_fixture *f, int64_t bytes);

/* ------------------------------------------------------------------------------------------------ reading */

/* A dataset as double (float and 32-bit integers are exact). */
typedef struct {
    char name[VJ_FIXTURE_NAME]; /* its path in the file */
    int ndim;
    int64_t dim[VJ_FIXTURE_DIMS], count;
    double *value;
    double deviation; /* of a float run from it, as the file says; 0: it does not say */
} vj_values;

/** True if the file has the group or dataset; a first part "*" stands for any group of the root. */
bool vj_fixture_has(const vj_fixture *f, const char *name);
bool vj_fixture_has_attribute(const vj_fixture *f, const char *object, const char *name);

/** Read a dataset; NULL, counted, when it is missing. */
const vj_values *vj_fixture_array(vj_fixture *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Read an attribute of exactly `count` numbers of a group or dataset; false, counted, when it is missing. */
bool vj_fixture_numbers(vj_fixture *f, const char *object, const char *name, double *values, int count);
bool vj_fixture_ints(vj_fixture *f, const char *object, const char *name, int *values, int count);

/** Names in a group, in order; none, counted, when it is missing. */
typedef struct {
    int count;
    char (*name)[VJ_FIXTURE_NAME];
} vj_names;
vj_names vj_fixture_children(vj_fixture *f, const char *group);

/** Copies in the types kernels take: on the host, and in device memory (freed by close). */
float *vj_fixture_floats(vj_fixture *f, const vj_values *array);
int32_t *vj_fixture_int32s(vj_fixture *f, const vj_values *array);
float *vj_fixture_upload(vj_fixture *f, const vj_values *array);
/** `count` floats of device memory, not initialised, freed by close. */
float *vj_fixture_device(vj_fixture *f, int64_t count);
/** The same for what training keeps as bf16 where products are in bf16 (rounded as it is copied), else as floats. */
vj_array vj_fixture_upload_operand(vj_fixture *f, const float *values, int64_t count);
vj_array vj_fixture_operand(vj_fixture *f, int64_t count);
int32_t *vj_fixture_upload_int32s(vj_fixture *f, const int32_t *values, int64_t count);

/** Device floats, or doubles, as host doubles. */
double *vj_fixture_download(vj_fixture *f, const float *device, int64_t count);
double *vj_fixture_download_doubles(vj_fixture *f, const double *device, int64_t count);
double *vj_fixture_download_operand(vj_fixture *f, vj_array device, int64_t count);
/** Host floats as doubles. */
double *vj_fixture_widen(vj_fixture *f, const float *values, int64_t count);

/* ------------------------------------------------------------------------------------------------ comparing */

/** Compare `count` values with an array of as many; prints a line, counts it. want NULL (missing) was counted already.
 */
void vj_fixture_compare(vj_fixture *f, const char *name, const double *got, int64_t count, const vj_values *want,
                        vj_tolerance tolerance);

/** vj_tolerance_of() in the precision of the fixture's backend. */
vj_tolerance vj_fixture_tolerance(const vj_fixture *f, vj_quantity quantity);

/** The same with one number expected. */
void vj_fixture_compare_number(vj_fixture *f, const char *name, double got, double want, double tolerance);

/** Count and print a failure that is not a comparison of numbers. */
void vj_fixture_fail(vj_fixture *f, const char *name, const char *reason);

#endif
