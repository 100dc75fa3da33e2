/* Print a forecast as text tables or as JSON: the same numbers, each with its origin. */
#ifndef VJ_PLAN_REPORT_H
#define VJ_PLAN_REPORT_H

#include <jansson.h>

#include "plan/forecast.h"

/**
 * Sections "data", "packing", "training", "layouts" (rows), "assumptions" (rows: every setting the forecast rests on,
 * its value, and where it was given). `cluster_path`: the file of cluster.*, NULL: none. Fills `report`, an empty
 * object; "how" holds a word on each number under "section.key".
 */
void vj_forecast_report(json_t *report, const vj_forecast *forecast, const vj_config *config, const char *cluster_path);

/** Print it for people. VJ_ERR_IO if that failed. */
vj_status vj_forecast_print(const json_t *report, FILE *out);

#endif
