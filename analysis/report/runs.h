/* Adds runs to a document. */
#ifndef VJ_RUNS_H
#define VJ_RUNS_H

#include "report/inputs.h"
#include "report/recorded.h"

extern const vj_input_kind vj_runs;

/** Add plots of the metrics; each shows all runs together (runs_plots.c). */
void vj_runs_plot(vj_document *document, const vj_recorded *runs, int count);

/** Add tables of starts and stops; of settings that differ; of code and machines (runs_tables.c). */
void vj_runs_history(vj_document *document, const vj_recorded *runs, int count);
void vj_runs_settings(vj_document *document, const vj_recorded *runs, int count);
void vj_runs_provenance(vj_document *document, const vj_recorded *runs, int count);

#endif
