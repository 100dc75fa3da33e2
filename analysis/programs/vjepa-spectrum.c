/* vjepa-spectrum: analyses features on all ranks. The commands are in analysis/spectrum. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/output.h"
#include "base/program.h"
#include "bench/report.h"
#include "clips/clips.h"
#include "parallel/parallel.h"
#include "probe/frozen.h"
#include "spectrum/commands.h"
#include "spectrum/output.h"

static const struct {
    const char *name;
    vj_status (*run)(vj_analysis *analysis);
    bool needs_source, takes_validation;
} commands[] = {
    {"spectrum", vj_spectrum_run, true, false}, {"compare", vj_compare_run, true, false},
    {"classes", vj_classes_run, true, false},   {"knn", vj_knn_run, true, true},
    {"ridge", vj_ridge_run, true, true},        {"speed", vj_speed_run, false, false},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static const char *const sections[] = {"run", "data", "model", "train", "embed", "probe", NULL};

static const char *out, *tokens, *encoder, *store, *layers, *validation;
static vj_analysis_options given;

static const vj_option options[] = {
    {"--out", "OUT.h5", "write the results to this file, and the printed table to OUT.json", &out},
    {"--tokens", NULL, "every token is a row; default: a row is the mean over a clip's tokens", &tokens},
    {"--encoder", "WHAT[,...]",
     "instead of feature stores: checkpoints, folders of runs or random:published|fan_in[:SEED], and CONFIG.yaml",
     &encoder},
    {"--store", "NAME.clips[,...]", "with --encoder: clip stores to encode, one after the other", &store},
    {"--layers", "all|last|1,6,12", "with --encoder: layers, each a representation; default last, after the final norm",
     &layers},
    {"--validation", "FILE[,...]", "knn, ridge: validation features, of the same encoders; with --encoder clip stores",
     &validation},
    {"--components", "K", "spectrum: keep K principal components and the projections of all rows; default 0",
     &given.components},
    {"--whitening", NULL, "spectrum: keep the matrix that whitens the features", &given.whitening},
    {"--neighbours", "K[,...]", "knn: numbers of neighbours; default 1,5,10,20,100,200 as far as there are clips",
     &given.neighbours},
    {"--distance", "cosine|euclidean", "knn: which clips are near; default cosine", &given.distance},
    {"--temperature", "T", "knn: a neighbour's weight is exp(cosine / T); default 0.07", &given.temperature},
    {"--memory", "MIB",
     "memory of a rank for queries (knn), regressions (ridge) or sums of its own rows (spectrum, compare; rows are "
     "sent "
     "to other ranks where they do not fit); default half of what is free",
     &given.memory},
    {"--balanced", NULL, "ridge: every class counts alike; default: every clip", &given.balanced},
    {"--path", "LOW,HIGH,COUNT", "ridge: penalties, over the mean eigenvalue; default 1e-4,1e4,17", &given.path},
    {"--table", "DIR",
     "ridge: add to the results (results.json, .csv, .md) of vjepa-probe or vjepa-evaluate in this folder, or begin "
     "some",
     &given.table},
    {"--width", "D", "speed: width of the features; default 1408, ViT-g's", &given.width},
    {"--rows", "N", "speed: rows of a rank in one sum; default 4096", &given.rows},
    {NULL, NULL, NULL, NULL},
};

static vj_program program = {
    .name = "vjepa-spectrum",
    .purpose = "Analyse features of frozen encoders on all ranks.",
    .usage = "COMMAND [options] [CONFIG.yaml] [FEATURES.h5 ...]",
    .description =
        "  spectrum  mean, covariance and its eigenvalues: effective rank, RankMe, participation ratio, power law, "
        "PCA\n"
        "  compare   how alike all pairs of representations are: CKA, unbiased CKA, Procrustes distance\n"
        "  classes   for each task: variance inside and between classes, measures of neural collapse\n"
        "  knn       the nearest training clips of each clip, exactly, and the accuracy of their votes\n"
        "  ridge     ridge probes in closed form: all tasks, shares of the labels and seeds of section probe\n"
        "  speed     how fast this machine does it, against its double peak, and which BLAS it uses\n"
        "\n"
        "Features are read from feature stores of the same clips, as vjepa-embed writes them, a representation a "
        "file,\n"
        "or made by --encoder from --store in each pass: then each layer of each encoder is one. Layer l is the "
        "residual\n"
        "stream after block l; the last is taken after the final norm, as vjepa-embed writes it.\n"
        "They are read in slabs as often as needed; no rank holds more than a slab and its part of the matrices. The\n"
        "results are the same on any number of ranks, to about 10 digits. Labels are those of probe.tasks, or all; "
        "ridge\n"
        "draws the clips that vjepa-probe draws for probe.labels, probe.clips, probe.split, probe.seeds and run.seed.\n"
        "\n"
        "Time goes into products, rows times width squared. On two cores (EPYC of 2021, OpenBLAS, 80 GFLOP/s, two "
        "ranks)\n"
        "a layer of 10^7 tokens of width 1408, 28 GB in a store, takes five and a half minutes and 86 MB a rank, 24 "
        "layers\n"
        "two hours and ten minutes, besides encoding. Long work begins with about how long its products take on "
        "this\n"
        "machine, also with --dry-run (spectrum, compare, knn); after five seconds it says what is left.\n"
        "\n"
        "Examples:\n"
        "  mpirun -n 4 vjepa-spectrum spectrum --tokens early.h5 late.h5 --components 3 --out spectrum.h5\n"
        "    name   width  rows  effective_rank  rankme  participation_ratio  stable_rank  power_law_exponent  ...\n"
        "    late     100  6000           12.09    62.9                4.774        2.389               1.509  ...\n"
        "  mpirun -n 4 vjepa-spectrum compare early.h5 middle.h5 late.h5 --out compare.h5\n"
        "    a       b          cka  cka_unbiased  procrustes\n"
        "    early   middle  0.8504        0.8493      0.1435\n"
        "    ...\n"
        "  mpirun -n 4 vjepa-spectrum compare run.yaml --encoder run/step_00005600.h5 --layers all --store val.clips\n"
        "  mpirun -n 2 vjepa-spectrum knn train.h5 --validation val.h5 --neighbours 10 --out knn.h5\n"
        "    representation  task    votes      k  queries   top1   top5  class_mean\n"
        "    train           motion  majority  10       60  98.33    100       98.21\n"
        "    ...\n"
        "  mpirun -n 4 vjepa-spectrum classes train.h5 --set probe.tasks=[colour] --out classes.h5\n"
        "    representation  task    classes  clips  within  between  total  ratio  signal_to_noise      nc1  ...\n"
        "    train           colour        4     60  0.4478    2.924  3.372   6.53            8.059  0.02734  ...\n"
        "  mpirun -n 4 vjepa-spectrum ridge train.h5 --validation val.h5 --set probe.labels=[100,50] \\\n"
        "      --out ridge.h5 --table results\n"
        "    | task   | pooling | labels | clips, training / validation | train       |\n"
        "    | motion | ridge   | 50 %   | 30 / 24                      | 79.2 (11.8) |\n"
        "    ...",
    .sections = sections,
    .dry_run = true,
    .config_optional = true,
    .options = options,
    .min_files = 0,
    .max_files = 1024,
};

/* Open clips and encoders; the configuration has the shape of the network. */
static vj_status open_encoder(vj_source **source, const vj_run *run, const char *stores)
{
    if (run->file_count > 0)
        return vj_raise(VJ_ERR_USAGE, "features are read from %s or made by --encoder: name one of them",
                        run->files[0]);
    if (!run->config_path)
        return vj_raise(VJ_ERR_USAGE,
                        "--encoder needs the network's settings: give the configuration file, CONFIG.yaml, first");
    if (!stores) return vj_raise(VJ_ERR_USAGE, "--encoder needs clips: give --store NAME.clips");
    const vj_source_request request = {encoder, stores, layers, !tokens};
    return vj_source_open_encoder(source, &run->config, &request, run->comm);
}

