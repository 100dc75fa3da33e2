/* Edits HDF5 files. What HDF5 refuses to edit stays as it is, so no input can fail. */
#include "edits.h"

#include <hdf5.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_EDITS = 12, MAX_BYTES = 1 << 16 };

/* ------------------------------------------------------------------------------------------------ the valid file */

static void add_item(vj_fuzz_file *f, const char *object, const char *attribute, bool is_dataset)
{
    VJ_FUZZ_CHECK(f->items < VJ_FUZZ_ITEMS);
    vj_fuzz_item *item = &f->item[f->items++];
    VJ_FUZZ_CHECK(snprintf(item->object, sizeof item->object, "%s", object) < (int)sizeof item->object);
    VJ_FUZZ_CHECK(snprintf(item->attribute, sizeof item->attribute, "%s", attribute) < (int)sizeof item->attribute);
    item->is_dataset = is_dataset;
}

static herr_t list_attribute(hid_t object, const char *name, const H5A_info_t *info, void *user)
{
    (void)info; /* part of the signature */
    char path[160];
    H5Iget_name(object, path, sizeof path);
    add_item(user, path, name, false);
    return 0;
}

static herr_t list_object(hid_t root, const char *name, const H5O_info_t *info, void *user)
{
    char path[160];
    snprintf(path, sizeof path, "/%s", strcmp(name, ".") == 0 ? "" : name);
    if (path[1]) add_item(user, path, "", info->type == H5O_TYPE_DATASET); /* the root itself is not edited */
    hid_t object = H5Oopen(root, name, H5P_DEFAULT);
    H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, NULL, list_attribute, user);
    H5Oclose(object);
    return 0;
}

void vj_fuzz_file_load(vj_fuzz_file *f, const char *path)
{
    *f = (vj_fuzz_file){0};
    f->image = vj_fuzz_read(path, &f->bytes);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    VJ_FUZZ_CHECK(file >= 0 && H5Ovisit(file, H5_INDEX_NAME, H5_ITER_INC, list_object, f) >= 0);
    H5Fclose(file);
}

/* ------------------------------------------------------------------------------------------------ types and spaces */

static hid_t compound(void)
{
    hid_t type = H5Tcreate(H5T_COMPOUND, 12);
    H5Tinsert(type, "a", 0, H5T_NATIVE_INT32);
    H5Tinsert(type, "b", 4, H5T_NATIVE_DOUBLE);
    return type;
}

static hid_t enumeration(void)
{
    hid_t type = H5Tenum_create(H5T_NATIVE_INT);
    int one = 1;
    H5Tenum_insert(type, "one", &one);
    return type;
}

static hid_t text(size_t bytes)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, bytes);
    return type;
}

/* Choose any type. Close it with H5Tclose(). */
static hid_t pick_type(vj_fuzz_bytes *in)
{
    const hid_t plain[] = {H5T_STD_I8LE,  H5T_STD_U8LE,   H5T_STD_I32LE,  H5T_STD_I64LE, H5T_STD_U64LE,   H5T_STD_I32BE,
                           H5T_STD_U16LE, H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_STD_U64BE, H5T_STD_REF_OBJ, H5T_STD_B8LE};
    const int plains = sizeof plain / sizeof plain[0];
    const int kind = vj_fuzz_u8(in) % (plains + 8);
    if (kind < plains) return H5Tcopy(plain[kind]);
    hsize_t three = 3;
    hid_t half;
    switch (kind - plains) {
    case 0:
        return text((size_t)vj_fuzz_u8(in) + 1);
    case 1:
        return text(H5T_VARIABLE);
    case 2:
        return compound();
    case 3:
        return enumeration();
    case 4:
        return H5Tvlen_create(H5T_NATIVE_INT);
    case 5:
        return H5Tarray_create2(H5T_NATIVE_INT, 1, &three);
    case 6:
        return H5Tcreate(H5T_OPAQUE, (size_t)vj_fuzz_u8(in) + 1);
    default: /* two bytes: a half-precision number with the exponent of bf16 or another */
        half = H5Tcopy(H5T_IEEE_F32LE);
        H5Tset_fields(half, 15, vj_fuzz_u8(in) & 1 ? 7 : 10, vj_fuzz_u8(in) & 1 ? 8 : 5, 0, 7);
        H5Tset_size(half, 2);
        return half;
    }
}

/* Choose any dataspace; *elements gets the number of elements, or 0 for more than MAX_BYTES. Close it with H5Sclose().
 */
