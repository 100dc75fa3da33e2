/* Creates attributes and datasets in a file that is being written. */
#include <stdio.h>
#include <string.h>

#include "h5/h5.h"

static vj_status put(hid_t object, const char *name, hid_t type, hid_t space, const void *values)
{
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    int failed = attribute < 0 || H5Awrite(attribute, type, values) < 0;
    if (attribute >= 0 && H5Aclose(attribute) < 0) failed = 1;
    if (H5Sclose(space) < 0) failed = 1;
    return failed ? vj_raise_h5("write attribute %s", name) : VJ_OK;
}

vj_status vj_h5_put_i64(hid_t object, const char *name, int64_t value)
{
    return put(object, name, H5T_NATIVE_INT64, H5Screate(H5S_SCALAR), &value);
}

vj_status vj_h5_put_u64(hid_t object, const char *name, uint64_t value)
{
    return put(object, name, H5T_NATIVE_UINT64, H5Screate(H5S_SCALAR), &value);
}

vj_status vj_h5_put_f64(hid_t object, const char *name, double value)
{
    return put(object, name, H5T_NATIVE_DOUBLE, H5Screate(H5S_SCALAR), &value);
}

vj_status vj_h5_put_u64s(hid_t object, const char *name, const uint64_t *values, int64_t count)
{
    hsize_t dim = (hsize_t)count;
    return put(object, name, H5T_NATIVE_UINT64, H5Screate_simple(1, &dim, NULL), values);
}

/* The text has a fixed length: unlike variable-length text, it lies in the object header, which has a checksum. */
vj_status vj_h5_put_text(hid_t object, const char *name, const char *text)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type < 0 || H5Tset_size(type, strlen(text) + 1) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)
        return vj_raise_h5("type of attribute %s", name);
    vj_status status = put(object, name, type, H5Screate(H5S_SCALAR), text);
    if (H5Tclose(type) < 0 && status == VJ_OK) status = vj_raise_h5("type of attribute %s", name);
    return status;
}

vj_h5_version vj_h5_library(void)
{
    vj_h5_version version;
    unsigned major, minor, release;
    H5get_libversion(&major, &minor, &release);
    snprintf(version.text, sizeof version.text, "%u.%u.%u", major, minor, release);
    return version;
}

/* Check that the data lie after HDF5's structures and after earlier datasets; elsewhere HDF5 or other ranks could
 * overwrite them. */
static vj_status check_place(vj_h5_writer *writer, const char *name, int64_t offset, int64_t bytes)
{
    if (bytes == 0) return VJ_OK; /* such a dataset has no place */
    if (offset < writer->data_end)
        return vj_raise(VJ_ERR_LIBRARY,
                        "HDF5 %s puts the data of %s at byte %lld of %s, expected at %lld: it lays files out "
                        "otherwise than 1.10 to 2.0 do; build vjepa with one of those",
                        vj_h5_library().text, name, (long long)offset, writer->path, (long long)writer->data_end);
    writer->data_end = offset + bytes;
    return VJ_OK;
}

/* The fields must be set before the size is reduced. */
hid_t vj_h5_short_float(int exponent_bits)
{
    const size_t exponent = (size_t)exponent_bits, fraction = 15 - exponent;
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    if (H5Tset_fields(type, 15, fraction, exponent, 0, fraction) >= 0 && H5Tset_size(type, 2) >= 0 &&
        H5Tset_ebias(type, ((size_t)1 << (exponent - 1)) - 1) >= 0)
        return type;
    H5Tclose(type); /* never committed to a file */
    return H5I_INVALID_HID;
}

vj_status vj_h5_dataset(vj_h5_writer *writer, const char *name, hid_t type, int ndim, const hsize_t *dim,
                        int64_t *offset)
{
    hid_t create = H5Pcreate(H5P_DATASET_CREATE), link = H5Pcreate(H5P_LINK_CREATE);
    hid_t space = H5Screate_simple(ndim, dim, NULL), dataset = H5I_INVALID_HID;
    if (H5Pset_layout(create, H5D_CONTIGUOUS) >= 0 && H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY) >= 0 &&
        H5Pset_fill_time(create, H5D_FILL_TIME_NEVER) >= 0 && H5Pset_create_intermediate_group(link, 1) >= 0)
        dataset = H5Dcreate2(writer->file, name, type, space, link, create, H5P_DEFAULT);
    int failed = dataset < 0;
    *offset = failed ? -1 : (int64_t)H5Dget_offset(dataset); /* undefined, and negative, if it has no elements */
    const int64_t bytes = (int64_t)H5Sget_simple_extent_npoints(space) * (int64_t)H5Tget_size(type);
    if (dataset >= 0 && H5Dclose(dataset) < 0) failed = 1;
    failed |= H5Pclose(create) < 0 || H5Pclose(link) < 0 || H5Sclose(space) < 0;
    if (failed) return vj_raise_h5("create dataset %s in %s", name, writer->path);
    return check_place(writer, name, *offset, bytes);
}
