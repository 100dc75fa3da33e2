/* Makes files of any names in a run's folder: the newest checkpoint must be one of them, and cleaning up must not
 * remove foreign files. */
#include <dirent.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ckpt/ckpt.h"
#include "fuzz.h"

enum { MAX_NAMES = 12 };

static char folder[VJ_PATH];

void vj_fuzz_begin(void)
{
    vj_fuzz_path(folder, "run");
    VJ_FUZZ_CHECK(mkdir(folder, 0700) == 0);
}

static int make(const char *name)
{
    char path[VJ_PATH + 300];
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strchr(name, '/') || strlen(name) > 250)
        return 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    if (f) fclose(f);
    return f != NULL;
}

/* Remove the remaining files. Returns how many of them do not have the name of a checkpoint. */
static int clear(void)
{
    char path[VJ_PATH + 300];
    struct dirent *item;
    int foreign = 0;
    DIR *dir = opendir(folder);
    VJ_FUZZ_CHECK(dir);
    while ((item = readdir(dir)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", folder, item->d_name);
        if (unlink(path) == 0) foreign += strncmp(item->d_name, "step_", 5) != 0;
    }
    closedir(dir);
    return foreign;
}

void vj_fuzz_input(const uint8_t *data, size_t size)
{
    char *all = malloc(size + 1), *rest = all, *name, path[VJ_PATH], names[MAX_NAMES][256];
    struct stat info;
    int foreign = 0, distinct = 0;
    VJ_FUZZ_CHECK(all);
    if (size) memcpy(all, data, size);
    all[size] = '\0';
    while (distinct < MAX_NAMES && (name = strsep(&rest, "\n")) != NULL) {
        int known = !make(name);
        for (int i = 0; i < distinct && !known; i++) known = strcmp(names[i], name) == 0;
        if (known) continue;
        strcpy(names[distinct++], name);
        foreign += strncmp(name, "step_", 5) != 0;
    }
    free(all);
    VJ_FUZZ_CHECK(vj_fuzz_told(vj_ckpt_latest(folder, path, MPI_COMM_SELF)) == VJ_OK);
    VJ_FUZZ_CHECK(!*path || stat(path, &info) == 0);
    VJ_FUZZ_CHECK(vj_fuzz_told(vj_ckpt_prune(folder, size % 3, size % 2 ? 10 : 0, MPI_COMM_SELF)) == VJ_OK);
    VJ_FUZZ_CHECK(!*path || stat(path, &info) == 0); /* all files are empty, so none counts as a good checkpoint */
    VJ_FUZZ_CHECK(clear() == foreign);
}

void vj_fuzz_seeds(void (*seed)(const uint8_t *data, size_t size))
{
    static const char text[] =
        "step_00000010.h5\nstep_9223372036854775807.h5\nstep_00000020.h5.1234abcd.part\nconfig.yaml";
    seed((const uint8_t *)text, sizeof text - 1);
}
