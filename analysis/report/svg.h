/*
 * Converts gnuplot's SVG to a part of a page: colours become classes of the theme, ids become unique, placeholders are
 * replaced by their texts, curves get titles, and coordinates are rounded to a tenth of a pixel.
 */
#ifndef VJ_SVG_H
#define VJ_SVG_H

#include "report/script.h"

/**
 * Return gnuplot's SVG `text` as one <svg> element of class "plot", to be freed with free(); NULL if it is not what
 * gnuplot writes.
 *
 * @param number  number of the plot in the document, which becomes part of its ids
 * @param title   description for readers who cannot see it
 */
char *vj_svg_themed(const char *text, int number, const char *title, const vj_labels *labels);

#endif
