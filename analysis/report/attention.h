/* Pictures of what attentive probes attend to: attention.h5 beside results.json (docs/formats.md, "Attention"). */
#ifndef VJ_REPORT_ATTENTION_H
#define VJ_REPORT_ATTENTION_H

#include "report/document.h"

/**
 * Add a picture for each of the first probes in a campaign's attention.h5, with what its predictions.h5 says of the
 * clips, if that is there. Nothing if there is no attention.h5; a note if it cannot be read. Not collective.
 */
void vj_attention_show(vj_document *document, const char *folder);

#endif
