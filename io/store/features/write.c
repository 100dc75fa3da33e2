/* Writes the feature store: rank 0 lays the file out (h5/h5.h); each rank writes its rows as soon as it has them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "features/inner.h"
#include "h5/h5.h"
#include "h5/half.h"
#include "parallel/parallel.h"

struct vj_features_writer {
    vj_features_header layout; /* its pointers are not valid after create */
    vj_h5_writer out;
    struct {
        int64_t features, label, clip, clip_sums, sums;
    } place;                        /* of the datasets in the file */
    int64_t classes[VJ_MAX_LABELS]; /* on rank 0: file offsets of the class names */
    uint64_t written, rows_sum;     /* by this rank: number of rows, and their row_sum() */
};

static vj_status create_labels(vj_features_writer *w)
{
    const vj_features_header *layout = &w->layout;
    char text[VJ_MAX_LABELS * (VJ_LABEL_NAME + 1) + 1] = "";
    for (int i = 0; i < layout->label_count; i++) {
        if (i > 0) strcat(text, "\n");
        strcat(text, layout->label_names[i]);
    }
    VJ_TRY(vj_h5_dataset(&w->out, "label", H5T_STD_I32LE, 2,
                         (hsize_t[]){(hsize_t)layout->clips, (hsize_t)layout->label_count}, &w->place.label));
    hid_t dataset = H5Dopen2(w->out.file, "label", H5P_DEFAULT);
    if (dataset < 0) return vj_raise_h5("open label");
    vj_status status = vj_h5_put_text(dataset, "names", text);
    if (H5Dclose(dataset) < 0 && status == VJ_OK) status = vj_raise_h5("close label");
    return status;
}

static vj_status write_classes(vj_features_writer *w, const vj_features_header *layout)
{
    for (int l = 0; l < layout->label_count; l++)
        VJ_TRY(vj_clips_write_classes(&w->out, &layout->classes[l], w->classes[l]));
    return VJ_OK;
}

/* On rank 0: write everything but rows. */
static vj_status lay_out(vj_features_writer *w, const vj_features_header *layout)
{
    hsize_t n = (hsize_t)layout->clips, dim[] = {n, (hsize_t)layout->tokens, (hsize_t)layout->width};
    uint64_t any = 0;
    hid_t type = vj_features_file_type(layout->type);
    if (type < 0) return vj_raise_h5("make the type of features");
    vj_status status = vj_h5_dataset(&w->out, "features", type, 3, dim, &w->place.features);
    H5Tclose(type); /* the file has its copy */
    VJ_TRY(status);
    VJ_TRY(create_labels(w));
    VJ_TRY(vj_h5_dataset(&w->out, "clip", H5T_STD_I64LE, 1, &n, &w->place.clip));
    VJ_TRY(vj_h5_dataset(&w->out, "clip_xxh3", H5T_STD_U64LE, 1, &n, &w->place.clip_sums));
    VJ_TRY(vj_h5_dataset(&w->out, "xxh3", H5T_STD_U64LE, 1, &n, &w->place.sums));
    for (int l = 0; l < layout->label_count; l++)
        VJ_TRY(vj_clips_lay_out_classes(&w->out, layout->label_names[l], &layout->classes[l], &w->classes[l]));
    VJ_TRY(vj_h5_put_u64(w->out.file, "store_fingerprint", layout->store_fingerprint));
    VJ_TRY(vj_h5_put_u64(w->out.file, "encoder_digest", layout->encoder_digest));
    for (int l = 0; l < layout->label_count; l++) any |= layout->failed[l];
    if (any) VJ_TRY(vj_h5_put_u64s(w->out.file, "failed", layout->failed, layout->label_count));
    if (layout->grid[0] > 0) VJ_TRY(vj_h5_put_u64s(w->out.file, "grid", layout->grid, 3));
    VJ_TRY(vj_h5_put_text(w->out.file, "preprocessing", layout->preprocessing));
    VJ_TRY(vj_h5_put_text(w->out.file, "encoder", layout->encoder));
    return vj_h5_put_text(w->out.file, "config", layout->config);
}

