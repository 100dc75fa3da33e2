/* Number and size of the campaign's media files: from the lists if there are any, else from plan.*. */
#ifndef VJ_PLAN_FOOTAGE_H
#define VJ_PLAN_FOOTAGE_H

#include "plan/forecast.h"

/**
 * Set the number of files to plan.files if that is given, else to the number of entries of the lists of pack.* (0
 * without lists); the number of clips to plan.store_clips, or to the number that pack.windows makes of the files. Not
 * collective.
 */
vj_status vj_footage_describe(vj_footage *footage, const vj_config *config);

#endif