static hid_t pick_space(vj_fuzz_bytes *in, hsize_t dims[8], int *rank, size_t *elements)
{
    *rank = vj_fuzz_u8(in) % 8 - 1;
    *elements = 1;
    if (*rank < 0) {
        *elements = 0;
        *rank = 0;
        return H5Screate(H5S_NULL);
    }
    if (*rank == 0) return H5Screate(H5S_SCALAR);
    for (int i = 0; i < *rank; i++) {
        const int64_t dim = vj_fuzz_i64(in);
        dims[i] = dim < 0 ? (hsize_t)-dim / 2 : (hsize_t)dim;
        *elements = dims[i] > MAX_BYTES || *elements * dims[i] > MAX_BYTES ? 0 : *elements * (size_t)dims[i];
    }
    return H5Screate_simple(*rank, dims, NULL);
}

/* Choose the values of `elements` elements of the type; texts point into the same buffer. NULL: none. Free with free().
 */
static char *pick_values(vj_fuzz_bytes *in, hid_t type, size_t elements)
{
    static char word[2][9];
    const size_t bytes = H5Tget_size(type);
    if (elements == 0 || bytes == 0 || elements > MAX_BYTES / bytes) return NULL;
    char *values = calloc(elements, bytes);
    VJ_FUZZ_CHECK(values);
    if (H5Tis_variable_str(type) > 0) {
        for (int i = 0; i < 2; i++)
            for (int c = 0; c < 8; c++) word[i][c] = (char)vj_fuzz_u8(in);
        for (size_t i = 0; i < elements; i++) ((char **)values)[i] = i % 3 == 2 ? NULL : word[i % 3];
    } else if (H5Tget_class(type) == H5T_INTEGER) {
        const int64_t value = vj_fuzz_i64(in);
        for (size_t i = 0; i < elements; i++) memcpy(values + i * bytes, &value, bytes < 8 ? bytes : 8);
    } else if (H5Tget_class(type) != H5T_VLEN && H5Tget_class(type) != H5T_REFERENCE) {
        const uint8_t *data;
        const size_t got = vj_fuzz_take(in, elements * bytes, &data);
        if (got) memcpy(values, data, got);
    }
    return values;
}

/* ------------------------------------------------------------------------------------------------ edits */

static void put_attribute(hid_t object, const char *name, vj_fuzz_bytes *in)
{
    hsize_t dims[8];
    int rank;
    size_t elements;
    hid_t type = pick_type(in), space = pick_space(in, dims, &rank, &elements);
    H5Adelete(object, name);
    char *values = pick_values(in, type, elements);
    hid_t attribute = values ? H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT) : H5I_INVALID_HID;
    if (attribute >= 0) H5Awrite(attribute, type, values);
    H5Aclose(attribute);
    free(values);
    H5Sclose(space);
    H5Tclose(type);
}

/* Write an attribute with a text from the input's bytes, of fixed or variable length. */
static void put_text(hid_t object, const char *name, vj_fuzz_bytes *in)
{
    const uint8_t how = vj_fuzz_u8(in), *data;
    char copy[256] = "", *pointer = copy;
    size_t bytes = vj_fuzz_take(in, how & 0x3f, &data);
    if (bytes) memcpy(copy, data, bytes);
    hid_t type = text(how & 0x80 ? H5T_VARIABLE : bytes + 1), space = H5Screate(H5S_SCALAR);
    H5Adelete(object, name);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute >= 0) H5Awrite(attribute, type, how & 0x80 ? (void *)&pointer : copy);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
}

/* Change one element of an array of `count`, of any class except texts. */
static void change_element(hid_t type, char *values, size_t count, vj_fuzz_bytes *in)
{
    const size_t bytes = H5Tget_size(type), at = count ? vj_fuzz_u32(in) % count : 0;
    const int64_t value = vj_fuzz_i64(in);
    const double real = (double)value;
    if (count == 0 || H5Tget_class(type) == H5T_VLEN || H5Tis_variable_str(type) > 0) return;
    if (H5Tget_class(type) == H5T_FLOAT && bytes == 8)
        memcpy(values + at * bytes, &real, bytes);
    else
        memcpy(values + at * bytes, &value, bytes < 8 ? bytes : 8);
}

static void change_attribute(hid_t object, const char *name, vj_fuzz_bytes *in)
{
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    const hssize_t count = H5Sget_simple_extent_npoints(space);
    const size_t bytes = type >= 0 ? H5Tget_size(type) : 0;
    if (count > 0 && bytes > 0 && (size_t)count <= MAX_BYTES / bytes && H5Tis_variable_str(type) <= 0) {
        char *values = calloc((size_t)count, bytes);
        VJ_FUZZ_CHECK(values);
        H5Aread(attribute, type, values);
        change_element(type, values, (size_t)count, in);
        H5Awrite(attribute, type, values);
        free(values);
    }
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(attribute);
}

