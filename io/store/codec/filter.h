/*
 * The HDF5 filter of JPEG records: one chunk is one clip, the logical dataset u8 [n, T, H, W, 3]. vjepa itself writes
 * chunks directly and reads them with pread(); the filter is for everybody else (h5py, h5dump), who find it as a plugin
 * in HDF5_PLUGIN_PATH.
 */
#ifndef VJ_CODEC_FILTER_H
#define VJ_CODEC_FILTER_H

#include <hdf5.h>

#include "codec/codec.h"

/* In HDF5's range for private use, 256 to 511, for it is registered nowhere. Part of the format. */
enum { VJ_JPEG_FILTER = 371 };

/* The filter's parameters, as HDF5 keeps them with a dataset. */
enum { VJ_FILTER_T, VJ_FILTER_H, VJ_FILTER_W, VJ_FILTER_QUALITY, VJ_FILTER_CHROMA, VJ_FILTER_VALUES };

/** Calls no function of HDF5, so that a plugin need not link it. */
extern const H5Z_class2_t vj_jpeg_filter;

#endif
