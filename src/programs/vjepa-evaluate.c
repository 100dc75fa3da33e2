/* vjepa-evaluate: trains and tests all probes of a campaign in one pass over clips and frozen encoders. */
#include <malloc.h>

#include "base/number.h"
#include "base/program.h"
#include "evaluate/evaluate.h"
#include "parallel/parallel.h"
#include "probe/part.h"

static const char *const sections[] = {"run",   "data",  "model",    "train",      "parallel",
                                       "embed", "probe", "evaluate", "checkpoint", NULL};

static const char *out, *train, *validation, *probes, *keep_probes, *keep_features, *attention, *part_text, *merge;

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
    {"--part", "K/N", "make part K of N of the table only, in DIR/part_K_of_N", &part_text},
    {"--merge", "N", "make the table of the N parts in DIR; encoders are not needed", &merge},
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
        "Each NAME is an encoder: a checkpoint, the folder of a run (its newest checkpoint), random:published[:SEED] "
        "or random:fan_in[:SEED]. In every epoch it runs once over each training sample that a probe needs, with fresh "
        "views (section evaluate), and feeds all probes: one for each task, pooling, share of the labels and seed of "
        "section probe, and each learning rate and weight decay of evaluate.sweep_lr and evaluate.sweep_wd, of which "
        "the best on a tenth of the training samples is chosen. A probe gets the bits that it would get alone, on any "
        "number of ranks. With probe.pooling tokens4 it has V-JEPA 2's blocks on all tokens, and costs as much as the "
        "encoder: too many are refused (evaluate.sweep_flops). Encoders too large for a rank are shared by groups of "
        "parallel.tensor ranks.\n"
        "\n"
        "Encoding costs most, and need not be done in every epoch: with probe.features stored:K, K training views of "
        "each sample are encoded once and their tokens kept in --out/features until the end, as f32, f16 or bf16 "
        "(embed.dtype). Their size is printed first; they must fit on the disk. K of at least probe.epochs gives the "
        "bits of online. stored: one view, the centre, as vjepa-embed makes it.\n"
        "\n"
        "Written to --out: results.json, results.csv, results.md (the table), differences.csv (of encoders), heads.csv "
        "(every probe), predictions.h5 (what each probe said of each sample), attention.h5 (what attentive probes "
        "attend to in some of them, drawn by vjepa-report), splits/ (the samples of each share), evaluation.h5 (the "
        "checkpoint), and at the end the file complete. Stopped or killed, in training or while measuring, the same "
        "command goes on, on any number of ranks: USR1, TERM, --max-hours and a file \"stop\" in --out as for "
        "vjepa-pretrain; exit code 75 says that it was stopped early. Samples with damaged clips are left out and "
        "counted.\n"
        "\n"
        "A campaign can be divided over jobs: --part 1/8 to 8/8 make whole rows of the table, divided by cost, each "
        "with the bits of one job, and --merge 8 makes the table when all parts are there (jobs/slurm/evaluate.sh). "
        "Each part encodes what its rows need: one for each encoder costs no more than one job, others end earlier and "
        "cost more.\n"
        "\n"
        "Probes on features that vjepa-embed keeps: vjepa-probe.\n"
        "\n"
        "Example: the low-shot table, 3 shares of the labels, 3 splits of each\n"
        "  mpirun -n 2 vjepa-evaluate quickstart.yaml pretrained=run/step_00005600.h5 random=random:fan_in \\\n"
        "      --train train.clips --validation val.clips --out lowshot \\\n"
        "      --set 'probe.labels=[5, 10, 50]' --set probe.seeds=3\n"
        "  | task   | pooling   | labels | clips, training / validation | pretrained | random | ...",
    .sections = sections,
    .dry_run = true,
    .options = options,
    .min_files = 1,
    .max_files = 1 + VJ_MAX_LIST,
};

/* Join the paths of a list with commas: "A.clips,B.clips". */
static const char *join(char *text, size_t bytes, const vj_strings *paths)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < paths->count && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", i ? "," : "", paths->item[i]);
    return text;
}

static vj_status evaluate(const vj_run *run, const char *dir, vj_campaign_part *part, vj_evaluate_outcome *outcome)
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
        .dir = dir,
        .part = part,
        .dry_run = run->dry_run,
        .attention = 4};
    VJ_TRY(vj_option_number("--attention", attention, 0, INT32_MAX, &request.attention));
    if (probes) request.train = request.validation; /* no training data is needed */
    if (!request.train[0])
        return vj_raise(VJ_ERR_USAGE, "no clips to train on are named: give --train NAME.clips, or data.train");
    if (!request.validation[0])
        return vj_raise(VJ_ERR_USAGE,
                        "no clips to measure on are named: give --validation NAME.clips, or data.validation");
    if (run->file_count == 0)
        return vj_raise(VJ_ERR_USAGE,
                        "no encoders are named: give NAME=CHECKPOINT, NAME=RUN or NAME=random:published, or --merge N");
    return vj_evaluate(&run->config, &request, run->comm, outcome);
}

static vj_status work(const vj_run *run, vj_evaluate_outcome *outcome)
{
    const char *dir = out ? out : run->config.run.dir;
    vj_campaign_part part = {0};
    int64_t parts = 0;
    if (!dir[0]) return vj_raise(VJ_ERR_USAGE, "no folder for the results is named: give --out DIR, or run.dir");
    if (merge && part_text) return vj_raise(VJ_ERR_USAGE, "--part and --merge exclude each other");
    VJ_TRY(vj_option_number("--merge", merge, 1, VJ_MAX_PARTS, &parts));
    if (merge) {
        VJ_TRY(vj_agree(run->comm, run->rank == 0 ? vj_report_check("--out", dir) : VJ_OK));
        return vj_agree(run->comm, run->rank == 0 && !run->dry_run ? vj_evaluate_merge(dir, (int)parts) : VJ_OK);
    }
    if (part_text) VJ_TRY(vj_part_parse(&part, part_text));
    const vj_status status = evaluate(run, dir, part_text ? &part : NULL, outcome);
    vj_campaign_part_release(&part);
    return status;
}

int main(int argc, char **argv)
{
    /* Return large blocks to the system when they are freed. By default glibc's threshold grows with freed blocks, up
     * to 32 MiB, and the program then holds up to 50 % more memory than forecast. */
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    vj_run run;
    vj_evaluate_outcome outcome = VJ_EVALUATE_DONE;
    vj_program_begin(&run, &program, argc, argv);
    vj_status status = work(&run, &outcome);
    return vj_program_end(&run, status, outcome == VJ_EVALUATE_STOPPED ? VJ_EXIT_RESUMABLE : VJ_EXIT_DONE);
}
