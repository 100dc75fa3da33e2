/* What writing, reading and inspecting of probe files share. */
#ifndef VJ_PROBE_PROBE_FILE_PARTS_H
#define VJ_PROBE_PROBE_FILE_PARTS_H

#include "h5/h5.h"
#include "probe/predictions_table.h"
#include "probe/probe_file.h"

enum { VJ_PROBE_FILE_VERSION = 1, VJ_PROBE_DIMS = 3, VJ_TENSOR_NAME = 128 };

/** True for a fact of measuring, which a probe's file does not have. */
bool vj_probe_file_leaves_out(const vj_fact *fact);

/** Dimensions in the file: as in the published code. Returns how many. */
int vj_probe_file_dims(const char *name, int64_t rows, int64_t cols, hsize_t dim[VJ_PROBE_DIMS]);

/* A tensor of a file. */
typedef struct {
    char name[VJ_TENSOR_NAME]; /* without "weights/" */
    int ndim;
    hsize_t dim[VJ_PROBE_DIMS];
    int64_t count;
    float *values; /* owned; NULL: not read */
    bool intact;   /* its checksum fits */
} vj_probe_file_tensor;

/** Read a tensor by name; free its values. A checksum that does not fit is not an error here. */
vj_status vj_probe_file_tensor_read(hid_t file, const char *path, const char *name, vj_probe_file_tensor *tensor);

/** Open a file and do `work` with it, HDF5's error stack silent. */
vj_status vj_probe_file_with(const char *path, vj_status (*work)(hid_t file, void *with), void *with);

#endif
