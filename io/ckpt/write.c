/*
 * Writing a checkpoint: rank 0 lays the file out, all ranks send their rows to it, rank 0 adds the checksums (h5/h5.h).
 * Transfers are independent: the rows of a rank are contiguous and go in pieces of up to 16 MiB, so two-phase I/O has
 * nothing to merge, and a rank that fails on its own (a full disk, a device error) leaves no other waiting inside a
 * collective transfer. All agree afterwards.
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
    int64_t *offset; /* [count + 1] number of each tensor's first block */
    uint64_t *sums;  /* [all blocks] */
    float *staging;
} job;

static vj_status allocate(job *w)
{
    w->offset = vj_calloc(w->count + 1, sizeof *w->offset);
    if (!w->offset) return vj_raise(VJ_ERR_MEMORY, "no memory to write %d tensors", w->count);
    for (int i = 0; i < w->count; i++) w->offset[i + 1] = w->offset[i] + vj_ckpt_block_count(&w->tensors[i]);
    int64_t bytes = vj_ckpt_staging_bytes(w->tensors, w->count);
    w->sums = vj_calloc(w->offset[w->count], sizeof *w->sums);
    w->staging = vj_calloc(bytes, 1);
    if (!w->sums || !w->staging)
        return vj_raise(VJ_ERR_MEMORY, "no %lld MiB for a checkpoint's staging buffer", (long long)bytes >> 20);
    return VJ_OK;
}

static void release(job *w)
{
    free(w->offset);
    free(w->sums);
    free(w->staging);
}

/* ------------------------------------------------------------------------------------------------ who writes what */

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
    VJ_TRY(vj_agree(w->comm, claim(w)));
    MPI_Allreduce(MPI_IN_PLACE, w->sums, (int)w->offset[w->count], MPI_UINT64_T, MPI_SUM, w->comm);
    for (int i = 0; i < w->count; i++)
        for (int64_t b = w->offset[i]; b < w->offset[i + 1]; b++)
            if (w->sums[b] != 1)
                return vj_raise(VJ_ERR_STATE, "%s: block %lld is written by %llu ranks", w->tensors[i].name,
                                (long long)(b - w->offset[i]), (unsigned long long)w->sums[b]);
    memset(w->sums, 0, (size_t)w->offset[w->count] * sizeof *w->sums);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ rank 0: layout */

/* Data, checksums, and about 1 KiB a dataset for HDF5's headers and our text. */
static int64_t file_bytes(const job *w, const vj_ckpt_state *state)
{
    int64_t bytes = (1 << 16) + (int64_t)strlen(state->config) + 8 * w->offset[w->count];
    for (int i = 0; i < w->count; i++) bytes += 1024 + vj_ckpt_elements(&w->tensors[i]) * (int64_t)sizeof(float);
    return bytes;
}

static vj_status create_datasets(const job *w)
{
    for (int i = 0; i < w->count; i++) {
        const vj_ckpt_tensor *t = &w->tensors[i];
        hsize_t dim[5];
        hid_t dataset;
        for (int j = 0; j < t->ndim; j++) dim[j] = (hsize_t)t->dim[j];
        VJ_TRY(vj_h5_dataset(&dataset, w->out.file, t->name, H5T_IEEE_F32LE, t->ndim, dim));
        if (H5Dclose(dataset) < 0) return vj_raise_h5("close %s in %s", t->name, w->out.part);
    }
    return VJ_OK;
}

