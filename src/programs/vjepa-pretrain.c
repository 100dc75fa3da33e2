/* vjepa-pretrain: the main job. The work is vj_pretrain() in train/pretrain.c. */
#include "base/program.h"
#include "train/pretrain.h"

static const char *const sections[] = {"run",   "data",      "model",    "predictor",  "mask", "objective",
                                       "train", "optimizer", "parallel", "checkpoint", "log",  NULL};

static const vj_program program = {
    .name = "vjepa-pretrain",
    .purpose = "Pretrain a video transformer by predicting features of masked regions (V-JEPA).",
    .usage = "[options] CONFIG.yaml",
    .description =
        "Reads clip stores (data.train), writes checkpoints step_*.h5, metrics.csv and metrics.jsonl to run.dir.\n"
        "The same command goes on from the newest checkpoint, on any number of ranks and in any layout (section\n"
        "parallel); when all steps are done the folder\n"
        "holds the file \"complete\".\n"
        "\n"
        "Signals: USR2 writes a checkpoint and goes on; USR1 and TERM write one and stop with exit code 75.\n"
        "Exit codes: 0 done, 1 failed, 2 wrong settings, 75 stopped early: submit again.\n"
        "\n"
        "Example:\n"
        "  mpirun -n 2 vjepa-pretrain jobs/configs/quickstart.yaml --set run.dir=my-run --set train.batch=32\n"
        "One published step of ViT-H/16 at 384 px on two ranks with 24 GiB between them:\n"
        "  mpirun -n 2 vjepa-pretrain jobs/configs/vith16_384.yaml --set data.train='[my.clips]' \\\n"
        "    --set train.batch=2 --set train.microbatch=1 --set mask.group=2 --set train.stop_after=2 \\\n"
        "    --set parallel.zero=1 --set checkpoint.at_end=false --set run.dir=one-step",
    .sections = sections,
    .min_files = 1,
    .max_files = 1,
};

int main(int argc, char **argv)
{
    vj_run run;
    vj_program_begin(&run, &program, argc, argv);
    vj_pretrain_outcome outcome;
    vj_status status = vj_pretrain(&run.config, run.comm, run.dry_run, &outcome);
    return vj_program_end(&run, status, outcome == VJ_PRETRAIN_STOPPED ? VJ_EXIT_RESUMABLE : VJ_EXIT_DONE);
}
