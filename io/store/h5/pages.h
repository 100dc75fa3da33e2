/*
 * Ranks of several nodes must not write to one page of a file: the client of a network file system may write a whole
 * page of which its node changed a part, and with it old bytes over another node's. So what a rank has of a page that
 * is not all its own is held back; when all have written, one rank of those that share a page gets and writes all of
 * it. A part of h5.h's writer. Read vj_h5_write() first.
 */
#ifndef VJ_H5_PAGES_H
#define VJ_H5_PAGES_H

#include "h5/h5.h"

enum { VJ_H5_PAGE = 64 << 10 }; /* the largest that systems have */

/** Keep a copy of `bytes` bytes inside one page. *whole: the held piece it completes to a page, or NULL. The caller
 * writes that and drops it with vj_h5_drop(). Not collective. */
vj_status vj_h5_hold(vj_h5_writer *writer, int64_t at, const char *data, int64_t bytes, vj_h5_piece **whole);
void vj_h5_drop(vj_h5_writer *writer, vj_h5_piece *piece);
void vj_h5_drop_all(vj_h5_writer *writer);

/** Give what this rank holds of a page to the first rank that has some of it, where they are on several nodes.
 * Collective. */
vj_status vj_h5_pass(vj_h5_writer *writer);

#endif
