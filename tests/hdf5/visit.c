/* HDF5 1.10's H5Lvisit() by the name that later versions keep it under: preloaded beside one of them (versions.sh). */
#include <hdf5.h>

herr_t H5Lvisit1(hid_t group, H5_index_t index, H5_iter_order_t order, H5L_iterate_t visit, void *user);

herr_t H5Lvisit(hid_t group, H5_index_t index, H5_iter_order_t order, H5L_iterate_t visit, void *user)
{
    return H5Lvisit1(group, index, order, visit, user);
}
