/* What probes take for what: counts from files of predictions (docs/formats.md, "Predictions"), drawn and listed. */
#ifndef VJ_REPORT_CONFUSION_H
#define VJ_REPORT_CONFUSION_H

#include "report/campaign.h"
#include "report/document.h"

/**
 * Count confusions for the rows of a campaign that have none yet, from its file of predictions, over all seeds; for
 * each task, probe and encoder only at its largest share of the labels. Not collective.
 */
vj_status vj_confusion_read(vj_campaign *campaign, const char *predictions);

/** Add a heat map for each of the first results that have counts, if it has few classes, a table of the accuracy of
 * each class (of many the worst and the best), and one of what is confused most. */
void vj_confusion_show(vj_document *document, const vj_campaign *campaign);

#endif
