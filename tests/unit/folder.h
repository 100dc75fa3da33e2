/* The scratch folder of a unit test. Include after cmocka.h. */
#ifndef VJ_TEST_FOLDER_H
#define VJ_TEST_FOLDER_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[] = "/tmp/vjepa_test_XXXXXX";

/* Group setup: make the folder. */
static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

/* Group teardown: remove the folder, which must be empty. */
static inline int remove_empty_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

/* Group teardown: remove the folder and all that is in it. */
static inline int remove_folder(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

#endif
