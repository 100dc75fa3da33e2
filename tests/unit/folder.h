/* The scratch folder of a unit test, made for the whole group of its cases. Include after cmocka.h. */
#ifndef VJ_TEST_UNIT_FOLDER_H
#define VJ_TEST_UNIT_FOLDER_H

#include "../folder.h"

static char folder[] = "/tmp/vjepa_test_XXXXXX"; /* short, so that paths in it fit into small buffers */

/* Group setup: make the folder. */
static inline int set_up_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

/* Group teardown: remove the folder, which must be empty. */
static inline int tear_down_empty_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

/* Group teardown: remove the folder and all that is in it. */
static inline int tear_down_folder(void **state)
{
    (void)state;
    return remove_folder(folder);
}

#endif
