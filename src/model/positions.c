/* Position tables and their resampling: docs/method.md, section 2, all in double. */
#include "model/positions.h"

#include <math.h>
#include <string.h>

#include "base/status.h"

/* Write the first `kept` entries of axis(c) of width `width`. */
static void write_axis(double *row, int kept, int width, int c)
{
    const int half = width / 2;
    for (int i = 0; i < kept; i++) {
        const int k = i % half;
        const double angle = c * pow(10000.0, -(double)k / half);
        row[i] = i < half ? sin(angle) : cos(angle);
    }
}

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

void vj_positions_video(double *table, int D, vj_grid grid, int uniform_power)
{
    VJ_ASSERT(D > 0 && (uniform_power || D % 8 == 0));
    const int uniform = 2 * ((D + 5) / 6);
    const int width[3] = {uniform_power ? uniform : D / 2, uniform_power ? uniform : D / 4,
                          uniform_power ? uniform : D / 4};

    for (int t = 0; t < grid.t; t++)
        for (int y = 0; y < grid.y; y++)
            for (int x = 0; x < grid.x; x++) {
                const int coordinate[3] = {t, y, x};
                double *row = table + (((int64_t)t * grid.y + y) * grid.x + x) * D;
                int at = 0;
                for (int axis = 0; axis < 3; axis++) {
                    const int kept = min_int(width[axis], D - at); /* uniform widths may add up to more than D */
                    write_axis(row + at, kept, width[axis], coordinate[axis]);
                    at += kept;
                }
            }
}

void vj_positions_line(double *row, int D, int place)
{
    VJ_ASSERT(D > 0 && D % 2 == 0);
    write_axis(row, D, D, place);
}

void vj_positions_image(double *table, int D, int rows, int columns)
{
    VJ_ASSERT(D > 0 && D % 4 == 0);
    for (int y = 0; y < rows; y++)
        for (int x = 0; x < columns; x++) {
            double *row = table + ((int64_t)y * columns + x) * D;
            write_axis(row, D / 2, D / 2, y);
            write_axis(row + D / 2, D / 2, D / 2, x);
        }
}

/* The two source cells of cell k, and the second one's share. */
typedef struct {
    int cell[2];
    double share;
} neighbours;

static neighbours find_neighbours(int k, int from, int to)
{
    const double centre = fmax(0.0, (k + 0.5) * from / to - 0.5);
    const int left = min_int((int)centre, from - 1);
    return (neighbours){{left, min_int(left + 1, from - 1)}, centre - left};
}

void vj_positions_resample(double *to, vj_grid to_grid, const double *from, vj_grid from_grid, int D)
{
    for (int t = 0; t < to_grid.t; t++)
        for (int y = 0; y < to_grid.y; y++)
            for (int x = 0; x < to_grid.x; x++) {
                const neighbours nt = find_neighbours(t, from_grid.t, to_grid.t);
                const neighbours ny = find_neighbours(y, from_grid.y, to_grid.y);
                const neighbours nx = find_neighbours(x, from_grid.x, to_grid.x);
                double *row = to + (((int64_t)t * to_grid.y + y) * to_grid.x + x) * D;
                memset(row, 0, (size_t)D * sizeof *row);
                for (int corner = 0; corner < 8; corner++) {
                    const int ct = corner >> 2, cy = corner >> 1 & 1, cx = corner & 1;
                    const double share = (ct ? nt.share : 1 - nt.share) * (cy ? ny.share : 1 - ny.share) *
                                         (cx ? nx.share : 1 - nx.share);
                    const double *source =
                        from + (((int64_t)nt.cell[ct] * from_grid.y + ny.cell[cy]) * from_grid.x + nx.cell[cx]) * D;
                    for (int d = 0; d < D; d++) row[d] += share * source[d];
                }
            }
}
