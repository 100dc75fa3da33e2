/* Runs a check with the loops of each instruction set (analysis/linear/isa.h) that this processor has. */
#ifndef EACH_ISA_H
#define EACH_ISA_H

#include <stdio.h>
#include <stdlib.h>

#include "kernels/kernels.h"

static void on_each_isa(void (*check)(void))
{
    static const char *const isas[] = {"avx512", "avx2", "portable"};
    const char *isa = getenv("VJ_ISA");
    char before[32];
    snprintf(before, sizeof before, "%s", isa ? isa : "");
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++)
        if (vj_backend_isa_present(isas[i])) {
            setenv("VJ_ISA", isas[i], 1);
            check();
        }
    if (isa)
        setenv("VJ_ISA", before, 1);
    else
        unsetenv("VJ_ISA");
}

#endif