static vj_status open_source(vj_source **source, const vj_run *run)
{
    if (encoder) return open_encoder(source, run, store);
    if (store || layers)
        return vj_raise(VJ_ERR_USAGE, "%s needs an encoder: --encoder CHECKPOINT", store ? "--store" : "--layers");
    if (run->file_count == 0)
        return vj_raise(VJ_ERR_USAGE, "vjepa-spectrum %s: no features are named: give feature stores of vjepa-embed",
                        run->command);
    return vj_source_open_features(source, run->files, run->file_count, !tokens, run->comm);
}

static vj_status open_validation(vj_source **source, const vj_run *run, const vj_source *training)
{
    vj_strings paths;
    const char *path[VJ_MAX_LIST];
    if (encoder) {
        VJ_TRY(open_encoder(source, run, validation));
    } else {
        VJ_TRY(vj_frozen_split_paths(&paths, validation));
        for (int i = 0; i < paths.count; i++) path[i] = paths.item[i];
        VJ_TRY(vj_source_open_features(source, path, paths.count, !tokens, run->comm));
    }
    VJ_TRY(vj_agree(run->comm, run->rank == 0 ? vj_source_match(training, *source) : VJ_OK)); /* said once */
    return vj_agree(run->comm, run->rank != 0 ? vj_source_match(training, *source) : VJ_OK);
}

