/*
 * When lines about the progress of one long piece of work are due: the first one after 20 seconds, then one a minute;
 * between two batches one after 5 seconds.
 */
#ifndef VJ_BASE_PROGRESS_H
#define VJ_BASE_PROGRESS_H

#include <stdbool.h>

typedef struct {
    double began_s, logged_s; /* start of the work; the last line */
} vj_progress_line;

vj_progress_line vj_progress_line_begin(void);
/** Return whether a line is due at the time now_s (vj_now()). If so, it counts as printed. */
bool vj_progress_line_is_due(vj_progress_line *line, double now_s);
/** The same for work in batches, when `share` of the present one is done; 0: between two. */
bool vj_progress_line_is_due_in_batch(vj_progress_line *line, double share, double now_s);
/** `share` of the work is done, from 0 to 1: if a line is due, log "WHAT: 12 % done, about 3.5 minutes left". */
void vj_progress_line_log(vj_progress_line *line, const char *what, double share, double now_s);

#endif
