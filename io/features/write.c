/*
 * Writing the feature store. The file is made collectively; rows go in with independent transfers, because ranks run
 * through different numbers of batches.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "features/half.h"
#include "features/inner.h"
#include "h5/h5.h"
#include "parallel/parallel.h"

struct vj_features_writer {
    vj_features_layout layout; /* encoder and config are not kept */
    vj_h5_writer out;
    hid_t features, label, clip, sums;
    hid_t type;                /* of features, in memory as in the file */
    int64_t written;           /* rows by this rank */
};

/* IEEE half: 1 sign, 5 exponent and 10 fraction bits, bias 15. Fields are set before the size shrinks around them. */
static hid_t half_type(void)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    if (H5Tset_fields(type, 15, 10, 5, 0, 10) >= 0 && H5Tset_size(type, 2) >= 0 && H5Tset_ebias(type, 15) >= 0)
        return type;
    H5Tclose(type); /* never committed to a file */
    return H5I_INVALID_HID;
}

static vj_status put_label_names(const vj_features_writer *w)
{
    char text[VJ_MAX_LABELS * (VJ_LABEL_NAME + 1) + 1] = "";
    for (int i = 0; i < w->layout.label_count; i++) {
        if (i > 0) strcat(text, "\n");
        strcat(text, w->layout.label_names[i]);
    }
    return vj_h5_put_text(w->label, "names", text);
}

static vj_status create_content(vj_features_writer *w, const vj_features_layout *layout)
{
    hid_t file = w->out.file;
    hsize_t n = (hsize_t)layout->clips, L = (hsize_t)layout->label_count;
    w->type = layout->type == VJ_FEATURES_F16 ? half_type() : H5Tcopy(H5T_IEEE_F32LE);
    if (w->type < 0) return vj_raise_h5("make the type of features");
    VJ_TRY(vj_h5_dataset(&w->features, file, "features", w->type, 3,
                         (hsize_t[]){n, (hsize_t)layout->tokens, (hsize_t)layout->width}));
    VJ_TRY(vj_h5_dataset(&w->label, file, "label", H5T_STD_I32LE, 2, (hsize_t[]){n, L}));
    VJ_TRY(vj_h5_dataset(&w->clip, file, "clip", H5T_STD_I64LE, 1, &n));
    VJ_TRY(vj_h5_dataset(&w->sums, file, "xxh3", H5T_STD_U64LE, 1, &n));
    VJ_TRY(put_label_names(w));
    VJ_TRY(vj_h5_put_u64(file, "store_fingerprint", layout->store_fingerprint));
    VJ_TRY(vj_h5_put_text(file, "encoder", layout->encoder));
    return vj_h5_put_text(file, "config", layout->config);
}

/* Close what is open, then commit or remove the file; the writer is gone afterwards. */
static vj_status finish(vj_features_writer *w, vj_status status)
{
    const hid_t datasets[] = {w->features, w->label, w->clip, w->sums};
    for (int i = 0; i < 4; i++)
        if (datasets[i] >= 0 && H5Dclose(datasets[i]) < 0 && status == VJ_OK)
            status = vj_raise_h5("close a dataset of %s", w->out.part);
    if (w->type >= 0 && H5Tclose(w->type) < 0 && status == VJ_OK) status = vj_raise_h5("close a type");
    status = vj_h5_commit(&w->out, status);
    free(w);
    return status;
}

static vj_status create(vj_features_writer **writer, const char *path, const vj_features_layout *layout, MPI_Comm comm)
{
    vj_features_writer *w = calloc(1, sizeof *w);
    VJ_TRY(vj_agree(comm, w ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to write %s", path)));
    w->layout = *layout;
    w->features = w->label = w->clip = w->sums = w->type = H5I_INVALID_HID;
    int64_t bytes = layout->clips * (vj_features_row_bytes(layout) + 4 * layout->label_count + 16) + (1 << 16) +
                    (int64_t)strlen(layout->config);
    vj_status status = vj_h5_create(&w->out, path, VJ_FEATURES_FORMAT, VJ_FEATURES_VERSION, bytes, comm);
    if (status != VJ_OK) {
        free(w);
        return status;
    }
    status = vj_agree(comm, create_content(w, layout));
    if (status != VJ_OK) return finish(w, status);
    *writer = w;
    return VJ_OK;
}

vj_status vj_features_create(vj_features_writer **writer, const char *path, const vj_features_layout *layout,
                             MPI_Comm comm)
{
    *writer = NULL;
    if (layout->clips < 1 || layout->tokens < 1 || layout->width < 1 || layout->label_count < 0 ||
        layout->label_count > VJ_MAX_LABELS)
        return vj_raise(VJ_ERR_STATE, "no feature store of %lld clips, %lld tokens, width %lld, %d labels",
                        (long long)layout->clips, (long long)layout->tokens, (long long)layout->width,
                        layout->label_count);
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = create(writer, path, layout, comm);
    }
    H5E_END_TRY
    return status;
}

static vj_status write_rows(const vj_features_writer *w, hid_t dataset, hid_t type, int64_t first, int64_t count,
                            const void *values)
{
    hsize_t start[3] = {0}, length[3];
    hid_t space = H5Dget_space(dataset);
    int failed = space < 0 || H5Sget_simple_extent_dims(space, length, NULL) < 0;
    start[0] = (hsize_t)first;
    length[0] = (hsize_t)count;
    hid_t memory = failed ? H5I_INVALID_HID : H5Screate_simple(H5Sget_simple_extent_ndims(space), length, NULL);
    failed = failed || memory < 0 || H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, length, NULL) < 0 ||
             H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, values) < 0;
    vj_status status = failed ? vj_raise_h5("write rows %lld to %lld of %s", (long long)first,
                                            (long long)(first + count - 1), w->out.part)
                              : VJ_OK;
    if (memory >= 0) H5Sclose(memory); /* not in the file */
    if (space >= 0) H5Sclose(space);
    return status;
}