/* On rank 0: let HDF5 do all that it does for such a file, in memory. */
static vj_status rehearse(vj_features_writer *w, int64_t structure_bytes, const vj_features_header *layout)
{
    VJ_TRY(vj_h5_create(&w->out, "the file of features", VJ_FEATURES_FORMAT, VJ_FEATURES_VERSION, structure_bytes,
                        VJ_ALONE));
    vj_status status = lay_out(w, layout);
    if (status == VJ_OK) status = vj_h5_put_f64(w->out.file, "effective_rank", 0.0);
    if (status == VJ_OK) return vj_h5_rehearse(&w->out);
    vj_h5_abandon(&w->out);
    return status;
}

static vj_status begin_rows(vj_features_writer *w, const char *path, const vj_features_header *layout, MPI_Comm comm)
{
    enum { DATASETS = 5 };
    const int64_t bytes = (DATASETS + VJ_MAX_LABELS) * VJ_H5_OBJECT_BYTES + VJ_MAX_LABELS * VJ_LABEL_NAME +
                          (int64_t)(strlen(layout->encoder) + strlen(layout->preprocessing) + strlen(layout->config));
    VJ_TRY(vj_agree(comm, vj_comm_rank(comm) == 0 ? rehearse(w, bytes, layout) : VJ_OK));
    VJ_TRY(vj_h5_create(&w->out, path, VJ_FEATURES_FORMAT, VJ_FEATURES_VERSION, bytes, comm));
    VJ_TRY(vj_h5_share(&w->out, w->out.rank == 0 ? lay_out(w, layout) : VJ_OK));
    MPI_Bcast(&w->place, (int)sizeof w->place, MPI_BYTE, 0, comm);
    return vj_agree(comm, w->out.rank == 0 ? write_classes(w, layout) : VJ_OK);
}