/* Change one element of a dataset, or set all to the same value. */
static void change_dataset(hid_t file, const char *name, vj_fuzz_bytes *in)
{
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    const hssize_t count = H5Sget_simple_extent_npoints(space);
    const size_t bytes = type >= 0 ? H5Tget_size(type) : 0;
    if (count > 0 && bytes > 0 && (size_t)count <= MAX_BYTES / bytes && H5Tis_variable_str(type) <= 0) {
        char *values = calloc((size_t)count, bytes);
        VJ_FUZZ_CHECK(values);
        if (H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0) {
            change_element(type, values, (size_t)count, in);
            if (vj_fuzz_u8(in) & 1)
                for (hssize_t i = 1; i < count; i++) memcpy(values + (size_t)i * bytes, values, bytes);
            H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
        }
        free(values);
    }
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(dataset);
}

static herr_t copy_attribute(hid_t object, const char *name, const H5A_info_t *info, void *user)
{
    (void)info; /* part of the signature */
    hid_t from = H5Aopen(object, name, H5P_DEFAULT), type = H5Aget_type(from), space = H5Aget_space(from);
    hid_t to = H5Acreate2(*(hid_t *)user, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    void *values = calloc((size_t)H5Sget_simple_extent_npoints(space) + 1, H5Tget_size(type));
    VJ_FUZZ_CHECK(values);
    H5Aread(from, type, values);
    H5Awrite(to, type, values);
    if (H5Tis_variable_str(type) > 0) H5Dvlen_reclaim(type, space, H5P_DEFAULT, values);
    free(values);
    H5Aclose(to);
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(from);
    return 0;
}

/* Choose how a dataset is stored: contiguous, compact, chunked with or without compression, or in another file. */
static hid_t pick_layout(vj_fuzz_bytes *in, int rank, const hsize_t *dims)
{
    hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t chunk[8];
    const int how = vj_fuzz_u8(in) % 6;
    for (int i = 0; i < rank; i++) chunk[i] = dims[i] < 1 ? 1 : dims[i] < 16 ? dims[i] : 16;
    if (how == 1) H5Pset_layout(create, H5D_COMPACT);
    if (how >= 2 && how <= 4 && rank > 0) H5Pset_chunk(create, rank, chunk);
    if (how == 3) H5Pset_deflate(create, 1);
    if (how == 4) H5Pset_fletcher32(create);
    if (how == 5) H5Pset_external(create, "/dev/zero", 0, H5F_UNLIMITED);
    return create;
}

/* Replace a dataset by one with the same name and attributes, but any type, shape, layout and contents. */
static void put_dataset(hid_t file, const char *name, vj_fuzz_bytes *in)
{
    hsize_t dims[8];
    int rank;
    size_t elements;
    const bool same_type = vj_fuzz_u8(in) & 1;
    hid_t old = H5Dopen2(file, name, H5P_DEFAULT);
    hid_t type = same_type && old >= 0 ? H5Dget_type(old) : pick_type(in);
    hid_t space = pick_space(in, dims, &rank, &elements), create = pick_layout(in, rank, dims);
    H5Ldelete(file, name, H5P_DEFAULT);
    hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, create, H5P_DEFAULT);
    char *values = dataset >= 0 ? pick_values(in, type, elements) : NULL;
    if (values && vj_fuzz_u8(in) % 4) H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    if (old >= 0 && dataset >= 0) H5Aiterate2(old, H5_INDEX_NAME, H5_ITER_INC, NULL, copy_attribute, &dataset);
    free(values);
    H5Dclose(dataset);
    H5Pclose(create);
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(old);
}

/* Replace an object by a link to something, or by an empty group. */
static void put_link(const vj_fuzz_file *f, hid_t file, const char *name, vj_fuzz_bytes *in)
{
    const int how = vj_fuzz_u8(in) % 8;
    const char *other = f->item[vj_fuzz_u8(in) % f->items].object;
    hid_t group = H5I_INVALID_HID;
    H5Ldelete(file, name, H5P_DEFAULT);
    if (how == 0) H5Lcreate_soft(other, file, name, H5P_DEFAULT, H5P_DEFAULT);
    if (how == 1) H5Lcreate_soft(name, file, name, H5P_DEFAULT, H5P_DEFAULT); /* to itself */
    if (how == 2) H5Lcreate_soft("/nothing", file, name, H5P_DEFAULT, H5P_DEFAULT);
    if (how == 3) H5Lcreate_hard(file, other, file, name, H5P_DEFAULT, H5P_DEFAULT);
    if (how == 4) H5Lcreate_hard(file, "/", file, name, H5P_DEFAULT, H5P_DEFAULT); /* a cycle */
    if (how == 5 || how == 6) {
        char elsewhere[VJ_PATH];
        vj_fuzz_path(elsewhere, how == 5 ? "valid.h5" : "fifo");
        H5Lcreate_external(elsewhere, other, file, name, H5P_DEFAULT, H5P_DEFAULT);
    }
    if (how == 7) group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Gclose(group);
}

