/* The HDF5 file driver, and creating, publishing and discarding a file written with it. */
#include "clips/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

#include "base/program.h"

/* ------------------------------------------------------------------------------------------------ driver */

/* HDF5's part must come first. */
typedef struct {
    H5FD_t common;
    vj_output *output; /* borrowed */
    int fd;            /* borrowed: the output's own */
    haddr_t end_of_space, end_of_file;
} disk;

static void keep_error(disk *d)
{
    if (d->output->error == 0) d->output->error = errno ? errno : EIO;
}

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t access, haddr_t limit)
{
    (void)name; /* the file is open already */
    (void)flags;
    (void)limit;
    vj_output *const *output = H5Pget_driver_info(access);
    disk *d = output ? calloc(1, sizeof *d) : NULL;
    if (!d) return NULL;
    d->output = *output;
    d->fd = d->output->on_disk.fd;
    return &d->common;
}

static herr_t driver_close(H5FD_t *file)
{
    free(file);
    return 0;
}

static herr_t driver_query(const H5FD_t *file, unsigned long *flags)
{
    (void)file;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_AGGREGATE_SMALLDATA |
             H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
}

static haddr_t driver_get_eoa(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const disk *)file)->end_of_space;
}

static herr_t driver_set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t end)
{
    (void)type;
    ((disk *)file)->end_of_space = end;
    return 0;
}

static haddr_t driver_get_eof(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const disk *)file)->end_of_file;
}

/* Beyond the end of the file HDF5 reads zeros. A failed read gives zeros too, and its error is kept. */
static herr_t driver_read(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t bytes, void *to)
{
    (void)type;
    (void)transfer;
    disk *d = (disk *)file;
    int64_t got = vj_read_at(d->fd, to, (int64_t)bytes, (int64_t)at);
    if (got < 0) {
        keep_error(d);
        got = 0;
    }
    memset((char *)to + got, 0, bytes - (size_t)got);
    return 0;
}

static herr_t driver_write(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t bytes, const void *from)
{
    (void)transfer;
    disk *d = (disk *)file;
    if (type == H5FD_MEM_DRAW) {
        d->output->data_at = (int64_t)at;
        d->output->data_bytes = (int64_t)bytes;
    }
    if (d->output->error == 0 && !vj_write_at(d->fd, from, (int64_t)bytes, (int64_t)at)) keep_error(d);
    if (at + bytes > d->end_of_file) d->end_of_file = at + bytes;
    return 0;
}

static herr_t driver_truncate(H5FD_t *file, hid_t transfer, hbool_t closing)
{
    (void)transfer;
    (void)closing;
    disk *d = (disk *)file;
    if (d->end_of_space == d->end_of_file) return 0;
    if (d->output->error == 0 && ftruncate(d->fd, (off_t)d->end_of_space) != 0) keep_error(d);
    d->end_of_file = d->end_of_space;
    return 0;
}

/* HDF5 keeps a copy for as long as it needs it. */
static hid_t register_driver(void)
{
    const H5FD_class_t class = {
#ifdef H5FD_CLASS_VERSION /* 1.14 and later */
        .version = H5FD_CLASS_VERSION,
        .value = (H5FD_class_value_t)371, /* from the range for private use */
#endif
        .name = "vjepa output",
        .maxaddr = INT64_MAX,
        .fc_degree = H5F_CLOSE_WEAK,
        .fapl_size = sizeof(vj_output *),
        .open = driver_open,
        .close = driver_close,
        .query = driver_query,
        .get_eoa = driver_get_eoa,
        .set_eoa = driver_set_eoa,
        .get_eof = driver_get_eof,
        .read = driver_read,
        .write = driver_write,
        .truncate = driver_truncate,
        .fl_map = H5FD_FLMAP_DICHOTOMY,
    };
    return H5FDregister(&class);
}

/* ------------------------------------------------------------------------------------------------ create */

/*
 * Format 1.8, as in io/store/h5, for the checksums in HDF5's structures. The structures lie in blocks of 64 KiB between
 * the records and stay in HDF5's memory until the file is closed, because after a failed write they could not be read
 * back.
 */
