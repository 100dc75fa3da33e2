/*
 * Writes history.csv in the folder of a run or evaluation: one line for each start, stop, roll-back and end. Two starts
 * without a stop between them mean that the run was killed after the first.
 */
#ifndef VJ_TRAIN_HISTORY_H
#define VJ_TRAIN_HISTORY_H

#include "base/config.h"

#define VJ_HISTORY_FILE  "history.csv"
#define VJ_HISTORY_BEGIN "time,event,step,ranks,host,code,why\n"

/**
 * Append a line to the history in config->run.dir. A failure is only a warning. Not collective: rank 0 calls it.
 *
 * @param event  "start", "stop", "roll_back", "failed" or "done"
 * @param step   updates done; in an evaluation, epochs done
 * @param ranks  number of ranks of the job
 * @param why    why it stopped, one line, or ""
 */
void vj_history_add(const vj_config *config, const char *event, int64_t step, int ranks, const char *why);

#endif