static vj_status to_half(uint16_t *out, const float *features, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        out[i] = vj_half_from_float(features[i]);
        if ((out[i] & 0x7fffu) == 0x7c00u && isfinite(features[i]))
            return vj_raise(VJ_ERR_STATE, "the feature %g does not fit f16: write f32", (double)features[i]);
    }
    return VJ_OK;
}

static vj_status write_all(const vj_features_writer *w, int64_t first, int64_t count, const void *stored,
                           const int32_t *labels, const int64_t *clips, uint64_t *sums)
{
    const vj_features_layout *layout = &w->layout;
    int L = layout->label_count;
    for (int64_t i = 0; i < count; i++)
        sums[i] = vj_features_checksum(layout, (const char *)stored + i * vj_features_row_bytes(layout),
                                       L ? labels + i * L : NULL, clips[i]);
    VJ_TRY(write_rows(w, w->features, w->type, first, count, stored));
    if (L > 0) VJ_TRY(write_rows(w, w->label, H5T_NATIVE_INT32, first, count, labels));
    VJ_TRY(write_rows(w, w->clip, H5T_NATIVE_INT64, first, count, clips));
    return write_rows(w, w->sums, H5T_NATIVE_UINT64, first, count, sums);
}

vj_status vj_features_write(vj_features_writer *w, int64_t first, int64_t count, const float *features,
                            const int32_t *labels, const int64_t *clips)
{
    if (first < 0 || count < 0 || first + count > w->layout.clips)
        return vj_raise(VJ_ERR_STATE, "rows %lld to %lld of %lld", (long long)first, (long long)(first + count - 1),
                        (long long)w->layout.clips);
    if (count == 0) return VJ_OK;
    int half = w->layout.type == VJ_FEATURES_F16;
    uint16_t *rounded = half ? vj_calloc(count, vj_features_row_bytes(&w->layout)) : NULL;
    uint64_t *sums = vj_calloc(count, sizeof *sums);
    vj_status status = VJ_OK;
    if (!sums || (half && !rounded)) status = vj_raise(VJ_ERR_MEMORY, "no memory for %lld rows", (long long)count);
    if (status == VJ_OK && half) status = to_half(rounded, features, count * w->layout.tokens * w->layout.width);
    if (status == VJ_OK) {
        H5E_BEGIN_TRY
        {
            status = write_all(w, first, count, half ? (const void *)rounded : features, labels, clips, sums);
        }
        H5E_END_TRY
    }
    if (status == VJ_OK) w->written += count;
    free(rounded);
    free(sums);
    return status;
}

vj_status vj_features_commit(vj_features_writer *w, vj_status status, double effective_rank)
{
    int64_t rows = w->written;
    MPI_Allreduce(MPI_IN_PLACE, &rows, 1, MPI_INT64_T, MPI_SUM, w->out.comm);
    status = vj_agree(w->out.comm, status);
    if (status == VJ_OK && rows != w->layout.clips)
        status = vj_raise(VJ_ERR_STATE, "%lld rows were written to %s, which has %lld", (long long)rows, w->out.part,
                          (long long)w->layout.clips);
    MPI_Bcast(&effective_rank, 1, MPI_DOUBLE, 0, w->out.comm); /* attributes must not differ between ranks */
    H5E_BEGIN_TRY
    {
        if (status == VJ_OK) status = vj_h5_put_f64(w->out.file, "effective_rank", effective_rank);
        status = finish(w, status);
    }
    H5E_END_TRY
    return status;
}
