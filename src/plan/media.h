/* What the campaign's media are: counted where there are lists, else as plan.* says. */
#ifndef VJ_PLAN_MEDIA_H
#define VJ_PLAN_MEDIA_H

#include "plan/forecast.h"

/** plan.files, or the files that pack.lists name; none where there is neither. Not collective. */
vj_status vj_media_describe(vj_media *media, const vj_config *config);

#endif
