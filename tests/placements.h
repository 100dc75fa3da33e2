/*
 * Placements of ranks on simulated nodes, for tests on one machine: the node of each of up to 8 ranks. All placements
 * must give the same sums.
 */
#ifndef PLACEMENTS_H
#define PLACEMENTS_H

#include <mpi.h>

static const int placements[][8] = {
    {0, 0, 0, 0, 0, 0, 0, 0}, /* one node */
    {0, 0, 1, 1, 2, 2, 3, 3}, /* pairs */
    {0, 1, 2, 3, 4, 5, 6, 7}, /* each rank on a node of its own */
    {0, 1, 1, 1, 1, 1, 1, 1}, /* one rank on the first node, the others on another */
    {0, 0, 0, 1, 1, 1, 1, 2}, /* three, four and one */
    {0, 1, 0, 1, 0, 1, 0, 1}, /* alternating */
    {2, 2, 0, 2, 1, 1, 0, 2}, /* without order */
};
enum { PLACEMENTS = sizeof placements / sizeof placements[0] };

#endif