/* Add a group or a dataset with any name below an object. */
static void add_object(hid_t file, const char *parent, vj_fuzz_bytes *in)
{
    char name[512], part[256] = "";
    const uint8_t *data;
    const size_t bytes = vj_fuzz_take(in, vj_fuzz_u8(in) & 0x3f, &data);
    const int repeats = vj_fuzz_u8(in) % 4;
    if (bytes) memcpy(part, data, bytes);
    snprintf(name, sizeof name, "%s/%s", parent, part);
    for (int i = 0; i < repeats; i++) strncat(name, part, sizeof name - strlen(name) - 1);
    if (vj_fuzz_u8(in) & 1)
        H5Gclose(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    else
        put_dataset(file, name, in);
}

enum { DELETE, CHANGE, PUT, PUT_TEXT, LINK, ADD, ACTIONS };

static void edit_attribute(hid_t object, const char *name, int action, vj_fuzz_bytes *in)
{
    if (action == DELETE) H5Adelete(object, name);
    if (action == CHANGE) change_attribute(object, name, in);
    if (action == PUT) put_attribute(object, name, in);
    if (action == PUT_TEXT) put_text(object, name, in);
}

static void edit(const vj_fuzz_file *f, hid_t file, vj_fuzz_bytes *in)
{
    const vj_fuzz_item *item = &f->item[vj_fuzz_u8(in) % f->items];
    const int action = vj_fuzz_u8(in) % ACTIONS;
    if (*item->attribute) {
        hid_t object = H5Oopen(file, item->object, H5P_DEFAULT);
        if (object >= 0) edit_attribute(object, item->attribute, action, in);
        H5Oclose(object);
        return;
    }
    if (action == DELETE) H5Ldelete(file, item->object, H5P_DEFAULT);
    if (action == CHANGE && item->is_dataset) change_dataset(file, item->object, in);
    if (action == PUT && item->is_dataset) put_dataset(file, item->object, in);
    if (action == LINK) put_link(f, file, item->object, in);
    if (action == ADD) add_object(file, item->is_dataset ? "" : item->object, in);
}

/* ------------------------------------------------------------------------------------------------ files */

void vj_fuzz_file_edit(const vj_fuzz_file *f, vj_fuzz_bytes *in, const char *path)
{
    vj_fuzz_write(path, f->image, f->bytes);
    if (in->at == in->end) return;
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    VJ_FUZZ_CHECK(file >= 0);
    vj_fuzz_watch_leaks(false); /* HDF5 leaks when an edit goes through a link to what is no HDF5 file */
    for (int i = 0; i < MAX_EDITS && in->at < in->end; i++) edit(f, file, in);
    VJ_FUZZ_CHECK(H5Fclose(file) >= 0);
    vj_fuzz_watch_leaks(true);
}

void vj_fuzz_file_damage(const vj_fuzz_file *f, vj_fuzz_bytes *in, const char *path)
{
    uint8_t *image = malloc(f->bytes);
    size_t bytes = f->bytes;
    VJ_FUZZ_CHECK(image);
    memcpy(image, f->image, bytes);
    while (in->at < in->end) {
        const uint32_t at = vj_fuzz_u32(in);
        if (at >> 24 == 0xff)
            bytes -= (at & 0xffffff) % bytes;
        else
            image[at % f->bytes] = vj_fuzz_u8(in);
    }
    vj_fuzz_write(path, image, bytes);
    free(image);
}

void vj_fuzz_file_seeds(const vj_fuzz_file *f, uint8_t head, void (*seed)(const uint8_t *data, size_t size))
{
    seed(&head, 1);
    for (int i = 0; i < f->items; i++)
        for (int action = 0; action < ACTIONS; action++)
            for (int variant = 0; variant < (action == DELETE ? 1 : 2); variant++) {
                uint8_t data[] = {head, (uint8_t)i, (uint8_t)action, (uint8_t)(6 * variant), 9, 11, 4, 200, 130, 7, 1};
                seed(data, action == DELETE ? 3 : sizeof data);
            }
}
