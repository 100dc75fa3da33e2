/* The fixture of the store's unit tests: each test starts with a new store of CLIPS clips in its own folder. */
#ifndef VJ_TEST_CLIPS_FIXTURE_H
#define VJ_TEST_CLIPS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "clips_store.h"

enum { CLIPS = 26 };
static const vj_codec_settings raw = {.codec = VJ_CODEC_RAW};

typedef struct {
    char folder[VJ_PATH], store[VJ_PATH];
} fixture;

static inline int make_store(void **state)
{
    static fixture f;
    make_folder(f.folder);
    join(f.store, f.folder, "a.clips");
    *state = &f;
    return pack_store(f.store, CLIPS, MPI_COMM_SELF) == VJ_OK ? 0 : -1;
}

static inline int remove_store(void **state)
{
    return remove_folder(((fixture *)*state)->folder);
}

static inline vj_status open_store(vj_clips **clips, const char *path)
{
    vj_strings paths = one_path(path);
    return vj_clips_open(clips, &paths, MPI_COMM_SELF);
}

static inline int exists(const char *store, const char *name)
{
    char path[VJ_PATH];
    join(path, store, name);
    return access(path, F_OK) == 0;
}

/* Write a file whose content is not HDF5. */
static inline void write_text(const char *store, const char *name)
{
    char path[VJ_PATH];
    join(path, store, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("path,label\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static inline void check_clip(const vj_clips *clips, int64_t number, int64_t want)
{
    static uint8_t expected[STORE_LARGEST], got[STORE_LARGEST];
    int32_t labels[STORE_LABELS];
    int height, width;
    vj_clip clip;
    store_clip(want, &clip, labels, expected);
    vj_clips_geometry(clips, number, &height, &width);
    assert_int_equal(height, clip.height);
    assert_int_equal(width, clip.width);
    assert_int_equal(read_clip(clips, number, got), VJ_OK);
    assert_memory_equal(got, expected, (size_t)STORE_FRAMES * height * width * 3);
    assert_memory_equal(vj_clips_labels(clips, number), labels, sizeof labels);
    assert_int_equal(vj_clips_dataset(clips, number), clip.dataset);
}

#endif
