/* Fixture files: reading with HDF5's error stack silent, comparing, counting. */
#include "parity/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "h5/h5.h"

/* Memory of a fixture: host blocks, and device blocks, which the backend frees. */
struct vj_fixture_block {
    struct vj_fixture_block *next;
    void *host, *device;
};

static void keep(vj_fixture *f, void *host, void *device)
{
    struct vj_fixture_block *block = malloc(sizeof *block);
    VJ_ASSERT(block && (host || device));
    *block = (struct vj_fixture_block){f->memory, host, device};
    f->memory = block;
}

void *vj_fixture_take(vj_fixture *f, int64_t bytes)
{
    void *memory = vj_calloc(bytes > 0 ? bytes : 1, 1);
    keep(f, memory, NULL);
    return memory;
}

vj_status vj_fixture_open(vj_fixture *f, const char *path, vj_backend *be)
{
    *f = (vj_fixture){.path = path, .be = be, .file = -1};
    if (access(path, R_OK) != 0) return vj_raise(VJ_ERR_IO, "open fixture %s", path);
    if (!vj_h5_is_file(path)) return vj_raise(VJ_ERR_FORMAT, "fixture %s is not a regular file", path);
    H5E_BEGIN_TRY
    {
        f->file = vj_h5_open_file(path);
    }
    H5E_END_TRY
    return f->file < 0 ? vj_raise_h5("open fixture %s", path) : VJ_OK;
}

void vj_fixture_close(vj_fixture *f)
{
    while (f->memory) {
        struct vj_fixture_block *block = f->memory;
        f->memory = block->next;
        free(block->host);
        if (block->device) vj_device_free(f->be, block->device);
        free(block);
    }
    if (f->file >= 0) H5Fclose(f->file); /* read-only: nothing can be lost */
    f->file = -1;
}

/* ------------------------------------------------------------------------------------------------ names */

/* Every part of the path must be asked for in turn: HDF5 fails on a missing group in between. */
static bool has_path(hid_t file, const char *path)
{
    char part[VJ_FIXTURE_NAME];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part) return false;
    htri_t found = 1;
    H5E_BEGIN_TRY
    {
        for (size_t end = 0; found > 0; end++) {
            end += strcspn(part + end, "/");
            const char saved = part[end];
            part[end] = '\0';
            found = H5Lexists(file, part, H5P_DEFAULT);
            part[end] = saved;
            if (!saved) break;
        }
    }
    H5E_END_TRY
    return found > 0;
}

vj_names vj_fixture_children(vj_fixture *f, const char *group)
{
    vj_names names = {0};
    H5G_info_t info = {0};
    herr_t status;
    H5E_BEGIN_TRY
    {
        status = H5Gget_info_by_name(f->file, group, &info, H5P_DEFAULT);
    }
    H5E_END_TRY
    if (status < 0) {
        vj_fixture_fail(f, group, "found nothing of this name, expected a group");
        return names;
    }
    names.name = vj_fixture_take(f, (int64_t)info.nlinks * VJ_FIXTURE_NAME);
    for (hsize_t i = 0; i < info.nlinks; i++)
        if (H5Lget_name_by_idx(f->file, group, H5_INDEX_NAME, H5_ITER_INC, i, names.name[names.count], VJ_FIXTURE_NAME,
                               H5P_DEFAULT) > 0)
            names.count++;
    return names;
}

bool vj_fixture_has(const vj_fixture *f, const char *name)
{
    if (strncmp(name, "*/", 2) != 0) return has_path(f->file, name);
    H5G_info_t info;
    if (H5Gget_info(f->file, &info) < 0) return false;
    for (hsize_t i = 0; i < info.nlinks; i++) {
        char group[VJ_FIXTURE_NAME], path[2 * VJ_FIXTURE_NAME];
        if (H5Lget_name_by_idx(f->file, "/", H5_INDEX_NAME, H5_ITER_INC, i, group, sizeof group, H5P_DEFAULT) <= 0)
            continue;
        snprintf(path, sizeof path, "%s%s", group, name + 1);
        if (has_path(f->file, path)) return true;
    }
    return false;
}

