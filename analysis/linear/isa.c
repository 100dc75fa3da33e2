/* Chooses the instruction set of the loops of this folder. */
#include "linear/isa.h"

#include <string.h>

#include "kernels/kernels.h"

#define NAME(isa, lanes, attributes) #isa,

int vj_isa_here(void)
{
    static const char *const names[] = {VJ_EACH_ISA(NAME)};
    const char *isa = NULL;
    VJ_ASSERT(vj_backend_isa(&isa) == VJ_OK);
    int i = (int)(sizeof names / sizeof names[0]) - 1;
    if (strcmp(isa, "amx") == 0) return i;                              /* a processor with AMX has AVX-512 */
    while (i > 0 && strncmp(isa, names[i], strlen(names[i])) != 0) i--; /* "avx512bf16" has AVX-512 too */
    return i;
}
