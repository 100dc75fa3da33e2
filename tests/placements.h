/*
 * Ways to lay ranks out on nodes, for tests on one machine: which node each of up to 8 ranks is said to be on. They
 * must give the same sums.
 */
#ifndef PLACEMENTS_H
#define PLACEMENTS_H

#include <mpi.h>

static const int placements[][8] = {
    {0, 0, 0, 0, 0, 0, 0, 0}, /* one node */
    {0, 0, 1, 1, 2, 2, 3, 3}, /* pairs */
    {0, 1, 2, 3, 4, 5, 6, 7}, /* each rank on its own */
    {0, 1, 1, 1, 1, 1, 1, 1}, /* one rank, and the others */
    {0, 0, 0, 1, 1, 1, 1, 2}, /* three, four and one */
    {0, 1, 0, 1, 0, 1, 0, 1}, /* in turn */
    {2, 2, 0, 2, 1, 1, 0, 2}, /* anyhow */
};
enum { PLACEMENTS = sizeof placements / sizeof placements[0] };

#endif
