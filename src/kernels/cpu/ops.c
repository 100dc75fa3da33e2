/* The table of this variant's kernels. */
#include "cpu.h"

#define VJ_ROW(name, ...)   .name = VJ_CPU(name),
#define VJ_PLAIN(name, ...) .name = vj_cpu_##name,
const vj_ops VJ_CPU(ops) = {VJ_ISA_KERNELS(VJ_ROW) VJ_PLAIN_KERNELS(VJ_PLAIN)};
