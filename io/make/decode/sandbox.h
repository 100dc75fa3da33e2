/* What a worker gives up before it sees the first file. */
#ifndef VJ_DECODE_SANDBOX_H
#define VJ_DECODE_SANDBOX_H

#include <stddef.h>

#include "decode/decode.h"

typedef struct {
    int statm;      /* open /proc/self/statm */
    int64_t begin;  /* bytes of address space at the start */
    int64_t memory; /* and beyond them, at most */
} vj_sandbox;

/**
 * Close all descriptors but the standard ones, limit memory, files written, descriptors and core files, be the first to
 * go when the machine's memory ends, and keep only the system calls that decoding needs. What of this the system does
 * not offer is named in lacking[bytes] ("": nothing).
 */
vj_status vj_sandbox_enter(vj_sandbox *sandbox, const vj_decode_settings *settings, char *lacking, size_t bytes);

/** Whether more than half of the memory is in use: between two files that is memory lost, and time for a new worker. */
int vj_sandbox_is_worn(const vj_sandbox *sandbox);

/** Allow `seconds` of processor time from now on: an end also for a worker whose parent is busy elsewhere. */
vj_status vj_sandbox_allow_time(double seconds);

/**
 * From now on all other system calls fail with EPERM: no file can be opened, no connection or process made, no other
 * process touched, no memory made executable. In seccomp/, by libseccomp, or, built without it, in noseccomp/.
 */
void vj_sandbox_calls(char *lacking, size_t bytes);

#endif
