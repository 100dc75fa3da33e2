/* Shared by the code that writes, reads and inspects probe files. */
#ifndef VJ_PROBE_PROBE_FILE_PARTS_H
#define VJ_PROBE_PROBE_FILE_PARTS_H

#include "h5/h5.h"
#include "probe/predictions_table.h"
#include "probe/probe_file.h"

enum { VJ_PROBE_FILE_VERSION = 1, VJ_PROBE_DIMS = 3, VJ_TENSOR_NAME = 128 };

/* A tensor of a file. */
typedef struct {
    char name[VJ_TENSOR_NAME]; /* without "weights/" */
    int ndim;
    hsize_t dim[VJ_PROBE_DIMS];
    int64_t count;
    float *values; /* owned; NULL: not read */
    bool intact;   /* its checksum is right */
} vj_probe_file_tensor;

/** Read a tensor by name; free its values. A wrong checksum is not an error here. */
vj_status vj_probe_file_tensor_read(hid_t file, const char *path, const char *name, vj_probe_file_tensor *tensor);

/** Open a file and call `work` with it, while HDF5 prints no errors. */
vj_status vj_probe_file_with(const char *path, vj_status (*work)(hid_t file, void *with), void *with);

#endif