static vj_status put_state(const job *w, const vj_ckpt_state *state)
{
    hid_t group = H5Gcreate2(w->out.file, "state", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (group < 0) return vj_raise_h5("create group state in %s", w->out.part);
    vj_status status = vj_h5_put_i64(group, "step", state->step);
    if (status == VJ_OK) status = vj_h5_put_i64(group, "samples", state->samples);
    if (status == VJ_OK) status = vj_h5_put_i64(group, "seed", state->seed);
    if (status == VJ_OK) status = vj_h5_put_i64(group, "bad_steps", state->bad_steps);
    if (status == VJ_OK) status = vj_h5_put_i64(group, "rollbacks", state->rollbacks);
    if (status == VJ_OK) status = vj_h5_put_i64(group, "skipped_samples", state->skipped_samples);
    if (status == VJ_OK) status = vj_h5_put_f64(group, "usual_loss", state->usual_loss);
    if (status == VJ_OK) status = vj_h5_put_u64(group, "store_fingerprint", state->store_fingerprint);
    if (H5Gclose(group) < 0 && status == VJ_OK) status = vj_raise_h5("close group state in %s", w->out.part);
    VJ_TRY(status);
    return vj_h5_put_text(w->out.file, "config", state->config);
}

static vj_status lay_out(const job *w, const vj_ckpt_state *state)
{
    VJ_TRY(create_datasets(w));
    return put_state(w, state);
}

static vj_status put_checksums(const job *w)
{
    for (int i = 0; i < w->count; i++) {
        hid_t dataset = H5Dopen2(w->out.file, w->tensors[i].name, H5P_DEFAULT);
        if (dataset < 0) return vj_raise_h5("open %s in %s", w->tensors[i].name, w->out.part);
        vj_status status = vj_h5_put_u64s(dataset, "xxh3", w->sums + w->offset[i], w->offset[i + 1] - w->offset[i]);
        if (H5Dclose(dataset) < 0 && status == VJ_OK)
            status = vj_raise_h5("close %s in %s", w->tensors[i].name, w->out.part);
        VJ_TRY(status);
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ all ranks: rows */

/* Elements [first, last) of tensor i, which fit in staging. */
static vj_status write_piece(job *w, int i, hid_t dataset, hid_t space, int64_t first, int64_t last)
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
                 H5Dwrite(dataset, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, w->staging) < 0;
    vj_status status = failed ? vj_raise_h5("write %s to %s", t->name, w->out.part) : VJ_OK;
    if (memory >= 0) H5Sclose(memory); /* not in the file */
    return status;
}

static vj_status write_tensor(job *w, int i)
{
    const vj_ckpt_tensor *t = &w->tensors[i];
    hid_t dataset = H5Dopen2(w->out.file, t->name, H5P_DEFAULT);
    if (dataset < 0) return vj_raise_h5("open %s in %s", t->name, w->out.part);
    hid_t space = H5Dget_space(dataset);
    vj_status status = space < 0 ? vj_raise_h5("space of %s", t->name) : VJ_OK;
    for (int64_t at = t->first, next; at < t->last && status == VJ_OK; at = next) {
        next = vj_ckpt_next(t, at, t->last);
        status = write_piece(w, i, dataset, space, at, next);
    }
    if (space >= 0) H5Sclose(space); /* not in the file */
    if (H5Dclose(dataset) < 0 && status == VJ_OK) status = vj_raise_h5("close %s in %s", t->name, w->out.part);
    return status;
}

/* This rank's rows; nothing here is collective. */
static vj_status write_rows(job *w)
{
    for (int i = 0; i < w->count; i++)
        if (w->tensors[i].first < w->tensors[i].last) VJ_TRY(write_tensor(w, i));
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ the whole */

static vj_status write_checkpoint(job *w, const char *dir, const vj_ckpt_state *state)
{
    char path[2 * VJ_PATH];
    snprintf(path, sizeof path, "%.*s/step_%08lld.h5", VJ_PATH, dir, (long long)state->step);
    VJ_TRY(vj_agree(w->comm, allocate(w)));
    VJ_TRY(check_owners(w));
    VJ_TRY(vj_h5_create(&w->out, path, VJ_CKPT_FORMAT, VJ_CKPT_VERSION, file_bytes(w, state), w->comm));
    int root = w->out.rank == 0;
    VJ_TRY(vj_h5_share(&w->out, root ? lay_out(w, state) : VJ_OK));
    VJ_TRY(vj_h5_gather(&w->out, write_rows(w)));
    MPI_Reduce(root ? MPI_IN_PLACE : w->sums, w->sums, (int)w->offset[w->count], MPI_UINT64_T, MPI_BOR, 0, w->comm);
    return vj_h5_commit(&w->out, root ? put_checksums(w) : VJ_OK);
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
