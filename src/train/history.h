/*
 * history.csv of a run folder, or of an evaluation's: a line for each start, stop, roll-back and end of the run. A
 * start that follows another without a stop between them says that the run was killed in the meantime.
 */
#ifndef VJ_TRAIN_HISTORY_H
#define VJ_TRAIN_HISTORY_H

#include "base/config.h"

#define VJ_HISTORY_FILE  "history.csv"
#define VJ_HISTORY_BEGIN "time,event,step,ranks,host,code,why\n"

/**
 * Append a line to config->run.dir's history. A failure is only a warning. Not collective: rank 0's.
 *
 * @param event  "start", "stop", "roll_back", "failed" or "done"
 * @param step   updates done; of an evaluation, epochs
 * @param ranks  of the job
 * @param why    what made it stop, or ""; one line
 */
void vj_history_add(const vj_config *config, const char *event, int64_t step, int ranks, const char *why);

#endif
