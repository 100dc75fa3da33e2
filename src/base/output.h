/*
 * May a program write there? Asked before the work begins, so that hours of it do not end in a folder that is not
 * there, and so that nothing of the user's is replaced.
 */
#ifndef VJ_BASE_OUTPUT_H
#define VJ_BASE_OUTPUT_H

#include "base/status.h"

/** Can a file be made at `path`, or one that is there be replaced? `option` names the path in the message. */
vj_status vj_output_check_file(const char *option, const char *path);

/** Is `path` a folder to write in, or can it be made in the folder above it? */
vj_status vj_output_check_folder(const char *option, const char *path);

/**
 * A text file of ours that is there already begins with `begin`; anything else is somebody's and is refused. A file
 * that is not there is fine, an empty one too.
 */
vj_status vj_output_check_text(const char *path, const char *begin);

#endif
