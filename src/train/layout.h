/* Decides which layouts of ranks can train a configuration, before anything is opened or allocated. */
#ifndef VJ_TRAIN_LAYOUT_H
#define VJ_TRAIN_LAYOUT_H

#include <stddef.h>

#include "base/config.h"

/**
 * Return true if `ranks` ranks in tensor groups of size `tensor` cannot train `config`, and write why to `reason`
 * [bytes]. The configuration must have passed vj_config_check().
 */
bool vj_layout_cannot(const vj_config *config, int ranks, int tensor, char *reason, size_t bytes);

/* A layout that can train the configuration. */
typedef struct {
    int ranks, tensor;
} vj_layout_choice;

/**
 * Find the possible layouts nearest to `ranks` ranks in groups of `tensor`, at most `capacity`, ordered by the
 * difference in ranks, then in tensor size. Returns their number. Searches up to 2 * ranks ranks.
 */
int vj_layouts_near(const vj_config *config, int ranks, int tensor, vj_layout_choice *choice, int capacity);

/** Refuse (VJ_ERR_USAGE) a layout that cannot work; rank 0 prints what would. Not collective: all ranks agree anyway.
 */
vj_status vj_layout_check(const vj_config *config, int rank, int ranks);

#endif
