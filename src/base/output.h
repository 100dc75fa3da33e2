/*
 * Checks of output paths before the work begins, so that a program does not fail after hours because a folder is
 * missing, and does not overwrite files of the user. All fail with VJ_ERR_USAGE; none is collective.
 */
#ifndef VJ_BASE_OUTPUT_H
#define VJ_BASE_OUTPUT_H

#include "base/status.h"

/** Check that a regular file can be created or replaced at `path`. `option` names the path in the message. */
vj_status vj_output_check_file(const char *option, const char *path);

/** Check that `path` is a writable folder, or can be created in its parent folder. */
vj_status vj_output_check_folder(const char *option, const char *path);

/**
 * Check that a text file may be overwritten: it does not exist, is empty, or begins with `begin`, as the files that our
 * programs write do. Any other file, and what is no file, is refused.
 */
vj_status vj_output_check_text(const char *path, const char *begin);

#endif
