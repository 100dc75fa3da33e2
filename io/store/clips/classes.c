/*
 * Reads, writes, joins and compares class names: what a label's numbers mean. The index has them as /classes/LABEL,
 * fixed-length texts [classes], the name of class n in row n; a label whose numbers have no names has no such dataset.
 * Stores that are opened together may number the same names differently: then the labels of the later store get the
 * numbers that the names already have.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clips/store.h"
#include "parallel/parallel.h"

static void object_name(char name[VJ_CLIPS_OBJECT + VJ_LABEL_NAME], const char *label)
{
    snprintf(name, VJ_CLIPS_OBJECT + VJ_LABEL_NAME, "/classes/%s", label);
}

void vj_clips_classes_release(vj_clips_classes *classes)
{
    free(classes->names);
    *classes = (vj_clips_classes){0};
}

const char *vj_clips_classes_name(const vj_clips_classes *classes, int64_t number)
{
    return number >= 0 && number < classes->count ? classes->names + number * classes->bytes : "";
}

vj_status vj_clips_broadcast_classes(vj_clips_classes *classes, MPI_Comm comm)
{
    const bool first = vj_comm_rank(comm) == 0;
    int64_t dims[2] = {classes->count, classes->bytes};
    vj_broadcast(dims, sizeof dims, comm);
    if (!first && dims[0] > 0) classes->names = vj_calloc(dims[0], dims[1]);
    const bool good = first || dims[0] == 0 || classes->names;
    VJ_TRY(vj_agree(comm, good ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the names of classes")));
    classes->count = dims[0];
    classes->bytes = dims[1];
    vj_broadcast(classes->names, dims[0] * dims[1], comm);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ one file */

vj_status vj_clips_put_classes(hid_t file, const char *path, const char *label, const vj_clips_classes *classes)
{
    char name[VJ_CLIPS_OBJECT + VJ_LABEL_NAME];
    const hsize_t dims[1] = {(hsize_t)classes->count};
    object_name(name, label);
    if (H5Lexists(file, "/classes", H5P_DEFAULT) <= 0) VJ_TRY(vj_clips_make_group(file, path, "/classes"));
    hid_t type = H5Tcopy(H5T_C_S1);
    vj_status status = H5Tset_size(type, (size_t)classes->bytes) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0
                           ? vj_clips_put(file, path, name, type, 1, dims, classes->names)
                           : vj_raise_h5("%s: %s", path, name);
    H5Tclose(type);
    VJ_TRY(status);
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0) return vj_raise_h5("%s: open %s", path, name);
    status = vj_h5_put_u64(dataset, "xxh3", XXH3_64bits(classes->names, (size_t)(classes->count * classes->bytes)));
    if (H5Dclose(dataset) < 0 && status == VJ_OK) status = vj_raise_h5("%s: close %s", path, name);
    return status;
}

static vj_status read_names(hid_t dataset, hid_t type, const char *path, const char *name, vj_clips_classes *classes)
{
    uint64_t expected;
    VJ_TRY(vj_h5_check_stored(dataset, path, name));
    classes->names = vj_calloc(classes->count, classes->bytes);
    if (!classes->names)
        return vj_raise(VJ_ERR_MEMORY, "no memory for the names of %lld classes", (long long)classes->count);
    if (H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, classes->names) < 0)
        return vj_raise_h5("%s: cannot read %s", path, name), VJ_ERR_FORMAT;
    VJ_TRY(vj_h5_get_u64(dataset, path, "xxh3", &expected));
    int good = XXH3_64bits(classes->names, (size_t)(classes->count * classes->bytes)) == expected;
    for (int64_t i = 0; good && i < classes->count; i++)
        good = classes->names[(i + 1) * classes->bytes - 1] == '\0' && vj_printable(vj_clips_classes_name(classes, i));
    return good ? VJ_OK : vj_raise(VJ_ERR_FORMAT, "%s is damaged: %s does not have its checksum", path, name);
}

