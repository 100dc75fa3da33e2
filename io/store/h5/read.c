/* Opens files of unknown content, and reads their attributes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "h5/h5.h"

enum { TEXT_BYTES = 16 << 20 }; /* limit for an attribute, far above the size of any configuration */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "data are mapped as they lie in the file: little-endian");

/* Report that a file is foreign, damaged or incomplete, with HDF5's own message. */
#define foreign(...) (vj_raise_h5(__VA_ARGS__), VJ_ERR_FORMAT)

int vj_h5_is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

/*
 * Check the HDF5 signature, and that the file has the length stated in the superblock (version 2: HDF5 file format
 * specification II.A; older versions are left to H5Fopen()).
 */
static vj_status check_length(const char *path)
{
    unsigned char head[48];
    struct stat info;
    errno = 0;
    if (stat(path, &info) != 0) return vj_raise(VJ_ERR_IO, "open %s", path);
    if (S_ISDIR(info.st_mode))
        return vj_raise(VJ_ERR_FORMAT, "%s is a folder, not a regular file: name a file in it", path);
    if (!S_ISREG(info.st_mode)) return vj_raise(VJ_ERR_FORMAT, "%s is not a regular file", path);
    FILE *f = fopen(path, "rb");
    if (!f) return vj_raise(VJ_ERR_IO, "open %s", path);
    size_t found = fread(head, 1, sizeof head, f);
    fclose(f); /* only read */
    if (found < sizeof head)
        return vj_raise(VJ_ERR_FORMAT, "%s is truncated or no HDF5 file: it has %zu bytes", path, found);
    if (memcmp(head, "\211HDF\r\n\032\n", 8) != 0) return vj_raise(VJ_ERR_FORMAT, "%s is not an HDF5 file", path);
    int64_t end;
    memcpy(&end, head + 28, sizeof end);
    if (head[8] == 2 && head[9] == 8 && info.st_size < end)
        return vj_raise(VJ_ERR_FORMAT, "%s is truncated: %lld bytes found, %lld expected", path,
                        (long long)info.st_size, (long long)end);
    return VJ_OK;
}

static vj_status check_header(hid_t file, const char *path, const char *format, int64_t version)
{
    if (H5Aexists(file, "format") <= 0 || H5Aexists(file, "version") <= 0)
        return vj_raise(VJ_ERR_FORMAT, "%s was not written by vjepa: no attributes format and version", path);
    char *found;
    int64_t number;
    VJ_TRY(vj_h5_get_text(file, path, "format", &found));
    vj_status status = VJ_OK;
    if (strcmp(found, format) != 0) status = vj_raise(VJ_ERR_FORMAT, "%s is a %s, expected a %s", path, found, format);
    free(found);
    VJ_TRY(status);
    VJ_TRY(vj_h5_get_i64(file, path, "version", &number));
    if (number != version)
        return vj_raise(VJ_ERR_FORMAT, "%s has version %lld of %s, this program reads version %lld", path,
                        (long long)number, format, (long long)version);
    if (H5Aexists(file, "complete") <= 0)
        return vj_raise(VJ_ERR_FORMAT, "%s is incomplete: its writer did not finish", path);
    return VJ_OK;
}

/* Refuse links to other files: HDF5 would open what they name, which may be a file of another user, or a FIFO, where
 * opening blocks. */
static herr_t refuse_link(hid_t group, const char *name, const H5L_info_t *info, void *path)
{
    (void)group; /* part of HDF5's signature */
    if (info->type == H5L_TYPE_HARD) return 0;
    vj_raise(VJ_ERR_FORMAT, "%s: %s is a link to another place or file; vjepa writes none", (const char *)path, name);
    return 1;
}

static vj_status check_links(hid_t file, const char *path)
{
    herr_t found = H5Lvisit(file, H5_INDEX_NAME, H5_ITER_NATIVE, refuse_link, (void *)path);
    if (found < 0) return foreign("%s is damaged: its groups cannot be listed", path);
    return found > 0 ? VJ_ERR_FORMAT : VJ_OK;
}

hid_t vj_h5_open_file(const char *path)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
#if H5_VERSION_GE(1, 10, 7)
    /* By default HDF5 locks files that it reads. If the user has set HDF5_USE_FILE_LOCKING, that counts instead. */
    if (!getenv("HDF5_USE_FILE_LOCKING")) H5Pset_file_locking(access, 0, 1);
