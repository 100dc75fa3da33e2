/*
 * vjepa-inspect: prints, verifies and compares the files that the other programs write, and exports encoders. The kind
 * of a file is recognised by its content.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/number.h"
#include "base/output.h"
#include "base/program.h"
#include "ckpt/ckpt.h"
#include "clips/clips.h"
#include "features/features.h"
#include "h5/h5.h"
#include "parallel/parallel.h"
#include "probe/compare.h"
#include "probe/predictions.h"
#include "probe/probe_file.h"
#include "sheet/sheet.h"

static const char *verify, *compare, *export_to, *dtype, *sheet_to, *sheet_clips, *sheet_from, *sheet_masks,
    *sheet_views, *classes;

static const vj_option options[] = {
    {"--verify", NULL,
     "check every checksum, and the addresses in clip stores, instead of printing; exit 1 if one does not fit",
     &verify},
    {"--compare", NULL, "compare two checkpoints, clip stores, feature files or probes; exit 1 if they differ",
     &compare},
    {"--export", "OUT.h5", "write the target encoder of a checkpoint alone, for vjepa-embed", &export_to},
    {"--dtype", "fp32|bf16", "of the exported encoder, default fp32; bf16 halves the file", &dtype},
    {"--classes", "N", "of predictions, FILE[:HEAD or ENCODER]: the N worst classes and most confused pairs", &classes},
    {"--contact-sheet", "OUT.png", "draw clips of a store as rows of frames in a picture", &sheet_to},
    {"--clips", "N", "how many of them, default 8", &sheet_clips},
    {"--from", "K", "the first of them, default 0", &sheet_from},
    {"--masks", "CONFIG.yaml", "draw each clip also as training sees it: cropped, with each of its masks",
     &sheet_masks},
    {"--views", "CONFIG.yaml", "draw each clip also as probes see it: three training views, the test views",
     &sheet_views},
    {NULL, NULL, NULL, NULL},
};

static const vj_program program = {
    .name = "vjepa-inspect",
    .purpose = "Print, verify or compare clip stores, checkpoints, features, probes and predictions; export encoders.",
    .usage = "[--verify | --compare | --classes N | --export OUT.h5 | --contact-sheet OUT.png] FILE...",
    .description =
        "FILE is a clip store (a folder NAME.clips), a checkpoint, a feature file, a probe, a file of predictions, or\n"
        "the folder of a run, which stands for its newest checkpoint. --compare looks at tensors bit by bit, at clips\n"
        "by their pixels, at features by value, and at labels and names of classes. Differences of date, host and "
        "code\n"
        "are not looked at, those of step, encoder and configuration are printed and do not count.\n"
        "\n"
        "--export writes model/target of a checkpoint (model/encoder of one with the pixel objective), its\n"
        "state and configuration, and where it is from. bf16 is an HDF5 float type of two bytes, which h5py\n"
        "reads as numbers; vjepa programs compute with it in fp32.\n"
        "\n"
        "--classes prints the N classes of lowest accuracy in predictions, with their clips, Wilson's 95 % interval "
        "and\n"
        "what they are most often taken for, then the N pairs of classes that are confused most; probes that differ "
        "in\n"
        "the seed alone are counted together.\n"
        "\n"
        "--contact-sheet shows clips with their number, source, labels and time. With --masks each is followed by a\n"
        "row for each of mask.generators: the crop of the first sample that shows the clip when CONFIG is trained on\n"
        "this store alone, with what the mask hides dark, and hatched where the predictor must say what is there.\n"
        "With --views it is followed by what probes see of it as the section evaluate of CONFIG says: the training "
        "views of\n"
        "three epochs, with what was done to them, then the test views.\n"
        "\n"
        "Standard output is the result; how far long work is, and how long it will take, is said on standard error.\n"
        "\n"
        "Exit codes: 0 all is well, 1 a file is damaged, differs or cannot be read, 2 wrong command line.\n"
        "\n"
        "Examples:\n"
        "  vjepa-inspect my-run\n"
        "  vjepa-inspect --verify train.clips my-run/step_00001200.h5\n"
        "    train.clips: verified: 12800 blocks, 0 damaged\n"
        "    my-run/step_00001200.h5: verified: 212 blocks, 0 damaged\n"
        "  vjepa-inspect --compare my-run/step_00001200.h5 other-run\n"
        "    148 tensors equal, 0 different\n"
        "  vjepa-inspect --export encoder.h5 --dtype bf16 my-run\n"
        "    encoder.h5: the encoder of my-run/step_00001200.h5 in bf16\n"
        "  vjepa-inspect --classes 2 results/predictions.h5:pretrained\n"
        "    motion, average, 100 %, pretrained: 16 of 16 classes have clips; accuracies are means over 3 seeds, ...\n"
        "     clips  top-1              95 %  class, and what it is taken for\n"
        "       128   38.3 [  30.3,   46.9]  3 left; 21 % for 5 left and down\n"
        "       ...\n"
        "  vjepa-inspect --contact-sheet look.png --clips 12 --masks jobs/configs/vitl16_224.yaml train.clips\n"
        "    look.png: 12 clips of train.clips from clip 0",
    .options = options,
    .without_mpi = true,
    .min_files = 1,
    .max_files = 1 << 20,
};

typedef enum { CLIPS, CHECKPOINT, FEATURES, PROBE, PREDICTIONS } kind;

/* Find out what FILE is, and the path to open: for a run's folder, its newest checkpoint. */
static vj_status recognise(const char *file, kind *what, char path[VJ_PATH])
{
    struct stat info;
    char format[64];
    if (snprintf(path, VJ_PATH, "%s", file) >= VJ_PATH) return vj_raise(VJ_ERR_USAGE, "path too long: %s", file);
    if (stat(file, &info) != 0) return vj_raise(VJ_ERR_IO, "open %s", file);
    if (S_ISDIR(info.st_mode)) {
        char index[VJ_PATH + 16];
        snprintf(index, sizeof index, "%s/index.h5", file);
        *what = CLIPS;
        if (stat(index, &info) == 0) return VJ_OK;
        *what = CHECKPOINT;
        VJ_TRY(vj_ckpt_latest(file, path, VJ_ALONE));
        return *path ? VJ_OK
                     : vj_raise(VJ_ERR_FORMAT,
                                "%s holds neither a clip store nor a checkpoint; of results name a file, "
                                "predictions.h5 or one in probes/",
                                file);
    }
    vj_h5_format(file, format, sizeof format);
    if (strcmp(format, VJ_CLIPS_FORMAT) == 0)
        return vj_raise(VJ_ERR_FORMAT, "%s is a file of a clip store: name the folder", file);
    /* Anything else is opened as a checkpoint, so that its reader reports what is wrong. */
    *what = strcmp(format, VJ_FEATURES_FORMAT) == 0      ? FEATURES
            : strcmp(format, VJ_PROBE_FORMAT) == 0       ? PROBE
            : strcmp(format, VJ_PREDICTIONS_FORMAT) == 0 ? PREDICTIONS
                                                         : CHECKPOINT;
    if (*what == CHECKPOINT && strncmp(format, "vjepa-", 6) == 0 && strcmp(format, "vjepa-checkpoint") != 0)
        return vj_raise(VJ_ERR_FORMAT,
                        "%s is a %s, which is not printed: only stores, checkpoints, features, probes and predictions",
                        file, format);
    return VJ_OK;
}

