/* The inside of a document, for its writers (html.c, markdown.c, csv.c) and for drawing its plots (draw.c). */
#ifndef VJ_REPORT_INSIDE_H
#define VJ_REPORT_INSIDE_H

#include <stdio.h>

#include "report/plot.h"

typedef enum {
    VJ_BLOCK_SECTION,
    VJ_BLOCK_HEADING,
    VJ_BLOCK_PARAGRAPH,
    VJ_BLOCK_NOTE,
    VJ_BLOCK_TABLE,
    VJ_BLOCK_LIST,
    VJ_BLOCK_PICTURE,
    VJ_BLOCK_PLOT
} vj_block_kind;

typedef struct {
    char *text;     /* "": an empty cell */
    double number;  /* NaN in a cell of text */
    bool is_number; /* added by vj_table_number() */
    bool highlight;
} vj_cell;

typedef struct {
    vj_align align;
    char *heading, *unit;
    bool units_in_cells; /* `unit` is that of the numbers in CSV; in texts each cell has its own */
} vj_document_column;

struct vj_table {
    char *name, *caption;
    vj_document_column *columns;
    vj_cell *cells; /* row after row */
    int column_count;
    int64_t cell_count;
};

struct vj_list {
    char **keys, **values; /* [count] */
    int count;
};

typedef struct {
    char *name, *alt, *caption;
    void *jpeg;
    size_t bytes;
} vj_photo;

typedef enum { VJ_NO_INTERVAL, VJ_BAND, VJ_ERRORS } vj_interval;

struct vj_series {
    char *name;
    vj_style style;
    int number;
    int64_t count;
    double *x, *y;
    vj_interval interval;
    double *low, *high; /* NULL without an interval */
};

typedef struct {
    char *name, *unit;
    vj_axis_scale scale;
    double low, high; /* limits; NaN: from the numbers */
    char **names;     /* NULL: numbers */
    int name_count;
} vj_axis;

typedef struct {
    double at;
    int number;
    char *text;
    bool short_line;
} vj_mark;

struct vj_plot {
    char *name, *title, *caption;
    vj_axis x, y;
    vj_series **series;
    vj_mark *marks, *levels;
    int series_count, mark_count, level_count;
    int rows, columns; /* of a heat map; 0: none */
    double *heat;      /* [rows, columns] */
    char **row_names, **column_names;
    double heat_low, heat_high;
    char *svg;            /* written by vj_document_draw(): an <svg> element that needs vj_theme_plots */
    int64_t rows_given;   /* written by vj_document_draw(): points of the longest curve */
    int64_t points_drawn; /* written by vj_document_draw(): how many of these are drawn */
};

typedef struct {
    vj_block_kind kind;
    char *text; /* section, heading, paragraph, note */
    union {
        vj_table *table;
        vj_list *list;
        vj_photo *photo;
        vj_plot *plot;
    };
} vj_document_block;

struct vj_document {
    char *title;
    vj_document_block *blocks;
    int block_count, note_count;
};

/* Return whether a number is finite and small enough that sums and quotients of such numbers are finite too. */
static inline bool vj_is_drawn(double value)
{
    return fabs(value) <= 1e150;
}

/* Memory. These functions abort when out of memory. */
void *vj_report_memory(int64_t count, size_t bytes);           /* zeroed; free it with free() */
char *vj_report_copy(const char *text);                        /* NULL is "" */
void *vj_report_copy_bytes(const void *from, size_t bytes);    /* NULL stays NULL */
void *vj_report_room(void *items, int64_t count, size_t item); /* room for one more than `count` */
char **vj_report_names(const char *const *names, int count);   /* NULL stays NULL */
void vj_report_free_names(char **names, int count);
void vj_plot_destroy(vj_plot *plot);

/* The style sheets of HTML and of single SVG files: colours of both themes, plots, and page (theme.c). */
extern const char vj_theme_colours[], vj_theme_plots[], vj_theme_page[];

#endif
