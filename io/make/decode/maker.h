/* What a worker does with a file: its digest, its clips, its look. Used by worker.c only. */
#ifndef VJ_DECODE_MAKER_H
#define VJ_DECODE_MAKER_H

#include "decode/message.h"

typedef struct vj_maker vj_maker;

/** Holds the reader, scaler and coder for all files; `settings` are borrowed. */
vj_status vj_maker_create(vj_maker **maker, const vj_decode_settings *settings);
void vj_maker_destroy(vj_maker *maker);

/**
 * Read the file `fd`, leave its clips in the shared memory `memory`, which is not mapped any more afterwards, and fill
 * in the reply, a refusal included. Both descriptors are borrowed.
 */
void vj_maker_run(vj_maker *maker, const vj_decode_order *order, int fd, int memory, vj_decode_reply *reply);

#endif
