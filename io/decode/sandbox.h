/* What a worker gives up before it sees the first file. */
#ifndef VJ_DECODE_SANDBOX_H
#define VJ_DECODE_SANDBOX_H

#include <stddef.h>

#include "decode/decode.h"

/**
 * Close all descriptors but the standard ones, limit memory, file sizes, descriptors and core files, forbid new rights
 * and, where the system can, all system calls but those that decoding needs. What cannot be had is written to
 * lacking[bytes] ("": nothing); an error only where it should always work.
 */
vj_status vj_sandbox_enter(const vj_decode_settings *settings, char *lacking, size_t bytes);

#endif
