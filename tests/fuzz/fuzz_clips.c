/*
 * Opens, reads, verifies and prints clip stores with edited contents: the index or a shard of two valid stores, raw and
 * jpeg. The tables of an edited shard are also committed to a new index, which must open.
 */
#include <mpi.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../clips_store.h"
#include "clips/format.h"
#include "edits.h"

enum { STORES = 2, FILES = 2, CLIPS = 8 };
enum { READ, VERIFY, PRINT, COMMIT, QUESTIONS };

static vj_fuzz_file base[STORES][FILES]; /* the index and the first shard of each store */
static char store[STORES][VJ_PATH], file_path[STORES][FILES][VJ_CLIPS_FILE_PATH], again[VJ_PATH];
static const vj_codec_settings codec[STORES] = {{VJ_CODEC_RAW, 0, 0}, {VJ_CODEC_JPEG, 80, 420}};
static vj_coder *coder;
static FILE *printer;

void vj_fuzz_begin(void)
{
    char fifo[VJ_PATH], valid[VJ_PATH];
    for (int s = 0; s < STORES; s++) {
        vj_fuzz_path(store[s], s ? "jpeg.clips" : "raw.clips");
        VJ_FUZZ_CHECK(pack_store_as(store[s], CLIPS, codec[s], MPI_COMM_SELF) == VJ_OK);
        vj_clips_index_path(file_path[s][0], store[s]);
        vj_clips_shard_path(file_path[s][1], store[s], 0);
        for (int f = 0; f < FILES; f++) vj_fuzz_file_load(&base[s][f], file_path[s][f]);
    }
    vj_fuzz_path(again, "again.clips");
    VJ_FUZZ_CHECK(mkdir(again, 0700) == 0);
    vj_fuzz_path(valid, "valid.h5");
    vj_fuzz_write(valid, base[0][0].image, base[0][0].bytes);
    vj_fuzz_path(fifo, "fifo");
    VJ_FUZZ_CHECK(mkfifo(fifo, 0600) == 0);
    VJ_FUZZ_CHECK(vj_coder_create(&coder) == VJ_OK);
    printer = vj_fuzz_printer();
}

/* ------------------------------------------------------------------------------------------------ reading */

static void read_all(const vj_clips *clips, bool sound)
{
    uint8_t *frames = malloc((size_t)vj_clips_largest_bytes(clips) + 1), *record;
    record = malloc((size_t)vj_clips_largest_record(clips) + 1);
    VJ_FUZZ_CHECK(frames && record);
    for (int64_t i = 0; i < vj_clips_count(clips); i++) {
        int height, width;
        vj_clips_geometry(clips, i, &height, &width);
        VJ_FUZZ_CHECK(vj_frames_bytes(vj_clips_frames(clips), height, width) <= vj_clips_largest_bytes(clips));
        vj_status status = vj_fuzz_told(vj_clips_read(clips, i, coder, frames));
        VJ_FUZZ_CHECK(!sound || status == VJ_OK);
        VJ_FUZZ_CHECK(vj_clips_record_bytes(clips, i) <= vj_clips_largest_record(clips));
        if (vj_fuzz_told(vj_clips_fetch(clips, i, NULL, record)) == VJ_OK)
            vj_fuzz_told(vj_clips_decode(clips, i, coder, record, frames)); /* without comparing its checksum */
        VJ_FUZZ_CHECK(vj_clips_dataset(clips, i) < vj_clips_dataset_count(clips));
        VJ_FUZZ_CHECK(vj_clips_shard(clips, i) < vj_clips_shard_count(clips));
        if (vj_clips_label_count(clips) > 0) (void)vj_clips_labels(clips, i)[vj_clips_label_count(clips) - 1];
    }
    free(record);
    free(frames);
}

static void read_store(const char *path, bool sound)
{
    const vj_strings paths = one_path(path);
    vj_clips *clips;
    vj_status status = vj_fuzz_told(vj_clips_open(&clips, &paths, MPI_COMM_SELF));
    VJ_FUZZ_CHECK((status == VJ_OK) == (clips != NULL) && (!sound || status == VJ_OK));
    if (clips) read_all(clips, sound);
    vj_clips_close(clips);
}

static void verify_store(const char *path, bool sound)
{
    int64_t damaged = 0;
    vj_status status = vj_fuzz_told(vj_clips_verify(path, &damaged));
    VJ_FUZZ_CHECK(!sound || (status == VJ_OK && damaged == 0));
}

static void print_store(const char *path, bool sound)
{
    vj_status status = vj_fuzz_told(vj_clips_print(path, printer));
    VJ_FUZZ_CHECK(!sound || status == VJ_OK);
    fflush(printer);
}

/* ------------------------------------------------------------------------------------------------ commit */