#else
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
#endif
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, access);
    H5Pclose(access); /* a property list that cannot be closed costs a few bytes, no more */
    return file;
}

/* Return whether HDF5 failed because the user's setting makes it lock files, and the file system has no locks. Sets
 * errno. */
static bool locks_fail(const char *path)
{
    const char *asked = getenv("HDF5_USE_FILE_LOCKING");
    const int fd = asked ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return false;
    errno = 0;
    const bool fail = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno != EWOULDBLOCK && errno != EINTR;
    const int error = errno;
    (void)close(fd); /* only read */
    errno = error;
    return fail;
}

vj_status vj_h5_open(hid_t *file, const char *path, const char *format, int64_t version)
{
    VJ_TRY(check_length(path));
    *file = vj_h5_open_file(path);
    if (*file < 0 && locks_fail(path))
        return vj_raise(VJ_ERR_IO,
                        "open %s: the file system has no locks, which HDF5_USE_FILE_LOCKING in the "
                        "environment asks for: unset it",
                        path);
    if (*file < 0) return foreign("%s is damaged: HDF5 cannot open it", path);
    vj_status status = check_header(*file, path, format, version);
    if (status == VJ_OK) status = check_links(*file, path);
    if (status != VJ_OK) H5Fclose(*file); /* already failing; only read */
    return status;
}

vj_status vj_h5_check_stored(hid_t dataset, const char *path, const char *name)
{
    hid_t file = H5Iget_file_id(dataset), space = H5Dget_space(dataset);
    hid_t type = H5Dget_type(dataset), creation = H5Dget_create_plist(dataset);
    hsize_t dim[H5S_MAX_RANK], size = 0, stored = H5Dget_storage_size(dataset);
    const int ndim = H5Sget_simple_extent_dims(space, dim, NULL), failed = H5Fget_filesize(file, &size) < 0;
    /* upper limit of the product of the remaining dimensions */
    hsize_t room = failed || stored > size ? 0 : stored / H5Tget_size(type);
    int whole = ndim >= 0 && H5Pget_external_count(creation) == 0 && H5Pget_nfilters(creation) == 0, empty = 0;
    for (int i = 0; i < ndim; i++) {
        empty |= dim[i] == 0;
        if (dim[i] > 0) room /= dim[i];
    }
    H5Pclose(creation); /* only read, all of them */
    H5Tclose(type);
    H5Sclose(space);
    H5Fclose(file);
    if (whole && (empty || room > 0)) return VJ_OK;
    return vj_raise(VJ_ERR_FORMAT, "%s is damaged: not all of %s is in the file", path, name);
}

vj_status vj_h5_read_array(hid_t in, const char *path, const char *name, hid_t type, int64_t want, void *values)
{
    const hid_t dataset = H5Dopen2(in, name, H5P_DEFAULT);
    if (dataset < 0) return vj_raise(VJ_ERR_FORMAT, "%s is damaged: it has no %s", path, name);
    const hid_t space = H5Dget_space(dataset), found = H5Dget_type(dataset);
    vj_status status = vj_h5_check_stored(dataset, path, name);
    if (status == VJ_OK && (H5Sget_simple_extent_npoints(space) != want || H5Tequal(found, type) <= 0))
        status =
            vj_raise(VJ_ERR_FORMAT, "%s of %s has not the %lld values that it must have", name, path, (long long)want);
    if (status == VJ_OK && H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        status = vj_raise_h5("read %s of %s", name, path);
    H5Tclose(found);
    H5Sclose(space);
    H5Dclose(dataset);
    return status;
}

static vj_status get(hid_t object, const char *path, const char *name, hid_t type, void *values, int64_t count)
{
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0) return foreign("%s: no attribute %s", path, name);
    vj_status status = VJ_OK;
    hid_t space = H5Aget_space(attribute);
    int64_t found = H5Sget_simple_extent_npoints(space);
    if (found != count)
        status = vj_raise(VJ_ERR_FORMAT, "%s: attribute %s has %lld values, expected %lld", path, name,
                          (long long)found, (long long)count);
    else if (H5Aread(attribute, type, values) < 0)
        status = foreign("%s: attribute %s is damaged", path, name);
    H5Sclose(space); /* nothing written: failing to close loses nothing */
    H5Aclose(attribute);
    return status;
}