/* ------------------------------------------------------------------------------------------------ reading */

bool vj_fixture_has_attribute(const vj_fixture *f, const char *object, const char *name)
{
    htri_t found;
    H5E_BEGIN_TRY
    {
        found = H5Aexists_by_name(f->file, object, name, H5P_DEFAULT);
    }
    H5E_END_TRY
    return found > 0;
}

/* False, not reported, when there is no such attribute of `count` numbers. */
static bool read_attribute(const vj_fixture *f, const char *object, const char *name, double *values, int count)
{
    if (!vj_fixture_has_attribute(f, object, name)) return false;
    bool good = false;
    H5E_BEGIN_TRY
    {
        const hid_t attribute = H5Aopen_by_name(f->file, object, name, H5P_DEFAULT, H5P_DEFAULT);
        const hid_t space = H5Aget_space(attribute);
        good = H5Sget_simple_extent_npoints(space) == count && H5Aread(attribute, H5T_NATIVE_DOUBLE, values) >= 0;
        H5Sclose(space);
        H5Aclose(attribute);
    }
    H5E_END_TRY
    return good;
}

bool vj_fixture_text(const vj_fixture *f, const char *name, char text[VJ_FIXTURE_NAME])
{
    if (!vj_fixture_has_attribute(f, "/", name)) return false;
    char *read = NULL;
    bool good = false;
    H5E_BEGIN_TRY
    {
        const hid_t attribute = H5Aopen(f->file, name, H5P_DEFAULT), stored = H5Aget_type(attribute);
        const hid_t type = H5Tcopy(H5T_C_S1);
        H5Tset_cset(type, H5Tget_cset(stored));
        if (H5Tis_variable_str(stored) > 0) {
            H5Tset_size(type, H5T_VARIABLE);
            good = H5Aread(attribute, type, &read) >= 0 && read && snprintf(text, VJ_FIXTURE_NAME, "%s", read) >= 0;
            if (read) H5free_memory(read);
        } else if (H5Tget_class(stored) == H5T_STRING) {
            H5Tset_size(type, VJ_FIXTURE_NAME);
            good = H5Aread(attribute, type, text) >= 0;
        }
        H5Tclose(type);
        H5Tclose(stored);
        H5Aclose(attribute);
    }
    H5E_END_TRY
    return good;
}

bool vj_fixture_numbers(vj_fixture *f, const char *object, const char *name, double *values, int count)
{
    if (read_attribute(f, object, name, values, count)) return true;
    char label[2 * VJ_FIXTURE_NAME];
    snprintf(label, sizeof label, "%s@%s", object, name);
    char reason[VJ_FIXTURE_NAME];
    snprintf(reason, sizeof reason, "found %s, expected an attribute of %d %s",
             vj_fixture_has_attribute(f, object, name) ? "another size or type" : "nothing of this name", count,
             count == 1 ? "number" : "numbers");
    vj_fixture_fail(f, label, reason);
    return false;
}

bool vj_fixture_number_within(vj_fixture *f, const char *object, const char *name, double *value, double least,
                              double most)
{
    if (!vj_fixture_numbers(f, object, name, value, 1)) return false;
    if (*value >= least && *value <= most) return true;
    char label[2 * VJ_FIXTURE_NAME], reason[VJ_FIXTURE_NAME];
    snprintf(label, sizeof label, "%s@%s", object, name);
    snprintf(reason, sizeof reason, "found %g, expected %g to %g", *value, least, most);
    vj_fixture_fail(f, label, reason);
    return false;
}

bool vj_fixture_ints(vj_fixture *f, const char *object, const char *name, int *values, int count)
{
    double numbers[16];
    VJ_ASSERT(count <= 16);
    if (!vj_fixture_numbers(f, object, name, numbers, count)) return false;
    for (int i = 0; i < count; i++) {
        if (!(fabs(numbers[i]) <= INT32_MAX)) {
            char reason[VJ_FIXTURE_NAME];
            snprintf(reason, sizeof reason, "found %g, expected an integer of 32 bits", numbers[i]);
            vj_fixture_fail(f, name, reason);
            return false;
        }
        values[i] = (int)numbers[i];
    }
    return true;
}