/* Make an index of shard 0 only, in a folder of its own. */
static void commit(int s)
{
    const vj_clips_header layout = store_layout(codec[s]);
    char shard[VJ_CLIPS_FILE_PATH], index[VJ_CLIPS_FILE_PATH];
    vj_shard_tables tables;
    vj_clips_index_writer *writer;
    vj_status status = vj_fuzz_told(vj_shard_tables_read(&tables, store[s], 0, &layout));
    if (status == VJ_OK) {
        vj_clips_shard_path(shard, again, 0);
        vj_clips_index_path(index, again);
        VJ_FUZZ_CHECK(link(file_path[s][1], shard) == 0);
        VJ_FUZZ_CHECK(vj_clips_index_create(&writer, again, &layout, 1) == VJ_OK);
        VJ_FUZZ_CHECK(vj_clips_index_append(writer, 0, &tables, NULL) == VJ_OK);
        VJ_FUZZ_CHECK(vj_clips_index_publish(&writer) == VJ_OK);
        const vj_strings paths = one_path(again);
        vj_clips *clips;
        VJ_FUZZ_CHECK(vj_clips_open(&clips, &paths, MPI_COMM_SELF) == VJ_OK);
        VJ_FUZZ_CHECK(vj_clips_count(clips) == tables.clips);
        vj_clips_close(clips);
        VJ_FUZZ_CHECK(unlink(shard) == 0 && unlink(index) == 0);
    }
    vj_shard_tables_release(&tables);
}

/* ------------------------------------------------------------------------------------------------ inputs */

static bool read_int64s(hid_t file, const char *name, int64_t n, int64_t *to)
{
    const hsize_t dims = (hsize_t)n;
    return vj_clips_get(file, "index", name, H5T_NATIVE_INT64, 1, &dims, to) == VJ_OK;
}

/* Set the fingerprint to that of the edited columns, as an attacker could, so that not all edits are refused for that
 * reason. */
static void repair_fingerprint(const char *path, int label_count)
{
    enum { MOST = 64 };
    int64_t height[MOST], width[MOST], dataset[MOST], xxh3[MOST], n;
    int32_t label[MOST * VJ_MAX_LABELS];
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    XXH3_state_t *state = XXH3_createState();
    VJ_FUZZ_CHECK(state && XXH3_64bits_reset(state) == XXH_OK);
    const bool fits = vj_clips_extent(file, "index", "/clips/xxh3", &n) == VJ_OK && n <= MOST;
    const hsize_t dims[2] = {fits ? (hsize_t)n : 0, (hsize_t)label_count};
    if (fits && read_int64s(file, "/clips/height", n, height) && read_int64s(file, "/clips/width", n, width) &&
        read_int64s(file, "/clips/dataset", n, dataset) && read_int64s(file, "/clips/xxh3", n, xxh3) &&
        vj_clips_get(file, "index", "/clips/label", H5T_NATIVE_INT32, 2, dims, label) == VJ_OK) {
        for (int64_t i = 0; i < n; i++)
            vj_clips_fingerprint_add(state, (uint64_t)xxh3[i], (int)height[i], (int)width[i], (int)dataset[i],
                                     label + i * label_count, label_count);
        H5Adelete(file, "fingerprint");
        (void)vj_h5_put_u64(file, "fingerprint", XXH3_64bits_digest(state)); /* after some edits this fails */
    }
    XXH3_freeState(state);
    H5Fclose(file);
}

void vj_fuzz_input(const uint8_t *data, size_t size)
{
    vj_fuzz_bytes in = {data, data + size};
    const uint8_t head = vj_fuzz_u8(&in);
    const int s = head & 1, f = head >> 1 & 1, question = head >> 3 & 3;
    const bool sound = in.at == in.end;
    vj_fuzz_file_edit(&base[s][f], &in, file_path[s][f]);
    if (f == 0 && head & 4 && !sound) {
        vj_fuzz_watch_leaks(false); /* as in edits.c */
        repair_fingerprint(file_path[s][0], STORE_LABELS);
        vj_fuzz_watch_leaks(true);
    }
    if (question == READ) read_store(store[s], sound);
    if (question == VERIFY) verify_store(store[s], sound);
    if (question == PRINT) print_store(store[s], sound);
    if (question == COMMIT) commit(s);
    vj_fuzz_write(file_path[s][f], base[s][f].image, base[s][f].bytes);
}

void vj_fuzz_seeds(void (*seed)(const uint8_t *data, size_t size))
{
    static const int of_file[FILES][2] = {{READ, PRINT}, {VERIFY, COMMIT}};
    for (int f = 0; f < FILES; f++)
        for (int q = 0; q < 2; q++) /* of the index once with the fingerprint made to fit */
            vj_fuzz_file_seeds(&base[q][f], (uint8_t)(q | f << 1 | (f ? 0 : 4) | of_file[f][q] << 3), seed);
    for (uint8_t head = 0; head < STORES * FILES * 2 * QUESTIONS; head++) seed(&head, 1);
}