static int set_access(hid_t access, hid_t driver, vj_output *output)
{
    enum { STRUCTURES = 64 << 10 };
    H5AC_cache_config_t cache = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};
    if (H5Pset_driver(access, driver, &output) < 0 ||
        H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18) < 0 || H5Pset_cache(access, 0, 1, 0, 0) < 0 ||
        H5Pset_meta_block_size(access, STRUCTURES) < 0 || H5Pget_mdc_config(access, &cache) < 0)
        return 0;
    cache.evictions_enabled = 0;
    cache.incr_mode = H5C_incr__off;
    cache.flash_incr_mode = H5C_flash_incr__off;
    cache.decr_mode = H5C_decr__off;
    return H5Pset_mdc_config(access, &cache) >= 0;
}

static hid_t create(vj_output *output)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_FILE_CREATE), file = H5I_INVALID_HID;
    hid_t driver = register_driver();
    if (driver >= 0 && set_access(access, driver, output) && H5Pset_obj_track_times(creation, 0) >= 0)
        file = H5Fcreate(output->path, H5F_ACC_TRUNC, creation, access);
    if (driver >= 0) H5FDunregister(driver); /* HDF5 keeps its own reference */
    H5Pclose(creation);                      /* a property list that cannot be closed costs a few bytes, no more */
    H5Pclose(access);
    return file;
}

static vj_status put_layout(hid_t file, const char *path, const vj_clips_header *layout)
{
    const int lossy = layout->codec.codec == VJ_CODEC_JPEG;
    VJ_TRY(vj_h5_put_text(file, "format", VJ_CLIPS_FORMAT));
    VJ_TRY(vj_h5_put_i64(file, "version", VJ_CLIPS_VERSION));
    VJ_TRY(vj_h5_put_i64(file, "frames", layout->frames));
    VJ_TRY(vj_h5_put_text(file, "codec", vj_codec_name(layout->codec.codec)));
    VJ_TRY(vj_h5_put_i64(file, "jpeg_quality", lossy ? layout->codec.quality : 0));
    VJ_TRY(vj_h5_put_i64(file, "jpeg_chroma", lossy ? layout->codec.chroma : 0));
    VJ_TRY(vj_clips_put_names(file, path, "label_names", layout->label_names[0], layout->label_count, VJ_LABEL_NAME));
    VJ_TRY(vj_clips_put_names(file, path, "dataset_names", layout->dataset_names[0], layout->dataset_count,
                              VJ_DATASET_NAME));
    VJ_TRY(vj_h5_put_text(file, "config", layout->config_text ? layout->config_text : ""));
    return vj_h5_put_text(file, "code", vj_version());
}

vj_status vj_output_create(vj_output *output, const char *path, const vj_clips_header *layout)
{
    *output = (vj_output){.file = H5I_INVALID_HID};
    VJ_TRY(vj_file_begin(&output->on_disk, path));
    output->path = output->on_disk.part;
    output->file = create(output);
    vj_status status = vj_output_check(output);
    if (status == VJ_OK && output->file < 0) status = vj_raise_h5("create %s", output->path);
    if (status == VJ_OK) status = put_layout(output->file, output->path, layout);
    if (status != VJ_OK) vj_output_discard(output);
    return status;
}

/* ------------------------------------------------------------------------------------------------ the end */

vj_status vj_output_check(const vj_output *output)
{
    if (output->error == 0) return VJ_OK;
    errno = output->error;
    return vj_raise(VJ_ERR_IO, "write %s", output->path);
}

vj_status vj_output_publish(vj_output *output)
{
    const hid_t file = output->file;
    vj_status status = vj_h5_put_i64(file, "complete", 1);
    output->file = H5I_INVALID_HID;
    if (H5Fclose(file) < 0 && status == VJ_OK) status = vj_raise_h5("close %s", output->path);
    if (status == VJ_OK) status = vj_output_check(output);
    if (status == VJ_OK) return vj_file_commit(&output->on_disk);
    vj_output_discard(output);
    return status;
}

void vj_output_stop(vj_output *output)
{
    if (output->error == 0) output->error = ECANCELED;
}

void vj_output_discard(vj_output *output)
{
    vj_output_stop(output);
    if (output->file >= 0) H5Fclose(output->file); /* the file is discarded */
    output->file = H5I_INVALID_HID;
    vj_file_rollback(&output->on_disk);
}
