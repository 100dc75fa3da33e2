/* Converts the settings of section cluster to the units of vj_machine: bytes, seconds, operations. */
#include <string.h>
#include <unistd.h>

#include "plan/forecast.h"
#include "train/precision.h"

/* The share of a node's memory that a job may use. The system, its file cache and the launcher need the rest. */
static const double usable = 0.9;
/* The same of a GPU's memory. The driver and the library of matrix products take about a GB, and some is lost between
 * allocations. */
static const double gpu_usable = 0.95;

/* If bf16 products are faster than fp32 products by this factor, the hardware has instructions for them. */
static const double has_bf16 = 1.25;

void vj_machine_choose_precision(vj_config *c)
{
    const bool gpus = c->cluster.gpus_per_node > 0;
    if (strcmp(c->train.precision, "auto") != 0) return;
    const double fp32 = gpus ? c->cluster.gpu_tflops_fp32 : c->cluster.gflops_fp32;
    const double bf16 = gpus ? c->cluster.gpu_tflops_bf16 : c->cluster.gflops_bf16;
    vj_precision_set(c, bf16 >= has_bf16 * fp32 ? VJ_BF16 : VJ_FP32);
}

vj_machine vj_machine_from(const vj_config *c)
{
    const double here = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    const bool bf16 = vj_precision_of(c) == VJ_BF16;
    const int64_t cores = c->cluster.cores_per_node;
    return (vj_machine){.nodes = (int)c->cluster.nodes,
                        .cores = (int)(cores > 0 ? cores : sysconf(_SC_NPROCESSORS_ONLN)),
                        .numa = (int)c->cluster.numa_per_node,
                        .memory_bytes = usable * (c->cluster.memory_gb > 0 ? 1e9 * c->cluster.memory_gb : here),
                        .flops_core = 1e9 * (bf16 ? c->cluster.gflops_bf16 : c->cluster.gflops_fp32),
                        .memory_bytes_s = 1e9 * c->cluster.memory_gb_s,
                        .sum_bytes_s = 1e9 * c->cluster.sum_gb_s,
                        .tensor_bytes_s = 1e9 * c->cluster.tensor_gb_s,
                        .gpus = (int)c->cluster.gpus_per_node,
                        .gpu_flops = 1e12 * (bf16 ? c->cluster.gpu_tflops_bf16 : c->cluster.gpu_tflops_fp32),
                        .gpu_memory_bytes = gpu_usable * 1e9 * c->cluster.gpu_memory_gb,
                        .gpu_bytes_s = 1e9 * c->cluster.gpu_gb_s,
                        .gpu_link_bytes_s = 1e9 * c->cluster.gpu_link_gb_s,
                        .gpu_host_bytes_s = 1e9 * c->cluster.gpu_host_gb_s,
                        .gpu_to_gpu = c->cluster.gpu_to_gpu,
                        .network_bytes_s = 1e9 * c->cluster.network_gb_s,
                        .message_s = 1e-6 * c->cluster.message_us,
                        .filesystem_bytes_s = 1e9 * c->cluster.filesystem_gb_s,
                        .job_s = 3600 * c->cluster.job_hours,
                        .node_watts = c->cluster.watts_per_node,
                        .node_mtbf_s = 3600 * c->cluster.node_mtbf_hours,
                        .checkpoint_s = c->cluster.checkpoint_s,
                        .restart_s = 60 * c->cluster.restart_minutes};
}
