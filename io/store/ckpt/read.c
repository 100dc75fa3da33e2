/* Reads tensors and state: each rank by itself, with serial HDF5; every block is verified against its checksum. */
#include <stdlib.h>
#include <string.h>

#include "ckpt/inner.h"

#define foreign(...) (vj_raise_h5(__VA_ARGS__), VJ_ERR_FORMAT)

static vj_status find_type(vj_ckpt_source *source)
{
    source->type = H5Dget_type(source->dataset);
    for (vj_ckpt_type type = VJ_CKPT_F32; type <= VJ_CKPT_BF16; type++) {
        hid_t known = vj_ckpt_file_type(type);
        int same = H5Tequal(source->type, known) > 0;
        H5Tclose(known); /* only compared */
        source->tensor.type = type;
        if (same) return VJ_OK;
    }
    return vj_raise(VJ_ERR_FORMAT, "%s: %s is neither of 32-bit floats nor of bf16", source->path, source->tensor.name);
}

static vj_status describe(vj_ckpt_source *source)
{
    vj_ckpt_tensor *t = &source->tensor;
    hsize_t dim[H5S_MAX_RANK];
    source->space = H5Dget_space(source->dataset);
    t->ndim = H5Sget_simple_extent_ndims(source->space);
    if (t->ndim < 1 || t->ndim > 5)
        return vj_raise(VJ_ERR_FORMAT, "%s: %s has %d dimensions, expected 1 to 5", source->path, t->name, t->ndim);
    H5Sget_simple_extent_dims(source->space, dim, NULL);
    hsize_t room = INT64_MAX / 8; /* for what is left of the elements: their bytes must not overflow anywhere */
    for (int i = 0; i < t->ndim; i++) {
        if (dim[i] < 1) return vj_raise(VJ_ERR_FORMAT, "%s: %s is empty", source->path, t->name);
        if (dim[i] > room) return vj_raise(VJ_ERR_FORMAT, "%s: %s has impossible dimensions", source->path, t->name);
        room /= dim[i];
        t->dim[i] = (int64_t)dim[i];
    }

    VJ_TRY(find_type(source));
    VJ_TRY(vj_h5_check_stored(source->dataset, source->path, t->name));
    t->last = vj_ckpt_elements(t);
    source->blocks = vj_ckpt_block_count(t);
    source->sums = vj_calloc(source->blocks, sizeof *source->sums);
    if (!source->sums) return vj_raise(VJ_ERR_MEMORY, "no memory for the checksums of %s", t->name);
    return vj_h5_get_u64s(source->dataset, source->path, "xxh3", source->sums, source->blocks);
}

vj_status vj_ckpt_source_open(vj_ckpt_source *source, hid_t file, const char *path, const char *name)
{
    *source = (vj_ckpt_source){.path = path, .space = H5I_INVALID_HID, .type = H5I_INVALID_HID};
    if (strlen(name) >= sizeof source->tensor.name)
        return vj_raise(VJ_ERR_FORMAT, "%s: name of a tensor is too long: %s", path, name);
    strcpy(source->tensor.name, name);
    source->dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (source->dataset < 0) return foreign("%s: no tensor %s", path, name);
    vj_status status = describe(source);
    if (status != VJ_OK) vj_ckpt_source_close(source);
    return status;
}

void vj_ckpt_source_close(vj_ckpt_source *source)
{
    if (source->type >= 0) H5Tclose(source->type);
    if (source->space >= 0) H5Sclose(source->space); /* only read: nothing is lost when closing fails */
    if (source->dataset >= 0) H5Dclose(source->dataset);
    free(source->sums);
    source->type = source->space = source->dataset = H5I_INVALID_HID;
    source->sums = NULL;
}

