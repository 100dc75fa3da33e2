/* Divides tensors into blocks and blocks over ranks, splits loops over them into pieces, and converts number types. */
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "ckpt/inner.h"
#include "h5/h5.h"
#include "h5/half.h"

enum { BLOCK_BYTES = 1 << 20 };

int64_t vj_ckpt_elements(const vj_ckpt_tensor *tensor)
{
    int64_t elements = 1;
    for (int i = 0; i < tensor->ndim; i++) elements *= tensor->dim[i];
    return elements;
}

static int64_t row_elements(const vj_ckpt_tensor *tensor)
{
    return vj_ckpt_elements(tensor) / tensor->dim[0];
}

int64_t vj_ckpt_block_rows(const vj_ckpt_tensor *tensor)
{
    int64_t rows = BLOCK_BYTES / (row_elements(tensor) * (int64_t)sizeof(float));
    if (rows < 1) return 1;
    return rows < tensor->dim[0] ? rows : tensor->dim[0];
}

int64_t vj_ckpt_block_elements(const vj_ckpt_tensor *tensor)
{
    return vj_ckpt_block_rows(tensor) * row_elements(tensor);
}

int64_t vj_ckpt_block_count(const vj_ckpt_tensor *tensor)
{
    int64_t rows = vj_ckpt_block_rows(tensor);
    return (tensor->dim[0] + rows - 1) / rows;
}

uint64_t vj_ckpt_checksum(const void *bytes, int64_t count)
{
    return XXH3_64bits(bytes, (size_t)count);
}

/* Return `at` rounded up to the next block border, clamped to the tensor. */
static int64_t to_border(const vj_ckpt_tensor *tensor, int64_t at)
{
    int64_t elements = vj_ckpt_elements(tensor), block = vj_ckpt_block_elements(tensor);
    if (at <= 0) return 0;
    int64_t border = (at + block - 1) / block * block;
    return border < elements ? border : elements;
}

/* Each rank has an even share of all elements; a block belongs to the rank in whose share it begins. */
void vj_ckpt_share(vj_ckpt_tensor *tensors, int count, int size, int rank)
{
    int64_t total = 0, offset = 0;
    for (int i = 0; i < count; i++) total += vj_ckpt_elements(&tensors[i]);
    int64_t low = total * rank / size, high = total * (rank + 1) / size;
    for (int i = 0; i < count; i++) {
        tensors[i].first = to_border(&tensors[i], low - offset);
        tensors[i].last = to_border(&tensors[i], high - offset);
        offset += vj_ckpt_elements(&tensors[i]);
    }
}

int64_t vj_ckpt_next(const vj_ckpt_tensor *tensor, int64_t at, int64_t last)
{
    int64_t block = vj_ckpt_block_elements(tensor), blocks = VJ_CKPT_COPY_BYTES / (block * (int64_t)sizeof(float));
    int64_t next = at + (blocks < 1 ? 1 : blocks) * block;
    return next < last ? next : last;
}

int64_t vj_ckpt_staging_bytes(const vj_ckpt_tensor *tensors, int count)
{
    int64_t bytes = VJ_CKPT_COPY_BYTES;
    for (int i = 0; i < count; i++) {
        int64_t block = vj_ckpt_block_elements(&tensors[i]) * (int64_t)sizeof(float);
        if (block > bytes) bytes = block;
    }
    return bytes;
}

vj_status vj_ckpt_copy_pieces(vj_ckpt_copy copy, void *user, const vj_ckpt_tensor *tensor, int64_t first, int64_t last,
                              float *host)
{
    const int64_t limit = VJ_CKPT_COPY_BYTES / (int64_t)sizeof(float), block = vj_ckpt_block_elements(tensor);
    const int64_t step = block < limit ? limit / block * block : limit;
    for (int64_t at = first; at < last; at += step)
        VJ_TRY(copy(user, tensor, at, at + step < last ? at + step : last, host + (at - first)));
    return VJ_OK;
}

void vj_ckpt_dims_text(const vj_ckpt_tensor *tensor, char *text, int bytes)
{
    int used = snprintf(text, (size_t)bytes, "[");
    for (int i = 0; i < tensor->ndim && used < bytes; i++)
        used += snprintf(text + used, (size_t)(bytes - used), "%s%lld", i ? ", " : "", (long long)tensor->dim[i]);
    if (used < bytes) snprintf(text + used, (size_t)(bytes - used), "]");
}

/* ------------------------------------------------------------------------------------------------ types */

int64_t vj_ckpt_element_bytes(vj_ckpt_type type)
{
    return type == VJ_CKPT_BF16 ? 2 : 4;
}

hid_t vj_ckpt_file_type(vj_ckpt_type type)
{
    return type == VJ_CKPT_BF16 ? vj_h5_short_float(8) : H5Tcopy(H5T_IEEE_F32LE);
}

/* In place is safe: each number is written at or before the place where it was read. */
void vj_ckpt_narrow(float *values, int64_t count)
{
    char *bytes = (char *)values;
    for (int64_t i = 0; i < count; i++) {
        float x;
        memcpy(&x, bytes + 4 * i, 4);
        const uint16_t half = vj_bf16_from_float(x);
        memcpy(bytes + 2 * i, &half, 2);
    }
}

void vj_ckpt_widen(float *values, int64_t count)
{
    char *bytes = (char *)values;
    for (int64_t i = count - 1; i >= 0; i--) {
        uint16_t half;
        memcpy(&half, bytes + 2 * i, 2);
        const float x = vj_bf16_to_float(half);
        memcpy(bytes + 4 * i, &x, 4);
    }
}
