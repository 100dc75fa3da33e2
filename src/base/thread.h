/* Threads beside the main one. */
#ifndef VJ_BASE_THREAD_H
#define VJ_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>

/** Start a thread with all signals blocked, so that the main thread receives them. Returns false, with errno, if the
 * system refuses it. End it with pthread_join(). */
bool vj_thread_start(pthread_t *thread, void *(*body)(void *), void *argument);

/** Initialise a condition for vj_cond_wait_s(). */
void vj_cond_init(pthread_cond_t *cond);

/** Wait for the condition for at most so many seconds, by the monotonic clock. Called with the lock held. Returns false
 * after the time is over. */
bool vj_cond_wait_s(pthread_cond_t *cond, pthread_mutex_t *lock, double seconds);

#endif
