/*
 * Ranks on different nodes must not write to the same page of a file: the client of a network file system may write
 * back a whole page of which its node changed only a part, and so overwrite another node's bytes with old ones. So each
 * rank holds back its parts of pages that it does not fill completely; when all ranks have written, one of the ranks
 * that share a page receives the other parts and writes them all. A part of h5.h's writer. Read vj_h5_write() first.
 */
#ifndef VJ_H5_PAGES_H
#define VJ_H5_PAGES_H

#include "h5/h5.h"

enum { VJ_H5_PAGE = 64 << 10 }; /* the largest page size in use on any system */

/**
 * Keep a copy of `bytes` bytes that lie inside one page. If they complete a page, *whole is its piece, which the caller
 * must write and then free with vj_h5_drop(); otherwise NULL. Not collective.
 */
vj_status vj_h5_hold(vj_h5_writer *writer, int64_t at, const char *data, int64_t bytes, vj_h5_piece **whole);
void vj_h5_drop(vj_h5_writer *writer, vj_h5_piece *piece);
void vj_h5_drop_all(vj_h5_writer *writer);

/**
 * Send held-back pieces of pages that are shared between nodes to the first rank that holds a piece of the page.
 * Collective.
 */
vj_status vj_h5_pass(vj_h5_writer *writer);

#endif
