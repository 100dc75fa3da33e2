/* The grid of tokens a clip is cut into: tubelets in time, patches down, patches across. Token (t*y_cells + y)*x_cells
 * + x. */
#ifndef VJ_MODEL_GRID_H
#define VJ_MODEL_GRID_H

typedef struct {
    int t, y, x; /* cells along time, rows, columns */
} vj_grid;

static inline int vj_grid_tokens(vj_grid grid)
{
    return grid.t * grid.y * grid.x;
}

#endif
