/* Clips and frozen encoders to a table: all probes of a campaign in one pass. */
#include "base/program.h"
#include "evaluate/evaluate.h"

static const char *const sections[] = {"run", "data", "model", "train", "probe", "evaluate", "checkpoint", NULL};

static const char *out, *train, *validation, *probes, *keep_probes;

static const vj_option options[] = {
    {"--train", "A.clips[,...]", "clip stores to train probes on (default: data.train)", &train},
    {"--validation", "B.clips[,...]", "clip stores to measure them on (default: data.validation)", &validation},
    {"--probe", "FILE.h5[,...]", "probes, or folders of them, to measure on the validation clips without training",
     &probes},
    {"--keep-probes", NULL, "write every probe as a file, DIR/probes/NAME.h5 (vjepa-inspect prints them)",
     &keep_probes},
    {"--out", "DIR", "folder for checkpoints and results (default: run.dir)", &out},
    {"--max-hours", "H", "stop in time before H hours, or with auto those of the batch job, are over: run.max_hours=H",
     NULL},
    {NULL, NULL, NULL, NULL},
};

static const vj_program program = {
    .name = "vjepa-evaluate",
    .purpose = "Train and measure all probes of a campaign on frozen encoders, in one pass over the clips.",
    .usage = "[options] CONFIG.yaml NAME=CHECKPOINT ...",
    .description =
        "Each NAME is an encoder: a checkpoint, random:published[:SEED] or random:fan_in[:SEED]. In every epoch it "
        "runs\n"
        "once over each training sample that a probe needs, with fresh views (section evaluate), and feeds all "
        "probes:\n"
        "one for each task, pooling, share of the labels and seed of section probe, and each learning rate and weight\n"
        "decay of evaluate.sweep_lr and evaluate.sweep_wd, of which the best on a tenth of the training samples is\n"
        "chosen. A probe gets the bits that it would get alone, on any number of ranks.\n"
        "\n"
        "Written to --out: results.json, results.csv, results.md (the table), heads.csv (every probe), predictions.h5\n"
        "(what each probe said of each sample), splits/ (the samples of each share), evaluation.h5 (the checkpoint), "
        "and\n"
        "at the end the file complete. Stopped or killed, the same command goes on, on any number of ranks: USR1, "
        "TERM,\n"
        "--max-hours and a file \"stop\" in --out as for vjepa-pretrain; exit code 75 says that it was stopped "
        "early.\n"
        "\n"
        "Probes on features that vjepa-embed keeps: vjepa-probe.\n"
        "\n"
        "Example: the low-shot table, 3 shares of the labels, 3 splits of each\n"
        "  mpirun -n 2 vjepa-evaluate quickstart.yaml pretrained=run/step_00007000.h5 random=random:fan_in \\\n"
        "      --train train.clips --validation val.clips --out lowshot \\\n"
        "      --set 'probe.labels=[5, 10, 50]' --set probe.seeds=3\n"
        "  | task   | pooling   | labels | clips, training / validation | pretrained | random | ...",
    .sections = sections,
    .options = options,
    .min_files = 2,
    .max_files = 1 + VJ_MAX_LIST,
};

/* "A.clips,B.clips" of a list of the configuration. */
static const char *join(char *text, size_t bytes, const vj_strings *paths)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < paths->count && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", i ? "," : "", paths->item[i]);
    return text;
}

static vj_status work(const vj_run *run, vj_evaluate_outcome *outcome)
{
    char text[2][VJ_MAX_LIST * (VJ_PATH + 1)];
    vj_evaluate_request request = {
        .train = train ? train : join(text[0], sizeof text[0], &run->config.data.train),
        .validation = validation ? validation : join(text[1], sizeof text[1], &run->config.data.validation),
        .probes = probes,
        .keep_probes = keep_probes != NULL,
        .encoders = run->files,
        .encoder_count = run->file_count,
        .dir = out ? out : run->config.run.dir,
        .dry_run = run->dry_run};
    if (probes) request.train = request.validation; /* there is nothing to train on */
    if (!request.train[0]) return vj_raise(VJ_ERR_USAGE, "which clips to train on? --train NAME.clips or data.train");
    if (!request.validation[0])
        return vj_raise(VJ_ERR_USAGE, "which clips to measure on? --validation NAME.clips or data.validation");
    if (!request.dir[0]) return vj_raise(VJ_ERR_USAGE, "where to? --out DIR or run.dir");
    if (run->config.parallel.tensor > 1)
        return vj_raise(VJ_ERR_USAGE,
                        "parallel.tensor is %lld, but here each rank holds whole encoders, of checkpoints of any "
                        "layout: --set parallel.tensor=1",
                        (long long)run->config.parallel.tensor);
    return vj_evaluate(&run->config, &request, run->comm, outcome);
}

int main(int argc, char **argv)
{
    vj_run run;
    vj_evaluate_outcome outcome = VJ_EVALUATE_DONE;
    vj_program_begin(&run, &program, argc, argv);
    vj_status status = work(&run, &outcome);
    return vj_program_end(&run, status, outcome == VJ_EVALUATE_STOPPED ? VJ_EXIT_RESUMABLE : VJ_EXIT_DONE);
}
