/* Reads feature stores with edited contents. The two valid ones have tokens in f4 with labels, and pooled features in
 * f2 without. */
#include <mpi.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "edits.h"
#include "features/features.h"
#include "parallel/parallel.h"

enum { BASES = 2, ROWS = 5, TOKENS = 3, WIDTH = 4 };

static vj_fuzz_file base[BASES];
static char path[VJ_PATH];
static FILE *printer;

static vj_features_header layout_of(int b)
{
    vj_features_header layout = {.clips = ROWS,
                                 .tokens = b ? 1 : TOKENS,
                                 .width = WIDTH,
                                 .type = b ? VJ_FEATURES_F16 : VJ_FEATURES_F32,
                                 .label_count = b ? 0 : 2,
                                 .label_names = {"appearance", "motion"},
                                 .encoder = "run/step_00000001.h5 step 1",
                                 .preprocessing = "none",
                                 .config = "run:\n  seed: 7\n"};
    return layout;
}

static void write_base(int b, const char *to)
{
    const vj_features_header layout = layout_of(b);
    float features[ROWS * TOKENS * WIDTH];
    int32_t labels[ROWS * 2];
    int64_t clips[ROWS];
    vj_features_writer *writer;
    for (int i = 0; i < ROWS * TOKENS * WIDTH; i++) features[i] = 0.25f * (float)i;
    for (int i = 0; i < ROWS * 2; i++) labels[i] = i % 3;
    for (int i = 0; i < ROWS; i++) clips[i] = 10 + i;
    VJ_FUZZ_CHECK(vj_features_create(&writer, to, &layout, MPI_COMM_SELF) == VJ_OK);
    vj_status status = vj_features_write(writer, 0, ROWS, features, b ? NULL : labels, clips, (const uint64_t *)clips);
    VJ_FUZZ_CHECK(vj_features_commit(writer, status, 2.5) == VJ_OK);
}

void vj_fuzz_begin(void)
{
    char fifo[VJ_PATH], valid[VJ_PATH];
    vj_fuzz_path(path, "edited.h5");
    vj_fuzz_path(valid, "valid.h5");
    vj_fuzz_path(fifo, "fifo");
    VJ_FUZZ_CHECK(mkfifo(fifo, 0600) == 0);
    for (int b = BASES - 1; b >= 0; b--) {
        write_base(b, valid);
        vj_fuzz_file_load(&base[b], valid);
    }
    printer = vj_fuzz_printer();
}

/* Read all rows into memory of exactly the size that the description states. */
static void read_rows(const vj_features *features, int64_t *bad)
{
    const vj_features_header *layout = vj_features_describe(features);
    float *row = malloc((size_t)(layout->tokens * layout->width) * sizeof *row);
    VJ_FUZZ_CHECK(row);
    for (int64_t r = 0; r < layout->clips; r++)
        *bad += vj_fuzz_told(vj_features_read_rows(features, r, 1, row)) != VJ_OK;
    free(row);
}

void vj_fuzz_input(const uint8_t *data, size_t size)
{
    vj_fuzz_bytes in = {data, data + size};
    const int b = vj_fuzz_u8(&in) % BASES;
    const bool sound = in.at == in.end;
    vj_features *features;
    int64_t rows, damaged, bad = 0;

    vj_fuzz_file_edit(&base[b], &in, path);
    vj_status status = vj_fuzz_told(vj_features_open(&features, path, VJ_ALONE));
    VJ_FUZZ_CHECK((status == VJ_OK) == (features != NULL));
    if (features) read_rows(features, &bad);
    vj_features_close(features);
    vj_status again = vj_fuzz_told(vj_features_verify(path, &rows, &damaged));
    VJ_FUZZ_CHECK(again == status && (status != VJ_OK || damaged == bad));
    VJ_FUZZ_CHECK(!sound || (status == VJ_OK && bad == 0 && rows == ROWS));
    vj_fuzz_told(vj_features_print(path, printer));
    fflush(printer);
}

void vj_fuzz_seeds(void (*seed)(const uint8_t *data, size_t size))
{
    for (int b = 0; b < BASES; b++) vj_fuzz_file_seeds(&base[b], (uint8_t)b, seed);
}
