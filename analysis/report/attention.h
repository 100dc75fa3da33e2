/* Pictures of the attention of attentive probes, from attention.h5 beside results.json (docs/formats.md, "Attention").
 */
#ifndef VJ_REPORT_ATTENTION_H
#define VJ_REPORT_ATTENTION_H

#include "report/document.h"

/**
 * Add a picture for each of the first probes in the attention.h5 of a campaign, with their predictions for the clips if
 * predictions.h5 exists. Adds nothing if there is no attention.h5, and a note if it cannot be read. Not collective.
 */
void vj_attention_show(vj_document *document, const char *folder);

#endif
