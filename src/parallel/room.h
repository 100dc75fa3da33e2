/* How much memory ranks may still allocate on their node. */
#ifndef VJ_PARALLEL_ROOM_H
#define VJ_PARALLEL_ROOM_H

#include <mpi.h>
#include <stdint.h>

/**
 * Return the bytes that each rank can still allocate: the memory that the system reports as available on a node, or the
 * limit of the job's control group if that is lower, divided by the ranks of the node; the smallest of all nodes, on
 * all ranks. INT64_MAX if the system reports neither. Collective.
 */
int64_t vj_rank_memory(MPI_Comm comm);

/**
 * Return the lowest memory limit of the control groups that `membership` names (/proc/self/cgroup), which are folders
 * below `mount` (/sys/fs/cgroup), and of the groups that contain them; versions 1 and 2. A batch system limits a job in
 * this way. INT64_MAX: no limit. Not collective.
 */
int64_t vj_group_memory(const char *membership, const char *mount);

#endif
