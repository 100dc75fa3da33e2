/* The HDF5 part of error reporting, in a file of its own so that code that does not use HDF5 links without it. */
#include <hdf5.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"

static herr_t innermost(unsigned depth, const H5E_error2_t *error, void *text)
{
    if (depth == 0 && error->desc) snprintf(text, 128, ": HDF5: %.*s", (int)strcspn(error->desc, "\n"), error->desc);
    return 0;
}

vj_status vj_raise_h5_at(const char *file, int line, const char *format, ...)
{
    char tail[128] = "", message[4096];
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, tail);
    H5Eclear2(H5E_DEFAULT);
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return vj_raise_at(file, line, VJ_ERR_LIBRARY, "%s%s", message, tail);
}