vj_status vj_h5_get_i64(hid_t object, const char *path, const char *name, int64_t *value)
{
    return get(object, path, name, H5T_NATIVE_INT64, value, 1);
}

vj_status vj_h5_get_u64(hid_t object, const char *path, const char *name, uint64_t *value)
{
    return get(object, path, name, H5T_NATIVE_UINT64, value, 1);
}

vj_status vj_h5_get_f64(hid_t object, const char *path, const char *name, double *value)
{
    return get(object, path, name, H5T_NATIVE_DOUBLE, value, 1);
}

vj_status vj_h5_get_u64s(hid_t object, const char *path, const char *name, uint64_t *values, int64_t count)
{
    return get(object, path, name, H5T_NATIVE_UINT64, values, count);
}

/* Return the size of an attribute that is one text of fixed length; 0 if it is anything else, or longer than
 * TEXT_BYTES. */
static size_t text_bytes(hid_t attribute, hid_t type)
{
    hid_t space = H5Aget_space(attribute);
    int one = H5Sget_simple_extent_npoints(space) == 1;
    H5Sclose(space); /* only read */
    if (!one || H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0) return 0;
    size_t bytes = H5Tget_size(type);
    return bytes <= TEXT_BYTES ? bytes : 0;
}

vj_status vj_h5_get_text(hid_t object, const char *path, const char *name, char **text)
{
    *text = NULL;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0) return foreign("%s: no attribute %s", path, name);
    vj_status status = VJ_OK;
    hid_t type = H5Aget_type(attribute);
    size_t bytes = text_bytes(attribute, type);
    if (bytes == 0)
        status = vj_raise(VJ_ERR_FORMAT, "%s: attribute %s is not one fixed-length text", path, name);
    else if ((*text = calloc(bytes + 1, 1)) == NULL)
        status = vj_raise(VJ_ERR_MEMORY, "text of %s", path);
    else if (H5Aread(attribute, type, *text) < 0)
        status = foreign("%s: attribute %s is damaged", path, name);
    else if (!vj_printable(*text))
        status = vj_raise(VJ_ERR_FORMAT, "%s: attribute %s is no text: it holds control characters", path, name);
    if (status != VJ_OK) {
        free(*text);
        *text = NULL;
    }
    H5Tclose(type); /* nothing written: failing to close loses nothing */
    H5Aclose(attribute);
    return status;
}

void vj_h5_format(const char *path, char *format, int64_t bytes)
{
    format[0] = '\0';
    if (!vj_h5_is_file(path)) return;
    H5E_BEGIN_TRY
    {
        hid_t file = vj_h5_open_file(path);
        hid_t attribute = file < 0 ? H5I_INVALID_HID : H5Aopen(file, "format", H5P_DEFAULT);
        hid_t type = attribute < 0 ? H5I_INVALID_HID : H5Aget_type(attribute);
        size_t found = type < 0 ? 0 : text_bytes(attribute, type);
        if (found > 0 && found <= (size_t)bytes && H5Aread(attribute, type, format) < 0) format[0] = '\0';
        if (type >= 0) H5Tclose(type);
        if (attribute >= 0) H5Aclose(attribute);
        if (file >= 0) H5Fclose(file);
    }
    H5E_END_TRY
    format[bytes - 1] = '\0';
}

vj_status vj_h5_may_replace(const char *path, const char *format, const char *what)
{
    char found[64];
    if (access(path, F_OK) != 0) return VJ_OK;
    vj_h5_format(path, found, sizeof found);
    if (strcmp(found, format) == 0) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE, "%s is no %s, it is not replaced by one", path, what);
}

vj_status vj_h5_print_provenance(hid_t file, const char *path, FILE *out)
{
    char *date = NULL, *code = NULL, *hosts = NULL;
    int64_t ranks;
    vj_status status = vj_h5_get_i64(file, path, "ranks", &ranks);
    if (status == VJ_OK) status = vj_h5_get_text(file, path, "date", &date);
    if (status == VJ_OK) status = vj_h5_get_text(file, path, "code", &code);
    if (status == VJ_OK) status = vj_h5_get_text(file, path, "hosts", &hosts);
    if (status == VJ_OK)
        fprintf(out, "  written    %s by %s\n  ranks      %lld on %s\n", date, code, (long long)ranks, hosts);
    free(date);
    free(code);
    free(hosts);
    return status;
}
