/* vjepa-bench: measures the speed of all parts, against the limits of the machine. The work is in src/tools/bench. */
#include "base/program.h"
#include "bench/bench.h"
#include "bench/report.h"

static const char *const sections[] = {"run",   "pack",      "data",     "model",      "predictor", "mask", "objective",
                                       "train", "optimizer", "parallel", "checkpoint", "log",       NULL};

static const char *json, *repeats, *seconds, *clips, *dir, *cold, *views, *profile, *as_configured;

static const vj_option options[] = {
    {"--json", NULL, "one JSON object on standard output instead of text", &json},
    {"--repeats", "N", "time everything N times (3 to 1000), after one time that does not count", &repeats},
    {"--seconds", "S", "or: until S seconds are measured, 3 times at least; default 0.1 (a kernel) to 10 (step)",
     &seconds},
    {"--clips", "WHAT", "step: synthetic (random pixels, the default), or a store NAME.clips through the loader",
     &clips},
    {"--cold", NULL, "load: remove the stores' files from the system's page cache before each pass", &cold},
    {"--views", NULL, "load: also views of an evaluation as the section evaluate says, of the same clips", &views},
    {"--profile", NULL, "step: also every operation by phase: seconds, rates, and its floor by the roofline", &profile},
    {"--as-configured", NULL,
     "step: CONFIG's train.batch and train.microbatch, instead of one clip a rank or tensor group", &as_configured},
    {"--dir", "DIR", "checkpoint, pack: where to write, default the current folder; what is written is removed", &dir},
    {NULL, NULL, NULL, NULL},
};

static const vj_program program = {
    .name = "vjepa-bench",
    .purpose = "Measure kernels, the training step, packing, loading, checkpoints and communication.",
    .usage = "gemm|attention|elementwise|step|load|pack|checkpoint|allreduce [options] [CONFIG.yaml]",
    .description =
        "  gemm         matrix products of a block, in the forms and shapes of CONFIG (default: ViT-L/16 at 224 px)\n"
        "  attention    self-attention of a clip's tokens, forward and backward\n"
        "  elementwise  GELU, layer norm, AdamW and others: ns an element, GB/s\n"
        "  step         the training step of CONFIG, the code of vjepa-pretrain\n"
        "  load         reading clips of the stores in data.train of CONFIG, and the whole loader, in turns with bare\n"
        "               loops over the same clips: pread(), and for jpeg libjpeg-turbo's decoder; with --views also\n"
        "               training and test views, as probes get them\n"
        "  pack         vjepa-pack over the files that CONFIG names, in turns with a bare libav loop over them\n"
        "  checkpoint   writing and reading a checkpoint of CONFIG, in turns with plain files of as many bytes; with\n"
        "               checkpoint.async=true also how long training waits, against a copy in memory\n"
        "  allreduce    sums of 64 KiB to 64 MiB over the ranks: MPI in one call, MPI in pieces of parallel.bucket_mb, "
        "and\n"
        "               the trainer's, which go through shared memory on a node\n"
        "\n"
        "Every time is given as min / median / max of at least three repetitions after one that does not count, each "
        "the slowest rank's; rates are of the median. A single timing is refused: on a machine that others use it says "
        "nothing.\n"
        "\n"
        "Ceilings are measured in the same run. fp32_peak_gflops and bf16_peak_gflops: multiply-adds on registers, all "
        "ranks and threads at once, bf16 with the fastest instruction the processor has. copy_gb_s: read one array, "
        "write another. fraction_of_peak is what counts on a machine that is not known. In fp32 the peak is that of "
        "float multiply-adds; where AMX multiplies floats in bf16 parts, fraction_of_parts_peak is against the tiles' "
        "peak / 6.\n"
        "\n"
        "step counts matrix products of the published method only, backward as twice forward; what is computed twice "
        "to save memory does not count. One clip a rank or tensor group, unless train.batch and train.microbatch are "
        "given with --set. All repetitions do the work of the first step. peak_bytes is the largest rank's memory, "
        "phases are medians, whose sum need not be the step's median. Threads are OpenMP's: set OMP_NUM_THREADS.\n"
        "\n"
        "Examples:\n"
        "  OMP_NUM_THREADS=2 vjepa-bench step jobs/configs/vitl16_224.yaml --json --set precision=bf16\n"
        "  OMP_NUM_THREADS=2 vjepa-bench gemm\n"
        "    network  layer  form     precision  rows     n     k  repeats                    time_s  gflops  "
        "fraction_of_peak\n"
        "    encoder  qkv    forward  fp32       1568  3072  1024        3  25.84 / 26.09 / 26.17 ms   378.1           "
        " 0.7672\n"
        "  mpirun -n 2 vjepa-bench step jobs/configs/quickstart.yaml --profile --clips my.clips\n"
        "  mpirun -n 2 vjepa-bench checkpoint jobs/configs/vitl16_224.yaml --dir /scratch --repeats 3\n"
        "  mpirun -n 4 vjepa-bench allreduce",
    .sections = sections,
    .options = options,
    .commands = vj_bench_commands,
    .min_files = 0,
    .max_files = 1,
};

int main(int argc, char **argv)
{
    static vj_run run;
    vj_program_begin(&run, &program, argc, argv);
    if (json) vj_log_aside();
    const vj_bench bench = {.config = &run.config,
                            .config_path = run.config_path,
                            .comm = run.comm,
                            .repeats = repeats,
                            .seconds = seconds,
                            .clips = clips,
                            .dir = dir ? dir : ".",
                            .cold = cold != NULL,
                            .views = views != NULL,
                            .profile = profile != NULL,
                            .as_configured = as_configured != NULL};
    json_t *report = json_object();
    vj_status status =
        report ? vj_bench_run(&bench, run.command, report) : vj_raise(VJ_ERR_MEMORY, "no memory for a report");
    if (status == VJ_OK && run.rank == 0)
        status = json ? vj_report_json(report, stdout) : vj_report_text(report, stdout);
    json_decref(report);
    return vj_program_end(&run, status, VJ_EXIT_DONE);
}