vj_status vj_clips_get_classes(hid_t file, const char *path, const char *label, vj_clips_classes *classes)
{
    char name[VJ_CLIPS_OBJECT + VJ_LABEL_NAME];
    *classes = (vj_clips_classes){0};
    object_name(name, label);
    if (H5Lexists(file, "/classes", H5P_DEFAULT) <= 0 || H5Lexists(file, name, H5P_DEFAULT) <= 0) return VJ_OK;
    VJ_TRY(vj_clips_extent(file, path, name, &classes->count));
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0) return vj_raise_h5("%s: open %s", path, name), VJ_ERR_FORMAT;
    hid_t type = H5Dget_type(dataset);
    vj_status status = VJ_OK;
    if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 || H5Tget_size(type) > VJ_CLASS_NAME ||
        classes->count < 1 || classes->count > VJ_MAX_CLASSES)
        status = vj_raise(VJ_ERR_FORMAT, "%s: %s are not 1 to %d names of at most %d bytes", path, name, VJ_MAX_CLASSES,
                          VJ_CLASS_NAME - 1);
    classes->bytes = (int64_t)H5Tget_size(type);
    if (status == VJ_OK) status = read_names(dataset, type, path, name, classes);
    if (status != VJ_OK) vj_clips_classes_release(classes);
    H5Tclose(type);
    H5Dclose(dataset);
    return status;
}

vj_status vj_clips_lay_out_classes(vj_h5_writer *writer, const char *label, const vj_clips_classes *classes,
                                   int64_t *place)
{
    char name[VJ_CLIPS_OBJECT + VJ_LABEL_NAME];
    const hsize_t count = (hsize_t)classes->count;
    if (classes->count == 0) return VJ_OK;
    object_name(name, label);
    hid_t type = H5Tcopy(H5T_C_S1);
    vj_status status = H5Tset_size(type, (size_t)classes->bytes) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0
                           ? vj_h5_dataset(writer, name + 1, type, 1, &count, place)
                           : vj_raise_h5("make the type of %s", name);
    H5Tclose(type); /* the file has its copy */
    VJ_TRY(status);
    hid_t dataset = H5Dopen2(writer->file, name, H5P_DEFAULT);
    if (dataset < 0) return vj_raise_h5("open %s", name);
    status = vj_h5_put_u64(dataset, "xxh3", XXH3_64bits(classes->names, (size_t)(classes->count * classes->bytes)));
    if (H5Dclose(dataset) < 0 && status == VJ_OK) status = vj_raise_h5("close %s", name);
    return status;
}

vj_status vj_clips_write_classes(vj_h5_writer *writer, const vj_clips_classes *classes, int64_t place)
{
    return classes->count == 0 ? VJ_OK : vj_h5_write(writer, place, classes->names, classes->count * classes->bytes);
}

/* ------------------------------------------------------------------------------------------------ joining */

/* A name and its number, for sorting. */
typedef struct {
    const char *name;
    int32_t number;
} named;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

/* Make room for `count` names of at least `bytes` bytes each. */
static vj_status widen(vj_clips_classes *classes, int64_t count, int64_t bytes)
{
    if (bytes < classes->bytes) bytes = classes->bytes;
    char *names = vj_calloc(count, bytes);
    if (!names) return vj_raise(VJ_ERR_MEMORY, "no memory for the names of %lld classes", (long long)count);
    for (int64_t i = 0; i < classes->count; i++) strcpy(names + i * bytes, vj_clips_classes_name(classes, i));
    free(classes->names);
    classes->names = names;
    classes->bytes = bytes;
    return VJ_OK;
}

vj_status vj_clips_copy_classes(vj_clips_classes *copy, const vj_clips_classes *classes)
{
    VJ_ASSERT(copy->count == 0);
    if (classes->count == 0) return VJ_OK;
    VJ_TRY(widen(copy, classes->count, classes->bytes));
    memcpy(copy->names, classes->names, (size_t)(classes->count * classes->bytes));
    copy->count = classes->count;
    return VJ_OK;
}

/* Get the number in `all` of each name in `more`, [more->count], -1 for an empty name. New names are added at the end
 * of `all`. */
static vj_status find_numbers(vj_clips_classes *all, const vj_clips_classes *more, int32_t *number)
{
    const int64_t before = all->count;
    named *sorted = vj_calloc(before + 1, sizeof *sorted);
    vj_status status = sorted ? widen(all, before + more->count, more->bytes)
                              : vj_raise(VJ_ERR_MEMORY, "no memory for %lld class names", (long long)before);
    for (int64_t i = 0; i < before && status == VJ_OK; i++)
        sorted[i] = (named){vj_clips_classes_name(all, i), (int32_t)i};
    if (status == VJ_OK) qsort(sorted, (size_t)before, sizeof *sorted, by_name);
    for (int64_t i = 0; i < more->count && status == VJ_OK; i++) {
        const named wanted = {vj_clips_classes_name(more, i), -1};
        number[i] = -1;
        if (*wanted.name == '\0') continue;
        const named *found = bsearch(&wanted, sorted, (size_t)before, sizeof *sorted, by_name);
        number[i] = found ? found->number : (int32_t)all->count++;
        if (!found) strcpy(all->names + number[i] * all->bytes, wanted.name);
    }
    free(sorted);
    return status;
}

