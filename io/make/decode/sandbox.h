/* Restrictions that a worker puts on itself before it receives the first file. */
#ifndef VJ_DECODE_SANDBOX_H
#define VJ_DECODE_SANDBOX_H

#include <stddef.h>

#include "decode/decode.h"

typedef struct {
    int statm;      /* descriptor of /proc/self/statm */
    int64_t begin;  /* bytes of address space at the start */
    int64_t memory; /* bytes of address space allowed beyond `begin` */
} vj_sandbox;

/**
 * Close all descriptors except the standard ones; limit address space, size of written files, open descriptors and core
 * files; ask the kernel to kill this process first when the machine runs out of memory (oom_score_adj); and block all
 * system calls that decoding does not need. Restrictions that the system does not offer are named in lacking[bytes]
 * ("": none).
 */
vj_status vj_sandbox_enter(vj_sandbox *sandbox, const vj_decode_settings *settings, char *lacking, size_t bytes);

/**
 * Return whether more than half of the allowed memory is in use. Between two files that means memory was leaked, and
 * the worker should be replaced.
 */
int vj_sandbox_is_worn(const vj_sandbox *sandbox);

/** Limit this process to `seconds` of CPU time from now on, so that it ends even if its parent is busy elsewhere. */
vj_status vj_sandbox_allow_time(double seconds);

/**
 * Make all system calls that decoding does not need fail with EPERM from now on: no file can be opened, no connection
 * or process made, no other process touched, no memory made executable. `lacking` as in vj_sandbox_enter(). Implemented
 * with libseccomp in seccomp/; a build without it uses noseccomp/, which restricts nothing.
 */
void vj_sandbox_calls(char *lacking, size_t bytes);

#endif