/* Whole rows [first, last) of the dataset, as the file has them: no conversion is asked of HDF5. */
static vj_status read_rows(const vj_ckpt_source *source, int64_t first, int64_t last, void *host)
{
    const vj_ckpt_tensor *t = &source->tensor;
    const int64_t row = vj_ckpt_elements(t) / t->dim[0];
    hsize_t start[5] = {(hsize_t)(first / row)}, length[5], elements = (hsize_t)(last - first);
    for (int i = 0; i < t->ndim; i++) length[i] = (hsize_t)t->dim[i];
    length[0] = elements / (hsize_t)row;
    hid_t memory = H5Screate_simple(1, &elements, NULL);
    int failed = memory < 0 || H5Sselect_hyperslab(source->space, H5S_SELECT_SET, start, NULL, length, NULL) < 0 ||
                 H5Dread(source->dataset, source->type, memory, source->space, H5P_DEFAULT, host) < 0;
    vj_status status = failed ? vj_raise_h5("read %s of %s", t->name, source->path) : VJ_OK;
    if (memory >= 0) H5Sclose(memory);
    return status;
}

vj_status vj_ckpt_source_read(const vj_ckpt_source *source, int64_t first, int64_t last, float *host, int64_t *damaged)
{
    const vj_ckpt_tensor *t = &source->tensor;
    const int64_t block = vj_ckpt_block_elements(t), each = vj_ckpt_element_bytes(t->type);
    VJ_TRY(read_rows(source, first, last, host));
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

static vj_status check_wanted(const vj_ckpt_source *source, const vj_ckpt_tensor *want)
{
    const vj_ckpt_tensor *found = &source->tensor;
    char found_text[128], want_text[128];
    if (found->ndim != want->ndim || memcmp(found->dim, want->dim, (size_t)want->ndim * sizeof want->dim[0]) != 0) {
        vj_ckpt_dims_text(found, found_text, sizeof found_text);
        vj_ckpt_dims_text(want, want_text, sizeof want_text);
        return vj_raise(VJ_ERR_FORMAT, "%s: %s is %s, expected %s", source->path, want->name, found_text, want_text);
    }
    int64_t elements = vj_ckpt_elements(want), block = vj_ckpt_block_elements(want);
    VJ_ASSERT(want->first >= 0 && want->first <= want->last && want->last <= elements);
    VJ_ASSERT(want->first == want->last ||
              (want->first % block == 0 && (want->last % block == 0 || want->last == elements)));
    return VJ_OK;
}

static vj_status read_tensor(hid_t file, const char *path, const vj_ckpt_tensor *want, vj_ckpt_copy put, void *user,
                             float *staging)
{
    vj_ckpt_source source;
    VJ_TRY(vj_ckpt_source_open(&source, file, path, want->name));
    vj_status status = check_wanted(&source, want);
    int64_t damaged = 0;
    for (int64_t at = want->first, next; status == VJ_OK && at < want->last; at = next) {
        next = vj_ckpt_next(want, at, want->last);
        status = vj_ckpt_source_read(&source, at, next, staging, &damaged);
        if (status == VJ_OK && damaged > 0) status = VJ_ERR_FORMAT;
        if (status == VJ_OK) status = vj_ckpt_copy_pieces(put, user, want, at, next, staging);
    }
    vj_ckpt_source_close(&source);
    return status;
}

static vj_status read_tensors(const char *path, const vj_ckpt_tensor *tensors, int count, vj_ckpt_copy put, void *user)
{
    hid_t file;
    VJ_TRY(vj_h5_open(&file, path, VJ_CKPT_FORMAT, VJ_CKPT_VERSION));
    float *staging = vj_calloc(vj_ckpt_staging_bytes(tensors, count), 1);
    vj_status status = staging ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to read %s", path);
    for (int i = 0; i < count && status == VJ_OK; i++)
        status = read_tensor(file, path, &tensors[i], put, user, staging);
    free(staging);
    H5Fclose(file); /* only read */
    return status;
}

vj_status vj_ckpt_read(const char *path, const vj_ckpt_tensor *tensors, int count, vj_ckpt_copy put, void *user)
{
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = read_tensors(path, tensors, count, put, user);
    }
    H5E_END_TRY
    return status;
}

/* What files do not have that were written before there were roll-backs; zero is right for them. */
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

vj_status vj_ckpt_read_state(const char *path, vj_ckpt_state *state)
{
    vj_status status;
    *state = (vj_ckpt_state){0};
    H5E_BEGIN_TRY
    {
        status = read_state(path, state);
    }
    H5E_END_TRY
    return status;
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
