/*
 * What the harnesses share. A harness is one file, fuzz_READER.c, with three functions: begin, input, seeds. With
 * libFuzzer it becomes the program fuzz_READER, with replay.c the program replay_READER, which needs no clang and runs
 * the seeds and the inputs that once failed. An input fails when a sanitizer objects, when VJ_FUZZ_CHECK() does, when
 * it takes too long or too much memory, or when a failure is returned that nobody reported.
 */
#ifndef VJ_FUZZ_H
#define VJ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "base/config.h"

/* ------------------------------------------------------------------------------------------------ of each harness */

/** Once, at the start. MPI runs, HDF5 is silent, vj_fuzz_path() works. */
void vj_fuzz_begin(void);

/** One input of any bytes. */
void vj_fuzz_input(const uint8_t *data, size_t size);

/** Call seed() with inputs that lead far into the reader. */
void vj_fuzz_seeds(void (*seed)(const uint8_t *data, size_t size));

/* ------------------------------------------------------------------------------------------------ for each harness */

/** What must hold for every input. */
#define VJ_FUZZ_CHECK(condition)                                                                                       \
    do {                                                                                                               \
        if (!(condition)) vj_fuzz_failed(__FILE__, __LINE__, #condition);                                              \
    } while (0)
_Noreturn void vj_fuzz_failed(const char *file, int line, const char *condition);

/** Hand through the status of a call of ours; a failure must have been reported since the last one. */
vj_status vj_fuzz_told(vj_status status);

/** Whether memory that is allocated from now on must be freed; true at first. */
void vj_fuzz_watch_leaks(bool watch);

/** NAME in the harness's own folder, which is removed at the end. */
void vj_fuzz_path(char path[VJ_PATH], const char *name);

/** Write a whole file; read one, into memory that the caller frees. */
void vj_fuzz_write(const char *path, const void *data, size_t size);
uint8_t *vj_fuzz_read(const char *path, size_t *size);

/** Seeds from files, "jobs/configs/tiny.yaml", by a pattern of glob(7) relative to the project's folder. */
void vj_fuzz_seed_files(const char *pattern, void (*seed)(const uint8_t *data, size_t size));

/** A stream that checks what is printed into it: text for a terminal, no control characters but newlines. */
FILE *vj_fuzz_printer(void);

/* The input as a source of numbers; zeros when it has ended. */
typedef struct {
    const uint8_t *at, *end;
} vj_fuzz_bytes;
uint8_t vj_fuzz_u8(vj_fuzz_bytes *bytes);
uint32_t vj_fuzz_u32(vj_fuzz_bytes *bytes);
/** A number that is small, at a border of some type, or any. */
int64_t vj_fuzz_i64(vj_fuzz_bytes *bytes);
/** At most `most` bytes: *data borrowed from the input. */
size_t vj_fuzz_take(vj_fuzz_bytes *bytes, size_t most, const uint8_t **data);

#endif
