/*
 * Reads checkpoints with edited contents by every function that reads checkpoints. The three valid files are a small
 * checkpoint, its exported encoder in bf16, and one whose tensor has several blocks.
 */
#include <mpi.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ckpt/ckpt.h"
#include "edits.h"
#include "h5/h5.h"
#include "parallel/parallel.h"

enum { BASES = 3, TENSORS = 3, QUESTIONS = 4 };

static vj_fuzz_file base[BASES];
static char base_path[BASES][VJ_PATH], path[VJ_PATH], exported[VJ_PATH];
static vj_ckpt_tensor tensors[BASES][TENSORS] = {
    {{.name = "model/target/blocks.0.attn.qkv.weight", .ndim = 2, .dim = {6, 5}},
     {.name = "model/target/patch_embed.proj.weight", .ndim = 5, .dim = {2, 3, 1, 2, 2}},
     {.name = "optimizer/first_moment/all", .ndim = 1, .dim = {7}}},
    {{.name = "model/target/blocks.0.attn.qkv.weight", .ndim = 2, .dim = {6, 5}, .type = VJ_CKPT_BF16},
     {.name = "model/target/patch_embed.proj.weight", .ndim = 5, .dim = {2, 3, 1, 2, 2}, .type = VJ_CKPT_BF16}},
    {{.name = "model/encoder/long", .ndim = 2, .dim = {3, 100000}}},
};
static float memory[300000];
static FILE *printer;

static int count_of(int b)
{
    int count = 0;
    while (count < TENSORS && tensors[b][count].ndim) count++;
    return count;
}

static vj_status get(void *user, const vj_ckpt_tensor *tensor, int64_t first, int64_t last, float *host)
{
    (void)user, (void)tensor; /* all tensors have the same values */
    for (int64_t i = first; i < last; i++) host[i - first] = (float)i * 0.5f - 3.0f;
    return VJ_OK;
}

static vj_status put(void *user, const vj_ckpt_tensor *tensor, int64_t first, int64_t last, float *host)
{
    (void)user;
    VJ_FUZZ_CHECK(first >= 0 && first <= last && last <= tensor->last);
    memcpy(memory + first, host, (size_t)(last - first) * sizeof *host);
    return VJ_OK;
}

/* Write step `b` to the harness's folder as training does. */
static void write_base(int b)
{
    char folder[VJ_PATH];
    vj_ckpt_state state = {.step = b, .samples = 24, .config = (char *)"run:\n  seed: 7\n"};
    vj_ckpt_writer *writer;
    vj_fuzz_path(folder, ".");
    VJ_FUZZ_CHECK(vj_ckpt_open(&writer, tensors[b], count_of(b), false, MPI_COMM_SELF) == VJ_OK);
    VJ_FUZZ_CHECK(vj_ckpt_begin(writer, folder, &state, get, NULL) == VJ_OK && vj_ckpt_commit(writer) == VJ_OK);
    vj_ckpt_close(writer);
    VJ_FUZZ_CHECK(vj_ckpt_latest(folder, base_path[b], MPI_COMM_SELF) == VJ_OK);
}

void vj_fuzz_begin(void)
{
    char fifo[VJ_PATH], valid[VJ_PATH];
    for (int b = 0; b < BASES; b++)
        for (int i = 0; i < count_of(b); i++) {
            tensors[b][i].last = 1;
            for (int d = 0; d < tensors[b][i].ndim; d++) tensors[b][i].last *= tensors[b][i].dim[d];
        }
    write_base(0);
    vj_fuzz_path(base_path[1], "bf16.h5");
    VJ_FUZZ_CHECK(vj_ckpt_export(base_path[0], base_path[1], VJ_CKPT_BF16) == VJ_OK);
    write_base(2);
    for (int b = 0; b < BASES; b++) vj_fuzz_file_load(&base[b], base_path[b]);
    vj_fuzz_path(valid, "valid.h5");
    vj_fuzz_write(valid, base[0].image, base[0].bytes);
    vj_fuzz_path(fifo, "fifo");
    VJ_FUZZ_CHECK(mkfifo(fifo, 0600) == 0);
    vj_fuzz_path(path, "edited.h5");
    vj_fuzz_path(exported, "exported.h5");
    printer = vj_fuzz_printer();
}

static void read_state(bool sound)
{
    char format[64];
    vj_ckpt_state state;
    vj_h5_format(path, format, sizeof format);
    vj_status status = vj_fuzz_told(vj_ckpt_read_state(path, &state, VJ_ALONE));
    vj_ckpt_state_release(&state);
    VJ_FUZZ_CHECK(!sound || (status == VJ_OK && strcmp(format, VJ_CKPT_FORMAT) == 0));
}

static void read_tensors(int b, bool sound)
{
    vj_status status = vj_fuzz_told(vj_ckpt_read(path, tensors[b], count_of(b), put, NULL, VJ_ALONE));
    VJ_FUZZ_CHECK(status != VJ_OK || vj_ckpt_has(path, tensors[b][0].name));
    VJ_FUZZ_CHECK(!sound || status == VJ_OK);
}

static void inspect(int b, bool sound)
{
    int64_t blocks, damaged, different;
    vj_status status = vj_fuzz_told(vj_ckpt_verify(path, &blocks, &damaged));
    VJ_FUZZ_CHECK(!sound || (status == VJ_OK && damaged == 0));
    vj_fuzz_told(vj_ckpt_print(path, printer));
    status = vj_fuzz_told(vj_ckpt_compare(path, base_path[b], printer, &different));
    VJ_FUZZ_CHECK(!sound || (status == VJ_OK && different == 0));
    fflush(printer);
}

static void export_encoder(vj_ckpt_type type, bool sound)
{
    int64_t blocks, damaged;
    vj_status status = vj_fuzz_told(vj_ckpt_export(path, exported, type));
    VJ_FUZZ_CHECK(!sound || status == VJ_OK);
    if (status != VJ_OK) return;
    status = vj_fuzz_told(vj_ckpt_verify(exported, &blocks, &damaged));
    VJ_FUZZ_CHECK(status == VJ_OK && damaged == 0);
    VJ_FUZZ_CHECK(unlink(exported) == 0);
}

/* The first byte chooses the valid file and what is done with the edited one. */
void vj_fuzz_input(const uint8_t *data, size_t size)
{
    vj_fuzz_bytes in = {data, data + size};
    const uint8_t head = vj_fuzz_u8(&in);
    const int b = head % BASES, question = head / BASES % QUESTIONS;
    const bool sound = in.at == in.end;
    vj_fuzz_file_edit(&base[b], &in, path);
    if (question == 0) read_state(sound);
    if (question == 1) read_tensors(b, sound);
    if (question == 2) inspect(b, sound);
    if (question == 3) export_encoder(size % 2 ? VJ_CKPT_F32 : VJ_CKPT_BF16, sound);
}

void vj_fuzz_seeds(void (*seed)(const uint8_t *data, size_t size))
{
    for (int question = 0; question < QUESTIONS; question++) {
        const uint8_t head = (uint8_t)(BASES * question), large = (uint8_t)(head + BASES - 1);
        vj_fuzz_file_seeds(&base[question % 2], (uint8_t)(head + question % 2), seed);
        seed(&large, 1);
    }
}
