/* Scratch folders of tests. */
#ifndef VJ_TEST_FOLDER_H
#define VJ_TEST_FOLDER_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/config.h"

/* Make a new folder below TMPDIR or /tmp. Its path is short enough for a buffer of VJ_PATH to hold a file's path too.
 */
static inline void make_folder(char path[VJ_PATH])
{
    const char *base = getenv("TMPDIR");
    snprintf(path, VJ_PATH, "%.400s/vjepa_test_XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(path)) {
        perror(path);
        abort();
    }
}

/* Remove a folder and all that is in it. Returns 0, or another number if it stays. */
static inline int remove_folder(const char *path)
{
    char command[VJ_PATH + 16];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    return system(command);
}

#endif
