/*
 * A lock on a folder that only one job at a time may write to: a run folder, or a store that is being packed. The lock
 * is a file, FOLDER/lease, that names its holder (host, process, batch job, start time). The holder updates the file's
 * modification time regularly.
 *
 * A process that finds the file checks whether the holder is alive. A holder on the same node is looked up in /proc: if
 * it is alive the folder is refused at once, if it is dead the lease is taken over at once. A holder on another node
 * counts as dead if the modification time is 90 s old (VJEPA_LEASE_S in the environment changes this) and does not
 * change while it is watched for at least a third of that. Ages are differences of modification times that the file
 * system sets, so clocks of nodes need not agree, and the time of watching is that of a clock that nobody sets.
 */
#ifndef VJ_BASE_LEASE_H
#define VJ_BASE_LEASE_H

#include "base/file.h"

/* Identifies the lease of this job, for all its processes: the file's path and content. No pointers: may be broadcast.
 */
typedef struct {
    char path[VJ_FILE_PATH]; /* of the lease file; "": no lease, vj_lease_check() succeeds */
    char text[768];          /* content of the lease file */
} vj_lease_seal;

typedef struct vj_lease vj_lease;

/**
 * Take the lease of an existing folder and start a thread that renews it until vj_lease_release(). May wait, with a log
 * line, to see whether a holder on another node is alive. VJ_ERR_STATE if another job holds the folder; the message
 * names the holder. To be called by one process of the job; not collective.
 */
vj_status vj_lease_acquire(vj_lease **lease, const char *folder);

/* What can be told of a lease without taking it. */
typedef struct {
    enum {
        VJ_LEASE_FREE, /* there is none */
        VJ_LEASE_HELD,
        VJ_LEASE_LEFT /* its holder is dead: a killed job left it */
    } state;
    char holder[320]; /* "process 7 on node1, batch job 4711, since ..."; "" if it is free */
    double since_s;   /* when the holder took it, seconds since 1970 by the holder's clock; 0: not known */
} vj_lease_view;

/**
 * Look who holds the lease of a folder; nothing is written. A holder on another node counts as dead when the file is
 * older than 90 s by this node's clock. Not collective.
 */
vj_lease_view vj_lease_inspect(const char *folder);

/** Return the seal of a lease; for NULL an empty seal. */
vj_lease_seal vj_lease_seal_of(const vj_lease *lease);

/**
 * Check that this job still holds the lease. To be called before any file gets its final name: if this job lost contact
 * with the file system for so long that another job took the folder, it must stop. VJ_ERR_STATE if the lease is lost;
 * the message names the new holder. Any process of the job and any thread may call it; not collective.
 */
vj_status vj_lease_check(const vj_lease_seal *seal);

/** Return the number of the batch job that this process belongs to, as its lease has it; "none": it is no batch job. */
const char *vj_lease_batch_job(void);

/** Stop the renewing thread, remove the lease file if this job still holds it, and free the lease. NULL is allowed. */
void vj_lease_release(vj_lease *lease);

#endif
