/* Prints a forecast as text tables or as JSON: the same numbers, each with its origin. */
#ifndef VJ_PLAN_REPORT_H
#define VJ_PLAN_REPORT_H

#include <jansson.h>

#include "plan/forecast.h"

/**
 * Fill `report`, an empty object, with the sections "data", "packing", "training", "layouts" (rows), "assumptions"
 * (rows: every setting that the forecast depends on, its value, and where it was given), and "how", which explains
 * numbers in a few words each under "section.key". `cluster_path`: the file of cluster.*; NULL: none.
 */
void vj_forecast_report(json_t *report, const vj_forecast *forecast, const vj_config *config, const char *cluster_path);

/** Print a report as text. VJ_ERR_IO if that failed. */
vj_status vj_forecast_print(const json_t *report, FILE *out);

#endif
