/*
 * Why a run stops before its end, or writes a checkpoint out of turn (docs/design.md, section 6): signals, the walltime
 * limit, the stop file. All of them set flags on one rank, which vj_step_run() combines over all ranks.
 */
#ifndef VJ_TRAIN_STOP_H
#define VJ_TRAIN_STOP_H

#include <signal.h>

#include "base/config.h"

/* Requests to a rank; a request on any rank applies to all. The flag's value is the reason; VJ_WHY_NONE: not requested.
 */
enum { VJ_REQUEST_STOP, VJ_REQUEST_WRITE, VJ_REQUESTS };
enum { VJ_WHY_NONE, VJ_WHY_FILE, VJ_WHY_HOURS, VJ_WHY_SIGNAL };

typedef struct {
    double began_s;          /* start of the program, by vj_now() */
    double limit_s;          /* time limit counted from began_s; 0: none */
    double kept_s;           /* part of limit_s that is left for others, such as the job script */
    double step_s, write_s;  /* the longest step and checkpoint so far; 0: none */
    double guess_s;          /* estimated time of a checkpoint, used until one has been written */
    double looked_s;         /* when the stop file was last looked for */
    char path[VJ_PATH + 16]; /* the stop file */
} vj_stop;

/**
 * Install signal handlers: USR2 asks for a checkpoint; USR1, TERM, HUP (the terminal was closed), PIPE (the program
 * that reads the log has ended) and a first INT (Ctrl-C) ask for a stop, and so does a file RUN/stop, which
 * vj_stop_poll() looks for. A HUP or PIPE that is ignored, as nohup does it, stays ignored. The flags belong to the
 * process, so it can have only one run at a time. Not collective.
 */
void vj_stop_listen(vj_stop *stop, const vj_config *config);

/**
 * Set the time limit, on the rank that calls vj_stop_poll(): run.max_hours, or with "auto" the end of the batch job as
 * the environment gives it (VJEPA_JOB_END_TIME, SLURM_JOB_END_TIME), less 20 s for the job script. Logs what "auto" has
 * found. VJ_ERR_USAGE if the variable is not a time in the future. Not collective.
 */
vj_status vj_stop_limit(vj_stop *stop, const vj_config *config);

/** Return the flags [VJ_REQUESTS], for vj_step.requests. */
volatile sig_atomic_t *vj_stop_requests(void);

/**
 * Call before each step, on one rank. Asks for a stop after this step if the time limit leaves no time for another step
 * and a checkpoint (twice the longest of each so far, plus one percent of the limit, plus kept_s), or if the stop file
 * exists (checked five times a second).
 */
void vj_stop_poll(vj_stop *stop);

/** Report, for the time limit, how long a step or a checkpoint took; and, before the first checkpoint, its size. */
void vj_stop_record_step(vj_stop *stop, double step_s);
void vj_stop_record_checkpoint(vj_stop *stop, double write_s);
void vj_stop_expect_checkpoint(vj_stop *stop, double bytes);

/** Remove the stop file, after the run has stopped because of it. One rank calls it. */
vj_status vj_stop_remove_file(const vj_stop *stop);

/** Return a text for the log: "a signal", ... */
const char *vj_stop_reason(int why);

#endif
