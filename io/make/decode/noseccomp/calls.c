/* Built without libseccomp: no system call is blocked. */
#include <stdio.h>

#include "decode/sandbox.h"

void vj_sandbox_calls(char *lacking, size_t bytes)
{
    snprintf(lacking, bytes, "built without libseccomp, which forbids decoders to open files and connections");
}
