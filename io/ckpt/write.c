/*
 * Writing a checkpoint. The file, its datasets and attributes are made collectively; between these, each rank sends its
 * rows with independent transfers. They are contiguous and up to 16 MiB long, so there is nothing for two-phase I/O to
 * merge, and a rank that fails on its own (a full disk, a device error) leaves no other waiting inside a collective
 * transfer. All agree afterwards.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/inner.h"
#include "h5/h5.h"
#include "parallel/parallel.h"

typedef struct {
    const vj_ckpt_tensor *tensors;
    int count;
    vj_ckpt_copy get;
    void *user;
    MPI_Comm comm;
    vj_h5_writer out;
    hid_t *datasets;  /* [count] */
    int64_t *offset;  /* [count + 1] number of each tensor's first block */
    uint64_t *sums;   /* [all blocks] */
    float *staging;
} job;

static vj_status allocate(job *w)
{
    w->datasets = vj_calloc(w->count, sizeof *w->datasets);
    w->offset = vj_calloc(w->count + 1, sizeof *w->offset);
    if (!w->datasets || !w->offset) return vj_raise(VJ_ERR_MEMORY, "no memory for the names of %d tensors", w->count);
    for (int i = 0; i < w->count; i++) {
        w->datasets[i] = H5I_INVALID_HID;
        w->offset[i + 1] = w->offset[i] + vj_ckpt_block_count(&w->tensors[i]);
    }
    int64_t bytes = vj_ckpt_staging_bytes(w->tensors, w->count);
    w->sums = vj_calloc(w->offset[w->count], sizeof *w->sums);
    w->staging = vj_calloc(bytes, 1);
    if (!w->sums || !w->staging)
        return vj_raise(VJ_ERR_MEMORY, "no %lld MiB for a checkpoint's staging buffer", (long long)bytes >> 20);
    return VJ_OK;
}

static void release(job *w)
{
    free(w->datasets);
    free(w->offset);
    free(w->sums);
    free(w->staging);
}

/* This rank's shares are whole blocks. Counts itself as owner of each in sums, which are not needed before. */
static vj_status claim(job *w)
{
    for (int i = 0; i < w->count; i++) {
        const vj_ckpt_tensor *t = &w->tensors[i];
        int64_t elements = vj_ckpt_elements(t), block = vj_ckpt_block_elements(t);
        if (t->first == t->last) continue;
        if (t->first < 0 || t->first > t->last || t->last > elements || t->first % block != 0 ||
            (t->last % block != 0 && t->last != elements))
            return vj_raise(VJ_ERR_STATE, "%s: elements %lld..%lld are not whole blocks of %lld", t->name,
                            (long long)t->first, (long long)t->last, (long long)block);
        for (int64_t b = t->first / block; b * block < t->last; b++) w->sums[w->offset[i] + b]++;
    }
    return VJ_OK;
}

/* Every block has one owner. */
static vj_status check_owners(job *w)
{
    vj_status status = vj_agree(w->comm, claim(w));
    if (status != VJ_OK) return status;
    MPI_Allreduce(MPI_IN_PLACE, w->sums, (int)w->offset[w->count], MPI_UINT64_T, MPI_SUM, w->comm);
    for (int i = 0; i < w->count; i++)
        for (int64_t b = w->offset[i]; b < w->offset[i + 1]; b++)
            if (w->sums[b] != 1)
                return vj_raise(VJ_ERR_STATE, "%s: block %lld is written by %llu ranks", w->tensors[i].name,
                                (long long)(b - w->offset[i]), (unsigned long long)w->sums[b]);
    memset(w->sums, 0, (size_t)w->offset[w->count] * sizeof *w->sums);
    return VJ_OK;
}

/* Data, checksums, and about 1 KiB a dataset for HDF5's headers and our text. */
static int64_t file_bytes(const job *w, const vj_ckpt_state *state)
{
    int64_t bytes = (1 << 16) + (int64_t)strlen(state->config) + 8 * w->offset[w->count];
    for (int i = 0; i < w->count; i++)
        bytes += 1024 + vj_ckpt_elements(&w->tensors[i]) * (int64_t)sizeof(float);
    return bytes;
}

static vj_status create_datasets(job *w)
{
    for (int i = 0; i < w->count; i++) {
        const vj_ckpt_tensor *t = &w->tensors[i];
        hsize_t dim[5];
        for (int j = 0; j < t->ndim; j++) dim[j] = (hsize_t)t->dim[j];
        VJ_TRY(vj_h5_dataset(&w->datasets[i], w->out.file, t->name, H5T_IEEE_F32LE, t->ndim, dim));
    }
    return VJ_OK;
}

