/* Preloaded into a program: an HDF5 that puts structures between the data, as one of another version might. */
#include <hdf5.h>

herr_t H5Pset_meta_block_size(hid_t access, hsize_t bytes)
{
    (void)access; /* part of HDF5's signature */
    (void)bytes;
    return 0;
}
