/* Confusion of classes by probes: counted from files of predictions (docs/formats.md, "Predictions"), drawn and listed.
 */
#ifndef VJ_REPORT_CONFUSION_H
#define VJ_REPORT_CONFUSION_H

#include "report/campaign.h"
#include "report/document.h"

/**
 * Count confusions from the file `predictions`, over all seeds, for the rows of a campaign that have no counts yet. For
 * each task, probe and encoder this is done only at its largest share of the labels. Not collective.
 */
vj_status vj_confusion_read(vj_campaign_results *campaign, const char *predictions);

/** Add, for each of the first results with counts: a heat map if it has few classes, a table of the accuracy of each
 * class (of many classes only the worst and the best), and a table of the classes that are confused most. */
void vj_confusion_show(vj_document *document, const vj_campaign_results *campaign);

#endif
