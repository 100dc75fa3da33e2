/* Runs as sections of a document. */
#ifndef VJ_RUNS_H
#define VJ_RUNS_H

#include "report/inputs.h"
#include "report/recorded.h"

extern const vj_input_kind vj_runs;

/** Plots of the metrics of all runs over one another (runs_plots.c). */
void vj_runs_plot(vj_document *document, const vj_recorded *runs, int count);

/** Tables of starts and stops, of settings that differ, of code and machine (runs_tables.c). */
void vj_runs_history(vj_document *document, const vj_recorded *runs, int count);
void vj_runs_settings(vj_document *document, const vj_recorded *runs, int count);
void vj_runs_provenance(vj_document *document, const vj_recorded *runs, int count);

#endif
