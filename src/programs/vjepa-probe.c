/* vjepa-probe: trains and tests probes on frozen features, to compare what encoders have learned. */
#include <stdlib.h>
#include <unistd.h>

#include "base/number.h"
#include "base/program.h"
#include "evaluate/evaluate.h"
#include "parallel/parallel.h"
#include "probe/campaign.h"
#include "probe/paper.h"
#include "probe/part.h"

static const char *const sections[] = {"run", "model", "probe", NULL};

static const char *out, *part_text, *merge;

static const vj_option options[] = {
    {"--out", "DIR", "folder for results.json, results.csv, results.md, predictions.h5, splits (default: run.dir)",
     &out},
    {"--part", "K/N", "train part K of N of the probes only, into DIR/part_K_of_N.json", &part_text},
    {"--merge", "N", "make the table of the N parts in DIR; encoders are not needed", &merge},
    {NULL, NULL, NULL, NULL},
};

static const vj_program program = {
    .name = "vjepa-probe",
    .purpose = "Train probes on frozen features and compare encoders.",
    .usage = "[options] CONFIG.yaml NAME=TRAIN.h5,VALIDATION.h5 ...",
    .description =
        "Each NAME is an encoder, given by the feature stores that vjepa-embed made of the training and of the "
        "validation clips. For every task (label name), pooling, share of the labels and seed of section probe one "
        "probe is trained on the features and measured, once, at the end, on all validation clips. Probes are divided "
        "over the ranks; the result does not depend on their number.\n"
        "\n"
        "Encoders whose name starts with \"random\" are the baseline: every other one is compared with the better of "
        "them, and \"helps\" is only said of a gain of more than two standard errors.\n"
        "\n"
        "Top-1 stands with its standard deviation over seeds, its 95 % interval (of the mean over seeds; with one "
        "seed, of the clips) and, with more than five classes, top-5. What each probe says of each clip is kept in "
        "predictions.h5, by which vjepa-compare tells whether two encoders differ; the labelled clips that each probe "
        "learned from in splits/, which another campaign may use (probe.split_files). With probe.paper published "
        "numbers stand beside ours.\n"
        "\n"
        "A campaign can be divided over jobs: --part 1/8 to 8/8 train whole rows of the table, divided by cost, and "
        "--merge 8 makes the table when all parts are there. It has the digits of one job (jobs/slurm/probe.sh).\n"
        "\n"
        "Example:\n"
        "  mpirun -n 2 vjepa-probe quickstart.yaml pretrained=train.h5,val.h5 \\\n"
        "      random_fan_in=rf_train.h5,rf_val.h5 random_published=rp_train.h5,rp_val.h5 --out results\n"
        "  | task   | pooling   | labels | clips, training / validation | pretrained                    | ... | gain\n"
        "  | motion | attentive | 100 %  | 3200 / 2048                  | 80.4 (0.4) [79.4, 81.4] 99.8  | ... | +5.1 "
        "...",
    .sections = sections,
    .dry_run = true,
    .options = options,
    .min_files = 1,
    .max_files = 1 + VJ_MAX_ENCODERS,
};

/* Add published numbers to the rows, if probe.paper names a file; without rows, only check that it can be read. Called
 * on one rank. */
static vj_status add_paper(const vj_config *config, vj_probe_row *rows, int64_t count, vj_notes *notes)
{
    vj_paper paper;
    int64_t filled;
    if (!config->probe.paper[0]) return VJ_OK;
    vj_status status = vj_paper_read(&paper, config->probe.paper, config->probe.paper_table);
    if (status == VJ_OK && count > 0) status = vj_paper_fill(&filled, &paper, rows, count, notes);
    if (status == VJ_OK && count > 0 && filled == 0 && !part_text)
        status = vj_notes_add(notes, "%s has no cell whose row is an encoder's name and whose column is a task's",
                              config->probe.paper);
    vj_paper_release(&paper);
    return status;
}

static vj_status train_probes(const vj_run *run, const char *dir)
{
    vj_probe_encoder encoders[VJ_MAX_ENCODERS];
    vj_campaign_part part, *which = part_text ? &part : NULL;
    vj_probe_row *rows;
    vj_notes notes = {0};
    int64_t count;
    if (part_text) VJ_TRY(vj_part_parse(&part, part_text));
    if (run->file_count == 0)
        return vj_raise(VJ_ERR_USAGE,
                        "no features are named: give NAME=TRAIN.h5,VALIDATION.h5 for each encoder, or --merge N");
    for (int e = 0; e < run->file_count; e++) VJ_TRY(vj_probe_encoder_parse(&encoders[e], run->files[e]));
    char predictions[VJ_FILE_PATH];
    vj_campaign_predictions_path(predictions, dir, which);
    VJ_TRY(vj_agree(run->comm, run->rank == 0 ? vj_predictions_may_replace(predictions) : VJ_OK));
    VJ_TRY(vj_agree(run->comm, run->rank == 0 ? add_paper(&run->config, NULL, 0, NULL) : VJ_OK)); /* only a check */
    if (run->dry_run) return vj_campaign_plan(&run->config, encoders, run->file_count, run->comm);
    vj_status status =
        vj_campaign_run(&rows, &count, &notes, &run->config, encoders, run->file_count, which, dir, run->comm);
    if (run->rank == 0 && status == VJ_OK) status = add_paper(&run->config, rows, count, &notes);
    if (run->rank == 0 && status == VJ_OK)
        status = which ? vj_part_write(dir, which, rows, count, &notes) : vj_campaign_report(dir, rows, count, &notes);
    if (status == VJ_OK && which)
        vj_log("part %d of %d: %lld of %lld rows, %s/part_%d_of_%d.json", part.index, part.count, (long long)count,
               (long long)part.total, dir, part.index, part.count);
    if (which) vj_campaign_part_release(which);
    free(rows);
    vj_notes_release(&notes);
    return status;
}

/* Check that results can be written to DIR. Those of vjepa-evaluate stay: it would take ours for its own. */
static vj_status check_folder(const char *dir)
{
    char path[VJ_FILE_PATH];
    snprintf(path, sizeof path, "%s/" VJ_EVALUATION_FILE, dir);
    if (access(path, F_OK) == 0)
        return vj_raise(VJ_ERR_USAGE, "%s has the results of vjepa-evaluate (%s): give another folder by --out", dir,
                        path);
    return vj_report_check(out ? "--out" : "run.dir", dir);
}

static vj_status work(const vj_run *run)
{
    const char *dir = out ? out : run->config.run.dir;
    int64_t parts = 0;
    if (!dir[0]) return vj_raise(VJ_ERR_USAGE, "no folder for the results is named: give --out DIR, or run.dir");
    if (merge && part_text) return vj_raise(VJ_ERR_USAGE, "--part and --merge exclude each other");
    VJ_TRY(vj_agree(run->comm, run->rank == 0 ? check_folder(dir) : VJ_OK));
    VJ_TRY(vj_option_number("--merge", merge, 1, VJ_MAX_PARTS, &parts));
    if (merge) return vj_agree(run->comm, run->rank == 0 && !run->dry_run ? vj_part_merge(dir, (int)parts) : VJ_OK);
    return train_probes(run, dir);
}

int main(int argc, char **argv)
{
    vj_run run;
    vj_program_begin(&run, &program, argc, argv);
    return vj_program_end(&run, work(&run), VJ_EXIT_DONE);
}
