/* The HDF5 plugin interface to the filter of JPEG records: a shared object that links neither HDF5 nor MPI. */
#include <H5PLextern.h>

#include "codec/filter.h"

H5PL_type_t H5PLget_plugin_type(void)
{
    return H5PL_TYPE_FILTER;
}

const void *H5PLget_plugin_info(void)
{
    return &vj_jpeg_filter;
}