static vj_status create(vj_features_writer **writer, const char *path, const vj_features_header *layout, MPI_Comm comm)
{
    vj_features_writer *w = calloc(1, sizeof *w);
    VJ_TRY(vj_agree(comm, w ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to write %s", path)));
    w->layout = *layout;
    vj_status status = begin_rows(w, path, layout, comm);
    if (status == VJ_OK)
        *writer = w;
    else
        free(w);
    return status;
}

vj_status vj_features_create(vj_features_writer **writer, const char *path, const vj_features_header *layout,
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

static vj_status round_values(uint16_t *out, const float *features, int64_t count, vj_features_type type)
{
    if (type == VJ_FEATURES_BF16)
        for (int64_t i = 0; i < count; i++) out[i] = vj_bf16_from_float(features[i]);
    else
        for (int64_t i = 0; i < count; i++) {
            out[i] = vj_half_from_float(features[i]);
            if ((out[i] & 0x7fffu) == 0x7c00u && isfinite(features[i]))
                return vj_raise(VJ_ERR_STATE, "the feature %g does not fit f16: write bf16 or f32 (embed.dtype)",
                                (double)features[i]);
        }
    return VJ_OK;
}

/* Files and machines are little-endian (h5/read.c insists), so rows are written as they lie in memory. */
static vj_status write_all(vj_features_writer *w, int64_t first, int64_t count, const void *stored,
                           const int32_t *labels, const int64_t *clips, const uint64_t *clip_sums, uint64_t *sums)
{
    const vj_features_header *layout = &w->layout;
    const int L = layout->label_count;
    const int64_t row = vj_features_row_bytes(layout), labels_row = L * (int64_t)sizeof *labels;
    for (int64_t i = 0; i < count; i++)
        sums[i] = vj_features_checksum(layout, (const char *)stored + i * row, L ? labels + i * L : NULL, clips[i]);
    VJ_TRY(vj_h5_write(&w->out, w->place.features + first * row, stored, count * row));
    VJ_TRY(vj_h5_write(&w->out, w->place.label + first * labels_row, labels, count * labels_row));
    VJ_TRY(vj_h5_write(&w->out, w->place.clip + first * 8, clips, count * (int64_t)sizeof *clips));
    VJ_TRY(vj_h5_write(&w->out, w->place.clip_sums + first * 8, clip_sums, count * (int64_t)sizeof *clip_sums));
    return vj_h5_write(&w->out, w->place.sums + first * 8, sums, count * (int64_t)sizeof *sums);
}

/*
 * Return the sum, modulo 2^64, of a hash of each row number. Over all ranks it identifies the set of rows written: if
 * the number of rows is right but one is missing and another was written twice, the sum is wrong.
 */
static uint64_t row_sum(int64_t first, int64_t count)
{
    uint64_t sum = 0;
    for (int64_t row = first; row < first + count; row++) sum += XXH3_64bits(&row, sizeof row);
    return sum;
}

vj_status vj_features_write(vj_features_writer *w, int64_t first, int64_t count, const float *features,
                            const int32_t *labels, const int64_t *clips, const uint64_t *clip_sums)
{
    if (first < 0 || count < 0 || first + count > w->layout.clips)
        return vj_raise(VJ_ERR_STATE, "rows %lld to %lld of %lld", (long long)first, (long long)(first + count - 1),
                        (long long)w->layout.clips);
    if (count == 0) return VJ_OK;
    const bool rounds = w->layout.type != VJ_FEATURES_F32;
    uint16_t *rounded = rounds ? vj_calloc(count, vj_features_row_bytes(&w->layout)) : NULL;
    uint64_t *sums = vj_calloc(count, sizeof *sums);
    vj_status status = VJ_OK;
    if (!sums || (rounds && !rounded)) status = vj_raise(VJ_ERR_MEMORY, "no memory for %lld rows", (long long)count);
    if (status == VJ_OK && rounds)
        status = round_values(rounded, features, count * w->layout.tokens * w->layout.width, w->layout.type);
    if (status == VJ_OK)
        status = write_all(w, first, count, rounds ? (const void *)rounded : features, labels, clips, clip_sums, sums);
    if (status == VJ_OK) {
        w->written += (uint64_t)count;
        w->rows_sum += row_sum(first, count);
    }
    free(rounded);
    free(sums);
    return status;
}

static vj_status commit(vj_features_writer *w, vj_status status, double effective_rank)
{
    if (status == VJ_OK) status = vj_h5_flush(&w->out);
    VJ_TRY(vj_h5_gather(&w->out, status));
    VJ_TRY(vj_h5_gather(&w->out, vj_h5_verify(&w->out)));
    if (w->out.rank == 0) {
        status = vj_h5_put_f64(w->out.file, "effective_rank", effective_rank);
        if (status == VJ_OK) status = vj_h5_publish(&w->out);
    }
    return vj_h5_commit(&w->out, status);
}

void vj_features_abandon(vj_features_writer *w)
{
    if (!w) return;
    H5E_BEGIN_TRY
    {
        vj_h5_abandon(&w->out);
    }
    H5E_END_TRY
    free(w);
}

vj_status vj_features_commit(vj_features_writer *w, vj_status status, double effective_rank)
{
    uint64_t rows[2] = {w->written, w->rows_sum};
    MPI_Allreduce(MPI_IN_PLACE, rows, 2, MPI_UINT64_T, MPI_SUM, w->out.comm);
    status = vj_agree(w->out.comm, status);
    if (status == VJ_OK && rows[0] != (uint64_t)w->layout.clips)
        status = vj_raise(VJ_ERR_STATE, "%llu rows were written to %s, which has %lld", (unsigned long long)rows[0],
                          w->out.part, (long long)w->layout.clips);
    if (status == VJ_OK && rows[1] != row_sum(0, w->layout.clips))
        status = vj_raise(VJ_ERR_STATE, "%s: some rows were written twice, others never", w->out.part);
    H5E_BEGIN_TRY
    {
        status = commit(w, status, effective_rank);
    }
    H5E_END_TRY
    free(w);
    return status;
}