static vj_status write_piece(job *w, int i, hid_t space, int64_t first, int64_t last)
{
    const vj_ckpt_tensor *t = &w->tensors[i];
    int64_t block = vj_ckpt_block_elements(t);
    VJ_TRY(vj_ckpt_copy_pieces(w->get, w->user, t, first, last, w->staging));
    for (int64_t at = first; at < last; at += block)
        w->sums[w->offset[i] + at / block] =
            vj_ckpt_checksum(w->staging + (at - first), at + block < last ? block : last - at);
    hsize_t length = (hsize_t)(last - first);
    hid_t memory = H5Screate_simple(1, &length, NULL);
    int failed = memory < 0 || vj_ckpt_select(space, t, first, last) < 0 ||
                 H5Dwrite(w->datasets[i], H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, w->staging) < 0;
    vj_status status = failed ? vj_raise_h5("write %s to %s", t->name, w->out.part) : VJ_OK;
    if (memory >= 0) H5Sclose(memory); /* not in the file */
    return status;
}

/* This rank's rows; nothing here is collective. */
static vj_status write_rows(job *w)
{
    for (int i = 0; i < w->count; i++) {
        const vj_ckpt_tensor *t = &w->tensors[i];
        if (t->first == t->last) continue;
        hid_t space = H5Dget_space(w->datasets[i]);
        if (space < 0) return vj_raise_h5("space of %s", t->name);
        vj_status status = VJ_OK;
        for (int64_t at = t->first, next; at < t->last && status == VJ_OK; at = next) {
            next = vj_ckpt_next(t, at, t->last);
            status = write_piece(w, i, space, at, next);
        }
        H5Sclose(space); /* not in the file */
        VJ_TRY(status);
    }
    return VJ_OK;
}

static vj_status put_attributes(job *w, const vj_ckpt_state *state)
{
    for (int i = 0; i < w->count; i++)
        VJ_TRY(vj_h5_put_u64s(w->datasets[i], "xxh3", w->sums + w->offset[i], w->offset[i + 1] - w->offset[i]));
    hid_t group = H5Gcreate2(w->out.file, "state", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (group < 0) return vj_raise_h5("create group state in %s", w->out.part);
    vj_status status = vj_h5_put_i64(group, "step", state->step);
    if (status == VJ_OK) status = vj_h5_put_i64(group, "samples", state->samples);
    if (status == VJ_OK) status = vj_h5_put_i64(group, "seed", state->seed);
    if (status == VJ_OK) status = vj_h5_put_i64(group, "bad_steps", state->bad_steps);
    if (status == VJ_OK) status = vj_h5_put_u64(group, "store_fingerprint", state->store_fingerprint);
    if (H5Gclose(group) < 0 && status == VJ_OK) status = vj_raise_h5("close group state in %s", w->out.part);
    VJ_TRY(status);
    return vj_h5_put_text(w->out.file, "config", state->config);
}

/* The file is open: fill it. Each step begins only if the one before succeeded everywhere. */
static vj_status fill(job *w, const vj_ckpt_state *state)
{
    VJ_TRY(vj_agree(w->comm, create_datasets(w)));
    VJ_TRY(vj_agree(w->comm, write_rows(w)));
    MPI_Allreduce(MPI_IN_PLACE, w->sums, (int)w->offset[w->count], MPI_UINT64_T, MPI_BOR, w->comm);
    return vj_agree(w->comm, put_attributes(w, state));
}

static vj_status write_checkpoint(job *w, const char *dir, const vj_ckpt_state *state)
{
    char path[2 * VJ_PATH];
    snprintf(path, sizeof path, "%.*s/step_%08lld.h5", VJ_PATH, dir, (long long)state->step);
    VJ_TRY(vj_agree(w->comm, allocate(w)));
    VJ_TRY(check_owners(w));
    VJ_TRY(vj_h5_create(&w->out, path, VJ_CKPT_FORMAT, VJ_CKPT_VERSION, file_bytes(w, state), w->comm));
    vj_status status = fill(w, state);
    for (int i = 0; i < w->count; i++)
        if (w->datasets[i] >= 0 && H5Dclose(w->datasets[i]) < 0 && status == VJ_OK)
            status = vj_raise_h5("close %s in %s", w->tensors[i].name, w->out.part);
    return vj_h5_commit(&w->out, status);
}

vj_status vj_ckpt_write(const char *dir, const vj_ckpt_tensor *tensors, int count, const vj_ckpt_state *state,
                        vj_ckpt_copy get, void *user, MPI_Comm comm)
{
    job w = {.tensors = tensors, .count = count, .get = get, .user = user, .comm = comm};
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = write_checkpoint(&w, dir, state);
    }
    H5E_END_TRY
    release(&w);
    return status;
}
