/*
 * Waiting for a file system that is in trouble: a server that is restarted, a mount that is gone for a while. Threads
 * of a process that wait at the same time share one outage, which begins with the first of them and ends with the last:
 * it is said once. Private to this folder.
 */
#ifndef VJ_CLIPS_OUTAGE_H
#define VJ_CLIPS_OUTAGE_H

#include <pthread.h>

#include "clips/clips.h"

typedef struct {
    pthread_mutex_t lock;
    int waiting;    /* threads */
    double since_s; /* when the first of them began */
} vj_outage;

/* One thread's part in it. Starts as zeros. */
typedef struct {
    bool waiting;
    double since_s, pause_s; /* when it began; the next pause */
} vj_outage_wait;

void vj_outage_init(vj_outage *outage);
void vj_outage_release(vj_outage *outage);

/**
 * A read of `path` failed, because of `why`: pause before it is tried again, longer each time. False, at once: patience
 * is over, or it was stopped.
 */
bool vj_outage_pause(vj_outage *outage, vj_outage_wait *wait, const vj_patience *patience, const char *path,
                     const char *why);

/** The read succeeded, or was given up; seconds that it took, 0 without a pause. */
double vj_outage_end(vj_outage *outage, const vj_outage_wait *wait, bool succeeded);

#endif
