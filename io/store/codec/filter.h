/*
 * The HDF5 filter that decodes JPEG records: one chunk is one clip, the logical dataset is u8 [n, T, H, W, 3]. vjepa
 * itself writes chunks directly and reads them with pread(); the filter is for other programs (h5py, h5dump), which
 * find it as a plugin in HDF5_PLUGIN_PATH.
 */
#ifndef VJ_CODEC_FILTER_H
#define VJ_CODEC_FILTER_H

#include <hdf5.h>

#include "codec/codec.h"

/* Filter number, from HDF5's range for private use, 256 to 511, because it is not registered. Part of the format. */
enum { VJ_JPEG_FILTER = 371 };

/* Indices of the filter's parameters, which HDF5 stores with each dataset. */
enum { VJ_FILTER_T, VJ_FILTER_H, VJ_FILTER_W, VJ_FILTER_QUALITY, VJ_FILTER_CHROMA, VJ_FILTER_VALUES };

/** The filter. It calls no HDF5 function, so that a plugin need not link HDF5. */
extern const H5Z_class2_t vj_jpeg_filter;

#endif
