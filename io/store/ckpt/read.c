/*
 * Finds tensors in a file with serial HDF5, reads their blocks with pread() and verifies each against its checksum;
 * reads the state. load.c reads for many ranks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "ckpt/inner.h"
#include "parallel/parallel.h"

#define foreign(...) (vj_raise_h5(__VA_ARGS__), VJ_ERR_FORMAT)

static vj_status find_type(vj_ckpt_source *source, hid_t dataset)
{
    hid_t found = H5Dget_type(dataset);
    bool same = false;
    for (vj_ckpt_type type = VJ_CKPT_F32; type <= VJ_CKPT_BF16 && !same; type++) {
        hid_t known = vj_ckpt_file_type(type);
        same = H5Tequal(found, known) > 0;
        H5Tclose(known); /* only compared */
        source->tensor.type = type;
    }
    H5Tclose(found); /* only read */
    return same ? VJ_OK
                : vj_raise(VJ_ERR_FORMAT, "%s: %s is neither of 32-bit floats nor of bf16", source->path,
                           source->tensor.name);
}

/* Find the file offset of the tensor's first byte. */
static vj_status find_place(vj_ckpt_source *source, hid_t dataset)
{
    const haddr_t offset = H5Dget_offset(dataset); /* the largest haddr_t if it is undefined */
    VJ_TRY(vj_h5_check_stored(dataset, source->path, source->tensor.name));
    if (offset > INT64_MAX / 2)
        return vj_raise(VJ_ERR_FORMAT,
                        "%s: %s is not in the file in one piece, as vjepa writes it: h5repack -l CONTI makes it so",
                        source->path, source->tensor.name);
    source->place = (int64_t)offset;
    return VJ_OK;
}

static vj_status describe(vj_ckpt_source *source, hid_t dataset)
{
    vj_ckpt_tensor *t = &source->tensor;
    hsize_t dim[H5S_MAX_RANK];
    hid_t space = H5Dget_space(dataset);
    t->ndim = H5Sget_simple_extent_ndims(space);
    if (t->ndim >= 1 && t->ndim <= 5) H5Sget_simple_extent_dims(space, dim, NULL);
    H5Sclose(space); /* only read */
    if (t->ndim < 1 || t->ndim > 5)
        return vj_raise(VJ_ERR_FORMAT, "%s: %s has %d dimensions, expected 1 to 5", source->path, t->name, t->ndim);
    /* upper limit of the product of the remaining dimensions, so that sizes in bytes cannot overflow */
    hsize_t room = INT64_MAX / 8;
    for (int i = 0; i < t->ndim; i++) {
        if (dim[i] < 1) return vj_raise(VJ_ERR_FORMAT, "%s: %s is empty", source->path, t->name);
        if (dim[i] > room) return vj_raise(VJ_ERR_FORMAT, "%s: %s has impossible dimensions", source->path, t->name);
        room /= dim[i];
        t->dim[i] = (int64_t)dim[i];
    }

    VJ_TRY(find_type(source, dataset));
    VJ_TRY(find_place(source, dataset));
    t->last = vj_ckpt_elements(t);
    source->blocks = vj_ckpt_block_count(t);
    source->sums = vj_calloc(source->blocks, sizeof *source->sums);
    if (!source->sums) return vj_raise(VJ_ERR_MEMORY, "no memory for the checksums of %s", t->name);
    return vj_h5_get_u64s(dataset, source->path, "xxh3", source->sums, source->blocks);
}

vj_status vj_ckpt_source_open(vj_ckpt_source *source, hid_t file, int fd, const char *path, const char *name)
{
    *source = (vj_ckpt_source){.path = path, .fd = fd};
    if (strlen(name) >= sizeof source->tensor.name)
        return vj_raise(VJ_ERR_FORMAT, "%s: name of a tensor is too long: %s", path, name);
    strcpy(source->tensor.name, name);
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0) return foreign("%s: no tensor %s", path, name);
    vj_status status = describe(source, dataset);
    H5Dclose(dataset); /* only read */
    if (status != VJ_OK) vj_ckpt_source_close(source);
    return status;
}

void vj_ckpt_source_close(vj_ckpt_source *source)
{
    free(source->sums);
    source->sums = NULL;
}

/* Read the bytes of whole blocks [first, last) as stored in the file, without HDF5. */
static vj_status read_bytes(const vj_ckpt_source *source, int64_t first, int64_t last, void *host)
{
    const vj_ckpt_tensor *t = &source->tensor;
    const int64_t each = vj_ckpt_element_bytes(t->type), bytes = (last - first) * each;
    errno = 0;
    const int64_t got = vj_read_at(source->fd, host, bytes, source->place + first * each);
    if (got == bytes) return VJ_OK;
    if (got < 0) return vj_raise(VJ_ERR_IO, "read %s of %s", t->name, source->path);
    return vj_raise(VJ_ERR_FORMAT, "%s is truncated: it ends in %s", source->path, t->name);
}

