/* Feature stores for tests, written by all ranks. */
#ifndef VJ_TEST_FEATURES_STORE_H
#define VJ_TEST_FEATURES_STORE_H

#include "features/features.h"
#include "parallel/parallel.h"

/* Write a store of layout->clips rows that every rank has in memory. Collective. */
static inline void write_features(const char *path, const vj_features_header *layout, const float *x,
                                  const int32_t *labels, const int64_t *numbers, const uint64_t *sums)
{
    vj_features_writer *writer;
    int64_t first, last;
    const int64_t row = layout->tokens * layout->width;
    vj_split(layout->clips, vj_comm_size(MPI_COMM_WORLD), vj_comm_rank(MPI_COMM_WORLD), &first, &last);
    assert_int_equal(vj_features_create(&writer, path, layout, MPI_COMM_WORLD), VJ_OK);
    const vj_status status = vj_features_write(writer, first, last - first, x + first * row,
                                               layout->label_count ? labels + first * layout->label_count : NULL,
                                               numbers + first, sums + first);
    assert_int_equal(vj_features_commit(writer, status, 1.0), VJ_OK);
}

#endif