/* Reads the dataset `array->name`; false when it is missing or cannot be read as numbers. */
static bool read_dataset(vj_fixture *f, vj_values *array)
{
    if (!has_path(f->file, array->name)) return false;
    bool good = false;
    H5E_BEGIN_TRY
    {
        const hid_t dataset = H5Dopen2(f->file, array->name, H5P_DEFAULT), space = H5Dget_space(dataset);
        hsize_t dim[VJ_FIXTURE_DIMS];
        array->ndim = H5Sget_simple_extent_ndims(space);
        if (array->ndim >= 0 && array->ndim <= VJ_FIXTURE_DIMS) {
            H5Sget_simple_extent_dims(space, dim, NULL);
            array->count = 1;
            for (int i = 0; i < array->ndim; i++) array->count *= array->dim[i] = (int64_t)dim[i];
            array->value = vj_fixture_take(f, array->count * (int64_t)sizeof(double));
            good = H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, array->value) >= 0;
        }
        H5Sclose(space);
        H5Dclose(dataset);
    }
    H5E_END_TRY
    return good;
}

/* Return the deviation of float arithmetic: from the attribute, or from the float run that is in the file besides f64.
 */
static double read_deviation(vj_fixture *f, const vj_values *array)
{
    double deviation = 0;
    if (read_attribute(f, array->name, "f32_max_abs_dev", &deviation, 1)) return deviation;
    vj_values twin = {0};
    if (strncmp(array->name, "f64/", 4) != 0) return 0;
    snprintf(twin.name, sizeof twin.name, "f32/%s", array->name + 4);
    if (!read_dataset(f, &twin) || twin.count != array->count) return 0;
    for (int64_t i = 0; i < array->count; i++) deviation = fmax(deviation, fabs(array->value[i] - twin.value[i]));
    return deviation;
}

const vj_values *vj_fixture_array(vj_fixture *f, const char *format, ...)
{
    vj_values *array = vj_fixture_take(f, sizeof *array);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(array->name, sizeof array->name, format, arguments);
    va_end(arguments);
    if (!read_dataset(f, array)) {
        vj_fixture_fail(f, array->name,
                        has_path(f->file, array->name) ? "found something else, expected a dataset of numbers"
                                                       : "found nothing of this name, expected a dataset of numbers");
        return NULL;
    }
    for (int64_t i = 0; i < array->count; i++)
        if (!isfinite(array->value[i])) {
            char reason[VJ_FIXTURE_NAME];
            snprintf(reason, sizeof reason, "found %g at value %lld, expected finite numbers", array->value[i],
                     (long long)i);
            vj_fixture_fail(f, array->name, reason);
            return NULL;
        }
    array->deviation = read_deviation(f, array);
    return array;
}

/* Write "[3, 64, 48]". */
static void write_shape(char text[VJ_FIXTURE_NAME], int ndim, const int64_t *dim)
{
    int at = snprintf(text, VJ_FIXTURE_NAME, "[");
    for (int i = 0; i < ndim; i++)
        at += snprintf(text + at, (size_t)(VJ_FIXTURE_NAME - at), "%s%lld", i > 0 ? ", " : "", (long long)dim[i]);
    snprintf(text + at, (size_t)(VJ_FIXTURE_NAME - at), "]");
}

static void fail_shape(vj_fixture *f, const char *name, const vj_values *array, const char *expected)
{
    char found[VJ_FIXTURE_NAME], reason[3 * VJ_FIXTURE_NAME];
    write_shape(found, array->ndim, array->dim);
    snprintf(reason, sizeof reason, "found %s, expected %s", found, expected);
    vj_fixture_fail(f, name, reason);
}

bool vj_fixture_expect(vj_fixture *f, const vj_values *array, int ndim, const int64_t *dim)
{
    if (!array) return false;
    if (array->ndim == ndim && memcmp(array->dim, dim, (size_t)ndim * sizeof *dim) == 0) return true;
    char expected[VJ_FIXTURE_NAME];
    write_shape(expected, ndim, dim);
    fail_shape(f, array->name, array, expected);
    return false;
}

