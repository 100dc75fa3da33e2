/* Shared by the writer and the reader of the feature store only. */
#ifndef VJ_FEATURES_INNER_H
#define VJ_FEATURES_INNER_H

#include <hdf5.h>
#include <xxhash.h>

#include "base/file.h"
#include "features/features.h"
#include "parallel/shared.h"

enum { VJ_FEATURES_VERSION = 1 };

/* An open store: its header, and the file offsets of its datasets. */
struct vj_features {
    char path[VJ_PATH];
    int fd; /* -1: not open */
    vj_features_header layout;
    char *encoder, *preprocessing, *config;
    double effective_rank;
    struct {
        int64_t features, label, clip, clip_sums, sums;
    } place; /* file offsets of the datasets; clip_sums: 0 in files that lack them */
    /* Columns of all rows, in memory that the ranks of a node share. */
    vj_shared memory;
    int64_t *clip;       /* [clips] */
    uint64_t *sums;      /* [clips] of the rows */
    uint64_t *clip_sums; /* [clips]; NULL in files that lack them */
    int32_t *label;      /* [clips, label_count] */
};

/** Create the HDF5 type of a value in the file; H5Tclose() it. Negative: HDF5 failed. */
hid_t vj_features_file_type(vj_features_type type);

/** Read exactly `bytes` bytes at file offset `at`. */
vj_status vj_features_read_bytes(const vj_features *features, void *to, int64_t bytes, int64_t at);

/** Like vj_features_read_rows(), but checksum mismatches are reported and added to *damaged. */
vj_status vj_features_check_rows(const vj_features *features, int64_t first, int64_t count, float *out,
                                 int64_t *damaged);

static inline int64_t vj_features_row_bytes(const vj_features_header *layout)
{
    return layout->tokens * layout->width * vj_features_type_bytes(layout->type);
}

/* XXH3 takes a seed, so the three parts of a row are chained without copying them together. */
static inline uint64_t vj_features_checksum(const vj_features_header *layout, const void *row, const int32_t *labels,
                                            int64_t clip)
{
    uint64_t sum = XXH3_64bits(row, (size_t)vj_features_row_bytes(layout));
    sum = XXH3_64bits_withSeed(labels, (size_t)layout->label_count * sizeof *labels, sum);
    return XXH3_64bits_withSeed(&clip, sizeof clip, sum);
}

#endif
