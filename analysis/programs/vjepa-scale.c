/* vjepa-scale: scaling studies, measured and simulated. The work is in analysis/scaling. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/number.h"
#include "base/output.h"
#include "base/program.h"
#include "report/document.h"
#include "report/inputs.h"
#include "scaling/scaling.h"

static const char *const sections[] = {"cluster", "plan",      "pack",  "data",     "model",      "predictor",
                                       "mask",    "objective", "train", "parallel", "checkpoint", NULL};
static const char *const commands[] = {"points", "model", NULL};

static const char *out, *cluster, *nodes, *ranks, *weak, *study;

static const vj_option options[] = {
    {"--out", "FOLDER", "where the tables and plots go; it is made", &out},
    {"--cluster", "CLUSTER.yaml", "model: read the section cluster from a file of its own", &cluster},
    {"--nodes", "N,N,...", "model: numbers of nodes, 1,2,4,8,16,32,64,128 by default", &nodes},
    {"--ranks", "N", "model: ranks on each node, by default one for each GPU or memory domain", &ranks},
    {"--weak", "CLIPS",
     "model: so many clips for each rank or tensor group (weak scaling); without, train.batch for all (strong scaling)",
     &weak},
    {"--study", "NAME", "model: name of the study in the table; by default the configuration's, weak or strong",
     &study},
    {NULL, NULL, NULL, NULL},
};

static const vj_program program = {
    .name = "vjepa-scale",
    .purpose = "Scaling studies: tables and plots of measured points, and a simulated study of a machine not there.",
    .usage = "points FILE.json... --out FOLDER | model CONFIG.yaml --cluster CLUSTER.yaml --out FOLDER",
    .description =
        "points: JSON files of vjepa-bench step, one for each number of ranks and repetition, named "
        "STUDY.ANYTHING.json (weak.4.1.json: study weak). Repetitions are joined: smallest and largest time, median of "
        "medians. Efficiency is clips a second and rank of the fastest step, over those of the study's fewest ranks; "
        "the cost is node hours for 1000 steps. phases.csv has the phases of a step as min / mean / max over the "
        "ranks, with the slowest rank and its node. jobs/submit SITE scale CONFIG.yaml --out FOLDER runs the points as "
        "a job and ends with this.\n"
        "\n"
        "model: a MODEL, no measurement. Computing takes the time that vjepa-plan forecasts; the exchanges of a step "
        "are made by the training's own code on a machine that SimGrid SMPI simulates, as described by cluster.*. "
        "parallel.tensor, parallel.zero and parallel.bucket_mb are the configuration's. Not in it: reading, noise, "
        "ranks of unlike speed, contention inside the network. docs/scaling.md has results and how far to trust them.\n"
        "\n"
        "Both write scaling.csv, and report.md with plots as SVG (vjepa-report's; gnuplot draws them). Exit codes: 0 "
        "written, 1 failed (SimGrid or gnuplot is missing, too), 2 wrong command line or settings.\n"
        "\n"
        "Examples:\n"
        "  mpirun -n 2 vjepa-bench step --json small.yaml > weak.2.json\n"
        "  vjepa-scale points weak.1.json weak.2.json --out scaling\n"
        "      scaling/scaling.csv: 2 files\n"
        "  vjepa-scale model jobs/configs/vitl16_224.yaml --cluster jobs/configs/cluster_h100.yaml --weak 3 --out "
        "model\n"
        "      model: 1 nodes, 8 ranks: ... s a step, ... s of it computing; forecast ... s\n"
        "      ...",
    .sections = sections,
    .options = options,
    .commands = commands,
    .config_optional = true,
    .without_mpi = true,
    .min_files = 1,
    .max_files = 100000,
};

/* Write Markdown and SVG next to the tables. */
static vj_status draw(const char *const *tables, int count, const char *folder)
{
    vj_document *document = vj_document_create("Scaling study");
    const vj_inputs inputs = {.paths = tables, .count = count};
    (void)vj_inputs_add(document, &inputs);
    vj_status status = vj_document_check_markdown(document, folder);
    if (status == VJ_OK) status = vj_document_draw(document);
    if (status == VJ_OK) status = vj_document_markdown(document, folder);
    vj_document_destroy(document);
    return status;
}

static vj_status measured(const vj_run *run, char table[VJ_PATH], char phases[VJ_PATH])
{
    if (run->config_path || cluster || nodes || ranks || weak || study)
        return vj_raise(VJ_ERR_USAGE, "points takes JSON files of vjepa-bench step and --out alone");
    VJ_TRY(vj_scaling_points(run->files, run->file_count, out));
    vj_log("%s: %d files", table, run->file_count);
    const char *const tables[] = {table, phases};
    return draw(tables, 2, out);
}

static vj_status modelled(vj_run *run, char table[VJ_PATH])
{
    if (!run->config_path || run->file_count > 0) return vj_raise(VJ_ERR_USAGE, "model takes one CONFIG.yaml");
    int64_t node_ranks = 0, weak_clips = 0;
    VJ_TRY(vj_option_number("--ranks", ranks, 1, INT32_MAX, &node_ranks));
    VJ_TRY(vj_option_number("--weak", weak, 1, INT32_MAX, &weak_clips));
    if (study && strpbrk(study, ",\""))
        return vj_raise(VJ_ERR_USAGE, "--study %s: a name without commas and quotes is expected", study);
    if (cluster) VJ_TRY(vj_config_read_section(&run->config, cluster, "cluster"));
    const vj_scaling_model model = {.study = study,
                                    .nodes = nodes ? nodes : "1,2,4,8,16,32,64,128",
                                    .node_ranks = (int)node_ranks,
                                    .weak_clips = weak_clips};
    VJ_TRY(vj_scaling_simulate(&model, &run->config, run->config_path, table));
    const char *const tables[] = {table};
    return draw(tables, 1, out);
}

static vj_status work(vj_run *run)
{
    char table[VJ_PATH], phases[VJ_PATH];
    if (!out) return vj_raise(VJ_ERR_USAGE, "no folder for the results is named: give --out FOLDER");
    VJ_TRY(vj_output_check_folder("--out", out));
    snprintf(table, sizeof table, "%s/scaling.csv", out);
    snprintf(phases, sizeof phases, "%s/phases.csv", out);
    VJ_TRY(vj_output_check_text(table, VJ_SCALING_CSV_BEGIN));
    VJ_TRY(vj_output_check_text(phases, VJ_SCALING_PHASES_BEGIN));
    VJ_TRY(vj_document_check_markdown(NULL, out));
    (void)mkdir(out, 0777); /* there, or the files say what is wrong */
    return strcmp(run->command, "points") == 0 ? measured(run, table, phases) : modelled(run, table);
}

int main(int argc, char **argv)
{
    static vj_run run;
    vj_program_begin(&run, &program, argc, argv);
    return vj_program_end(&run, work(&run), VJ_EXIT_DONE);
}