bool vj_fixture_expect_count(vj_fixture *f, const vj_values *array, int64_t count)
{
    if (!array) return false;
    if (array->count == count) return true;
    char expected[VJ_FIXTURE_NAME];
    snprintf(expected, sizeof expected, "%lld values", (long long)count);
    fail_shape(f, array->name, array, expected);
    return false;
}

/* ------------------------------------------------------------------------------------------------ copies */

float *vj_fixture_floats(vj_fixture *f, const vj_values *array)
{
    float *values = vj_fixture_take(f, array->count * (int64_t)sizeof *values);
    for (int64_t i = 0; i < array->count; i++) values[i] = (float)array->value[i];
    return values;
}

int32_t *vj_fixture_int32s(vj_fixture *f, const vj_values *array)
{
    int32_t *values = vj_fixture_take(f, array->count * (int64_t)sizeof *values);
    for (int64_t i = 0; i < array->count; i++) values[i] = (int32_t)array->value[i];
    return values;
}

static void *take_device(vj_fixture *f, int64_t bytes)
{
    void *device = vj_device_alloc(f->be, bytes > 0 ? bytes : 1);
    keep(f, NULL, device);
    return device;
}

float *vj_fixture_device(vj_fixture *f, int64_t count)
{
    return take_device(f, count * (int64_t)sizeof(float));
}

/* Nearest bf16, ties to even; numbers only. */
static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static vj_type operand_type(const vj_fixture *f)
{
    return vj_backend_precision(f->be) == VJ_BF16 ? VJ_TYPE_BF16 : VJ_TYPE_F32;
}

vj_array vj_fixture_operand(vj_fixture *f, int64_t count)
{
    const vj_type type = operand_type(f);
    return (vj_array){take_device(f, count * vj_type_bytes(type)), type};
}

vj_array vj_fixture_upload_operand(vj_fixture *f, const float *values, int64_t count)
{
    const vj_array operand = vj_fixture_operand(f, count);
    const void *from = values;
    if (operand.type == VJ_TYPE_BF16) {
        uint16_t *rounded = vj_fixture_take(f, count * (int64_t)sizeof *rounded);
        for (int64_t i = 0; i < count; i++) rounded[i] = to_bf16(values[i]);
        from = rounded;
    }
    vj_upload(f->be, operand.data, from, count * vj_type_bytes(operand.type));
    return operand;
}

double *vj_fixture_download_operand(vj_fixture *f, vj_array device, int64_t count)
{
    if (device.type == VJ_TYPE_F32) return vj_fixture_download(f, device.data, count);
    uint16_t *rounded = vj_fixture_take(f, count * (int64_t)sizeof *rounded);
    float *values = vj_fixture_take(f, count * (int64_t)sizeof *values);
    vj_download(f->be, rounded, device.data, count * (int64_t)sizeof *rounded);
    for (int64_t i = 0; i < count; i++) {
        const uint32_t bits = (uint32_t)rounded[i] << 16;
        memcpy(&values[i], &bits, sizeof bits);
    }
    return vj_fixture_widen(f, values, count);
}

float *vj_fixture_upload(vj_fixture *f, const vj_values *array)
{
    float *device = vj_fixture_device(f, array->count);
    vj_upload(f->be, device, vj_fixture_floats(f, array), array->count * (int64_t)sizeof *device);
    return device;
}

int32_t *vj_fixture_upload_int32s(vj_fixture *f, const int32_t *values, int64_t count)
{
    int32_t *device = take_device(f, count * (int64_t)sizeof *device);
    vj_upload(f->be, device, values, count * (int64_t)sizeof *device);
    return device;
}

double *vj_fixture_widen(vj_fixture *f, const float *values, int64_t count)
{
    double *wide = vj_fixture_take(f, count * (int64_t)sizeof *wide);
    for (int64_t i = 0; i < count; i++) wide[i] = values[i];
    return wide;
}

