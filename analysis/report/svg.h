/*
 * What gnuplot draws, made part of a page: colours become classes of the theme, ids are unique, placeholders are
 * replaced by their texts, curves have titles, coordinates are rounded to a tenth of a pixel.
 */
#ifndef VJ_SVG_H
#define VJ_SVG_H

#include "report/script.h"

/**
 * Return gnuplot's SVG `text` as one <svg> element of class "plot", to be freed; NULL if it is not what gnuplot writes.
 *
 * @param number  of the plot in the document: part of its ids
 * @param title   what it shows, for readers who cannot see it
 */
char *vj_svg_themed(const char *text, int number, const char *title, const vj_labels *labels);

#endif
