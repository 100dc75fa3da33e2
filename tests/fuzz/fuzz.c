/* The two functions that libFuzzer calls, and what the harnesses share. */
#include "fuzz.h"

#include <ftw.h>
#include <glob.h>
#include <hdf5.h>
#include <mpi.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Functions of the leak sanitizer, if there is one. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

static char folder[VJ_PATH - 64];
static int64_t lines_told;
static FILE *true_stderr;

void vj_fuzz_failed(const char *file, int line, const char *condition)
{
    fprintf(true_stderr, "%s:%d: %s is false\n", file, line, condition);
    fflush(true_stderr);
    abort();
}

/* ------------------------------------------------------------------------------------------------ what is said */

/* Check that a message is printable: texts from damaged or foreign files get to terminals and logs. */
static void check_printable(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        VJ_FUZZ_CHECK(text[i] == '\n' || text[i] == '\t' || ((unsigned char)text[i] >= 0x20 && text[i] != 0x7f));
}

static ssize_t hear(void *cookie, const char *text, size_t bytes)
{
    (void)cookie; /* part of the signature */
    check_printable(text, bytes);
    for (size_t i = 0; i < bytes; i++) lines_told += text[i] == '\n';
    return (ssize_t)bytes;
}

static ssize_t look(void *cookie, const char *text, size_t bytes)
{
    (void)cookie;
    check_printable(text, bytes);
    return (ssize_t)bytes;
}

FILE *vj_fuzz_printer(void)
{
    FILE *out = fopencookie(NULL, "w", (cookie_io_functions_t){.write = look});
    VJ_FUZZ_CHECK(out);
    return out;
}

vj_status vj_fuzz_told(vj_status status)
{
    VJ_FUZZ_CHECK(status == VJ_OK || lines_told > 0);
    lines_told = 0;
    return status;
}

void vj_fuzz_watch_leaks(bool watch)
{
    if (watch && __lsan_enable) __lsan_enable();
    if (!watch && __lsan_disable) __lsan_disable();
}

/* ------------------------------------------------------------------------------------------------ files */

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

static void remove_folder(void)
{
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

void vj_fuzz_path(char path[VJ_PATH], const char *name)
{
    VJ_FUZZ_CHECK(snprintf(path, VJ_PATH, "%s/%s", folder, name) < VJ_PATH);
}

void vj_fuzz_write(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    VJ_FUZZ_CHECK(f && fwrite(data, 1, size, f) == size);
    VJ_FUZZ_CHECK(fclose(f) == 0);
}

uint8_t *vj_fuzz_read(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    VJ_FUZZ_CHECK(f && fseek(f, 0, SEEK_END) == 0);
    *size = (size_t)ftell(f);
    rewind(f);
    uint8_t *data = malloc(*size + 1);
    VJ_FUZZ_CHECK(data && fread(data, 1, *size, f) == *size);
    fclose(f); /* only read */
    return data;
}

void vj_fuzz_seed_files(const char *pattern, void (*seed)(const uint8_t *data, size_t size))
{
    char path[VJ_PATH];
    glob_t found;
    snprintf(path, sizeof path, "%s/%s", VJ_FUZZ_SOURCE, pattern);
    VJ_FUZZ_CHECK(glob(path, 0, NULL, &found) == 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        size_t size;
        uint8_t *data = vj_fuzz_read(found.gl_pathv[i], &size);
        seed(data, size);
        free(data);
    }
    globfree(&found);
}

/* ------------------------------------------------------------------------------------------------ numbers */

uint8_t vj_fuzz_u8(vj_fuzz_bytes *b)
{
    return b->at < b->end ? *b->at++ : 0;
}

uint32_t vj_fuzz_u32(vj_fuzz_bytes *b)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) value |= (uint32_t)vj_fuzz_u8(b) << 8 * i;
    return value;
}

int64_t vj_fuzz_i64(vj_fuzz_bytes *b)
{
    const int kind = vj_fuzz_u8(b);
    if (kind < 128) return kind - 8;
    if (kind < 224) { /* a number near a power of two, of either sign */
        const int64_t near = ((int64_t)1 << kind % 63) + (int8_t)vj_fuzz_u8(b) / 32;
        return kind & 64 ? -near : near;
    }
    const uint64_t low = vj_fuzz_u32(b);
    return (int64_t)((uint64_t)vj_fuzz_u32(b) << 32 | low);
}

size_t vj_fuzz_take(vj_fuzz_bytes *b, size_t most, const uint8_t **data)
{
    const size_t left = (size_t)(b->end - b->at), bytes = left < most ? left : most;
    *data = b->at;
    b->at += bytes;
    return bytes;
}

/* ------------------------------------------------------------------------------------------------ libFuzzer's */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *base = getenv("TMPDIR");
    true_stderr = fdopen(dup(STDERR_FILENO), "w");
    VJ_FUZZ_CHECK(snprintf(folder, sizeof folder, "%s/vjepa-fuzz-XXXXXX", base ? base : "/tmp") < (int)sizeof folder);
    VJ_FUZZ_CHECK(mkdtemp(folder) && atexit(remove_folder) == 0);
    setenv("OMPI_MCA_opal_signal", "", 0); /* only the sanitizers and libFuzzer handle signals */
    vj_fuzz_watch_leaks(false);            /* memory that MPI keeps is not our leak */
    MPI_Init(argc, argv);
    vj_fuzz_watch_leaks(true);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    stderr = fopencookie(NULL, "w", (cookie_io_functions_t){.write = hear});
    VJ_FUZZ_CHECK(stderr);
    setvbuf(stderr, NULL, _IONBF, 0);
    vj_fuzz_begin();
    return 0;
}

/* Return the number of open HDF5 identifiers of all kinds. */
static hsize_t identifiers(void)
{
    hsize_t all = 0, some;
    for (int type = H5I_FILE; type < H5I_NTYPES; type++)
        if (H5Inmembers((H5I_type_t)type, &some) >= 0) all += some;
    return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const hsize_t before = identifiers();
    lines_told = 0;
    vj_fuzz_input(data, size);
    VJ_FUZZ_CHECK(identifiers() == before);
    return 0;
}