static vj_status verify_clips(const char *path, int64_t *blocks, int64_t *damaged)
{
    vj_clips *clips;
    vj_strings one;
    VJ_TRY(vj_strings_one(&one, path));
    VJ_TRY(vj_clips_open(&clips, &one, VJ_ALONE));
    *blocks = vj_clips_count(clips);
    vj_clips_close(clips);
    return vj_clips_verify(path, damaged);
}

static vj_status verify_file(kind what, const char *path, int *bad)
{
    int64_t blocks = 0, damaged = 0;
    switch (what) {
    case CLIPS:
        VJ_TRY(verify_clips(path, &blocks, &damaged));
        break;
    case CHECKPOINT:
        VJ_TRY(vj_ckpt_verify(path, &blocks, &damaged));
        break;
    case FEATURES:
        VJ_TRY(vj_features_verify(path, &blocks, &damaged));
        break;
    case PROBE:
        VJ_TRY(vj_probe_file_verify(path, &blocks, &damaged));
        break;
    case PREDICTIONS:
        VJ_TRY(vj_predictions_verify(path, &blocks, &damaged));
        break;
    }
    printf("%s: verified: %lld blocks, %lld damaged\n", path, (long long)blocks, (long long)damaged);
    if (damaged > 0) *bad = 1;
    return VJ_OK;
}

