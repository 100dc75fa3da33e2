/* Shows runs in a terminal and repaints it every few seconds: one run as a screen with curves, several as a line each.
 */
#ifndef VJ_REPORT_WATCH_H
#define VJ_REPORT_WATCH_H

#include "report/run_view.h"
#include "report/terminal.h"

/** Write the text that shows the runs [count] to `out`, for vj_terminal_paint(). */
void vj_watch_page(const vj_terminal *terminal, const vj_run_view *runs, int count, FILE *out);

/**
 * Show run folders, updated every `every_s` seconds, until q or Ctrl-C is pressed or a signal arrives; with `once` only
 * once. Missing or broken files in a folder are shown and are no errors. Not collective.
 */
vj_status vj_watch(const char *const *folders, int count, double every_s, bool once);

#endif
