/* The HDF5 files of fixtures, in the folder VJEPA_FIXTURES. Include after cmocka.h. */
#ifndef VJ_TEST_FIXTURE_FILE_H
#define VJ_TEST_FIXTURE_FILE_H

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Open a file of the folder to read it. Skips the test, and says so, if there is no such folder. */
static inline hid_t open_fixture(const char *name)
{
    char path[1024];
    const char *fixtures = getenv("VJEPA_FIXTURES");
    if (!fixtures || access(fixtures, R_OK) != 0) {
        printf("skipped: no folder of fixtures (VJEPA_FIXTURES)\n");
        skip();
    }
    snprintf(path, sizeof path, "%s/%s", fixtures, name);
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(file >= 0);
    return file;
}

#endif