static vj_status print_file(kind what, const char *path)
{
    switch (what) {
    case CLIPS:
        return vj_clips_print(path, stdout);
    case CHECKPOINT:
        return vj_ckpt_print(path, stdout);
    case FEATURES:
        return vj_features_print(path, stdout);
    case PROBE:
        return vj_probe_file_print(path, stdout);
    case PREDICTIONS:
        return vj_predictions_print(path, stdout);
    }
    return VJ_OK;
}

static vj_status compare_files(const vj_run *run, int *bad)
{
    static const char *const names[] = {[CLIPS] = "clip store",
                                        [CHECKPOINT] = "checkpoint",
                                        [FEATURES] = "feature file",
                                        [PROBE] = "probe",
                                        [PREDICTIONS] = "file of predictions"};
    static vj_status (*const compare_kind[])(const char *a, const char *b, FILE *out,
                                             int64_t *different) = {[CLIPS] = vj_clips_compare,
                                                                    [CHECKPOINT] = vj_ckpt_compare,
                                                                    [FEATURES] = vj_features_compare,
                                                                    [PROBE] = vj_probe_file_compare};
    char path[2][VJ_PATH];
    kind what[2];
    int64_t different;
    if (run->file_count != 2 || verify)
        return vj_raise(VJ_ERR_USAGE, "--compare takes two files of one kind and nothing else");
    for (int i = 0; i < 2; i++) VJ_TRY(recognise(run->files[i], &what[i], path[i]));
    if (what[0] != what[1])
        return vj_raise(VJ_ERR_USAGE, "%s is a %s, %s a %s: --compare takes two of one kind", path[0], names[what[0]],
                        path[1], names[what[1]]);
    if (what[0] == PREDICTIONS)
        return vj_raise(VJ_ERR_USAGE, "predictions are compared by vjepa-compare %s %s", path[0], path[1]);
    VJ_TRY(compare_kind[what[0]](path[0], path[1], stdout, &different));
    *bad = different > 0;
    return VJ_OK;
}

static vj_status export_file(const vj_run *run)
{
    char path[VJ_PATH];
    kind what;
    if (run->file_count != 1 || verify || compare)
        return vj_raise(VJ_ERR_USAGE, "--export takes one checkpoint and nothing else");
    if (dtype && strcmp(dtype, "fp32") != 0 && strcmp(dtype, "bf16") != 0)
        return vj_raise(VJ_ERR_USAGE, "--dtype %s: fp32 or bf16", dtype);
    const vj_ckpt_type type = dtype && strcmp(dtype, "bf16") == 0 ? VJ_CKPT_BF16 : VJ_CKPT_F32;
    VJ_TRY(vj_output_check_file("--export", export_to));
    VJ_TRY(vj_clips_check_output("--export", export_to));
    VJ_TRY(recognise(run->files[0], &what, path));
    if (what != CHECKPOINT) return vj_raise(VJ_ERR_USAGE, "%s is not a checkpoint", path);
    VJ_TRY(vj_ckpt_export(path, export_to, type));
    printf("%s: the encoder of %s in %s\n", export_to, path, type == VJ_CKPT_BF16 ? "bf16" : "fp32");
    return VJ_OK;
}

