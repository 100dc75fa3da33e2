/*
 * Parity: run the library on a fixture file of inputs and expected results, and compare everything the file holds. The
 * file's content decides what is checked, and gives all sizes. A missing dataset is a failure.
 */
#ifndef VJ_PARITY_H
#define VJ_PARITY_H

#include "kernels/kernels.h"

/**
 * Check one file on backend `be`, one line of standard output a quantity: name, worst absolute error, relative error
 * (norm of the differences over the norm expected), tolerances in the backend's precision, ok or FAIL. Adds to *passed
 * and *failed. VJ_ERR_* only for a file that cannot be checked at all. Not collective.
 */
vj_status vj_parity_run(const char *path, vj_backend *be, int *passed, int *failed);

#endif
