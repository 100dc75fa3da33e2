/* Reads files of probes with edited contents. The three valid ones are an attentive probe, an average one, and one with
 * a block on the tokens. */
#include <string.h>
#include <sys/stat.h>

#include "edits.h"
#include "probe/probe_file.h"

enum { BASES = 3, D = 4, CLASSES = 3, TOKENS = 2 };

static vj_fuzz_file base[BASES];
static char path[VJ_PATH], valid[BASES][VJ_PATH];
static char names[CLASSES][8] = {"apple", "pear", "plum"};
static FILE *printer;
static vj_backend *be;

static const vj_head_shape shape[] = {
    {.pooling = VJ_POOL_ATTENTIVE, .D = D, .heads = 2, .classes = CLASSES, .depth = 2, .tokens = TOKENS, .batch = 1},
    {.pooling = VJ_POOL_AVERAGE, .D = D, .heads = 1, .classes = CLASSES, .depth = 1, .tokens = TOKENS, .batch = 1}};
static const vj_token_probe_shape token_shape = {.D = D, .heads = 2, .classes = CLASSES, .depth = 2, .tokens = TOKENS};

static void write_base(int b, vj_probe_file *f)
{
    if (b < 2) {
        vj_head *head;
        VJ_FUZZ_CHECK(vj_head_create(&head, be, &shape[b]) == VJ_OK && vj_head_init(head, 7, 0.1) == VJ_OK);
        vj_probe_file_of_head(f, &shape[b]);
        VJ_FUZZ_CHECK(vj_probe_file_write_head(f, be, head) == VJ_OK);
        vj_head_destroy(head);
        return;
    }
    vj_token_probe *probe;
    VJ_FUZZ_CHECK(vj_token_probe_create(&probe, be, &token_shape) == VJ_OK);
    VJ_FUZZ_CHECK(vj_token_probe_init(probe, 7, 0.1) == VJ_OK);
    vj_probe_file_of_token_probe(f, &token_shape);
    VJ_FUZZ_CHECK(vj_probe_file_write_token_probe(f, be, probe) == VJ_OK);
    vj_token_probe_destroy(probe);
}

void vj_fuzz_begin(void)
{
    static const char *const file[BASES] = {"attentive.h5", "average.h5", "tokens.h5"};
    char fifo[VJ_PATH], linked[VJ_PATH];
    VJ_FUZZ_CHECK(vj_backend_open(&be, "cpu", VJ_FP32, 1) == VJ_OK);
    vj_fuzz_path(path, "edited.h5");
    vj_fuzz_path(fifo, "fifo");
    VJ_FUZZ_CHECK(mkfifo(fifo, 0600) == 0);
    for (int b = 0; b < BASES; b++) {
        vj_probe_file f = {.facts = {.name = "fruit.attentive.10.vit.7",
                                     .task = "fruit",
                                     .encoder = "vit",
                                     .features = "online",
                                     .preset = "code",
                                     .precision = "fp32",
                                     .split = "class",
                                     .description = "lr 0.001",
                                     .labels = 10,
                                     .seed = 7,
                                     .training_samples = 240},
                           .classes = {CLASSES, sizeof names[0], (char *)names}};
        vj_fuzz_path(valid[b], file[b]);
        snprintf(f.path, sizeof f.path, "%s", valid[b]);
        write_base(b, &f);
        vj_fuzz_file_load(&base[b], valid[b]);
    }
    vj_fuzz_path(linked, "valid.h5"); /* edits can make links to it and change it */
    vj_fuzz_write(linked, base[0].image, base[0].bytes);
    printer = vj_fuzz_printer();
}

/* Read weights into a probe of the expected shape: the file fits or is refused, whatever it says. */
static vj_status read_weights(const vj_probe_file *f, int b)
{
    vj_status status;
    if (b < 2) {
        vj_head *head;
        VJ_FUZZ_CHECK(vj_head_create(&head, be, &shape[b]) == VJ_OK);
        status = vj_fuzz_told(vj_probe_file_read_head(f, be, head));
        vj_head_destroy(head);
        return status;
    }
    vj_token_probe *probe;
    VJ_FUZZ_CHECK(vj_token_probe_create(&probe, be, &token_shape) == VJ_OK);
    status = vj_fuzz_told(vj_probe_file_read_token_probe(f, be, probe));
    vj_token_probe_destroy(probe);
    return status;
}

/* Return whether the edited file is still of the kind of its valid file: other kinds have other readers. */
static bool same_kind(const vj_probe_file *f, int b)
{
    return f->on_tokens == (b == 2) && (b == 2 || (strcmp(f->facts.kind, "attentive") == 0) == (b == 0));
}

static void use(const vj_probe_file *f, int b, bool sound)
{
    const vj_clips_classes same = {CLASSES, sizeof names[0], (char *)names};
    bool compared;
    VJ_FUZZ_CHECK(f->width >= 1 && f->depth >= 1 && f->facts.classes >= 1);
    (void)vj_probe_file_head_shape(f, TOKENS, 1);
    vj_status status = vj_fuzz_told(vj_probe_file_check_classes(f, "fruit", &same, "store", &compared));
    VJ_FUZZ_CHECK(!sound || (status == VJ_OK && compared));
    if (!same_kind(f, b)) return;
    status = read_weights(f, b);
    VJ_FUZZ_CHECK(!sound || status == VJ_OK);
}

/* The first byte chooses the valid file. */
void vj_fuzz_input(const uint8_t *data, size_t size)
{
    vj_fuzz_bytes in = {data, data + size};
    const int b = vj_fuzz_u8(&in) % BASES;
    const bool sound = in.at == in.end;
    vj_probe_file f;
    int64_t blocks, damaged, different;
    vj_fuzz_file_edit(&base[b], &in, path);
    vj_status status = vj_fuzz_told(vj_probe_file_open(&f, path));
    if (status == VJ_OK) use(&f, b, sound);
    vj_probe_file_release(&f);
    VJ_FUZZ_CHECK(!sound || status == VJ_OK);
    status = vj_fuzz_told(vj_probe_file_verify(path, &blocks, &damaged));
    VJ_FUZZ_CHECK(!sound || (status == VJ_OK && damaged == 0));
    vj_fuzz_told(vj_probe_file_print(path, printer));
    status = vj_fuzz_told(vj_probe_file_compare(path, valid[b], printer, &different));
    VJ_FUZZ_CHECK(!sound || (status == VJ_OK && different == 0));
    fflush(printer);
}

void vj_fuzz_seeds(void (*seed)(const uint8_t *data, size_t size))
{
    for (int b = 0; b < BASES; b++) vj_fuzz_file_seeds(&base[b], (uint8_t)b, seed);
}
