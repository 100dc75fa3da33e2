/*
 * Parity: runs the library on a fixture file of inputs and expected results, and compares everything in the file. The
 * contents of the file decide what is checked, and give all sizes. A missing dataset is a failure.
 */
#ifndef VJ_PARITY_H
#define VJ_PARITY_H

#include "kernels/kernels.h"

/**
 * Check one file on backend `be`. Prints one line for each quantity: name, worst absolute error, relative error (norm
 * of the differences / norm of the expected values), tolerances in the backend's precision, and ok or FAIL. Adds to
 * *passed and *failed. VJ_ERR_* only for a file that cannot be checked at all. Not collective.
 */
vj_status vj_parity_run(const char *path, vj_backend *be, int *passed, int *failed);

#endif
