/*
 * Reads files whose bytes are overwritten or cut, so that HDF5's own parser gets what no HDF5 library writes; it does
 * not test our code. The first byte chooses a checkpoint, a feature store or the index of a clip store. README.md says
 * what it is good for; run.sh skips it unless it is named.
 */
#include <mpi.h>

#include "../clips_store.h"
#include "ckpt/ckpt.h"
#include "clips/format.h"
#include "edits.h"
#include "features/features.h"

enum { CKPT, FEATURES, CLIPS, KINDS };

static vj_fuzz_file base[KINDS];
static char path[KINDS][VJ_CLIPS_FILE_PATH], store[VJ_PATH];
static FILE *printer;

static vj_status get(void *user, const vj_ckpt_tensor *tensor, int64_t first, int64_t last, float *host)
{
    (void)user, (void)tensor;
    for (int64_t i = first; i < last; i++) host[i - first] = (float)i;
    return VJ_OK;
}

static void write_ckpt(char latest[VJ_PATH])
{
    const vj_ckpt_tensor tensor = {.name = "model/target/a.weight", .ndim = 2, .dim = {3, 4}, .last = 12};
    const vj_ckpt_state state = {.step = 1, .config = (char *)"run:\n  seed: 7\n"};
    char folder[VJ_PATH];
    vj_ckpt_writer *writer;
    vj_fuzz_path(folder, ".");
    VJ_FUZZ_CHECK(vj_ckpt_open(&writer, &tensor, 1, false, MPI_COMM_SELF) == VJ_OK);
    VJ_FUZZ_CHECK(vj_ckpt_begin(writer, folder, &state, get, NULL) == VJ_OK && vj_ckpt_commit(writer) == VJ_OK);
    vj_ckpt_close(writer);
    VJ_FUZZ_CHECK(vj_ckpt_latest(folder, latest, MPI_COMM_SELF) == VJ_OK);
}

static void write_features(const char *to)
{
    const vj_features_header layout = {
        .clips = 2, .tokens = 1, .width = 3, .encoder = "e", .preprocessing = "p", .config = "c"};
    const float features[6] = {1, 2, 3, 4, 5, 6};
    const int64_t clips[2] = {0, 1};
    vj_features_writer *writer;
    VJ_FUZZ_CHECK(vj_features_create(&writer, to, &layout, MPI_COMM_SELF) == VJ_OK);
    VJ_FUZZ_CHECK(vj_features_commit(writer,
                                     vj_features_write(writer, 0, 2, features, NULL, clips, (const uint64_t *)clips),
                                     1) == VJ_OK);
}

void vj_fuzz_begin(void)
{
    char features[VJ_PATH];
    write_ckpt(path[CKPT]);
    vj_fuzz_path(features, "features.h5");
    write_features(features);
    snprintf(path[FEATURES], sizeof path[FEATURES], "%s", features);
    vj_fuzz_path(store, "store.clips");
    VJ_FUZZ_CHECK(pack_store(store, 2, MPI_COMM_SELF) == VJ_OK);
    vj_clips_index_path(path[CLIPS], store);
    for (int k = 0; k < KINDS; k++) vj_fuzz_file_load(&base[k], path[k]);
    printer = vj_fuzz_printer();
}

void vj_fuzz_input(const uint8_t *data, size_t size)
{
    vj_fuzz_bytes in = {data, data + size};
    const int kind = vj_fuzz_u8(&in) % KINDS;
    int64_t blocks, damaged;
    vj_fuzz_file_damage(&base[kind], &in, path[kind]);
    if (kind == CKPT) {
        vj_fuzz_told(vj_ckpt_verify(path[kind], &blocks, &damaged));
        vj_fuzz_told(vj_ckpt_print(path[kind], printer));
    } else if (kind == FEATURES) {
        vj_fuzz_told(vj_features_verify(path[kind], &blocks, &damaged));
    } else {
        vj_fuzz_told(vj_clips_verify(store, &damaged));
    }
    fflush(printer);
}

void vj_fuzz_seeds(void (*seed)(const uint8_t *data, size_t size))
{
    for (uint8_t kind = 0; kind < KINDS; kind++) {
        const uint8_t flip[] = {kind, 0x40, 0, 0, 0, 0xff}, cut[] = {kind, 9, 0, 0, 0xff};
        seed(&kind, 1);
        seed(flip, sizeof flip);
        seed(cut, sizeof cut);
    }
}
