/* vjepa-decode: one worker of vjepa-pack. The work is in vj_decode_serve(), io/make/decode/worker.c; no MPI is used. */
#include <stdio.h>
#include <string.h>

#include "decode/decode.h"

static const char help[] =
    "vjepa-decode - decode media files for vjepa-pack.\n"
    "\n"
    "Is started by vjepa-pack, one process for each core, and not by hand. It gets open files over a Unix socket\n"
    "on its standard input and leaves clips in shared memory. Damaged and hostile files may crash it, hang it or\n"
    "use up its memory: then it is replaced, and the file gets its verdict in the ledger. It cannot open files or\n"
    "connections.\n"
    "\n"
    "Environment (of vjepa-pack): VJEPA_DECODE names another program to be started in place of this one.\n"
    "Exit codes: 0 done, 1 failed, 2 wrong command line.\n";

/*
 * Called by the address sanitizer, in builds with it: an allocation beyond the worker's memory limit returns NULL, as
 * it does without the sanitizer.
 */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0) return fputs(help, stdout) < 0 || fflush(stdout) != 0;
    vj_status status = argc == 1
                           ? vj_decode_serve()
                           : vj_raise(VJ_ERR_USAGE, "vjepa-decode takes no arguments but --help; got %s", argv[1]);
    return status == VJ_OK ? 0 : status == VJ_ERR_USAGE ? 2 : 1;
}
