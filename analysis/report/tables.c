/* Reads HDF5 datasets and texts for pages. */
#include <stdlib.h>
#include <string.h>

#include "h5/h5.h"
#include "report/inside.h"
#include "report/pages.h"

enum { TEXT_BYTES = 64 << 20 };

/* ------------------------------------------------------------------------------------------------ HDF5 */

static vj_status read_dataset(vj_h5_numbers *n, hid_t dataset, const char *path, const char *name, int ndim)
{
    hsize_t dim[4];
    int64_t count = 1;
    hid_t space = H5Dget_space(dataset), type = H5Dget_type(dataset);
    n->ndim = H5Sget_simple_extent_ndims(space);
    if (n->ndim == ndim) H5Sget_simple_extent_dims(space, dim, NULL);
    const H5T_class_t class = H5Tget_class(type);
    H5Sclose(space); /* only read, as all that follows */
    H5Tclose(type);
    if (n->ndim != ndim || (class != H5T_FLOAT && class != H5T_INTEGER))
        return vj_raise(VJ_ERR_FORMAT, "%s: %s does not hold numbers of %d dimensions", path, name, ndim);
    for (int d = 0; d < ndim; d++) {
        n->dim[d] = (int64_t)dim[d];
        if (n->dim[d] > VJ_H5_MAX) count = VJ_H5_MAX + 1;
        if (count <= VJ_H5_MAX) count *= n->dim[d];
    }
    if (count > VJ_H5_MAX)
        return vj_raise(VJ_ERR_FORMAT, "%s: %s has more than %d numbers, too many for a page", path, name, VJ_H5_MAX);
    VJ_TRY(vj_h5_check_stored(dataset, path, name));
    n->value = vj_report_memory(count + 1, sizeof *n->value);
    if (count > 0 && H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, n->value) < 0)
        return vj_raise_h5("%s: %s cannot be read", path, name);
    return VJ_OK;
}

vj_status vj_h5_numbers_read(vj_h5_numbers *n, hid_t group, const char *path, const char *name, int ndim)
{
    vj_status status;
    memset(n, 0, sizeof *n);
    H5E_BEGIN_TRY
    {
        const hid_t dataset = H5Dopen2(group, name, H5P_DEFAULT);
        status = dataset < 0 ? vj_raise(VJ_ERR_FORMAT, "%s: there is no dataset %s", path, name)
                             : read_dataset(n, dataset, path, name, ndim);
        if (dataset >= 0) H5Dclose(dataset);
    }
    H5E_END_TRY
    return status;
}

float *vj_h5_corner_read(hid_t group, const char *path, const char *name, const int64_t dim[3])
{
    const hsize_t start[3] = {0}, count[3] = {(hsize_t)dim[0], (hsize_t)dim[1], (hsize_t)dim[2]};
    float *values = vj_report_memory(dim[0] * dim[1] * dim[2] + 1, sizeof *values);
    herr_t failed = -1;
    H5E_BEGIN_TRY
    {
        const hid_t dataset = H5Dopen2(group, name, H5P_DEFAULT);
        const hid_t space = dataset < 0 ? dataset : H5Dget_space(dataset);
        if (space >= 0 && H5Sget_simple_extent_ndims(space) == 3 &&
            H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0) {
            const hid_t memory = H5Screate_simple(3, count, NULL);
            failed = H5Dread(dataset, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, values);
            H5Sclose(memory);
        }
        if (space >= 0) H5Sclose(space);
        if (dataset >= 0) H5Dclose(dataset);
    }
    H5E_END_TRY
    if (failed >= 0) return values;
    vj_raise(VJ_ERR_FORMAT, "%s: %s cannot be read", path, name);
    free(values);
    return NULL;
}

/* Split consecutive texts of `bytes` bytes each into an array of texts that can be shown. */
static vj_status split_texts(const char *all, size_t bytes, int count, const char *path, const char *name,
                             char ***texts)
{
    *texts = vj_report_memory(count + 1, sizeof **texts);
    for (int i = 0; i < count; i++) {
        (*texts)[i] = vj_report_memory((int64_t)bytes + 1, 1);
        memcpy((*texts)[i], all + (size_t)i * bytes, bytes);
        if (!vj_printable((*texts)[i])) return vj_raise(VJ_ERR_FORMAT, "%s: %s holds control characters", path, name);
    }
    return VJ_OK;
}

/* Read texts from `from`, an open attribute or dataset. */
static vj_status read_texts(hid_t from, bool attribute, const char *path, const char *name, char ***texts, int *count)
{
    hid_t space = attribute ? H5Aget_space(from) : H5Dget_space(from);
    hid_t type = attribute ? H5Aget_type(from) : H5Dget_type(from);
    const hssize_t n = H5Sget_simple_extent_npoints(space);
    const size_t bytes = H5Tget_size(type);
    vj_status status = VJ_OK;
    if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) > 0 || n < 0 || bytes == 0 ||
        (uint64_t)n * bytes > TEXT_BYTES)
        status = vj_raise(VJ_ERR_FORMAT, "%s: %s does not hold texts of fixed length", path, name);
    if (status == VJ_OK && !attribute) status = vj_h5_check_stored(from, path, name);
    if (status == VJ_OK) {
        char *all = vj_report_memory((int64_t)n + 1, bytes);
        const herr_t failed =
            attribute ? H5Aread(from, type, all) : H5Dread(from, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, all);
        *count = (int)n;
        status = failed < 0 ? vj_raise_h5("%s: %s cannot be read", path, name)
                            : split_texts(all, bytes, *count, path, name, texts);
        free(all);
    }
    H5Sclose(space);
    H5Tclose(type);
    return status;
}

vj_status vj_h5_texts_read(hid_t object, const char *path, const char *name, char ***texts, int *count)
{
    vj_status status;
    *texts = NULL;
    *count = 0;
    H5E_BEGIN_TRY
    {
        const bool attribute = H5Aexists(object, name) > 0;
        const hid_t from = attribute ? H5Aopen(object, name, H5P_DEFAULT) : H5Dopen2(object, name, H5P_DEFAULT);
        status = from < 0 ? vj_raise(VJ_ERR_FORMAT, "%s: there is no %s", path, name)
                          : read_texts(from, attribute, path, name, texts, count);
        if (from >= 0 && attribute) H5Aclose(from);
        if (from >= 0 && !attribute) H5Dclose(from);
    }
    H5E_END_TRY
    if (status != VJ_OK) vj_report_free_names(*texts, *count);
    if (status != VJ_OK) *texts = NULL;
    return status;
}