vj_status vj_ckpt_source_read(const vj_ckpt_source *source, int64_t first, int64_t last, float *host, int64_t *damaged)
{
    const vj_ckpt_tensor *t = &source->tensor;
    const int64_t block = vj_ckpt_block_elements(t), each = vj_ckpt_element_bytes(t->type);
    VJ_TRY(read_bytes(source, first, last, host));
    for (int64_t at = first; at < last; at += block) {
        const int64_t end = at + block < last ? at + block : last, number = at / block;
        if (vj_ckpt_checksum((char *)host + (at - first) * each, (end - at) * each) == source->sums[number]) continue;
        vj_raise(VJ_ERR_FORMAT, "%s is damaged: block %lld of %lld of %s does not fit its checksum", source->path,
                 (long long)number, (long long)source->blocks, t->name);
        ++*damaged;
    }
    if (t->type == VJ_CKPT_BF16) vj_ckpt_widen(host, last - first);
    return VJ_OK;
}

/* Files that were written before rollbacks existed lack these attributes; zero is right for them. */
static vj_status get_rollbacks(hid_t group, const char *path, vj_ckpt_state *state)
{
    if (H5Aexists(group, "rollbacks") == 0) return VJ_OK;
    VJ_TRY(vj_h5_get_i64(group, path, "rollbacks", &state->rollbacks));
    VJ_TRY(vj_h5_get_i64(group, path, "skipped_samples", &state->skipped_samples));
    return vj_h5_get_f64(group, path, "usual_loss", &state->usual_loss);
}

vj_status vj_ckpt_get_state(hid_t file, const char *path, vj_ckpt_state *state)
{
    *state = (vj_ckpt_state){0};
    hid_t group = H5Gopen2(file, "state", H5P_DEFAULT);
    if (group < 0) return foreign("%s: no group state", path);
    vj_status status = vj_h5_get_i64(group, path, "step", &state->step);
    if (status == VJ_OK) status = vj_h5_get_i64(group, path, "samples", &state->samples);
    if (status == VJ_OK) status = vj_h5_get_i64(group, path, "seed", &state->seed);
    if (status == VJ_OK) status = vj_h5_get_i64(group, path, "bad_steps", &state->bad_steps);
    if (status == VJ_OK) status = get_rollbacks(group, path, state);
    if (status == VJ_OK) status = vj_h5_get_u64(group, path, "store_fingerprint", &state->store_fingerprint);
    if (status == VJ_OK) status = vj_ckpt_get_architecture(file, path, &state->architecture);
    if (status == VJ_OK) status = vj_h5_get_text(file, path, "config", &state->config);
    H5Gclose(group); /* only read */
    return status;
}

static vj_status read_state(const char *path, vj_ckpt_state *state)
{
    hid_t file;
    VJ_TRY(vj_h5_open(&file, path, VJ_CKPT_FORMAT, VJ_CKPT_VERSION));
    vj_status status = vj_ckpt_get_state(file, path, state);
    H5Fclose(file); /* only read */
    return status;
}

/* Broadcast the configuration text of rank 0's state. */
static vj_status broadcast_config(vj_ckpt_state *state, MPI_Comm comm)
{
    const bool first = vj_comm_rank(comm) == 0;
    int64_t bytes = first ? (int64_t)strlen(state->config) + 1 : 0;
    vj_broadcast(&bytes, sizeof bytes, comm);
    if (!first) state->config = vj_calloc(bytes, 1);
    VJ_TRY(vj_agree(comm, state->config ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a configuration's text")));
    vj_broadcast(state->config, bytes, comm);
    return VJ_OK;
}

vj_status vj_ckpt_read_state(const char *path, vj_ckpt_state *state, MPI_Comm comm)
{
    const bool first = vj_comm_rank(comm) == 0;
    vj_status status = VJ_OK;
    *state = (vj_ckpt_state){0};
    if (first) {
        H5E_BEGIN_TRY
        {
            status = read_state(path, state);
        }
        H5E_END_TRY
    }
    VJ_TRY(vj_agree(comm, status));
    vj_broadcast(state, sizeof *state, comm);
    if (!first) state->config = NULL; /* rank 0's pointer */
    return broadcast_config(state, comm);
}

void vj_ckpt_state_release(vj_ckpt_state *state)
{
    free(state->config);
    state->config = NULL;
}

int vj_ckpt_has(const char *path, const char *tensor)
{
    int found = 0;
    H5E_BEGIN_TRY
    {
        hid_t file = H5I_INVALID_HID, dataset = H5I_INVALID_HID;
        if (vj_h5_open(&file, path, VJ_CKPT_FORMAT, VJ_CKPT_VERSION) == VJ_OK) {
            dataset = H5Dopen2(file, tensor, H5P_DEFAULT);
            found = dataset >= 0;
            if (found) H5Dclose(dataset);
            H5Fclose(file); /* only read */
        }
    }
    H5E_END_TRY
    return found;
}
