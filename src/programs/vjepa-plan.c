/* vjepa-plan: forecasts the resources of a campaign before it starts. The arithmetic is in src/tools/plan. */
#include "base/program.h"
#include "bench/report.h"
#include "plan/footage.h"
#include "plan/forecast.h"
#include "plan/report.h"

static const char *const sections[] = {"cluster", "plan",      "pack",  "data",     "model",      "predictor",
                                       "mask",    "objective", "train", "parallel", "checkpoint", NULL};

static const char *cluster, *layout, *json;

static const vj_option options[] = {
    {"--cluster", "CLUSTER.yaml",
     "read the section cluster from a file of its own; --set cluster.KEY=VALUE still counts", &cluster},
    {"--layout", "NODESxRANKS",
     "this many nodes and ranks on each, with the configuration's parallel.tensor, parallel.zero and train.microbatch; "
     "without, the best layout is searched for",
     &layout},
    {"--json", NULL, "one JSON object on standard output instead of tables", &json},
    {NULL, NULL, NULL, NULL},
};

static const vj_program program = {
    .name = "vjepa-plan",
    .purpose = "Forecast a campaign: packing and pretraining, on a machine that need not be there.",
    .usage = "[options] CONFIG.yaml",
    .description =
        "Needs no data and no nodes: one process, some seconds. Prints, for packing: hours of video, core hours, "
        "shards, the size of the store, the walltime and whether decoding or the file system bounds it; for "
        "pretraining: parameters, FLOPs, memory, the best layout (nodes, ranks, parallel.tensor, parallel.zero, "
        "train.microbatch) and what its neighbours would cost, messages and bytes of a step by communicator, "
        "checkpoints, walltime, jobs; energy where cluster.watts_per_node is given; where cluster.node_mtbf_hours is, "
        "failures, the walltime with them, and how often to write checkpoints (Young 1974, Daly 2006). Layouts that do "
        "not fit are named with what they lack, and with what would fit. docs/planning.md has the formulas. Every "
        "number comes with a word on how it was found, and all that is assumed of machine and media is listed with its "
        "origin at the end.\n"
        "\n"
        "Exact: parameters, FLOPs (counted on the masks of the first steps), the size of checkpoints, shards, messages "
        "and their bytes. Within 5 %: memory (the prediction that vjepa-pretrain makes). Estimates: times. Those of "
        "training are the products at cluster.gflops_*, the update at the memory's rate, what the backward pass cannot "
        "hide of the sums of gradients, and files read beside all that. Start, evaluation and lost jobs are not in "
        "them. The default rates were measured on two cores of a Xeon with AMX (tests/bench/RESULTS.md), those of "
        "decoding on a core of an EPYC (Zen 5) with FFmpeg 5.1 and H.264: measure yours with vjepa-bench on one node, "
        "and describe it in a file. Networks much narrower than ViT-L reach less (the quickstart's a quarter).\n"
        "\n"
        "Videos are counted in the lists, unless plan.files says how many there are; plan.mean_* say what they are "
        "like. Exit codes: 0 a layout fits, 1 none does or something cannot be read, 2 wrong settings.\n"
        "\n"
        "Examples:\n"
        "  vjepa-plan jobs/configs/vitl16_224.yaml --cluster jobs/configs/cluster_example.yaml\n"
        "  vjepa-plan jobs/configs/vith16_384.yaml --cluster jobs/configs/cluster_example.yaml \\\n"
        "    --set cluster.nodes=256 --set train.recompute=block --json\n"
        "  vjepa-plan my.yaml --layout 4x8 --cluster mine.yaml                             (will this fit, and what "
        "then?)\n"
        "  vjepa-plan jobs/configs/quickstart.yaml                                        (on this machine)",
    .sections = sections,
    .options = options,
    .without_mpi = true,
    .min_files = 1,
    .max_files = 1,
};

static vj_status plan(vj_run *run, bool *fits)
{
    static vj_forecast forecast;
    vj_footage footage;
    int nodes = 0, node_ranks = 0, end = 0;
    if (layout &&
        (sscanf(layout, "%9dx%9d%n", &nodes, &node_ranks, &end) != 2 || layout[end] || nodes < 1 || node_ranks < 1))
        return vj_raise(VJ_ERR_USAGE, "--layout %s: nodes and ranks on each are expected, such as 4x8", layout);
    if (json) vj_log_aside();
    if (cluster) VJ_TRY(vj_config_read_section(&run->config, cluster, "cluster"));
    vj_machine_choose_precision(&run->config);
    VJ_TRY(vj_footage_describe(&footage, &run->config));
    VJ_TRY(vj_forecast_make(&forecast, &run->config, &footage, nodes, node_ranks));
    *fits = forecast.fits;
    json_t *report = json_object();
    if (!report) return vj_raise(VJ_ERR_MEMORY, "no memory for a report");
    vj_forecast_report(report, &forecast, &run->config, cluster);
    vj_status status = json ? vj_report_json(report, stdout) : vj_forecast_print(report, stdout);
    json_decref(report);
    return status;
}

int main(int argc, char **argv)
{
    static vj_run run;
    bool fits = true;
    vj_program_begin(&run, &program, argc, argv);
    vj_status status = plan(&run, &fits);
    return vj_program_end(&run, status, fits ? VJ_EXIT_DONE : VJ_EXIT_FAILED);
}
