/* Computes what a worker returns for a file: its digest, clips and perceptual hash. Used by worker.c only. */
#ifndef VJ_DECODE_MAKER_H
#define VJ_DECODE_MAKER_H

#include "decode/message.h"

typedef struct vj_maker vj_maker;

/** Create the reader, scaler and coder, which are reused for all files; `settings` are borrowed. */
vj_status vj_maker_create(vj_maker **maker, const vj_decode_settings *settings);
void vj_maker_destroy(vj_maker *maker);

/**
 * Read the file `fd`, write its clips into the shared memory `memory` (unmapped again before the return), and fill in
 * the reply, also when the file is refused. Both descriptors are borrowed. While it decodes, `tell` gets the part of
 * the file that is done, about once a second.
 */
void vj_maker_run(vj_maker *maker, const vj_decode_order *order, int fd, int memory, vj_decode_reply *reply,
                  void (*tell)(double so_far));

#endif
