/*
 * The memory and the counters of a window (window.h): how ranks of a node share memory and wait for one another. Which
 * ranks are on which node is window.c's. vj_window_set(), _min(), _idle() and _wait() are implemented with it. The
 * simulation of many ranks in one process (analysis/scaling/simulation) has an implementation of its own. Private to
 * this folder.
 */
#ifndef VJ_PARALLEL_WINDOW_MEMORY_H
#define VJ_PARALLEL_WINDOW_MEMORY_H

#include "parallel/window.h"

enum { VJ_WINDOW_TROUBLE = 256 };

/**
 * Allocate the shared memory: set window->flags and window->memory for all ranks of the node, and window->bytes. If it
 * fails on one rank of comm, it fails on all: it then returns false, and `trouble` says why. A rank that is alone on
 * its node must call it too; its window is left unchanged. Collective.
 */
bool vj_window_share(vj_window *window, MPI_Comm comm, int64_t floats, char trouble[VJ_WINDOW_TROUBLE]);
/** Undo it. Not collective. */
void vj_window_unshare(vj_window *window);

/** Return the counters of a rank that is alone on its node, all 0; NULL: no memory. Free with free(). */
vj_flags *vj_window_counters(void);

#endif
