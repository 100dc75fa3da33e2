/* Reads, verifies, prints and joins predictions with edited contents, made from a valid file of two heads. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edits.h"
#include "parallel/parallel.h"
#include "probe/predictions.h"

enum { HEADS = 2, ROWS = 4, CLASSES = 6 };

static vj_fuzz_file base;
static char path[VJ_PATH], other[VJ_PATH], joined[VJ_PATH];
static FILE *printer;

static void write_base(const char *to, const char *encoder)
{
    char names[CLASSES * 2] = "a\0b\0c\0d\0e\0f";
    const vj_clips_classes classes = {.count = CLASSES, .bytes = 2, .names = names};
    const vj_task_classes task = {"motion", &classes};
    const uint64_t digest[HEADS] = {7, 8};
    vj_head_facts heads[HEADS];
    vj_prediction rows[ROWS];
    vj_predictions_writer *writer;
    for (int h = 0; h < HEADS; h++) {
        heads[h] = (vj_head_facts){.task = "motion",
                                   .features = "online",
                                   .preset = "code",
                                   .precision = "fp32",
                                   .split = "class",
                                   .description = "20 epochs",
                                   .labels = 12.5,
                                   .seed = 7,
                                   .training_samples = 5,
                                   .counted = ROWS,
                                   .failed = 1,
                                   .classes = h ? 3 : CLASSES};
        snprintf(heads[h].encoder, sizeof heads[h].encoder, "%s", encoder);
        snprintf(heads[h].kind, sizeof heads[h].kind, "%s", h ? "average" : "attentive");
        vj_head_name(&heads[h]);
    }
    VJ_FUZZ_CHECK(vj_predictions_create(&writer, to, heads, HEADS, &task, 1, "run:\n", VJ_ALONE) == VJ_OK);
    vj_status status = VJ_OK;
    for (int h = 0; h < HEADS && status == VJ_OK; h++) {
        const double scores[CLASSES] = {2, 1, 0, 5, 4, 3};
        double memory[2 * CLASSES];
        for (int i = 0; i < ROWS && status == VJ_OK; i++) {
            rows[i] = (vj_prediction){.clip = i, .content = 50, .label = i % heads[h].classes};
            status = vj_predict(&rows[i], memory, scores, 1, heads[h].classes);
        }
        if (status == VJ_OK) status = vj_predictions_write(writer, h, 0, ROWS, rows);
    }
    VJ_FUZZ_CHECK(vj_predictions_commit(writer, status, digest) == VJ_OK);
}

void vj_fuzz_begin(void)
{
    char fifo[VJ_PATH], valid[VJ_PATH];
    vj_fuzz_path(path, "edited.h5");
    vj_fuzz_path(valid, "valid.h5");
    vj_fuzz_path(other, "other.h5");
    vj_fuzz_path(joined, "joined.h5");
    vj_fuzz_path(fifo, "fifo");
    VJ_FUZZ_CHECK(mkfifo(fifo, 0600) == 0);
    write_base(valid, "vit");
    write_base(other, "resnet");
    vj_fuzz_file_load(&base, valid);
    printer = vj_fuzz_printer();
}

/* Use all that was read as the comparison does: numbers of classes, and as many rows as the head says. */
static void read_heads(const vj_predictions *p, int64_t *bad)
{
    for (int64_t h = 0; h < p->count; h++) {
        const vj_head_facts *head = &p->head[h];
        vj_prediction *rows;
        vj_clips_classes classes;
        int64_t right = 0;
        VJ_FUZZ_CHECK(vj_predictions_find(p, head->name) >= 0 && head->counted >= 0 && head->classes >= 1);
        const vj_status status = vj_fuzz_told(vj_predictions_read(p, h, &rows));
        *bad += status != VJ_OK;
        for (int64_t i = 0; status == VJ_OK && i < head->counted; i++) {
            VJ_FUZZ_CHECK(rows[i].label >= 0 && rows[i].label < head->classes && rows[i].top[0] < head->classes);
            right += rows[i].rank == 0;
        }
        VJ_FUZZ_CHECK(right <= head->counted);
        free(rows);
        if (vj_fuzz_told(vj_predictions_classes(p, head->task, &classes)) == VJ_OK)
            for (int64_t k = 0; k < classes.count; k++) VJ_FUZZ_CHECK(vj_printable(vj_clips_classes_name(&classes, k)));
        vj_clips_classes_release(&classes);
    }
}

static void join(bool sound)
{
    const char *const paths[] = {path, other};
    int64_t heads, damaged;
    const vj_status status = vj_fuzz_told(vj_predictions_join(joined, paths, 2, NULL, NULL));
    VJ_FUZZ_CHECK(!sound || status == VJ_OK);
    VJ_FUZZ_CHECK((status == VJ_OK) == (access(joined, F_OK) == 0));
    if (status != VJ_OK) return;
    VJ_FUZZ_CHECK(vj_fuzz_told(vj_predictions_verify(joined, &heads, &damaged)) == VJ_OK && damaged == 0);
    VJ_FUZZ_CHECK(unlink(joined) == 0);
}

/* The first byte chooses whether the edited file is also joined with a good one. */
void vj_fuzz_input(const uint8_t *data, size_t size)
{
    vj_fuzz_bytes in = {data, data + size};
    const bool joins = vj_fuzz_u8(&in) % 2, sound = in.at == in.end;
    vj_predictions p;
    int64_t heads, damaged, bad = 0;
    vj_fuzz_file_edit(&base, &in, path);
    const vj_status status = vj_fuzz_told(vj_predictions_open(&p, path));
    if (status == VJ_OK) read_heads(&p, &bad);
    vj_predictions_release(&p);
    const vj_status again = vj_fuzz_told(vj_predictions_verify(path, &heads, &damaged));
    VJ_FUZZ_CHECK(again == status && (status != VJ_OK || damaged == bad));
    VJ_FUZZ_CHECK(!sound || (status == VJ_OK && bad == 0 && heads == HEADS));
    vj_fuzz_told(vj_predictions_print(path, printer));
    fflush(printer);
    if (joins) join(sound);
}

void vj_fuzz_seeds(void (*seed)(const uint8_t *data, size_t size))
{
    for (uint8_t head = 0; head < 2; head++) vj_fuzz_file_seeds(&base, head, seed);
}
