/* When a run's checkpoints are committed, which stay, and what happens when one cannot be written. */
#include "train/saver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "parallel/parallel.h"
#include "train/checkpoint.h"
#include "train/run_folder.h"

enum {
    RETRY_S = 120
    /* seconds until the next attempt: a full disk rarely has room one step later, and each attempt costs training time
     */
};

struct vj_saver {
    const vj_config *config; /* borrowed */
    MPI_Comm comm;           /* borrowed */
    int rank;
    vj_checkpoint *checkpoint;
    bool under_way, failed; /* failed: the last attempt */
    int64_t step;           /* of the last attempt */
    int64_t good_step;      /* of the newest on disk; 0: none */
    int64_t failures;
    double begin_s, wait_s; /* of the current attempt: when it began, and for how long it stopped training */
    double failed_s;        /* when the last attempt failed */
    double longest_s;       /* from begin to commit */
};

/*
 * Remove checkpoints that are not kept, and temporary files of killed writers: the first checkpoint may need their
 * space.
 */
static vj_status prune(const vj_saver *s)
{
    const vj_config *c = s->config;
    const vj_status status = vj_ckpt_prune(c->run.dir, c->checkpoint.keep, c->checkpoint.keep_every, s->comm);
    if (status == VJ_ERR_IO && s->rank == 0)
        vj_warn("older checkpoints in %s could not be removed, for the reason above; training goes on", c->run.dir);
    return status == VJ_ERR_IO ? VJ_OK : status;
}

vj_status vj_saver_open(vj_saver **saver, const vj_config *config, vj_optimizer *optimizer, int64_t step,
                        MPI_Comm world)
{
    vj_saver *s = *saver = vj_calloc(1, sizeof *s);
    VJ_TRY(vj_agree(world, s ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to write checkpoints")));
    *s = (vj_saver){.config = config, .comm = world, .good_step = step};
    MPI_Comm_rank(world, &s->rank);
    VJ_TRY(vj_checkpoint_open(&s->checkpoint, optimizer, config->checkpoint.async, world));
    vj_checkpoint_keep(s->checkpoint, config->checkpoint.keep, config->checkpoint.keep_every);
    if (config->checkpoint.async)
        vj_log("checkpoints are written in the background, from %.0f MiB of memory on rank 0",
               (double)vj_checkpoint_memory_bytes(s->checkpoint) / 1048576.0);
    return prune(s);
}

void vj_saver_close(vj_saver *s)
{
    if (!s) return;
    vj_checkpoint_close(s->checkpoint);
    free(s);
}

void vj_saver_set_lease(vj_saver *s, const vj_lease_seal *lease)
{
    vj_checkpoint_set_lease(s->checkpoint, lease);
}

int64_t vj_saver_step(const vj_saver *s)
{
    return s->good_step;
}

double vj_saver_longest_s(const vj_saver *s)
{
    return s->longest_s;
}

int64_t vj_saver_failures(const vj_saver *s)
{
    return s->failures;
}

/* Report which checkpoint the run has after a failed attempt. */
static const char *kept(const vj_saver *s, char text[VJ_PATH + 64])
{
    if (s->good_step == 0) return "there is no checkpoint before it";
    const int used = snprintf(text, VJ_PATH + 64, "%s/step_%08lld.h5", s->config->run.dir, (long long)s->good_step);
    const bool there = access(text, F_OK) == 0;
    snprintf(text + used, (size_t)(VJ_PATH + 64 - used),
             there ? " stands" : ", the one before it, is not there either");
    return text;
}

/* A checkpoint has failed. The rank that failed has reported where and why, and the job goes on. */
static void report_failure(vj_saver *s)
{
    char text[VJ_PATH + 64];
    s->failed = true;
    s->failures++;
    s->failed_s = vj_now();
    if (s->rank == 0)
        vj_raise(VJ_ERR_STATE,
                 "ERROR: the checkpoint of step %lld was not written, for the reason above; %s. %lld failed so far. "
                 "Training goes on, the next attempt is when a checkpoint is due, or in %d s",
                 (long long)s->step, kept(s, text), (long long)s->failures, RETRY_S);
}

/* The checkpoint of s->step is finished or has failed, with the same status on all ranks. */
static vj_status settle(vj_saver *s, vj_status status)
{
    s->under_way = false;
    if (status == VJ_ERR_IO) report_failure(s);
    if (status != VJ_OK) return status == VJ_ERR_IO ? VJ_OK : status;
    s->failed = false;
    s->good_step = s->step;
    if (vj_now() - s->begin_s > s->longest_s) s->longest_s = vj_now() - s->begin_s;
    if (s->rank == 0) vj_run_folder_latest(s->config, s->step);
    vj_log("checkpoint of step %lld written in %.1f s, training waited %.2f s", (long long)s->step,
           vj_now() - s->begin_s, s->wait_s);
    return VJ_OK;
}

static vj_status commit(vj_saver *s)
{
    const double begin = vj_now();
    const vj_status status = vj_checkpoint_commit(s->checkpoint);
    s->wait_s += vj_now() - begin;
    return settle(s, status);
}

vj_status vj_saver_save(vj_saver *s, const vj_ckpt_state *state)
{
    if (s->under_way) VJ_TRY(commit(s));
    s->begin_s = vj_now();
    s->step = state->step;
    const vj_status status = vj_checkpoint_begin(s->checkpoint, s->config->run.dir, state);
    s->wait_s = vj_now() - s->begin_s;
    if (status != VJ_OK) return settle(s, status);
    s->under_way = true;
    return s->config->checkpoint.async ? VJ_OK : commit(s);
}

vj_status vj_saver_poll(vj_saver *s)
{
    if (!s->under_way) return VJ_OK;
    const double begin = vj_now();
    const bool ready = vj_checkpoint_poll(s->checkpoint);
    s->wait_s += vj_now() - begin;
    return ready ? commit(s) : VJ_OK;
}

/* Rank 0's clock decides for all. */
bool vj_saver_wants_retry(vj_saver *s)
{
    if (!s->failed) return false;
    int due = vj_now() - s->failed_s > RETRY_S;
    MPI_Bcast(&due, 1, MPI_INT, 0, s->comm);
    return due;
}

vj_status vj_saver_wait(vj_saver *s)
{
    return s->under_way ? commit(s) : VJ_OK;
}

vj_status vj_saver_finish(vj_saver *s)
{
    char text[VJ_PATH + 64];
    VJ_TRY(vj_saver_wait(s));
    if (!s->failed) return VJ_OK;
    if (s->rank != 0) return VJ_ERR_IO;
    errno = 0; /* the rank that failed has reported the reason */
    return vj_raise(
        VJ_ERR_IO,
        "the last checkpoint, of step %lld, could not be written; %s. Start the same command again when the "
        "file system of %s is well",
        (long long)s->step, kept(s, text), s->config->run.dir);
}