/* Make the path of OUT.json, next to OUT.h5. */
static vj_status json_path(char path[VJ_PATH])
{
    if (snprintf(path, VJ_PATH, "%.*s.json", (int)(strlen(out) - strlen(".h5")), out) < VJ_PATH) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE, "--out %s: path too long", out);
}

static vj_status write_json(const json_t *report)
{
    char path[VJ_PATH];
    vj_file file;
    VJ_TRY(json_path(path));
    VJ_TRY(vj_file_begin_anew(&file, path));
    const vj_status status = vj_report_json(report, file.stream);
    if (status == VJ_OK) return vj_file_commit(&file);
    vj_file_rollback(&file);
    return status;
}

static vj_status check_out(void)
{
    const size_t length = out ? strlen(out) : 0;
    if (out && (length <= strlen(".h5") || strcmp(out + length - strlen(".h5"), ".h5") != 0))
        return vj_raise(VJ_ERR_USAGE, "--out %s: the name must end in .h5", out);
    if (!out) return VJ_OK;
    char path[VJ_PATH];
    VJ_TRY(vj_output_check_file("--out", out));
    VJ_TRY(vj_clips_check_output("--out", out));
    VJ_TRY(json_path(path));
    VJ_TRY(vj_output_check_text(path, "{\n \"command\": \"")); /* as run_command() begins the report */
    return vj_analysis_file_may_replace(out);
}

/* Begin the report and run the command; start again if damaged clips were found and left out. */
static vj_status run_command(vj_analysis *analysis, int which)
{
    vj_status status;
    bool anew;
    do {
        json_object_clear(analysis->report);
        vj_put_text(analysis->report, "command", commands[which].name);
        vj_put_text(analysis->report, "version", vj_version());
        vj_put_count(analysis->report, "ranks", analysis->size);
        status = commands[which].run(analysis);
        anew = vj_source_has_shrunk(analysis->source);
        anew = vj_source_has_shrunk(analysis->validation) || anew;
    } while (status != VJ_OK && anew);
    const int64_t damaged = (analysis->source ? vj_source_damaged(analysis->source) : 0) +
                            (analysis->validation ? vj_source_damaged(analysis->validation) : 0);
    if (damaged > 0) vj_put_count(analysis->report, "damaged_clips_left_out", damaged);
    return status;
}

static vj_status work(const vj_run *run, json_t *report)
{
    vj_analysis analysis = {.comm = run->comm,
                            .rank = run->rank,
                            .size = run->size,
                            .config = &run->config,
                            .options = &given,
                            .out = out,
                            .dry_run = run->dry_run,
                            .report = report};
    int which = 0;
    while (which < COMMANDS && strcmp(commands[which].name, run->command) != 0) which++;
    VJ_ASSERT(which < COMMANDS);
    VJ_TRY(vj_agree(run->comm, run->rank == 0 ? check_out() : VJ_OK));
    vj_status status = vj_ranks_open(&analysis.ranks, run->comm);
    if (status == VJ_OK && !commands[which].needs_source && (run->file_count > 0 || encoder))
        status = vj_raise(VJ_ERR_USAGE, "vjepa-spectrum %s reads no features", run->command);
    if (status == VJ_OK && commands[which].needs_source) status = open_source(&analysis.source, run);
    if (status == VJ_OK && validation && !commands[which].takes_validation)
        status = vj_raise(VJ_ERR_USAGE, "vjepa-spectrum %s has no use for --validation", run->command);
    if (status == VJ_OK && validation) status = open_validation(&analysis.validation, run, analysis.source);
    if (status == VJ_OK) status = run_command(&analysis, which);
    if (status == VJ_OK && run->rank == 0 && !run->dry_run) {
        status = vj_report_text(report, stdout);
        if (status == VJ_OK && out) status = write_json(report);
    }
    vj_source_close(analysis.validation);
    vj_source_close(analysis.source);
    vj_ranks_close(analysis.ranks);
    return status;
}

int main(int argc, char **argv)
{
    static vj_run run;
    static const char *names[COMMANDS + 1];
    for (int i = 0; i < COMMANDS; i++) names[i] = commands[i].name;
    program.commands = names;
    vj_program_begin(&run, &program, argc, argv);
    json_t *report = json_object();
    const vj_status status = report ? work(&run, report) : vj_raise(VJ_ERR_MEMORY, "no memory for a report");
    json_decref(report);
    return vj_program_end(&run, status, VJ_EXIT_DONE);
}
