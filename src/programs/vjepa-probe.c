/* Frozen features to a table: who learned what. */
#include <stdlib.h>

#include "base/program.h"
#include "parallel/parallel.h"
#include "probe/campaign.h"

static const char *const sections[] = {"run", "model", "probe", NULL};

static const char *out;

static const vj_option options[] = {
    {"--out", "DIR", "folder for results.json, results.csv and results.md (default: run.dir)", &out},
    {NULL, NULL, NULL, NULL},
};

static const vj_program program = {
    .name = "vjepa-probe",
    .purpose = "Train probes on frozen features and compare encoders.",
    .usage = "[options] CONFIG.yaml NAME=TRAIN.h5,VALIDATION.h5 ...",
    .description =
        "Each NAME is an encoder, given by the feature stores that vjepa-embed made of the training and of the\n"
        "validation clips. For every task (label name), pooling, share of the labels and seed of section probe one\n"
        "probe is trained on the features and measured, once, at the end, on all validation clips. Probes are divided\n"
        "over the ranks; the result does not depend on their number.\n"
        "\n"
        "Encoders whose name starts with \"random\" are the baseline: every other one is compared with the better of\n"
        "them, and \"helps\" is only said of a gain of more than two standard errors.\n"
        "\n"
        "Example:\n"
        "  mpirun -n 2 vjepa-probe quickstart.yaml pretrained=train.h5,val.h5 \\\n"
        "      random_fan_in=rf_train.h5,rf_val.h5 random_published=rp_train.h5,rp_val.h5 --out results\n"
        "  | task   | pooling   | labels | clips, training / validation | pretrained | ... | gain of pretrained | "
        "verdict |\n"
        "  | motion | attentive | 100 %  | 3200 / 2048                  | 80.4 (0.4) | ... | +5.1 +- 1.2        | "
        "helps   |",
    .sections = sections,
    .options = options,
    .min_files = 2,
    .max_files = 1 + VJ_MAX_ENCODERS,
};

static vj_status work(const vj_run *run)
{
    vj_probe_encoder encoders[VJ_MAX_ENCODERS];
    vj_probe_row *rows;
    vj_notes notes = {0};
    int64_t count;
    const char *dir = out ? out : run->config.run.dir;
    if (!dir[0]) return vj_raise(VJ_ERR_USAGE, "where to? --out DIR or run.dir");
    VJ_TRY(vj_agree(run->comm, run->rank == 0 ? vj_report_check(out ? "--out" : "run.dir", dir) : VJ_OK));
    for (int e = 0; e < run->file_count; e++) VJ_TRY(vj_probe_encoder_parse(&encoders[e], run->files[e]));
    if (run->dry_run) return vj_campaign_plan(&run->config, encoders, run->file_count, run->comm);
    vj_status status = vj_campaign_run(&rows, &count, &notes, &run->config, encoders, run->file_count, run->comm);
    if (run->rank == 0 && status == VJ_OK) {
        status = vj_report_write(dir, rows, count, &notes);
        fputc('\n', stdout);
        vj_report_print(stdout, rows, count, &notes);
        if (status == VJ_OK) vj_log("\nresults: %s/results.json, results.csv, results.md", dir);
    }
    free(rows);
    vj_notes_release(&notes);
    return status;
}

int main(int argc, char **argv)
{
    vj_run run;
    vj_program_begin(&run, &program, argc, argv);
    return vj_program_end(&run, work(&run), VJ_EXIT_DONE);
}