vj_status vj_clips_join_classes(vj_clips_classes *all, const vj_clips_classes *more, const char *path,
                                const char *label, int32_t *values, int64_t stride, int64_t n)
{
    if (more->count == 0) return VJ_OK;
    int32_t *number = vj_calloc(more->count, sizeof *number);
    vj_status status = number ? find_numbers(all, more, number)
                              : vj_raise(VJ_ERR_MEMORY, "no memory for %lld classes", (long long)more->count);
    for (int64_t i = 0; i < n && status == VJ_OK; i++) {
        int32_t *value = &values[i * stride];
        if (*value == -1) continue;
        if (*value < 0 || *value >= more->count || number[*value] < 0)
            status = vj_raise(VJ_ERR_FORMAT, "%s is damaged: label %s of clip %lld is %d, which is none of its classes",
                              path, label, (long long)i, *value);
        else
            *value = number[*value];
    }
    free(number);
    return status;
}

/* ------------------------------------------------------------------------------------------------ comparing */

uint64_t vj_clips_classes_digest(const vj_clips_classes *classes)
{
    int64_t count = classes->count;
    while (count > 0 && *vj_clips_classes_name(classes, count - 1) == '\0') count--;
    uint64_t digest = 0;
    for (int64_t i = 0; i < count; i++) {
        const char *name = vj_clips_classes_name(classes, i);
        digest = XXH3_64bits_withSeed(name, strlen(name) + 1, digest);
    }
    return digest;
}

/* Advice for two files that number the classes differently. */
#define ADVICE                                                                                                         \
    "the numbers of this label mean different classes in the two files, so answers in the one order would be counted " \
    "against labels in the other. Pack both with one file of labels (pack.datasets, labels) that fixes the numbers"

vj_status vj_clips_check_classes(const char *label, const vj_clips_classes *a, const char *a_path,
                                 const vj_clips_classes *b, const char *b_path, bool *compared)
{
    if (compared) *compared = a->count > 0 && b->count > 0;
    if (a->count == 0 || b->count == 0) return VJ_OK;
    for (int64_t i = 0; i < a->count && i < b->count; i++) {
        const char *x = vj_clips_classes_name(a, i), *y = vj_clips_classes_name(b, i);
        if (*x && *y && strcmp(x, y) != 0)
            return vj_raise(VJ_ERR_USAGE, "label %s: class %lld is '%s' in %s and '%s' in %s: " ADVICE, label,
                            (long long)i, x, a_path, y, b_path);
    }
    int32_t *number = vj_calloc(b->count, sizeof *number);
    vj_clips_classes all = {0};
    vj_status status = number ? vj_clips_copy_classes(&all, a)
                              : vj_raise(VJ_ERR_MEMORY, "no memory for %lld classes", (long long)b->count);
    if (status == VJ_OK) status = find_numbers(&all, b, number);
    for (int64_t i = 0; i < b->count && status == VJ_OK; i++)
        if (number[i] >= 0 && number[i] < a->count && number[i] != i)
            status = vj_raise(VJ_ERR_USAGE, "label %s: '%s' is class %d in %s and class %lld in %s: " ADVICE, label,
                              vj_clips_classes_name(b, i), number[i], a_path, (long long)i, b_path);
    vj_clips_classes_release(&all);
    free(number);
    return status;
}

bool vj_clips_compare_classes(const char *label, const vj_clips_classes *a, const vj_clips_classes *b, FILE *out)
{
    const int64_t n = a->count > b->count ? a->count : b->count;
    int64_t differ = 0, first = 0;
    for (int64_t i = n - 1; i >= 0; i--)
        if (strcmp(vj_clips_classes_name(a, i), vj_clips_classes_name(b, i)) != 0) {
            differ++;
            first = i;
        }
    if (differ > 0)
        fprintf(out, "names of classes of label %s: of %lld, first of class %lld: '%s', '%s'\n", label,
                (long long)differ, (long long)first, vj_clips_classes_name(a, first), vj_clips_classes_name(b, first));
    return differ > 0;
}
