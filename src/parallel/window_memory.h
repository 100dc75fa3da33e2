/*
 * The memory and the counters of a window (window.h), apart from who is on which node: how ranks of a node share memory
 * and wait for one another. A simulation of many ranks in one process (analysis/scaling/simulation) has its own.
 * Private to this folder. vj_window_tell(), _least(), _idle() and _wait() of window.h belong to it, too.
 */
#ifndef VJ_PARALLEL_WINDOW_MEMORY_H
#define VJ_PARALLEL_WINDOW_MEMORY_H

#include "parallel/window.h"

enum { VJ_WINDOW_TROUBLE = 256 };

/**
 * Fill w->flags and w->memory of all ranks of the node and set w->bytes. All ranks of comm succeed, or none: then
 * `trouble` says why, on all of them. A rank alone on its node takes part and keeps what it has. Collective.
 */
bool vj_window_share(vj_window *window, MPI_Comm comm, int64_t floats, char trouble[VJ_WINDOW_TROUBLE]);
/** Undo it. Not collective. */
void vj_window_unshare(vj_window *window);

/** Return the counters of a rank that is alone on its node, all 0; NULL: no memory. Free with free(). */
vj_flags *vj_window_counters(void);

#endif
