/* Making files durable: what was written is on disk before its name says so. */
#ifndef VJ_BASE_FILE_H
#define VJ_BASE_FILE_H

#include "base/status.h"

/** fsync a file or a folder by name. Not collective. */
vj_status vj_file_sync(const char *path);

/** Give a finished file its final name: fsync `part`, rename it to `path`, fsync the folder. Not collective. */
vj_status vj_file_publish(const char *part, const char *path);

#endif
