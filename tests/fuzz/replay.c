/*
 * Runs a harness without libFuzzer: replay_READER [FILE|FOLDER...] runs its seeds and these inputs; replay_READER
 * --seeds FOLDER writes the seeds as files, with which the fuzzer begins.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *seed_folder;
static int seeds, inputs;

static void write_seed(const uint8_t *data, size_t size)
{
    char path[VJ_PATH];
    snprintf(path, sizeof path, "%s/seed-%04d", seed_folder, seeds++);
    vj_fuzz_write(path, data, size);
}

static void run_seed(const uint8_t *data, size_t size)
{
    LLVMFuzzerTestOneInput(data, size);
    seeds++;
}

static void run_path(const char *path)
{
    struct stat info;
    struct dirent *item;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        DIR *folder = opendir(path);
        VJ_FUZZ_CHECK(folder);
        while ((item = readdir(folder)) != NULL) {
            char inside[VJ_PATH];
            if (item->d_name[0] == '.') continue;
            snprintf(inside, sizeof inside, "%s/%s", path, item->d_name);
            run_path(inside);
        }
        closedir(folder);
        return;
    }
    size_t size;
    printf("%s\n", path);
    fflush(stdout); /* the last line names the input that fails */
    uint8_t *data = vj_fuzz_read(path, &size);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    inputs++;
}

int main(int argc, char **argv)
{
    LLVMFuzzerInitialize(&argc, &argv);
    if (argc == 3 && strcmp(argv[1], "--seeds") == 0) {
        seed_folder = argv[2];
        vj_fuzz_seeds(write_seed);
        return 0;
    }
    vj_fuzz_seeds(run_seed);
    for (int i = 1; i < argc; i++) run_path(argv[i]);
    printf("%d seeds and %d inputs, nothing found\n", seeds, inputs);
    return 0;
}
