/* The table of this variant's kernels. */
#include "cpu.h"

#define VJ_ROW(name, ...) .name = VJ_CPU(name),
const vj_ops VJ_CPU(ops) = {VJ_KERNELS(VJ_ROW)};
