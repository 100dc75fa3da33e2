/* vjepa-pretrain: pretrains a model, the main job. The work is in vj_pretrain(), train/pretrain.c. */
#include "base/program.h"
#include "probe/watch.h"
#include "train/pretrain.h"

static const char *const sections[] = {"run",       "data",  "model",     "predictor", "mask",
                                       "objective", "train", "optimizer", "parallel",  "checkpoint",
                                       "log",       "watch", NULL};

static const vj_option options[] = {
    {"--max-hours", "H", "stop in time before H hours, or with auto those of the batch job, are over: run.max_hours=H",
     NULL},
    {NULL, NULL, NULL, NULL},
};

static const vj_program program = {
    .name = "vjepa-pretrain",
    .purpose = "Pretrain a video transformer by predicting features of masked regions (V-JEPA).",
    .usage = "[options] CONFIG.yaml",
    .description =
        "Reads clip stores (data.train), writes checkpoints step_*.h5, metrics.csv and metrics.jsonl to run.dir.\n"
        "The same command goes on from the newest checkpoint, on any number of ranks and in any layout (section\n"
        "parallel); when all steps are done the folder holds the file \"complete\".\n"
        "\n"
        "How long: the log says 20 seconds after the first step begins, in it or after it, how long a step and the "
        "run take.\n"
        "\n"
        "Stopping: USR2 writes a checkpoint and goes on. USR1, TERM, Ctrl-C, HUP (the terminal was closed), PIPE (the\n"
        "program that reads the log has ended), the end of --max-hours and a file \"stop\" in run.dir (removed when it "
        "is\n"
        "obeyed) write one and stop with exit code 75, after the step at hand. A second Ctrl-C ends at once. mpirun "
        "passes\n"
        "USR1 and USR2 on to all ranks; after TERM, Ctrl-C or HUP it kills them within a second or so.\n"
        "--max-hours auto takes the batch job's end from VJEPA_JOB_END_TIME or SLURM_JOB_END_TIME, less 20 s.\n"
        "Exit codes: 0 done, 1 failed, 2 wrong settings, 70 hung and ended by the watchdog (run.watchdog_s), 75 "
        "stopped\n"
        "early. A job script should look at the file \"complete\" instead, for a launcher's exit code need not be a "
        "rank's:\n"
        "if it is there the run is done, else submit the same command again, which jobs/submit does "
        "(docs/cluster.md).\n"
        "\n"
        "Bad numbers: a step without finite loss and gradient changes nothing. After train.max_bad_steps bad steps in "
        "a\n"
        "row, also by train.rollback_loss, _std and _rank, the run returns to its last checkpoint and skips the "
        "samples\n"
        "that followed; the second time it stops with exit code 1 (train.rollback_limit).\n"
        "\n"
        "In-run watch: with watch.every=N the target encoder is measured every N steps on labelled clips\n"
        "(watch.train, watch.validation) by nearest neighbours and a small attentive probe: columns watch_knn and\n"
        "watch_probe, top-1 in percent. The run's own bits stay the same.\n"
        "\n"
        "Example:\n"
        "  mpirun -n 2 vjepa-pretrain jobs/configs/quickstart.yaml --set run.dir=my-run --set train.batch=32\n"
        "One published step of ViT-H/16 at 384 px on two ranks with 24 GiB between them:\n"
        "  mpirun -n 2 vjepa-pretrain jobs/configs/vith16_384.yaml --set data.train='[my.clips]' \\\n"
        "    --set train.batch=2 --set train.microbatch=1 --set mask.group=2 --set train.stop_after=2 \\\n"
        "    --set parallel.zero=1 --set checkpoint.at_end=false --set run.dir=one-step",
    .sections = sections,
    .dry_run = true,
    .options = options,
    .min_files = 1,
    .max_files = 1,
};

int main(int argc, char **argv)
{
    vj_run run;
    vj_program_begin(&run, &program, argc, argv);
    vj_pretrain_outcome outcome;
    vj_status status = vj_pretrain(&run.config, run.config_path, run.comm, run.dry_run, &vj_watch, &outcome);
    return vj_program_end(&run, status, outcome == VJ_PRETRAIN_STOPPED ? VJ_EXIT_RESUMABLE : VJ_EXIT_DONE);
}
