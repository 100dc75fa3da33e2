/* Runs in a terminal, painted anew every few seconds: one run as a screen with its curves, several as a line each. */
#ifndef VJ_REPORT_WATCH_H
#define VJ_REPORT_WATCH_H

#include "report/run_view.h"
#include "report/terminal.h"

/** Write what is shown of the runs [count] to `out`, as vj_terminal_paint() takes it. */
void vj_watch_page(const vj_terminal *terminal, const vj_run_view *runs, int count, FILE *out);

/**
 * Show run folders until q or Ctrl-C is pressed or a signal arrives, looking every `every_s` seconds; with `once` a
 * single time. What is missing or broken in a folder is shown, and is no error. Not collective.
 */
vj_status vj_watch(const char *const *folders, int count, double every_s, bool once);

#endif
