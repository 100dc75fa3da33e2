/* Number and size of the campaign's media files: counted if there are lists, else taken from plan.*. */
#ifndef VJ_PLAN_FOOTAGE_H
#define VJ_PLAN_FOOTAGE_H

#include "plan/forecast.h"

/**
 * plan.files, or the files that the lists of pack.* name, none where there is neither; plan.store_clips, or as many
 * clips as pack.windows makes of them. Not collective.
 */
vj_status vj_footage_describe(vj_footage *footage, const vj_config *config);

#endif
