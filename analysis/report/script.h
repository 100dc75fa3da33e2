/*
 * A plot as commands for gnuplot. No text of the document is among them: for each a placeholder of the same length is
 * written, "~7~____", and svg.c puts the text in its place. So nothing that a file holds can become a command.
 */
#ifndef VJ_SCRIPT_H
#define VJ_SCRIPT_H

#include "report/inside.h"

/* What the placeholders of one plot stand for. Zero-initialised; release with vj_labels_release(). */
typedef struct {
    char **texts;  /* [count] text of placeholder ~k~ */
    int *elements; /* [element_count] the text that names the k-th thing drawn, which gnuplot calls gnuplot_plot_<k + 1>
                    */
    int count, element_count;
} vj_labels;
void vj_labels_release(vj_labels *labels);

/* Colours as which svg.c recognises the classes of theme.c: 0x<group>00<number>. */
enum { VJ_COLOUR_CURVE = 1, VJ_COLOUR_MARK, VJ_COLOUR_HEAT, VJ_COLOUR_GRID, VJ_COLOUR_CELL_TEXT, VJ_COLOUR_FAINT };
enum { VJ_CURVE_CLASSES = 8, VJ_HEAT_CLASSES = 16 };

/** Are there numbers to draw? */
bool vj_plot_has_numbers(const vj_plot *plot);

/** Smallest and largest value of a heat map's colours. */
void vj_heat_range(const vj_plot *plot, double *low, double *high);

/**
 * Write the commands that draw a plot, which has numbers, into the file `svg`. Curves are drawn with the extremes of
 * `bins` columns; plot->rows_given and points_drawn say what became of the longest.
 */
void vj_script_plot(FILE *out, vj_plot *plot, const char *svg, int bins, vj_labels *labels);

#endif
