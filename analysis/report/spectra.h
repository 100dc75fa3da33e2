/* Representations in files of `vjepa-spectrum spectrum`, and pictures of their tokens. */
#ifndef VJ_REPORT_SPECTRA_H
#define VJ_REPORT_SPECTRA_H

#include "report/pages.h"

/* One group in /representations. Texts are owned; missing numbers are NaN. */
typedef struct {
    char *path, *group; /* the file, and the path of the group in it */
    char *name, *origin;
    double width, tokens, rows;
    uint64_t grid[3]; /* of the tokens: in time, rows, columns; zeros: not known */
    double effective_rank, rankme, participation_ratio, stable_rank, exponent;
    double *eigenvalues; /* [count], descending; NULL: not there */
    int64_t count;
} vj_spectrum_of;

/** Add a picture of the tokens of the first clips, with their first three principal components as red, green and blue.
 */
void vj_page_tokens(vj_document *document, const vj_spectrum_of *spectrum, const vj_inputs *all);

#endif
