/*
 * Waits while a file system fails, because its server restarts or a mount is gone for a while. Threads of a process
 * that wait at the same time share one outage, which lasts from the first thread's failed read to the end of the last
 * thread's wait, so that it is reported once. Private to this folder.
 */
#ifndef VJ_CLIPS_OUTAGE_H
#define VJ_CLIPS_OUTAGE_H

#include <pthread.h>

#include "clips/clips.h"

typedef struct {
    pthread_mutex_t lock;
    int waiting;    /* threads */
    double since_s; /* when the first of them began to wait */
} vj_outage;

/* One thread's wait. Initialise with zeros. */
typedef struct {
    bool waiting;
    double since_s, pause_s; /* when this thread began to wait; length of its next pause */
} vj_outage_wait;

void vj_outage_init(vj_outage *outage);
void vj_outage_release(vj_outage *outage);

/**
 * Pause after a failed read of `path` (`why`: the reason, for the message) before the caller tries again; longer each
 * time. Returns false, at once, if the time limit of `patience` has passed, or if it was stopped.
 */
bool vj_outage_pause(vj_outage *outage, vj_outage_wait *wait, const vj_patience *patience, const char *path,
                     const char *why);

/**
 * End this thread's wait, after the read succeeded or was given up. Returns how long the thread waited in seconds, 0 if
 * it never paused.
 */
double vj_outage_end(vj_outage *outage, const vj_outage_wait *wait, bool succeeded);

#endif
