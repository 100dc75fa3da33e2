/* Clips and frozen encoders to a table: all probes of a campaign in one pass. */
#include <malloc.h>

#include "base/program.h"
#include "evaluate/evaluate.h"

static const char *const sections[] = {"run",   "data",  "model",    "train",      "parallel",
                                       "embed", "probe", "evaluate", "checkpoint", NULL};

static const char *out, *train, *validation, *probes, *keep_probes, *keep_features, *attention;

static const vj_option options[] = {
    {"--train", "A.clips[,...]", "clip stores to train probes on (default: data.train)", &train},
    {"--validation", "B.clips[,...]", "clip stores to measure them on (default: data.validation)", &validation},
    {"--probe", "FILE.h5[,...]", "probes, or folders of them, to measure on the validation clips without training",
     &probes},
    {"--keep-probes", NULL, "write every probe as a file, DIR/probes/NAME.h5 (vjepa-inspect prints them)",
     &keep_probes},
    {"--keep-features", NULL, "with probe.features stored: leave the features in DIR/features", &keep_features},
    {"--attention", "N",
     "write what attentive probes attend to in N validation samples, DIR/attention.h5, which vjepa-report draws "
     "(default 4)",
     &attention},
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
        "chosen. A probe gets the bits that it would get alone, on any number of ranks. With probe.pooling tokens4 it "
        "has\n"
        "V-JEPA 2's blocks on all tokens, and costs as much as the encoder: too many are refused "
        "(evaluate.sweep_flops).\n"
        "Encoders too large for a rank are shared by groups of parallel.tensor ranks.\n"
        "\n"
        "Encoding costs most, and need not be done in every epoch: with probe.features stored:K, K training views of "
        "each\n"
        "sample are encoded once and their tokens kept in --out/features until the end, as f32, f16 or bf16 "
        "(embed.dtype); "
        "their\n"
        "size is said first and must fit. K of at least probe.epochs gives the bits of online. stored: one view, the\n"
        "centre, as vjepa-embed makes it.\n"
        "\n"
        "Written to --out: results.json, results.csv, results.md (the table), heads.csv (every probe), predictions.h5\n"
        "(what each probe said of each sample), attention.h5 (what attentive probes attend to in some of them, drawn "
        "by\n"
        "vjepa-report), splits/ (the samples of each share), evaluation.h5 (the checkpoint), "
        "and\n"
        "at the end the file complete. Stopped or killed, in training or while measuring, the same command goes on, "
        "on\n"
        "any number of ranks: USR1, TERM, --max-hours and a file \"stop\" in --out as for vjepa-pretrain; exit code "
        "75\n"
        "says that it was stopped early. Samples with damaged clips are left out and counted.\n"
        "\n"
        "Probes on features that vjepa-embed keeps: vjepa-probe.\n"
        "\n"
        "Example: the low-shot table, 3 shares of the labels, 3 splits of each\n"
        "  mpirun -n 2 vjepa-evaluate quickstart.yaml pretrained=run/step_00005600.h5 random=random:fan_in \\\n"
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
        .keep_features = keep_features != NULL,
        .encoders = run->files,
        .encoder_count = run->file_count,
        .dir = out ? out : run->config.run.dir,
        .dry_run = run->dry_run,
        .attention = 4};
    VJ_TRY(vj_option_number("--attention", attention, 0, INT32_MAX, &request.attention));
    if (probes) request.train = request.validation; /* there is nothing to train on */
    if (!request.train[0]) return vj_raise(VJ_ERR_USAGE, "which clips to train on? --train NAME.clips or data.train");
    if (!request.validation[0])
        return vj_raise(VJ_ERR_USAGE, "which clips to measure on? --validation NAME.clips or data.validation");
    if (!request.dir[0]) return vj_raise(VJ_ERR_USAGE, "where to? --out DIR or run.dir");
    return vj_evaluate(&run->config, &request, run->comm, outcome);
}

int main(int argc, char **argv)
{
    /* Large blocks go back to the system when they are freed: glibc's own limit grows with them, up to 32 MiB, and the
     * program then keeps up to half as much memory again as it was forecast to take. */
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    vj_run run;
    vj_evaluate_outcome outcome = VJ_EVALUATE_DONE;
    vj_program_begin(&run, &program, argc, argv);
    vj_status status = work(&run, &outcome);
    return vj_program_end(&run, status, outcome == VJ_EVALUATE_STOPPED ? VJ_EXIT_RESUMABLE : VJ_EXIT_DONE);
}