static vj_status read_config(vj_config *config, const char *path)
{
    vj_config_defaults(config);
    VJ_TRY(vj_config_read(config, path));
    return vj_config_check(config);
}

static vj_status draw_sheet(const vj_run *run)
{
    static vj_config masks, views;
    char path[VJ_PATH];
    int64_t first = 0, count = 8;
    kind what;
    if (run->file_count != 1 || verify || compare || export_to)
        return vj_raise(VJ_ERR_USAGE, "--contact-sheet takes one clip store and nothing else");
    VJ_TRY(vj_option_number("--clips", sheet_clips, 1, INT32_MAX, &count));
    VJ_TRY(vj_option_number("--from", sheet_from, 0, INT32_MAX, &first));
    VJ_TRY(recognise(run->files[0], &what, path));
    if (what != CLIPS) return vj_raise(VJ_ERR_USAGE, "%s is not a clip store", path);
    if (sheet_masks) VJ_TRY(read_config(&masks, sheet_masks));
    if (sheet_views) VJ_TRY(read_config(&views, sheet_views));
    const char *dot = strrchr(sheet_to, '.');
    if (!dot || strcasecmp(dot, ".png") != 0)
        return vj_raise(VJ_ERR_USAGE, "--contact-sheet %s: the picture is a PNG, and the name does not end in .png",
                        sheet_to);
    VJ_TRY(vj_output_check_file("--contact-sheet", sheet_to));
    VJ_TRY(vj_clips_check_output("--contact-sheet", sheet_to));
    if (access(sheet_to, F_OK) == 0)
        return vj_raise(VJ_ERR_USAGE, "%s exists: it is not replaced by a contact sheet", sheet_to);
    VJ_TRY(vj_sheet_write(sheet_to, path, first, &count, sheet_masks ? &masks : NULL, sheet_views ? &views : NULL));
    printf("%s: %lld clips of %s from clip %lld\n", sheet_to, (long long)count, path, (long long)first);
    return VJ_OK;
}

static vj_status print_classes(const vj_run *run)
{
    char path[VJ_PATH], which[VJ_HEAD_NAME];
    int64_t limit = 0;
    if (verify || compare || export_to || sheet_to)
        return vj_raise(VJ_ERR_USAGE, "--classes takes files of predictions and nothing else");
    VJ_TRY(vj_option_number("--classes", classes, 1, INT32_MAX, &limit));
    for (int i = 0; i < run->file_count; i++) {
        VJ_TRY(vj_selection_split(run->files[i], path, which));
        VJ_TRY(vj_predictions_print_classes(path, which, limit, stdout));
    }
    return VJ_OK;
}

/* Inspect all files, even if some cannot be read. Returns the first failure. */
static vj_status inspect(const vj_run *run, int *bad)
{
    if (dtype && !export_to) return vj_raise(VJ_ERR_USAGE, "--dtype belongs to --export");
    if ((sheet_clips || sheet_from || sheet_masks || sheet_views) && !sheet_to)
        return vj_raise(VJ_ERR_USAGE, "--clips, --from, --masks and --views belong to --contact-sheet");
    if (classes) return print_classes(run);
    if (sheet_to) return draw_sheet(run);
    if (export_to) return export_file(run);
    if (compare) return compare_files(run, bad);
    vj_status first = VJ_OK;
    for (int i = 0; i < run->file_count; i++) {
        kind what;
        char path[VJ_PATH];
        vj_status status = recognise(run->files[i], &what, path);
        if (status == VJ_OK) status = verify ? verify_file(what, path, bad) : print_file(what, path);
        if (first == VJ_OK) first = status;
    }
    return first;
}

int main(int argc, char **argv)
{
    vj_run run;
    int bad = 0;
    vj_program_begin(&run, &program, argc, argv);
    vj_log_aside(); /* lines about progress: standard output is the result */
    vj_status status = inspect(&run, &bad);
    return vj_program_end(&run, status, bad ? VJ_EXIT_FAILED : VJ_EXIT_DONE);
}
