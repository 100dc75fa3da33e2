/*
 * The lease of a folder that one job at a time may write to: a run folder, a store that is being packed. It is a file,
 * FOLDER/lease, that says who holds it (host, process, batch job, since when), and that its holder touches regularly.
 *
 * Who finds the file there: a holder on the same node is looked up in /proc and is either alive, and then the folder is
 * refused at once, or dead, and then its lease is taken over at once. Of a holder on another node only the file's time
 * tells: if it does not change for the lease's time (90 s; the environment variable VJEPA_LEASE_S changes it), the
 * holder is dead. All times are the file system's, read from files, never this node's clock.
 */
#ifndef VJ_BASE_LEASE_H
#define VJ_BASE_LEASE_H

#include "base/file.h"

/* What proves that a lease is ours, for all processes of the job: plain bytes, may be broadcast. */
typedef struct {
    char path[VJ_FILE_PATH]; /* "": no lease, and nothing to check */
    char text[768];          /* what is in the file */
} vj_lease_seal;

typedef struct vj_lease vj_lease;

/**
 * Take the lease of a folder that exists, waiting if need be; the log says so. VJ_ERR_STATE, naming the holder: another
 * job is at work there. It is renewed by a thread until it is released. One process of a job; not collective.
 */
vj_status vj_lease_take(vj_lease **lease, const char *folder);

/** Its seal; of NULL an empty one. */
vj_lease_seal vj_lease_seal_of(const vj_lease *lease);

/**
 * Is the lease still this job's? Asked before anything is published: a job that was cut off for so long that another
 * took its folder must stop. VJ_ERR_STATE, naming the new holder. Any process of the job, any thread; not collective.
 */
vj_status vj_lease_check(const vj_lease_seal *seal);

/** Give it back, if it is still ours. NULL is harmless. */
void vj_lease_release(vj_lease *lease);

#endif