double *vj_fixture_download(vj_fixture *f, const float *device, int64_t count)
{
    float *values = vj_fixture_take(f, count * (int64_t)sizeof *values);
    vj_download(f->be, values, device, count * (int64_t)sizeof *values);
    return vj_fixture_widen(f, values, count);
}

double *vj_fixture_download_doubles(vj_fixture *f, const double *device, int64_t count)
{
    double *values = vj_fixture_take(f, count * (int64_t)sizeof *values);
    vj_download(f->be, values, device, count * (int64_t)sizeof *values);
    return values;
}

/* ------------------------------------------------------------------------------------------------ comparing */

/* The error of a quantity: of its worst element, relative in the norm, and root mean square. */
typedef struct {
    double absolute, relative, rms;
} errors;

/* tolerance->absolute is the bound of each element, whatever it was made from. */
static void count_line(vj_fixture *f, const char *name, const errors *e, const vj_tolerance *tolerance, bool good)
{
    printf("  %-64s abs %.2e  rel %.2e  ", name, e->absolute, e->relative);
    if (tolerance->rms > 0) printf("rms %.2e  ", e->rms);
    const bool by_norm = tolerance->of_norm > 0, by_rms = tolerance->rms > 0;
    const char *more = "tolerance";
    if (tolerance->absolute > 0 || !(by_norm || by_rms)) printf("%s %.2e", more, tolerance->absolute), more = " or";
    if (by_norm) printf("%s rel %.2e", more, tolerance->of_norm), more = " or";
    if (by_rms) printf("%s rms %.2e", more, tolerance->rms);
    printf("  %s\n", good ? "ok" : "FAIL");
    if (good)
        f->passed++;
    else
        f->failed++;
}

void vj_fixture_fail(vj_fixture *f, const char *name, const char *reason)
{
    printf("  %-64s %s, in %s  FAIL\n", name, reason, f->path);
    f->failed++;
}

vj_tolerance vj_fixture_tolerance(const vj_fixture *f, vj_quantity quantity)
{
    return vj_tolerance_of(quantity, vj_backend_precision(f->be));
}

void vj_fixture_compare(vj_fixture *f, const char *name, const double *got, int64_t count, const vj_values *want,
                        vj_tolerance tolerance)
{
    if (!want) return;
    if (count != want->count || count == 0) {
        char expected[VJ_FIXTURE_NAME];
        snprintf(expected, sizeof expected, count > 0 ? "%lld values" : "at least one value", (long long)count);
        fail_shape(f, name, want, expected);
        return;
    }
    double worst = 0, largest = 0, differences = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        const double error = fabs(got[i] - want->value[i]);
        if (!(error <= worst)) worst = error; /* keeps a NaN: nothing is <= NaN afterwards, and fmax would drop it */
        if (isnan(error)) break;
        largest = fmax(largest, fabs(want->value[i]));
        differences += error * error;
        norm += want->value[i] * want->value[i];
    }
    const errors e = {.absolute = worst,
                      .relative = isnan(worst) ? worst
                                  : norm > 0   ? sqrt(differences / norm)
                                  : worst > 0  ? INFINITY
                                               : worst,
                      .rms = isnan(worst) ? worst
                             : count > 0  ? sqrt(differences / (double)count)
                                          : 0};
    tolerance.absolute = fmax(fmax(tolerance.absolute, tolerance.of_largest * largest), 4 * want->deviation);
    const bool good = e.absolute <= tolerance.absolute || (tolerance.of_norm > 0 && e.relative <= tolerance.of_norm) ||
                      (tolerance.rms > 0 && e.rms <= tolerance.rms);
    count_line(f, name, &e, &tolerance, good);
}

void vj_fixture_compare_number(vj_fixture *f, const char *name, double got, double want, double tolerance)
{
    const double error = fabs(got - want);
    const errors e = {.absolute = error, .relative = want != 0 ? error / fabs(want) : error};
    count_line(f, name, &e, &(vj_tolerance){.absolute = tolerance}, error <= tolerance);
}
