/*
 * Position tables: fixed sines and cosines of the cell's coordinates, in double. Models round them to float once.
 * docs/method.md, section 2.
 */
#ifndef VJ_MODEL_POSITIONS_H
#define VJ_MODEL_POSITIONS_H

#include "model/grid.h"

/**
 * Table [tokens, D] of a video: row (t,y,x) = axis(t), axis(y), axis(x), cut to its first D entries, where axis(c) of
 * width w = sin(c f_k), then cos(c f_k), f_k = 10000^(-k/(w/2)), k < w/2.
 *
 * @param uniform_power  true: every axis has width 2 ceil(D/6) (published); else D/2, D/4, D/4, where D must be a
 *                       multiple of 8
 */
void vj_positions_video(double *table, int D, vj_grid grid, int uniform_power);

/** Row [D] of the table of one axis: axis(place) of width D; D even. */
void vj_positions_line(double *row, int D, int place);

/** Table [rows*columns, D] of an image: axis(y), axis(x) of width D/2 each; D a multiple of 4. */
void vj_positions_image(double *table, int D, int rows, int columns);

/** Resample table `from` [tokens, D] to the grid of `to`, trilinear with half-pixel centres, edges clamped. */
void vj_positions_resample(double *to, vj_grid to_grid, const double *from, vj_grid from_grid, int D);

#endif
