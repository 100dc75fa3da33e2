/*
 * Writes a plot as commands for gnuplot. The commands contain no text of the document: a placeholder of the same length
 * stands for each text, such as "~7~____", and svg.c replaces it in the result. So the contents of a file can never
 * become a command.
 */
#ifndef VJ_SCRIPT_H
#define VJ_SCRIPT_H

#include "report/inside.h"

/* The texts for which the placeholders of one plot stand. Initialise it with zeros; release it with
 * vj_labels_release().
 */
typedef struct {
    char **texts;  /* [count] text of placeholder ~k~ */
    int *elements; /* [element_count] index of the text that names element k, in gnuplot's SVG gnuplot_plot_<k + 1> */
    int count, element_count;
} vj_labels;
void vj_labels_release(vj_labels *labels);

/* Colours that stand for the classes of theme.c, by which svg.c recognises them: 0x<group>00<number>. */
enum { VJ_COLOUR_CURVE = 1, VJ_COLOUR_MARK, VJ_COLOUR_HEAT, VJ_COLOUR_GRID, VJ_COLOUR_CELL_TEXT, VJ_COLOUR_FAINT };
enum { VJ_CURVE_CLASSES = 8, VJ_HEAT_CLASSES = 16 };

/** Return whether a plot has numbers to draw. */
bool vj_plot_has_numbers(const vj_plot *plot);

/** Compute the smallest and the largest value of a heat map's colours. */
void vj_heat_range(const vj_plot *plot, double *low, double *high);

/**
 * Write to `out` the commands that draw a plot into the file `svg`. The plot must have numbers. Curves are reduced to
 * `bins` columns (decimate.h). Sets plot->rows_given and points_drawn for the longest curve.
 */
void vj_script_plot(FILE *out, vj_plot *plot, const char *svg, int bins, vj_labels *labels);

#endif
